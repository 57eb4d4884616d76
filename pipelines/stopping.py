"""Signals that ask a command to stop. It stops at once; while it learns, after the step, and what it learned is saved.

A second signal does not wait for that.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked the command to stop.

    Attributes:
        signal: which.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = signal.Signals(number)


@dataclass
class _State:
    asked: int | None = None
    waits: bool = False


_state = _State()


@contextmanager
def listening() -> Iterator[None]:
    """While it lasts the signals raise `Stopped`. One that is ignored stays so, as SIGHUP of a command under nohup; in
    a thread, where none arrives, nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    try:
        for number in heard:
            signal.signal(number, _hear)
        yield
    except Exception as error:  # what breaks when other processes stop
        if _state.asked is None:
            raise
        raise Stopped(_state.asked) from error
    finally:
        _state.asked, _state.waits = None, False
        for number in heard:
            signal.signal(number, before[number])


@contextmanager
def waiting() -> Iterator[None]:
    """While it lasts the first signal raises nothing, but is told by `asked`; it is raised afterwards at the latest."""
    _state.waits = True
    try:
        yield
    finally:
        _state.waits = False
    if _state.asked is not None:
        raise Stopped(_state.asked)


def asked() -> list[float]:
    """For each of SIGNALS 1 where it came, else 0: processes add theirs up."""
    return [float(number == _state.asked) for number in SIGNALS]


def _hear(number: int, frame: FrameType | None) -> None:
    first, _state.asked = _state.asked is None, number
    if not (first and _state.waits):
        raise Stopped(number)
    if os.environ.get("RANK", "0") == "0":  # not print: its buffer may be in use just now
        os.write(2, f"{signal.Signals(number).name}: stopping after this step\n".encode())
