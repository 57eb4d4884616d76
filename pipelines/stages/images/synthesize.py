"""Make new pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies.diagnostics import Monitor, saturation
from energies.generators import Annealed, Chain, Generator, Stepwise, described, from_description
from energies.samplers.state import normal
from pipelines.chains import findings, sample_chains
from pipelines.pipeline import Run
from pipelines.stages.images.load import to_float

GUIDANCE = 1.5  # of samples of a class, where nothing else is said


@dataclass(frozen=True)
class Synthesize:
    """Sample new pictures from the energy, of a class where it was learned by class."""

    needs: ClassVar[tuple[str, ...]] = ("images", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("samples", "sample_labels", "generator", "guidance", "sampling")
    distributed: ClassVar[bool] = True

    num: int = 256
    """Number of pictures."""

    label: str | None = None
    """Of an energy learned by class: the name of one, each, to take turns, or any; null: each where it was."""

    guidance: float | None = None
    """How much the class counts: above 1, samples are surer to be of it and less varied, at twice the time; null: 1.5
    where a class is asked for of an energy of many noise levels, else 1."""

    generator: Annealed | Chain | Stepwise | None = None
    """How they are sampled: annealed, chain or stepwise; null: as it suits the objective that was learned by."""

    def __post_init__(self) -> None:
        if self.num < 1 or not (self.guidance is None or self.guidance >= 0):
            raise ValueError(f"num must be 1 or more and guidance not negative, got {self.num} and {self.guidance}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy = values["energy"].to(run.accelerator.device).eval()
        generator = self.generator or from_description(values["generator"])
        labels = self._labels(energy, values["images"]["classes"])
        data = to_float(values["images"]["validation"])
        temperature = generator.noise**2 if isinstance(generator, Chain) else 1.0
        saturated = (1 + float(saturation(data).mean())) / 2
        monitor = Monitor(bounds=(-1, 1), saturated=saturated, temperature=temperature)
        guidance = self.guidance
        if guidance is None:
            guidance = GUIDANCE if labels is not None and getattr(energy, "noisy", False) else 1.0
        samples = generate(energy, generator, self.num, labels, run, "synthesize", guidance=guidance, monitor=monitor)
        return {
            "samples": samples,
            "sample_labels": labels,
            "generator": described(generator),
            "guidance": guidance,
            "sampling": findings(monitor),
        }

    def _labels(self, energy: Any, classes: Sequence[str]) -> Tensor | None:
        num = getattr(energy, "num_classes", 0)
        if self.guidance not in (None, 1) and (not num or self.label == "any"):
            raise InputError("synthesize.guidance needs a class: an energy learned by class, and label not any")
        if self.label == "any" or (self.label is None and not num):
            return None
        if not num:
            raise InputError(
                f"synthesize.label={self.label}: the energy was not learned by class; set learn.conditional=true"
            )
        if self.label in (None, "each"):
            return torch.arange(self.num) % num
        if self.label not in classes:
            raise InputError(f"synthesize.label={self.label}: the classes are {', '.join(classes)}, each and any")
        return torch.full((self.num,), list(classes).index(self.label))


def generate(
    energy: Any, generator: Generator, num: int, labels: Tensor | None, run: Run, purpose: str, *,
    guidance: float = 1.0, monitor: Monitor | None = None, start: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Samples [num, C, H, W] in [-1, 1] on the CPU; sample k has a stream of its own.

    start: x [num, C, H, W] that long chains go on from, in place of noise.
    """
    device = run.accelerator.device
    noisy = getattr(energy, "noisy", False)
    if noisy == isinstance(generator, Chain):
        kind = "many noise levels; take annealed or stepwise" if noisy else "clean pictures; take chain"
        raise InputError(f"the generator does not suit the energy, which is of {kind} ({purpose})")

    def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        bound = energy if labels is None else energy.guided(labels[chains].to(device), guidance)
        if start is not None:
            steps = generator.continued(bound, start[chains].to(device), streams, compute=run.compute)
        else:
            noise = normal(torch.empty(len(chains), *energy.event_shape, device=device), streams)
            steps = generator.generate(bound, noise, streams, monitor=monitor, compute=run.compute)
        *_, x = steps
        return x

    return sample_chains(run, num, share(energy.event_shape), purpose, monitor or Monitor(), draw)


def share(event: Sequence[int]) -> int:
    """Numbers that a sample counts for, so that some hundred are drawn at once: the network holds many more."""
    return 32 * math.prod(event)
