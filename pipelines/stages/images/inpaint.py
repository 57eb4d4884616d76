"""Fill what is hidden by any energy of many noise levels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import Hidden
from energies.diagnostics import Monitor
from energies.generators import Annealed, from_description
from energies.samplers.state import normal
from pipelines.chains import findings, sample_chains
from pipelines.generation import share
from pipelines.pipeline import Run


@dataclass(frozen=True)
class Inpaint:
    """Sample the hidden pixels from an energy that was not told of any, a composition for one, given those that are
    seen, which stay exactly as they are."""

    needs: ClassVar[tuple[str, ...]] = ("measured", "observation", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("samples", "sampling")
    distributed: ClassVar[bool] = True

    generator: Annealed | None = None
    """How they are sampled; null: as it suits the energy, with Langevin steps at every level: they make the seams
    fit."""

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy, kind = values["energy"].to(run.accelerator.device).eval(), values["observation"]
        generator = self.generator or from_description(values["generator"])
        if not isinstance(generator, Annealed) or not getattr(energy, "noisy", False):
            raise InputError("inpaint needs an energy of many noise levels; set learn.objective=score_matching")
        if self.generator is None:  # what is seen tells the hole by Langevin steps alone, at every level
            generator = replace(generator, down_to=0.0)
        if kind["kind"] != "hidden":
            raise InputError("inpaint fills hidden pixels; set hide.pixels, hide.box or hide.mask")
        y, mask = values["measured"], kind["mask"]
        levels = generator.schedule()
        device = run.accelerator.device

        def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
            seen = y[chains].to(device)
            noise = normal(seen, streams)
            hidden = mask[chains].to(device).expand_as(seen)
            start = torch.where(hidden, energy.mean + levels[0] * noise, seen)
            chain = generator.down(
                energy, start, streams, observation=Hidden(hidden), seen_noise=noise, monitor=monitor,
                compute=run.compute,
            )  # fmt: skip
            *_, (_, x) = run.progress(chain, len(levels), "noise levels")
            return torch.where(hidden, x.clamp(-1, 1), seen)

        monitor = Monitor(temperature=1.0)
        samples = sample_chains(run, len(y), share(y.shape[1:]), "inpaint", monitor, draw)
        return {"samples": samples, "sampling": findings(monitor)}
