"""Picture files and folders as people have them: profiles, formats that are not read, lists of labels, damage."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from data import images, unsaid
from data.errors import InputError

COLOURS = np.array([[(220, 30, 30), (30, 200, 30)], [(30, 30, 220), (235, 235, 235)]], np.uint8)
D65 = (0.3127, 0.3290)
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))


def levels(path: Path, channels: int = 3) -> np.ndarray:
    return ((images.read(path, channels=channels).permute(1, 2, 0).numpy() + 1) * 127.5).round()


def tensors(dataset: Any) -> Any:
    return images.tensors(dataset)


def refused(source: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        images.open_dataset(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def profile(primaries=P3, curve: str = "srgb") -> bytes:
    """An ICC profile made by hand: a matrix of the primaries, adapted to D50, and sRGB's curve or a gamma."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    white = np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]])
    d50 = np.array([0.9642, 1, 0.8249])
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    xyz = columns * np.linalg.solve(columns, white)
    adapted = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ white)) @ bradford @ xyz
    s15 = [struct.pack(">3i", *(round(v * 65536) for v in column)) for column in adapted.T]
    para = {"srgb": (3, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))}.get(curve) or (0, (float(curve),))
    trc = (
        b"para"
        + bytes(4)
        + struct.pack(">HH", para[0], 0)
        + b"".join(struct.pack(">i", round(v * 65536)) for v in para[1])
    )
    text = "made".encode("utf-16-be")
    words = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    tags = {b"rXYZ": b"XYZ " + bytes(4) + s15[0], b"gXYZ": b"XYZ " + bytes(4) + s15[1]}
    tags |= {b"bXYZ": b"XYZ " + bytes(4) + s15[2], b"desc": words, b"cprt": words}
    tags |= {b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in d50))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), trc)
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


# Colour profiles


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_a_wide_profile_is_applied(tmp_path, name):
    Image.fromarray(COLOURS).save(tmp_path / name, icc_profile=profile(), lossless=True)
    found = levels(tmp_path / name)
    np.testing.assert_allclose(found[0, 0], (240, 0, 0), atol=2)
    np.testing.assert_allclose(found[1, 1], (235, 235, 235), atol=1)


def test_a_profile_of_srgb_changes_nothing(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=srgb)
    np.testing.assert_array_equal(levels(tmp_path / "a.png"), COLOURS)


def test_a_profile_applies_under_alpha_and_palettes_and_a_bad_one_does_not(tmp_path):
    rgba = np.concatenate([COLOURS, np.full((2, 2, 1), 255, np.uint8)], 2)
    rgba[1, 1, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "alpha.png", icc_profile=profile())
    np.testing.assert_allclose(levels(tmp_path / "alpha.png")[[0, 1], [0, 1]], [(240, 0, 0), (255, 255, 255)], atol=2)
    Image.fromarray(COLOURS).quantize(4).save(tmp_path / "p.png", icc_profile=profile())
    np.testing.assert_allclose(levels(tmp_path / "p.png")[0, 0], (240, 0, 0), atol=2)
    for bad in (b"text", profile()[:200]):
        Image.fromarray(COLOURS).save(tmp_path / "bad.png", icc_profile=bad)
        np.testing.assert_array_equal(levels(tmp_path / "bad.png"), COLOURS)
    Image.fromarray(COLOURS[..., 0]).save(tmp_path / "grey.png", icc_profile=profile())  # of another kind of colour
    np.testing.assert_array_equal(levels(tmp_path / "grey.png", 1)[..., 0], COLOURS[..., 0])


def test_lab_is_read(tmp_path):
    lab = ImageCms.applyTransform(
        Image.fromarray(COLOURS),
        ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"),
    )
    assert lab is not None
    lab.save(tmp_path / "a.tif")
    np.testing.assert_allclose(levels(tmp_path / "a.tif"), COLOURS, atol=12)  # of 8 bits


