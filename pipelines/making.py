"""How the result of a stage comes about: it is there, it is taken from another run, or it is worked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from energies import zoo
from energies.hub import ZOO
from pipelines import checkpoint, inputs, run_folder, store, trees
from pipelines.config import ConfigError
from pipelines.stage import handed, read, reads
from pipelines.store import Given, Wanted

if TYPE_CHECKING:
    from pipelines.cost import Cost
    from pipelines.stage import Run, Stage

DONE = "done before"


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
) -> tuple[dict[str, Any], Given] | None:
    """What a stage will take from another run, or from the zoo, and where it comes from; None: nothing, or that is not
    known yet.

    Args:
        values: those that are known by then.
        given: where they come from; None: not known yet.
    """
    if any(given.get(name) is None for name in stage.needs):
        return None
    known = {name: place for name in reads(stage, values) if (place := given.get(name)) is not None}
    if len(known) < len(reads(stage, values)):
        return None
    wanted = store.wanted(stage, known, known, inputs.record(store.files(stage), run.root), run)
    taking, how = able(stage, wanted, run)
    if how:
        cost: Cost = taking.cost(handed(stage, values), run)  # type: ignore[attr-defined]
        return dict.fromkeys(stage.gives) | dict(cost.known), Given(wanted.asked, traced=wanted.traced)
    for entry in store.candidates(wanted, run):
        with suppress(PermissionError):  # that of another person: `store.take` passes over it, too
            if (found := checkpoint.load_values(entry.folder)) is not None:
                return found, wanted.given(entry.folder)
    return None


def work(stage: Stage, values: Mapping[str, Any], run: Run) -> None:
    """Run a stage and save what it gives."""

    def given() -> dict[str, Any]:
        # Modules draw their first weights from torch's own generator: always the same ones, wherever the stage stands.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run._number([trees.snake(type(stage).__name__)]))
            found = stage(read(stage, values), run)
        if set(found) != set(stage.gives):
            raise RuntimeError(f"{type(stage).__name__} gives {stage.gives}, but gave {tuple(found)}")
        return found

    start = time.monotonic()
    if getattr(stage, "distributed", False):
        found = given()
        run.on_main(lambda: checkpoint.save_values(run.folder, found))
    else:
        run.on_main(lambda: checkpoint.save_values(run.folder, given()))
    run.log(event="finished", seconds=round(time.monotonic() - start, 3))


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
