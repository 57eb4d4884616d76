"""Make new clips from the energy of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from energies import Schedule
from energies.diagnostics import Monitor, saturation
from energies.samplers.state import normal
from energies.sampling import LevelSampler, anneal
from pipelines.chains import findings, sample_chains
from pipelines.measures import metrics
from pipelines.pipeline import Run
from pipelines.results import save_metrics
from pipelines.settings import check_sampler
from pipelines.stages.video.scene import stretched


@dataclass(frozen=True)
class Synthesize:
    """Sample new clips, of any length, and compare their statistics with the data's, into metrics.json."""

    needs: ClassVar[tuple[str, ...]] = ("clip", "energy")
    gives: ClassVar[tuple[str, ...]] = ("samples", "metrics", "sampling", "summary")
    distributed: ClassVar[bool] = True

    num: int = 3
    """Number of clips; they are shared among the processes."""

    frames: int | None = None
    """Their length; null: as long as the data."""

    schedule: Schedule = field(
        default_factory=lambda: Schedule(24, 8.0, 0.06, 1, 0.35, spacing="geometric", predictor="euler")
    )
    """How the energy is sampled: noise levels in units of how much each pixel varies about its mean."""

    sampler: LevelSampler | None = None
    """Of the steps at each noise level; null: Langevin."""

    warm_up: int = 0
    """Steps at each level that first adapt the sampler: 50 or more, or 0."""

    def __post_init__(self) -> None:
        if self.num < 1 or (self.frames is not None and self.frames < 2):
            raise ValueError(f"num must be 1 or more and frames 2 or more, got {self.num} and {self.frames}")
        check_sampler(self.sampler, self.warm_up)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        clip: Tensor = values["clip"]
        device = run.accelerator.device
        energy = stretched(values["energy"], self.frames or clip.shape[1]).to(device)
        schedule, shape = self.schedule, energy.event_shape

        def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
            noise = normal(torch.empty(len(streams), *shape, device=device), streams)
            x = energy.start(noise, schedule.noise_levels()[0])
            chain = anneal(
                energy, schedule, x, streams, sampler=self.sampler, warm_up=self.warm_up, monitor=monitor,
                compute=run.compute,
            )  # fmt: skip
            *_, (_, x) = run.progress(chain, schedule.levels, "noise levels")
            return x.clamp(-1, 1)

        monitor = Monitor(bounds=(-1, 1), saturated=(1 + float(saturation(clip[None])[0])) / 2, temperature=1.0)
        samples = sample_chains(run, self.num, torch.Size(shape).numel(), "synthesize", monitor, draw)
        chains = findings(monitor)
        found = {"data": metrics.statistics(clip)}
        found |= {f"sample_{number}": metrics.statistics(sample) for number, sample in enumerate(samples)}
        if run.is_main:
            save_metrics(found | {"sampling": chains["summary"]}, run.root)
        lines = chains["lines"]
        told = [f"chains: {lines[0]}", *lines[1:]] if lines else []
        summary = "\n".join([_summary(found), *told])
        return {"samples": samples, "metrics": found, "sampling": chains, "summary": summary}


def _summary(found: dict[str, Any]) -> str:
    names = ("horizontal", "vertical", "temporal")
    lines = [f"{'mean |difference|':18}" + "".join(f"{name:>12}" for name in names)]
    lines += [f"{clip.replace('_', ' '):18}" + "".join(f"{s[n]:12.2f}" for n in names) for clip, s in found.items()]
    return "\n".join(lines)
