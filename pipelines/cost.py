"""How long a run will take, and how much memory and disk: one line, before the first stage that all processes share.

pipelines/costs.json says what every stage took where `python -m tools.measure_costs` ran it, and of which sizes. A
stage takes what the one most like it took: of the same name and modality, and best of the same way to learn and energy.
Its seconds are multiplied by

- the time of a trial on this machine, a convolution forward and back in the number format of the run on one thread,
  in units of what the trial took where it was measured, less what several threads save; but not in `SERIAL` stages;
- the sizes of what it does one after another, those before the colon in its row of `WORK`, in units of the measured;
- the product of those that it works on at once, after the colon, likewise, both with what little ones take besides.

Memory and disk are in proportion to what is worked on at once, but samples, of which `TOGETHER` numbers are drawn at
once. What learns takes so many seconds a step besides. The result of another run takes nothing; a stage of one's own
counts as nothing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional as F

from energies.compute import Compute, in_bfloat16
from energies.hub import ZOO
from pipelines import memory, trees
from pipelines.config import ConfigError
from pipelines.memory import shown
from pipelines.progress import clock
from pipelines.results import ANEW
from pipelines.sampling.chains import TOGETHER
from pipelines.sizes import KINDS, joined, sizes

if TYPE_CHECKING:
    from pipelines.stage import Run, Stage

FILE = Path(__file__).parent / "costs.json"
SURELY = 1.5  # times the memory that there is: more than a forecast is wrong by
BUDGET = 0.1  # seconds of the trial
SHARED = 0.7  # of the work of a stage that several threads take together
LIBRARIES = 6e8  # bytes that every run holds
COPIES = 40  # bytes of each place that is made
LEARNED = 1000  # bytes, at least, of each place that is learned from at once
WEIGHTS = 400  # bytes of a network, and of what learns it, for each unit of its work on a place
LITTLE = 200.0  # places that cost as much as what there is to do besides
DEEP = 4e7  # where a network works: places times its work on one of them

WORK = {
    "load": ": x count", "hide": ": x given", "learn": "objective: x network batch",
    "learn_joint": "objective: x network batch", "compose": ": x network", "synthesize": "levels: x network num",
    "recover": "levels: x network paths", "refine": ": x network num", "interpolate": ": x network pairs steps",
    "reconstruct": ": x network num", "predict": ": x network num futures", "likelihood": "sweeps: x network",
    "classify": "levels: x network samples", "attack": "steps: x network num", "score": ": x network num",
    "features": ": x network", "evaluate": "given: x", "export": ": x limit",
}  # fmt: skip
"""Sizes (pipelines/sizes.py) that decide what a stage takes."""
SERIAL = {"load", "hide", "export"}


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
        seconds: of one thread, but for the steps of what it learned.
        step: seconds of each of these.
        memory: bytes that it held at most, beside `LIBRARIES`.
        disk: bytes that stay.
        sizes: of this stage and those before it.
    """

    pipeline: str
    stage: str
    anew: bool
    seconds: float
    step: float
    memory: float
    disk: float
    sizes: dict[str, Any]

    def forecast(self, facts: Mapping[str, Any]) -> tuple[float, float, float]:
        """Seconds, bytes of memory and of disk of one of other sizes, as far as they are known."""

        def both(names: str) -> list[float]:
            known = [name for name in names.split() if name in self.sizes]
            return [math.prod(max(1.0, of.get(name, self.sizes[name])) for name in known) for of in (facts, self.sizes)]

        def times(names: str, least: float = 0.0) -> float:
            now, then = both(names)
            return (least + now) / (least + then)

        rounds, at_once = WORK[self.stage].split(":")
        seconds = times(rounds) * times(at_once, DEEP if "network" in at_once else LITTLE)
        held = at_once.replace("network", "")
        now, then = both(held)
        if not self.anew:
            memory = self.memory * min(now, TOGETHER) / min(then, TOGETHER) + COPIES * max(0.0, now - then)
            return self.seconds * seconds, memory, self.disk * times(held)
        seconds = self.seconds * times("whole", LITTLE) + self.step * facts["steps"] * seconds
        network, before = both("network")
        memory = max(self.memory * times(held), LEARNED * now) * times("network") ** 0.5
        memory += WEIGHTS * max(0.0, network - before)
        return seconds, memory, self.disk * times("network")


