"""Whether x of a person's own is like what was learned: by its energy, and by the nearest example, among real ones.

All are seen in the same way: what is hidden of x is hidden of the examples, too, and replaced by their mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from data.words import counted
from energies import ConditionalEnergy, Energy, Hidden, Observation
from energies.family import Family, is_noisy
from pipelines.examples import Examples
from pipelines.modalities.base import Modality
from pipelines.stage import Run

LEVELS = (0.3, 1.0)  # noise levels whose energies are added up, in units of the spread of the data
FEWEST = 20  # examples to stand among
MOST = 200
NUMBERS = 2**20  # of examples whose energy is taken, at most
TOGETHER = 2**24  # numbers of examples that are compared at once
SHARE = 0.99  # of the examples that lie below what is unlike them, at least,
DEVIATIONS = 3.0  # and how many of their standard deviations it lies above their mean


def likeness(
    energy: Energy, observation: Observation, y: Tensor, data: Examples, modality: Modality, run: Run
) -> dict[str, Any] | None:
    """How the first x of which y is seen stands among examples that are seen likewise.

    Returns:
        energy, distance: share of the examples `below` it, in energy and in distance to the nearest example that was
            learned from, `of` how many, and how many standard `deviations` it lies above their mean; None where the
            energy is of no whole x.
        unlike: whether it is unlike all that was learned.
        None: there are too few examples.
    """
    part = "validation" if len(data.validation) >= FEWEST else "train"
    if len(data.train) < FEWEST or data.single:
        return None
    rows = slice(MOST) if part == "validation" else slice(0, MOST, 2)
    known = data.x("train") if part == "validation" else data.x("train", slice(1, None, 2))
    examples, mean = data.x(part, rows), known.mean(0, keepdim=True)
    first, y = observation.rows(slice(1), y.ndim), y[:1].float()
    seen = torch.cat([y, first.sample(examples, run.generator("likeness"))])
    found: dict[str, Any] = {"distance": _place(_nearest(first, seen, known, modality))}
    of = _energy_of(energy, run)
    num = max(FEWEST, NUMBERS // examples[0].numel())
    inner = first.noiseless
    if of is None or not inner.exact or not inner.holds:
        found["energy"] = None
    else:
        some = seen[: 1 + num]
        found["energy"] = _place(of(inner.project(mean.expand(len(some), *mean.shape[1:]), some)))
    found["unlike"] = any(place is not None and _is_unlike(place) for place in found.values())
    return found


def warning_of(found: dict[str, Any] | None, modality: Modality) -> str | None:
    """The warning, where it is unlike all that was learned."""
    if found is None or not found["unlike"]:
        return None
    words = {"energy": "its energy lies above that", "distance": "it is farther from all that was learned than"}
    told = []
    for name, said in words.items():
        place = found[name]
        if place is not None and _is_unlike(place):
            share = "all" if place["below"] == 1 else f"{100 * place['below']:.1f} %"
            told.append(f"{said}{' of' if name == 'energy' else ''} {share} of {counted(place['of'], modality.noun)}")
    return f"warning: this is unlike anything learned, so the energy knows little of it: {', and '.join(told)}"


def _is_unlike(place: dict[str, float]) -> bool:
    return place["below"] >= SHARE and place["deviations"] >= DEVIATIONS


def _place(values: Tensor) -> dict[str, float]:
    """Of the first value among the others."""
    own, others = values[0].double(), values[1:].double()
    above = float((own - others.mean()) / others.std().clamp(min=1e-9))
    return {"below": float((others < own).double().mean()), "of": len(others), "deviations": above}


def _nearest(observation: Observation, seen: Tensor, known: Tensor, modality: Modality) -> Tensor:
    """Distance [n] of each measurement to that of the nearest of known x."""
    inner = observation.noiseless

    def distances(theirs: Tensor) -> Tensor:
        measured = inner.observe(theirs)
        if isinstance(inner, Hidden):  # of solids, what is hidden is empty
            return modality.distances(*(torch.where(inner.mask, -1.0, x) for x in (seen, measured)))
        return torch.cdist(seen.flatten(1), measured.flatten(1))

    together = max(1, TOGETHER // known[0].numel())
    return torch.stack([distances(part).amin(1) for part in known.split(together)]).amin(0)


def _energy_of(energy: Energy, run: Run) -> Callable[[Tensor], Tensor] | None:
    """E [n] of x, over noise levels their sum, each in units of its spread; None: it is of no whole x."""
    device = run.accelerator.device
    energy = energy.to(device).eval()
    if isinstance(energy, ConditionalEnergy):
        try:
            energy = energy.free()
        except RuntimeError:
            return None
    members: list[Energy] = [energy]
    if is_noisy(energy):
        assert isinstance(energy, Family)
        members = [energy.at(level * energy.width) for level in LEVELS]

    @torch.no_grad()
    def total(x: Tensor) -> Tensor:
        parts = x.split(max(1, NUMBERS // 4 // math.prod(x.shape[1:])))
        found = [torch.cat([one(part.to(device)).cpu() for part in parts]) for one in members]
        return torch.stack([(e - e[1:].mean()) / e[1:].std().clamp(min=1e-9) for e in found]).sum(0)

    return total
