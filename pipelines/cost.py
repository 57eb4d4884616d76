"""How long a run will take, and how much memory and disk: one line, before the first stage that all processes share.

pipelines/costs.json says what every stage took where `python -m tools.measure_costs` ran it, and of which sizes. A
stage takes what the one most like it took: of the same name, modality, way to learn and energy. Its seconds are
multiplied by

- the time of a trial on this machine, a convolution forward and back in the number format of the run, in units of
  what the trial took where it was measured; but those of the stages in `SERIAL`;
- for every size in its row of `WORK`, the size in units of the one that was measured, to the power given there.

Memory and disk likewise, by the sizes in `HELD` and `KEPT`. What learns takes so many seconds a step besides. The
result of another run takes nothing; a stage of one's own counts as nothing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional as F

from energies import Chain, Schedule, Stepwise
from energies.compute import Compute, in_bfloat16
from energies.hub import ZOO
from energies.matching import MomentMatching
from pipelines import memory, trees
from pipelines.config import ConfigError
from pipelines.memory import shown
from pipelines.progress import clock
from pipelines.results import ANEW

if TYPE_CHECKING:
    from pipelines.stage import Run, Stage

FILE = Path(__file__).parent / "costs.json"
SURELY = 1.5  # times the memory that there is: more than a forecast is wrong by
BUDGET = 0.1  # seconds of the trial

SAMPLED = {"x": 1.0, "network": 1.0, "levels": 1.0}
LEARNED = {"x": 1.0, "network": 1.0, "batch": 1.0, "objective": 1.0}
WORK: dict[str, dict[str, float]] = {
    "load": {"x": 1, "count": 1},
    "hide": {"x": 1, "num": 1},
    "learn": LEARNED,
    "learn_joint": LEARNED,
    "compose": SAMPLED | {"balance": 1},
    "synthesize": SAMPLED | {"num": 1, "area": 1},
    "recover": {"x": 1, "network": 1, "levels": 0.5, "num": 0.5, "samples": 0.5, "chains": 0.5, "mean": 0.5},
    "refine": {"x": 1, "network": 1, "num": 1, "mean": 1},
    "interpolate": SAMPLED | {"pairs": 1, "steps": 1},
    "reconstruct": SAMPLED | {"num": 1, "rounds": 1},
    "predict": {"x": 1, "network": 1, "num": 1, "futures": 1, "thinking": 0.5, "frames": 0.5},
    "likelihood": {"x": 1, "network": 1, "num": 1, "runs": 1, "steps": 1, "sweeps": 1},
    "classify": {"x": 1, "network": 1, "samples": 0.5, "levels": 1},
    "attack": {"x": 1, "network": 1, "num": 1, "steps": 1},
    "score": {"x": 1, "network": 1, "num": 1},
    "features": {"x": 1, "network": 1, "count": 1},
    "evaluate": {"x": 1, "num": 0.5, "curve": 0.5, "rivals": 0.5, "cells": 0.5},
    "export": {"x": 1, "limit": 1},
}  # fmt: skip
"""Powers of sizes that the seconds of a stage are in proportion to."""
HELD = {"x", "network", "batch", "num", "samples", "chains", "pairs", "balance", "count", "area"}
KEPT = {"x", "num", "samples", "chains", "pairs", "count", "limit", "area"}
SERIAL = {"load", "hide", "select", "export"}
KINDS = "modality", "way", "energy", "loss"
"""What is learned and how: a measurement that agrees in more of them is more like a stage."""


def sizes(stage: Stage, values: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes and kinds of a stage that decide what it takes, as far as they are known; {} of one of a person's own.

    values: those that it is handed, as far as they are known.
    """
    if not type(stage).__module__.startswith("pipelines.") or not is_dataclass(stage):
        return {}
    found = {each.name: getattr(stage, each.name) for each in fields(stage)}
    data = values.get("data")
    found["levels"] = _levels(found.get("generator") or values.get("generator"))
    if isinstance(mean := found.get("mean"), MomentMatching):
        found["mean"] = mean.gradients
    if data is not None:
        shape = _shrunk(data.shape, found.get("size"))
        found |= {"modality": data.modality, "x": math.prod(shape)}
        found["way"] = "set" if not data.single else "damaged" if "observation" in values else "single"
        if hasattr(stage, "planned"):
            found |= _of_recipe(stage.planned(values))  # type: ignore[attr-defined]
    known = {*WORK.get(trees.snake(type(stage).__name__), {}), "steps", *KINDS}
    return {name: value for name, value in found.items() if name in known and isinstance(value, int | float | str)}


def _shrunk(shape: tuple[int, ...], size: Any) -> tuple[int, ...]:
    """The shape of x [C, *sides] averaged down to so many elements of its longest side; None: as it is."""
    share = size / max(shape[1:]) if isinstance(size, int) else 1.0
    return (shape[0], *(max(1, round(side * share)) for side in shape[1:]))


def _levels(generator: Any) -> float | None:
    """About so many gradients of the energy a sample takes; None: it is not known how it is made."""
    if isinstance(generator, Chain):
        return generator.steps
    if isinstance(generator, Schedule | Stepwise):
        return generator.levels * (1 + generator.steps)
    return None


