"""The training loop over Accelerate: every process learns from its rows of a step's batch, gradients are averaged.

Everything random of a step is seeded by the run's seed and the step, and is the same on every process, which takes its
rows of it: several processes learn as one does, to rounding. So nothing but weights, optimizer and chains has to be
kept for a resumed run to equal an uninterrupted one bit for bit. Learning that diverges goes back to its last healthy
checkpoint and on from there with smaller steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from warnings import warn

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from data.errors import InputError
from energies.conditional import ConditionalEnergy
from energies.energy import Energy
from energies.health import Health
from energies.objectives import Batch, Metrics
from energies.objectives.share import Share
from pipelines import checkpoint, stopping
from pipelines.learning.muon import Muon
from pipelines.learning.processes import counted
from pipelines.stage import Run
from pipelines.stopping import Stopped

E = TypeVar("E", bound=Energy)
Loss = Callable[[Any, Batch, torch.Generator], tuple[Tensor, Metrics]]
Draw = Callable[[E, int, torch.Generator], tuple[Energy, Batch]]

SLOWER = 0.4  # what a return to a healthy state leaves of the learning rate


@dataclass(frozen=True)
class Optimizer:
    """Adam or Muon, with warm-up and cosine decay, and an average of the weights."""

    method: Literal["adam", "muon"] = "adam"
    """Muon (pipelines/learning/muon.py) wants a rate ten times that of Adam, and half the steps."""

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

    def build(self, parameters: list[torch.nn.Parameter], share: Share | None = None) -> torch.optim.Optimizer:
        """The optimizer of parameters, which are the same on all processes of a share."""
        if self.optimizer.method == "adam":
            fused = parameters[0].device.type == "cpu" or None  # None: torch chooses, all weights at once on a GPU
            return torch.optim.Adam(parameters, self.learning_rate, betas=(0.9, 0.98), fused=fused)
        if share is None:
            return Muon(parameters, self.learning_rate)
        return Muon(parameters, self.learning_rate, index=share.index, num=share.num, add=share.add)


class Learning(NamedTuple, Generic[E]):
    """What `train` is given, but for the run; it says what they are."""

    energy: E
    objective: Loss
    draw: Draw[E]
    training: Training
    chains: dict[str, Tensor]

    def train(self, run: Run) -> E:
        """Learn it."""
        return train(self.energy, self.objective, self.draw, self.training, run, self.chains)


def _positive(settings: Any, *names: str) -> None:
    for name in names:
        if not getattr(settings, name) > 0:
            raise ValueError(f"{name} must be positive, got {getattr(settings, name)}")


def train(energy: E, objective: Loss, draw: Draw[E], training: Training, run: Run, chains: dict[str, Tensor]) -> E:
    """Train an energy and return it with averaged weights.

    Args:
        energy: trained in place; its first weights must be the same on every process.
        objective: the loss.
        draw: what to learn from in a step of that number: the energy bound to its context, and the batch of all
            processes, drawn by the rng, which is the same on all of them. Where rows are dear it may give those of
            this process alone, told by `Batch.part` (`share_of`).
        training: steps, learning rate, batch and optimizer.
        run: gives randomness, processes, logs, progress and the folder of the checkpoint.
        chains: persistent tensors that objectives write into, the same on all processes; kept in the checkpoint.

    Raises:
        InputError: learning diverged once more than it may go back.
    """
    device = run.accelerator.device
    energy.to(device)
    _share_out(chains, run)
    learner = Learner(energy, training, run, chains)
    start = learner.resume()
    steps = iter(run.progress(range(start, training.steps), training.steps - start, "learning"))
    step = start
    with stopping.waiting():
        while step < training.steps:
            rng = run.generator("train", step, 0, device=device)
            with run.accelerator.autocast():
                bound, batch = own_rows(*draw(energy, step, rng), run)
                loss, metrics = objective(bound, batch, rng)
            norm, problem, metrics = learner.step(step, loss, metrics, batch.share.weight)
            run.log(step=step, gradient_norm=norm, weight_norm=learner.weight_norm(), **metrics)
            if problem is not None:
                step = learner.go_back(step, problem)
                continue
            step += 1
            next(steps, None)
            is_due = step % training.optimizer.checkpoint_every == 0 and step < training.steps
            if (is_due or learner.stops) and not learner.health.streak:
                learner.save(step)
            if learner.stops:
                raise Stopped(learner.stops)
    next(steps, None)
    result = copy.deepcopy(energy).cpu()
    result.load_state_dict(learner.average, strict=False)
    return result


def share_of(total: int, run: Run) -> Share:
    """The rows of a batch of `total` that this process learns from."""

    def add(x: Tensor) -> Tensor:
        reduced = run.accelerator.reduce(x, "sum")
        assert isinstance(reduced, Tensor)
        return reduced

    return Share(total, run.accelerator.process_index, run.accelerator.num_processes, add)


def own_rows(energy: Energy, batch: Batch, run: Run) -> tuple[Energy, Batch]:
    """The rows of this process, and the energy told of them, of those of all."""
    if batch.part is not None or run.accelerator.num_processes == 1:
        return energy, batch
    share = share_of(len(batch.x), run)
    if isinstance(energy, ConditionalEnergy) and len(energy.context.estimate) == share.total:
        energy = energy.told(energy.context.rows(share.rows))
    return energy, batch.split(share)


def _share_out(chains: dict[str, Tensor], run: Run) -> None:
    """The main process's chains, for all processes."""
    if run.accelerator.num_processes > 1:
        from accelerate.utils import broadcast  # slow

        for chain in chains.values():
            chain.copy_(broadcast(chain.clone()))


