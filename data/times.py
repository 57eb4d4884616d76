"""The times of frames: each its own, from whatever a container tells; and whether a file ends where it says."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data.containers import declared_duration, declared_rate
from data.errors import InputError
from data.words import counted

RESTART = 10.0
"""Seconds that a transport stream may jump ahead before its clock counts as set anew."""
TICK = 1.5e-3
"""Seconds that times may be off an even rate: containers count in 1/1000 s."""
TOLD = ("mov", "matroska", "avi", "flv", "asf", "mxf")
"""Containers that write down how long they are; of others the duration is a guess from what is there."""


class Damaged(InputError):
    """The rest of the file cannot be read. `found` says how much can."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(f"{path}: holds {found}")
        self.found = found


@dataclass(frozen=True)
class Shown:
    """A frame before its picture is made: seconds from the first one, seconds that it lasts where it says so."""

    time: float
    duration: float | None
    picture: Callable[[], np.ndarray]


class Clock:
    """The times of a file's frames: from 0, each later than the one before."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.broken = False
        """Whether damage was met: no frame is decoded from there on."""
        self._container, self._stream = container, stream
        self._usual = float(1 / (declared_rate(stream) or 25))
        self.joined = container.format.name in ("mpegts", "mpeg")
        """Whether files of the kind are cut and joined anywhere: packets break off, times start anew."""
        self._decoding_order = container.format.name == "avi"  # it tells no other time
        self._shift: float | None = None  # from the file's clock to ours
        self._last: float | None = None
        self._end, self._own_end, self._shown_end = 0.0, 0.0, 0.0  # of all packets, of the stream's, of its frames
        self._left, self._num = 0, 0
        self._gaps: list[float] = []

    def packet(self, packet: Any) -> None:
        """Take note of a packet of any stream."""
        moment = packet.pts if packet.pts is not None else packet.dts
        if packet.size and moment is not None and packet.time_base is not None:
            end = float((moment + (packet.duration or 0)) * packet.time_base)
            self._end = max(self._end, end)
            if packet.stream is self._stream:
                self._own_end = max(self._own_end, end)
        self._left += bool(self.broken and packet.size and packet.stream is self._stream)

    def time(self, frame: VideoFrame) -> tuple[float, float | None]:
        """Seconds of a frame, and how long it lasts where it says so. Each frame once, in order."""
        raw, base, last = frame.pts, frame.time_base, self._last
        if raw is None or self._decoding_order:
            raw = frame.dts
        told = None if raw is None or base is None else float(raw * base)
        self._num += 1
        if last is None:
            self._shift = told
            self._last = 0.0
        elif told is None:
            self._last = last + self._usual
        else:
            self._shift = told if self._shift is None else self._shift
            time = told - self._shift
            if time < last - 1 or (self.joined and time > last + RESTART):  # set anew, as where files were joined
                self._shift, time = told - last - self._usual, last + self._usual
            self._last = time if time > last else last + self._usual / 2
        if last is not None:
            self._gaps.append(self._last - last)
            del self._gaps[:-1000]
        duration = float(frame.duration * base) if frame.duration and base is not None else None
        self._shown_end = self._last + max(duration or 0.0, self._usual)
        return self._last, duration

    def check(self, path: Path) -> None:
        """Damaged if the file is shorter than it says, by more than its longest pause, or stops at damage."""
        pause = max(2 * median(self._gaps), *self._gaps) if len(self._gaps) > 1 else 2 * self._usual
        damaged = self.broken and (self._left > 1 or not self._told())
        if self._missing() <= 1.01 * pause and not damaged:
            return
        duration, rate = declared_duration(self._container, self._stream), declared_rate(self._stream)
        declared = round(duration * rate) if duration and rate else 0
        of = f" of {declared}" if declared > self._num else ""
        raise Damaged(path, f"{counted(self._num, 'frames')}{of} (the file is damaged or cut short)")

    def _told(self) -> bool:
        return any(name in self._container.format.name for name in TOLD) and self._duration() is not None

    def _duration(self) -> float | None:
        duration = self._container.duration
        return None if duration is None else duration / av.time_base

    def _missing(self) -> float:
        """Seconds between the end of what was read and the end that is told."""
        if not self._told():
            return 0.0
        start = (self._container.start_time or 0) / av.time_base
        own = declared_duration(self._container, self._stream) if self._stream.duration is not None else None
        if own is not None:
            read = 0.0 if self.broken else self._own_end - (self._shift or 0.0)
            return own - max(self._shown_end, read)
        duration = self._duration() or 0.0
        if self.broken:  # decoding stopped, reading went on
            return max(duration, self._end - start) - self._shown_end
        return duration - max(self._end, self._end - start)


def lasting(shown: Iterator[Shown]) -> Iterator[tuple[Shown, float]]:
    """Each frame with the seconds until the next; the last one as long as it says, or as the one before."""
    before: Shown | None = None
    gap: float | None = None
    damage: Damaged | None = None
    try:
        for one in shown:
            if before is not None:
                gap = one.time - before.time
                yield before, gap
            before = one
    except Damaged as error:
        damage = error
    if before is not None:  # a duration of a tick of the clock is none
        own = before.duration if before.duration and before.duration > TICK else None
        yield before, own or gap or 0.04
    if damage is not None:
        raise damage


def rate_of(times: Sequence[float], end: float, declared: Fraction | None) -> tuple[float, bool]:
    """Frames a second, and whether they are even: the rate that is declared if the times follow it, else the mean."""
    measured = (len(times) - 1) / (times[-1] - times[0])
    for rate in (declared, measured):
        if rate is not None and is_even(times, float(rate)):
            return float(rate), True
    return len(times) / (end - times[0]), False


def is_even(times: Sequence[float], rate: float) -> bool:
    """Whether frames come at a rate, as exactly as containers tell their times."""
    return all(abs(time - times[0] - index / rate) <= TICK for index, time in enumerate(times))