@cache
def measured() -> tuple[float, list[Measured]]:
    """Seconds of the trial where it was measured, and what was measured there."""
    content = json.loads(FILE.read_bytes())
    return content["trial"], [Measured(**each) for each in content["stages"]]


def most_like(pipeline: str, stage: str, anew: bool, facts: Mapping[str, Any]) -> Measured | None:
    """The measured stage that is most like one of these sizes and kinds; None: none of its name and modality was."""

    def likeness(each: Measured) -> tuple[int, bool, float]:
        kinds = sum(each.sizes.get(kind) == facts.get(kind) for kind in KINDS)
        numbers = facts["x"] / each.sizes["x"], facts.get("network", 1) / each.sizes.get("network", 1)
        return kinds, each.pipeline == pipeline, -sum(abs(math.log(number)) for number in numbers)

    asked = stage, anew, facts.get("modality")
    known = [each for each in measured()[1] if (each.stage, each.anew, each.sizes["modality"]) == asked]
    return max(known, key=likeness, default=None)


def estimate(work: Iterable[Work], pipeline: str, run: Run) -> str:
    """What stages take together, in a line.

    Args:
        work: all stages of the run, in order.
        pipeline: its name.
        run: gives processes and the number format.

    ConfigError: it is more memory than there is, by far.
    """
    num, on_cpu = run.accelerator.num_processes, run.accelerator.device.type == "cpu"
    threads = 1 - SHARED + SHARED / torch.get_num_threads() if on_cpu else 1.0
    speed = trial(run.compute, run.accelerator.device) / measured()[0] * threads
    least, there = max(LIBRARIES, memory.peak()), memory.machine() / num
    facts: dict[str, Any] = {}
    seconds, most, disk = 0.0, least, 0.0
    for stage, values, taken in work:
        facts, name = joined(facts, sizes(stage, values)), trees.snake(type(stage).__name__)
        as_it_is = getattr(stage, "pretrained", None) not in (None, ANEW) and not getattr(stage, "further", None)
        anew = name.startswith("learn") and taken is None and not as_it_is
        known = most_like(pipeline, name, anew, facts) if taken in (None, ZOO) else None
        if known is None:
            continue
        own, held, kept = known.forecast(facts)
        shared = num if getattr(stage, "distributed", False) else 1
        seconds += own * (1.0 if name in SERIAL else speed) / shared
        most, disk = max(most, least + held), disk + kept
    if on_cpu and most > SURELY * there:
        raise ConfigError(
            f"this takes about {shown(most)} of memory, there are {shown(there)}; lower batch, chains, samples, num, "
            "size or widths"
        )
    taken = f"{shown(most)} of memory{' a process' if num > 1 else ''}"
    return f"this takes about {clock(seconds)}, {taken} and {shown(disk)} of disk"


def trial(compute: Compute, device: torch.device) -> float:
    """Seconds of a convolution forward and back in a number format, on one thread; the least of some, so that other
    work on the machine does not count."""
    x = torch.ones(8, 32, 16, 16, device=device, requires_grad=True)
    weight = torch.ones(32, 32, 3, 3, device=device, requires_grad=True)
    start, least, threads = time.perf_counter(), math.inf, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.enable_grad(), torch.autocast(device.type, torch.bfloat16, in_bfloat16(compute, device)):
            while time.perf_counter() - start < BUDGET:
                begun = time.perf_counter()
                F.conv2d(x, weight, padding=1).square().sum().backward()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                least = min(least, time.perf_counter() - begun)
    finally:
        torch.set_num_threads(threads)
    return least
