"""Make new clips from the energy of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from energies.diagnostics import Monitor, saturation
from energies.refiner import Context, geometric
from energies.samplers.state import normal
from energies.sampling import anneal
from pipelines import metrics
from pipelines.chains import findings, sample_chains
from pipelines.pipeline import Run
from pipelines.stages.results import save_metrics
from pipelines.stages.video.learn_clip import scene
from pipelines.stages.video.recover import Annealing


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

    annealing: Annealing = field(default_factory=lambda: Annealing(24, 8.0, 0.06, 1, 0.35))
    """How the energy is sampled."""

    def __post_init__(self) -> None:
        if self.num < 1 or (self.frames is not None and self.frames < 2):
            raise ValueError(f"num must be 1 or more and frames 2 or more, got {self.num} and {self.frames}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        clip: Tensor = values["clip"]
        device = run.accelerator.device
        context = scene(clip, self.frames or clip.shape[1])
        context = Context(**{name: tensor.to(device) for name, tensor in context.tensors().items()})
        energy = values["energy"].to(device).given(context)
        a = self.annealing

        def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
            start = context.fill.expand(len(streams), -1, -1, -1, -1)
            x = start + a.high * context.scale * normal(start, streams)
            levels = geometric(a.high, a.low, a.levels)
            chain = anneal(
                energy, levels, x, streams, steps=a.steps, step_size=a.step_size, monitor=monitor, compute=run.compute
            )
            *_, (_, x) = run.progress(chain, a.levels, "noise levels")
            return x.clamp(-1, 1)

        monitor = Monitor(bounds=(-1, 1), saturated=(1 + float(saturation(clip[None])[0])) / 2, temperature=1.0)
        samples = sample_chains(run, self.num, context.fill.numel(), "synthesize", monitor, draw)
        chains = findings(monitor)
        found = {"data": metrics.statistics(clip)}
        found |= {f"sample_{number}": metrics.statistics(sample) for number, sample in enumerate(samples)}
        if run.is_main:
            save_metrics(found | {"sampling": chains["summary"]}, run.root)
        summary = "\n".join([_summary(found), f"chains: {chains['lines'][0]}", *chains["lines"][1:]])
        return {"samples": samples, "metrics": found, "sampling": chains, "summary": summary}


def _summary(found: dict[str, Any]) -> str:
    names = ("horizontal", "vertical", "temporal")
    lines = [f"{'mean |difference|':18}" + "".join(f"{name:>12}" for name in names)]
    lines += [f"{clip.replace('_', ' '):18}" + "".join(f"{s[n]:12.2f}" for n in names) for clip, s in found.items()]
    return "\n".join(lines)
