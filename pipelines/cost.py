"""How long a run will take, and how much memory and disk: one line, once the data are loaded.

A stage that takes long says what it takes, in a method beside its `__call__`:

    def cost(self, shape: tuple[int, ...], run: Run) -> Cost:

`shape` is that of one x of the data, [C, *size]. One that learns builds its energy and calls `learning`, which does a
few steps on trial and times them: nothing is as good a model of a machine as the machine. One that samples need not
know the energy: it says how many gradients of it `evaluations` it takes, and how much is written; the stage that gives
the energy says what one gradient takes. Stages without such a method count as nothing.
"""

from __future__ import annotations

import copy
import math
import resource
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from energies.compute import prepared
from energies.energy import Energy, gradient
from energies.family import Family
from pipelines.examples import Examples
from pipelines.progress import clock

if TYPE_CHECKING:
    from pipelines.pipeline import Run, Stage
    from pipelines.training import Draw, Loss, Training

BUDGET = 0.5  # seconds for what is timed on trial


@dataclass(frozen=True)
class Cost:
    """What a stage takes.

    Attributes:
        seconds: of one process, beside the evaluations.
        evaluations: gradients of the energy that an earlier stage gives, each with respect to one x.
        gradient: seconds that one of them takes, said by the stage that gives the energy; None: it gives none.
        memory: bytes at most, beside what is in memory before.
        disk: bytes that stay.
    """

    seconds: float = 0.0
    evaluations: float = 0.0
    gradient: float | None = None
    memory: float = 0.0
    disk: float = 0.0


def learning(
    energy: Energy, objective: Loss, draw: Draw[Any], training: Training, shape: tuple[int, ...], run: Run
) -> Cost:
    """What `train` takes with these arguments, and gradients of the energy afterwards.

    Args:
        energy: as it is before learning; it is left alone.
        objective: the loss.
        draw: as that of `train`, of batches of a few rows: time and memory of more are in proportion.
        training: steps, batch and optimizer.
        shape: of one x of the data, of which batches may hold crops.
        run: gives device and number format.
    """
    device = run.accelerator.device
    trial = copy.deepcopy(energy).to(device)
    parameters = list(trial.parameters())
    optimizer = training.build(parameters)
    rng = run.generator("cost", device=device)
    sizes: list[int] = []

    def step() -> int:
        with run.accelerator.autocast(), _Saved(sizes):
            bound, batch = draw(trial, 0, rng)
            loss, _ = objective(bound, batch, rng)
        loss.backward()
        return len(batch.x)

    seconds, rows = _timed(step, device)
    update, _ = _timed(lambda: optimizer.step() or 1, device)
    with torch.no_grad():
        bound, batch = draw(trial, 0, rng)
    numbers = sum(p.numel() for p in parameters)
    return Cost(
        seconds=training.steps * (seconds / rows * training.batch + update),
        gradient=of_gradient(bound, batch.x, run) * math.prod(shape) / batch.x[0].numel(),
        memory=max(sizes) / rows * training.batch
        + 4 * 6 * numbers,  # weights, mean, gradient and the optimizer's state
        disk=4 * 5 * numbers,  # checkpoint and energy
    )


def of_gradient(energy: Energy, x: Tensor, run: Run) -> float:
    """Seconds that the gradient of an energy takes for one of x [B, *event]; of a family, at a middling level."""
    bound: Any = energy.at(0.5) if isinstance(energy, Family) and energy.noisy else energy
    bound = prepared(bound, run.compute)
    seconds, _ = _timed(lambda: len(gradient(bound, x)), x.device)
    return seconds / len(x)


def estimate(stages: Iterable[Stage], shape: tuple[int, ...], run: Run) -> str | None:
    """What stages take together, in a line; None where no stage says it."""
    found = [(stage, stage.cost(shape, run)) for stage in stages if hasattr(stage, "cost")]  # type: ignore[attr-defined]
    if not found:
        return None
    seconds, each = 0.0, 0.0
    for stage, cost in found:
        each = each if cost.gradient is None else cost.gradient
        num = run.accelerator.num_processes if getattr(stage, "distributed", False) else 1
        seconds += (cost.seconds + cost.evaluations * each) / num
    memory = _in_memory() + max(cost.memory for _, cost in found)
    disk = sum(cost.disk for _, cost in found)
    every = " a process" if run.accelerator.num_processes > 1 else ""
    return f"this takes about {clock(seconds)}, {_bytes(memory)} of memory{every} and {_bytes(disk)} of disk"


def shape_of(values: dict[str, Any]) -> tuple[int, ...] | None:
    """The shape of one x of the data among the values; None before they are loaded."""
    return next((tuple(value.shape) for value in values.values() if isinstance(value, Examples)), None)


def _timed(work: Callable[[], int], device: torch.device) -> tuple[float, int]:
    """Seconds that a piece of work takes, and what it gives; the first time, which is slower, counts where it is the
    only one that the budget allows."""
    start, taken, result = time.perf_counter(), [], 1
    with torch.random.fork_rng(devices=[]):
        while time.perf_counter() - start < BUDGET:
            begun = time.perf_counter()
            result = work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - begun)
    counted = taken[1:] or taken
    return sum(counted) / len(counted), result


class _Saved:
    """Adds up the bytes of what is kept for the gradient while it lasts, each memory once."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes, self.seen = sizes, dict[int, int]()
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    def __enter__(self) -> None:
        self.hooks.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.hooks.__exit__(*error)
        self.sizes.append(sum(self.seen.values()))


def _in_memory() -> float:
    """Bytes that this process has had in memory at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _bytes(num: float) -> str:
    return f"{num / 1e9:.1f} GB" if num >= 1e9 else f"{max(1, round(num / 1e6))} MB"
