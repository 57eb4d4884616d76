"""How good predictions are: by the steps of descent, by what their own energy says of them, and frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from energies.prediction import PredictiveEnergy, decibels, descend, settled

TOGETHER = 2**17  # numbers of x that are predicted at once, at most


class Trial(NamedTuple):
    """x [n, *event] to predict, and what is known of it."""

    x: Tensor
    known: Tensor

    def parts(self) -> Iterator[Trial]:
        num = max(1, TOGETHER // self.x[0].numel())
        yield from map(Trial, self.x.split(num), self.known.split(num))


def trial(energy: PredictiveEnergy, x: Tensor, level: float, rng: torch.Generator) -> Trial:
    """Of x [n, *event], with noise of a level where it is noise that is taken away."""
    return Trial(x, energy.seen(x, level, lambda like: torch.randn(like.shape, generator=rng)))


def curve(energy: PredictiveEnergy, tried: Trial, steps: int, rng: torch.Generator) -> dict[str, list[float]]:
    """The thinking curve: quality and mean energy after 1, 2, ... steps of descent from noise."""
    errors: list[list[Tensor]] = [[] for _ in range(steps)]
    energies: list[list[Tensor]] = [[] for _ in range(steps)]
    for part in tried.parts():
        target = energy.wanted(part.x, energy.first)
        z = energy.start * torch.randn(target.shape, generator=rng)
        for number, (state, e) in enumerate(descend(energy, part.known, z, steps + 1, first=energy.first)):
            if number:
                energies[number - 1].append(e)
            if number < steps:
                with torch.no_grad():
                    errors[number].append(energy.errors(part.known, state, target, energy.first))
    return {
        "steps": [float(k + 1) for k in range(steps)],
        "quality": [energy.quality(torch.cat(parts)) for parts in errors],
        "energy": [float(torch.cat(parts).mean()) for parts in energies],
    }


def judged(energy: PredictiveEnergy, tried: Trial, num: int, rng: torch.Generator) -> dict[str, float | None]:
    """What the energy says of `num` candidates of each position, from as many starts.

    Rank correlations (Spearman) of energy and error: over all candidates of all positions, and among those of one
    position, on average; None where all are alike. Quality of one candidate, of the one of least energy, and of the one
    of least error.
    """
    errors, energies = [], []
    for part in tried.parts():
        target = energy.wanted(part.x, energy.first)
        of_part: list[tuple[Tensor, Tensor]] = []
        for _ in range(num):
            z = energy.start * torch.randn(target.shape, generator=rng)
            z, e = settled(energy, part.known, z, energy.steps, first=energy.first)
            with torch.no_grad():
                of_part.append((energy.errors(part.known, z, target, energy.first), e))
        errors.append(torch.stack([error for error, _ in of_part], -1).flatten(0, 1))
        energies.append(torch.stack([e for _, e in of_part], -1).flatten(0, 1))
    error, e = torch.cat(errors), torch.cat(energies)  # [positions, num]
    chosen = error.gather(1, e.argmin(1, keepdim=True))
    within = [r for a, b in zip(e, error, strict=True) if (r := correlation(a, b)) is not None]
    return {
        "rank_correlation": correlation(e.flatten(), error.flatten()),
        "rank_correlation_within": sum(within) / len(within) if within else None,
        "one": energy.quality(error),
        "least_energy": energy.quality(chosen),
        "least_error": energy.quality(error.amin(1)),
    }


def correlation(a: Tensor, b: Tensor) -> float | None:
    """Of ranks; None where all of either are alike."""
    if len(a) < 3 or bool((a == a[0]).all()) or bool((b == b[0]).all()):
        return None
    return float(np.corrcoef(rankdata(a.numpy()), rankdata(b.numpy()))[0, 1])


def by_position(x: Tensor, truth: Tensor) -> dict[str, float]:
    """PSNR in dB of x [n, C, P, ...]: at the first position, at the last one, and over all."""
    wrong = (x - truth).square()
    return {
        "first": decibels(wrong[:, :, 0].mean()), "last": decibels(wrong[:, :, -1].mean()),
        "all": decibels(wrong.mean()),
    }  # fmt: skip


def summary(found: Mapping[str, Any]) -> list[str]:
    """Lines of what `Predict` found."""
    unit, steps = found["unit"], found["steps"]
    lines = [f"{unit} after 1, 2, ... steps of descent; learned with {steps}"]
    for name, points in found["thinking"].items():
        lines.append(f"  {name:24}" + "".join(f"{q:9.3f}" for q in points["quality"]))
    for name, quality in found["rivals"].items():
        lines.append(f"  {name.replace('_', ' '):24}{quality:9.3f}")
    judge = found["judge"]
    told = ", ".join(
        f"{words} {judge[key]:.2f}"
        for key, words in (("rank_correlation", "over all"), ("rank_correlation_within", "at one position"))
        if judge[key] is not None
    )
    lines.append(f"rank correlation of energy and error: {told or 'all candidates are alike'}")
    lines.append(
        f"one of {found['candidates']} candidates {judge['one']:.3f} {unit}, the one of least energy "
        f"{judge['least_energy']:.3f}, the best one {judge['least_error']:.3f}"
    )
    if "forecast" in found:
        lines.append(f"{'PSNR in dB':26}{'first':>9}{'last':>9}{'all':>9}")
        for name, row in found["forecast"].items():
            lines.append(f"  {name.replace('_', ' '):24}" + "".join(f"{row[k]:9.2f}" for k in ("first", "last", "all")))
    return lines
