"""The folder of a run: whose it is, what in it is finished, and what a changed setting or input
file means for that.

config.yaml   the resolved configuration
log.jsonl     what the stages logged
01_load/      one folder a stage: begun.json (what it depends on), the values it gave, manifest.json
once finished
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from pipelines import checkpoint, config, inputs, trees
from pipelines.config import Config, ConfigError
from pipelines.store import BEGUN, Wanted

CONFIG, LOG, LOCK = "config.yaml", "log.jsonl", ".lock"
ASIDE = ".aside"  # results that are being done anew
_STAGE = re.compile(r"\d\d+_")
_FILES = "inputs", "folders"  # of begun.json, as `inputs.record` has them


def claim(root: Path, wanted: Config) -> IO[bytes]:
    """Make `root` the folder of this run, or find that it is already, and lock it until the result
    is closed.

    Raises:
        ConfigError: it holds something else, another run, or one that is going on; nothing in it
            was touched.
    """
    if root.exists() and not root.is_dir():
        raise ConfigError(f"out: {root} is a file, expected a folder")
    present = {path.name for path in root.iterdir()} - {LOCK, f".{CONFIG}.new"} if root.exists() else set()
    if present and not _is_run(root):
        raise ConfigError(f"out: {root} is not empty and holds no run; name a new or an empty folder")
    root.mkdir(parents=True, exist_ok=True)
    lock = open(root / LOCK, "ab")  # noqa: SIM115 (held until the run ends)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"out: another command is running in {root}; wait, or choose another folder") from None
        text = config.dump(wanted)
        if _is_run(root):
            stages = [path for path in root.iterdir() if _STAGE.match(path.name)]
            checkpoint.tidy([*root.glob(".*"), *(path for folder in stages for path in folder.rglob(".*"))])
            settle(root)
            _make_way(root, text)
        checkpoint.write_file(root / CONFIG, text.encode())
    except BaseException:
        lock.close()
        raise
    return lock


def begin(folder: Path, wanted: Wanted, recorded: Mapping[str, Any], root: Path) -> bool:
    """Whether a stage is finished; where not, its folder is ready for it to start, or to go on.

    Args:
        folder: the stage's folder.
        wanted: what is asked for; what else is in the folder is removed; a finished result, only after it is done anew
            (`settle`).
        recorded: the input files; those of a stage that began must not have changed since.
        root: the folder of the run.
    """
    known = begun(folder)
    if known is None or not wanted.goes_on(known):
        _remove(folder)
        folder.mkdir()
        _write(folder, wanted.key, wanted, recorded)
        return False
    if found := inputs.changed(dict(known), root):
        raise ConfigError(f"{found} since the run in {root} read it; {_WAYS_OUT}")
    if checkpoint.verify(folder):
        return True
    if known["key"] != wanted.key:  # what other code or another number format began goes on, but only in this run
        _write(folder, wanted.key if {path.name for path in folder.iterdir()} <= {BEGUN} else None, wanted, known)
    return False


def begun(folder: Path) -> dict[str, Any] | None:
    """What the stage in a folder was asked for, and its input files; None: nothing began there.

    ConfigError: it began by an earlier version, or that is damaged.
    """
    try:
        found = json.loads((folder / BEGUN).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(found, dict) or not found.keys() >= {"key", "asked", "read", *_FILES}:
        raise ConfigError(f"{folder} was begun by another version, or its {BEGUN} is damaged; {_WAYS_OUT}")
    return found


def _write(folder: Path, key: str | None, wanted: Wanted, recorded: Mapping[str, Any]) -> None:
    files = {name: recorded[name] for name in _FILES}
    content = {"key": key, "asked": wanted.asked, "read": wanted.read} | files
    checkpoint.write_file(folder / BEGUN, json.dumps(content, indent=1).encode())


_WAYS_OUT = "choose another folder (out=...) or delete this one"


def _is_run(root: Path) -> bool:
    try:
        trees.split(trees.parse((root / CONFIG).read_bytes(), CONFIG), CONFIG)
    except (FileNotFoundError, ConfigError):
        return False
    return True


def _make_way(root: Path, text: str) -> None:
    """Check the new configuration against the one of the folder, and remove what it makes obsolete.

    Only what was done counts, the stages that are finished or keep a checkpoint: who mistyped a
    file name, or a setting of a later stage, mends it and runs the same command. Nor does the last
    stage count if it learned nothing: it may judge, score or export anew.
    """
    old_tree = trees.parse((root / CONFIG).read_bytes(), CONFIG)
    new_tree = trees.parse(text, CONFIG)
    # A stage that learns in parts keeps their checkpoints a folder deeper.
    patterns = f"*/{checkpoint.MANIFEST}", "*/*checkpoint*", "*/*/*checkpoint*"
    found = {root / path.relative_to(root).parts[0] for pattern in patterns for path in root.glob(pattern)}
    done = [path for path in found if _STAGE.match(path.name)]  # a folder of the person's own is none
    num_done = max(map(_number, done), default=0)
    if _settings(old_tree) == _settings(new_tree):
        return
    if all(len(trees.split(tree, CONFIG)[1]) == num_done for tree in (old_tree, new_tree)) and not any(
        _learned(path) for path in done if _number(path) == num_done
    ):
        num_done -= 1
    old, new = (_settings(tree, num_done) for tree in (old_tree, new_tree))
    for address in dict.fromkeys([*old, *new]):
        if num_done and (address in old, old.get(address)) != (address in new, new.get(address)):
            raise ConfigError(
                f"{root} holds a run {_with(address, old)}, and this one is {_with(address, new)}; {_WAYS_OUT}"
            )
    for folder in {path.parent for path in root.glob(f"*/{BEGUN}")}:
        if _STAGE.match(folder.name) and _number(folder) > num_done:
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove what a stage left. If it was finished it is set aside with a copy of the run's results, until `settle`."""
    root, aside = folder.parent, folder.parent / ASIDE
    if not checkpoint.verify(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    if not aside.exists():
        aside.mkdir()
        for path in root.iterdir():
            if path.name[0] != "." and path.name != LOG and not _STAGE.match(path.name):
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, aside / path.name)
    folder.rename(aside / folder.name)


