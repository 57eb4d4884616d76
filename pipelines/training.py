"""The training loop over Accelerate: every process draws its own examples, gradients are averaged.

Everything random of a step is seeded by the run's seed, the step and the process, so that nothing but weights,
optimizer and chains has to be kept for a resumed run to equal an uninterrupted one bit for bit.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from energies.energy import Energy
from energies.objectives import Batch, Metrics
from pipelines import checkpoint
from pipelines.pipeline import Run

E = TypeVar("E", bound=Energy)
Loss = Callable[[Any, Batch, torch.Generator], tuple[Tensor, Metrics]]
Draw = Callable[[E, int, torch.Generator], tuple[Energy, Batch]]


@dataclass(frozen=True)
class Optimizer:
    """Adam with warm-up and cosine decay, and an average of the weights."""

    steps: int = 160
    """Optimizer steps."""

    learning_rate: float = 0.0015
    """Highest learning rate."""

    warmup: int = 15
    """Steps in which the learning rate rises from 0."""

    clip: float = 0.5
    """Largest norm of the gradient."""

    average: float = 0.97
    """Decay of the exponential moving average of the weights, which is the result."""

    checkpoint_every: int = 25
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        for name in ("steps", "learning_rate", "clip", "checkpoint_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must lie in [0, 1), got {self.average}")

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        rise = min(1.0, (step + 1) / max(self.warmup, 1))
        return self.learning_rate * rise * (0.05 + 0.95 * (1 + math.cos(math.pi * step / self.steps)) / 2)


def train(energy: E, objective: Loss, draw: Draw[E], settings: Optimizer, run: Run, chains: dict[str, Tensor]) -> E:
    """Train an energy and return it with averaged weights.

    Args:
        energy: trained in place; its first weights must be the same on every process.
        objective: the loss.
        draw: what to learn from in a step of that number: the energy bound to its context, and a batch.
        settings: of the optimizer.
        run: gives randomness, processes, logs, progress and the folder of the checkpoint.
        chains: persistent tensors that objectives write into; kept in the checkpoint, one set a process.
    """
    device = run.accelerator.device
    energy.to(device)
    parameters = dict(energy.named_parameters())
    optimizer = torch.optim.Adam(parameters.values(), lr=settings.learning_rate, betas=(0.9, 0.98))
    average = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    start = _resume(run, energy, optimizer, average, chains)
    for step in run.progress(range(start, settings.steps), settings.steps - start, "learning"):
        rng = run.generator("train", step, run.accelerator.process_index, device=device)
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step)
        with run.accelerator.autocast():
            loss, metrics = objective(*draw(energy, step, rng), rng)
        optimizer.zero_grad()
        loss.backward()
        norm = _average_gradients(run, list(parameters.values()), settings.clip)
        if math.isfinite(norm):  # bf16 on CPU has bad steps now and then (FACTS); without them nothing is lost
            optimizer.step()
            decay = min(settings.average, (step + 1) / (step + 11))
            for name, parameter in parameters.items():
                average[name].lerp_(parameter.detach(), 1 - decay)
        run.log(step=step, gradient_norm=norm, **metrics)
        if (step + 1) % settings.checkpoint_every == 0 and step + 1 < settings.steps:
            _save(run, step + 1, energy, optimizer, average, chains)
    result = copy.deepcopy(energy).cpu()
    result.load_state_dict(average, strict=False)
    return result


def _average_gradients(run: Run, parameters: list[torch.nn.Parameter], clip: float) -> float:
    """Average gradients over the processes and clip them; their norm. No DDP: it breaks on double backward."""
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    if run.accelerator.num_processes > 1:
        flat = run.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
        assert isinstance(flat, Tensor)
        for parameter, part in zip(parameters, flat.split([g.numel() for g in gradients]), strict=True):
            parameter.grad = part.view_as(parameter)
    return float(torch.nn.utils.clip_grad_norm_(parameters, clip))


def _save(
    run: Run,
    step: int,
    energy: Energy,
    optimizer: torch.optim.Adam,
    average: dict[str, Tensor],
    chains: dict[str, Tensor],
) -> None:
    tensors = {f"weight.{name}": p.detach() for name, p in energy.named_parameters()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
    for (name, _), state in zip(energy.named_parameters(), optimizer.state_dict()["state"].values(), strict=True):
        tensors |= {f"adam.{key}.{name}": value for key, value in state.items()}
    for name, chain in chains.items():
        everyone = run.accelerator.gather(chain[None].contiguous())
        assert isinstance(everyone, Tensor)
        tensors[f"chain.{name}"] = everyone
    meta = {"step": step, "processes": run.accelerator.num_processes}
    run.on_main(lambda: checkpoint.save(run.folder / "checkpoint", tensors, meta))


def _resume(
    run: Run, energy: Energy, optimizer: torch.optim.Adam, average: dict[str, Tensor], chains: dict[str, Tensor]
) -> int:
    """Take everything from the last checkpoint, if there is one; the step to go on with."""
    found = checkpoint.load(run.folder / "checkpoint")
    if found is None or found[1]["processes"] != run.accelerator.num_processes:
        return 0
    tensors, meta = found
    states = {}
    for number, (name, parameter) in enumerate(energy.named_parameters()):
        parameter.data.copy_(tensors[f"weight.{name}"])
        average[name].copy_(tensors[f"average.{name}"])
        states[number] = {key: tensors[f"adam.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    for name, chain in chains.items():
        chain.copy_(tensors[f"chain.{name}"][run.accelerator.process_index])
    return int(meta["step"])
