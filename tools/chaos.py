"""Hard days: kills, damaged and full disks, signals and bad input. After each a run goes on, or one line says why not.

    python tools/chaos.py                 every kind; --few for a tenth of the cases; --only kills for one kind

Every case is a child of this process, which has all imported: a case takes as long as its work. It prints a table.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos_runs import KILLED, LEARNERS, Learner, child, dying, two

from pipelines import checkpoint, results, run
from pipelines.modalities import NAMES


@dataclass
class Row:
    """A line of the table: a kind of fault, how many were tried, and what of them did not hold."""

    kind: str
    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def note(self, case: str, problem: str | None) -> None:
        self.tried += 1
        if problem:
            self.wrong.append(f"{case}: {problem}")


# --------------------------------------------------------------------------------- runs that learn


def kills(folder: Path, few: bool, rng: random.Random) -> Iterator[Row]:
    """At random moments of learning; then it goes on and ends bit for bit as if nothing had been."""
    row = Row("killed at a random moment of learning, gone on with: the same bits")
    for name in list(LEARNERS)[: 2 if few else None]:
        learner = Learner(name, _new(folder))
        start = time.monotonic()
        end = learner.run("whole")
        took, whole = time.monotonic() - start, learner.learned("whole")
        row.note(f"{name}, not killed", f"status {end.status}: {end.last}" if end.status else None)
        for number in range(1 if few else 4):
            out = f"killed_{number}"
            for _ in range(2):
                learner.run(out, (rng.uniform(0.1, 1) * took, signal.SIGKILL))
            row.note(f"{name}, {number}", learner.problem(out, whole, learner.run(out)))
    yield row


def pairs(folder: Path, few: bool, rng: random.Random) -> Iterator[Row]:
    """Likewise of two processes; and one goes on where two were."""
    row = Row("two processes killed while they learn, gone on with by two: the same bits")
    for name in ["maximum likelihood"] if few else ["score matching", "maximum likelihood", "amortised"]:
        learner = Learner(name, _new(folder))
        start = time.monotonic()
        two(learner, "whole", None)
        took = time.monotonic() - start
        for number in range(1 if few else 2):
            two(learner, f"killed_{number}", rng.uniform(0.4, 0.95) * took)
            end = two(learner, f"killed_{number}", None)
            row.note(f"{name}, {number}", learner.problem(f"killed_{number}", learner.learned("whole"), end))
    yield row


def damage(folder: Path, few: bool, rng: random.Random) -> Iterator[Row]:
    """Of every file of a checkpoint: the one before it is used, and told; of every file of a finished stage."""
    row = Row("a file of a checkpoint or a finished stage is cut, flipped, emptied or deleted: the same bits")
    learner = Learner("maximum likelihood", _new(folder))
    learner.run("whole")
    whole = learner.learned("whole")
    shutil.copytree(learner.folder / "whole", learner.folder / "half")
    (learner.folder / "half/02_learn/manifest.json").unlink()  # learned, but not saved yet
    for start in ("half", "whole"):
        files = [path.relative_to(learner.folder / start) for path in (learner.folder / start).glob("0*/**/*")]
        files = sorted(path for path in files if (learner.folder / start / path).is_file())
        for path in files[:: 5 if few else 1]:
            for how in ("cut", "flipped", "emptied", "deleted"):
                out = f"{start}_{how}_{hashlib.md5(str(path).encode()).hexdigest()[:6]}"
                shutil.copytree(learner.folder / start, learner.folder / out)
                _spoil(learner.folder / out / path, how, rng)
                row.note(f"{start}/{path} {how}", learner.problem(out, whole, learner.run(out)))
                shutil.rmtree(learner.folder / out)
    yield row


def _spoil(path: Path, how: str, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
        return
    if how == "flipped" and content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(b"" if how == "emptied" else content[:-1] if how == "cut" else content)


def disk(folder: Path, few: bool, rng: random.Random) -> Iterator[Row]:
    """Files may not grow beyond a size, as on a full disk: one line, and with room it goes on."""
    row = Row("no room for files beyond a size: status 2, one line; with room the same bits")
    learner = Learner("score matching", _new(folder))
    learner.run("whole")
    whole = learner.learned("whole")
    sizes = [0, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 200_000, 300_000, 500_000, 700_000]
    for size in sizes[:: 4 if few else 1]:
        out = f"full_{size}"
        limited = learner.run(out, before=lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
        errors = [line for line in limited.lines if not line.startswith(("[", "running on", "this takes"))]
        if limited.status not in (0, 2) or len(errors) != (1 if limited.status else 0):
            row.note(f"{size} bytes", f"status {limited.status}: {limited.last}")
        else:
            row.note(f"{size} bytes", learner.problem(out, whole, learner.run(out)))
    yield row


def signals(folder: Path, few: bool, rng: random.Random) -> Iterator[Row]:
    """Each at a few moments: its status and its line; then it goes on."""
    row = Row("SIGINT, SIGTERM, SIGHUP: status 130, 143, 129, one line that says how to go on; the same bits")
    learner = Learner("maximum likelihood", _new(folder))
    start = time.monotonic()
    learner.run("whole")
    took, whole = time.monotonic() - start, learner.learned("whole")
    for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for number in range(1 if few else 5):
            out = f"{sent.name}_{number}"
            end = learner.run(out, (rng.uniform(0.3, 0.9) * took, sent))
            told = "the same command continues" in end.last and not any("Traceback" in line for line in end.lines)
            if end.status not in (0, 128 + sent) or (end.status and not told):
                row.note(out, f"status {end.status}: {end.last}")
            else:
                row.note(out, learner.problem(out, whole, learner.run(out)))
    yield row


# -------------------------------------------------------------------------------- saves, and inputs


def saves(folder: Path, few: bool, rng: random.Random) -> Iterator[Row]:
    """Killed before every single write, rename and removal: the old or the new is there, and nothing else."""
    from energies import StudentT

    def save(where: Path, number: float) -> None:
        checkpoint.save(where / "01_a" / "checkpoint", {"x": torch.full((3,), number)}, {"step": number})
        results.save_energy(StudentT(2, int(number)), where)

    row = Row("killed at every write of a save: the old or the new, no leftovers")
    for at in range(0, 200, 4 if few else 1):
        where = _new(folder)
        (where / "01_a").mkdir()
        child(lambda where=where: [save(where, number) for number in (5.0, 6.0)] and None)
        end = child(lambda where=where, at=at: [save(where, 7.0) for _ in dying(at)] and None)
        checkpoint.tidy([*where.glob(".*"), *(where / "01_a").glob(".*")])
        found = checkpoint.load(where / "01_a" / "checkpoint")
        left = [path.name for path in where.rglob(".*")]
        if found is None or found[1]["step"] not in (6.0, 7.0) or found[0]["x"].tolist() != [found[1]["step"]] * 3:
            row.note(f"write {at}", f"the checkpoint is {found and found[1]}")
        else:
            row.note(f"write {at}", f"left {left[0]}" if left else None)
        if end.status != KILLED:  # all of its writes are done
            break
    yield row


def settings(folder: Path, few: bool, rng: random.Random) -> Iterator[Row]:
    """Of every pipeline, values drawn for fields of every type: taken, or refused in one line."""
    from chaos_inputs import bad_settings

    row = Row("settings drawn from the types of all fields: taken, or status 2 and one line; nothing written")
    slow = Row("likewise, of names, types and ranges: told within a second, before torch is imported")
    for words in bad_settings(30 if few else 300, rng.randrange(2**31)):
        out = _new(folder) / "out"
        end = child(lambda words=words, out=out: _main_without_running([*words, f"out={out}"]))
        fine = end.status == 0 or (end.status == 2 and len(end.lines) == 1)
        row.note(" ".join(words)[:100], None if fine and not out.exists() else f"status {end.status}: {end.last}")
    known = ["image_synthesis load.sise=8", "voxel_recovery learn.steps=x", "compose seed=1.5"]
    known += ["image_synthesis load.size=1", "voxel_recovery learn.energy.amortised.rank=-1", "compose strength=0"]
    for words in map(str.split, known):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = subprocess.run([sys.executable, "-m", "pipelines.run", *words], cwd=run.ROOT, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        slow.note(" ".join(words), None if told.returncode == 2 and took < 1 else f"{took:.1f} s")
    yield row
    yield slow


def _main_without_running(words: list[str]) -> int:
    from pipelines.pipeline import Pipeline

    Pipeline.run = lambda *_, **__: {}  # type: ignore[method-assign]
    return run.main(words)


def readers(folder: Path, few: bool, rng: random.Random) -> Iterator[Row]:
    """Files of every format, cut, flipped, of noise: read, or refused in one line."""
    from chaos_inputs import files, read

    row = Row("damaged files of every format: read, or one line that names the file")
    for path in files(_new(folder), 1 if few else 6, rng):
        end = child(lambda path=path: read(path))
        told = end.status == 2 and len(end.lines) == 1 and path.name in end.last
        row.note(path.name, None if end.status == 0 or told else f"status {end.status}: {end.last}")
    yield row


# ------------------------------------------------------------------------------------------- table

KINDS: dict[str, Callable[[Path, bool, random.Random], Iterator[Row]]] = {
    "saves": saves, "kills": kills, "pairs": pairs, "damage": damage, "disk": disk, "signals": signals,
    "settings": settings, "readers": readers,
}  # fmt: skip


def _new(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder))


def table(kinds: list[str], few: bool, seed: int) -> Iterator[Row]:
    """The rows, as they are found."""
    torch.set_num_threads(1)
    for name in NAMES:  # what children import is imported once
        importlib.import_module(f"pipelines.modalities.{name}")
    importlib.import_module("pipelines.pipeline")
    for name in kinds:
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            for row in KINDS[name](Path(folder), few, random.Random(seed)):
                row.seconds = time.monotonic() - start
                yield row


def main() -> int:
    """The exit status: 0 where all hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print("| what happens, and what must hold | cases | held | seconds |\n|---|---|---|---|", flush=True)
    wrong: list[str] = []
    for row in table(asked.only or list(KINDS), asked.few, asked.seed):
        print(f"| {row.kind} | {row.tried} | {row.tried - len(row.wrong)} | {row.seconds:.0f} |", flush=True)
        wrong += row.wrong
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
