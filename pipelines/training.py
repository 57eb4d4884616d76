"""The training loop over Accelerate: every process draws its own examples, gradients are averaged.

Everything random of a step is seeded by the run's seed, the step and the process, so that nothing but weights,
optimizer and chains has to be kept for a resumed run to equal an uninterrupted one bit for bit. Learning that diverges
goes back to its last healthy checkpoint and on from there with smaller steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from data.errors import InputError
from energies.energy import Energy
from energies.health import Health
from energies.objectives import Batch, Metrics
from pipelines import checkpoint
from pipelines.muon import Muon
from pipelines.pipeline import Run

E = TypeVar("E", bound=Energy)
Loss = Callable[[Any, Batch, torch.Generator], tuple[Tensor, Metrics]]
Draw = Callable[[E, int, torch.Generator], tuple[Energy, Batch]]

SLOWER = 0.4  # what a return to a healthy state leaves of the learning rate


@dataclass(frozen=True)
class Optimizer:
    """Adam or Muon, with warm-up and cosine decay, and an average of the weights."""

    method: Literal["adam", "muon"] = "adam"
    """Muon (pipelines/muon.py) wants a rate ten times that of Adam, and half the steps."""

    warmup: int = 15
    """Steps in which the learning rate rises from 0."""

    clip: float = 0.5
    """Largest norm of the gradient."""

    average: float = 0.97
    """Decay of the exponential moving average of the weights, which is the result."""

    checkpoint_every: int = 25
    """Steps between checkpoints."""

    rollbacks: int = 3
    """How often learning that diverged may go back to its last healthy checkpoint, to go on with smaller steps."""

    def __post_init__(self) -> None:
        _positive(self, "clip", "checkpoint_every")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must lie in [0, 1), got {self.average}")
        if self.rollbacks < 0:
            raise ValueError(f"rollbacks must not be negative, got {self.rollbacks}")


@dataclass(frozen=True)
class Training:
    """How an energy is learned, all settings resolved: what a stage gives `train`."""

    steps: int
    """Optimizer steps."""

    learning_rate: float
    """Highest learning rate."""

    batch: int
    """Examples a step, of all processes together."""

    optimizer: Optimizer
    """How its weights are found."""

    def __post_init__(self) -> None:
        _positive(self, "steps", "learning_rate", "batch")

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        rise = min(1.0, (step + 1) / max(self.optimizer.warmup, 1))
        return self.learning_rate * rise * (0.05 + 0.95 * (1 + math.cos(math.pi * step / self.steps)) / 2)

    def build(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        if self.optimizer.method == "muon":
            return Muon(parameters, self.learning_rate)
        return torch.optim.Adam(parameters, self.learning_rate, betas=(0.9, 0.98))


def _positive(settings: Any, *names: str) -> None:
    for name in names:
        if not getattr(settings, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(settings, name)}")


def train(energy: E, objective: Loss, draw: Draw[E], training: Training, run: Run, chains: dict[str, Tensor]) -> E:
    """Train an energy and return it with averaged weights.

    Args:
        energy: trained in place; its first weights must be the same on every process.
        objective: the loss.
        draw: what to learn from in a step of that number: the energy bound to its context, and a batch.
        training: steps, learning rate, batch and optimizer.
        run: gives randomness, processes, logs, progress and the folder of the checkpoint.
        chains: persistent tensors that objectives write into; kept in the checkpoint, one set a process.

    Raises:
        InputError: learning diverged once more than it may go back.
    """
    device = run.accelerator.device
    energy.to(device)
    learner = Learner(energy, training, run, chains)
    start = learner.resume()
    steps = iter(run.progress(range(start, training.steps), training.steps - start, "learning"))
    step = start
    while step < training.steps:
        rng = run.generator("train", step, run.accelerator.process_index, device=device)
        with run.accelerator.autocast():
            loss, metrics = objective(*draw(energy, step, rng), rng)
        norm, problem = learner.step(step, loss, metrics)
        run.log(step=step, gradient_norm=norm, weight_norm=learner.weight_norm(), **metrics)
        if problem is not None:
            step = learner.go_back(step, problem)
            continue
        step += 1
        next(steps, None)
        if step % training.optimizer.checkpoint_every == 0 and step < training.steps and not learner.health.streak:
            learner.save(step)
    next(steps, None)
    result = copy.deepcopy(energy).cpu()
    result.load_state_dict(learner.average, strict=False)
    return result


class Learner:
    """Weights, their average, the optimizer and the chains, as they go from step to step and to a checkpoint."""

    def __init__(self, energy: Energy, training: Training, run: Run, chains: dict[str, Tensor]) -> None:
        self.training, self.run, self.chains = training, run, chains
        self.parameters = dict(energy.named_parameters())
        # Those that learning may move; whole numbers are data that the energy remembers.
        self.buffers = {name: buffer for name, buffer in energy.named_buffers() if buffer.is_floating_point()}
        self.optimizer = training.build(list(self.parameters.values()))
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.health = Health()
        self.rollbacks = 0
        self.healthy = self._state(0)

    def step(self, number: int, loss: Tensor, metrics: Metrics) -> tuple[float, str | None]:
        """Move the weights; the norm of the gradient, and why learning has diverged, if it has."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.rate(number) * SLOWER**self.rollbacks
        self.optimizer.zero_grad()
        loss.backward()
        norm = self._average_gradients()
        problem = self.health.problem(norm, metrics)
        bad = torch.tensor(float(problem is not None), device=loss.device)
        if self.run.accelerator.num_processes > 1:  # all go back, or none
            reduced = self.run.accelerator.reduce(bad, "sum")
            assert isinstance(reduced, Tensor)
            bad = reduced
        if self.health.diverged(bool(bad)):
            return norm, problem or "another process diverged"
        if math.isfinite(norm):  # bf16 on CPU has bad steps now and then (FACTS); without them nothing is lost
            self.optimizer.step()
            decay = min(self.training.optimizer.average, (number + 1) / (number + 11))
            for name, parameter in self.parameters.items():
                self.average[name].lerp_(parameter.detach(), 1 - decay)
        return norm, None

    def weight_norm(self) -> float:
        """Of all weights together."""
        return float(torch.nn.utils.get_total_norm([p.detach() for p in self.parameters.values()]))

    def go_back(self, step: int, problem: str) -> int:
        """Restore the last healthy state; the step to go on with. InputError: too often."""
        if self.rollbacks == self.training.optimizer.rollbacks:
            raise InputError(
                f"learning diverged at step {step}: {problem}, also after {self.rollbacks} returns to a healthy state "
                "with smaller steps; lower the learning_rate of its optimizer"
            )
        tensors, meta = self.healthy
        self._restore(tensors, meta, 0)
        self.rollbacks += 1
        self.healthy[1]["rollbacks"] = self.rollbacks
        self.run.log(event="rolled back", reason=problem, diverged_at=step, to=meta["step"], times=self.rollbacks)
        return int(meta["step"])

    def save(self, step: int) -> None:
        """A healthy state, to disk and to go back to."""
        self.healthy = self._state(step)
        tensors, meta = dict(self.healthy[0]), self.healthy[1]
        for name in self.chains:
            everyone = self.run.accelerator.gather(tensors[f"chain.{name}"].contiguous())
            assert isinstance(everyone, Tensor)
            tensors[f"chain.{name}"] = everyone
        self.run.on_main(lambda: checkpoint.save(self.run.folder / "checkpoint", tensors, meta))

    def resume(self) -> int:
        """Take everything from the last checkpoint, if there is one; the step to go on with."""
        found = checkpoint.load(self.run.folder / "checkpoint")
        if found is None or found[1]["processes"] != self.run.accelerator.num_processes:
            return 0
        self._restore(*found, self.run.accelerator.process_index)
        self.healthy = self._state(int(found[1]["step"]))
        return int(found[1]["step"])

    def _state(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"weight.{name}": p.detach().clone() for name, p in self.parameters.items()}
        tensors |= {f"average.{name}": tensor.clone() for name, tensor in self.average.items()}
        tensors |= {f"buffer.{name}": tensor.clone() for name, tensor in self.buffers.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value.clone()
        tensors |= {f"chain.{name}": chain[None].clone() for name, chain in self.chains.items()}
        meta = {
            "step": step,
            "processes": self.run.accelerator.num_processes,
            "rollbacks": self.rollbacks,
            "means": dict(self.health.means),
        }
        return tensors, meta

    def _restore(self, tensors: dict[str, Tensor], meta: dict[str, Any], row: int) -> None:
        """row: of the chains, which are kept for every process."""
        for name, parameter in self.parameters.items():
            parameter.data.copy_(tensors[f"weight.{name}"])
            self.average[name].copy_(tensors[f"average.{name}"])
            state: dict[str, Tensor] = {}
            for key, value in tensors.items():
                kind, _, rest = key.partition(".")
                part, _, owner = rest.partition(".")
                if kind == "optimizer" and owner == name:  # Adam counts its steps on the CPU
                    state[part] = value.clone() if part == "step" else value.to(parameter.device, copy=True)
            self.optimizer.state[parameter] = state
        for name, buffer in self.buffers.items():
            buffer.copy_(tensors[f"buffer.{name}"])
        for name, chain in self.chains.items():
            chain.copy_(tensors[f"chain.{name}"][row])
        self.health = Health(dict(meta["means"]))
        self.rollbacks = int(meta["rollbacks"])

    def _average_gradients(self) -> float:
        """Average gradients over the processes and clip them; their norm. No DDP: it breaks on double backward."""
        parameters = list(self.parameters.values())
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        if self.run.accelerator.num_processes > 1:
            flat = self.run.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
            assert isinstance(flat, Tensor)
            for parameter, part in zip(parameters, flat.split([g.numel() for g in gradients]), strict=True):
                parameter.grad = part.view_as(parameter)
        return float(torch.nn.utils.clip_grad_norm_(parameters, self.training.optimizer.clip))
