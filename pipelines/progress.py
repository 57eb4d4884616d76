"""Progress of what takes long: a bar on a terminal; without one a line every ten seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
Log = Callable[..., None]

EVERY = 10.0  # seconds between two lines
PATIENCE = 2.0  # seconds before a bar


@dataclass
class Progress:
    """What a stage shows of its progress.

    Attributes:
        shown: when something was shown last, in seconds of `time.monotonic`.
    """

    shown: float = field(default_factory=lambda: time.monotonic())

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
        start = time.monotonic()
        for done, item in enumerate(iterable):
            now = time.monotonic()
            if done and now - self.shown >= EVERY:
                self.shown = now
                seconds = None if total is None else max(0.0, (now - start) / done * (total - done))
                _say(f"[{where}] {label}: {done}{_rest(total, seconds)}")
                log(event="progress", label=label, done=done, total=total, seconds_left=_rounded(seconds))
            yield item

    @contextmanager
    def alive(self, where: str) -> Iterator[None]:
        """While it lasts, a line tells how long it has lasted wherever nothing else was shown for ten seconds."""
        over, start = threading.Event(), time.monotonic()
        self.shown = start

        def watch() -> None:
            while not over.wait(max(0.0, self.shown + EVERY - time.monotonic()) or EVERY):
                if time.monotonic() - self.shown >= EVERY:
                    self.shown = time.monotonic()
                    _say(f"[{where}] {clock(time.monotonic() - start)} so far")

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


def _rest(total: int | None, seconds: float | None) -> str:
    return "" if total is None or seconds is None else f" of {total}, {clock(seconds)} left"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)  # above a bar, where there is one
    sys.stderr.flush()
