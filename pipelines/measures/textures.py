"""How alike two textures are, and the simple ways to make more of one that a learned way has to be better than.

Textures are float tensors [C, H, W] in [-1, 1], C = 1 or 3, of any sizes: they are compared by statistics that do not
depend on where things are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.examples import Examples
from pipelines.measures.metrics import mean_of, spectrum
from pipelines.stage import Run

LAGS = (1, 2, 4, 8)  # pixels
PATCH = 8  # pixels a side of the patches that are looked for in the photograph
PATCHES = 1500  # that are looked for
SCALES = 3  # that edges and spots are looked for at, each half as fine
QUANTILES = 63  # of what filters respond to
TELLING = ("responses", "patches")  # what noise with the photograph's spectrum has not right by itself
FARTHER = 1.15  # times as far as the photograph's halves, at least, noise must be by one of these
FAINT = 1e-8  # power of nothing, for decibels: a thousandth of the rounding to bytes


@dataclass(frozen=True, eq=False)
class OfTexture:
    """Compares textures with the photograph that they were learned from, of which there is one, and all of it was seen.

    Attributes:
        data: the photograph.
        run: gives randomness.
    """

    distance: ClassVar[str | None] = None

    data: Examples
    run: Run

    def __call__(self, x: Tensor) -> dict[str, float]:
        """`compare` of textures [n, C, H, W], the mean."""
        truth = self.data.x()[0]
        found = [compare(one, truth, side_of(truth, one), self.run.generator("texture")) for one in x]
        return mean_of(found)

    def beside(self, samples: Tensor, labels: Tensor | None, rng: torch.Generator) -> dict[str, Any]:
        """Of samples, the photograph's own halves, noise with its spectrum, and the photograph again and again; and why
        the numbers do not judge, where they cannot tell that noise."""
        truth = self.data.x()[0]
        side, (height, width) = side_of(truth, samples[0]), samples.shape[2:]
        found: dict[str, Any] = {"samples": self(samples)}
        found["real"] = between_halves(truth, side, self.run.generator("halves"))
        others = rivals(truth, height, width, self.run)
        found |= {name: compare(x, truth, side, self.run.generator(name)) for name, x in others.items()}
        return found | {"refused": refusal(found)}


def rivals(photograph: Tensor, height: int, width: int, run: Run) -> dict[str, Tensor]:
    """The simple ways to make more of a photograph, [C, height, width] each."""
    return {
        "tiled_photograph": tiled(photograph, height, width),
        "random_phase_noise": random_phase(photograph, height, width, run.generator("random phase")),
    }


def refusal(found: Mapping[str, Any]) -> str | None:
    """Why numbers of textures judge nothing: noise with the photograph's spectrum does as well as its own halves."""
    real, noise = found["real"], found["random_phase_noise"]
    if any(noise[name] > FARTHER * real[name] for name in TELLING):
        return None
    return (
        "noise with the spectrum of the photograph is as near to it as its own halves are to each other: it is such "
        "noise, or the halves differ"
    )


