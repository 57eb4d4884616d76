"""How alike two clips move, and published ways to go on with one."""

from __future__ import annotations

import pytest
import torch
from conftest import seeded
from torch import Tensor

from pipelines.examples import Examples
from pipelines.measures import dynamic_textures
from pipelines.measures.baselines.dynamic_textures import LinearDynamicalSystem, reshuffled
from pipelines.measures.dynamic_textures import between_halves, compare
from pipelines.stage import Run

FRAMES = 64


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """Edges that stand still, of ten times the contrast of what moves: blobs whose brightness comes and goes."""
    rng = seeded(0)
    still = 0.6 * (torch.rand(3, 1, 16, 16, generator=rng) - 0.5).sign()
    state, frames = torch.randn(1, 4, 4, generator=rng), []
    for _ in range(FRAMES):
        state = 0.7 * state + 0.7 * torch.randn(1, 4, 4, generator=rng)
        frames.append(state)
    moving = torch.nn.functional.interpolate(torch.cat(frames)[:, None], (16, 16), mode="bilinear")[:, 0]
    return (still + 0.06 * moving).clamp(-1, 1)


def test_the_halves_of_a_clip_are_near_and_what_stands_still_is_far(clip):
    halves = between_halves(clip)
    assert halves["motion"] == pytest.approx(1, abs=0.1) and halves["largest_db"] < 3 and halves["responses"] < 0.15
    for still in (clip[:, :1].expand_as(clip), clip.mean(1, keepdim=True).expand_as(clip)):
        found = compare(still, clip)
        assert found["motion"] < 0.1 and found["places"] > 0.95 and found["largest_db"] > 20
        assert found["responses"] > 5 * halves["responses"]


def test_a_band_tells_what_is_missing_there(clip):
    smooth = (clip[:, 1:] + clip[:, :-1]) / 2
    found, at = compare(smooth, clip), torch.fft.rfftfreq(32)
    gain = (torch.pi * at).cos().square()  # of the mean of two neighbours
    assert found["frames_16"] == pytest.approx(float(gain[at <= 1 / 16].mean()), abs=0.1)
    assert found["frames_2"] == pytest.approx(float(gain[at > 1 / 4].mean()), abs=0.1)
    assert compare(clip, clip)["bands_db"] == 0 and compare(clip, clip)["copies"] == 1


def test_noise_of_the_right_spectrum_that_is_gaussian_is_told_by_its_responses():
    rng = seeded(1)
    bursts = (torch.rand(1, FRAMES, 16, 16, generator=rng) < 0.1).float() * 0.6 - 0.06
    noise = (bursts.std() * torch.randn(bursts.shape, generator=rng)).clamp(-1, 1)
    found, halves = compare(noise, bursts), between_halves(bursts)
    assert found["largest_db"] < 1 and found["responses"] > 3 * halves["responses"]


def test_linear_dynamics_are_found_again_and_go_on_with_the_same_variance():
    rng, turn = seeded(2), torch.tensor([[0.8, -0.5], [0.5, 0.8]])
    components, state, states = torch.linalg.qr(torch.randn(48, 2, generator=rng))[0], torch.zeros(2), []
    for _ in range(400):
        state = turn @ state + 0.1 * torch.randn(2, generator=rng)
        states.append(state)
    clip = (torch.stack(states) @ components.T).view(400, 3, 4, 4).transpose(0, 1)
    system = LinearDynamicalSystem.fit(clip, 2)
    moduli = torch.linalg.eigvals(system.step).abs()
    torch.testing.assert_close(moduli, torch.full((2,), 0.89**0.5).double(), atol=0.03, rtol=0)
    made = system(400, rng)
    assert made.shape == clip.shape and float(made.std() / clip.std()) == pytest.approx(1, abs=0.2)
    assert torch.equal(system(9, seeded(3)), system(9, seeded(3)))


def test_a_loop_goes_on_in_its_order_when_its_frames_are_reshuffled():
    phase = torch.arange(40) * 2 * torch.pi / 8
    clip = 0.5 * torch.stack([phase.cos(), phase.sin()])[:, :, None, None].expand(2, 40, 2, 2)
    made = reshuffled(clip, 100, seeded(0))
    found = torch.atan2(made[1, :, 0, 0], made[0, :, 0, 0]).diff() * 8 / (2 * torch.pi)
    torch.testing.assert_close(found.remainder(8), torch.ones(99), atol=1e-3, rtol=0)


@pytest.mark.parametrize("frames", [4, 24])
def test_rivals_stand_beside_samples_of_a_clip_of_any_length(clip, frames, tmp_path):
    x = clip[None, :, :frames]
    compare = dynamic_textures.OfMotion(Examples("video", tuple(x.shape[1:]), x, x[:0]), Run(tmp_path, tmp_path))
    found = compare.beside(torch.cat([x, x])[:, :, : frames - 1], None, seeded(0))
    assert list(found) == ["samples", "real", *dynamic_textures.RIVALS, "noise", "averages"]
    assert found["samples"]["copies"] == found["reshuffled_frames"]["copies"] == 1
    assert found["linear_dynamical_system"]["copies"] < 1 and found["averages"]["motion"] < 0.2
    assert all(row.keys() == found["samples"].keys() for row in found.values())
    assert all(torch.tensor(list(row.values())).isfinite().all() for row in found.values())
