"""Initial estimates: interpolation, the clip's own, and stacking, which must never look at what it is judged by."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies import ClipReference, ConditionalEnergy, Context
from energies.classical import inpainting, self_similarity, stacking
from energies.objectives import Batch, Denoising


def texture(frames: int, size: int, seed: int = 0, width: float = 1.5, channels: int = 3) -> Tensor:
    """A stationary Gaussian field [C, T, H, W] of unit-free smoothness `width`, of standard deviation 0.3."""
    noise = torch.randn(channels, frames, size, size, generator=seeded(seed))
    grids = [torch.fft.fftfreq(n) for n in (frames, size, size)]
    t, y, x = torch.meshgrid(*grids, indexing="ij")
    spectrum = torch.exp(-2 * (math.pi * width) ** 2 * (t**2 + y**2 + x**2))
    field = torch.fft.ifftn(torch.fft.fftn(noise, dim=(1, 2, 3)) * spectrum, dim=(1, 2, 3)).real
    return (0.3 * field / field.std()).clamp(-1, 1)


def pixels(*shape: int, share: float = 0.5, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=seeded(seed)) < share


def whole_frames(frames: int, size: int, *hidden: int) -> Tensor:
    mask = torch.zeros(frames, size, size, dtype=torch.bool)
    mask[list(hidden)] = True
    return mask


def gap(frames: int, size: int) -> Tensor:
    """The first and two inner frames, and a place that is never seen."""
    mask = whole_frames(frames, size, 0, 3, 4)
    mask[:, 2:5, 3:6] = True
    return mask


def line(clip: Tensor, hidden: Tensor) -> Tensor:
    return inpainting.temporal_linear(clip, hidden)


def mean_of(clip: Tensor, hidden: Tensor) -> Tensor:
    return clip[:, ~hidden].mean(1).view(-1, 1, 1, 1)


METHODS = {
    "temporal_linear": line,
    "nearest_frame": inpainting.nearest_frame,
    "temporal_mean": inpainting.temporal_mean,
    "membrane": lambda c, h: inpainting.smooth(c, h, line(c, h), order=1, time=1.0),
    "thin plate": lambda c, h: inpainting.smooth(c, h, line(c, h), order=2, time=0.3),
    "total variation": lambda c, h: inpainting.total_variation(c, h, line(c, h), time=1.0, steps=20),
    "kriging": lambda c, h: self_similarity.kriging(c, h, mean_of(c, h)),
    "nonlocal means": lambda c, h: self_similarity.nonlocal_means(line(c, h), h, torch.full(h.shape, 0.1), [(1, 1.0)])[
        0
    ],
}
MASKS = {"pixels": pixels(8, 11, 11), "gap": gap(8, 11)}


def error(guess: Tensor, truth: Tensor, where: Tensor) -> float:
    return float((guess - truth)[:, where].square().mean())


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", METHODS)
def test_fills_keep_what_is_seen_and_do_not_look_at_what_is_hidden(name, mask):
    hidden = MASKS[mask]
    clip = (3 * texture(8, 11, width=0.5)).clamp(-1, 1)  # rough, and saturated in places
    out = METHODS[name](clip, hidden)
    assert out.shape == clip.shape and out.dtype == clip.dtype
    assert torch.equal(out[:, ~hidden], clip[:, ~hidden]), "bit for bit"
    assert out.isfinite().all() and out.abs().max() <= 1
    other = torch.where(hidden, -texture(8, 11, seed=5), clip)
    assert torch.equal(METHODS[name](other, hidden), out)


def test_a_clip_that_is_linear_in_time_is_recovered_by_temporal_linear():
    start, slope = torch.rand(3, 1, 6, 6, generator=seeded(0)) - 0.5, torch.rand(3, 1, 6, 6, generator=seeded(1)) - 0.5
    clip = start + slope * torch.linspace(0, 1, 9).view(1, -1, 1, 1)
    hidden = pixels(9, 6, 6, share=0.7)
    hidden[[0, -1]] = False
    torch.testing.assert_close(line(clip, hidden), clip)
    assert error(inpainting.nearest_frame(clip, hidden), clip, hidden) > 1e-4


def test_nearest_frame_takes_the_nearest():
    clip = torch.arange(10.0).view(1, 10, 1, 1).expand(3, -1, 2, 2) / 10
    hidden = whole_frames(10, 2, 0, 3, 4, 5, 9)
    frames = (inpainting.nearest_frame(clip, hidden)[0, :, 0, 0] * 10).round().int().tolist()
    assert frames == [1, 1, 2, 2, 2, 6, 6, 7, 8, 8]
    assert torch.allclose(inpainting.temporal_mean(clip, hidden)[:, 3], torch.tensor((1 + 2 + 6 + 7 + 8) / 50))


def test_a_plane_and_a_bowl_are_recovered_by_the_thin_plate():
    """Away from the edges, where their Laplacian is constant; that of a plane is 0, so a membrane does it, too."""
    t, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (9, 12, 12)), indexing="ij")
    clip = torch.stack([0.3 * t + 0.2 * y - 0.3 * x, 0.5 * x, 0.3 * x**2 + 0.4 * y**2 - 0.2])
    hidden = torch.zeros(9, 12, 12, dtype=torch.bool)
    hidden[3:6, 4:8, 4:8] = True
    for time in (0.3, 1.0):
        out = inpainting.smooth(clip, hidden, torch.zeros_like(clip), order=2, time=time, tolerance=1e-6)
        assert (out - clip).abs().max() < 1e-3
        membrane = inpainting.smooth(clip, hidden, torch.zeros_like(clip), order=1, time=time, tolerance=1e-6)
        assert (membrane - clip)[:2].abs().max() < 1e-3 < (membrane - clip)[2].abs().max()


def test_kriging_beats_the_mean_and_interpolation_on_a_stationary_field():
    clip, hidden = texture(12, 20, width=1.0), pixels(12, 20, 20)
    centre = mean_of(clip, hidden)
    guess = error(self_similarity.kriging(clip, hidden, centre), clip, hidden)
    assert guess < 0.1 * error(centre.expand_as(clip), clip, hidden)
    assert guess < 0.5 * error(line(clip, hidden), clip, hidden)


def test_where_no_neighbour_is_seen_kriging_gives_the_mean():
    clip, hidden = texture(7, 9), whole_frames(7, 9, 2, 3, 4)
    centre = mean_of(clip, hidden)
    assert torch.equal(self_similarity.kriging(clip, hidden, centre)[:, 3], centre[:, 0].expand(3, 9, 9))


def test_nonlocal_means_follow_a_texture_that_moves():
    picture = texture(1, 24, width=0.8)[:, 0]
    clip = torch.stack([picture.roll((t, 2 * t), (1, 2)) for t in range(8)], 1)
    hidden = pixels(8, 24, 24, share=0.3)
    first = line(clip, hidden)
    scale = torch.full(hidden.shape, error(first, clip, hidden) ** 0.5)
    guess = self_similarity.nonlocal_means(first, hidden, scale, [(2, 0.3)])[0]
    assert error(guess, clip, hidden) < 0.5 * error(first, clip, hidden)


@pytest.mark.parametrize("hidden", [pixels(8, 10, 10), gap(8, 10), whole_frames(8, 10, 5)])
def test_held_out_masks_never_touch_hidden_pixels(hidden):
    masks = stacking.held_out_masks(hidden, 6, seeded(0))
    assert len(masks) == 6
    for mask in masks:
        assert mask.any() and not (mask & hidden).any() and not (mask | hidden).all()
        assert mask.sum() <= hidden.sum()
    again = stacking.held_out_masks(hidden, 6, seeded(0))
    assert all(torch.equal(a, b) for a, b in zip(masks, again, strict=True))
    assert not all(torch.equal(masks[0], mask) for mask in masks)


@pytest.mark.parametrize("value", [False, True])
def test_there_must_be_something_to_hold_out(value):
    with pytest.raises(ValueError, match="too much is hidden"):
        stacking.held_out_masks(torch.full((4, 8, 8), value), 2, seeded(0))


def disjoint(hidden: Tensor, num: int) -> list[Tensor]:
    part = torch.randint(2 * num, hidden.shape, generator=seeded(8))
    return [(part == j) & ~hidden for j in range(num)]


CLIP, HIDDEN = texture(8, 16, width=1.0), pixels(8, 16, 16, share=0.3)


@pytest.fixture(scope="module")
def learned() -> stacking.Estimates:
    return stacking.estimates(CLIP, HIDDEN, disjoint(HIDDEN, 4))


@pytest.mark.slow
def test_candidates_and_experts_see_nothing_of_what_is_held_out(learned):
    mask = disjoint(HIDDEN, 4)[1]
    gone = HIDDEN | mask
    other = torch.where(gone, texture(8, 16, seed=7), CLIP)
    assert torch.equal(stacking.candidates(other, gone), stacking.candidates(CLIP, gone))
    context = learned.first_examples[1].context
    assert torch.equal(stacking.self_similar(other, gone, context), stacking.self_similar(CLIP, gone, context))


@pytest.mark.slow
@pytest.mark.parametrize("kind", get_args(stacking.Stacking))
def test_an_example_is_stacked_without_its_own_truth(kind):
    """With the estimates given, the truth held out in mask j changes the other examples, never its own."""
    masks = disjoint(HIDDEN, 4)
    damages = [HIDDEN, *(HIDDEN | mask for mask in masks)]
    tries = [stacking.candidates(torch.where(gone, 0.0, CLIP), gone) for gone in damages]
    trial = stacking.Trial(tries[0], tries[1:])

    def guesses(clip: Tensor) -> list[Tensor]:
        _, examples, _ = stacking.cross_validated(clip, HIDDEN, masks, trial, [kind])
        return [example.context.estimate[0] for example in examples]

    plain = guesses(CLIP)
    for j, mask in enumerate(masks):
        found = guesses(torch.where(mask, texture(8, 16, seed=9), CLIP))
        changed = [
            not torch.equal(a[:, HIDDEN | m], b[:, HIDDEN | m]) for a, b, m in zip(plain, found, masks, strict=True)
        ]
        assert changed == [i != j for i in range(len(masks))]


def test_a_vote_weighs_an_estimate_by_its_mean_squared_error_to_the_power_minus_four():
    """Estimates that are off by e_k everywhere: the weights are e_k^-8 over their sum, and so is what they make."""
    masks, clip = disjoint(HIDDEN, 3), torch.zeros_like(CLIP)
    off = torch.linspace(0.1, 0.3, 10)
    tries = off.view(-1, 1, 1, 1, 1).expand(-1, *CLIP.shape)
    found, examples, _ = stacking.cross_validated(clip, HIDDEN, masks, stacking.Trial(tries, [tries] * 3), ["vote"])
    expected = float((off**-8 * off).sum() / (off**-8).sum())
    assert found.estimate[0][:, HIDDEN].numpy() == pytest.approx(expected, rel=1e-4)
    for example, mask in zip(examples, masks, strict=True):
        assert example.context.estimate[0][:, mask].numpy() == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_no_truth_leaks_into_its_own_example(learned):
    """Through the whole of it: what is held out in j is seen when i is filled, and so moves the stacking's weights a
    little, but example j's estimate must not follow its truth."""
    masks = disjoint(HIDDEN, 4)
    move = 0.1 * torch.randn(CLIP.shape, generator=seeded(4))
    moved = stacking.estimates(torch.where(masks[0], CLIP + move, CLIP), HIDDEN, masks)
    where = masks[0]
    for before, after in [(learned.first_examples, moved.first_examples), (learned.examples, moved.examples)]:
        change = (after[0].context.estimate - before[0].context.estimate)[0]
        slope = (change * move)[:, where].mean() / move[:, where].square().mean()
        assert abs(slope) < 0.05, "an estimate that saw its truth would follow it with slope 1"
        assert change[:, where].square().mean() < 0.1 * move[:, where].square().mean()
        # The same measure sees the leak that is allowed: example 1 sees all of mask 0 that it does not hide.
        other = (after[1].context.estimate - before[1].context.estimate)[0]
        torch.testing.assert_close(other[:, where], move[:, where])


