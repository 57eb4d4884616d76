"""How likely the frames of paths from one x to another are, beside cross-fades of the same ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from energies import ConditionalEnergy, Energy, Family, Hidden
from energies.family import is_noisy
from pipelines.examples import Examples
from pipelines.measures import judge
from pipelines.measures.solids import WHOLE
from pipelines.measures.synthesis import OfPictures
from pipelines.modalities.base import Modality
from pipelines.stage import Run

SURE = 0.9  # probability from which on a frame counts as one of the judge's classes
JUDGED = 0.3  # noise level at which energies along the paths are compared
TOGETHER = 2**19  # numbers of x whose energies are taken at once
MOST = 2000  # x learned from, among which the nearest is looked for


def judged(
    paths: Tensor, fades: Tensor, energy: Energy, data: Examples, modality: Modality, run: Run
) -> dict[str, Any]:
    """Numbers of paths, of cross-fades in even steps, and of cross-fades at the places of the paths' own frames.

    Args:
        paths: [p, T, *shape], decided.
        fades: likewise.
        energy: on the device of the run.
        data: what was learned from, and what a judge learns from who has no say in how paths are made.
        modality: of the data.
        run: gives randomness and processes.
    """
    kinds = {"path": paths, "cross_fade": fades, "cross_fade_at_its_places": sharp(at_places(paths), modality)}
    compare = modality.comparison(data, run)
    by = compare.by if isinstance(compare, OfPictures) else None
    train = data.x("train", slice(MOST))
    found: dict[str, Any] = {}
    for name, frames in kinds.items():
        inner = frames[:, 1:-1].flatten(0, 1)
        entry: dict[str, float] = {}
        if isinstance(by, judge.Classifier):
            entry["accepted"] = _sure(by, inner)
        if by is not None and len(inner) > 1 and len(data.validation) > 1:
            entry["frechet"] = judge.frechet(by.features(inner), by.features(data.x("validation")))
        if is_noisy(energy):
            entry["energy_above_the_ends"] = above_the_ends(energy, frames, run)
        entry["distance_to_training"] = float(modality.distances(inner, train).amin(1).mean())
        whole = modality.wholeness(inner)
        if whole is not None:
            entry["in_one_part"] = float((whole >= WHOLE).float().mean())
        found[name] = entry | steps(frames, modality)
    if isinstance(by, judge.Classifier):
        found["validation_accepted"] = _sure(by, data.x("validation"))
        found["ends_accepted"] = _sure(by, paths[:, [0, -1]].flatten(0, 1))
    return found


def sharp(fades: Tensor, modality: Modality) -> Tensor:
    """Cross-fades [p, T, *shape] as x of the modality: a voxel is set or not."""
    x = fades.flatten(0, 1)
    everywhere = Hidden(torch.ones(1, *[1] * (x.ndim - 1), dtype=torch.bool))
    return modality.drawn(x, everywhere, x).unflatten(0, fades.shape[:2])


def at_places(paths: Tensor) -> Tensor:
    """Cross-fades [p, T, *shape] at the shares of the way at which the frames of paths lie."""
    line = (paths[:, -1] - paths[:, 0]).flatten(1).unsqueeze(1)
    along = ((paths - paths[:, :1]).flatten(2) * line).sum(2) / line.square().sum(2).clamp(min=1e-12)
    share = along.clamp(0, 1).reshape(*along.shape, *[1] * (paths.ndim - 2))
    return paths[:, :1] + share * (paths[:, -1:] - paths[:, :1])


def steps(frames: Tensor, modality: Modality) -> dict[str, float]:
    """How long the way of frames [p, T, *shape] is in units of the distance of its ends, and its largest step as a
    share of the way, of that distance, and as it is; means over paths."""
    rows = [modality.distances(path, path) for path in frames]
    moved = torch.stack([row.diagonal(1) for row in rows])  # [p, T - 1]
    ends = torch.stack([row[0, -1] for row in rows]).clamp(min=1e-9)
    length, largest = moved.sum(1).clamp(min=1e-9), moved.amax(1)
    return {
        "length": float((length / ends).mean()),
        "largest_step": float((largest / length).mean()),
        "largest_step_of_the_distance": float((largest / ends).mean()),
        "largest_distance": float(largest.mean()),
    }


def above_the_ends(energy: Energy, frames: Tensor, run: Run) -> float:
    """By how much the energy at noise level JUDGED is higher along paths [p, T, *shape] than on the line between its
    values at their ends, in the mean; the noise of all frames is the same."""
    device = run.accelerator.device
    whole: Any = energy.free() if isinstance(energy, ConditionalEnergy) else energy
    assert isinstance(whole, Family)
    x = frames.flatten(0, 1).to(device)
    noise = torch.randn(x.shape[1:], generator=run.generator("judge")).to(device)
    with torch.no_grad():
        noise = JUDGED * noise * (1.0 if whole.scale is None else whole.scale)
        parts = [whole.at(JUDGED)(part + noise) for part in x.split(max(1, TOGETHER // x[0].numel()))]
    found = torch.cat(parts).cpu().unflatten(0, frames.shape[:2])
    line = torch.stack([torch.lerp(e[0], e[-1], torch.linspace(0, 1, len(e))) for e in found])
    return float((found - line)[:, 1:-1].mean())


def summary(found: Mapping[str, Any], noun: str) -> str:
    """The numbers as lines of text."""
    kinds = ("path", "cross_fade", "cross_fade_at_its_places")
    lines = [f"{'':32}{'path':>12}{'cross-fade':>12}{'there':>12}"]
    for key in found["path"]:
        lines.append(f"{key.replace('_', ' '):32}" + "".join(f"{found[kind][key]:12.3f}" for kind in kinds))
    lines.append(
        "there: the cross-fade at the places of the path's frames; steps as shares of the path and the distance"
    )
    if "ends_accepted" in found:
        lines.append(
            f"of the {noun} to judge by {found['validation_accepted']:.1%} are accepted, of the ends "
            f"{found['ends_accepted']:.1%}"
        )
    return "\n".join(lines)


def _sure(by: judge.Classifier, x: Tensor) -> float:
    return float((by.probabilities(x).amax(1) >= SURE).float().mean())