def side_of(photograph: Tensor, x: Tensor) -> int:
    """Of the windows that a texture x [C, H, W] is compared in."""
    return min(min(photograph.shape[1:]) // 2, *x.shape[1:])


def describe(x: Tensor) -> dict[str, Any]:
    """Mean and standard deviation of every channel, 0 to 255, and correlations of neighbours, by lag in pixels.

    Lags that do not fit are left out; where nothing varies the correlation is 0.
    """
    levels = (x.double() + 1) * 127.5
    return {
        "mean": levels.mean((1, 2)).tolist(),
        "std": levels.std((1, 2), correction=0).tolist(),
        "horizontal": {str(lag): _correlation(levels, lag, 2) for lag in LAGS if lag < x.shape[2]},
        "vertical": {str(lag): _correlation(levels, lag, 1) for lag in LAGS if lag < x.shape[1]},
    }


def ring_power(x: Tensor, side: int) -> tuple[list[float], list[float]]:
    """Frequencies in cycles a pixel and radially averaged power, the mean over windows of that side (Welch 1967)."""
    strips = x.unfold(1, side, max(1, side // 2)).unfold(2, side, max(1, side // 2))  # [C, rows, columns, side, side]
    return spectrum(strips.flatten(1, 2))["spatial"]


def compare(x: Tensor, truth: Tensor, side: int, rng: torch.Generator) -> dict[str, float]:
    """How far the texture x is from another, which is taken as the truth; all are 0 for a perfect likeness.

    Returns:
        mean, std: largest difference of a channel, 0 to 255.
        correlation: root mean square difference of the correlations of neighbours.
        spectrum_db: root mean square difference of the power of rings, in dB, from windows of that side.
        responses: root mean square difference of the ordered responses of edges and spots at three scales, in units of
            their spread (Heeger & Bergen 1995): noise of the same spectrum has others, as it has no edges.
        patches: root mean square difference of a patch of 8x8 pixels to the patch of the truth that is nearest, 0 to
            255: whether each place could be one of the truth; 0 is a copy.
    """
    ours, theirs = describe(x), describe(truth)
    gaps = [ours[way][lag] - theirs[way][lag] for way in ("horizontal", "vertical") for lag in ours[way]]
    scales = zip(_responses(x), _responses(truth), strict=False)  # those that both are large enough for
    decibels = [_decibels(power) for _, power in (ring_power(x, side), ring_power(truth, side))]
    return {
        "mean": max(abs(a - b) for a, b in zip(ours["mean"], theirs["mean"], strict=True)),
        "std": max(abs(a - b) for a, b in zip(ours["std"], theirs["std"], strict=True)),
        "correlation": _rms(gaps),
        "spectrum_db": _rms([a - b for a, b in zip(*decibels, strict=True)]),
        "responses": _rms([gap for a, b in scales for gap in _apart(a, b)]),
        "patches": _to_nearest_patch(x, truth, rng),
    }


def between_halves(photograph: Tensor, side: int, rng: torch.Generator) -> dict[str, float]:
    """`compare` of a photograph's halves, the mean over left against right, top against bottom, and back."""
    height, width = photograph.shape[1:]
    left, right = photograph[:, :, : width // 2], photograph[:, :, width // 2 :]
    top, bottom = photograph[:, : height // 2], photograph[:, height // 2 :]
    found = [compare(a, b, side, rng) for a, b in ((left, right), (right, left), (top, bottom), (bottom, top))]
    return mean_of(found)


def tiled(photograph: Tensor, height: int, width: int) -> Tensor:
    """The photograph again and again, as far as the size [C, height, width] reaches."""
    repeats = (1, -(-height // photograph.shape[1]), -(-width // photograph.shape[2]))
    return photograph.repeat(*repeats)[:, :height, :width]


def random_phase(photograph: Tensor, height: int, width: int, rng: torch.Generator) -> Tensor:
    """Noise [C, height, width] with the photograph's mean, colours and spectrum (Galerne et al. 2011, section III).

    The photograph, its mean taken away and its border faded out, stands in a canvas of zeros; every frequency of
    that gets the phase of white noise, the same in all channels.
    """
    mean = photograph.mean((1, 2), keepdim=True)
    h, w = (min(a, b) for a, b in zip(photograph.shape[1:], (height, width), strict=True))
    fade = _fade(h)[:, None] * _fade(w)
    spot = (photograph[:, :h, :w] - mean) * fade
    spot = spot * math.sqrt(height * width / float(fade.square().sum()))
    noise = torch.fft.fft2(torch.randn(height, width, generator=rng))
    phase = noise / noise.abs().clamp(min=1e-12)
    canvas = F.pad(spot, (0, width - w, 0, height - h))
    return (mean + torch.fft.ifft2(torch.fft.fft2(canvas) * phase).real).clamp(-1, 1)


def _correlation(levels: Tensor, lag: int, axis: int) -> float:
    """Of pixels that far apart, the channels together."""
    first, second = (part - part.mean((1, 2), keepdim=True) for part in _shifted(levels, lag, axis))
    scale = (first.square().mean() * second.square().mean()).sqrt()
    return float((first * second).mean() / scale) if scale > 0 else 0.0


def _shifted(x: Tensor, lag: int, axis: int) -> tuple[Tensor, Tensor]:
    return x.narrow(axis, 0, x.shape[axis] - lag), x.narrow(axis, lag, x.shape[axis] - lag)


def _responses(x: Tensor) -> list[Tensor]:
    """Quantiles [QUANTILES] of what filters respond to, at each scale that x is large enough for."""
    found = []
    grey = x.double().mean(0)[None, None]
    for _ in range(SCALES):
        if min(grey.shape[2:]) < 2 * PATCH:
            break
        across, down = grey.diff(dim=3)[:, :, 1:], grey.diff(dim=2)[:, :, :, 1:]
        spot = grey - F.interpolate(F.avg_pool2d(grey, 2), grey.shape[2:], mode="bilinear")
        at = torch.linspace(0, 1, QUANTILES + 2, dtype=torch.float64)[1:-1]
        found += [filtered.flatten().quantile(at) for filtered in (across, down, spot)]
        grey = F.avg_pool2d(grey, 2)
    return found


def _apart(ours: Tensor, theirs: Tensor) -> list[float]:
    """Differences of quantiles, in units of the spread of theirs."""
    return ((ours - theirs) / theirs.std().clamp(min=FAINT)).tolist()


def _to_nearest_patch(x: Tensor, truth: Tensor, rng: torch.Generator) -> float:
    known = _patches(truth)
    ours = _patches(x)
    rows = torch.randint(len(ours), (PATCHES,), generator=rng)
    nearest = [torch.cdist(part, known).amin(1) for part in ours[rows].split(250)]
    return float(torch.cat(nearest).square().mean().div(known.shape[1]).sqrt()) * 127.5


def _patches(x: Tensor) -> Tensor:
    """All patches of x, one a row."""
    return F.unfold(x[None].float(), PATCH)[0].T.contiguous()


def _fade(size: int) -> Tensor:
    """A window [size] that is 1 but for a tenth of the size at each end, where it falls smoothly."""
    distance = torch.minimum(torch.arange(size), torch.arange(size - 1, -1, -1)) + 1
    share = (distance / (1 + size / 10)).clamp(max=1)
    return (math.pi / 2 * share).sin().square()


def _decibels(power: list[float]) -> list[float]:
    return [10 * math.log10(max(p, FAINT)) for p in power]


def _rms(values: list[float]) -> float:
    return math.sqrt(sum(v * v for v in values) / max(len(values), 1))
