"""Optical flow, propagation along it, smoothness along it: laws of a pattern that is moved."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np
import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies.classical import flow, held_out, inpainting, motion, propagation, restoration, smoothing
from energies.classical.flow import Flow
from energies.classical.geometry import distance, gap
from energies.classical.shots import shots


def moved(num: int, size: int, velocity: tuple[float, float], seed: int = 0, channels: int = 1) -> Tensor:
    """A smooth periodic pattern [1, C, T, H, W] that moves by `velocity`, (y, x) in pixels a frame; exact at every
    time."""
    rng = seeded(seed)
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    clip = torch.zeros(1, channels, num, size, size)
    for channel in range(channels):
        for _ in range(24):
            wave = torch.randint(-4, 5, (2,), generator=rng) / size
            phase = 2 * math.pi * torch.rand((), generator=rng)
            for t in range(num):
                there = wave[0] * (y - velocity[0] * t) + wave[1] * (x - velocity[1] * t)
                clip[0, channel, t] += torch.cos(2 * math.pi * there + phase)
    return clip / clip.abs().amax()


def hole(num: int, size: int, top: int = 12, left: int = 14, side: int = 10) -> Tensor:
    hidden = torch.zeros(1, 1, num, size, size, dtype=torch.bool)
    hidden[..., top : top + side, left : left + side] = True
    return hidden


def frames(clip: Tensor) -> np.ndarray:
    return np.ascontiguousarray(clip[0].movedim(0, -1).numpy())


def constant(num: int, size: int, x: float, y: float) -> Flow:
    there = np.broadcast_to(np.float32([x, y]), (num - 1, size, size, 2)).copy()
    nothing = np.zeros((num - 1, size, size), np.float32)
    return Flow(there, -there, nothing, nothing)


def test_flow_of_a_moved_pattern_is_its_velocity_also_in_a_hole() -> None:
    clip, hidden = moved(3, 48, (0.5, -1.5)), hole(3, 48)
    found = flow.of_clip(frames(torch.where(hidden, 0.0, clip)), hidden[0, 0].numpy())
    for there, sign in ((found.forward, 1), (found.backward, -1)):
        inner = there[:, 8:-8, 8:-8]
        assert np.abs(inner - sign * np.float32([-1.5, 0.5])).mean() < 0.1


@pytest.mark.slow
def test_a_hole_that_a_moved_pattern_crosses_is_recovered() -> None:
    clip, hidden = moved(16, 48, (0.0, 2.0), channels=3), hole(16, 48)
    start = torch.where(hidden, clip.mean(), clip)
    found = propagation.propagated(frames(start), hidden[0, 0].numpy())
    where = hidden[0, 0].numpy()
    error = (found.frames - frames(clip))[where]
    assert np.sqrt(np.square(error).mean()) < 2e-3  # a thousandth of the range
    assert (found.frames == frames(clip))[~where].all()


def test_a_lost_frame_of_a_moved_pattern_is_recovered_along_the_motion() -> None:
    clip = moved(5, 48, (1.0, 2.0))
    hidden = torch.zeros(1, 1, 5, 48, 48, dtype=torch.bool)
    hidden[:, :, 2] = True
    found = propagation.propagated(frames(torch.where(hidden, 0.0, clip)), hidden[0, 0].numpy())
    still = (clip[:, :, 1] + clip[:, :, 3]) / 2 - clip[:, :, 2]
    error = (found.frames[2] - frames(clip)[2])[4:-4, 4:-4]
    assert np.sqrt(np.square(error).mean()) < 0.05 * float(still.square().mean().sqrt())


def test_trajectories_end_at_the_first_seen_place() -> None:
    hidden = hole(20, 32, left=10, side=8)[0, 0].numpy()
    later = propagation.trajectories(constant(20, 32, 2.0, 0.0), hidden, 1)
    _, _, x = np.nonzero(hidden)
    frame = np.nonzero(hidden)[0]
    steps = np.ceil((18 - x) / 2).astype(int)
    inside = frame + steps < 20
    assert (later.landed == inside).all()
    assert (later.steps[inside] == steps[inside]).all()
    assert np.allclose(later.x[inside], (x + 2 * steps)[inside])


def test_a_ramp_is_the_smoothest_clip_between_its_ends() -> None:
    ramp = torch.linspace(-0.5, 0.5, 24).expand(1, 1, 6, 24, 24)
    hidden = hole(6, 24, 6, 6, 8)[0, 0].numpy()
    problem = smoothing.Smoothing(frames(ramp), hidden)
    problem.add("membrane", smoothing.differences(hidden, 1), smoothing.differences(hidden, 2))
    problem.add("plate", smoothing.laplacians(hidden))
    truth = frames(ramp)[hidden]
    for name in ("membrane", "plate"):
        assert np.abs(problem.minimum({name: 1.0}, np.zeros_like(truth)) - truth).max() < 0.02


@pytest.mark.parametrize("method", ["telea", "navier_stokes"])
def test_a_ramp_is_inpainted_frame_by_frame(method: Literal["telea", "navier_stokes"]) -> None:
    ramp = torch.linspace(-0.5, 0.5, 24).expand(2, 3, 24, 24).clone()
    hidden = torch.zeros(3, 24, 24, dtype=torch.bool)
    hidden[:2, 6:12, 8:14] = True
    found = inpainting.by_frame(torch.where(hidden, 0.0, ramp), hidden, method)
    assert (found - ramp)[:, hidden].abs().mean() < 0.06  # the range is 1; on a wrong scale it is .3
    assert torch.equal(found[:, ~hidden], ramp[:, ~hidden])


def test_smoothness_along_the_flow_keeps_a_moved_pattern() -> None:
    clip, hidden = moved(16, 48, (0.0, 2.0)), hole(16, 48)[0, 0].numpy()
    problem = smoothing.Smoothing(frames(clip), hidden)
    problem.add("flow", *smoothing.along_flow(hidden, constant(16, 48, 2.0, 0.0)))
    truth = frames(clip)[hidden]
    error = problem.minimum({"flow": 1.0}, np.zeros_like(truth)) - truth
    assert np.sqrt(np.square(error).mean()) < 0.02


def test_gradients_that_are_carried_along_do_not_mind_the_light() -> None:
    clip = 0.6 * moved(7, 48, (0.0, 1.5))
    clip[:, :, 3] += 0.1  # a frame that is brighter
    hidden = torch.zeros(1, 1, 7, 48, 48, dtype=torch.bool)
    hidden[..., 3, 16:28, 18:30] = True
    found = motion.candidates(torch.where(hidden, 0.0, clip), hidden)
    error = (found.values - clip[0][:, hidden[0, 0]].T).square().mean((1, 2)).sqrt()
    ends = 4 + sum(len(choices) for choices in (*motion.STILL.values(), motion.ROBUST["time"]))
    assert error[ends] > 0.09  # of values that are carried along
    assert error[-1] < 0.08


def test_what_a_guide_is_off_by_all_over_does_not_count() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(-0.5, 0.5, (2, 12, 12, 3)).astype(np.float32)
    veil = np.zeros((2, 12, 12), bool)
    veil[:, 3:9, 3:9] = True
    found = smoothing.Smoothing(truth, veil)
    found.add("gradients", *smoothing.guided(veil, np.ones_like(veil)), guide=truth + 0.4)
    assert found.minimum({"gradients": 1.0}, 0 * truth[veil]) == pytest.approx(truth[veil], abs=0.02)


@pytest.mark.slow
def test_nothing_is_taken_across_a_cut() -> None:
    first, second = moved(5, 32, (0.0, 1.0)) * 0.3 - 0.5, moved(5, 32, (1.0, 0.0), seed=1) * 0.3 + 0.5
    hidden = hole(10, 32)
    hidden[:, :, :3] = False
    whole = torch.cat([first, second], 2)
    assert shots(frames(whole), hidden[0, 0].numpy()) == [slice(0, 5), slice(5, 10)]
    assert shots(frames(first), hidden[0, 0, :5].numpy()) == [slice(0, 5)]
    found = motion.candidates(whole, hidden)
    before = int(hidden[:, :, :5].sum())
    alone = motion.candidates(first, hidden[:, :, :5])
    assert torch.equal(found.values[:, :before], alone.values)


@pytest.mark.parametrize("size", [(1, 1, 9, 9), (3, 2, 8, 11), (1, 3, 5, 4)])
def test_small_clips_are_estimated_and_what_is_seen_stays(size: tuple[int, int, int, int]) -> None:
    x = 2 * torch.rand(1, *size, generator=seeded(0)) - 1
    hidden = torch.zeros(1, 1, *size[1:], dtype=torch.bool)
    hidden[..., 2:4, 1:3] = True
    found = motion.candidates(x, hidden)
    assert found.values.shape == (motion.NUM, int(hidden.sum()), size[0])
    assert found.features.shape == (int(hidden.sum()), len(motion.FEATURES))
    assert bool(found.values.isfinite().all()) and bool(found.features.isfinite().all())
    assert float(found.values.abs().amax()) <= 1
    hidden_values_changed = motion.candidates(torch.where(hidden, 0.7, x), hidden)
    assert torch.equal(found.values, hidden_values_changed.values)


@pytest.mark.slow
def test_a_window_is_restored_and_its_errors_are_foretold() -> None:
    clip, hidden = moved(7, 32, (0.0, 1.5)), hole(7, 32, 12, 10, 8)
    restored = restoration.restore(torch.where(hidden, 0.0, clip), hidden, seeded(0), 2)
    seen = ~hidden.expand_as(clip)
    assert torch.equal(restored.estimate[seen], clip[seen])
    error = (restored.estimate - clip).square().mean(1, keepdim=True)[hidden].sqrt()
    assert error.square().mean().sqrt() < 0.1 * clip.std()
    assert float((error < 2 * restored.scale[hidden]).float().mean()) > 0.8


@pytest.mark.slow
def test_held_out_masks_move_as_the_real_one_and_are_as_hard() -> None:
    hidden = torch.zeros(12, 48, 48, dtype=torch.bool)
    for t in range(12):
        hidden[t, 4 + t : 14 + t, 20:30] = True
    for mask in held_out.alike(hidden, 3, seeded(0)):
        assert not (mask & hidden).any()
        rows = [frame.any(1).float() for frame in mask]
        # From a frame to the next the mask goes down by one row, cyclically.
        agree = [float((b - a.roll(1)).abs().sum()) for a, b in itertools.pairwise(rows) if a.any() and b.any()]
        assert sum(agree) / len(agree) < 2
        both = (mask | hidden).numpy()
        far = distance(both)[mask.numpy()].mean()
        assert abs(far / distance(hidden.numpy())[hidden.numpy()].mean() - 1) < 0.15


def test_of_a_few_pixels_many_copies_are_held_out():
    """A dead pixel of a short clip: moved once it would tell nothing."""
    hidden = torch.zeros(8, 16, 16, dtype=torch.bool)
    hidden[:, 5, 7] = True
    masks = held_out.alike(hidden, 3, seeded(0))
    assert len(masks) == 3
    for mask in masks:
        assert 64 <= mask.sum() <= 128 and not (mask & hidden).any()


def test_scattered_pixels_are_held_out_thinly() -> None:
    hidden = torch.rand(6, 32, 32, generator=seeded(0)) < 0.5
    for mask in held_out.alike(hidden, 2, seeded(1)):
        assert (mask | hidden).float().mean() < 0.57


def test_distances_to_what_is_seen() -> None:
    hidden = np.zeros((5, 7, 7), bool)
    hidden[1:4, 2:5, 2:5] = True
    hidden[4] = True
    assert distance(hidden)[1, 3, 3] == 2 and distance(hidden)[0, 3, 3] == 1 and distance(hidden)[4, 0, 0] == 3.5
    assert gap(hidden)[3, 3, 3] == 3 and gap(hidden)[1, 3, 3] == 1 and gap(hidden)[4, 0, 0] == 1
