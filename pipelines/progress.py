"""Progress of what takes long: a bar on a terminal; without one a line every ten seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
Log = Callable[..., None]

EVERY = 10.0  # seconds between two lines
PATIENCE = 2.0  # seconds before a bar


@dataclass(eq=False)
class Loop:
    """A loop that is watched: what it does, how many pieces there are, when it began and how many are done."""

    label: str
    total: int | None
    start: float
    done: int = 0

    @property
    def of(self) -> str:
        return "" if self.total is None else f" of {self.total}"


def done_of(loops: Sequence[Loop]) -> float | None:
    """The share of the outermost loop that is done, above 0; None where the number of pieces is not known."""
    inside = 0.0
    for loop in reversed(loops):
        inside = None if loop.total is None or inside is None else min(1.0, (loop.done + inside) / loop.total)
    return inside


@dataclass
class Progress:
    """What a stage shows of its progress.

    Attributes:
        shown: when something was shown last, in seconds of `time.monotonic`.
        loops: those that go on, the outermost first.
        log: writes a record of them.
    """

    shown: float = field(default_factory=lambda: time.monotonic())
    loops: list[Loop] = field(default_factory=list)
    log: Log | None = None

    def over(self, iterable: Iterable[T], total: int | None, label: str, where: str, log: Log) -> Iterable[T]:
        """The iterable, with its progress shown.

        Args:
            iterable: what is done, piece by piece.
            total: number of pieces; None: not known.
            label: what it does.
            where: the stage.
            log: writes a record; not called where there is a terminal.
        """
        if sys.stderr.isatty():
            return self._noting(tqdm(iterable, total=total, desc=label, leave=False, delay=PATIENCE))
        return self._lines(iterable, total, label, where, log)

    def _noting(self, bar: Iterable[T]) -> Iterator[T]:
        for item in bar:
            self.shown = time.monotonic()
            yield item

    def _lines(self, iterable: Iterable[T], total: int | None, label: str, where: str, log: Log) -> Iterator[T]:
        loop = Loop(label, total, time.monotonic())
        self.loops.append(loop)
        self.log = log
        try:
            for loop.done, item in enumerate(iterable):
                now = time.monotonic()
                if loop.done and now - self.shown >= EVERY:
                    self._tell(now, where, log)
                yield item
        finally:
            self.loops.remove(loop)

    def _tell(self, now: float, where: str, log: Log) -> None:
        """A line on standard error and one in the log: of all loops, the inner one a part of a piece of the outer."""
        self.shown, loops = now, list(self.loops)
        inner, share = loops[-1], done_of(loops)
        seconds = round((now - loops[0].start) * (1 - share) / share, 1) if share else None
        parts = [f"{loop.label}: {loop.done}{loop.of}" for loop in loops if loop.total != 1]
        _say(f"[{where}] {', '.join(parts)}{'' if seconds is None else f', {clock(seconds)} left'}")
        log(event="progress", label=inner.label, done=inner.done, total=inner.total, seconds_left=seconds)

    @contextmanager
    def alive(self, where: str) -> Iterator[None]:
        """While it lasts, a line tells of it wherever nothing else was shown for ten seconds: how far its loop is, also
        during a long piece of it, or how long it has lasted."""
        over, start = threading.Event(), time.monotonic()
        self.shown = start

        def watch() -> None:
            while not over.wait(max(0.0, self.shown + EVERY - time.monotonic()) or EVERY):
                now = time.monotonic()
                if now - self.shown < EVERY:
                    continue
                if any(loop.done for loop in list(self.loops)) and self.log is not None:
                    self._tell(now, where, self.log)
                else:
                    self.shown = now
                    _say(f"[{where}] {clock(now - start)} so far")

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def clock(seconds: float) -> str:
    """A time as people read it: 7 s, 1 min 30 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)  # above a bar, where there is one
    sys.stderr.flush()
