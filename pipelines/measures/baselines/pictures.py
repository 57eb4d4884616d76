"""Recoveries of pictures and of the clips of a set that need no learning, and their scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from energies import Average, Blur, Grey, Hidden, Noisy
from energies.classical import inpainting
from energies.observation import Observation
from pipelines.measures import metrics

LITTLE = 0.01  # weight of what is seen around, in a mean of it, at least


def score(x: Tensor, truth: Tensor, where: Tensor) -> dict[str, float]:
    """PSNR, MAE and SSIM on the pixels where [B, 1, *size] of all pictures, or frames of clips, [B, C, *size]."""
    estimate, known = (v.expand(len(v), 3, *v.shape[2:]).movedim(0, 1).flatten(1, -3) for v in (x, truth))
    return metrics.score(estimate, known, where[:, 0].flatten(0, -3))


def name_of(observation: Observation) -> str:
    """Its name, in metrics.json: hidden, average, grey, blur or noise, with "noisy " before it."""
    if not isinstance(observation, Noisy):
        return type(observation).__name__.lower()
    inner = observation.operator
    whole = isinstance(inner, Hidden) and not bool(inner.mask.any())
    return "noise" if whole else f"noisy {name_of(inner)}"


Methods = dict[str, Callable[[], Tensor]]


def baselines(train: Tensor, observation: Observation, y: Tensor) -> Methods:
    """What needs no learning, by name: computed when called, [B, C, *size] each, with what is seen exactly put back."""
    inner = observation.noiseless
    found: Methods = {
        "nearest_training": lambda: train[_distances(train, inner, y).argmin(1)],
        "mean": lambda: train.mean(0).expand(len(y), *train.shape[1:]),
    }
    mean, variance = train.mean(0, keepdim=True), float((train - train.mean(0)).square().mean())
    return _held(found | _classical(observation, y, mean, variance), observation, y)


def alone(observation: Observation, y: Tensor) -> Methods:
    """The same of x [B, C, *size] where there are no others to look at."""
    inner = observation.noiseless
    mean = torch.full_like(inner.adjoint(y)[:1], float(y.mean()))
    return _held(_classical(observation, y, mean, float(y.var())), observation, y)


def non_local_means(y: Tensor, level: float) -> Tensor:
    """Clean pictures [B, C, H, W] of noisy ones, by patches that are alike (Buades et al. 2005; scikit-image), in units
    of x, told the noise's standard deviation."""
    from skimage.restoration import denoise_nl_means

    told = {"patch_size": 3, "patch_distance": 7, "h": 0.7 * level, "sigma": level, "fast_mode": True}
    axis = -1 if y.shape[1] > 1 else None  # of one channel skimage goes wrong with its axis named
    pictures = y.double().movedim(1, -1).numpy()
    clean = [denoise_nl_means(one if axis else one[..., 0], channel_axis=axis, **told) for one in pictures]
    return torch.from_numpy(np.stack(clean)).float().view(len(y), *y.shape[2:], -1).movedim(-1, 1)


def _distances(train: Tensor, inner: Observation, y: Tensor) -> Tensor:
    """How far each x to learn from is from what is seen, [B, n], the squares less the same for all of a row, or not."""
    if not isinstance(inner, Hidden):
        return torch.cdist(y.flatten(1), inner.observe(train).flatten(1))
    seen = (~inner.mask).float().expand_as(y).flatten(1)
    return seen @ train.flatten(1).square().T - 2 * (y.flatten(1) * seen) @ train.flatten(1).T


def _held(found: Methods, observation: Observation, y: Tensor) -> Methods:
    """Within [-1, 1], and with what is seen exactly."""

    def held(method: Callable[[], Tensor]) -> Tensor:
        x = method()
        return (observation.project(x, y) if observation.holds else x).clamp(-1, 1)

    return {name: partial(held, method) for name, method in found.items()}


