"""The stage `learn`, of one photograph or clip: by crops, by its scene, and from what is seen of a damaged one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import seeded
from torch import Tensor

import energies
from data.errors import InputError
from data.textures import texture
from energies import (
    Average,
    ConditionalEnergy,
    Context,
    EncoderEnergy,
    Energy,
    GenerativeConvNet,
    Hidden,
    Noisy,
    Schedule,
)
from energies.classical.motion import Candidates
from energies.objectives import Denoising, MaximumLikelihood
from pipelines.examples import Examples
from pipelines.learning import clip, crops, single
from pipelines.learning.settings import Amortised, ConvNet, Encoder, Residual
from pipelines.modalities.video.learning import RECIPES as LEARNING
from pipelines.sampling.gate import Gate
from pipelines.stage import Run
from pipelines.stages.learn import Learn
from pipelines.windows import restoration
from pipelines.windows.damage import Box
from pipelines.windows.restoration import Restoration

SMALL, TOLD = Encoder((4, 8), (1, 1)), Amortised((4, 4), (1, 1))
SHORT = MaximumLikelihood(steps=1, step_size=0.05)


def here(folder: Path) -> Run:
    return Run(folder, folder, compute="float32")


def photograph(side: int = 64) -> Examples:
    x = texture("bricks", side)[None]
    return Examples("images", tuple(x.shape[1:]), x, x[:0])


def movie(frames: int = 8, side: int = 16) -> Tensor:
    """A clip [3, T, H, W]: a picture that drifts."""
    picture = texture("bricks", 64)[:, ::4, ::4]
    return torch.stack([picture.roll(t, 2) for t in range(frames)], 1)[..., :side, :side].contiguous()


def alone(x: Tensor) -> Examples:
    return Examples("video", tuple(x.shape), x[None], x[None, :0].flatten(0, 1).new_zeros(0, *x.shape))


def damage(x: Tensor, share: float = 0.3) -> dict[str, Any]:
    """The clip, of which some pixels are hidden."""
    observation = Hidden(torch.rand(1, 1, *x.shape[1:], generator=seeded(1)) < share)
    return {"data": alone(x), "observation": observation, "measured": observation.observe(x[None])}


def learned(values: dict[str, Any], folder: Path, **settings: Any) -> dict[str, Any]:
    own: dict[str, Any] = {"steps": 2} | settings
    return Learn(**own)(values, here(folder))


def weights(energy: Energy) -> Tensor:
    return torch.cat([p.detach().flatten() for p in energy.parameters()])


# ----------------------------------------------------------------------------------------------- crops


@pytest.mark.parametrize("energy", [SMALL, ConvNet()], ids=["encoder", "conv_net"])
def test_an_energy_of_crops_takes_any_size(energy, tmp_path):
    own = {"objective": SHORT} if isinstance(energy, ConvNet) else {}
    given = learned({"data": photograph()}, tmp_path, energy=energy, crop=(16,), chains=3, **own)
    found = given["energy"]
    assert found.event_shape == (3, 16, 16) and single.is_stationary(found) and given["gate"] is None
    wide = single.of_size(found, (20, 36))
    if isinstance(wide, EncoderEnergy):
        x = photograph().x()[0]
        assert wide.spread == pytest.approx(float((x - x.mean((1, 2), True)).square().mean().sqrt()))
        assert given["generator"] == Schedule(levels=24, high=5.0, steps=3)
        wide = wide.at(0.3)
    assert wide(torch.zeros(2, 3, 20, 36)).shape == (2,) and wide.event_shape == (3, 20, 36)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("energy", "objective"), [(SMALL, None), (ConvNet(), SHORT)], ids=["encoder", "conv_net"]
)  # fmt: skip
def test_a_clip_is_learned_by_crops_too(energy, objective, tmp_path):
    values = {"data": alone(movie())}
    found = learned(values, tmp_path, energy=energy, objective=objective, crop=(4, 8), chains=3, batch=2)["energy"]
    assert found.event_shape == (3, 4, 8, 8) and single.of_size(found, (9, 16, 12)).event_shape == (3, 9, 16, 12)


def test_crops_are_places_of_the_photograph_and_every_one_comes_up():
    x = torch.arange(30.0).reshape(1, 5, 6)
    found = crops.crops(x, (3, 3), 500, seeded(0))
    assert found.shape == (500, 1, 3, 3)
    assert set(found[:, 0, 0, 0].int().tolist()) == {6 * row + column for row in range(3) for column in range(4)}
    torch.testing.assert_close(found - found[:, :, :1, :1], (x[:, :3, :3] - x[:, :1, :1]).expand(500, -1, -1, -1))


@pytest.mark.parametrize("sides", [(4, 5, 5), (3, 20, 20)])
def test_windows_lie_within_x_and_hold_some_of_the_target(sides):
    target = torch.rand(1, 1, 6, 9, 10, generator=seeded(0)) < 0.02
    rng, places = seeded(1), set()
    for _ in range(200):
        where = crops.window(target, sides, rng)
        part = target[(..., *where)]
        assert part.any() and part.shape[2:] == tuple(map(min, sides, (6, 9, 10)))
        places.add(tuple(part.start for part in where))
    assert len(places) > (2 if 20 in sides else 30)


def test_crops_larger_than_the_photograph_are_told():
    with pytest.raises(InputError, match=r"learn.crop=64: is larger than the picture, of 48x48 pixels; set 48"):
        Learn()({"data": photograph(48)}, here(Path()))


# ----------------------------------------------------------------------------------------------- scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """A run that learned a clip to make more of it."""
    folder = tmp_path_factory.mktemp("scene")
    given = learned({"data": alone(movie(6))}, folder, energy=TOLD, crop=(4, 8))
    assert given["generator"] == Schedule(30, 80.0, 0.06, 4, 0.35, spacing="geometric", predictor="euler")
    given["energy"].save_pretrained(folder / "energy")
    return folder


def test_the_frames_of_a_scene_are_one_picture_and_more_of_them_change_nothing(scene):
    """Far from the ends, which the network sees: the energy of a longer clip is that of a scene as long."""
    energy = energies.load(scene / "energy")
    assert isinstance(energy, ConditionalEnergy) and single.is_scene(energy)
    torch.testing.assert_close(energy.mean[0, :, 2], movie(6).mean(1))
    longer = single.of_size(energy, (9, 16, 16))
    assert isinstance(longer, ConditionalEnergy) and longer.event_shape == (3, 9, 16, 16)
    assert torch.equal(longer.mean[:, :, 8], energy.mean[:, :, 0])
    x = energy.mean[:, :, :1] + energy.scale[:, :, :1] * torch.randn(1, 3, 9, 16, 16)
    x[:, :, 6:] = longer.mean[:, :, 6:]
    again = single.of_size(longer, (6, 16, 16))
    assert isinstance(again, ConditionalEnergy)
    assert torch.equal(again.at(0.5)(x[:, :, :6]), energy.at(0.5)(x[:, :, :6]))
    with pytest.raises(ValueError, match="an energy of 6x16x16 is not one of 6x8x8"):
        single.of_size(energy, (6, 8, 8))


# -------------------------------------------------------------------------------------- a damaged clip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("energy", "objective"), [(TOLD, None), (ConvNet(), SHORT), (SMALL, None)], ids=["amortised", "conv_net", "encoder"]
)
def test_what_is_hidden_of_a_damaged_clip_is_never_read(energy, objective, tmp_path):
    """Other values under the mask give the same energy and gate, bit for bit: also none at all, which no product with
    a mask would hide."""
    x = movie()
    found, values = [], damage(x)
    for number, truth in enumerate((x, torch.full_like(x, torch.nan))):
        other = torch.where(values["observation"].mask[0], truth, x)
        values["data"] = alone(other)
        torch.manual_seed(0)
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(learned(values, folder, energy=energy, objective=objective, crop=(4, 8)))
    first, second = found
    assert not torch.equal(values["data"].train, alone(x).train), "the truths differ"
    assert torch.equal(weights(first["energy"]), weights(second["energy"]))
    one, other = first["gate"], second["gate"]
    if isinstance(one, Restoration):
        assert torch.equal(one.stack.weights, other.stack.weights) and one.held_out == other.held_out
    else:
        assert torch.equal(one.held_out, other.held_out)
        for told in ("context", "judged"):
            assert torch.equal(getattr(one, told).estimate, getattr(other, told).estimate)


@pytest.mark.slow
def test_the_truth_that_judges_is_never_learned_from(tmp_path):
    """What the gate holds out may be anything: the network learns the same. (The estimates beside it may not.)"""
    values = damage(movie())
    gate: Restoration = learned(values, tmp_path, energy=TOLD, crop=(4, 8))["gate"]
    (held_out,) = gate.masks
    held_out = held_out[None, None]
    assert not (held_out & values["observation"].mask).any(), "it was seen"
    assert 0 <= gate.shrinkage <= 1

    class Told(Denoising):
        def __call__(self, energy, batch, rng):
            assert batch.known is not None
            known.append(batch.known)
            return super().__call__(energy, batch, rng)

    known: list[Tensor] = []
    whole = (values["data"].shape[1], 16)
    learned(values, tmp_path, energy=TOLD, objective=Told(), crop=whole, steps=12)
    flips = [held_out.flip(axes) for axes in ([], [2], [3], [4], [2, 3], [2, 4], [3, 4], [2, 3, 4])]
    for mask in torch.cat(known).split(1):
        assert mask.any() and any(not (mask & flip).any() for flip in flips)


def test_crops_of_pieces_of_unlike_sizes_make_one_batch(tmp_path):
    """Damage of the first frames is a shorter piece than damage within the clip."""
    lessons, contexts = [], []
    for frames, side in ((5, 40), (14, 24)):
        x, held_out = torch.zeros(3, frames, side, side), torch.ones(frames, side, side, dtype=torch.bool)
        estimate = x[None]
        contexts.append(Context(estimate, estimate[:, :1] + 1, held_out[None, None], estimate[:, None][:, :0]))
        box = Box.around(held_out)
        lessons.append(restoration.Lesson(box, x, held_out, held_out, Candidates(*[torch.zeros(0)] * 3)))
    recipe = replace(LEARNING.ways["damaged"][0], energy=TOLD)
    made = restoration.learning(lessons, [], contexts, recipe, here(tmp_path))
    for step in range(4):
        _, batch = made.draw(made.energy, step, seeded(step))
        assert batch.x.shape == (2, 3, 5, 24, 24)


def test_a_window_anywhere_is_a_window_of_all_elements():
    everywhere = torch.ones(1, 1, 9, 12, 10, dtype=torch.bool)
    for seed in range(20):
        assert crops.anywhere((9, 12, 10), (4, 5, 5), seeded(seed)) == crops.window(everywhere, (4, 5, 5), seeded(seed))


@pytest.mark.slow
def test_a_scene_that_was_learned_before_recovers_by_conditioning(scene, tmp_path):
    given = Learn(str(scene))(damage(movie(8)), here(tmp_path))
    assert given["energy"].event_shape == (3, 8, 16, 16) and isinstance(given["gate"], Gate)
    assert given["generator"].levels == 24
    values = damage(movie(8)) | {"observation": Noisy(Average((1, 2, 2)), 0.1)}
    assert Learn(str(scene))(values, here(tmp_path))["gate"] is None, "means of blocks tell nothing to judge by"
    assert Learn(str(scene))({"data": alone(movie(8))}, here(tmp_path))["energy"].event_shape == (3, 8, 16, 16)


@pytest.mark.slow
def test_a_set_of_crops_that_were_learned_before_is_one_of_the_whole(tmp_path):
    found = learned({"data": alone(movie())}, tmp_path, energy=SMALL, crop=(4, 8), batch=2)["energy"]
    found.save_pretrained(tmp_path / "energy")
    given = Learn(str(tmp_path))(damage(movie()), here(tmp_path))
    assert given["energy"].event_shape == (3, 8, 16, 16)


# -------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("values", "settings", "words"),
    [
        ({"data": photograph()}, {"energy": Residual()}, "learn.energy=residual: one picture is learned by encoder or"),
        ({"data": photograph()}, {"objective": Denoising()}, "objective must be score_matching or"),
        ({"data": photograph()}, {"size": 32}, "learn.size does not serve"),
        (damage(movie()), {"energy": Residual()}, "one damaged clip is learned by amortised or"),
        (damage(movie()), {"energy": replace(TOLD, rank=5)}, "learn.energy.amortised.rank: is for data sets"),
        (damage(movie()), {"tasks": ("box",)}, "learn.tasks does not serve"),
        (damage(movie()) | {"observation": Average((1, 2, 2))}, {}, "does not tell of itself; give an energy"),
        (damage(movie(), 1.0), {}, "too much is hidden"),
    ],
)
def test_what_cannot_be_learned_of_one_alone_is_refused_in_one_line(values, settings, words, tmp_path):
    with pytest.raises(InputError, match=words) as told:
        Learn(**settings)(values, here(tmp_path))
    assert "\n" not in str(told.value)


def test_what_is_wrong_is_told_as_soon_as_it_is_known_whether_a_clip_is_damaged():
    values = damage(movie())
    Learn(energy=Residual()).check({"data": values["data"]})
    with pytest.raises(InputError, match="damaged clip"):
        Learn(energy=Residual()).check(values)


@pytest.mark.slow
def test_an_energy_that_does_not_suit_the_clip_is_told_in_one_line(scene, tmp_path):
    damaged = learned(damage(movie()), tmp_path, energy=TOLD, crop=(4, 8))["energy"]
    damaged.save_pretrained(tmp_path / "damaged")
    small = damage(movie(8, 12))
    for folder, values, words in (
        (scene, small, "is an energy of 3x6x16x16, the clip is 3x8x12x12"),
        (tmp_path / "damaged", damage(movie()), "one damaged clip alone"),
        (tmp_path / "none", damage(movie()), "none"),
    ):
        with pytest.raises(InputError, match=words) as told:
            Learn(str(folder)).check(values)
        assert "learn.pretrained=" in str(told.value) and "\n" not in str(told.value)


def test_a_published_network_of_clips_is_of_any_size_and_that_of_objects_of_one():
    assert single.is_stationary(GenerativeConvNet("st", [3, 4, 16, 16]))
    assert not single.is_stationary(GenerativeConvNet("object", [1, 16, 16]))
    assert not single.is_stationary(EncoderEnergy((1, 4, 4), (4,), (1,)).bind(_mean=torch.rand(1, 4, 4)))


def test_what_is_seen_of_a_clip_is_zero_where_it_is_hidden():
    values = damage(movie())
    found = clip.Damaged.of(values["measured"] + values["observation"].mask, values["observation"])
    assert found.hidden.shape == (8, 16, 16) and bool((found.clip[:, found.hidden] == 0).all())
