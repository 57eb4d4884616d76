"""Reading pictures of every kind, with the levels each must have; data sets of them; and every bad input."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from data import hub, images, packing, pictures, scenes
from data.errors import InputError

REAL = Path(__file__).parents[3] / "shared" / "data" / "images"
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
CLEAR = (255, 255, 255)  # what shows where a picture is transparent


def bytes_of(x: torch.Tensor) -> np.ndarray:
    """[H, W, C], exact: a level between two bytes fails."""
    levels = (x.permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(levels - levels.round()).max() < 1e-3
    return levels.round().astype(np.uint8)


def saved(path: Path, picture: np.ndarray | Image.Image, **options) -> Path:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(path, **options)
    return path


def refused(call, *args, **options) -> str:
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    for folder in (str(arg.parent) for arg in args if isinstance(arg, Path)):
        message = message.replace(folder + "/", "")  # pytest puts the case's own words into the folder's name
    return message


# Reading


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.tga"])
def test_rgb_is_read_as_it_is(tmp_path, name):
    x = images.read(saved(tmp_path / name, NOISE))
    assert x.dtype == torch.float32 and x.shape == (3, 6, 9) and x.is_contiguous()
    np.testing.assert_array_equal(bytes_of(x), NOISE)


def test_jpeg_and_webp_are_close(tmp_path):
    y, x = np.mgrid[:32, :48]
    smooth = np.stack([4 * x, 6 * y, 2 * (x + y)], -1).astype(np.uint8)
    for path in (saved(tmp_path / "a.jpg", smooth, quality=95), saved(tmp_path / "a.webp", smooth, quality=95)):
        error = np.abs((images.read(path).permute(1, 2, 0).numpy() + 1) * 127.5 - smooth)
        assert error.mean() < 3


def test_grey_and_colour(tmp_path):
    grey = saved(tmp_path / "grey.png", NOISE[..., 0])
    np.testing.assert_array_equal(bytes_of(images.read(grey)), NOISE[..., :1].repeat(3, 2))
    np.testing.assert_array_equal(bytes_of(images.read(grey, channels=1)), NOISE[..., :1])
    luma = images.read(saved(tmp_path / "rgb.png", NOISE), channels=1)
    assert luma.shape == (1, 6, 9)
    expected = torch.from_numpy((NOISE @ np.array([0.299, 0.587, 0.114])) / 127.5 - 1)
    assert torch.allclose(luma[0], expected.float(), atol=1e-5)


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_the_rotation_noted_in_the_file_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", NOISE, exif=exif)
    np.testing.assert_array_equal(bytes_of(images.read(path)), TURNS[orientation](NOISE))


def test_transparent_is_white_and_hidden_colours_stay_hidden(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [(200, 10, 30, 255), (200, 10, 30, 0), (0, 100, 255, 51)]  # 51 is a fifth
    expected = np.array([[(200, 10, 30), CLEAR, (204, 224, 255)]], np.uint8)
    np.testing.assert_array_equal(bytes_of(images.read(saved(tmp_path / "rgba.png", rgba))), expected)
    grey_alpha = np.array([[(90, 255), (90, 0), (0, 51)]], np.uint8)
    grey = bytes_of(images.read(saved(tmp_path / "la.png", Image.fromarray(grey_alpha, "LA")), channels=1))
    np.testing.assert_array_equal(grey[..., 0], [[90, 255, 204]])


def test_a_declared_transparent_colour_is_white(tmp_path):
    rgb = np.array([[(200, 10, 30), (1, 2, 3)]], np.uint8)
    path = saved(tmp_path / "rgb.png", rgb, transparency=(1, 2, 3))
    np.testing.assert_array_equal(bytes_of(images.read(path)), [[(200, 10, 30), CLEAR]])
    deep = np.array([[257 * 40, 257 * 90]], np.uint16)
    path = saved(tmp_path / "deep.png", deep, transparency=257 * 90)
    np.testing.assert_array_equal(bytes_of(images.read(path, channels=1))[..., 0], [[40, 255]])


@pytest.mark.parametrize(("transparency", "last"), [(None, (7, 8, 9)), (2, CLEAR), (b"\xff\xff\x00", CLEAR)])
@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_palettes(tmp_path, name, transparency, last):
    if name == "a.gif" and isinstance(transparency, bytes):
        pytest.skip("a gif has one transparent entry")
    image = Image.fromarray(np.array([[0, 1, 2, 2]], np.uint8)).convert("P")
    image.putpalette([200, 10, 30, 0, 255, 0, 7, 8, 9])
    options = {} if transparency is None else {"transparency": transparency}
    x = images.read(saved(tmp_path / name, image, **options))
    np.testing.assert_array_equal(bytes_of(x), [[(200, 10, 30), (0, 255, 0), last, last]])


def test_one_bit(tmp_path):
    bits = np.array([[True, False, True]])
    for name in ("a.png", "a.tif", "a.pbm"):
        x = images.read(saved(tmp_path / name, Image.fromarray(bits)), channels=1)
        np.testing.assert_array_equal(x[0], [[1, -1, 1]])


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, name):
    deep = np.array([[0, 255, 256, 32_768, 65_535]], np.uint16)
    x = images.read(saved(tmp_path / name, deep), channels=1)
    assert torch.allclose(x[0, 0], torch.from_numpy(deep[0] / 32_767.5 - 1).float(), atol=1e-6)


def test_sixteen_bits_of_colour(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", (NOISE.astype(np.uint16) * 257), photometric="rgb")
    np.testing.assert_array_equal(bytes_of(images.read(tmp_path / "a.tif")), NOISE)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3)])
def test_floats_run_from_black_0_to_white_1(tmp_path, kind, shape):
    values = np.linspace(0, 1, int(np.prod(shape))).reshape(shape).astype(kind)
    options = {"photometric": "minisblack" if len(shape) == 2 else "rgb"}
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    x = images.read(tmp_path / "a.tif", channels=1 if len(shape) == 2 else 3)
    expected = torch.from_numpy(values.astype(np.float32) * 2 - 1).reshape(2, 3, -1).permute(2, 0, 1)
    assert torch.allclose(x, expected, atol=1e-6)
    for bad, word in ((np.nan, "NaN"), (1.5, "1.5"), (-0.5, "-0.5")):
        values.flat[1] = bad
        tifffile.imwrite(tmp_path / "a.tif", values, **options)
        assert word in refused(images.read, tmp_path / "a.tif")


@pytest.mark.parametrize("kind", [np.int32, np.uint32, np.int16])
def test_numbers_without_a_white_are_refused(tmp_path, kind):
    tifffile.imwrite(tmp_path / "a.tif", np.full((3, 3), 1000, kind))
    assert "8 or 16 bits" in refused(images.read, tmp_path / "a.tif")


def test_printing_inks(tmp_path):
    inks = np.array([[(255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 0), (0, 0, 0, 255)]], np.uint8)
    expected = np.array([[(0, 255, 255), (255, 0, 0), (255, 255, 255), (0, 0, 0)]])
    image = Image.fromarray(inks, "CMYK")
    np.testing.assert_array_equal(bytes_of(images.read(saved(tmp_path / "a.tif", image))), expected)
    big = image.resize((32, 8), Image.Resampling.NEAREST)
    x = images.read(saved(tmp_path / "a.jpg", big, quality=100))[:, 4, 4::8]  # [3, 4]
    assert np.abs((x.T.numpy() + 1) * 127.5 - expected[0]).max() < 6


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "lime", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        options = {"lossless": True} if name == "a.webp" else {}
        path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], **options)
        assert (bytes_of(images.read(path)) == [255, 0, 0]).all()


def test_size_crops_the_centre_and_averages(tmp_path):
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = RNG.integers(0, 256, (4, 4, 3))
    path = saved(tmp_path / "a.png", wide)
    means = wide[:, 4:8].reshape(2, 2, 2, 2, 3).mean((1, 3)) / 127.5 - 1
    np.testing.assert_allclose(images.read(path, size=2).permute(1, 2, 0), means, atol=1e-5)
    assert images.read(path, size=(4, 6), channels=1).shape == (1, 4, 6)
    assert images.read(path, size=40).abs().max() <= 1


@pytest.mark.parametrize("picture", [NOISE, NOISE[..., :1]])
def test_what_is_written_is_read(tmp_path, picture):
    x = torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1
    images.write(tmp_path / "a.png", x)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == ("RGB" if len(x) == 3 else "L")
    assert torch.equal(images.read(tmp_path / "a.png", channels=len(x)), x)
    images.write(tmp_path / "a.png", x * 9)  # clipped
    assert (images.read(tmp_path / "a.png", channels=len(x)) - (x * 9).clamp(-1, 1)).abs().max() < 1 / 255 + 1e-6
    assert "a.jpg" in refused(images.write, tmp_path / "a.jpg", x)
    for bad, word in ((x * torch.nan, "NaN"), (x[0], "C, H, W"), (torch.zeros(2, 4, 4), "C, H, W")):
        with pytest.raises(ValueError, match=word):
            images.write(tmp_path / "b.png", bad)


# Bad pictures: one line each


def test_no_picture_at_all(tmp_path):
    assert "no such file" in refused(images.read, tmp_path / "absent.png")
    assert "folder" in refused(images.read, tmp_path)
    (tmp_path / "empty.png").touch()
    assert "0 bytes" in refused(images.read, tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("hello\n" * 100)
    assert "text.png: not a picture" in refused(images.read, tmp_path / "text.png")
    (tmp_path / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    assert "PostScript is not read" in refused(images.read, tmp_path / "script.png")  # never handed to Ghostscript


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.bmp", "a.tif", "a.webp"])
@pytest.mark.parametrize("share", [0.02, 0.6, 0.9])
def test_truncated(tmp_path, name, share):
    large = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = saved(tmp_path / name, large)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    message = refused(images.read, path)
    assert name in message
    assert share < 0.1 or name == "a.webp" or "cut short" in message


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    parts = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(9000, 9000), (12_000, 9000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_by_their_header(tmp_path, size):
    (tmp_path / "a.png").write_bytes(png_header(*size))
    assert "too many" in refused(images.read, tmp_path / "a.png")  # not "damaged": it never came to that


def test_a_float_tiff_bomb_is_refused_by_its_header(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20, 3)), photometric="rgb")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 200)
    assert "20x20 pixels are too many" in refused(images.read, tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("options", "word"),
    [({"size": 1}, "size=1"), ({"size": (8, 10_000)}, "8192"), ({"channels": 2}, "channels=2")],
)
def test_values_out_of_range(tmp_path, options, word):
    path = saved(tmp_path / "a.png", NOISE)
    assert word in refused(images.read, path, **options)
    assert word in refused(images.open_dataset, path, **options)


# Data sets: folders and files


@pytest.fixture
def folder(tmp_path):
    """cat: a, then deeper/b; dog: c. Each picture is of one grey: 10, 20, 30."""
    root = tmp_path / "photos"
    for level, name in ((30, "dog/c.png"), (10, "cat/a.PNG"), (20, "cat/deeper/b.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        saved(root / name, np.full((4, 4, 3), level, np.uint8))
    return root


def greys(x: torch.Tensor) -> list[int]:
    return [round((float(one.mean()) + 1) * 127.5) for one in x]


def same_rows(source, **options) -> None:
    """The law of streaming: the same rows, in the same order, of the same columns."""
    at_once = images.open_dataset(source, **options)
    stream = images.open_dataset(source, **options, streaming=True)
    assert stream.features == at_once.features
    assert list(stream) == list(at_once)


@pytest.mark.slow
def test_folders_are_classes(folder):
    (folder / "cat" / "notes.txt").write_text("not a picture")
    (folder / "list.csv").write_text("nor this")
    (folder / ".hidden.png").write_text("hidden files do not count")
    with pytest.warns(UserWarning, match="2 files that are not pictures are left out .*; 1 hidden one is left out"):
        dataset = images.open_dataset(folder)
    x, labels = images.tensors(dataset)
    assert x.dtype == torch.float32 and x.shape == (3, 3, 4, 4) and labels.dtype == torch.int64
    assert (greys(x), labels.tolist()) == ([10, 20, 30], [0, 0, 1])
    assert dataset.features["label"].names == ["cat", "dog"]
    assert images.tensors(images.open_dataset(folder, channels=1))[0].shape == (3, 1, 4, 4)
    same_rows(folder, size=3)


def test_a_stream_is_shared_out_between_processes(folder):
    from datasets.distributed import split_dataset_by_node

    stream = images.open_dataset(folder, streaming=True)
    parts = [list(split_dataset_by_node(stream, rank, 2)) for rank in range(2)]
    assert all(parts) and sorted(row["image"] for part in parts for row in part) == [row["image"] for row in stream]


def test_classes_are_in_order_and_grey_files_are_coloured(tmp_path):
    names = ["b", "a", "10", "2", "Z", "y", "x"]
    for level, name in enumerate(names):
        (tmp_path / name).mkdir()
        saved(tmp_path / name / "a.png", np.full((4, 4), level, np.uint8))
    dataset = images.open_dataset(tmp_path)
    assert dataset.features["label"].names == sorted(names)
    x, labels = images.tensors(dataset)
    assert x.shape == (7, 3, 4, 4)
    assert [names[level] for level in greys(x)] == [sorted(names)[label] for label in labels]


def test_folders_without_classes(folder):
    dataset = images.open_dataset(folder / "cat" / "deeper")
    assert dataset.column_names == ["image"]
    assert images.tensors(dataset)[1] is None
    same_rows(folder / "cat" / "deeper")
    assert "a.PNG" in refused(images.open_dataset, folder / "cat")  # beside a folder


def test_folders_of_splits(folder):
    for name in ("train", "test"):
        (folder.parent / "set" / name).mkdir(parents=True)
    (folder / "dog").rename(folder.parent / "set" / "train" / "dog")
    (folder / "cat").rename(folder.parent / "set" / "test" / "cat")
    for split, expected in ((None, [30]), ("train", [30]), ("test", [10, 20])):
        assert greys(images.tensors(images.open_dataset(folder.parent / "set", split=split))[0]) == expected
    assert "'valid'" in refused(images.open_dataset, folder.parent / "set", split="valid")


def test_bad_folders(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no pictures (0 other" in refused(images.open_dataset, tmp_path / "empty")
    saved(folder / "dog" / "d.png", np.zeros((5, 4, 3), np.uint8))
    dataset = images.open_dataset(folder)
    assert "[5, 4" in refused(images.tensors, dataset)
    assert "[5, 4" in refused(images.batch, dataset, [0, 3])
    assert images.batch(dataset, [3])[0].shape == (1, 3, 5, 4)
    assert images.tensors(images.open_dataset(folder, size=4))[0].shape == (4, 3, 4, 4)
    (folder / "dog" / "e.png").write_text("text")
    assert "e.png: not a picture" in refused(images.open_dataset, folder)
    assert "e.png: not a picture" in refused(list, images.open_dataset(folder, streaming=True))


def test_one_picture(tmp_path):
    path = saved(tmp_path / "a.png", NOISE)
    x, labels = images.tensors(images.open_dataset(path))
    assert labels is None
    np.testing.assert_array_equal(bytes_of(x[0]), NOISE)
    same_rows(path)
    assert "split" in refused(images.open_dataset, path, split="train")


@pytest.mark.parametrize("name", ["absent.png", "./absent", "/absent/folder", "a/b/c", "photos/cat.npz"])
def test_paths_that_are_not_there(name):
    assert f"{name}: no such file or folder; check" in refused(images.open_dataset, name)
    assert f"{Path(name).name}: no such file or folder; check" in refused(
        images.open_dataset, Path("/not-there") / name
    )


def test_memory_is_limited(folder, monkeypatch):
    monkeypatch.setattr(packing, "MAX_BYTES", 100)
    assert "stream" in refused(images.open_dataset, folder)
    assert "stream" in refused(images.open_dataset, "scenes", num=10)


# Tensors


@pytest.mark.slow
def test_all_some_and_collated_agree():
    dataset = images.open_dataset("scenes", num=5000, seed=3)  # more than one step
    x, labels = images.tensors(dataset)
    assert x.shape == (5000, 3, 24, 24) and x.is_contiguous()
    rows = torch.tensor([4999, 0, 7, 7])
    for part, some in (images.batch(dataset, rows), images.collate([dataset[int(row)] for row in rows])):
        assert torch.equal(part, x[rows]) and torch.equal(some, labels[rows])
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    shuffled = images.tensors(dataset.select(order.tolist()))
    assert torch.equal(shuffled[0], x[order]) and torch.equal(shuffled[1], labels[order])
    assert torch.equal(images.tensors(dataset, label="colour")[1], torch.tensor(dataset["colour"]))
    assert "no column 'hue'" in refused(images.tensors, dataset, label="hue")
    assert "labels must be" in refused(images.tensors, dataset, label="image")
    assert "empty" in refused(images.tensors, dataset.select([]))
    assert "empty" in refused(images.batch, dataset, [])
    assert images.tensors(dataset, label=None)[1] is None and images.batch(dataset, [0], label=None)[1] is None
    with pytest.raises(IndexError):
        images.batch(dataset, [5000])


def test_pictures_in_the_column_are_files_that_anything_opens():
    row = images.open_dataset("scenes", num=1)[0]
    with Image.open(io.BytesIO(row["image"])) as image:
        assert image.format == "PPM"
        np.testing.assert_array_equal(np.asarray(image), images.to_uint8(scenes.scenes(1)[0][0]))


def test_foreign_columns_are_refused():
    from datasets import Dataset

    for column in ([b"what"], ["text"], [b"P5\n2 2\n255\nabc"], [None]):
        assert "open_dataset" in refused(images.tensors, Dataset.from_dict({"image": column}))


# Embedded data


@pytest.mark.slow
def test_digits():
    x, labels = images.tensors(images.open_dataset())
    assert x.shape == (1797, 1, 8, 8) and (x.min(), x.max()) == (-1, 1)
    assert labels.bincount().min() > 170 and len(labels.bincount()) == 10
    zeros, ones = x[labels == 0].mean(0)[0], x[labels == 1].mean(0)[0]
    assert zeros[3:5, 3:5].mean() < -0.8 and ones[3:5, 3:5].mean() > 0.2  # a hole, a stroke
    same_rows("digits", size=16, channels=3)
    large = images.tensors(images.open_dataset(size=16))[0]
    shrunk = torch.nn.functional.avg_pool2d(large, 2)
    assert large.shape == (1797, 1, 16, 16)
    assert torch.corrcoef(torch.stack([shrunk.flatten(), x.flatten()]))[0, 1] > 0.95
    assert "no splits" in refused(images.open_dataset, "digits", split="test")
    assert "scenes only" in refused(images.open_dataset, "digits", num=10)


def test_scenes_as_a_data_set():
    dataset = images.open_dataset("scenes", num=3000, size=16, seed=5)
    x, labels = scenes.scenes(3000, 16, 5)
    assert (images.tensors(dataset)[0] - x).abs().max() < 1 / 255 + 1e-6
    for name, values in scenes.ATTRIBUTES.items():
        assert dataset.features[name].names == list(values)
        assert torch.equal(images.tensors(dataset, label=name)[1], labels[name])
    assert torch.equal(images.tensors(dataset)[1], labels["shape"])
    same_rows("scenes", num=100)
    assert "square" in refused(images.open_dataset, "scenes", size=(16, 24))
    assert "num=0" in refused(images.open_dataset, "scenes", num=0)


# IDX and NPZ


def idx(array: np.ndarray, kind: int = 8, shape: tuple[int, ...] | None = None) -> bytes:
    shape = shape or array.shape
    return struct.pack(f">4B{len(shape)}I", 0, 0, kind, len(shape), *shape) + array.tobytes()


STACK = RNG.integers(0, 256, (7, 5, 4), dtype=np.uint8)
RGB = RNG.integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)
SEVEN = np.array([3, 0, 1, 3, 2, 0, 1], np.uint8)


@pytest.mark.parametrize("pattern", ["train-{}-{}-ubyte", "train-{}.{}-ubyte", "emnist-train-{}-{}-ubyte"])
@pytest.mark.parametrize("zipped", [(True, True), (False, False), (True, False)])
def test_idx_round_trip(tmp_path, pattern, zipped):
    parts = ((pattern.format("images", "idx3"), STACK), (pattern.format("labels", "idx1"), SEVEN))
    paths = []
    for (name, array), pack in zip(parts, zipped, strict=True):
        paths.append(tmp_path / (name + ".gz" if pack else name))
        paths[-1].write_bytes(gzip.compress(idx(array)) if pack else idx(array))
    dataset = images.open_dataset(paths[0])
    x, labels = images.tensors(dataset)
    np.testing.assert_array_equal(bytes_of(x[:, 0]), STACK.transpose(1, 2, 0))
    assert labels.tolist() == SEVEN.tolist() and dataset.features["label"].names == ["0", "1", "2", "3"]
    same_rows(paths[0])
    paths[1].unlink()
    assert images.tensors(images.open_dataset(paths[0]))[1] is None


def test_idx_folder_and_splits(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(STACK))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(STACK[:2]))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(SEVEN[:2]))
    for split, num in ((None, 7), ("train", 7), ("test", 2)):
        assert len(images.open_dataset(tmp_path, split=split)) == num
    assert "'valid'" in refused(images.open_dataset, tmp_path, split="valid")


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (idx(STACK)[:-1], "holds 139"),
        (idx(STACK) + b"x", "holds more"),
        (idx(STACK, shape=(70, 5, 4)), "70x5x4"),
        (idx(STACK, shape=(2**31, 2**10, 2**10)), "GiB"),
        (idx(STACK[:0]), "holds nothing"),
        (idx(STACK.astype(np.float32), kind=13), "0x0d"),
        (idx(SEVEN), "labels"),
        (idx(STACK[0]), "[n, H, W]"),
        (idx(STACK)[:9], "cut short"),
        (gzip.compress(idx(STACK))[:-30], "cut short"),
        (b"hello, this is text", "not an IDX"),
        (b"", "0 bytes"),
    ],
)
def test_bad_idx(tmp_path, data, word):
    (tmp_path / "x-images-idx3-ubyte").write_bytes(data)
    assert word in refused(images.open_dataset, tmp_path / "x-images-idx3-ubyte")


def test_bad_idx_labels(tmp_path):
    (tmp_path / "x-images-idx3-ubyte").write_bytes(idx(STACK))
    for labels, word in ((SEVEN[:6], "[6] for 7"), (STACK, "for 7")):
        (tmp_path / "x-labels-idx1-ubyte").write_bytes(idx(labels))
        assert word in refused(images.open_dataset, tmp_path / "x-images-idx3-ubyte")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (STACK, STACK),
        (STACK[..., None], STACK),
        (STACK > 99, (STACK > 99) * 255),
        (STACK.astype(np.uint16) * 257, STACK),
        (STACK / 255, STACK),
        ((STACK / 255).astype(np.float16), None),
        ((STACK / 127.5 - 1).astype(np.float32), STACK),
        (STACK[..., None].repeat(3, -1), STACK[..., None].repeat(3, -1)),
    ],
)
@pytest.mark.parametrize("name", ["images", "arr_0", "x_train", "anything"])
def test_npz_round_trip(tmp_path, stored, expected, name):
    labels = {"x_train": "y_train"}.get(name, "labels")
    np.savez_compressed(tmp_path / "a.npz", **{name: stored, labels: SEVEN[:, None].astype(np.int64)})
    x, found = images.tensors(images.open_dataset(tmp_path / "a.npz"))
    assert found.tolist() == SEVEN.tolist()
    if expected is None:  # half floats are rounder than bytes
        np.testing.assert_allclose((x[:, 0] + 1) * 127.5, STACK, atol=0.6)
    else:
        expected = expected if expected.ndim == 4 else expected[..., None]
        np.testing.assert_array_equal(((x + 1) * 127.5).round(), expected.transpose(0, 3, 1, 2))


def test_npz_splits_names_and_sizes(tmp_path):
    arrays = {"train_images": STACK, "train_labels": SEVEN, "test_images": STACK[:3]}
    np.savez(tmp_path / "a.npz", **arrays, classes=["a", "b", "c", "d"])
    path = tmp_path / "a.npz"
    assert images.open_dataset(path).features["label"].names == ["a", "b", "c", "d"]
    test = images.tensors(images.open_dataset(path, split="test", size=(4, 4), channels=3))
    assert test[0].shape == (3, 3, 4, 4) and test[1] is None
    np.savez(tmp_path / "rgb.npz", RGB)
    together = images.tensors(images.open_dataset(tmp_path / "rgb.npz", size=(4, 4)))[0]
    for stack, x in ((STACK, test[0]), (RGB, together)):
        one = images.read(saved(tmp_path / "one.png", stack[2]), size=(4, 4))
        assert (x[2] - one).abs().max() < 1 / 255 + 1e-6  # resized together as alone
    same_rows(path, size=3)
    assert "'valid'" in refused(images.open_dataset, path, split="valid")


def packed_files(num: int = 3) -> dict[str, np.ndarray]:
    files = []
    for level in range(num):
        buffer = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), 50 * level, np.uint8)).save(buffer, "JPEG")
        files.append(np.frombuffer(buffer.getvalue(), np.uint8))
    offsets = np.cumsum([0] + [len(file) for file in files]).astype(np.uint32)
    labels = np.arange(num, dtype=np.uint8) % 2
    return {"jpeg": np.concatenate(files), "offsets": offsets, "labels": labels, "classes": np.array(["x", "y"])}


def test_npz_of_picture_files(tmp_path):
    np.savez(tmp_path / "a.npz", **packed_files())
    dataset = images.open_dataset(tmp_path / "a.npz")
    x, labels = images.tensors(dataset)
    assert x.shape == (3, 3, 8, 8) and greys(x) == [0, 50, 100] and labels.tolist() == [0, 1, 0]
    assert dataset.features["label"].names == ["x", "y"]
    same_rows(tmp_path / "a.npz", size=4, channels=1)
    good = packed_files()
    for bad, word in (
        ({"offsets": good["offsets"][::-1]}, "offsets must rise"),
        ({"offsets": good["offsets"] + 9}, "offsets must rise"),
        ({"offsets": good["offsets"].astype(float)}, "whole numbers"),
        ({"labels": good["labels"][:2]}, "labels"),
        ({"labels": good["labels"] + 1}, "2 at most"),
        ({"jpeg": good["jpeg"] * 0}, "picture 0"),
    ):
        np.savez(tmp_path / "bad.npz", **(good | bad))
        assert word in refused(images.open_dataset, tmp_path / "bad.npz")


def damaged(values: np.ndarray, value: float) -> np.ndarray:
    values = values.astype(np.float32)
    values.flat[3] = value
    return values


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"images": np.array([{"a": 1}, None])}, "Python objects"),
        ({"images": STACK, "labels": np.array([{}] * 7)}, "Python objects"),
        ({"images": STACK.astype(np.int64)}, "int64"),
        ({"images": STACK.astype(complex)}, "complex128"),
        ({"images": damaged(STACK / 255, np.nan)}, "NaN"),
        ({"images": damaged(STACK / 255, np.inf)}, "infinite"),
        ({"images": STACK.astype(float)}, "scale floats"),
        ({"images": STACK[0]}, "[5, 4]"),
        ({"images": STACK[:0]}, "[0, 5, 4]"),
        ({"images": np.zeros((7, 5, 8, 8), np.uint8)}, "with C 1 (grey), 3"),
        ({"images": STACK, "labels": SEVEN[:5]}, "7 whole numbers"),
        ({"images": STACK, "labels": SEVEN / 2}, "float64"),
        ({"images": STACK, "labels": SEVEN.astype(int) - 1}, "-1 to 2"),
        ({"images": STACK, "labels": SEVEN.astype(int) * 10**9}, "10000 at most"),
        ({"images": STACK, "labels": SEVEN, "classes": np.array(["a"])}, "1 at most"),
        ({"images": STACK, "labels": SEVEN, "classes": np.array(["a", "b", "c", "a"])}, "twice"),
        ({"one": STACK, "two": STACK}, "one, two"),
        ({"numbers": SEVEN}, "numbers"),
    ],
)
def test_bad_npz(tmp_path, arrays, word):
    np.savez(tmp_path / "a.npz", **arrays)
    assert word in refused(images.open_dataset, tmp_path / "a.npz")


def test_damaged_npz(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "whole.npz", images=STACK)
    whole = (tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "a.npz"
    for data in (whole[:-40], b"text", whole[:60] + bytes(20) + whole[80:]):
        path.write_bytes(data)
        assert "a.npz: damaged" in refused(images.open_dataset, path)
    path.touch()
    path.write_bytes(b"")
    assert "0 bytes" in refused(images.open_dataset, path)
    np.savez_compressed(path, images=np.zeros((9, 100, 100), np.uint8))
    assert path.stat().st_size < 1000  # unpacked, 90,000
    monkeypatch.setattr(packing, "MAX_BYTES", 50_000)
    assert "GiB" in refused(images.open_dataset, path)


# The library's own data sets


def foreign(column: str = "img"):
    """Three pictures as others store them: encoded files, a class label of another name, a word, a list."""
    import datasets

    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "box": datasets.Sequence(datasets.Value("int32")),
            column: datasets.Image(),
            "kind": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    pictures_ = [Image.fromarray(np.full((4, 6, 3), 10 * index, np.uint8)) for index in range(3)]
    rows = {"id": ["a", "b", "c"], "box": [[1]] * 3, column: pictures_, "kind": [1, 0, 1]}
    return datasets.Dataset.from_dict(rows, features=features)


def test_saved_data_sets(tmp_path):
    from datasets import DatasetDict

    foreign().save_to_disk(tmp_path / "a")
    dataset = images.open_dataset(tmp_path / "a", size=4)
    x, labels = images.tensors(dataset)
    assert x.shape == (3, 3, 4, 4) and greys(x) == [0, 10, 20] and labels.tolist() == [1, 0, 1]
    assert dataset.column_names == ["image", "label", "id", "kind"] and dataset["id"][:] == ["a", "b", "c"]
    same_rows(tmp_path / "a", size=4)
    assert "no splits" in refused(images.open_dataset, tmp_path / "a", split="test")
    DatasetDict(train=foreign(), test=foreign().select([2])).save_to_disk(tmp_path / "b")
    assert greys(images.tensors(images.open_dataset(tmp_path / "b", split="test"))[0]) == [20]
    assert len(images.open_dataset(tmp_path / "b")) == 3
    assert "train, test" in refused(images.open_dataset, tmp_path / "b", split="valid")


@pytest.mark.slow
def test_our_own_survive_saving_bit_by_bit(tmp_path):
    for name, num in {"digits": None, "scenes": 300}.items():
        dataset = images.open_dataset(name, num=num)
        dataset.save_to_disk(tmp_path / name)
        again = images.open_dataset(tmp_path / name)
        assert again.features == dataset.features and again[:50] == dataset[:50] and len(again) == len(dataset)
        assert torch.equal(images.tensors(again)[0], images.tensors(dataset)[0])
    same_rows(tmp_path / "scenes", size=12, channels=1)


def test_folders_of_tables(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    foreign("picture").to_parquet(tmp_path / "set" / "train-00000.parquet")
    assert greys(images.tensors(images.open_dataset(tmp_path / "set"))[0]) == [0, 10, 20]
    same_rows(tmp_path / "set", split="train")
    (tmp_path / "none").mkdir()
    foreign().select([]).to_parquet(tmp_path / "none" / "train-00000.parquet")
    assert "none: " in refused(images.open_dataset, tmp_path / "none")
    (tmp_path / "set" / "train-00000.parquet").write_text("text")
    assert "cannot be opened" in refused(images.open_dataset, tmp_path / "set")


def test_bad_saved_data_sets(tmp_path):
    foreign().remove_columns("img").save_to_disk(tmp_path / "a")
    assert "no column of pictures among id, box, kind" in refused(images.open_dataset, tmp_path / "a")
    foreign().select([]).save_to_disk(tmp_path / "b")
    assert "cannot be opened" in refused(images.open_dataset, tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "state.json").write_text("{}")
    assert "cannot be opened" in refused(images.open_dataset, tmp_path / "c")
    import datasets

    rows = {"image": [{"bytes": b"text", "path": None}]}
    features = datasets.Features({"image": datasets.Image(decode=False)})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "d")
    assert "row 0: not a picture" in refused(images.open_dataset, tmp_path / "d")


def test_a_name_that_no_one_has_fails_soon():
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    assert "the connection" in refused(images.open_dataset, "no-such-owner-4711/no-such-pictures")
    assert before == datasets.config.HF_HUB_OFFLINE
    assert hub.is_stored(Path("no-such-folder")) is False


# Real data


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the shared pictures are not at {REAL}")
def test_real_pictures():
    for name in ("brick.png", "wood.jpg"):
        x = images.read(REAL / name, size=64)
        assert x.shape == (3, 64, 64) and x.std() > 0.05
    x, labels = images.tensors(images.open_dataset(REAL / "train-images-idx3-ubyte.gz"))
    assert x.shape == (60_000, 1, 28, 28) and labels.bincount().min() > 5000
    assert labels[:5].tolist() == [5, 0, 4, 1, 9]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the shared pictures are not at {REAL}")
def test_real_picture_files_in_an_array(tmp_path):
    with np.load(REAL / "cifar10_train15k_jpeg.npz") as file:
        arrays = dict(file)
    cut = {"offsets": arrays["offsets"][:201], "labels": arrays["labels"][:200]}
    np.savez(tmp_path / "a.npz", **(arrays | cut))
    dataset = images.open_dataset(tmp_path / "a.npz")
    x, labels = images.tensors(dataset)
    assert x.shape == (200, 3, 32, 32) and x.std() > 0.3
    assert dataset.features["label"].int2str(int(labels[0])) == "dog"
