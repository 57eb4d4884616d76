"""A stage of a pipeline, and what it knows of the run it is part of.

A stage is a frozen dataclass of settings with `needs` and `gives`, the names of the values it reads
and adds:

    @dataclass(frozen=True)
    class Blur:
        needs: ClassVar[tuple[str, ...]] = ("clip",)
        gives: ClassVar[tuple[str, ...]] = ("blurred",)

        width: float = 1.0

        def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
            return {"blurred": blur(values["clip"], self.width)}

A stage is handed the values that it needs, and no others. Eight things are optional:

- `takes: ClassVar[tuple[str, ...]]` names further values, which it is handed where an earlier stage gave them;
- `distributed: ClassVar[bool] = True` runs it on every process, where otherwise the main one runs it and the others
  read what it gave;
- `files()` names its input files, so that a resumed run notices a changed one;
- `reads(values)` names the values that it reads, of those that it needs and takes, where what it needs tells that it
  will not read them all; it is handed no others;
- `stored: ClassVar[bool] = True` says that what it gives is all that it does, and that nothing but its settings, files,
  values and the run's seed decides it: then a run takes it from another one that has it (pipelines/store.py);
- `parts(values, run)` gives the stages that are parts of its work, by name (pipelines/making.py);
- `check(values)` is called after every earlier stage, with what is known by then, and raises InputError as soon as that
  rules its settings out: better before learning than after;
- `ahead(values)` gives what it knows ahead of what it will give, for the checks of the stages after it.

A stage of one's own may stand in any module. A pipeline's file calls it `blur` once it imports that module:
`imports: [my_parts]` for my_parts.py. The stage is done anew when that file changes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import torch

from energies.compute import Compute
from pipelines.learning import processes
from pipelines.progress import Progress
from pipelines.store import Given

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


class Stage(Protocol):
    """One piece of work; see the top of this file."""

    needs: ClassVar[tuple[str, ...]]
    gives: ClassVar[tuple[str, ...]]

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]: ...


def handed(stage: Stage, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a stage needs or takes, and no others: to read another is a KeyError."""
    names = (*stage.needs, *getattr(stage, "takes", ()))
    return {name: values[name] for name in names if name in values}


def reads(stage: Stage, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the values that a stage reads as it works."""
    known = handed(stage, values)
    needed = {name: known[name] for name in stage.needs}
    names = stage.reads(needed) if hasattr(stage, "reads") else known  # type: ignore[attr-defined]
    return tuple(name for name in names if name in known)


def read(stage: Stage, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a stage reads as it works, and no others."""
    return {name: values[name] for name in reads(stage, values)}


@dataclass
class Run:
    """What a stage knows of the run it is part of.

    Attributes:
        root: the folder of the run.
        folder: the folder of the stage; files that the stage writes there stay, also when it is
            interrupted.
        seed: the seed of the run.
        compute: "auto", "float32" or "bfloat16".
        imports: the modules of one's own that it imports.
        store: whether results may be taken from other runs.
        given: where the values that stages gave come from, by name; only the main process uses it.
        shown: what was shown of its progress.
    """

    root: Path
    folder: Path
    seed: int = 0
    compute: Compute = "auto"
    imports: tuple[str, ...] = ()
    store: Literal["on", "off"] = "off"
    given: dict[str, Given] = field(default_factory=dict, repr=False)
    shown: Progress = field(default_factory=Progress, repr=False)

    @cached_property
    def accelerator(self) -> Accelerator:
        """The processes and their devices; made when first asked for."""
        return processes.accelerator(self.compute)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return processes.num_processes() == 1 or self.accelerator.is_main_process

    @property
    def where(self) -> str:
        """The stage, and the part of it, by the names of their folders: 03_learn."""
        return self.folder.relative_to(self.root).as_posix()

    def part(self, name: str, given: dict[str, Given] | None = None) -> Run:
        """The same for a part of the stage's work, with a folder of its own: for its checkpoints. `given`: where the
        values come from that the part is handed, if they are others."""
        folder = self.folder / name
        self.on_main(lambda: folder.mkdir(exist_ok=True))
        other = replace(self, folder=folder, given=self.given if given is None else given)
        other.__dict__["accelerator"] = self.accelerator
        return other

    def log(self, **record: Any) -> None:
        """Add a line to log.jsonl: stage, time (Unix seconds) and JSON-able values; NaN is null."""
        if not self.is_main:
            return
        record = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in record.items()}
        line = json.dumps({"stage": self.where, "time": round(time.time(), 3)} | record, allow_nan=False)
        with open(self.root / "log.jsonl", "a+b") as file:
            end = file.tell()
            if end and os.pread(file.fileno(), 1, end - 1) != b"\n":  # the last line was cut off
                line = f"\n{line}"
            file.write(f"{line}\n".encode())

    def progress(self, iterable: Iterable[T], total: int | None = None, label: str = "") -> Iterable[T]:
        """The iterable, with its progress shown by the main process: a bar on a terminal; without one, a line every ten
        seconds on standard error and in log.jsonl, with the time that is left.

        total: number of pieces, where the iterable does not know it.
        """
        if not self.is_main:
            return iterable
        num = len(iterable) if total is None and isinstance(iterable, Sized) else total
        return self.shown.over(iterable, num, label, self.where, self.log)

    def generator(self, *key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
        """A random stream for a purpose: independent for every key and every seed of the run."""
        return torch.Generator(device).manual_seed(self._number(key))

    def on_main(self, work: Callable[[], T]) -> T:
        """What `work` gives on the main process, for every process; its error ends them all."""
        if processes.num_processes() == 1:
            return work()
        from accelerate.utils import broadcast_object_list

        outcome: list[Any] = [False, None]
        try:
            if self.is_main:
                outcome = [True, work()]
        finally:
            broadcast_object_list(outcome)
        if not outcome[0]:
            raise SystemExit(2)  # the main process tells why
        return outcome[1]

    def _number(self, key: Sequence[int | str]) -> int:
        digest = hashlib.sha256(json.dumps([self.seed, *key]).encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1
