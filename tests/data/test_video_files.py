"""The kinds of video files that people have: what is read of each, and what is written."""

import resource
import struct
import tracemalloc
import warnings
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from PIL import Image

from data import upright, video
from data.decoding import Damaged, frames
from data.encoding import writing
from data.errors import InputError
from data.probing import probe
from data.remuxing import STYLE

CORNERS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (235, 235, 235)}
FAST = {
    "libx264": {"preset": "superfast", "threads": "1"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


def scene(number: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    """Red top left, green top right, blue bottom left, white bottom right; a bar that moves 2 pixels a frame."""
    picture = np.full((height, width, 3), 40, np.uint8)
    picture[:12, :12], picture[:12, -12:] = CORNERS["red"], CORNERS["green"]
    picture[-12:, :12], picture[-12:, -12:] = CORNERS["blue"], CORNERS["white"]
    left = 2 * number % (width - 4)
    picture[20:28, left : left + 4] = (230, 220, 40)
    return picture


def corners(picture: np.ndarray) -> list[str]:
    """The names of the colours: top left, top right, bottom left, bottom right."""
    found = [picture[y, x].astype(int) for y in (4, -5) for x in (4, -5)]
    return [min(CORNERS, key=lambda name: np.abs(found[k] - CORNERS[name]).sum()) for k in range(4)]


def encoded(
    path: Path,
    pictures: Sequence[np.ndarray],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    container: str | None = None,
    moments: Sequence[int] | None = None,
    base: Fraction = Fraction(1, 25),
    layout: str = "rgb24",
    options: dict[str, str] | None = None,
    tags: dict[str, int] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """A file by FFmpeg: frame i at moments[i] * base seconds, at 25 Hz if None."""
    with av.open(str(path), "w", format=container) as file:
        stream: Any = file.add_stream(codec, Fraction(25), FAST.get(codec, {}) | (options or {}))
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pixels
        stream.codec_context.time_base = base
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for name, tag in (tags or {}).items():
            setattr(stream.codec_context, name, tag)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, layout)
            if layout != pixels:
                frame = frame.reformat(format=pixels, dst_colorspace=(tags or {}).get("colorspace"))
            for name, tag in (tags or {}).items():
                setattr(frame, name, tag)
            frame.pts, frame.time_base = number if moments is None else moments[number], base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def scenes(num: int = 8) -> list[np.ndarray]:
    return [scene(number) for number in range(num)]


def read(path: Path, **options: Any) -> list[Any]:
    return list(frames(path, **options))


def told(act: Any) -> tuple[Any, list[str]]:
    """What it gives, and the lines that it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = act()
    return found, [str(warning.message) for warning in caught]


# -------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), "red green blue white"),
        ((-1, 0, 0, 1), "green red white blue"),
        ((1, 0, 0, -1), "blue white red green"),
        ((-1, 0, 0, -1), "white blue green red"),
        ((0, 1, 1, 0), "red blue green white"),
        ((0, 1, -1, 0), "blue red white green"),
        ((0, -1, 1, 0), "green white red blue"),
        ((0, -1, -1, 0), "white green blue red"),
    ],
)
def test_every_display_matrix_is_undone(tmp_path, matrix, expected):
    path = encoded(tmp_path / "a.mp4", scenes(2))
    data, one = bytearray(path.read_bytes()), 1 << 16
    at = data.index(b"tkhd") + 44
    a, b, c, d = (entry * one for entry in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    picture = read(path)[0].picture
    assert corners(picture) == expected.split()
    assert picture.shape[:2] == probe(path).size == ((48, 64) if matrix[0] else (64, 48))


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(16, 11), (48, 93)), (Fraction(1, 2), (96, 64))])
def test_pixels_become_square(tmp_path, aspect, size):
    path = encoded(tmp_path / "a.mp4", scenes(2), aspect=aspect)
    assert read(path)[0].picture.shape[:2] == size == probe(path).size
    assert probe(path).stored == (48, 64)
    assert corners(read(path)[0].picture) == list(CORNERS)


# ------------------------------------------------------------------------------------------ time


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_every_frame_keeps_its_time_from_reading_to_writing(tmp_path, ending):
    moments = [*range(0, 2000, 100), *range(2000, 2660, 33)]  # 20 at 10 Hz, 20 at 30 Hz
    path = encoded(tmp_path / f"a.{ending}", scenes(40), moments=moments, base=Fraction(1, 1000))
    clip = video.read_timed(path)
    assert not clip.even and clip.whole and clip.fps == pytest.approx(40 / 2.66, rel=0.02)
    np.testing.assert_allclose(clip.times, np.array(moments) / 1000, atol=1e-6)
    for name in ("b.mp4", "b.mkv"):
        video.write(tmp_path / name, clip.clip, clip.fps, times=[*clip.times, clip.end])
        again = video.read_timed(tmp_path / name)
        np.testing.assert_allclose(again.times, clip.times, atol=1e-3)
        assert again.end == pytest.approx(clip.end, abs=2e-3)
    part = video.read_timed(path, cut=video.Cut(4, 18, 2))
    assert part.times == pytest.approx([1.8, 2.0, 2.066, 2.132]) and not part.whole


@pytest.mark.slow
def test_a_container_that_counts_in_milliseconds_and_tells_no_rate(tmp_path):
    moments = [round(number * 1000 / 30) for number in range(40)]
    path = encoded(tmp_path / "a.webm", scenes(40), "libvpx", moments=moments, base=Fraction(1, 1000))
    clip = video.read_timed(path)
    assert clip.fps == pytest.approx(30, abs=0.2) and clip.end == pytest.approx(1.333, abs=0.04)
    assert clip.clip.shape[1] == 40


def test_pauses_are_no_damage_and_a_cut_file_is(tmp_path):
    moments = [*range(0, 990, 33), *range(1990, 11_990, 1000)]
    path = encoded(tmp_path / "a.mkv", scenes(40), "ffv1", "bgr0", moments=moments, base=Fraction(1, 1000))
    clip = video.read_timed(path)
    assert clip.whole and clip.clip.shape[1] == 40 and clip.times[-1] == pytest.approx(10.99)
    short = tmp_path / "short.mkv"
    short.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(Damaged, match="damaged or cut short"):
        read(short)
    assert len(video.read_timed(short, cut=video.Cut(10)).times) == 10, "enough is left"


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_last_frame_that_stays_is_no_damage(tmp_path, ending):
    clip = video.from_uint8(np.stack(scenes(10)))
    times = [*(k / 25 for k in range(10)), 6.0]
    video.write(tmp_path / f"a.{ending}", clip, 25, times=times)
    again = video.read_timed(tmp_path / f"a.{ending}")
    assert again.clip.shape[1] == 10 and again.whole and again.end == pytest.approx(6, abs=0.05)


def test_pictures_are_counted_before_a_file_of_long_pauses_is_refused(tmp_path, monkeypatch):
    moments = [*range(0, 165, 33), *range(1000, 11_000, 1000)]  # its header tells 25 Hz, so about 270 pictures
    path = encoded(tmp_path / "a.mkv", scenes(15), "ffv1", "bgr0", moments=moments, base=Fraction(1, 1000))
    assert (probe(path).frames or 0) > 200
    monkeypatch.setattr("data.frames.MAX_BYTES", 12 * 48 * 64 * 20)
    assert video.read(path)[0].shape[1] == 15
    with pytest.raises(InputError, match="40 frames of 64x48 take more than"):
        video.read(encoded(tmp_path / "b.mkv", scenes(40), "ffv1", "bgr0"))


def test_a_video_that_starts_late_begins_at_zero(tmp_path):
    path = encoded(tmp_path / "a.flv", scenes(8), moments=range(50, 58))
    clip = video.read_timed(path)
    assert clip.times == pytest.approx([k / 25 for k in range(8)], abs=2e-3) and clip.even and clip.fps == 25


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    path = encoded(tmp_path / "a.mp4", [scene(k, 48, 48) for k in range(400)], "mpeg4")
    tracemalloc.start()
    num = sum(1 for _ in frames(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num == 400 and peak < 700_000, "the pictures take 2.8 MB"


# ------------------------------------------------------------------------------------ containers


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("a.ts", "libx264", "mpegts"),
        ("a.mts", "mpeg2video", "mpegts"),
        ("a.flv", "libx264", "flv"),
        ("a.m4v", "libx264", "ipod"),
        ("a.wmv", "wmv2", "asf"),
        ("a.mpg", "mpeg2video", "mpeg"),
        ("a.3gp", "libx264", "3gp"),
        ("a.mxf", "mpeg2video", "mxf"),
        ("a.avi", "libx264", "avi"),
        ("a.h264", "libx264", "h264"),
        ("a.webm", "libvpx-vp9", "webm"),
    ],
)
def test_containers_are_read(tmp_path, name, codec, container):
    path = encoded(tmp_path / name, scenes(20), codec, container=container)
    clip = video.read_timed(path)
    assert clip.clip.shape == (3, 20, 48, 64) and clip.fps == 25 and clip.even and clip.whole
    np.testing.assert_allclose(clip.times, np.arange(20) / 25, atol=1.5e-3)
    assert corners(video.to_uint8(clip.clip)[3]) == list(CORNERS)


def test_cover_art_is_not_the_video(tmp_path):
    whole = encoded(tmp_path / "a.mp4", scenes(8))
    with av.open(str(whole)) as source, av.open(str(tmp_path / "b.mp4"), "w") as file:
        cover: Any = file.add_stream("mjpeg", 25)
        cover.width = cover.height = 96
        cover.pix_fmt = "yuvj420p"
        cover.disposition = Disposition.attached_pic
        copy = file.add_stream_from_template(source.streams.video[0])
        file.mux(cover.encode(av.VideoFrame.from_ndarray(scene(0, 96, 96), "rgb24").reformat(format="yuvj420p")))
        file.mux(cover.encode(None))
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = copy
                file.mux(packet)
    found = read(tmp_path / "b.mp4")
    assert len(found) == 8 and found[0].picture.shape == (48, 64, 3)


@pytest.mark.slow
def test_a_recording_that_begins_between_pictures_and_one_that_was_joined(tmp_path):
    path = encoded(tmp_path / "a.ts", scenes(40), container="mpegts", options={"g": "8", "bf": "0"})
    data = path.read_bytes()
    late = tmp_path / "late.ts"
    late.write_bytes(data[len(data) // 3 :])
    assert len(told(lambda: read(late))[0]) in (16, 24)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(data + data)
    found, lines = told(lambda: read(joined))
    assert len(found) == 80 and all(0 < b.time - a.time < 0.1 for a, b in pairwise(found))
    assert len(lines) <= 1


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("a.png", lambda path: Image.fromarray(scene()).save(path), "is a still picture, not a clip"),
        ("b.mp4", lambda path: Image.fromarray(scene()).save(path, "JPEG"), "is a still picture, not a clip"),
        ("c.gif", lambda path: Image.fromarray(scene()).save(path), "is a still picture, not a clip"),
        ("d.braw", lambda path: path.write_bytes(b"braw" * 99), "braw is not read; convert it to mp4"),
        ("e.mp4", lambda path: path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(400)), "damaged or cut short"),
        ("f.mp4", lambda path: path.write_bytes(bytes(range(256)) * 9), "not a video that can be read"),
    ],
)
def test_what_is_no_clip_is_told_by_its_reason(tmp_path, name, make, words):
    make(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: .*{words}"):
        video.read(tmp_path / name)


# --------------------------------------------------------------------------------------- colours


def coded(nits: float, curve: str) -> float:
    """The code in [0, 1] of light in cd/m2; of HLG on a display of 1000 cd/m2, of grey."""
    if curve == "PQ":
        power = (nits / 10_000) ** (2610 / 16384)
        return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    light = (nits / 1000) ** (1 / 1.2)
    return (3 * light) ** 0.5 if light <= 1 / 12 else 0.17883277 * np.log(12 * light - 0.28466892) + 0.55991073


@pytest.mark.parametrize(("curve", "tag"), [("PQ", 16), ("HLG", 18)])
def test_high_dynamic_range_is_mapped_to_white_and_told(tmp_path, curve, tag):
    levels = [0.0, 20.0, 203 * 0.83, 203.0, 1000.0]  # 0.83 of white is 235 in sRGB
    picture = np.zeros((16, 80, 3), np.uint16)
    for k, nits in enumerate(levels):
        picture[:, 16 * k : 16 * k + 16] = round(65535 * coded(nits, curve))
    tags = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": tag}
    path = encoded(tmp_path / "a.mkv", [picture] * 2, "ffv1", "yuv420p10le", layout="rgb48le", tags=tags)
    found, lines = told(lambda: read(path)[0].picture[8, 8::16].astype(int))
    assert len(lines) == 1 and f"a.mkv: is HDR ({curve})" in lines[0]
    assert np.abs(found - found[:, :1]).max() <= 2, "grey stays grey"
    grey = found[:, 1]
    assert grey[0] == 0 and grey[1] == pytest.approx(89, abs=2) and grey[2] == pytest.approx(235, abs=2)
    assert 235 < grey[3] < grey[4] <= 255
    assert probe(path).curve == curve


def test_wide_primaries_of_standard_range_are_converted():
    frame = av.VideoFrame.from_ndarray(np.full((4, 4, 3), (200, 60, 60), np.uint8), "rgb24")
    same = upright.picture(frame, 1.0)
    frame.color_primaries = 12  # P3
    wide = upright.picture(frame, 1.0)[0, 0].astype(int)
    assert (same == (200, 60, 60)).all() and wide[0] == pytest.approx(216, abs=3) and wide[1] < 50


@pytest.mark.parametrize(("matrix", "name"), [(1, "BT.709"), (5, "BT.601"), (9, "BT.2020")])
@pytest.mark.parametrize("span", [1, 2])
def test_the_tagged_matrix_and_range_are_used(tmp_path, matrix, name, span):
    frame = av.VideoFrame.from_ndarray(scene(), "rgb24")
    frame = frame.reformat(
        format="yuv444p", dst_colorspace={1: "ITU709", 5: "ITU601", 9: 9}[matrix], dst_color_range=span
    )
    frame.colorspace, frame.color_range = matrix, span
    assert np.abs(upright.picture(frame, 1.0).astype(int) - scene()).max() <= 3, name


def test_what_is_written_is_tagged(tmp_path):
    clip = video.from_uint8(np.stack(scenes(3)))
    for name, matrix, span in (("a.mp4", 1, 1), ("a.mkv", 0, 2)):
        video.write(tmp_path / name, clip, 25)
        with av.open(str(tmp_path / name)) as file:
            frame = next(file.decode(video=0))
            assert (frame.colorspace, frame.color_range) == (matrix, span)
            assert (frame.color_primaries, frame.color_trc) == (1, 1)
        assert corners(read(tmp_path / name)[0].picture) == list(CORNERS)


def test_interlaced_frames_are_deinterlaced_and_told(tmp_path):
    fields = []
    for number in range(10):
        picture = scene(4 * number)
        picture[1::2] = scene(4 * number + 2)[1::2]  # the lower field is half a frame later
        fields.append(picture)
    path = encoded(tmp_path / "a.mp4", fields, options={"x264-params": "tff=1", "qp": "4"})
    found, lines = told(lambda: read(path))
    assert len(found) == 10 and probe(path).interlaced
    assert [frame.time for frame in found] == pytest.approx([k / 25 for k in range(10)])
    assert len(lines) == 1 and "a.mp4: is interlaced; it is deinterlaced" in lines[0]

    def combed(x: np.ndarray) -> float:
        rows = x[20:28].astype(int)
        return float(np.abs(rows[1:] - rows[:-1]).mean())

    assert combed(found[5].picture) < combed(fields[5]) / 2


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mov", "qtrle", "argb"),
        ("b.mov", "png", "rgba"),
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.mkv", "ffv1", "bgra"),
    ],
)
def test_what_is_transparent_shows_white(tmp_path, name, codec, pixels):
    picture = np.zeros((32, 48, 4), np.uint8)
    picture[..., 0], picture[:, 16:32, 3], picture[:, 32:, 3] = 200, 128, 255
    path = encoded(tmp_path / name, [picture] * 2, codec, pixels, layout="rgba")
    if codec == "libvpx-vp9":  # as browsers tell it
        with av.open(str(path)) as source, av.open(str(tmp_path / "b.webm"), "w") as file:
            copy = file.add_stream_from_template(source.streams.video[0])
            copy.metadata["alpha_mode"] = "1"
            for packet in source.demux():
                if packet.size:
                    packet.stream = copy
                    file.mux(packet)
        path = tmp_path / "b.webm"
    over = read(path)[0].picture[16, 8::16].astype(int)
    np.testing.assert_allclose(over, [[255] * 3, [227, 127, 127], [200, 0, 0]], atol=6)
    straight = read(path, alpha=True)[0].picture
    assert straight.shape == (32, 48, 4)
    np.testing.assert_allclose(straight[16, 8::16, 3], [0, 128, 255], atol=3)


# ---------------------------------------------------------------------------- a folder of frames


def test_a_folder_of_numbered_frames_is_a_clip(tmp_path):
    folder = tmp_path / "clip"
    (folder / "@eaDir").mkdir(parents=True)
    Image.fromarray(scene(50)).save(folder / "@eaDir" / "f_1.png")
    for number in (1, 2, 9, 10, 11):
        Image.fromarray(scene(number)).save(folder / f"f_{number}.png")
    (clip, fps), lines = told(lambda: video.read(folder))
    np.testing.assert_array_equal(video.to_uint8(clip), [scene(number) for number in (1, 2, 9, 10, 11)])
    assert fps == 25 and any("the first is number 3" in line for line in lines)
    timed = video.read_timed(folder, fps=10, cut=video.Cut(2, 1, 2))
    assert timed.times == pytest.approx([0.1, 0.3]) and timed.fps == 5 and timed.end == pytest.approx(0.5)
    assert (probe(folder).frames, probe(folder).size) == (5, (48, 64))
    Image.fromarray(scene()).save(folder / "cover.jpg")
    with pytest.raises(InputError, match=r"holds 5 frames as f_1.png, and cover.jpg"):
        video.read(folder)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="a folder without pictures"):
        video.read(tmp_path / "none")
    encoded(tmp_path / "none" / "a.mkv", scenes(2))
    with pytest.raises(InputError, match=r"a folder of clips; load.clips"):
        video.read(tmp_path / "none")
    with pytest.raises(InputError, match=r"a.mkv: has times of its own"):
        video.read_timed(encoded(tmp_path / "a.mkv", scenes(2)), fps=10)


# ------------------------------------------------------------------------- sound and what belongs


def with_sound(path: Path, subtitles: str | None = None, late: int = 0) -> Path:
    """2 s of pictures, and of noise that begins `late` samples before them; a line of text in its middle."""
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "A red corner"
        stream: Any = file.add_stream("libx264", Fraction(25), FAST["libx264"] | {"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        sound: Any = file.add_stream("aac", rate=44_100)
        text: Any = file.add_stream(subtitles) if subtitles else None
        if text:
            text.codec_context.subtitle_header = STYLE
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(scene(number), "rgb24")
            frame.pts, frame.time_base = number * 3600 + round(late * 90_000 / 44_100), Fraction(1, 90_000)
            stream.codec_context.time_base = Fraction(1, 90_000)
            file.mux(stream.encode(frame))
        for number in range(86):
            noise = np.random.default_rng(number).uniform(-0.5, 0.5, (1, 1024)).astype(np.float32)
            part = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
            part.sample_rate, part.pts, part.time_base = 44_100, 1024 * number, Fraction(1, 44_100)
            file.mux(sound.encode(part))
        file.mux([*stream.encode(None), *sound.encode(None)])
        if text:
            line = b"Hello"
            packet: Any = av.Packet(len(line).to_bytes(2, "big") + line if subtitles == "mov_text" else line)
            packet.stream, packet.time_base = text, Fraction(1, 1000)
            packet.pts = packet.dts = 800
            packet.duration = 400
            file.mux(packet)
    return path


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as file:
        streams = [stream for stream in file.streams if stream.type == kind]
        return [
            (float(packet.pts * packet.time_base), bytes(packet))
            for packet in (file.demux(streams[0]) if streams else [])
            if packet.size and packet.pts is not None
        ]


def again(source: Path, path: Path, cut: video.Cut | None = None) -> list[str]:
    """Read and write a clip with what belongs to it; the warnings."""
    clip = video.read_timed(source, cut=cut)
    origin = video.Origin(source, clip.times[0], clip.end, clip.whole)
    return told(
        lambda: video.write(path, clip.clip, clip.fps, times=[*clip.times, clip.end], origin=origin),
    )[1]


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "first"), [("mp4", 0), ("mkv", 1)])
def test_sound_and_title_travel_with_the_whole_clip(tmp_path, ending, first):
    source = with_sound(tmp_path / "a.mp4")
    assert again(source, tmp_path / f"b.{ending}") == []
    before, after = packets(source, "audio"), packets(tmp_path / f"b.{ending}", "audio")
    assert [data for _, data in before[first:]] == [data for _, data in after], "bit for bit; one before 0 may go"
    np.testing.assert_allclose([t for t, _ in before[first:]], [t for t, _ in after], atol=1e-3)
    with av.open(str(tmp_path / f"b.{ending}")) as file:
        assert file.metadata["title"] == "A red corner"
    assert video.read_timed(tmp_path / f"b.{ending}").times[1] == pytest.approx(0.04)


def test_sound_of_a_part_is_cut_to_its_time(tmp_path):
    source = with_sound(tmp_path / "a.mp4")
    assert again(source, tmp_path / "b.mp4", video.Cut(20, 10)) == []  # 0.4 s to 1.2 s
    after = packets(tmp_path / "b.mp4", "audio")
    known = {data: time for time, data in packets(source, "audio")}
    assert all(known[data] - time == pytest.approx(0.4, abs=2e-3) for time, data in after[2:-2])
    assert -0.03 < after[0][0] <= 0.01 and 0.77 < after[-1][0] < 0.8


@pytest.mark.slow
def test_sound_that_begins_before_the_pictures_stays_in_step(tmp_path):
    source = with_sound(tmp_path / "a.mp4", late=22_050)
    assert probe(source).start == pytest.approx(0.5, abs=0.03)
    assert again(source, tmp_path / "b.mp4") == []
    for path in (source, tmp_path / "b.mp4"):
        with av.open(str(path)) as file:
            first = next(file.decode(video=0)).time
            assert first is not None and first - packets(path, "audio")[1][0] == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "ending"), [("mov_text", "mkv"), ("subrip", "mp4"), ("mov_text", "mp4")])
def test_subtitles_travel_and_become_those_of_the_container(tmp_path, before, ending):
    source = with_sound(tmp_path / ("a.mp4" if before == "mov_text" else "a.mkv"), before)
    assert again(source, tmp_path / f"b.{ending}") == []
    lines = [(time, data) for time, data in packets(tmp_path / f"b.{ending}", "subtitle") if b"Hello" in data]
    assert len(lines) == 1 and lines[0][0] == pytest.approx(0.8, abs=0.05)
    assert lines[0][1].endswith(b"Hello") and (len(lines[0][1]) == 5) == (ending == "mkv")


@pytest.mark.slow
def test_what_cannot_travel_is_told_in_one_line(tmp_path):
    source = with_sound(tmp_path / "a.mkv", "ass")
    lines = again(source, tmp_path / "b.mp4")
    assert lines == ["b.mp4: without the subtitles (ssa), which this kind of file does not hold"]
    assert packets(tmp_path / "b.mp4", "audio")
    clip = video.from_uint8(np.stack(scenes(3)))
    gone = video.Origin(tmp_path / "gone.mp4", 0.0, 0.12, True)
    _, lines = told(lambda: video.write(tmp_path / "c.mp4", clip, 25, origin=gone))
    assert len(lines) == 1 and "c.mp4: without sound, subtitles and title, as" in lines[0]
    assert video.read(tmp_path / "c.mp4")[0].shape[1] == 3


# --------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(("height", "width"), [(8, 200), (200, 8), (2, 1000), (7, 9)])
def test_wide_narrow_and_odd_clips_are_written(tmp_path, height, width):
    clip = torch.rand(3, 3, height, width) * 2 - 1
    for ending in ("mp4", "mkv"):
        video.write(tmp_path / f"a.{ending}", clip, 25)
        assert video.read(tmp_path / f"a.{ending}")[0].shape[1] == 3


def test_frames_stream_into_a_file_that_appears_whole_or_not_at_all(tmp_path):
    source = encoded(tmp_path / "a.mkv", scenes(6), "ffv1", "bgr0")
    with writing(tmp_path / "b.mkv") as writer:
        for picture, time, duration in frames(source):
            writer.add(picture, time, duration)
        assert not (tmp_path / "b.mkv").exists()
    np.testing.assert_array_equal([frame.picture for frame in read(tmp_path / "b.mkv")], scenes(6))
    with pytest.raises(ValueError, match="same size"), writing(tmp_path / "c.mkv") as writer:
        deque(writer.add(picture, 0.0, 0.04) for picture in (scene(), scene(0, 40, 64)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv", "b.mkv"]


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_full_disk_is_an_error_of_the_disk_and_leaves_nothing(tmp_path, ending):
    clip = torch.rand(3, 12, 48, 64) * 2 - 1
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            video.write(tmp_path / f"a.{ending}", clip, 25)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
