"""How long a run will take, and how much memory and disk: one line, before the first stage that takes long.

A stage that takes long says what it takes, in a method beside its `__call__`:

    def cost(self, values: dict[str, Any], run: Run) -> Cost:

`values` are those of its call as far as they are known by then: what earlier stages gave, and what stages before it
foretell, `Cost.known`. One that learns builds its energy and calls `learning`, which does a few steps on trial and
times them: nothing is as good a model of a machine as the machine. It foretells that energy, and how it is sampled. One
that samples says how many gradients of the energy it takes (`gradients`), and how much is written. Stages without such
a method count as nothing. Only the main process asks, and what is random of a cost changes nothing of the run.
"""

from __future__ import annotations

import copy
import math
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from energies.compute import prepared
from energies.energy import Energy, gradient
from energies.family import Family
from energies.generators import Chain, Generator, Stepwise
from energies.networks.denoising import DenoisingEnergy
from energies.objectives import Denoising
from energies.samplers import HMC, ParallelTempering
from energies.sampling import LevelSampler
from energies.schedule import RETURN
from pipelines import memory
from pipelines.config import ConfigError
from pipelines.learning.muon import orthogonal
from pipelines.memory import shown
from pipelines.progress import clock
from pipelines.stage import handed

if TYPE_CHECKING:
    from pipelines.learning.training import Learning, Loss, Training
    from pipelines.stage import Run, Stage

BUDGET = 0.15  # seconds for what is timed on trial
SURELY = 1.5  # times the memory that there is: more than a forecast is wrong by
FEW = 2**16  # numbers of x that a step on trial takes, or one x


@dataclass(frozen=True)
class Cost:
    """What a stage takes.

    Attributes:
        seconds: of one process, beside the evaluations.
        evaluations: gradients of the energy that an earlier stage gives, each with respect to one x.
        gradient: seconds that one of them takes, said by the stage that gives the energy; None: it gives none.
        known: values that the stage will give, known ahead: an energy that has not learned yet, how it is sampled,
            samples that are all the same.
        memory: bytes at most, beside what is in memory before.
        disk: bytes that stay.
    """

    seconds: float = 0.0
    evaluations: float = 0.0
    gradient: float | None = None
    memory: float = 0.0
    disk: float = 0.0
    known: Mapping[str, Any] = field(default_factory=dict)


