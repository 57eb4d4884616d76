"""How much memory the machine has, and settings that surely need more: refused before the first stage.

`check` counts but what a setting takes at least; what the stages take together is foretold by pipelines/cost.py, once
the data are loaded. What both miss ends in one line, too: `limit` lets a process have no more than there is.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import resource
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipelines.trees import ConfigError, at, snake

NUMBER = 4  # bytes of one of x, in float32
LEAST_SIDE = 8  # of x whose size the settings do not tell
PIECES = {
    "learn.batch", "learn_joint.batch", "compose.batch", "learn.chains", "learn_joint.chains", "synthesize.num",
    "recover.samples", "recover.chains", "interpolate.pairs", "interpolate.steps",
}  # fmt: skip
"""Fields of stages that say how many x there are at once."""
AXES = {"images": 2, "video": 3, "voxels": 3}


def machine() -> int:
    """Bytes of memory that this process may have: of the machine, or of its control group where that is less."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(file)
        text = path.read_text().strip() if path.is_file() else ""
        most = min(most, int(text)) if text.isdecimal() else most
    return most


def peak() -> int:
    """Bytes that this process has had in memory at most, where the system tells since `forget_peak`."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Count the peak from now on, where the system can: Linux."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def shown(num: float) -> str:
    """Bytes in words."""
    if num >= 1e15:
        return "more than a million GB"
    return f"{num / 1e9:.1f} GB" if num >= 1e9 else f"{max(1, round(num / 1e6))} MB"


def check(stages: Iterable[Any]) -> None:
    """ConfigError: a setting asks for more memory than there is; it is named."""
    most = machine()
    for address, value, needed in _least(list(stages)):
        if needed > most:
            raise ConfigError(f"{address}={value} takes {shown(needed)} of memory or more, there are {shown(most)}")


def limit() -> None:
    """Let this process have no more memory than there is: a larger request is an error, and not the end of others."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = machine() if hard == resource.RLIM_INFINITY else min(machine(), hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def problem(error: BaseException) -> str | None:
    """In a line, that memory was not enough; None: the error is of something else."""
    asked = re.search(r"tr(?:ied|ying) to allocate ([\d.]+ ?\w+)", str(error))
    is_full = isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and asked)
    if not is_full:
        return None
    more = f"{asked[1]} more were asked for; " if asked else ""
    more = re.sub(r"(\d+) bytes", lambda num: shown(int(num[1])), more)
    return f"not enough memory: {more}lower batch, chains, samples, num, size or widths"


def _least(stages: list[Any]) -> Iterator[tuple[str, Any, float]]:
    """Settings by address, with their value and the bytes that they take at least."""
    sizes = [size for stage in stages for size in _sizes(stage)]
    numbers = min(sizes, default=LEAST_SIDE**2)
    for stage in stages:
        name = snake(type(stage).__name__)
        made = name == "load" and not getattr(stage, "files", lambda: ())() and _made(stage)
        for field in dataclasses.fields(stage):
            value, address = getattr(stage, field.name), f"{name}.{field.name}"
            if address in PIECES and value is not None:
                yield address, value, value * numbers * NUMBER
            elif address == "load.count" and made and value is not None:
                yield address, value, value * math.prod(_sizes(stage) or [LEAST_SIDE**2]) / 8
            elif address == "load.size" and value is not None:
                yield address, value, sum(_sizes(stage)) * 3 * (getattr(stage, "frames", None) or 1) * NUMBER
            elif address in ("synthesize.height", "synthesize.width", "synthesize.frames") and value is not None:
                yield address, value, value * LEAST_SIDE * 3 * NUMBER
            elif dataclasses.is_dataclass(value) and not isinstance(value, type):
                yield from _inside(value, address, AXES.get(_modality(stages) or "images", 2))


def _inside(settings: Any, address: str, axes: int) -> Iterator[tuple[str, Any, float]]:
    """Likewise of settings within a field of a stage."""
    for field in dataclasses.fields(settings):
        value, place = getattr(settings, field.name), at(at(address, snake(type(settings).__name__)), field.name)
        if field.name == "widths" and value:
            weights = sum(a * b for a, b in pairwise((1, *value))) * 2**axes
            yield place, list(value), weights * 4 * NUMBER  # themselves, their mean and what the optimizer keeps
        elif field.name == "width" and isinstance(value, int):
            yield place, value, 9 * value**2 * 4 * NUMBER
        elif field.name == "levels" and isinstance(value, int):
            yield place, value, 32.0 * value
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _inside(value, place, axes)


def _sizes(stage: Any) -> list[int]:
    """Numbers of one x, where this stage tells how large its x are."""
    size, axes = getattr(stage, "size", None), AXES.get(_modality([stage]) or "", 2)
    if isinstance(size, bool) or not isinstance(size, int):
        return []
    return [size**3 if axes == 3 and not hasattr(stage, "frames") else size**2]


def _made(stage: Any) -> bool:
    """Whether what is loaded is made, as many as `count` says."""
    return getattr(stage, "images", "scenes") == "scenes"


def _modality(stages: Iterable[Any]) -> str | None:
    parts = [type(stage).__module__.split(".") for stage in stages]
    return next((part[2] for part in parts if part[:2] == ["pipelines", "modalities"]), None)