class Learner:
    """Weights, their average, the optimizer and the chains, as they go from step to step and to a checkpoint."""

    def __init__(self, energy: Energy, training: Training, run: Run, chains: dict[str, Tensor]) -> None:
        self.training, self.run, self.chains = training, run, chains
        self.parameters = dict(energy.named_parameters())
        # Those that learning may move; whole numbers are data that the energy remembers.
        self.buffers = {name: buffer for name, buffer in energy.named_buffers() if buffer.is_floating_point()}
        self.optimizer = training.build(list(self.parameters.values()), share_of(training.batch, run))
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.health = Health()
        self.rollbacks = 0
        self.stops: int | None = None  # the signal that asked one of the processes to stop
        self.healthy = self._state(0)

    def step(self, number: int, loss: Tensor, metrics: Metrics, weight: float) -> tuple[float, str | None, Metrics]:
        """Move the weights by the loss of this process, of some weight among all of them.

        Returns the norm of the gradient, why learning has diverged, if it has, and the metrics of all processes.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.rate(number) * SLOWER**self.rollbacks
        self.optimizer.zero_grad()
        loss.backward()
        if self.run.accelerator.num_processes > 1:
            metrics = self._average(metrics, weight)
        else:
            self.stops = _stops(stopping.asked())
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.training.optimizer.clip))
        problem = self.health.problem(norm, metrics)
        if self.health.diverged(problem is not None):
            return norm, problem, metrics
        if math.isfinite(norm):  # bf16 on CPU has bad steps now and then (FACTS); without them nothing is lost
            self.optimizer.step()
            decay = min(self.training.optimizer.average, (number + 1) / (number + 11))
            get_ema_multi_avg_fn(decay)(list(self.average.values()), list(self.parameters.values()), number)
        return norm, None, metrics

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
        self._restore(tensors, meta)
        self.rollbacks += 1
        self.healthy[1]["rollbacks"] = self.rollbacks
        self.run.log(event="rolled back", reason=problem, diverged_at=step, to=meta["step"], times=self.rollbacks)
        return int(meta["step"])

    def save(self, step: int) -> None:
        """A healthy state, to disk and to go back to."""
        self.healthy = self._state(step)
        self.run.on_main(lambda: checkpoint.save(self.run.folder / "checkpoint", *self.healthy))

    def resume(self) -> int:
        """Take everything from the last checkpoint, if there is one; the step to go on with."""
        found = checkpoint.load(self.run.folder / "checkpoint")
        if found is None:
            return 0
        now, before = self.run.accelerator.num_processes, found[1].get("processes")
        if before not in (None, now) and self.run.is_main:
            warn(
                f"{self.run.where} was learned by {counted(before)} and goes on with {counted(now)}: weights, "
                "optimizer and chains go on, the rows of a batch are dealt anew, so the result differs by rounding",
                stacklevel=1,
            )
        self._restore(*found)
        self.healthy = self._state(int(found[1]["step"]))
        return int(found[1]["step"])

    def _state(self, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"weight.{name}": p.detach().clone() for name, p in self.parameters.items()}
        tensors |= {f"average.{name}": tensor.clone() for name, tensor in self.average.items()}
        tensors |= {f"buffer.{name}": tensor.clone() for name, tensor in self.buffers.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value.clone()
        tensors |= {f"chain.{name}": chain.clone() for name, chain in self.chains.items()}
        num = self.run.accelerator.num_processes
        means = dict(self.health.means)
        return tensors, {"step": step, "rollbacks": self.rollbacks, "means": means, "processes": num}

    def _restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
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
            chain.copy_(tensors[f"chain.{name}"])
        self.health = Health(dict(meta["means"]))
        self.rollbacks = int(meta["rollbacks"])

    def _average(self, metrics: Metrics, weight: float) -> Metrics:
        """Average gradients, in place, and metrics over the processes. No DDP: it breaks on double backward."""
        parameters = list(self.parameters.values())
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
        numbers = torch.tensor([*metrics.values(), *stopping.asked()], device=parts[0].device)
        reduced = self.run.accelerator.reduce(torch.cat([*parts, numbers]).mul_(weight), "sum")
        assert isinstance(reduced, Tensor)
        *gradients, numbers = reduced.split([*(len(part) for part in parts), len(numbers)])
        self.stops = _stops(numbers[len(metrics) :].tolist())
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.view_as(parameter)
        return dict(zip(metrics, numbers.tolist(), strict=False))


def _stops(asked: list[float]) -> int | None:
    """The signal that any process was sent, None without."""
    return next((int(number) for number, share in zip(stopping.SIGNALS, asked, strict=True) if share > 0), None)