def few(shape: Sequence[int], batch: int) -> int:
    """Rows of x of a shape that a step on trial takes, of those of a batch."""
    return max(1, min(batch, FEW // math.prod(shape)))


def learning(plan: Learning[Any], shape: Sequence[int], run: Run) -> Cost:
    """What `train` takes to learn, and gradients of the energy afterwards.

    Args:
        plan: what is learned, from batches of a few rows: time and memory of more are in proportion. Its energy is left
            alone.
        shape: of one x of the data, of which batches may hold crops.
        run: gives device and number format.
    """
    draw, training, device = plan.draw, plan.training, run.accelerator.device
    trial = copy.deepcopy(plan.energy).to(device)
    parameters = list(trial.parameters())
    rng = run.generator("cost", device=device)
    sizes: list[int] = []

    def step(objective: Loss) -> int:
        with run.accelerator.autocast(), _Saved(sizes):
            bound, batch = draw(trial, 0, rng)
            loss, _ = objective(bound, batch, rng)
        loss.backward()
        return len(batch.x)

    kinds = [(share, *timed(partial(step, objective), device)) for share, objective in _kinds(plan.objective) if share]
    seconds, rows = sum(share * each for share, each, _ in kinds), kinds[0][2]
    update, _ = timed(lambda: _update(parameters, training), device)
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


@torch.no_grad()
def _update(parameters: Sequence[Tensor], training: Training) -> int:
    """Work like that of the optimizer, whose own module takes seconds to read."""
    for parameter in parameters:
        if training.optimizer.method == "muon" and parameter.ndim >= 2:
            orthogonal(parameter.flatten(1))
        moved = parameter.clone()
        for _ in range(4):  # two moments, the weights and their average
            moved.lerp_(parameter, 0.5)
    return 1


def _kinds(objective: Loss) -> list[tuple[float, Loss]]:
    """The kinds of its steps, which are unlike in cost, and their shares."""
    if not isinstance(objective, Denoising):
        return [(1.0, objective)]
    share = objective.mean_share
    return [(share, replace(objective, mean_share=1.0)), (1 - share, replace(objective, mean_share=0.0))]


def of_gradient(energy: Energy, x: Tensor, run: Run) -> float:
    """Seconds that the gradient of an energy takes for one of x [B, *event]; of a family, at a middling level."""
    bound: Any = energy.at(0.5) if isinstance(energy, Family) and energy.noisy else energy
    bound = energy.told(x) if isinstance(energy, DenoisingEnergy) else bound
    bound = prepared(bound, run.compute)
    seconds, _ = timed(lambda: len(gradient(bound, x)), x.device)
    return seconds / len(x)


def gradients(generator: Generator, sampler: LevelSampler | None = None, warm_up: int = 0) -> float:
    """Gradients of the energy that a sample takes, from noise."""
    each = _in_a_step(sampler)
    if isinstance(generator, Chain):
        return generator.steps * each + warm_up * each + generator.calm
    if isinstance(generator, Stepwise):
        return (generator.levels - 1) * generator.steps + 1
    flow = generator.levels if generator.predictor == "euler" else 2 * generator.levels - 1
    stirred = sum(level >= generator.down_to for level in generator.noise_levels())
    return flow + stirred * (generator.steps + (warm_up if generator.steps else 0)) * each


def continued(generator: Generator) -> float:
    """Likewise of a long chain that goes on from data."""
    if isinstance(generator, Chain):
        return gradients(generator)
    if isinstance(generator, Stepwise):
        return (min(3, generator.levels) - 1) * generator.steps + 1
    below = 1 + sum(level < RETURN for level in generator.noise_levels())
    return generator.levels + below * (1 if generator.predictor == "euler" else 2)


def _in_a_step(sampler: LevelSampler | None) -> float:
    if isinstance(sampler, ParallelTempering):
        return len(sampler.betas) * _in_a_step(sampler.sampler)
    return sampler.num_leapfrog if isinstance(sampler, HMC) else 1


def alike(num: int, shape: Sequence[int]) -> Tensor:
    """x [num, *shape] that are all the same, and take no memory: of samples that a stage foretells."""
    return torch.zeros(1).expand(num, *shape)


def size_of(part: nn.Module) -> float:
    """Bytes of an energy, or part of one, on disk."""
    return sum(tensor.numel() * tensor.element_size() for tensor in part.state_dict().values())


def estimate(stages: Iterable[Stage | Mapping[str, Any]], values: Mapping[str, Any], run: Run) -> str:
    """What stages take together, in a line.

    Args:
        stages: not done yet; values in place of one that will take them from another run.
        values: what those before them gave.
        run: gives processes and the number format.

    ConfigError: it is more memory than there is, by far.
    """
    seconds, each, disk, most, known = 0.0, None, 0.0, 0.0, dict(values)
    with torch.random.fork_rng(devices=[]):
        for stage in stages:
            if isinstance(stage, Mapping):
                known, each = {**known, **stage}, None if "energy" in stage else each
            if not hasattr(stage, "cost"):
                continue
            cost: Cost = stage.cost(handed(stage, known), run)  # type: ignore[attr-defined]
            known |= cost.known
            each = each if cost.gradient is None else cost.gradient
            if cost.evaluations and each is None:
                each = _of_learned(known, run)
            num = run.accelerator.num_processes if getattr(stage, "distributed", False) else 1
            seconds += (cost.seconds + cost.evaluations * (each or 0.0)) / num
            disk, most = disk + cost.disk, max(most, cost.memory)
    num = run.accelerator.num_processes
    needed, there = _in_memory() + most, memory.machine() / num
    if run.accelerator.device.type == "cpu" and needed > SURELY * there:
        raise ConfigError(
            f"this takes about {shown(needed)} of memory, there are {shown(there)}; lower batch, chains, samples, num, "
            "size or widths"
        )
    taken = f"{shown(needed)} of memory{' a process' if num > 1 else ''} and {shown(disk)} of disk"
    return f"this takes about {clock(seconds)}, {taken}"


def _of_learned(known: Mapping[str, Any], run: Run) -> float:
    """Seconds of a gradient of the energy that a finished stage gave, for one x; 0: there is none."""
    from pipelines.learning.trial import of_ready  # which imports this

    if "energy" not in known or "data" not in known:
        return 0.0
    return of_ready(copy.deepcopy(known["energy"]), known["data"].shape, run).gradient or 0.0


def timed(work: Callable[[], int], device: torch.device) -> tuple[float, int]:
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
    return median(taken[1:] or taken), result


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
