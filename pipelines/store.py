"""The store of results: what a stage gives is found again, in any run, by what made it.

The store is the runs: those beside the run, in the same folder, and those in the folders that ENERGY_PIPELINES_STORE
names. Nothing is kept twice: a result that is taken is a link to the same files, and goes with the last run that has
it. Stages say by `stored` that they take part (pipelines/stage.py).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

from energies.compute import in_bfloat16
from pipelines import checkpoint, config, inputs, trees
from pipelines.learning import processes
from pipelines.memory import shown
from pipelines.origins import of_parts, origin
from pipelines.progress import clock
from pipelines.results import log_of

if TYPE_CHECKING:
    from pipelines.stage import Run, Stage

VARIABLE = "ENERGY_PIPELINES_STORE"
BEGUN = "begun.json"
ROOT = Path(__file__).resolve().parent.parent
PATTERNS = f"*/[0-9][0-9]*_*/{BEGUN}", f"*/[0-9][0-9]*_*/*/{BEGUN}"  # of stages, and of parts of them
LIBRARIES = "torch", "numpy", "scipy", "scikit-image", "scikit-learn", "opencv-python-headless", "pillow", "av"


@dataclass(frozen=True)
class Given:
    """Where a value comes from.

    Attributes:
        asked: `Wanted.asked` of the stage that gave it.
        content: digest of all that this stage gave.
        traced: whether all code of one's own that it comes from is in `asked`.
    """

    asked: str = ""
    content: str = ""
    traced: bool = False

    def derived(self, how: str) -> Given:
        """Where a value comes from that is made of this one in a way that has a name."""
        return dataclasses.replace(self, asked=_digest([self.asked, how]))


@dataclass(frozen=True)
class Wanted:
    """What a stage is asked for.

    Attributes:
        asked: digest of what is asked for: the stage, its settings, the seed, its input files by content, code of one's
            own, and the same of all the stages whose values it reads. It does not depend on the machine, the number of
            processes or our code, so that a result that comes with the package is found by it.
        read: by name, the digest of each value that it reads.
        key: digest of these, our code, the libraries and the number format: all that decides the result. None: it
            cannot be told, or the stage takes no part in the store.
        traced: as of `Given`.
    """

    asked: str
    read: dict[str, str]
    key: str | None
    traced: bool

    def goes_on(self, begun: Mapping[str, Any]) -> bool:
        """Whether what began so is what is asked for."""
        return (begun["asked"], begun["read"]) == (self.asked, self.read)

    def given(self, folder: Path) -> Given:
        """Where the values in the folder of the finished stage come from."""
        content = hashlib.sha256((folder / checkpoint.MANIFEST).read_bytes()).hexdigest()
        return Given(self.asked, content, self.traced)


def wanted(
    stage: Stage, names: Iterable[str], given: Mapping[str, Given], recorded: Mapping[str, Any], run: Run
) -> Wanted:
    """What a stage is asked for in a run.

    Args:
        names: of the values that it reads.
        given: where they come from, by name.
        recorded: its input files, of `inputs.record`.
        run: gives seed, number format and imports.
    """
    cls = type(stage)
    reads = {name: given.get(name, Given()) for name in sorted(names)}
    own = [origin(each) for each in sorted(_classes(stage), key=lambda each: (each.__module__, each.__qualname__))]
    parts = of_parts(name for name in run.imports if name != cls.__module__)
    contents = {name: found["sha256"] for name, found in recorded["inputs"].items()}
    content = [run.seed, f"{cls.__module__}.{cls.__qualname__}", config.plain(stage, cls), own, parts, contents]
    asked = _digest([content, {name: value.asked for name, value in reads.items()}])
    read = {name: value.content for name, value in reads.items()}
    traced = all(value.traced for value in reads.values()) and all(len(names) != 1 for names in own)
    traced = traced and not inputs.inside(files(stage), run.root)
    key = _digest([asked, read, code(), form(run)]) if traced and getattr(stage, "stored", False) else None
    return Wanted(asked, read, key, traced)


@functools.cache
def code(root: Path = ROOT) -> str:
    """A digest of the source of our packages below `root`, and of the versions of the libraries that compute."""
    modules = [file for name in trees.OURS for file in sorted((root / name).rglob("*.py"))]
    source = {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in modules}
    return _digest([source, [_version(name) for name in LIBRARIES]])


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # it is there by another name, as of a system's package
        return None


def form(run: Run) -> str:
    """The device and the number format of what is computed."""
    device = processes.device()
    return f"{device.type} {'bfloat16' if in_bfloat16(run.compute, device) else 'float32'}"


def _classes(value: Any) -> set[type]:
    """Those of a dataclass and of all dataclasses in its fields."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return {cls for child in value for cls in _classes(child)}
    if not dataclasses.is_dataclass(value):
        return set()
    children = [getattr(value, field.name) for field in dataclasses.fields(value)]
    return {type(value), *_classes(children)}


