"""What belongs to a clip beside its pictures: sound, subtitles, chapters, title, copied from file to file."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.stream import Stream

from data import containers

TECHNICAL = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "rotate", "alpha_mode")
"""Entries of a file's description that are of the file itself, not of its content."""
STYLE = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16

[Events]
Format: Layer, Start, End, Style, Text
"""
"""What FFmpeg wants to know of text before it writes any."""
TEXT = {"mp4": "mov_text", "matroska": "subrip"}
"""What plain subtitles are in a container."""
PLAIN = {"srt": "subrip", "subrip": "subrip", "text": "subrip", "webvtt": "subrip", "mov_text": "mov_text"}
"""Names of decoders of plain subtitles, and what their packets hold: text alone, or its length before it."""


@dataclass(frozen=True)
class Origin:
    """Where a clip comes from, for what belongs to it.

    Attributes:
        path: the file.
        begin: seconds from its first frame to the first frame of the clip.
        end: seconds from its first frame to the end of the clip.
        whole: whether the clip is the whole of it; then nothing is cut.
    """

    path: Path
    begin: float
    end: float
    whole: bool


class Remux:
    """Copies what belongs to a clip into a container, packet by packet, as the pictures are written.

    lead: seconds from the start of the new file to its first frame.
    """

    def __init__(self, origin: Origin, output: OutputContainer, name: str) -> None:
        """Open the origin and announce its streams. A warning, one line, tells what the container does not hold."""
        self._stack, self._output, self._origin = ExitStack(), output, origin
        self._pending: Any = None
        self._streams: dict[int, tuple[Any, Any, str | None]] = {}
        source, video = self._stack.enter_context(containers.opened(origin.path))
        start = (source.start_time or 0) / av.time_base
        first = containers.start_of(source, video)
        self.lead = first if origin.whole else 0.0
        self._shift = -start if origin.whole else -start - first - origin.begin
        kept = {key: text for key, text in source.metadata.items() if key.lower() not in TECHNICAL}
        output.metadata.update(kept)
        if origin.whole and source.chapters():
            output.set_chapters(source.chapters())
        lost: list[str] = []
        for stream in (*source.streams.audio, *source.streams.subtitles):
            self._add(stream, lost)
        if lost:
            warnings.warn(f"{name}: without {' and '.join(lost)}, which this kind of file does not hold", stacklevel=4)
        self._packets = self._shifted(source.demux(*self._read)) if self._streams else iter(())

    @property
    def _read(self) -> list[Stream]:
        return [stream for stream, _, _ in self._streams.values()]

    def until(self, time: float) -> None:
        """Copy what begins before `time`, seconds of the new file; float("inf"): all that is left."""
        while True:
            packet, self._pending = self._pending or next(self._packets, None), None
            if packet is None:
                return
            if float(packet.pts * packet.time_base) >= time:
                self._pending = packet
                return
            self._output.mux(packet)

    def close(self) -> None:
        self._stack.close()

    def _add(self, stream: Any, lost: list[str]) -> None:
        kind = "the sound" if stream.type == "audio" else "the subtitles"
        codec = stream.codec_context.name if stream.codec_context else "unknown"
        text, to = TEXT[self._output.format.name], None
        new: Any
        if held(self._output.format.name, stream):
            new = self._output.add_stream_from_template(stream)
        elif codec in PLAIN:
            to = text
            new = self._output.add_stream(text)
            new.codec_context.subtitle_header = STYLE
        else:
            lost.append(f"{kind} ({codec})")
            return
        for key, value in stream.metadata.items():
            if key.upper().split("-")[0] not in ("DURATION", "ENCODER", "BPS", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES"):
                new.metadata[key] = value
        new.disposition = stream.disposition
        self._streams[stream.index] = (stream, new, to)

    def _shifted(self, packets: Iterator[Any]) -> Iterator[Any]:
        """The packets within the clip, at the times of the new file."""
        span = self._origin.end - self._origin.begin
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:  # damaged: what comes before it is kept
                return
            if packet is None:
                return
            if not packet.size or packet.pts is None:
                continue
            ticks = round(self._shift / packet.time_base)
            packet.pts += ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
            begin = float(packet.pts * packet.time_base)
            if begin < 0 and self._output.format.name == "matroska":  # which would begin there, its pictures later
                continue
            inside = begin + float((packet.duration or 0) * packet.time_base) > 0 and begin < span
            if self._origin.whole or inside:
                yield self._as_text(packet)

    def _as_text(self, packet: Any) -> Any:
        """The packet for its new stream; text of subtitles is told by its length in mp4, by its end in Matroska."""
        old, new, to = self._streams[packet.stream.index]
        data = packet
        if to is not None and PLAIN[old.codec_context.name] != to:
            content = bytes(packet)
            if to == "mov_text":
                content = len(content).to_bytes(2, "big") + content
            else:
                content = content[2 : 2 + int.from_bytes(content[:2], "big")]
            data = av.Packet(content)
            data.time_base, data.pts, data.dts, data.duration = (
                packet.time_base,
                packet.pts,
                packet.pts,
                packet.duration,
            )
        data.stream = new
        return data


def starts_late(origin: Origin) -> bool:
    """Whether the sound of a whole clip begins before its pictures. InputError: it cannot be read any more."""
    with containers.opened(origin.path) as (source, video):
        return origin.whole and containers.start_of(source, video) > 0


def held(container: str, stream: Any) -> bool:
    """Whether a container takes a stream as it is: it is asked."""
    if stream.codec_context is None:
        return False
    try:
        with av.open(BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True
