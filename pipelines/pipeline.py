"""A pipeline: stages in an order, checked before the first one starts, resumed in its run folder.

A stage is a frozen dataclass of settings with `needs` and `gives`, the names of the values it reads
and adds:

    @dataclass(frozen=True)
    class Blur:
        needs: ClassVar[tuple[str, ...]] = ("clip",)
        gives: ClassVar[tuple[str, ...]] = ("blurred",)

        width: float = 1.0

        def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
            return {"blurred": blur(values["clip"], self.width)}

A stage is handed the values that it needs, and no others. Four things are optional:

- `takes: ClassVar[tuple[str, ...]]` names further values, which it is handed where an earlier stage gave them;
- `distributed: ClassVar[bool] = True` runs it on every process, where otherwise the main one runs it and the others
  read what it gave;
- `files()` names its input files, so that a resumed run notices a changed one;
- `check(values)` is called after every earlier stage, with what is known by then, and raises InputError as soon as that
  rules its settings out: better before learning than after.

A stage of one's own may stand in any module. A pipeline's file calls it `blur` once it imports that module:
`imports: [my_parts]` for my_parts.py. The stage is done anew when that file changes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import torch

from energies.compute import Compute
from pipelines import checkpoint, processes, run_folder, trees
from pipelines.config import Config, ConfigError
from pipelines.progress import Progress

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


@dataclass(frozen=True)
class RunSettings:
    """Settings of the whole run."""

    out: str | None = None
    """Folder of the run (null: runs/NAME). The same command again continues what is in it."""

    seed: int = 0
    """Seed of all randomness: the same seed and settings give the same result on a machine."""

    compute: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the convolutions; weights and results stay float32. auto: bfloat16 where the processor computes
    in it (twice as fast), else float32."""

    imports: tuple[str, ...] = ()
    """Modules with parts of your own, such as my_parts for my_parts.py in this folder or in that of the pipeline's
    file. Their stages stand in the file beside ours."""

    def __post_init__(self) -> None:
        if self.compute not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"compute must be auto, float32 or bfloat16, got {self.compute!r}")
        if not isinstance(self.imports, tuple):
            raise ValueError(f"imports must be a tuple of the names of modules, got {self.imports!r}")


class Stage(Protocol):
    """One piece of work; see the top of this file."""

    needs: ClassVar[tuple[str, ...]]
    gives: ClassVar[tuple[str, ...]]

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]: ...


@dataclass
class Run:
    """What a stage knows of the run it is part of.

    Attributes:
        root: the folder of the run.
        folder: the folder of the stage; files that the stage writes there stay, also when it is
            interrupted.
        seed: the seed of the run.
        compute: "auto", "float32" or "bfloat16".
        shown: what was shown of its progress.
    """

    root: Path
    folder: Path
    seed: int = 0
    compute: Compute = "auto"
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

    def part(self, name: str) -> Run:
        """The same for a part of the stage's work, with a folder of its own: for its checkpoints."""
        folder = self.folder / name
        self.on_main(lambda: folder.mkdir(exist_ok=True))
        other = replace(self, folder=folder)
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


