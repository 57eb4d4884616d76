"""Classical estimates of a clip, how much of a change to take, and the reference that is made of them."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies import ClipReference, ConditionalEnergy, Context
from energies.classical import inpainting, self_similarity
from energies.classical.shrinkage import shrinkage
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
    assert shrinkage([share * change + noise], [change], [mask]) == pytest.approx(min(share, 1.0), abs=0.01)


def test_shrinkage_falls_where_places_disagree_and_ignores_what_is_not_held_out():
    change = torch.ones(3, 4, 64, 64)
    sides = torch.where(torch.arange(64) < 32, 1.0, -0.6).expand(3, 4, 64, 64)  # the plain share would be 0.2
    mask = torch.ones(4, 64, 64, dtype=torch.bool)
    assert shrinkage([sides], [change], [mask]) < 0.02
    left = mask & (torch.arange(64) < 32)
    assert shrinkage([sides], [change], [left]) == pytest.approx(1.0)
    assert shrinkage([sides], [0 * change], [mask]) == 0


def test_shrinkage_hears_every_mask_alike_however_hard_its_place_is():
    """One wants all of its change, one half of it on values ten times as large: (1 + 2) / (1 + 4), not 201 / 401."""
    change, mask = texture(4, 64, seed=1), pixels(4, 64, 64)
    found = shrinkage([change, 10 * change], [change, 20 * change], [mask, mask])
    assert found == pytest.approx(0.6, abs=0.04)  # less the error, since places disagree
