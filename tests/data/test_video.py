"""Reading and writing video: exact round trips, geometry, the right frames, and every bad input."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from data import containers, decoding, masks, probing, video
from data import frames as geometry
from data.errors import InputError

REAL = Path(__file__).parents[3] / "shared" / "data" / "video"


def noise(frames: int, height: int, width: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return video.from_uint8(rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8))


def smooth(frames: int, height: int, width: int) -> torch.Tensor:
    t, y, x = torch.meshgrid(*(torch.arange(n) for n in (frames, height, width)), indexing="ij")
    waves = [(0.2 * (x + t)), (0.15 * y - 0.3 * t), (0.1 * (x - y) + 1)]
    return 0.8 * torch.stack([wave.sin() for wave in waves])


def numbered(frames: int, height: int = 16, width: int = 16) -> torch.Tensor:
    """Frame i is grey of level 5 i."""
    levels = np.broadcast_to(5 * np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, height, width, 3))
    return video.from_uint8(levels)


def numbers(clip: torch.Tensor) -> list[int]:
    return [round(float(level) / 5) for level in video.to_uint8(clip).mean((1, 2, 3))]


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(10 * torch.log10(4 / (a - b).square().mean()))


def saved(path: Path, clip: torch.Tensor, fps: float = 25) -> Path:
    video.write(path, clip, fps)
    return path


# Round trips


def test_bytes_and_clip_are_the_same_thing():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    clip = video.from_uint8(levels)
    assert clip.shape == (3, 1, 16, 16)
    assert (clip.min(), clip.max()) == (-1, 1)
    np.testing.assert_array_equal(video.to_uint8(clip), levels)
    np.testing.assert_array_equal(video.to_uint8(clip * 3), video.to_uint8((clip * 3).clamp(-1, 1)))
    with pytest.raises(ValueError, match="NaN"):
        video.to_uint8(clip * torch.nan)


@pytest.mark.parametrize(("height", "width"), [(16, 24), (7, 5), (2, 2)])
def test_lossless_gives_back_every_byte(tmp_path, height, width):
    clip = noise(5, height, width)
    video.write(tmp_path / "a.mkv", clip, 30_000 / 1001, lossless=True)
    back, fps = video.read(tmp_path / "a.mkv")
    assert torch.equal(back, clip)
    assert fps == pytest.approx(30_000 / 1001, rel=1e-4)
    assert torch.equal(video.read(tmp_path / "a.mkv", size=(height, width))[0], clip)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (33, 47)])
def test_mp4_is_close_and_plays_in_browsers(tmp_path, height, width):
    clip = smooth(10, height, width)
    path = saved(tmp_path / "a.mp4", clip, fps=30_000 / 1001)
    back, fps = video.read(path)
    assert back.shape[2:] == (height + height % 2, width + width % 2)
    assert psnr(back[..., :height, :width], clip) > 32
    assert (back[..., height - 1, :] - back[..., -1, :]).abs().max() < 0.15  # a copy, no black line
    assert fps == pytest.approx(30_000 / 1001, rel=1e-6)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.frames == 10


@pytest.mark.slow
def test_gif_keeps_frames_and_time(tmp_path):
    path = saved(tmp_path / "a.gif", smooth(30, 17, 20), fps=30)
    back, _ = video.read(path)
    assert back.shape == (3, 30, 17, 20)
    assert psnr(back, smooth(30, 17, 20)) > 25
    with Image.open(path) as image:
        durations = []
        for frame in range(30):
            image.seek(frame)
            durations.append(image.info["duration"])
    assert sum(durations) == 1000


def test_write_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.mkv", numbered(4))
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        video.write(path, numbered(9), 25)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "fps", "lossless"),
    [
        ("a.wmv", 25, False),
        ("a.mp4", 25, True),
        ("a.mp4", 0, False),
        ("a.mp4", float("nan"), False),
    ],
)
def test_write_refuses(tmp_path, name, fps, lossless):
    with pytest.raises(InputError, match=name):
        video.write(tmp_path / name, numbered(3), fps, lossless=lossless)
    assert not list(tmp_path.iterdir())


# Geometry and time


@pytest.mark.parametrize("source", [(40, 64), (64, 40), (41, 63), (200, 90)])
@pytest.mark.parametrize("size", [(32, 32), (24, 48), (17, 13), (80, 80)])
def test_crop_keeps_the_centre_and_the_shape(source, size):
    height, width = source
    y, x = np.mgrid[:height, :width] + 0.5
    ramps = np.stack([y - height / 2, x - width / 2, np.ones_like(x)], -1)
    rows, columns, ones = geometry.resample(ramps, size, crop=True)
    assert torch.allclose(ones, torch.ones(size), atol=1e-5)
    scale = min(height / size[0], width / size[1])
    # A pixel cut by a border lends its one value to both sides: an eighth of a pixel at most.
    inner = (slice(1, -1), slice(1, -1))
    expected_y = (torch.arange(size[0]) + 0.5 - size[0] / 2) * scale
    expected_x = (torch.arange(size[1]) + 0.5 - size[1] / 2) * scale
    assert (rows - expected_y[:, None])[inner].abs().max() < 0.13
    assert (columns - expected_x)[inner].abs().max() < 0.13
    assert torch.allclose(rows, -rows.flip(0), atol=1e-4)
    assert torch.allclose(columns, -columns.flip(1), atol=1e-4)


def test_squeeze_shows_everything():
    picture = np.zeros((30, 90, 3), np.uint8)
    picture[:, :10] = picture[:, -10:] = 255
    squeezed = geometry.resample(picture, (18, 18), crop=False)[0]
    assert torch.allclose(squeezed[:, [0, 1, -2, -1]], torch.full((18, 4), 255.0))
    assert squeezed[:, 2:-2].abs().max() < 1e-3
    assert geometry.resample(picture, (18, 18), crop=True).abs().max() < 1e-3


def test_shrinking_is_the_mean_of_the_area():
    picture = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    expected = picture.reshape(8, 3, 12, 3, 3).mean((1, 3))
    shrunk = geometry.resample(picture, (8, 12), crop=True).permute(1, 2, 0)
    np.testing.assert_allclose(shrunk, expected, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, list(range(20))),
        ({"frames": 4}, [0, 1, 2, 3]),
        ({"start": 15}, [15, 16, 17, 18, 19]),
        ({"start": 3, "stride": 4, "frames": 3}, [3, 7, 11]),
        ({"start": 1, "stride": 6}, [1, 7, 13, 19]),
        ({"start": 11, "stride": 2, "frames": 5}, [11, 13, 15, 17, 19]),
    ],
)
@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_start_and_stride_pick_the_frames(tmp_path, options, expected, ending):
    clip, fps = video.read(saved(tmp_path / f"a.{ending}", numbered(20)), size=8, **options)
    assert numbers(clip) == expected
    assert fps == pytest.approx(25 / options.get("stride", 1))


def test_rotation_of_the_file_is_applied(tmp_path):
    clip = smooth(3, 32, 48)
    path = saved(tmp_path / "a.mp4", clip)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44  # a quarter turn clockwise, as phones write it
    one = 65536
    data[matrix : matrix + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 32 * one, 0, 1 << 30)
    path.write_bytes(data)
    back, _ = video.read(path)
    assert psnr(back, clip.rot90(-1, (2, 3))) > 30


# Bad input: one line each


def refused(path: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        video.read(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_no_video_at_all(tmp_path):
    assert "no such file" in refused(tmp_path / "absent.mp4")
    assert "folder" in refused(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert "0 bytes" in refused(tmp_path / "empty.mp4")
    saved(tmp_path / "a.mp4", numbered(4))
    for name, text in {
        "text.mp4": "hello\n" * 100,
        "script.mp4": "ffconcat version 1.0\nfile a.mp4\n",
        "list.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n",
    }.items():
        (tmp_path / name).write_text(text)
        assert f"{name}: not a video" in refused(tmp_path / name)


def test_sound_only(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44_100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 44_100
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))
    assert "only sound" in refused(path)


def test_too_few_frames(tmp_path):
    assert "at least 2" in refused(saved(tmp_path / "one.mkv", numbered(1)))
    path = saved(tmp_path / "ten.mkv", numbered(10))
    assert "10 frames" in (message := refused(path, frames=12))
    assert "frames=10" in message
    assert "frames=3" in refused(path, frames=5, start=1, stride=4)
    assert "10 frames" in refused(path, start=9)
    assert "10 frames" in refused(path, start=50, frames=2)


@pytest.mark.parametrize("ending", ["mkv", "avi"])
def test_truncated(tmp_path, ending):
    whole = tmp_path / f"whole.{ending}"
    with av.open(str(whole), "w") as file:
        stream = file.add_stream("ffv1", Fraction(25))
        stream.width = stream.height = 32
        stream.pix_fmt = "bgr0"
        for picture in video.to_uint8(noise(20, 32, 32)):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode(None))
    path = tmp_path / f"part.{ending}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    clip, _ = video.read(path, frames=6)  # enough is left
    assert torch.equal(clip, noise(20, 32, 32)[:, :6])
    for options in ({}, {"frames": 20}):
        message = refused(path, **options)
        assert "of 20" in message
        assert "cut short" in message


def test_picture_sizes(tmp_path, monkeypatch):
    assert video.read(saved(tmp_path / "odd.mkv", noise(2, 7, 9)), size=5)[0].shape == (3, 2, 5, 5)
    assert "1x1" in refused(saved(tmp_path / "dot.mkv", noise(3, 1, 1)))
    large = saved(tmp_path / "large.mkv", noise(2, 40, 50))
    monkeypatch.setattr(containers, "MAX_PIXELS", 1999)
    assert "50x40 pixels are too many" in refused(large)
    # A header that lies about the size: the decoder itself refuses.
    for module in (containers, decoding):
        monkeypatch.setattr(module, "check_picture", lambda *_: None)
    assert "0 frames" in refused(large)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"start": -1}, "start=-1"),
        ({"stride": 0}, "stride=0"),
        ({"frames": 1}, "frames=1"),
        ({"frames": 0}, "frames=0"),
        ({"size": 0}, "size=0"),
        ({"size": (64, -3)}, "-3"),
        ({"size": 10_000}, "8192"),
        ({"size": 8192, "frames": 9}, "GiB"),
        ({"size": 8192}, "GiB"),
    ],
)
def test_values_out_of_range(tmp_path, options, word):
    assert word in refused(saved(tmp_path / "a.mkv", numbered(9)), **options)


# Real clips


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the shared clips are not at {REAL}")
@pytest.mark.parametrize("name", ["flag2.avi", "fire_pot.avi", "stream-of-water.mp4"])
def test_real_clips(name):
    clip, fps = video.read(REAL / name, size=64, frames=8, start=3, stride=2)
    assert clip.shape == (3, 8, 64, 64)
    assert 12 < fps < 16
    assert clip.std() > 0.2


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the shared clips are not at {REAL}")
def test_real_mask():
    _, fps = video.read(REAL / "boats_input.mp4", size=(48, 64), frames=4, start=80)
    times, of = [(80 + k) / fps for k in range(4)], [probing.probe(REAL / "boats_input.mp4").size]
    hidden = torch.stack(list(masks.film(REAL / "boats_mask.mp4", times, of=of, size=(48, 64))))
    assert hidden.shape == (4, 48, 64)
    assert 0.03 < hidden.float().mean() < 0.15
