"""How good an estimate is and what a clip is like, as plain numbers that go into metrics.json.

Clips are float tensors [3, T, H, W] in [-1, 1]; `hidden` is bool [T, H, W], True where all three
channels were hidden. Only hidden values are scored: what was known is no merit of the estimate.
Sums run in float64, a frame at a time where whole frames are filtered, so a long clip needs little
more memory than a short one. All tensors of a call are on one device.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

PSNR_CAP = 100.0
"""No PSNR is higher, in dB: that of a perfect estimate is infinite, which JSON cannot say."""


def score(estimate: Tensor, truth: Tensor, hidden: Tensor) -> dict[str, float]:
    """Compare an estimate with the truth where pixels were hidden.

    Returns `psnr` in dB (all channels pooled, peak 2 = the full range, at most `PSNR_CAP`), `mae`
    on the 0-255 scale and `ssim` in [-1, 1] (`ssim_map` of the complete frames, averaged over the
    hidden pixels). Values are taken as they are, not clipped. ValueError: shapes differ, nothing is
    hidden, or a value is not finite.
    """
    _check(hidden, estimate=estimate, truth=truth)
    error = estimate[:, hidden].double() - truth[:, hidden].double()  # [3, N]
    similarity = 0.0
    for t in hidden.flatten(1).any(1).nonzero().flatten().tolist():
        frame = ssim_map(estimate[:, t], truth[:, t])  # [3, H, W]
        similarity += frame[:, hidden[t].cpu()].sum().item()
    return {
        "psnr": psnr(error.square().mean().item()),
        "mae": 127.5 * error.abs().mean().item(),
        "ssim": similarity / error.numel(),
    }


def psnr(mse: float) -> float:
    """In dB, of a mean squared error of values in [-1, 1]."""
    return PSNR_CAP if mse == 0 else min(PSNR_CAP, 10 * math.log10(4 / mse))


def ssim_map(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity at every pixel of planes [N, H, W] in [-1, 1] -> float64 [N, H, W], on the CPU.

    Wang et al. 2004, eq. 13, with their Gaussian window (sigma 1.5, 11x11), K1 = 0.01, K2 = 0.03
    and range L = 2, as scikit-image computes it. Planes are mirrored at their edges, as often as the
    window asks where a side is shorter than it.
    """
    from skimage.metrics import structural_similarity

    side = min(first.shape[1:])
    found = structural_similarity(
        first.double().cpu().numpy(),
        second.double().cpu().numpy(),
        channel_axis=0,
        gaussian_weights=True,
        use_sample_covariance=False,
        data_range=2.0,
        full=True,
        win_size=min(11, side - 1 + side % 2),  # of the size check alone: the Gaussian is 11 wide in any case
    )
    return torch.from_numpy(np.asarray(found[1]))  # its mean, and the map


def statistics(clip: Tensor) -> dict[str, float | list[float] | None]:
    """What a clip [3, T, H, W] is like, all on the 0-255 scale, to set samples beside data.

    `horizontal`, `vertical`, `temporal`: mean absolute difference of neighbours (None along a side
    of one pixel or frame); too high is grain or flicker, too low is blur or freezing. `mean`,
    `std`: one number a channel.
    """
    levels = (clip.double() + 1) * 127.5
    channels = levels.flatten(1)  # [3, T * H * W]
    return {
        "horizontal": _mean_difference(levels, 3),
        "vertical": _mean_difference(levels, 2),
        "temporal": _mean_difference(levels, 1),
        "mean": channels.mean(1).tolist(),
        "std": channels.std(1, correction=0).tolist(),
    }


def spectrum(clip: Tensor) -> dict[str, tuple[list[float], list[float]]]:
    """Power spectra of a clip: {"spatial", "temporal"} -> (frequencies, power), ready as curves.

    Spatial: cycles per pixel, averaged over rings of one bin, frames and channels. Temporal: cycles
    per frame, averaged over pixels and channels. Frequencies run from one cycle per side to one
    half, zero left out. Hann-windowed against leakage and scaled so that white noise of variance v
    has power v at every frequency. A side of one pixel or one frame has no frequencies: the lists
    are empty.
    """
    clip = clip.cpu().double()
    frames, height, width = clip.shape[1:]
    window = _hann(height)[:, None] * _hann(width)
    rings = min(height, width)
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width))  # [H, W]
    ring = (radius * rings).round().long().flatten()
    image_power = torch.zeros(height * width, dtype=torch.float64)
    for frame in clip.unbind(1):
        centred = frame - frame.mean((1, 2), keepdim=True)
        image_power += torch.fft.fft2(centred * window).abs().square().mean(0).flatten()
    image_power /= frames * window.square().sum()
    count = torch.bincount(ring)
    spatial = torch.zeros(len(count), dtype=torch.float64).index_add(0, ring, image_power) / count
    taper = _hann(frames)[:, None, None]
    motion = (clip - clip.mean(1, keepdim=True)) * taper
    temporal = torch.fft.rfft(motion, dim=1).abs().square().mean((0, 2, 3)) / taper.square().sum()
    return {
        "spatial": _curve(spatial, rings),
        "temporal": _curve(temporal, frames),
    }


def mean_of(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of numbers by name, of which each has all."""
    return {name: fmean(each[name] for each in found) for name in found[0]}


def _check(hidden: Tensor, **clips: Tensor) -> None:
    for name, clip in clips.items():
        if clip.shape != (3, *hidden.shape):
            raise ValueError(f"{name} is {tuple(clip.shape)}, expected {(3, *hidden.shape)} as hidden is")
        if not clip.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite")
    if not hidden.any():
        raise ValueError("nothing is hidden, so there is nothing to score")


def _mean_difference(levels: Tensor, axis: int) -> float | None:
    return levels.diff(dim=axis).abs().mean().item() if levels.shape[axis] > 1 else None


def _hann(size: int) -> Tensor:
    """The Hann window without its zero ends, so that even two samples count."""
    return torch.hann_window(size + 2, periodic=False, dtype=torch.float64)[1:-1]


def _curve(power: Tensor, bins: int) -> tuple[list[float], list[float]]:
    last = min(bins // 2, len(power) - 1)
    return [k / bins for k in range(1, last + 1)], power[1 : last + 1].tolist()