# Formats that are not read


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not read; save it as png"),
        ("a.jpg", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC is not read; save it as png"),
        ("a.png", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2", "is a video, not a picture"),
        ("a.psd", b"8BPS\0\1", "Photoshop (psd) is not read"),
        ("a.svg", b"<?xml version='1.0'?>\n<svg width='9'/>", "SVG is not read"),
        ("a.jxl", b"\xff\x0a\x00", "JPEG XL is not read"),
        ("a.exr", b"v/1\x01\x02", "OpenEXR is not read"),
        ("a.dng", b"II*\0\x08\0\0\0", "a camera's raw file is not read"),
        ("a.png", b"<!DOCTYPE html><html>", "is a web page"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        ("a.png", b"7z\xbc\xaf\x27\x1c", "an archive (7z) is not read; unpack it"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data + bytes(99))
    with pytest.raises(InputError, match=f"{name}: ") as caught:
        images.read(tmp_path / name)
    assert words in str(caught.value)


def test_archives_of_pictures_are_told(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "pics.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "cat/a.png")
    with tarfile.open(tmp_path / "pics.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "cat/a.png")
    with tarfile.open(tmp_path / "pics.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.png", "cat/a.png")
    for name in ("pics.zip", "pics.tar", "pics.tar.gz"):
        assert "unpack it, and give the folder" in refused(tmp_path / name)


def test_a_folder_of_what_is_not_read_says_why(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    found = refused(tmp_path)
    assert "no pictures (1 other file" in found and "a.heic: HEIC is not read; save it as png" in found


# Damaged ones among many


@pytest.fixture
def some_damaged(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(4):
        (tmp_path / "cd"[number % 2]).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / "cd"[number % 2] / f"{number}.jpg")
    whole = (tmp_path / "c" / "2.jpg").read_bytes()
    (tmp_path / "c" / "2.jpg").write_bytes(whole[:-2])  # without its end
    (tmp_path / "d" / "5.jpg").touch()
    return tmp_path


def test_damaged_pictures_stop_or_are_left_out_and_counted(some_damaged):
    with pytest.raises(images.Damaged, match=r"2.jpg: damaged or cut short"):
        images.open_dataset(some_damaged)
    with pytest.warns(UserWarning, match=r"2 damaged pictures are left out, such as .*2\.jpg") as told:
        dataset: Any = images.open_dataset(some_damaged, skip_damaged=True)
    assert len(told) == 1 and dataset["label"][:] == [0, 1, 1]
    with pytest.warns(UserWarning, match="1 damaged picture is left out"):  # of each of its shards
        stream = list(images.open_dataset(some_damaged, streaming=True, skip_damaged=True))
    assert stream == list(dataset)
    for path in some_damaged.glob("*/*"):
        path.write_bytes(b"")
    assert "all 5 pictures are damaged" in refused(some_damaged, skip_damaged=True)


# Lists of labels


@pytest.fixture
def listed(tmp_path) -> Path:
    for number in range(6):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


ROWS = [("0.png", "cat", "9"), ("1.png", "dog", "10"), ("2.png", "cat", "10"), ("3.png", "dog", "9")]


def columns(folder: Path) -> dict[str, list[str | None]]:
    """What each picture is called in each column, of an open data set."""
    dataset: Any = images.open_dataset(folder)
    return {
        name: [dataset.features[name].names[label] if label >= 0 else None for label in dataset[name]]
        for name in dataset.column_names
        if name != "image"
    }


@pytest.mark.parametrize("kind", ["csv", "semicolons", "tabs", "bom", "utf-16", "jsonl"])
def test_a_list_beside_pictures_labels_them(listed, kind):
    rows = [*ROWS, ("4.png", "cat", "10"), ("5.png", "dog", "9")]
    mark = {"semicolons": ";", "tabs": "\t"}.get(kind, ",")
    text = "\n".join(mark.join(row) for row in [("file_name", "label", "size"), *rows])
    encoding = {"bom": "utf-8-sig", "utf-16": "utf-16"}.get(kind, "utf-8")
    if kind == "jsonl":
        text = "\n".join(json.dumps({"file_name": name, "label": label, "size": int(of)}) for name, label, of in rows)
    (listed / ("metadata.jsonl" if kind == "jsonl" else "metadata.csv")).write_text(text, encoding=encoding)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = columns(listed)
    assert found == {
        "label": ["cat", "dog"] * 3,
        "size": ["9", "10", "10", "9", "10", "9"],
    }
    dataset: Any = images.open_dataset(listed)
    assert dataset.features["size"].names == ["9", "10"], "numbers in their order"
    assert list(images.open_dataset(listed, streaming=True)) == list(images.open_dataset(listed))


def test_labels_without_pictures_and_pictures_without_labels_are_told(listed):
    text = "file_name,label\n" + "".join(f"{name},{label}\n" for name, label, _ in [*ROWS, ("9.png", "cow", "")])
    (listed / "metadata.csv").write_text(text + "../out.png,cow\n")
    with pytest.warns(UserWarning, match="2 rows name pictures that are not there, such as 9.png") as told:
        assert columns(listed) == {"label": ["cat", "dog", "cat", "dog", None, None]}
    assert len(told) == 1 and "2 pictures have no row" in str(told[0].message)


def test_a_list_that_is_not_utf8_is_read_and_told(listed):
    rows = "file_name,label\n" + "".join(f"{k}.png,{('Rot', 'Grün')[k % 2]}\n" for k in range(6))
    (listed / "metadata.csv").write_bytes(rows.encode("latin-1"))
    with pytest.warns(UserWarning, match="metadata.csv is not UTF-8, it is read as Windows-1252"):
        assert columns(listed)["label"] == ["Rot", "Grün"] * 3


def test_the_only_column_of_repeated_values_is_the_label(listed):
    (listed / "metadata.csv").write_text(
        "file_name,species,note\n" + "".join(f"{k}.png,{'ab'[k % 2]},note {k}\n" for k in range(6))
    )
    assert columns(listed) == {"species": ["a", "b"] * 3, "label": ["a", "b"] * 3}
    (listed / "metadata.csv").write_text(
        "file_name,species,sex\n" + "".join(f"{k}.png,{'ab'[k % 2]},{'mf'[k > 2]}\n" for k in range(6))
    )
    with pytest.warns(UserWarning, match="no column label; choose one by label: sex, species"):
        assert set(columns(listed)) == {"species", "sex"}


def test_a_list_in_a_split_or_above_class_folders(tmp_path):
    for name in ("train/a/0.png", "train/b/1.png", "test/a/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "metadata.csv").write_text("file_name,label\ntrain/a/0.png,x\ntrain/b/1.png,y\ntest/a/2.png,x\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert columns(tmp_path) == {"label": ["x", "y"]}, "the list says more than the folders"
    (tmp_path / "metadata.csv").write_text("file_name,mood\ntrain/a/0.png,x\ntrain/b/1.png,x\n")
    (tmp_path / "metadata.csv").rename(tmp_path / "train" / "metadata.csv")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,mood\na/0.png,x\nb/1.png,x\n")
    assert columns(tmp_path)["mood"] == ["x", "x"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\n0.png,a\n", "has no column file_name, only path, label"),
        ("file_name,label\n", "holds no rows"),
        ("", "holds no rows"),
        ("file_name,label\n0.png,a,b\n", "row 1 has more values than there are columns"),
        ("file_name,label\n0.png,a\n0.png,b\n", "row 2 names 0.png again, with other values"),
        ("file_name,label\n\0\0", "is not text"),
        ('file_name,label\n0.png,"a\n', "is not a table"),
    ],
)
def test_bad_lists_are_refused(listed, text, words):
    (listed / "metadata.csv").write_text(text)
    assert words in refused(listed)


@pytest.mark.parametrize(
    ("text", "words"), [("{", "line 1 is not JSON"), ("[1]", "line 1 is not an object"), ("", "no rows")]
)
def test_bad_lists_of_objects_are_refused(listed, text, words):
    (listed / "metadata.jsonl").write_text(text)
    assert words in refused(listed)


# Arrays


STACK = np.random.default_rng(1).integers(0, 256, (7, 3, 8, 6), np.uint8)


def test_channels_may_stand_first_and_alpha_is_over_white(tmp_path):
    np.savez(tmp_path / "a.npz", images=STACK)
    x, _ = tensors(images.open_dataset(tmp_path / "a.npz"))
    np.testing.assert_array_equal(((x + 1) * 127.5).round(), STACK)
    np.save(tmp_path / "a.npy", STACK)
    assert (tensors(images.open_dataset(tmp_path / "a.npy"))[0] == x).all()
    alpha = np.concatenate([STACK, np.zeros((7, 1, 8, 6), np.uint8)], 1)
    np.savez(tmp_path / "alpha.npz", images=alpha)
    assert (tensors(images.open_dataset(tmp_path / "alpha.npz"))[0] == 1).all()


@pytest.mark.parametrize("kind", ["<U5", "S5"])
def test_labels_may_be_texts(tmp_path, kind):
    np.savez(tmp_path / "a.npz", images=STACK, labels=np.array(["b", "a", "c", "a", "b", "c", "c"], kind))
    dataset: Any = images.open_dataset(tmp_path / "a.npz")
    assert dataset.features["label"].names == ["a", "b", "c"] and dataset["label"][:] == [1, 0, 2, 0, 1, 2, 2]
    np.savez(tmp_path / "a.npz", images=STACK, labels=np.array(["b"] * 7, kind), classes=np.array(["z", "b"]))
    again: Any = images.open_dataset(tmp_path / "a.npz")
    assert again["label"][:] == [1] * 7
    np.savez(tmp_path / "a.npz", images=STACK, labels=np.array(["b"] * 7, kind), classes=np.array(["z"]))
    assert "'b' is none of its classes" in refused(tmp_path / "a.npz")


def lying(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + bytes(100)


def test_arrays_that_lie_or_are_encrypted_are_refused(tmp_path):
    for shape in ((10**6, 8, 8), (10**12, 8, 8), (2, 4, 4)):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("images.npy", lying(shape))
        (tmp_path / "a.npy").write_bytes(lying(shape))
        for name in ("a.npz", "a.npy"):
            assert "but holds 100 bytes" in refused(tmp_path / name)
    np.savez(tmp_path / "a.npz", images=STACK)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + at] |= 1  # the flag of encryption
    (tmp_path / "a.npz").write_bytes(data)
    assert "is encrypted" in refused(tmp_path / "a.npz")


@pytest.mark.parametrize("kind", ["tiff_lzw", "tiff_adobe_deflate", "float", "avif"])
def test_of_a_damaged_picture_no_library_says_anything(tmp_path, capfd, monkeypatch, kind):
    monkeypatch.setattr(logging.root, "handlers", [])  # those of pytest
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    path = tmp_path / f"picture.{'avif' if kind == 'avif' else 'tif'}"
    if kind == "float":
        tifffile.imwrite(path, picture / np.float32(255), photometric="rgb")
    else:
        Image.fromarray(picture).save(path, **({} if kind == "avif" else {"compression": kind}))
    content = bytearray(path.read_bytes())
    start = {"float": 20, "avif": 270}.get(kind, len(content) // 2)
    content[start : start + 10] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{path}: damaged or cut short")):
        images.read(path)
    assert capfd.readouterr().err == ""


def test_of_a_tiff_of_too_many_channels_no_library_says_anything(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    path = tmp_path / "many.tif"
    Image.new("RGB", (8, 8)).save(path)
    path.write_bytes(path.read_bytes().replace(struct.pack("<HHIH", 277, 3, 1, 3), struct.pack("<HHIH", 277, 3, 1, 96)))
    with pytest.raises(InputError, match="damaged or cut short"):
        images.read(path)
    assert capfd.readouterr().err == ""


def test_a_picture_that_is_read_though_it_is_damaged_is_told(tmp_path, capfd):
    path = tmp_path / "fax.tif"
    black = Image.fromarray(np.random.default_rng(0).integers(0, 2, (40, 40), np.uint8) * 255).convert("1")
    black.save(path, compression="group4")
    content = bytearray(path.read_bytes())
    content[88:91] = b"\xff" * 3
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="fax.tif: is damaged, and part of it may be wrong .Fax4Decode: .*"):
        images.read(path)
    assert capfd.readouterr().err == ""


def test_lines_of_progress_are_not_kept_back(capfd):
    with unsaid.kept("a.tif"):
        os.write(2, b"[02_learn] 3 of 7\n")
    assert capfd.readouterr().err == "[02_learn] 3 of 7\n"
    with contextlib.suppress(ValueError), unsaid.kept("a.tif"):
        os.write(2, b"[02_learn] 4 of 7\nLZWDecode: bad.\n")
        raise ValueError
    assert capfd.readouterr().err == "[02_learn] 4 of 7\n"
