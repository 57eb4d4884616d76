"""How alike two clips move: statistics of what changes over time, which what stands still has no part in.

Clips are float tensors [C, T, H, W] in [-1, 1]. Their moving part is what is left in a window of some frames without
the mean of every pixel there. It is compared by its power in bands of spatial and of temporal frequency, by where it
is, and by how its values and differences are distributed, which linear dynamics of Gaussian noise do not get right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.examples import Examples
from pipelines.measures import floors
from pipelines.measures.baselines.dynamic_textures import LinearDynamicalSystem, reshuffled
from pipelines.measures.metrics import mean_of
from pipelines.measures.synthesis import OfClips
from pipelines.stage import Run

SPATIAL = (0.0, 1 / 16, 1 / 8, 1 / 4)  # cycles a pixel, lower edges of the bands; the last holds the corners, too
TEMPORAL = (0.0, 1 / 16, 1 / 8, 1 / 4)  # cycles a frame
WINDOW = 32  # frames of the windows that spectra are taken in, at most
FAINT = 1 / 12  # power of the rounding to bytes, levels^2: below, nothing is told
BANDS = tuple(f"{unit}_{wave}" for unit in ("pixels", "frames") for wave in (16, 8, 4, 2))
LONG = 500  # frames of the clip that rivals are made of, at most
QUANTILES = 63
MOST = 3  # rivals of each kind
COPY = 2.0  # root mean square distance, 0 to 255, below which a frame is a copy of one of the clip
RIVALS = ("linear_dynamical_system", "reshuffled_frames")


@dataclass(frozen=True, eq=False)
class OfMotion:
    """Compares clips with the one that they were learned from, of which there is no more.

    Attributes:
        data: the clip.
        run: gives randomness.
    """

    distance: ClassVar[str | None] = None

    data: Examples
    run: Run

    @cached_property
    def truth(self) -> Tensor:
        return self.data.x()[0]

    def __call__(self, x: Tensor) -> dict[str, float]:
        """`compare` of clips [n, C, T, H, W], the mean, and their differences, which what stands still outweighs."""
        theirs = self._moving(_frames(x[0], self.truth))
        return mean_of([compare(clip, self.truth, theirs) for clip in x]) | OfClips(self.data)(x)

    @cached_property
    def _moving(self) -> Callable[[int], Moving]:
        """Of the clip, by the frames of a window: once for all samples and rivals."""
        return cache(lambda frames: Moving.of(self.truth, frames))

    def beside(self, samples: Tensor, labels: Tensor | None, rng: torch.Generator) -> dict[str, Any]:
        """Of samples; of the clip's own halves, each as a sample of the other; of `rivals`; of noise; and of the mean
        frame, which stands still."""
        truth = self.truth[None]
        ways = rivals(self.truth, samples.shape[2], min(len(samples), MOST), self.run)
        ways |= {"noise": floors.noise(truth, 1, rng), "averages": truth.mean(2, keepdim=True).expand_as(truth)}
        real = between_halves(self.truth) | OfClips(self.data)(truth)
        return {"samples": self(samples), "real": real} | {name: self(x) for name, x in ways.items()}


@dataclass(frozen=True, eq=False)
class Moving:
    """Statistics of what moves in a clip.

    Attributes:
        power: in cells of spatial and temporal frequency.
        deviation: of each pixel [H, W], in levels.
        responses: quantiles of its values and differences.
    """

    power: Tensor
    deviation: Tensor
    responses: list[Tensor]

    @classmethod
    def of(cls, clip: Tensor, frames: int) -> Moving:
        """Of a clip [C, T, H, W], in windows of so many frames."""
        moving = _moving(clip, frames)
        return cls(band_power(moving), moving.square().mean((0, 1, 2)).sqrt(), _responses(moving))


def rivals(clip: Tensor, frames: int, num: int, run: Run) -> dict[str, Tensor]:
    """Published ways to go on with a clip: `num` of each, [num, C, frames, H, W]."""
    clip = clip[:, :LONG]
    system = LinearDynamicalSystem.fit(clip)
    streams = {name: [run.generator(name, k) for k in range(num)] for name in RIVALS}
    return {
        "linear_dynamical_system": torch.stack([system(frames, rng) for rng in streams["linear_dynamical_system"]]),
        "reshuffled_frames": torch.stack([reshuffled(clip, frames, rng) for rng in streams["reshuffled_frames"]]),
    }


def compare(x: Tensor, truth: Tensor, theirs: Moving | None = None) -> dict[str, float]:
    """How far the motion of a clip x is from that of another, which is taken as the truth, in as many frames a window.

    theirs: of the truth in windows of that length, where it is known.

    Returns:
        motion: standard deviation of the moving part, over that of the truth: 1 is right, 0 stands still.
        bands_db: root mean square difference of the power in cells of spatial and temporal frequency, in dB.
        largest_db: the largest difference of a band of spatial frequency, or of temporal, in dB.
        pixels_16 ... pixels_2, frames_16 ... frames_2: power in these bands over that of the truth, named by the
            shortest wave in each, those of 16 pixels and more, of 8 to 16, ...
        places: root mean square difference of how much every pixel moves, over that root mean square of the truth; 1
            where x stands still. Of x of another size it is left out.
        responses: root mean square difference of the ordered moving part, and of its differences in time and in space,
            where it moves, in units of their spread (as Heeger & Bergen 1995).
        copies: share of the frames that are frames of the truth, to 2 levels of 255.
    """
    frames = _frames(x, truth)
    ours, theirs = Moving.of(x, frames), theirs or Moving.of(truth, frames)
    power, wanted = ours.power, theirs.power
    found = {"motion": float((power.sum() / wanted.sum()).sqrt())}
    bands = torch.cat([power.sum(axis) / wanted.sum(axis) for axis in (1, 0)])
    found["bands_db"] = float(_decibels(power / wanted).square().mean().sqrt())
    found["largest_db"] = float(_decibels(bands).abs().max())
    found |= dict(zip(BANDS, bands.tolist(), strict=True))
    same = x.shape[2:] == truth.shape[2:]
    if same:
        here, there = ours.deviation, theirs.deviation
        found["places"] = float(((here - there).square().mean() / there.square().mean().clamp(min=FAINT)).sqrt())
    pairs = zip(ours.responses, theirs.responses, strict=True)
    gaps = torch.cat([(a - b) / b.std().clamp(min=math.sqrt(FAINT)) for a, b in pairs])
    found["responses"] = float(gaps.square().mean().sqrt())
    return found | ({"copies": copies(x, truth)} if same else {})


def _frames(x: Tensor, truth: Tensor) -> int:
    """Of the windows that two clips are compared in."""
    return min(x.shape[1], truth.shape[1], WINDOW)


def between_halves(clip: Tensor) -> dict[str, float]:
    """`compare` of the first half of the frames with the second, and back, the mean."""
    first, second = clip.tensor_split([clip.shape[1] // 2], 1)
    return mean_of([compare(first, second), compare(second, first)])


def copies(x: Tensor, truth: Tensor) -> float:
    """Share of the frames of x that are frames of the truth."""
    ours, theirs = (clip.transpose(0, 1).flatten(1).float() * 127.5 for clip in (x, truth))
    nearest = torch.cat([torch.cdist(part, theirs).amin(1) for part in ours.split(64)])
    return float((nearest / math.sqrt(ours.shape[1]) < COPY).double().mean())


def band_power(moving: Tensor) -> Tensor:
    """Power [spatial bands, temporal bands] of windows of a moving part [n, C, T, H, W] (Welch 1967), which adds up to
    about its variance in levels^2; in every band at least that of the rounding to bytes."""
    sides = moving.shape[2:]
    taper = [torch.hann_window(n + 2, periodic=False, dtype=torch.float64)[1:-1] for n in sides]
    window = taper[0][:, None, None] * taper[1][:, None] * taper[2]
    radius = torch.hypot(torch.fft.fftfreq(sides[1])[:, None], torch.fft.fftfreq(sides[2])).flatten()
    cell = len(TEMPORAL) * _band(radius, SPATIAL) + _band(torch.fft.rfftfreq(sides[0]), TEMPORAL)[:, None]
    num = len(SPATIAL) * len(TEMPORAL)
    power = torch.zeros(num, dtype=torch.float64)
    for part in moving:
        spectrum = torch.fft.fft2(torch.fft.rfft(part * window, dim=1))
        power += torch.bincount(cell.flatten(), spectrum.abs().square().mean(0).flatten(), num)
    power /= len(moving) * cell.numel() * window.square().sum()
    # Of a band between the frequencies of few frames, one and the same: a ratio of 1.
    rounding = FAINT * torch.bincount(cell.flatten(), minlength=num).clamp(min=1) / cell.numel()
    return torch.maximum(power, rounding).view(len(SPATIAL), len(TEMPORAL))


def _band(frequencies: Tensor, edges: Sequence[float]) -> Tensor:
    """The number of the band of each, which reach from each edge to the next."""
    return torch.bucketize(frequencies.double().contiguous(), torch.tensor(edges[1:], dtype=torch.float64))


def _decibels(ratio: Tensor) -> Tensor:
    return 10 * ratio.log10()


def _moving(clip: Tensor, frames: int) -> Tensor:
    """Windows [n, C, frames, H, W] of a clip, half of each in the next, too, without their mean frame, in levels."""
    windows = clip.unfold(1, frames, max(1, frames // 2)).movedim(4, 2).transpose(0, 1).double() * 127.5
    return windows - windows.mean(2, keepdim=True)


def _responses(moving: Tensor) -> list[Tensor]:
    """Quantiles [QUANTILES] of a moving part [n, C, T, H, W], grey, and of its differences in time, across and down, at
    the pixels that move at least half as much as all do in the mean."""
    grey = moving.mean(1)
    deviation = grey.square().mean((0, 1)).sqrt()
    where = deviation >= deviation.square().mean().sqrt() / 2
    parts = grey, grey.diff(dim=1), F.pad(grey.diff(dim=3), (0, 1)), F.pad(grey.diff(dim=2), (0, 0, 0, 1))
    at = np.linspace(0, 1, QUANTILES + 2)[1:-1]
    return [torch.from_numpy(np.quantile(part[:, :, where].numpy(), at)) for part in parts]
