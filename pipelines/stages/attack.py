"""How a classifier stands against x that were made to fool it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from data.words import counted
from energies import JointEnergy
from energies.samplers import Langevin
from energies.samplers.state import normal
from energies.sampling import sample
from pipelines.measures.classes import leveled
from pipelines.modalities import modality_of
from pipelines.report import Report
from pipelines.report.reporting import publish
from pipelines.stage import Run
from pipelines.stages.classify import labelled

Norm = Literal["linf", "l2"]
TOGETHER = 100  # x attacked at once, at most
NUMBERS = 2**21  # of x attacked at once, at most


@dataclass(frozen=True)
class Attack:
    """Projected gradient attacks (Madry et al. 2018) on the joint energy and on the same network by cross-entropy, with
    and without Langevin steps that refine x before it is classified; into metrics.json and the report."""

    needs: ClassVar[tuple[str, ...]] = ("data", "energy", "plain")
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary")

    num: int = 200
    """Examples to attack, at most."""

    linf: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3)
    """Largest changes of an element, as shares of the range of values."""

    l2: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0)
    """Largest lengths of the whole change, in the same unit. They suit x of a thousand elements."""

    steps: int = 20
    """Steps of an attack."""

    level: float = 0.3
    """Noise level that the joint energy classifies at, in units of x."""

    refine: int = 10
    """Langevin steps of the refinement, which the attack does not know of; 0: none."""

    def __post_init__(self) -> None:
        if self.num < 1 or self.steps < 1 or self.refine < 0 or not self.level > 0:
            raise ValueError("num, steps and level must be positive, refine not negative")
        if not self.linf + self.l2 or min(self.linf + self.l2) <= 0:
            raise ValueError("linf and l2 must be positive, and one be given")

    def check(self, values: dict[str, Any]) -> None:
        if "data" in values:
            labelled(values["data"], "attack")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        x, labels = (part[: self.num] for part in labelled(values["data"], "attack"))
        device = run.accelerator.device
        joint = leveled(values["energy"], self.level).to(device).eval()
        plain = leveled(values["plain"], self.level).to(device).eval()
        found: dict[str, Any] = {"num": len(x), "curves": {}}
        balls: list[tuple[Norm, tuple[float, ...]]] = [("linf", self.linf), ("l2", self.l2)]
        for norm, sizes in balls:
            curves: dict[str, list[float]] = {"joint": [], "joint, refined": [], "plain": []}
            for size in run.progress([0.0, *sizes], len(sizes) + 1, f"attacks ({norm})"):
                fooled = {
                    n: self._attacked(e, x, labels, norm, size, run) for n, e in (("joint", joint), ("plain", plain))
                }
                for name, energy in (("joint", joint), ("plain", plain)):
                    curves[name].append(accuracy(energy, fooled[name], labels, device))
                refined = self._refined(joint, fooled["joint"], run) if self.refine else fooled["joint"]
                curves["joint, refined"].append(accuracy(joint, refined, labels, device))
            found["curves"][norm] = {"size": [0.0, *sizes], **curves}
        report = _report(found, modality_of(values["data"].modality).noun)
        publish(report, found, {name: values[name] for name in ("energy", "plain")}, run)
        return {"metrics": found, "summary": _summary(found)}

    def _attacked(self, energy: JointEnergy, x: Tensor, labels: Tensor, norm: Norm, size: float, run: Run) -> Tensor:
        device = run.accelerator.device
        rng = run.generator("attack", norm, str(size), device=device)
        parts = zip(x.split(together(x)), labels.split(together(x)), strict=True)
        return torch.cat(
            [pgd(energy.logits, p.to(device), y.to(device), norm, 2 * size, self.steps, rng).cpu() for p, y in parts]
        )

    def _refined(self, joint: JointEnergy, x: Tensor, run: Run) -> Tensor:
        """A few Langevin steps of p(x) at the level, from x with its noise, and the mean of what is left."""
        device = run.accelerator.device
        rng = run.generator("refine", device=device)
        parts = []
        for part in x.split(together(x)):
            start = part.to(device)
            if not joint.noisy:
                *_, (state, _) = sample(Langevin(0.05), joint, start, self.refine, rng)
                parts.append(state.x.cpu())
                continue
            noisy = start + self.level * normal(start, rng)
            *_, (state, _) = sample(Langevin(0.3 * self.level), joint, noisy, self.refine, rng)
            parts.append(joint.denoise(state.x).clamp(-1, 1).cpu())
        return torch.cat(parts)


def pgd(
    logits: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, norm: Norm, size: float, steps: int,
    rng: torch.Generator,
) -> Tensor:  # fmt: skip
    """x [B, *event] in [-1, 1], moved by at most `size` so that the cross-entropy rises; from a random start.

    norm: linf bounds every element of the change, l2 its length.
    """
    if not size:
        return x
    change = size * (2 * torch.rand(x.shape, generator=rng, device=x.device) - 1)
    change = _inside(change, x, norm, size)
    step = 2.5 * size / steps
    for _ in range(steps):
        moved = (x + change).requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(F.cross_entropy(logits(moved), labels, reduction="sum"), moved)
        if norm == "linf":
            change = change + step * slope.sign()
        else:
            change = change + step * slope / _length(slope).clamp(min=1e-12)
        change = _inside(change, x, norm, size)
    return x + change


def _inside(change: Tensor, x: Tensor, norm: Norm, size: float) -> Tensor:
    """The change within its ball, and x + change within [-1, 1]."""
    if norm == "linf":
        change = change.clamp(-size, size)
    else:
        change = change * (size / _length(change).clamp(min=1e-12)).clamp(max=1)
    return (x + change).clamp(-1, 1) - x  # moves every element nearer to 0, so that the ball is not left


def _length(v: Tensor) -> Tensor:
    return v.flatten(1).norm(dim=1).view(-1, *[1] * (v.ndim - 1))


@torch.no_grad()
def accuracy(energy: JointEnergy, x: Tensor, labels: Tensor, device: torch.device) -> float:
    """Share of x [n, *event] that is classified right."""
    guesses = torch.cat([energy.logits(part.to(device)).argmax(1).cpu() for part in x.split(together(x))])
    return float((guesses == labels).float().mean())


def together(x: Tensor) -> int:
    """How many of x [n, *event] are worked on at once."""
    return max(1, min(TOGETHER, NUMBERS // x[0].numel()))


def _report(found: dict[str, Any], noun: str) -> Report:
    report = Report("Adversarial robustness")
    report.text(
        f"Accuracy on {counted(found['num'], noun)}, each changed so that the network errs: by at most so much of the "
        "range of values in every element (linf), or with a change of that length (l2). Joint: the network that "
        f"generates; plain: the same network by cross-entropy alone, on clean {noun}; refined: after Langevin steps."
    )
    names = ("joint", "joint, refined", "plain")
    for norm, by in found["curves"].items():
        report.table([norm, *(f"{size:g}" for size in by["size"])], [[name, *by[name]] for name in names])
    for norm, by in found["curves"].items():
        lines = {name: (by["size"], by[name]) for name in names}
        report.curves(lines, f"accuracy under attack, {norm}", "size of the change", "accuracy")
    report.text("The refinement is random and the attacks do not go through it: its curve is an upper bound.")
    return report


def _summary(found: dict[str, Any]) -> str:
    lines = []
    for norm, by in found["curves"].items():
        lines.append(f"{norm:16}" + "".join(f"{size:8.2f}" for size in by["size"]))
        lines += [f"{n:16}" + "".join(f"{v:8.3f}" for v in by[n]) for n in ("joint", "joint, refined", "plain")]
    return "\n".join(lines)