def files(stage: Stage) -> tuple[str, ...]:
    """The names of its input files and folders."""
    return tuple(stage.files()) if hasattr(stage, "files") else ()  # type: ignore[attr-defined]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


# ------------------------------------------------------------------------------------------ looking


@dataclass(frozen=True)
class Entry:
    """A result in the folder of a stage, or of a part of one, of a run; `key` as of `Wanted`."""

    run: Path
    folder: Path
    key: str

    @property
    def where(self) -> str:
        return self.folder.relative_to(self.run).as_posix()


def candidates(wanted: Wanted, run: Run) -> Iterator[Entry]:
    """Where the result of a stage may be, in the order to look."""
    if wanted.key is None or run.store == "off":
        return
    for entry in _entries([run.root.parent, *_shared()], wanted.key):
        if entry.folder.resolve() != run.folder.resolve():
            yield entry


def take(wanted: Wanted, run: Run) -> str | None:
    """Take the result of a stage into its folder, with its lines of the log. Gives the run that had it, or None."""
    for entry in candidates(wanted, run):
        try:
            records = log_of(entry.run)
            taken = checkpoint.take_values(entry.folder, run.folder)
        except PermissionError:  # that of another person, who shares some of it
            continue
        if taken:
            run.log(event="taken", source=str(entry.run))
            for record in records:
                stage = record["stage"]
                if stage == entry.where or stage.startswith(f"{entry.where}/"):
                    run.log(**record | {"stage": run.where + stage.removeprefix(entry.where)})
            return str(entry.run)
        if (entry.folder / checkpoint.MANIFEST).exists():
            warn(f"{entry.folder} is damaged; {run.where} is not taken from there", stacklevel=2)
    return None


def _shared() -> list[Path]:
    return [Path(name).expanduser() for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]


def _entries(places: Iterable[Path], wanted: str | None = None) -> Iterator[Entry]:
    """The finished results in folders of runs, all of them or those of one key."""
    for place in {place.resolve(): place for place in places}.values():
        for file in (file for pattern in PATTERNS for file in sorted(place.glob(pattern))):
            with suppress(OSError, ValueError, AttributeError):  # removed meanwhile, or not ours
                key = json.loads(file.read_bytes()).get("key")
                if key is not None and wanted in (None, key) and (file.parent / checkpoint.MANIFEST).exists():
                    yield Entry(place / file.relative_to(place).parts[0], file.parent, key)


def forget(places: Iterable[Path]) -> int:
    """Let no run take any more what is in these folders of runs; gives the number of results. They stay in their runs:
    a run that has them goes on."""
    found = list(_entries(places))
    for entry in found:
        begun = json.loads((entry.folder / BEGUN).read_bytes())
        checkpoint.write_file(entry.folder / BEGUN, json.dumps(begun | {"key": None}, indent=1).encode())
    return len(found)


def listing(runs: Path) -> str:
    """The results in a folder of runs and in those of ENERGY_PIPELINES_STORE: size, age, run and stage; and the size of
    all, files that several runs share counted once."""
    rows: list[Sequence[str]] = []
    sizes: dict[tuple[int, int], int] = {}
    for entry in _entries([runs, *_shared()]):
        with suppress(OSError, ValueError):
            manifest = entry.folder / checkpoint.MANIFEST
            stats = [(entry.folder / name).stat() for name in json.loads(manifest.read_bytes())]
            sizes |= {(stat.st_dev, stat.st_ino): stat.st_size for stat in stats}
            size, age = sum(stat.st_size for stat in stats), time.time() - manifest.stat().st_mtime
            rows.append((shown(size), clock(age), str(entry.run), entry.where))
    lines = [f"{size:>8}  {age:>12}  {run}  {where}" for size, age, run, where in rows]
    if not rows:
        return f"no results in {', '.join(map(str, [runs, *_shared()]))}"
    total = f"{len(rows)} results, {shown(sum(sizes.values()))}; who deletes the folder of a run deletes its results"
    return "\n".join([*lines, total])
