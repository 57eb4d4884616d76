"""Make new shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from energies import GenerativeConvNet, ReferenceEnergy
from energies.diagnostics import Monitor
from energies.generators import Annealed, from_description
from energies.samplers import Langevin
from energies.sampling import sample
from energies.unmasking import Unmasking
from pipelines.chains import findings, sample_chains
from pipelines.generation import asked_labels, check_label, generate, guidance_of
from pipelines.pipeline import Run
from pipelines.stages.voxels.grids import likeliest
from pipelines.stages.voxels.sampling import sampled

ANNEALED = Annealed(24, 20.0, 0.05)  # of an encoder, where nothing else is said


@dataclass(frozen=True)
class Synthesize:
    """Sample new shapes from the energy; they may be refined further by `super_resolve`."""

    needs: ClassVar[tuple[str, ...]] = ("shapes", "energy")
    gives: ClassVar[tuple[str, ...]] = ("coarse", "measured", "fields", "solids", "sampling")
    distributed: ClassVar[bool] = True

    num: int = 64
    """Number of shapes."""

    unmasking: Unmasking = Unmasking()
    """How our default is sampled."""

    polish: int = 6
    """How often in the end most of a sample is forgotten and expected again: specks go, and gaps close."""

    generator: Annealed | None = None
    """How an encoder, or a composition, is sampled; null: as `compose` says, else by 24 levels."""

    label: str | None = None
    """Of an encoder learned by class: the name of one, each, to take turns, or any; null: each where it was."""

    guidance: float | None = None
    """How much the class counts there: above 1, samples are surer to be of it and less varied; null: 1.5."""

    steps: int = 300
    """Langevin steps of the published energy."""

    step_size: float = 0.01
    """Langevin step size of the published energy."""

    noise: float = 0.1
    """Factor of the noise of the published energy."""

    def __post_init__(self) -> None:
        if self.num < 1 or self.polish < 0 or self.steps < 1 or not self.step_size > 0 or not self.noise >= 0:
            raise ValueError("num, steps and step_size must be positive, polish and noise not negative")

    def check(self, values: dict[str, Any]) -> None:
        check_label(self.label, values.get("shapes"))

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy = values["energy"].to(run.accelerator.device).eval()
        monitor = Monitor(temperature=self.noise**2 if isinstance(energy, GenerativeConvNet) else 1.0)
        if getattr(energy, "noisy", False):
            return self._annealed(energy, values, run, monitor)
        if isinstance(energy, ReferenceEnergy):
            nothing = torch.zeros(self.num, *energy.event_shape)
            hidden = torch.ones_like(nothing, dtype=torch.bool)
            fields = sampled(energy, nothing, hidden, self.unmasking, self.polish, run, "synthesize")
            solids = likeliest(fields)
        else:
            fields = self._published(energy, run, monitor)
            solids = fields > 0
        fields = fields.clamp(-1, 1)
        return {
            "coarse": fields,
            "measured": torch.where(solids, fields, -1.0),  # refined, what is not solid stays empty
            "fields": fields.half(),
            "solids": solids,
            "sampling": findings(monitor),
        }

    def _annealed(self, energy: Any, values: dict[str, Any], run: Run, monitor: Monitor) -> dict[str, Any]:
        """Down the noise levels, as pictures are; what comes out may be coarse, a mean of blocks."""
        labels = asked_labels(self.label, self.guidance, energy, values["shapes"]["classes"], self.num)
        guidance = guidance_of(self.guidance, energy, labels)
        generator = self.generator or ANNEALED
        if self.generator is None and "generator" in values:
            generator = from_description(values["generator"])
        fields = generate(energy, generator, self.num, labels, run, "synthesize", guidance=guidance, monitor=monitor)
        solids = likeliest(fields)
        return {
            "coarse": fields,
            "measured": fields,
            "fields": fields.half(),
            "solids": solids,
            "sampling": findings(monitor),
        }

    def _published(self, energy: GenerativeConvNet, run: Run, monitor: Monitor) -> Tensor:
        """Langevin chains from the noise that the learning's chains started from."""

        def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
            noise = [torch.randn(energy.event_shape, generator=stream, device=stream.device) for stream in streams]
            x = (0.5 * torch.stack(noise) + energy.mean).clamp(-1, 1)
            langevin = Langevin(self.step_size, self.noise)
            for state, info in sample(langevin, energy, x, self.steps, streams, compute=run.compute):
                monitor.update(state, info)
                x = state.x.clamp(-1.5, 1.5)
            return x

        return sample_chains(run, self.num, math.prod(energy.event_shape), "synthesize", monitor, draw)