def _of_recipe(recipe: Any) -> dict[str, Any]:
    """Of a recipe for learning."""
    energy = getattr(recipe, "energy", recipe)  # that of a joint energy is its encoder's
    objective = getattr(recipe.objective, "generative", recipe.objective)
    return {
        "steps": recipe.steps,
        "batch": recipe.batch,
        "network": _network(energy),
        "energy": trees.snake(type(energy).__name__),
        "loss": trees.snake(type(objective).__name__),
        "objective": 1 + getattr(objective, "steps", 0),
    }


def _network(settings: Any) -> float:
    """What one element of x costs in a network, in units of its own: squares of its widths, at their resolutions."""
    widths, depths = getattr(settings, "widths", None), getattr(settings, "depths", None)
    if widths and depths:
        return sum((1 + d) * w**2 / 4**k for k, (w, d) in enumerate(zip(widths, depths, strict=True)))
    if hidden := getattr(settings, "hidden", None):
        return sum(hidden)
    return (getattr(settings, "width", None) or 1) ** 2 * (getattr(settings, "depth", None) or 1)


# ------------------------------------------------------------------------------------ forecast


class Work(NamedTuple):
    """A stage, the values that it is handed, as far as they are known, and how its result is there already; None: it is
    not."""

    stage: Stage
    values: Mapping[str, Any]
    taken: str | None


@dataclass(frozen=True)
class Measured:
    """What a stage took.

    Attributes:
        pipeline, stage: their names.
        anew: whether it learned.
        seconds: but for the steps of what it learned.
        step: seconds of each of these.
        memory: bytes at most.
        disk: bytes that stay.
        sizes: of `sizes`, of this stage and those before it.
    """

    pipeline: str
    stage: str
    anew: bool
    seconds: float
    step: float
    memory: float
    disk: float
    sizes: dict[str, Any]

    def ratio(self, facts: Mapping[str, Any], names: Iterable[str] | None = None) -> float:
        """What other sizes multiply its seconds by; `names`: by some of them alone."""
        powers = {name: power for name, power in WORK[self.stage].items() if names is None or name in names}
        known = [name for name in powers if name in self.sizes and name in facts]
        return math.prod((max(1, facts[name]) / max(1, self.sizes[name])) ** powers[name] for name in known)


@cache
def measured() -> tuple[float, list[Measured]]:
    """Seconds of the trial where it was measured, and what was measured there."""
    content = json.loads(FILE.read_bytes())
    return content["trial"], [Measured(**each) for each in content["stages"]]


def most_like(pipeline: str, stage: str, anew: bool, facts: Mapping[str, Any]) -> Measured | None:
    """The stage that was measured and is most like one of these sizes and kinds; None: there is none of its name."""

    def likeness(each: Measured) -> tuple[int, bool, float]:
        kinds = sum(each.sizes.get(kind) == facts.get(kind) for kind in KINDS)
        return kinds, each.pipeline == pipeline, -abs(math.log(each.ratio(facts)))

    return max((each for each in measured()[1] if (each.stage, each.anew) == (stage, anew)), key=likeness, default=None)


def estimate(work: Iterable[Work], pipeline: str, run: Run) -> str:
    """What stages take together, in a line.

    Args:
        work: all stages of the run, in order.
        pipeline: its name.
        run: gives processes and the number format.

    ConfigError: it is more memory than there is, by far.
    """
    facts: dict[str, Any] = {}
    seconds, disk, most, speed, num = 0.0, 0.0, float(memory.peak()), None, run.accelerator.num_processes
    for stage, values, taken in work:
        facts |= sizes(stage, values)
        name = trees.snake(type(stage).__name__)
        anew = name.startswith("learn") and taken is None and not _given(stage)
        known = most_like(pipeline, name, anew, facts) if taken in (None, ZOO) and "modality" in facts else None
        if known is None:
            continue
        if speed is None:
            speed = trial(run.compute, run.accelerator.device) / measured()[0]
        own = known.seconds * known.ratio(facts, None if not anew else ("x",))
        own += known.step * facts.get("steps", 0) * known.ratio(facts) if anew else 0.0
        seconds += own * (1 if name in SERIAL else speed) / (num if getattr(stage, "distributed", False) else 1)
        most = max(most, known.memory * known.ratio(facts, HELD))
        disk += known.disk * known.ratio(facts, KEPT)
    there = memory.machine() / num
    if run.accelerator.device.type == "cpu" and most > SURELY * there:
        raise ConfigError(
            f"this takes about {shown(most)} of memory, there are {shown(there)}; lower batch, chains, samples, num, "
            "size or widths"
        )
    taken = f"{shown(most)} of memory{' a process' if num > 1 else ''} and {shown(disk)} of disk"
    return f"this takes about {clock(seconds)}, {taken}"


def _given(stage: Stage) -> bool:
    """Whether it takes an energy that was learned before, as it is."""
    return getattr(stage, "pretrained", None) not in (None, ANEW) and not getattr(stage, "further", None)


def trial(compute: Compute, device: torch.device) -> float:
    """Seconds of a convolution forward and back in a number format, the least of some."""
    x = torch.randn(8, 32, 16, 16, device=device, requires_grad=True)
    weight = torch.randn(32, 32, 3, 3, device=device, requires_grad=True)
    start, least = time.perf_counter(), math.inf
    with torch.random.fork_rng(devices=[]), torch.autocast(device.type, torch.bfloat16, in_bfloat16(compute, device)):
        while time.perf_counter() - start < BUDGET:
            begun = time.perf_counter()
            F.conv2d(x, weight, padding=1).square().sum().backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            least = min(least, time.perf_counter() - begun)
    return least