def settle(root: Path) -> None:
    """Forget the results that were set aside if their stages are done anew; put them back if they are not."""
    aside = root / ASIDE
    if not aside.exists():
        return
    stages = [path for path in aside.iterdir() if _STAGE.match(path.name)]
    anew = {path: list(root.glob(f"{_number(path):02d}_*")) for path in stages}
    failed = [path for path in stages if not any(checkpoint.verify(folder) for folder in anew[path])]
    if failed:
        for path in set(aside.iterdir()) - set(stages):
            _replace(root / path.name, path)
        for path in failed:
            for folder in anew[path]:
                shutil.rmtree(folder)
            path.rename(root / path.name)
    shutil.rmtree(aside)


def _replace(path: Path, new: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    new.replace(path)


def _settings(tree: trees.Tree, num_stages: int | None = None) -> dict[str, Any]:
    """All but what decides nothing, and imports of nothing, which older runs do not state."""
    found = trees.flat(tree, CONFIG, num_stages)
    found = {name: value for name, value in found.items() if name not in ("out", "store")}
    return {name: value for name, value in found.items() if (name, value) != ("imports", [])}


def _learned(folder: Path) -> bool:
    """Whether what is in the folder of a stage took learning, or is still to be gone on with."""
    if not checkpoint.verify(folder) or next(folder.rglob("*checkpoint*"), None):
        return True
    return bool(json.loads((folder / "values.json").read_bytes())["energies"])


def _number(folder: Path) -> int:
    return int(folder.name.split("_")[0])


def _with(address: str, settings: dict[str, Any]) -> str:
    if address not in settings:
        return f"without {address}"
    value = settings[address]
    return f"with {address}={'null' if value is None else value}"
