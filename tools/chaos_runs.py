"""Children that tools/chaos.py does harm to: work in a process of its own, and runs that learn."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines import run

LIMIT = 120.0  # seconds that a case may take
KILLED = 9
LEARNERS = {
    "score matching": "learn: {SETTINGS}",
    "maximum likelihood": "learn: {objective: maximum_likelihood, chains: 16, SETTINGS}",
    "recovery likelihood": "learn: {objective: recovery_likelihood, SETTINGS}",
    "energy matching": "learn: {objective: energy_matching, chains: 16, SETTINGS}",
    "amortised": "learn: {energy: amortised, SETTINGS}",
    "residual": "learn: {energy: residual, chains: 16, SETTINGS}",
    "joint": "learn_joint: {chains: 16, SETTINGS}",
}
SETTINGS = "steps: 6, batch: 8, optimizer: {checkpoint_every: 2}"


# ---------------------------------------------------------------------------------------- children


@dataclass(frozen=True)
class End:
    """How a child ended: its exit status, minus the signal where one killed it; and its lines on standard error."""

    status: int
    lines: list[str]

    @property
    def last(self) -> str:
        return self.lines[-1][:200] if self.lines else "nothing said"


def child(work: Callable[[], int | None], send: tuple[float, int] | None = None) -> End:
    """Do work in a process of its own.

    Args:
        work: gives the exit status; None is 0.
        send: after so many seconds it is sent this signal.
    """
    reads, writes = os.pipe()  # no file: its size may be limited
    pid = os.fork()
    if pid == 0:
        os.dup2(writes, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        status = 1
        try:
            status = work() or 0
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writes)
    os.set_blocking(reads, False)
    start, told, found, code = time.monotonic(), b"", 0, 0
    while not found:
        time.sleep(0.005)
        found, code = os.waitpid(pid, os.WNOHANG)
        with contextlib.suppress(BlockingIOError):
            while block := os.read(reads, 1 << 16):
                told += block
        passed = time.monotonic() - start
        if not found and send and passed >= send[0]:
            os.kill(pid, send[1])
            send = None
        elif not found and passed > LIMIT:
            os.kill(pid, signal.SIGKILL)
    os.close(reads)
    return End(os.waitstatus_to_exitcode(code), told.decode(errors="replace").splitlines())


def dying(at: int) -> Iterator[None]:
    """The process ends, as by a kill, before the `at`-th call that changes the disk."""
    count = iter(range(10**9))

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **settings: object) -> object:
            if next(count) == at:
                os._exit(KILLED)
            return original(*arguments, **settings)

        return call

    for owner, names in ((os, ("fsync", "link")), (shutil, ("rmtree",))):
        for name in names:
            setattr(owner, name, counted(getattr(owner, name)))
    for name in ("rename", "replace", "mkdir", "write_bytes", "write_text", "rmdir"):
        setattr(Path, name, counted(getattr(Path, name)))
    yield


# --------------------------------------------------------------------------------- runs that learn


class Learner:
    """A pipeline that loads and learns, in a folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        stage = LEARNERS[name].replace("SETTINGS", SETTINGS)
        self.file = folder / "tiny.yaml"
        self.file.write_text(f"modality: images\nstages:\n  - load: {{count: 40}}\n  - {stage}\n")

    def command(self, out: str) -> list[str]:
        return [str(self.file), f"out={self.folder / out}", "compute=float32", "store=off"]

    def run(self, out: str, send: tuple[float, int] | None = None, before: Callable[[], object] | None = None) -> End:
        def work() -> int:
            if before:
                before()
            return run.main(self.command(out))

        return child(work, send)

    def learned(self, out: str) -> str:
        """A digest of what was learned."""
        files = sorted((self.folder / out).rglob("02_*/*/model.safetensors"))
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest() if files else "nothing"

    def problem(self, out: str, whole: str, end: End) -> str | None:
        """What is wrong with a run that went on to its end, if anything."""
        if end.status:
            return f"status {end.status}: {end.last}"
        left = [path.name for path in (self.folder / out).rglob(".*") if path.name != ".lock"]
        if left:
            return f"left {left[0]}"
        return None if self.learned(out) == whole else "learned something else"


def two(learner: Learner, out: str, kill_after: float | None) -> End:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    process = subprocess.Popen(
        [*launcher, "-m", "pipelines.run", *learner.command(out)], cwd=Path(__file__).parent.parent,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, text=True,
    )  # fmt: skip
    try:
        _, told = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        for line in _children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(line, signal.SIGKILL)
        _, told = process.communicate()
    return End(process.returncode, told.splitlines())


def _children(pid: int) -> list[int]:
    """A process and all below it: torchrun gives each of its own a session."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    below = [pid]
    for one in below:
        below += [other for other, parent in parents.items() if parent == one]
    return below
