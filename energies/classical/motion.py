"""Estimates of what is hidden of a clip, by its motion and without: the candidates that a regression stacks.

found = candidates(x, hidden)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from energies.classical import inpainting, propagation, self_similarity
from energies.classical.flow import Bools, Floats, frames_of
from energies.classical.geometry import distance, gap
from energies.classical.propagation import Propagated
from energies.classical.shots import shots
from energies.classical.smoothing import CROSS, Smoothing, along_flow, differences, dilated, guided, laplacians

STILL = {"membrane": (0.01, 0.1, 1.0), "plate": (0.1, 1.0, 10.0, 100.0)}
"""Weights of smoothness in the frame against that along time, of membranes and thin plates."""

MOVING = {"membrane": (0.01, 0.1, 1.0), "plate": (0.03, 0.3, 3.0)}
"""The same along the flow."""

ROBUST = {"time": (1.0, 10.0), "flow": (0.3, 3.0)}
"""Weights of total variation in the frame against that along time, and against that along the flow."""

GRADIENTS = {"gradients": 1.0, "flow": 0.1, "membrane": 1e-3}
"""Weights of gradients that are carried along the trajectories, and of smoothness along the flow and in the frame."""

NUM = 6 + sum(map(len, [*STILL.values(), *MOVING.values(), *ROBUST.values()]))
"""Candidates: the line and the mean in time, two of each frame by itself, those above, and the ends of trajectories
and their gradients."""

SHOWN = (0, 5, 8, 13, 18)
"""Of these: the line in time, a membrane, a thin plate, the ends of trajectories, and a thin plate along the flow."""

FINE = 2.0
"""Pixels to what is seen of the frame, or frames, in the median, up to which damage is thin."""

FEATURES = ("steps", "confidence", "landed", "difference", "distance")


@dataclass(frozen=True)
class Candidates:
    """Estimates of N hidden pixels, in the order of `hidden.nonzero()`.

    Attributes:
        values: [K, N, C] in [-1, 1].
        features: [N, J], what tells how far to trust which of them: log2 of the steps to the nearest seen pixel along
            the trajectory, the confidence there, whether both ends were found, log of their difference, log2 of the
            distance in pixels to what is seen of the frame.
        places: [N, 2], row and column in the frame.
    """

    values: Tensor
    features: Tensor
    places: Tensor

    def at(self, rows: Tensor) -> Candidates:
        """Those of some pixels, bool [N]."""
        return Candidates(self.values[:, rows], self.features[rows], self.places[rows])

    def within(self, row: int, column: int) -> Candidates:
        """The same of a clip of which this one is a part, at a row and a column."""
        return replace(self, places=self.places + torch.tensor([row, column]))


def is_thin(hidden: Tensor) -> bool:
    """Whether damage, bool [T, H, W], is of scattered pixels, scratches or single frames, beside which much is seen."""
    veil = hidden.numpy()
    return bool(veil.any()) and float(np.median(np.minimum(distance(veil), gap(veil))[veil])) <= FINE


def candidates(x: Tensor, hidden: Tensor, thin: bool = False) -> Candidates:
    """Estimates of what is hidden.

    Args:
        x: [1, C, T, H, W] in [-1, 1]; hidden values are ignored.
        hidden: bool [1, 1, T, H, W].
        thin: whether four more are worth their time, of what recurs in the clip and of its covariances: where it is.

    ValueError: nothing is seen of the clip, or of one of its shots.
    """
    clip, mask = torch.where(hidden, 0.0, x)[0].float().cpu(), hidden[0, 0].cpu()
    parts = [
        _of_shot(clip[:, shot], mask[shot], thin) for shot in shots(frames_of(clip), mask.numpy()) if mask[shot].any()
    ]
    if not parts:
        channels = len(clip)
        return Candidates(torch.zeros(NUM + 4 * thin, 0, channels), torch.zeros(0, len(FEATURES)), torch.zeros(0, 2))
    values, features, places = zip(*((part.values, part.features, part.places) for part in parts), strict=True)
    return Candidates(torch.cat(values, 1), torch.cat(features), torch.cat(places))


def _of_shot(clip: Tensor, mask: Tensor, thin: bool) -> Candidates:
    """Candidates of a clip [C, T, H, W] without cuts."""
    if bool(mask.all()):
        raise ValueError("all of the clip, or of a shot of it, is hidden: nothing tells what it shows")
    frames, veil = frames_of(clip), mask.numpy()
    where = np.nonzero(veil)
    line = frames_of(inpainting.temporal_linear(clip, mask))
    spatial = (inpainting.by_frame(clip, mask, method) for method in ("telea", "navier_stokes"))
    plain = (inpainting.temporal_mean(clip, mask), *spatial)
    values = [line[where], *(frames_of(estimate)[where] for estimate in plain)]
    smoothing = Smoothing(frames, veil)
    smoothing.add("membrane", differences(veil, 1), differences(veil, 2))
    smoothing.add("plate", laplacians(veil))
    smoothing.add("time", differences(veil, 0))
    still = _minima(smoothing, STILL, "time", line[where])
    still += [smoothing.robust({"membrane": weight, "time": 1.0}, still[1]) for weight in ROBUST["time"]]
    start = line.copy()
    never = veil & veil.all(0)
    start[never] = still[1][never[where]]  # a membrane rather than the mean of all
    found = propagation.propagated(start, veil)
    smoothing.add("flow", *along_flow(veil, found.flow))
    along = found.frames[where]
    values += [*still, along, *_minima(smoothing, MOVING, "flow", along)]
    values += [smoothing.robust({"membrane": weight, "flow": 1.0}, along) for weight in ROBUST["flow"]]
    values.append(_of_gradients(smoothing, found, veil))
    if thin:
        values += _of_the_clip_itself(clip, mask, np.stack(values))
    places = mask.nonzero()[:, 1:]
    return Candidates(torch.from_numpy(np.stack(values)), torch.from_numpy(_features(found, veil)), places)


def _of_gradients(smoothing: Smoothing, found: Propagated, hidden: Bools) -> Floats:
    """From the gradients at the ends of trajectories, which the light of another frame does not change, and the values
    at the border of the hole (Poisson's equation; Perez et al. 2003, Gao et al. 2020)."""
    border = dilated(hidden, CROSS) & ~hidden
    guide, known = found.frames.copy(), np.zeros_like(hidden)
    guide[border], known[border] = propagation.shown(found.frames, hidden, found.flow, border)
    known[hidden] = found.later.landed | found.earlier.landed
    smoothing.add("gradients", *guided(hidden, known), guide=guide)
    return smoothing.minimum(GRADIENTS, found.frames[hidden])


def _of_the_clip_itself(clip: Tensor, mask: Tensor, values: Floats) -> list[Floats]:
    """From what recurs in a clip, given the mean of other estimates [K, N, C], and from its covariances."""
    estimate, scale = clip.clone(), torch.full_like(clip[0], 1e-3)
    middle = torch.from_numpy(np.median(values, 0))
    estimate[:, mask] = middle.T
    scale[mask] = torch.from_numpy(values.std(0).mean(-1)).clamp(min=1e-3)
    seen = (~mask).to(clip.dtype)
    mean = (clip * seen).sum((1, 2, 3), keepdim=True) / seen.sum().clamp(min=1)
    times = seen.sum(0)
    centre = torch.where(times > 0, (clip * seen).sum(1, keepdim=True) / times.clamp(min=1), mean)
    found = (
        *self_similarity.nonlocal_means(estimate, mask, scale, self_similarity.PATCHES),
        self_similarity.kriging(clip, mask, centre),
        self_similarity.kriging(clip, mask, mean),
    )
    return [np.ascontiguousarray(one[:, mask].T.numpy()) for one in found]


def _minima(smoothing: Smoothing, weights: dict[str, tuple[float, ...]], along: str, start: Floats) -> list[Floats]:
    found = []
    for kind, choices in weights.items():
        estimate = start
        for weight in choices:
            estimate = smoothing.minimum({kind: weight, along: 1.0}, estimate)
            found.append(estimate)
    return found


def _features(found: Propagated, hidden: Bools) -> Floats:
    ends = (found.later, found.earlier)
    steps = np.minimum(*(np.where(end.landed, end.steps, len(hidden)) for end in ends))
    confidence = np.maximum(*(end.confidence for end in ends))
    both = ends[0].landed & ends[1].landed
    difference = np.where(both, np.abs(found.values[0] - found.values[1]).mean(-1), 0.3)
    columns = [np.log2(steps), confidence, both, np.log(difference + 0.02), np.log2(distance(hidden)[hidden])]
    return np.stack([np.asarray(column, np.float32) for column in columns], -1)