class Pipeline:
    """Stages in an order.

    Args:
        stages: what to do. A ConfigError tells of a stage whose needs no earlier one gives.
        name: of the pipeline; without another folder it runs in runs/NAME.
    """

    def __init__(self, stages: Sequence[Stage], name: str = "pipeline") -> None:
        self.stages = tuple(stages)
        self.name = name
        names = [trees.snake(type(stage).__name__) for stage in self.stages]
        self._folders = [f"{number:02d}_{stage}" for number, stage in enumerate(names, 1)]
        for stage in self.stages:
            run_folder.origin(type(stage))  # now: its file may change while the pipeline runs
        self._check(trees.labels(names))

    def _check(self, labels: list[str]) -> None:
        if not self.stages:
            raise ConfigError("a pipeline needs at least one stage")
        given: dict[str, None] = {}
        for number, (stage, label) in enumerate(zip(self.stages, labels, strict=True)):
            for value in stage.needs:
                if value not in given:
                    later = [labels[i] for i, s in enumerate(self.stages) if i > number and value in s.gives]
                    hint = (
                        f"{later[0]} gives it, but comes later" if later else f"given are: {', '.join(given) or 'none'}"
                    )
                    raise ConfigError(f"{label} needs '{value}', which no stage before it gives; {hint}")
            given |= dict.fromkeys(stage.gives)

    def run(
        self,
        out: str | Path | None = None,
        seed: int = 0,
        compute: Literal["auto", "float32", "bfloat16"] = "auto",
        imports: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Run the stages, or those that an earlier run in the same folder has not finished.

        Args:
            out: folder of the run; None: runs/NAME.
            seed: of all randomness.
            compute: number format of the heavy computations.
            imports: the modules of the stages of one's own. Nothing is imported here: config.yaml names them, so that
                the command can run it.

        Returns:
            All values by name, tensors on the CPU, as they were read back from the folder.

        Raises:
            ConfigError: the folder belongs to something else, or an input file changed since the
                run began.
            OSError: something cannot be written.
        """
        settings = RunSettings(None if out is None else str(out), seed, compute, imports)
        root = Path(out or Path("runs") / self.name)
        run = Run(root, root, seed, compute)
        processes.check_launcher()
        locks: list[IO[bytes]] = []
        run.on_main(lambda: locks.append(run_folder.claim(root, Config(settings, self.stages, _modality(self.stages)))))
        try:
            _say(run, processes.described(compute))
            return self._run_stages(run, settings)
        finally:
            for lock in locks:  # the main process has it
                run_folder.settle(root)
                lock.close()

    def _run_stages(self, run: Run, settings: RunSettings) -> dict[str, Any]:
        values: dict[str, Any] = {}
        previous, num_resumed = None, 0
        for number, (stage, folder) in enumerate(zip(self.stages, self._folders, strict=True), 1):
            run.folder = run.root / folder
            files = stage.files() if hasattr(stage, "files") else ()  # type: ignore[attr-defined]
            key = run_folder.stage_key(settings, stage, previous)
            finished = run.on_main(partial(run_folder.begin, run.folder, key, files))
            num_resumed += finished
            _say(
                run,
                f"[{number}/{len(self.stages)}] {folder}{': done before' if finished else ''}",
            )
            if not finished:
                self._work(stage, values, run)
            given = checkpoint.load_values(run.folder)
            if given is None:
                raise ConfigError(f"cannot read {run.folder}; all processes need the same file system")
            values |= given
            previous = run.folder
            for later in self.stages[number:]:
                if hasattr(later, "check"):
                    later.check(_known(later, values))  # type: ignore[attr-defined]
        if run.is_main:
            if "summary" in values:
                print(values["summary"])
            again = ", finished by an earlier command" if num_resumed == len(self.stages) else ""
            print(f"results are in {run.root}{again}", flush=True)
        return values

    def _work(self, stage: Stage, values: dict[str, Any], run: Run) -> None:
        """Run a stage and save what it gives."""

        def work() -> dict[str, Any]:
            # Modules draw their first weights from torch's own generator: always the same ones.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(run._number([run.folder.name]))
                given = stage(_known(stage, values), run)
            if set(given) != set(stage.gives):
                raise RuntimeError(f"{type(stage).__name__} gives {stage.gives}, but gave {tuple(given)}")
            return given

        start = time.monotonic()
        with run.shown.alive(run.where) if run.is_main else nullcontext():
            if getattr(stage, "distributed", False):
                given = work()
                run.on_main(lambda: checkpoint.save_values(run.folder, given))
            else:
                run.on_main(lambda: checkpoint.save_values(run.folder, work()))
        run.log(event="finished", seconds=round(time.monotonic() - start, 3))


def _known(stage: Stage, values: dict[str, Any]) -> dict[str, Any]:
    """The values that a stage needs or takes, and no others: to read another is a KeyError."""
    names = (*stage.needs, *getattr(stage, "takes", ()))
    return {name: values[name] for name in names if name in values}


def _modality(stages: Sequence[Stage]) -> str | None:
    """NAME of the stages that come from pipelines.modalities.NAME; None where there are none, or of several."""
    found = [re.match(r"pipelines\.modalities\.(\w+)", type(stage).__module__) for stage in stages]
    names = {match[1] for match in found if match}
    return names.pop() if len(names) == 1 else None


def _say(run: Run, line: str) -> None:
    if run.is_main:
        print(line, file=sys.stderr, flush=True)
