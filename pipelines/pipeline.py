"""A pipeline: stages in an order, checked before the first one starts, resumed in its run folder.

pipelines/stage.py says what a stage is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

from pipelines import checkpoint, cost, making, memory, run_folder, trees
from pipelines.config import Config, ConfigError
from pipelines.learning import processes
from pipelines.origins import origin
from pipelines.stage import Run, Stage, handed
from pipelines.store import Given


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

    store: Literal["on", "off"] = "on"
    """on: what a run beside this one, or one in a folder that ENERGY_PIPELINES_STORE names, has made in just the same
    way is taken from there. off: everything is made anew."""

    def __post_init__(self) -> None:
        if self.compute not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"compute must be auto, float32 or bfloat16, got {self.compute!r}")
        if not isinstance(self.imports, tuple):
            raise ValueError(f"imports must be a tuple of the names of modules, got {self.imports!r}")
        if self.store not in ("on", "off"):
            raise ValueError(f"store must be on or off, got {self.store!r}")


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
            origin(type(stage))  # now: its file may change while the pipeline runs
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
        store: Literal["on", "off"] = "on",
    ) -> dict[str, Any]:
        """Run the stages, or those that an earlier run in the same folder has not finished.

        Args:
            out: folder of the run; None: runs/NAME.
            seed: of all randomness.
            compute: number format of the heavy computations.
            imports: the modules of the stages of one's own. Nothing is imported here: config.yaml names them, so that
                the command can run it.
            store: whether results may be taken from other runs.

        Returns:
            All values by name, tensors on the CPU, as they were read back from the folder.

        Raises:
            ConfigError: the folder belongs to something else, or an input file changed since the
                run began.
            OSError: something cannot be written.
        """
        settings = RunSettings(None if out is None else str(out), seed, compute, imports, store)
        root = Path(out or Path("runs") / self.name)
        run = Run(root, root, seed, compute, imports, store)
        processes.check_launcher()
        memory.check(self.stages)
        locks: list[IO[bytes]] = []
        run.on_main(lambda: locks.append(run_folder.claim(root, Config(settings, self.stages, _modality(self.stages)))))
        try:
            _say(run, processes.described(compute))
            return self._run_stages(run)
        finally:
            for lock in locks:  # the main process has it
                run_folder.settle(root)
                lock.close()

    def _run_stages(self, run: Run) -> dict[str, Any]:
        values: dict[str, Any] = {}
        num_resumed, told = 0, False
        for number, (stage, folder) in enumerate(zip(self.stages, self._folders, strict=True), 1):
            run.folder = run.root / folder
            wanted, how = run.on_main(partial(making.ready, stage, values, run))
            num_resumed += how == making.DONE
            if not told and how is None and getattr(stage, "distributed", False):
                _say(run, run.on_main(partial(self._foretold, number - 1, values, run)))
                told = True
            able, taken = making.able(stage, wanted, run) if how is None else (stage, how)
            _say(run, f"[{number}/{len(self.stages)}] {folder}{'' if taken is None else f': {taken}'}")
            if how is None:
                with run.shown.alive(run.where) if run.is_main else nullcontext():
                    making.work(able, values, run)
            values |= making.values_of(run)
            run.given |= dict.fromkeys(stage.gives, wanted.given(run.folder))
            self._check_later(self.stages[number:], values)
        if run.is_main:
            if "summary" in values:
                print(values["summary"])
            again = ", finished by an earlier command" if num_resumed == len(self.stages) else ""
            print(f"results are in {run.root}{again}", flush=True)
        return values

    def _check_later(self, stages: Sequence[Stage], values: dict[str, Any]) -> None:
        """Of stages that are still to work: they are shown what is known, and what the next ones know ahead."""
        known, is_next = dict(values), True
        for stage in stages:
            handing = handed(stage, known)
            if hasattr(stage, "check"):
                stage.check(handing)  # type: ignore[attr-defined]
            is_next = is_next and hasattr(stage, "ahead")
            if hasattr(stage, "ahead"):
                known = {name: value for name, value in known.items() if name not in stage.gives}
                known |= stage.ahead(handing) if is_next else {}  # type: ignore[attr-defined]

    def _foretold(self, done: int, values: dict[str, Any], run: Run) -> str:
        return cost.estimate(self._ahead(done, values, run), self.name, run)

    def _ahead(self, done: int, values: dict[str, Any], run: Run) -> Iterator[cost.Work]:
        """All stages and their parts, after so many of them are done."""
        known: dict[str, Any] = dict(values)
        given: dict[str, Given | None] = dict(run.given)
        for number, (stage, folder) in enumerate(zip(self.stages, self._folders, strict=True)):
            handing, taken = handed(stage, values), making.DONE
            if number >= done:
                found, source, taken = making.foretold(stage, known, given, run)
                known |= found
                given |= dict.fromkeys(stage.gives, source)
                taken = making.DONE if (run.root / folder / checkpoint.MANIFEST).exists() else taken
            if hasattr(stage, "parts") and taken is None and set(stage.needs) <= values.keys():
                for part in stage.parts(handing, run).values():  # type: ignore[attr-defined]
                    _, _, how = making.foretold(part.stage, part.values, part.given, run)
                    yield cost.Work(part.stage, part.values, how)
            yield cost.Work(stage, handing, taken)


def _modality(stages: Sequence[Stage]) -> str | None:
    """NAME of the stages that come from pipelines.modalities.NAME; None where there are none, or of several."""
    found = [re.match(r"pipelines\.modalities\.(\w+)", type(stage).__module__) for stage in stages]
    names = {match[1] for match in found if match}
    return names.pop() if len(names) == 1 else None


def _say(run: Run, line: str) -> None:
    if run.is_main:
        print(line, file=sys.stderr, flush=True)