def _classical(observation: Observation, y: Tensor, mean: Tensor, variance: float) -> Methods:
    """From y alone, and of what is noisy or blurred from the mean x [1, C, *size] and the variance of an element."""
    noise = observation.noise if isinstance(observation, Noisy) else 0.0
    inner = observation.noiseless
    restores = bool(noise) or isinstance(inner, Blur)
    whole = isinstance(inner, Blur) or (isinstance(inner, Hidden) and not bool(inner.mask.any()))
    found: Methods = {}
    if isinstance(inner, Hidden) and not whole:
        masks = inner.mask.expand(len(y), *inner.mask.shape[1:])
        ways = {"biharmonic": _biharmonic, "nearest": _nearest, "blur": _blurred, "total_variation": _least_variation}
        found |= {name: partial(_each, way, y, masks) for name, way in ways.items()}
    elif isinstance(inner, Average):
        size = [side * factor for side, factor in zip(y.shape[2:], inner.factor, strict=True)]
        mode = "bicubic" if y.ndim == 4 else "trilinear"
        found[mode] = lambda: F.interpolate(y, size, mode=mode, align_corners=False)
    elif isinstance(inner, Grey):
        found["grey"] = lambda: y.expand(-1, 3, *y.shape[2:])
    else:
        found["as_it_is"] = lambda: y
    if restores:
        # Least squares towards the mean picture with the variance of a pixel: Wiener's filter without correlations.
        gain = noise**2 / variance + 1e-4
        found["wiener"] = lambda: mean + inner.adjoint(inner.solve(y - inner.observe(mean), gain))
    if restores and whole:
        found["total_variation"] = lambda: torch.stack([_total_variation(x, noise) for x in y.flatten(0, 1)]).view_as(y)
    return found


def _each(fill: Callable[[Tensor, Tensor], Tensor], y: Tensor, masks: Tensor) -> Tensor:
    """Every x [C, *size] filled where its mask [1, *size] hides it."""
    return torch.stack([fill(x, mask) for x, mask in zip(y, masks, strict=True)])


def _nearest(y: Tensor, hidden: Tensor) -> Tensor:
    """The nearest seen element everywhere."""
    if hidden.all():
        return torch.zeros_like(y)
    at = ndimage.distance_transform_edt(hidden[0].numpy(), return_distances=False, return_indices=True)
    return y[(slice(None), *torch.from_numpy(np.asarray(at)).long())]


def _blurred(y: Tensor, hidden: Tensor) -> Tensor:
    """Means of what is seen nearby, as near as anything is seen."""
    seen = (~hidden).double().numpy()[0]
    x, known = y.double().numpy() * seen, seen.copy()
    for width in (2.0**k for k in range(max(y.shape[1:]).bit_length())):
        weight = ndimage.gaussian_filter(seen, width)
        fresh = (known == 0) & (weight > LITTLE)
        for channel, own in zip(x, y.double().numpy(), strict=True):
            channel[fresh] = (ndimage.gaussian_filter(own * seen, width) / weight.clip(LITTLE))[fresh]
        known[fresh] = 1
    return torch.from_numpy(x).float()


def _least_variation(y: Tensor, hidden: Tensor) -> Tensor:
    """The x of least total variation through what is seen (Chambolle & Pock 2011); a picture is a clip of one frame."""
    clip, mask = (y[:, None], hidden) if y.ndim == 3 else (y, hidden[0])
    start = inpainting.smooth(clip, mask, _nearest(y, hidden).view_as(clip), order=1, time=1.0)
    return inpainting.total_variation(clip, mask, start, time=1.0).view_as(y)


def _biharmonic(y: Tensor, hidden: Tensor) -> Tensor:
    """The smoothest picture through the seen pixels (Damelin & Hoang 2018; scikit-image)."""
    from skimage.restoration import inpaint_biharmonic

    parts = [inpaint_biharmonic(channel.double().numpy(), hidden[0].numpy()) for channel in y]
    return torch.stack([torch.from_numpy(part) for part in parts]).float()


def _total_variation(x: Tensor, noise: float) -> Tensor:
    """x [*size] with its noise taken away (Chambolle 2004; scikit-image), the weight that suits the noise."""
    from skimage.restoration import denoise_tv_chambolle

    return torch.from_numpy(denoise_tv_chambolle(x.double().numpy(), weight=max(noise, 1e-3))).float()
