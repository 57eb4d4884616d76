"""Textures: made ones, how alike two are, an energy of any size, and the pipeline from a photograph to a bigger one."""

from __future__ import annotations

import json
import math

import pytest
import torch
from conftest import seeded

from data import images
from data.errors import InputError
from data.textures import KINDS, texture
from energies import EncoderEnergy, Schedule, gradient, load
from energies.objectives import MaximumLikelihood
from pipelines.measures import textures as likeness
from pipelines.pipeline import Pipeline, Run
from pipelines.stages.images.export_texture import ExportTexture
from pipelines.stages.images.texture import (
    ConvNet,
    Encoder,
    LearnTexture,
    LoadTexture,
    SynthesizeTexture,
    crops,
    of_size,
    over_windows,
)
from pipelines.training import Optimizer

TINY = Encoder((4, 8), (1, 1), optimizer=Optimizer(2))


def energy_of(shape: list[int]) -> EncoderEnergy:
    torch.manual_seed(0)
    energy = EncoderEnergy(shape, (4, 8), (1, 1)).double()
    energy.centre(0.3 * torch.rand(7, *shape, dtype=torch.float64, generator=seeded(1)))
    return energy.at(0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_texture_is_as_good_as_its_seed_says(kind):
    x = texture(kind, 64, seed=3)
    assert x.shape == (3, 64, 64) and x.abs().max() <= 1 and (x.std((1, 2)) > 0.1).all()
    assert torch.equal(x, texture(kind, 64, seed=3)) and not torch.equal(x, texture(kind, 64, seed=4))
    whole, half = texture(kind, 128, seed=3), x  # the same scene, seen finer
    shrunk = torch.nn.functional.avg_pool2d(whole, 2)
    assert float((shrunk.mean((1, 2)) - half.mean((1, 2))).abs().max()) < 0.1


def test_made_textures_refuse_what_they_are_not():
    with pytest.raises(InputError, match="bricks, cloth"):
        texture("marble", 64)
    with pytest.raises(InputError, match="size=8"):
        texture("bricks", 8)


def test_another_size_shares_the_weights_and_has_one_colour_as_its_mean():
    energy = energy_of([2, 8, 8])
    wide = energy.resized((16, 24))
    assert wide.event_shape == (2, 16, 24) and energy.event_shape == (2, 8, 8) and energy.mean.shape == (2, 8, 8)
    torch.testing.assert_close(wide.mean[:, 3, 5], energy.mean.mean((1, 2)))
    assert float(wide.mean.flatten(1).std(1).max()) < 1e-12
    assert next(wide.parameters()) is next(energy.parameters()) and wide.level == energy.level


def test_far_from_borders_the_energy_is_the_same_in_every_size():
    # Two levels of blocks of 3x3 see 4 + 8 pixels around; what lies further in cannot tell a border.
    energy = energy_of([1, 64, 64]).resized((64, 64))
    x = torch.randn(1, 1, 96, 104, dtype=torch.float64, generator=seeded(2))
    _, wide = gradient(energy.resized((96, 104)), x)
    _, cut = gradient(energy, x[:, :, 16:80, 20:84])
    torch.testing.assert_close(cut[:, :, 28:36, 28:36], wide[:, :, 44:52, 48:56])
    assert not torch.allclose(cut[:, :, :4, :4], wide[:, :, 16:20, 20:24])


def test_a_resized_energy_is_saved_with_its_size(tmp_path):
    energy = energy_of([1, 8, 8]).resized((12, 16)).float()
    energy.save_pretrained(tmp_path)
    back = load(tmp_path)
    x = torch.randn(2, 1, 12, 16, generator=seeded(0))
    assert back.event_shape == (1, 12, 16)
    torch.testing.assert_close(back(x), energy(x))


@pytest.mark.parametrize("learned", [Encoder((4, 8), (1, 1)), ConvNet()], ids=["encoder", "conv_net"])
def test_a_learned_energy_takes_any_size(learned):
    photograph = texture("bricks", 32)
    energy: torch.nn.Module = learned.build(16, photograph)
    wide = of_size(energy, 20, 36)
    if isinstance(wide, EncoderEnergy):
        assert wide.spread == pytest.approx(float((photograph - photograph.mean((1, 2), True)).square().mean().sqrt()))
        wide = wide.at(0.3)
    assert wide(torch.zeros(2, 3, 20, 36)).shape == (2,) and wide.event_shape == (3, 20, 36)


def test_crops_are_places_of_the_photograph_and_every_one_comes_up():
    x = torch.arange(30.0).reshape(1, 5, 6)
    found = crops(x, 3, 500, seeded(0))
    assert found.shape == (500, 1, 3, 3)
    assert set(found[:, 0, 0, 0].int().tolist()) == {6 * row + column for row in range(3) for column in range(4)}
    torch.testing.assert_close(found - found[:, :, :1, :1], (x[:, :3, :3] - x[:, :1, :1]).expand(500, -1, -1, -1))


def test_correlations_and_power_are_those_of_known_textures():
    x = torch.arange(64.0)
    waves = 0.5 * torch.sin(2 * math.pi * x / 8).expand(1, 64, 64)
    told = likeness.describe(waves)
    assert told["horizontal"]["2"] == pytest.approx(0, abs=0.02)
    assert told["horizontal"]["4"] == pytest.approx(-1, abs=0.02)
    assert told["vertical"]["1"] == pytest.approx(1)
    frequency, power = likeness.ring_power(waves, 32)
    assert frequency[power.index(max(power))] == pytest.approx(1 / 8)
    noise = 0.2 * torch.randn(3, 128, 128, generator=seeded(0))
    _, flat = likeness.ring_power(noise, 32)
    assert sum(flat) / len(flat) == pytest.approx(0.04, rel=0.05)


def test_a_texture_is_like_itself_and_unlike_noise():
    photograph = texture("bricks", 64)
    same = likeness.compare(photograph, photograph, 32, seeded(0))
    assert max(same.values()) < 0.05  # distances by matrix products leave a rest
    noise = likeness.random_phase(photograph, 96, 80, seeded(0))
    other = likeness.compare(noise, photograph, 32, seeded(0))
    floor = likeness.between_halves(photograph, 32, seeded(0))
    assert other["patches"] > 1.15 * floor["patches"]


def test_random_phases_keep_mean_and_second_order_statistics():
    photograph = texture("cloth", 64)
    noise = likeness.random_phase(photograph, 256, 256, seeded(0))
    apart = likeness.compare(noise, photograph, 32, seeded(0))
    assert apart["mean"] < 2 and apart["std"] < 4 and apart["correlation"] < 0.05 and apart["spectrum_db"] < 1
    colours = [torch.corrcoef(x.flatten(1)) for x in (noise, photograph)]
    torch.testing.assert_close(colours[0], colours[1], atol=0.05, rtol=0)


def test_tiles_repeat_the_photograph():
    x = torch.rand(3, 5, 4, generator=seeded(0))
    wide = likeness.tiled(x, 12, 6)
    assert wide.shape == (3, 12, 6)
    torch.testing.assert_close(wide[:, 7, 5], x[:, 2, 1])


@pytest.mark.parametrize("windows", [None, 8])
@pytest.mark.parametrize(
    "energy",
    [TINY, ConvNet(0.5, MaximumLikelihood(2, sampling_steps=4), Optimizer(2), 2)],
    ids=["encoder", "conv_net"],
)
def test_the_pipeline_writes_all_it_promises(tmp_path, energy, windows):
    quick = Schedule(3, steps=1) if isinstance(energy, Encoder) else None
    stages = [
        LoadTexture(size=32, channels=1),
        LearnTexture(energy, crop=16, batch=2),
        SynthesizeTexture(height=37, margin=8, windows=windows, generator=quick),
        ExportTexture(),
    ]
    values = Pipeline(stages).run(tmp_path / "run", seed=1)
    root = tmp_path / "run"
    assert values["texture"].shape == (1, 37, 64)
    assert images.read(root / "texture.png", channels=1).shape == (1, 37, 64)
    found = json.loads((root / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert set(found["differences"]) == {
        "texture", "tiled_photograph", "random_phase_noise", "photographs_own_halves",
    }  # fmt: skip
    assert (root / "photograph.png").is_file() and "radially averaged power" in (root / "report.html").read_text()
    assert tuple(load(root / "energy").event_shape) == (1, 16, 16)


def test_a_product_over_windows_goes_on_at_its_edge():
    energy = TINY.build(16, torch.rand(1, 32, 32, generator=seeded(0))).eval()
    whole = over_windows(energy, 30, 48, 8)
    assert whole.event_shape == (1, 32, 48), "a little more than asked for"
    x = torch.randn(1, 1, 32, 48, generator=seeded(1))
    found = [float(whole.at(0.5)(x.roll(shift, (2, 3))).detach()) for shift in ((0, 0), (8, 16), (24, 40))]
    assert found == pytest.approx([found[0]] * 3, rel=1e-4), "no window is the first or the last"
    with pytest.raises(InputError, match="windows=5: does not divide a crop of 16"):
        over_windows(energy, 30, 48, 5)
    with pytest.raises(InputError, match=r"windows=16: .* that overlap"):
        over_windows(energy, 30, 48, 16)
    with pytest.raises(InputError, match="48x12 pixels are fewer than a window has, 16x16"):
        over_windows(energy, 12, 48, 8)


def loaded(tmp_path, **settings):
    run = Run(tmp_path, tmp_path)
    return LoadTexture(**settings)({}, run)


def test_bad_photographs_are_told_with_the_setting(tmp_path):
    images.write(tmp_path / "tiny.png", torch.rand(3, 20, 90))
    images.write(tmp_path / "small.png", torch.rand(3, 50, 90))
    images.write(tmp_path / "flat.png", torch.zeros(3, 64, 64))
    for settings, words in (
        ({"photograph": str(tmp_path / "none.png")}, r"load_texture.photograph: .*none.png"),
        ({"photograph": str(tmp_path / "tiny.png")}, r"load_texture.photograph=.*90x20"),
        ({"photograph": str(tmp_path / "small.png"), "size": 64}, r"load_texture.size=64: .*set 50"),
        ({"photograph": str(tmp_path / "flat.png"), "size": 64}, r"load_texture.photograph=.*one colour"),
        ({"size": None}, r"load_texture.size=null"),
    ):
        with pytest.raises(InputError, match=words) as told:
            loaded(tmp_path, **settings)
        assert "\n" not in str(told.value)
    assert loaded(tmp_path, photograph=str(tmp_path / "small.png"), size=None)["photograph"].shape == (3, 50, 90)
    with pytest.raises(InputError, match=r"learn_texture.crop=64: .*48x48"):
        LearnTexture()({"photograph": torch.zeros(3, 48, 48)}, Run(tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        (LoadTexture, {"size": 8}),
        (LoadTexture, {"channels": 2}),
        (LearnTexture, {"crop": 8}),
        (LearnTexture, {"batch": 0}),
        (SynthesizeTexture, {"height": 4}),
        (SynthesizeTexture, {"margin": -1}),
        (SynthesizeTexture, {"windows": 2}),
        (Encoder, {"widths": (4,), "depths": (1, 1)}),
        (ConvNet, {"sigma": 0.0}),
    ],
)
def test_settings_out_of_range_are_refused(stage, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        stage(**settings)
