"""Textures: made ones, how alike two are, and an energy of any size."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import seeded

from data.errors import InputError
from data.textures import KINDS, texture
from energies import EncoderEnergy, gradient, load
from pipelines.examples import Examples
from pipelines.measures import textures as likeness
from pipelines.stage import Run


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


@pytest.mark.slow
def test_a_texture_is_like_itself_and_unlike_noise():
    photograph = texture("bricks", 64)
    same = likeness.compare(photograph, photograph, 32, seeded(0))
    assert max(same.values()) < 0.05  # distances by matrix products leave a rest
    wide = likeness.compare(likeness.tiled(photograph, 200, 200), photograph, 32, seeded(0))
    assert wide["responses"] < 0.1, "of the scales that both have"
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


def test_a_texture_is_judged_beside_what_it_has_to_be_better_than(tmp_path):
    """The photograph again has all of it right; its halves say how near a texture need be."""
    photograph = texture("bricks", 64)
    data = Examples("images", (3, 64, 64), photograph[None], photograph[None][:0])
    compare = likeness.OfTexture(data, Run(tmp_path, tmp_path))
    found = compare.beside(likeness.tiled(photograph, 128, 96)[None], None, seeded(0))
    assert list(found) == ["samples", "real", "tiled_photograph", "random_phase_noise", "refused"]
    assert found["refused"] is None, "of bricks noise with their spectrum is told"
    assert found["samples"] == compare(likeness.tiled(photograph, 128, 96)[None])
    assert found["samples"]["patches"] < found["real"]["patches"] < found["random_phase_noise"]["patches"]
    assert likeness.side_of(photograph, torch.zeros(3, 20, 90)) == 20 and likeness.side_of(photograph, photograph) == 32
