"""One meaning of a mask in every file that people paint it into: for pictures and for clips."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.container import OutputContainer
from av.video.stream import VideoStream
from PIL import Image
from torch import Tensor

from data import images, masks, video
from data.errors import InputError

H, W = 12, 20
BOX = torch.zeros(H, W, dtype=torch.bool)
BOX[3:8, 5:11] = True
PAINT = np.where(BOX.numpy(), 255, 0).astype(np.uint8)


def still(path: Path, size: tuple[int, int] = (H, W), of: tuple[int, int] = (H, W), **options: Any) -> Tensor:
    return masks.still(path, of=of, size=size, **options)


def film(path: Path, times: list[float], of: tuple[int, int] = (H, W), **options: Any) -> Tensor:
    return torch.stack(list(masks.film(path, times, of=[of], size=(H, W), **options)))


def layer(colour: tuple[int, int, int]) -> Image.Image:
    rgba = np.zeros((H, W, 4), np.uint8)
    rgba[BOX.numpy()] = (*colour, 255)
    return Image.fromarray(rgba)


def palette(*colours: tuple[int, int, int], index: np.ndarray | None = None) -> Image.Image:
    image = Image.fromarray((PAINT // 255 if index is None else index).astype(np.uint8), "P")
    image.putpalette(np.array(colours, np.uint8).ravel().tolist())
    return image


KINDS: dict[str, Image.Image] = {
    "white.png": Image.fromarray(PAINT),
    "white.bmp": Image.fromarray(PAINT).convert("RGB"),
    "white.tif": Image.fromarray(PAINT),
    "white.jpg": Image.fromarray(PAINT),
    "white.webp": Image.fromarray(PAINT),
    "white.gif": Image.fromarray(PAINT),
    "bits.png": Image.fromarray(PAINT > 0),
    "deep.png": Image.fromarray(PAINT.astype(np.uint16) * 257),
    "float.tif": Image.fromarray(PAINT.astype(np.float32) / 255),
    "red.png": Image.fromarray(PAINT[..., None] * np.array([1, 0, 0], np.uint8)),
    "layer.png": layer((255, 255, 255)),
    "layer.tif": layer((255, 255, 255)),
    "layer_red.png": layer((255, 0, 0)),
    "layer_black.png": layer((0, 0, 0)),
    "ones.png": Image.fromarray(PAINT // 255),
    "labels.png": Image.fromarray(PAINT // 255 * 3),
    "davis.png": palette((0, 0, 0), (128, 0, 0)),
    "coloured.png": palette((68, 1, 84), (253, 231, 37)),
    "turned.gif": palette((255, 255, 255), (0, 0, 0), index=1 - PAINT // 255),
}


@pytest.mark.filterwarnings("ignore:.*(labels|brightest)")
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_picture_says_the_same_of_pictures_and_clips(tmp_path, name):
    KINDS[name].save(tmp_path / name, quality=95)
    hidden = still(tmp_path / name)
    lossy = name.endswith((".jpg", ".webp"))
    assert hidden.dtype == torch.bool and hidden[BOX].all(), "nothing is lost"
    assert (hidden & ~masks.dilated(BOX, 3)).sum() == 0 if lossy else torch.equal(hidden, BOX)
    assert torch.equal(film(tmp_path / name, [0.0, 0.5]), hidden.expand(2, H, W))


def test_labels_are_said(tmp_path):
    for name, words in (("davis.png", r"holds labels \(1\)"), ("ones.png", "its brightest level is 1 of 255")):
        KINDS[name].save(tmp_path / name)
        with pytest.warns(UserWarning, match=words):
            still(tmp_path / name)


@pytest.mark.filterwarnings("ignore:.*brightest")
def test_every_level_above_black_is_hidden_and_what_compression_adds_is_not(tmp_path):
    soft = np.zeros((H, W), np.uint8)
    soft[4, 3:9] = (1, 30, 128, 255, 90, 2)
    Image.fromarray(soft).save(tmp_path / "soft.png")
    assert torch.equal(still(tmp_path / "soft.png"), torch.from_numpy(soft > 0))
    big = np.kron(PAINT, np.ones((6, 6), np.uint8))
    Image.fromarray(big).save(tmp_path / "a.jpg", quality=60)
    assert np.asarray(Image.open(tmp_path / "a.jpg"))[big == 0].max() > 0, "there is noise to be told from paint"
    hidden = still(tmp_path / "a.jpg", big.shape, big.shape)
    assert hidden[torch.from_numpy(big > 0)].all() and hidden.float().mean() < (big > 0).mean() + 0.03


def test_inverted_and_dilated(tmp_path):
    Image.fromarray(255 - PAINT).save(tmp_path / "a.png")
    assert torch.equal(still(tmp_path / "a.png"), ~BOX)
    assert torch.equal(still(tmp_path / "a.png", invert=True), BOX)
    wide = BOX.clone()
    wide[1:10, 3:13] = True
    assert torch.equal(masks.dilated(BOX, 2), wide) and masks.dilated(BOX, 0) is BOX
    assert torch.equal(masks.dilated(BOX.expand(3, 1, H, W), 2), wide.expand(3, 1, H, W)), "frames do not mix"


def test_much_is_told():
    with pytest.warns(UserWarning, match=r"a.png: 93% of the clip is hidden; .* set hide.invert=true"):
        masks.tell_share("a.png", 0.93, "clip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masks.tell_share("a.png", 0.5, "clip")


# Geometry


@pytest.mark.parametrize("size", [(32, 32), (32, 48), (17, 29), (64, 96), (100, 150)])
def test_a_thin_scratch_hides_all_that_it_touches(tmp_path, size):
    """The law: a pixel is hidden where the picture, cut and shrunk, changes with what the scratch covers."""
    scratch = np.zeros((64, 96), np.uint8)
    for row in range(64):
        scratch[row, 12 + row] = 255
    Image.fromarray(scratch).save(tmp_path / "mask.png")
    rng = np.random.default_rng(0)
    first = rng.integers(40, 215, (64, 96, 3), np.uint8)
    pair = []
    for step in (0, 40):
        changed = first.copy()
        changed[scratch > 0] += np.uint8(step)
        images.write(tmp_path / "a.png", changed)
        pair.append(images.read(tmp_path / "a.png", size))
    expected = (pair[0] - pair[1]).abs().amax(0) > 1e-4
    assert torch.equal(still(tmp_path / "mask.png", size, (64, 96)), expected)


@pytest.mark.parametrize(("height", "width"), [(6, 10), (24, 40), (5, 8), (36, 60)])
def test_a_mask_of_the_same_shape_is_laid_over_and_loses_nothing(tmp_path, height, width):
    paint = np.zeros((height, width), np.uint8)
    paint[height // 2, width // 2] = 255
    Image.fromarray(paint).save(tmp_path / "a.png")
    hidden = still(tmp_path / "a.png")
    rows, columns = np.arange(H) / H * height, np.arange(W) / W * width
    inside = ((rows + height / H > height // 2 + 1e-9) & (rows < height // 2 + 1 - 1e-9))[:, None]
    inside = inside & ((columns + width / W > width // 2 + 1e-9) & (columns < width // 2 + 1 - 1e-9))
    assert torch.equal(hidden, torch.from_numpy(inside)) and hidden.any()


def test_another_shape_is_refused_with_both_sizes(tmp_path):
    Image.fromarray(PAINT[:, :H]).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a.png: is of 12x12 pixels, the picture of 20x12; give a mask of that size"):
        still(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"is of 12x12 pixels, the clip of 20x12"):
        film(tmp_path / "a.png", [0.0])
    squeezed = torch.stack(list(masks.film(tmp_path / "a.png", [0.0], of=[(H, W), (H, H)], size=(H, W))))
    assert squeezed.shape == (1, H, W), "it has the shape of the stored pixels"


# Clips


def moving(num: int) -> np.ndarray:
    """A column that moves a pixel a frame, uint8 [num, H, W, 3]."""
    paint = np.zeros((num, H, W, 3), np.uint8)
    for k in range(num):
        paint[k, :, k] = 255
    return paint


def saved(path: Path, paint: np.ndarray, fps: float) -> Path:
    video.write(path, video.from_uint8(paint), fps, lossless=path.suffix == ".mkv")
    return path


def columns(hidden: Tensor) -> list[list[int]]:
    return [frame.any(0).nonzero().flatten().tolist() for frame in hidden]


def test_frames_of_a_video_meet_the_clip_by_time(tmp_path):
    path = saved(tmp_path / "a.mkv", moving(10), 25)
    at = [k / 25 for k in range(10)]
    assert columns(film(path, at)) == [[k] for k in range(10)]
    assert columns(film(path, [k / 50 for k in range(20)])) == [[k // 2] for k in range(20)], (
        "each holds until the next"
    )
    assert columns(film(path, at[2::3])) == [[2], [5], [8]]
    assert columns(film(path, [0.0, 0.1, 0.101, 0.35])) == [[0], [2], [2], [8]], "a clip of uneven times"
    assert columns(film(path, [round(time, 3) for time in at])) == [[k] for k in range(10)], "in whole milliseconds"
    assert columns(film(path, [*at, 0.4])) == [*[[k] for k in range(10)], [9]], "the last one may last a frame longer"
    with pytest.raises(InputError, match=r"a.mkv: lasts 0.40 s, the clip's frames run to 0.80 s"):
        film(path, [0.0, 0.8])


def test_lossy_videos_hide_no_more_than_is_painted(tmp_path):
    paint = np.kron(moving(8), np.ones((1, 4, 4, 1), np.uint8))
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        assert isinstance(file, OutputContainer)
        stream = file.add_stream("libx264", 25, {"crf": "33"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = 4 * H, 4 * W, "yuv420p"
        for picture in paint:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode(None))
    of = (4 * H, 4 * W)
    hidden = torch.stack(list(masks.film(path, [k / 25 for k in range(8)], of=[of], size=of)))
    truth = torch.from_numpy(paint[..., 0] > 0)
    assert hidden[truth].float().mean() > 0.99 and (hidden & ~masks.dilated(truth, 4)).float().mean() < 0.01


def test_a_layer_that_moves_hides_what_is_painted(tmp_path):
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as file:
        assert isinstance(file, OutputContainer)
        stream = file.add_stream("qtrle", 25)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = H, W, "argb"
        for picture in moving(5):
            argb = np.concatenate([picture[..., :1], np.full_like(picture, 255)], -1)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(argb, "argb")))
        file.mux(stream.encode(None))
    assert columns(film(path, [k / 25 for k in range(5)])) == [[k] for k in range(5)]


def test_a_moving_gif_is_a_clip_and_no_picture(tmp_path):
    frames = [Image.fromarray(picture) for picture in moving(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100, loop=0)
    assert columns(film(tmp_path / "a.gif", [0.0, 0.1, 0.25, 0.3])) == [[0], [1], [2], [3]]
    with pytest.raises(InputError, match=r"a.gif: moves; the mask of a picture is a still"):
        still(tmp_path / "a.gif")
    saved(tmp_path / "a.mp4", moving(4), 25)
    with pytest.raises(InputError, match=r"a.mp4: moves"):
        still(tmp_path / "a.mp4")
    assert masks.white_frames(saved(tmp_path / "b.mkv", np.concatenate([0 * moving(2), moving(2)]), 25)) == [2, 3]


@pytest.mark.filterwarnings("ignore:.*(labels|brightest)")
def test_a_folder_of_numbered_pictures_masks_frame_by_frame(tmp_path):
    for k, picture in enumerate(moving(11)):
        palette((0, 0, 0), (128, 0, 0), index=picture[..., 0] // 255).save(tmp_path / f"mask{k}.png")
    times = [k / 25 for k in range(4)]
    assert columns(film(tmp_path, times, indices=[0, 1, 2, 3])) == [[0], [1], [2], [3]]
    assert columns(film(tmp_path, times, indices=[1, 4, 7, 10])) == [[1], [4], [7], [10]]
    assert columns(film(tmp_path, [k / 25 for k in range(11)], indices=range(100, 111))) == [[k] for k in range(11)]
    with pytest.raises(InputError, match="holds 11 pictures, the clip has 4 frames"):
        film(tmp_path, times, indices=[40, 41, 42, 43])


def test_what_cannot_be_read_is_told(tmp_path):
    (tmp_path / "bad.png").write_text("not a picture")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    Image.fromarray(PAINT).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-30])
    for name, words in (
        ("none.png", "no such file"),
        ("bad.png", "bad.png: not a"),
        ("a.heic", "HEIC is not read; save it as png"),
        ("cut.png", "cut.png: damaged or cut short"),
    ):
        with pytest.raises(InputError, match=words) as told:
            film(tmp_path / name, [0.0])
        assert "\n" not in str(told.value)