@pytest.mark.slow
def test_hidden_values_have_no_say_in_the_reference(learned):
    other = stacking.estimates(torch.where(HIDDEN, 0.77, CLIP), HIDDEN, disjoint(HIDDEN, 4))
    assert other.stacking == learned.stacking
    for a, b in [(learned.first, other.first), (learned.learned, other.learned)]:
        assert all(torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True))


@pytest.mark.slow
def test_the_reference_keeps_what_is_seen_and_beats_what_it_is_made_of(learned):
    masks = disjoint(HIDDEN, 4)
    assert learned.stacking in get_args(stacking.Stacking) and len(learned.examples) == len(masks)
    for context, gone in [
        (learned.first, HIDDEN),
        (learned.learned, HIDDEN),
        *((example.context, HIDDEN | mask) for example, mask in zip(learned.examples, masks, strict=True)),
    ]:
        assert torch.equal(context.hidden[0, 0], gone)
        assert torch.equal(context.estimate[0][:, ~gone], CLIP[:, ~gone])
        assert context.estimate.abs().max() <= 1 and (context.scale > 0).all()
        assert context.others.shape == (1, len(stacking.SHOWN), *CLIP.shape)
    first = error(learned.first.estimate[0], CLIP, HIDDEN)
    assert first < error(line(CLIP, HIDDEN), CLIP, HIDDEN)
    assert error(learned.learned.estimate[0], CLIP, HIDDEN) < first
    # The scale tells the size of the error: on average over what is hidden, within a factor of 1.5.
    expected = float(learned.learned.scale[0, 0][HIDDEN].square().mean())
    assert 1 / 1.5 < (expected / error(learned.learned.estimate[0], CLIP, HIDDEN)) ** 0.5 < 1.5


