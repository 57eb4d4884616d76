"""Pictures that are read and parted, and photographs of textures."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import seeded

from data import images, scenes
from data.errors import InputError
from data.textures import texture
from pipelines.examples import Examples
from pipelines.modalities.images import Load
from pipelines.stage import Run


def loaded(folder: Path, seed: int = 0, **settings: Any) -> Examples:
    return Load(**settings)({}, Run(folder, folder, seed))["data"]


def stored(path: Path, num: int, labels: np.ndarray | None = None, **more: Any) -> str:
    """An NPZ file of pictures that differ in their grey alone."""
    levels = np.arange(num, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    np.savez(path, images=levels, **({} if labels is None else {"labels": labels}), **more)
    return str(path)


def test_pictures_are_parted_the_same_in_every_run_and_none_is_on_both_sides(tmp_path):
    first, other = (loaded(tmp_path, seed, images=stored(tmp_path / "a.npz", 50)) for seed in (0, 1))
    numbers = {part: getattr(first, part)[:, 0, 0, 0].tolist() for part in ("train", "validation")}
    assert sorted(numbers["train"] + numbers["validation"]) == list(range(50)) and len(numbers["validation"]) == 5
    assert torch.equal(first.train, other.train) and torch.equal(first.validation, other.validation)
    assert first.shape == (1, 8, 8) and not first.single
    assert torch.equal(first.x("validation"), first.validation.float() / 127.5 - 1)


def test_fewer_pictures_are_part_of_more(tmp_path):
    """So that what was learned of few is not judged by what it knows."""
    many, few = (loaded(tmp_path, count=count, validation=0.2) for count in (None, 300))
    known = {row.numpy().tobytes() for row in many.train} | {row.numpy().tobytes() for row in many.validation}
    assert len(few.train) == 240 and len(few.validation) == 60
    assert all(row.numpy().tobytes() in known for row in few.train)


def test_labels_go_with_their_pictures(tmp_path):
    labels = np.arange(60) % 3
    data = loaded(tmp_path, images=stored(tmp_path / "a.npz", 60, labels, classes=["a", "b", "c"]))
    assert data.classes == ("a", "b", "c")
    for part in ("train", "validation"):
        x, own = data.known(part)
        assert torch.equal(own, ((x[:, 0, 0, 0] + 1) * 127.5).round().long() % 3)
    assert list(data.attributes) == ["label"]
    without = loaded(tmp_path, images=str(tmp_path / "a.npz"), label=None)
    assert without.classes == () and without.train_labels is None and not without.attributes


def test_a_class_without_a_picture_to_learn_from_is_told(tmp_path):
    labels = np.zeros(40, np.int64)
    path = stored(tmp_path / "a.npz", 40, labels, classes=["seen", "never"])
    with pytest.warns(UserWarning, match=r"no pictures to learn never from; load.count") as told:
        assert loaded(tmp_path, images=path).classes == ("seen", "never")
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded(tmp_path, images=path, label=None)
        loaded(tmp_path, count=300)


def test_damaged_pictures_stop_or_are_left_out_and_counted(tmp_path):
    for k in range(25):
        images.write(tmp_path / f"{k}.png", torch.full((3, 8, 8), k / 50))
    (tmp_path / "7.png").write_bytes((tmp_path / "7.png").read_bytes()[:-30])
    with pytest.raises(InputError, match=r"7.png: damaged or cut short.*load.skip_damaged=true"):
        loaded(tmp_path, images=str(tmp_path))
    with pytest.warns(UserWarning, match=r"1 damaged picture is left out, such as .*7\.png"):
        data = loaded(tmp_path, images=str(tmp_path), skip_damaged=True)
    assert len(data.train) + len(data.validation) == 24


def test_labels_of_a_list_are_learned_with(tmp_path):
    rows = "".join(f"{k}.png,{'ab'[k % 2]}\n" for k in range(24))
    for k in range(25):
        images.write(tmp_path / f"{k}.png", torch.full((3, 8, 8), k / 50))
    (tmp_path / "metadata.csv").write_text(f"file_name,label\n{rows}")
    with pytest.warns(UserWarning, match="1 picture has no row, and so no label"):
        data = loaded(tmp_path, images=str(tmp_path))
    assert data.classes == ("a", "b") and len(data.known("train")[0]) + len(data.known("validation")[0]) == 24


@pytest.mark.slow
def test_scenes_have_all_attributes_but_for_combinations_that_are_held_out(tmp_path):
    data = loaded(tmp_path, seed=2, images="scenes", count=2000, size=16, held_out=0.25)
    assert set(data.attributes) == set(scenes.ATTRIBUTES) and data.shape == (3, 16, 16)
    missing = {tuple(one.values()) for one in scenes.held_out(0.25)}
    names = list(scenes.ATTRIBUTES)
    for part in ("train", "validation"):
        rows = zip(*(data.attributes[name][part].tolist() for name in names), strict=True)
        found = {tuple(scenes.ATTRIBUTES[name][k] for name, k in zip(names, row, strict=True)) for row in rows}
        assert found and not found & missing
    assert all(len(data.attributes[name]["train"].unique()) == len(of) for name, of in scenes.ATTRIBUTES.items())


def test_pictures_that_cannot_be_learned_from_are_refused(tmp_path):
    np.savez(tmp_path / "large.npz", images=np.zeros((20, 8, 300), np.uint8))
    (tmp_path / "folder").mkdir()
    for k in range(20):
        images.write(tmp_path / "folder" / f"{k}.png", torch.zeros(1, 8, 8 + k % 2))
    for name, words in [
        ("none.npz", "none.npz"),
        (stored(tmp_path / "few.npz", 5), "5 pictures; at least 20"),
        (str(tmp_path / "large.npz"), "300x8 pixels; set load.size"),
        (str(tmp_path / "folder"), "set load.size, as load.size=32"),
    ]:
        with pytest.raises(InputError, match=words) as told:
            loaded(tmp_path, images=str(tmp_path / name))
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 19}, "count must be 20 or more"),
        ({"size": 4}, "size must be 8 to 256"),
        ({"photograph": "bricks", "size": 16}, "size must be 32 to 4096"),
        ({"validation": 1.0}, "validation must lie"),
        ({"held_out": 0.2}, "held_out must lie"),
        ({"images": "scenes", "photograph": "bricks"}, "photograph=bricks cannot be combined with images=scenes"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Load(**settings)


# ----------------------------------------------------------------------------------- photographs


def test_a_photograph_is_one_example_with_nothing_to_judge_by(tmp_path):
    data = loaded(tmp_path, seed=3, photograph="cloth", size=48)
    assert data.single and data.shape == (3, 48, 48) and len(data.validation) == 0
    assert torch.equal(data.x()[0], texture("cloth", 48, seed=3))
    assert loaded(tmp_path, photograph="bricks", channels=1).shape == (1, 128, 128)


def test_a_photograph_keeps_its_size_unless_another_is_asked_for(tmp_path):
    picture = torch.rand(3, 50, 90, generator=seeded()) * 2 - 1
    images.write(tmp_path / "wall.png", picture)
    given = Load(photograph=str(tmp_path / "wall.png"))({}, Run(tmp_path, tmp_path))
    assert given["data"].shape == (3, 50, 90) and given["source"]["pixels"] == [50, 90]
    assert (given["data"].x()[0] - picture).abs().max() < 1.01 / 127.5
    small = Load(photograph=str(tmp_path / "wall.png"), size=40)({}, Run(tmp_path, tmp_path))
    assert small["data"].shape == (3, 40, 40) and small["source"]["pixels"] == [50, 90]


def test_bad_photographs_are_told_with_the_setting(tmp_path):
    images.write(tmp_path / "tiny.png", torch.rand(3, 20, 90))
    images.write(tmp_path / "small.png", torch.rand(3, 50, 90))
    images.write(tmp_path / "flat.png", torch.zeros(3, 64, 64))
    for name, size, words in (
        ("none.png", None, r"load.photograph: .*none.png"),
        ("tiny.png", None, r"load.photograph=.*90x20"),
        ("small.png", 64, r"load.size=64: .*set 50"),
        ("flat.png", 64, r"load.photograph=.*one colour"),
    ):
        with pytest.raises(InputError, match=words) as told:
            loaded(tmp_path, photograph=str(tmp_path / name), size=size)
        assert "\n" not in str(told.value)
