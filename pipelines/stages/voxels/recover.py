"""Fill in the hidden part of shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from energies import Conditioned, GenerativeConvNet, Hidden, ReferenceEnergy
from energies.diagnostics import Monitor
from energies.samplers import Langevin
from energies.sampling import sample
from energies.unmasking import Unmasking
from pipelines.chains import findings, sample_chains
from pipelines.pipeline import Run
from pipelines.stages.voxels.grids import check_side, likeliest
from pipelines.stages.voxels.sampling import expected, sampled


@dataclass(frozen=True)
class Recover:
    """Expect what is hidden of shapes given what is seen, and sample other ways that they may go on.

    The expectation becomes a solid by the highest expected intersection over union.
    """

    needs: ClassVar[tuple[str, ...]] = ("targets", "hidden", "energy")
    gives: ClassVar[tuple[str, ...]] = ("fields", "solids", "samples", "sampling")
    distributed: ClassVar[bool] = True

    samples: int = 8
    """Shapes, from the first, of which a sample is drawn as well."""

    unmasking: Unmasking = Unmasking(sweeps=2)
    """How they are sampled."""

    polish: int = 4
    """How often in the end most of a sample is forgotten and expected again: specks go, and gaps close."""

    steps: int = 90
    """Langevin steps of the published energy."""

    step_size: float = 0.01
    """Langevin step size of the published energy."""

    noise: float = 0.1
    """Factor of the noise of the published energy."""

    def __post_init__(self) -> None:
        if min(self.samples, self.steps) < 1 or self.polish < 0 or not self.step_size > 0 or not self.noise >= 0:
            raise ValueError("samples, steps and step_size must be positive, polish and noise not negative")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy, hidden = values["energy"].to(run.accelerator.device), values["hidden"]
        check_side(energy, hidden.shape[-1], "recover")
        damaged = torch.where(hidden, 0.0, values["targets"].float())
        monitor = Monitor(temperature=1.0 if isinstance(energy, ReferenceEnergy) else self.noise**2)
        if isinstance(energy, ReferenceEnergy):
            fields = expected(energy, Hidden(hidden), damaged, run)
            first = slice(self.samples)
            samples = sampled(energy, damaged[first], hidden[first], self.unmasking, self.polish, run, "recover")
        else:
            fields = self._published(energy, damaged, hidden, run, monitor)
            samples = fields[: self.samples]
        fields = torch.where(hidden, fields.clamp(-1, 1), damaged)
        return {
            "fields": fields.half(),
            "solids": likeliest(fields, hidden),
            "samples": samples.half(),
            "sampling": findings(monitor),
        }

    def _published(
        self, energy: GenerativeConvNet, damaged: Tensor, hidden: Tensor, run: Run, monitor: Monitor
    ) -> Tensor:
        """Langevin chains from the mean of the reference, one a shape."""
        device = run.accelerator.device

        def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
            y, mask = damaged[chains].to(device), hidden[chains].to(device)
            posterior = Conditioned(energy, Hidden(mask), y)
            x = torch.where(mask, energy.mean, y)
            langevin = Langevin(self.step_size, self.noise)
            for state, info in sample(langevin, posterior, x, self.steps, streams, compute=run.compute):
                monitor.update(state, info)
                x = state.x
            return x

        return sample_chains(run, len(damaged), damaged[0].numel(), "recover", monitor, draw)