def silent(context: Context) -> ConditionalEnergy:
    """A conditional energy whose network says nothing: its Gaussian reference alone."""
    reference = ClipReference(context.estimate.shape[1:], context.others.shape[1])
    energy = ConditionalEnergy(reference, 3, (8, 8), (1, 1)).told(context)
    torch.nn.init.zeros_(energy.net.head.weight)
    return energy


def made_up(num: int = 1) -> tuple[Context, Tensor]:
    """A context, and clips that are distributed about its estimate exactly as its scale says."""
    shape = (num, 3, 6, 24, 24)
    middle, z = torch.rand(shape, generator=seeded(0)) - 0.5, torch.randn(shape, generator=seeded(1))
    scale = 0.02 + 0.2 * torch.rand(num, 1, *shape[2:], generator=seeded(2))
    hidden = torch.ones(num, 1, *shape[2:], dtype=torch.bool)
    return Context(middle, scale, hidden, middle[:, None][:, :0]), middle + scale * z


@pytest.mark.parametrize("objective", [Denoising(1.0), Denoising(0.0, 0.1, 0.0), Denoising(0.0, 2.0, 1.0)])
def test_where_the_reference_is_the_truth_denoising_costs_1_at_every_level(objective):
    """The score of the Gaussian reference is exact then: E = tau^2 / (1 + tau^2), times the weight 1 + 1 / tau^2."""
    context, x = made_up(2)
    known = pixels(2, 1, 6, 24, 24)
    values = 3 * int(known.sum())
    loss, _ = objective(silent(context), Batch(x, known), seeded(3))
    # The variance of one value is 2, at the mean 2 E s^4 / (E s^2)^2 < 4, since there s^2 weighs it.
    assert abs(loss.item() - 1) < 5 * (4 / values) ** 0.5
    assert 5 * (4 / values) ** 0.5 < 0.15


