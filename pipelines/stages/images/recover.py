"""Recover pictures from what is seen of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import Average, Grey, Hidden, ReferenceEnergy
from energies.diagnostics import Monitor
from energies.observation import Observation
from energies.refiner import geometric
from energies.samplers.state import normal
from energies.sampling import anneal
from pipelines.chains import findings, sample_chains
from pipelines.pipeline import Run

TOGETHER = 64  # pictures whose expectation is taken at once


@dataclass(frozen=True)
class Levels:
    """Noise levels of the samples, in units of the expected error of the fill."""

    num: int = 16
    """How many."""

    high: float = 4.0
    """The highest."""

    low: float = 0.08
    """The lowest."""

    step_size: float = 0.35
    """Of the Langevin step at each, in units of the level."""

    def __post_init__(self) -> None:
        if self.num < 2 or not 0 < self.low < self.high or not self.step_size > 0:
            raise ValueError("num must be 2 or more, high above low above 0, and step_size positive")


@dataclass(frozen=True)
class Recover:
    """Expect the pictures given what is seen of them, which is kept exactly, and sample other ways they may be."""

    needs: ClassVar[tuple[str, ...]] = ("measured", "observation", "energy")
    gives: ClassVar[tuple[str, ...]] = ("recovered", "samples", "sampling")
    distributed: ClassVar[bool] = True

    samples: int = 8
    """Pictures, from the first, of which a sample is drawn as well."""

    levels: Levels = field(default_factory=Levels)
    """How they are sampled."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be 1 or more, got {self.samples}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy, y = values["energy"].to(run.accelerator.device), values["measured"]
        if not isinstance(energy, ReferenceEnergy):
            raise InputError("recover needs the energy of learn_recovery")
        kind = values["observation"]
        starts = range(0, len(y), TOGETHER)
        parts: list[Tensor] = []
        with torch.no_grad():
            for low in run.progress(starts, len(starts), "expecting"):
                rows = list(range(low, min(low + TOGETHER, len(y))))
                observation, seen = self._seen(kind, y, rows, run)
                with run.accelerator.autocast():
                    mean = energy.given(observation, seen).mean().float()
                parts.append(observation.project(mean.clamp(-1, 1), seen)[:, :, 0].cpu())
        monitor = Monitor(temperature=1.0)
        samples = self._sample(energy, kind, y, run, monitor)
        return {"recovered": torch.cat(parts), "samples": samples, "sampling": findings(monitor)}

    def _seen(self, kind: dict[str, Any], y: Tensor, rows: list[int], run: Run) -> tuple[Observation, Tensor]:
        """The operator on pictures of one frame [B, C, 1, H, W], and what it gave of these rows."""
        device = run.accelerator.device
        seen = y[rows][:, :, None].to(device)
        if kind["kind"] == "hidden":
            return Hidden(kind["mask"][rows][:, :, None].to(device)), seen
        return (Average((1, kind["factor"], kind["factor"])) if kind["kind"] == "average" else Grey()), seen

    def _sample(self, energy: ReferenceEnergy, kind: dict[str, Any], y: Tensor, run: Run, monitor: Monitor) -> Tensor:
        at = self.levels

        def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
            observation, seen = self._seen(kind, y, chains, run)
            posterior = energy.given(observation, seen)
            assert posterior.context is not None
            noise = normal(posterior.context.fill, streams) * posterior.context.hidden
            x = posterior.context.fill + at.high * posterior.scale * noise
            hidden = Hidden(posterior.context.hidden)
            levels = geometric(at.high, at.low, at.num)
            chain = anneal(
                posterior, levels, x, streams, steps=1, step_size=at.step_size, observation=hidden, monitor=monitor,
                compute=run.compute,
            )  # fmt: skip
            *_, (_, x) = run.progress(chain, at.num, "noise levels")
            return observation.project(x.clamp(-1, 1), seen)[:, :, 0]

        num = min(self.samples, len(y))
        return sample_chains(run, num, 8 * energy.remembered.shape[1], "recover", monitor, draw)
