"""Make new clips from the energy of one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from energies.refiner import Context, geometric
from energies.sampling import anneal
from pipelines import checkpoint, metrics
from pipelines.pipeline import Run
from pipelines.stages.learn_clip import scene
from pipelines.stages.recover import Annealing


@dataclass(frozen=True)
class Synthesize:
    """Sample new clips, of any length, and compare their statistics with the data's, into metrics.json."""

    needs: ClassVar[tuple[str, ...]] = ("clip", "energy")
    gives: ClassVar[tuple[str, ...]] = ("samples", "metrics", "summary")
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
        device, processes = run.accelerator.device, run.accelerator.num_processes
        context = scene(clip, self.frames or clip.shape[1])
        context = Context(**{name: tensor.to(device) for name, tensor in context.tensors().items()})
        energy = values["energy"].to(device).given(context)
        a = self.annealing
        mine = range(run.accelerator.process_index, -(-self.num // processes) * processes, processes)
        made = []
        for number in mine:
            rng = run.generator("synthesize", number, device=device)
            x = context.fill + a.high * context.scale * torch.randn(context.fill.shape, generator=rng, device=device)
            levels = geometric(a.high, a.low, a.levels)
            chain = anneal(energy, levels, x, rng, steps=a.steps, step_size=a.step_size)
            with run.accelerator.autocast():
                *_, (_, x) = run.progress(chain, a.levels, f"sample {number}")
            made.append(x[0].clamp(-1, 1))
        together = run.accelerator.gather(torch.stack(made))
        assert isinstance(together, Tensor)
        samples = together.cpu().unflatten(0, (processes, -1)).transpose(0, 1).flatten(0, 1)[: self.num]
        found = {"data": metrics.statistics(clip)}
        found |= {f"sample_{number}": metrics.statistics(sample) for number, sample in enumerate(samples)}
        if run.is_main:
            text = json.dumps(found, indent=2, allow_nan=False)
            checkpoint.write_file(run.root / "metrics.json", text.encode())
        return {"samples": samples, "metrics": found, "summary": _summary(found)}


def _summary(found: dict[str, Any]) -> str:
    names = ("horizontal", "vertical", "temporal")
    lines = [f"{'mean |difference|':18}" + "".join(f"{name:>12}" for name in names)]
    lines += [f"{clip.replace('_', ' '):18}" + "".join(f"{s[n]:12.2f}" for n in names) for clip, s in found.items()]
    return "\n".join(lines)