def test_denoising_learns_only_from_what_is_known():
    context, x = made_up()
    known = pixels(1, 1, 6, 24, 24)
    torch.manual_seed(0)
    energy = ConditionalEnergy(ClipReference.of(context), 3, (8, 8), (1, 1))
    for objective in (Denoising(1.0), Denoising(0.0)):
        plain, metrics = objective(energy, Batch(x, known), seeded(0))
        other, _ = objective(energy, Batch(torch.where(known, x, 5.0), known), seeded(0))
        assert torch.equal(plain, other)
        assert list(metrics.values()) == [plain.item()]
        energy.zero_grad()
        plain.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in energy.parameters())
        assert energy.net.head.weight.grad.any() and energy.net.stem.weight.grad.any()


@pytest.mark.parametrize("setting", [{"mean_share": 1.5}, {"level": 0.0}, {"spread": float("nan")}])
def test_denoising_refuses_impossible_settings(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Denoising(**setting)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0, 1.7])
def test_shrinkage_is_the_share_of_a_change_that_the_truth_speaks_for(share):
    change, mask = texture(4, 64, seed=1), pixels(4, 64, 64)
    noise = 0.01 * torch.randn(change.shape, generator=seeded(2))
    assert stacking.shrinkage([share * change + noise], [change], [mask]) == pytest.approx(min(share, 1.0), abs=0.01)


def test_shrinkage_falls_where_places_disagree_and_ignores_what_is_not_held_out():
    change = torch.ones(3, 4, 64, 64)
    sides = torch.where(torch.arange(64) < 32, 1.0, -0.6).expand(3, 4, 64, 64)  # the plain share would be 0.2
    mask = torch.ones(4, 64, 64, dtype=torch.bool)
    assert stacking.shrinkage([sides], [change], [mask]) < 0.02
    left = mask & (torch.arange(64) < 32)
    assert stacking.shrinkage([sides], [change], [left]) == pytest.approx(1.0)
    assert stacking.shrinkage([sides], [0 * change], [mask]) == 0


def test_shrinkage_hears_every_mask_alike_however_hard_its_place_is():
    """One wants all of its change, one half of it on values ten times as large: (1 + 2) / (1 + 4), not 201 / 401."""
    change, mask = texture(4, 64, seed=1), pixels(4, 64, 64)
    found = stacking.shrinkage([change, 10 * change], [change, 20 * change], [mask, mask])
    assert found == pytest.approx(0.6, abs=0.04)  # less the error, since places disagree


def test_every_second_frame_can_be_held_out_in_part():
    """Moved by one frame, that mask covers all that is seen."""
    hidden = torch.zeros(8, 6, 6, dtype=torch.bool)
    hidden[1::2] = True
    masks = stacking.held_out_masks(hidden, 5, seeded(0))
    for mask in masks:
        assert mask.any() and not (mask & hidden).any() and not (mask | hidden).all()
