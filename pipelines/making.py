"""How the result of a stage comes about: it is there, it is taken from another run, or it is worked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from energies import zoo
from energies.hub import ZOO
from pipelines import checkpoint, inputs, memory, run_folder, store, trees
from pipelines.config import ConfigError
from pipelines.sizes import sizes
from pipelines.stage import read, reads
from pipelines.store import Given, Wanted

if TYPE_CHECKING:
    from pipelines.stage import Run, Stage

DONE, ANOTHER = "done before", "another run"


class Part(NamedTuple):
    """A stage that is part of another one's work, the values that it is handed, and where these come from."""

    stage: Stage
    values: dict[str, Any]
    given: dict[str, Given]


def ready(stage: Stage, values: Mapping[str, Any], run: Run) -> tuple[Wanted, str | None]:
    """Make the stage's folder ready. Only on the main process.

    Returns:
        What is asked for; and how it is there already, in words, or None: the stage is to work.
    """
    names, begun = reads(stage, values), run_folder.begun(run.folder)
    wanted = store.wanted(stage, names, run.given, begun, run) if begun else None
    if begun is None or wanted is None or not wanted.goes_on(begun):
        begun = inputs.record(store.files(stage), run.root)
        wanted = store.wanted(stage, names, run.given, begun, run)
    if run_folder.begin(run.folder, wanted, begun, run.root):
        return wanted, DONE
    if able(stage, wanted, run)[1]:
        return wanted, None
    own = run_folder.begun(run.folder)
    source = store.take(wanted, run) if own and own["key"] == wanted.key else None
    return wanted, None if source is None else f"taken from {source}"


def able(stage: Stage, wanted: Wanted, run: Run) -> tuple[Stage, str | None]:
    """The stage that is to work: this one, or where the zoo holds what it would learn, one that takes it from there;
    then that is said as well. ConfigError: a card of the zoo is damaged."""
    try:
        name = zoo.standing_in(wanted.asked) if wanted.key and run.store == "on" else None
    except ValueError as error:
        raise ConfigError(f"{error}, or set store=off") from None
    if name is None:
        return stage, None
    return replace(stage, pretrained=f"{ZOO}{name}"), f"taken from {ZOO}{name}"  # type: ignore[type-var]


def foretold(
    stage: Stage, values: Mapping[str, Any], given: Mapping[str, Given | None], run: Run
) -> tuple[dict[str, Any], Given | None, str | None]:
    """What a stage will give, as far as it is known ahead; where that comes from, None: that is not known yet; and
    whence it is taken, the ZOO or ANOTHER run, None: it will work.

    Args:
        values: those that are known by then.
        given: where they come from; None: not known yet.
    """
    unknown = dict.fromkeys(stage.gives)
    if any(given.get(name) is None for name in stage.needs):
        return unknown, None, None
    known = {name: place for name in reads(stage, values) if (place := given.get(name)) is not None}
    if len(known) < len(reads(stage, values)):
        return unknown, None, None
    wanted = store.wanted(stage, known, known, inputs.record(store.files(stage), run.root), run)
    if able(stage, wanted, run)[1]:
        return unknown, Given(wanted.asked, traced=wanted.traced), ZOO
    for entry in store.candidates(wanted, run):
        with suppress(PermissionError):  # that of another person: `store.take` passes over it, too
            if (found := checkpoint.load_values(entry.folder)) is not None:
                return found, wanted.given(entry.folder), ANOTHER
    return unknown, None, None


def work(stage: Stage, values: Mapping[str, Any], run: Run) -> None:
    """Run a stage, save what it gives, and log what it took and of which sizes."""
    took: dict[str, Any] = {}

    def given() -> dict[str, Any]:
        # Modules draw their first weights from torch's own generator: always the same ones, wherever the stage stands.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run._number([trees.snake(type(stage).__name__)]))
            found = stage(read(stage, values), run)
        took["sizes"] = sizes(stage, read(stage, values) | found)
        if set(found) != set(stage.gives):
            raise RuntimeError(f"{type(stage).__name__} gives {stage.gives}, but gave {tuple(found)}")
        return found

    memory.forget_peak()
    start, busy = time.monotonic(), time.process_time()
    if getattr(stage, "distributed", False):
        found = given()
        run.on_main(lambda: checkpoint.save_values(run.folder, found))
    else:
        run.on_main(lambda: checkpoint.save_values(run.folder, given()))
    took |= {"memory": memory.peak(), "cpu": round(time.process_time() - busy, 3)}
    run.log(event="finished", seconds=round(time.monotonic() - start, 3), **took)


def values_of(run: Run) -> dict[str, Any]:
    """What the finished stage gave."""
    found = checkpoint.load_values(run.folder)
    if found is None:
        raise ConfigError(f"cannot read {run.folder}; all processes need the same file system")
    return found


def part(stage: Stage, values: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """What a stage gives that is a part of another one's work; `run` is that of the part (`Run.part`)."""
    wanted, how = run.on_main(partial(ready, stage, values, run))
    if how is None:
        stage, how = able(stage, wanted, run)
        work(stage, values, run)
    if run.is_main and how not in (None, DONE):
        print(f"[{run.where}] {how}", file=sys.stderr, flush=True)
    return values_of(run)
