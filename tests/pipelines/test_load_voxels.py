"""Shapes are read, labelled, and parted so that what is judged was not learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from data import furniture, near_duplicates
from data.errors import InputError
from pipelines.examples import Examples
from pipelines.modalities.voxels import Load
from pipelines.stage import Run


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))


def loaded(folder: Path, **settings) -> Examples:
    return Load(**settings)({}, Run(folder, folder))["data"]


def chairs(num: int, size: int = 16) -> np.ndarray:
    return np.stack([furniture.make("chair", seed=k, index=0, size=size)[0] for k in range(num)])


def test_shapes_are_examples_of_two_values(tmp_path):
    data = loaded(tmp_path, count=40, size=8)
    assert data.modality == "voxels" and data.shape == (1, 8, 8, 8) and not data.single
    x = data.x("validation")
    assert x.shape == (len(data.validation), *data.shape) and set(x.unique().tolist()) == {-1.0, 1.0}
    assert data.train.dtype == torch.uint8 and data.train.shape[1] == 8**3 // 8  # a bit a voxel
    assert len(data.train) + len(data.validation) <= 40


def test_shapes_sorted_by_class_are_shuffled_and_the_split_is_the_same_for_every_run(tmp_path):
    data, again = (loaded(tmp_path, count=80, size=8) for _ in range(2))
    labels = data.labels()
    assert labels is not None and int((labels[1:] != labels[:-1]).sum()) > len(labels) / 2
    assert torch.equal(data.validation, again.validation)


def test_no_shape_to_judge_by_is_nearly_one_that_was_learned_from(tmp_path):
    data = loaded(tmp_path, count=200, size=8)
    bits = torch.cat([data.train, data.validation]).numpy()
    numbers = near_duplicates.groups(bits, 8)
    train, validation = numbers[: len(data.train)], numbers[len(data.train) :]
    assert not set(train) & set(validation) and len(set(validation)) == len(validation)


def test_labels_stay_with_their_shapes(tmp_path):
    pieces, hard = chairs(24), np.arange(24) % 2
    pieces[:, 0, 0, 0] = hard
    np.savez(tmp_path / "all.npz", grids=pieces, labels=np.array(["soft", "hard"])[hard])
    data = loaded(tmp_path, voxels=str(tmp_path / "all.npz"))
    assert data.classes == ("hard", "soft") and set(data.attributes) <= {"kind"}
    for part in ("train", "validation"):
        labels = data.labels(part)
        assert labels is not None and torch.equal(labels == 0, data.x(part)[:, 0, 0, 0, 0] > 0)
    assert Load(str(tmp_path)).files() == (str(tmp_path),) and Load().files() == ()


def test_furniture_has_a_kind_and_further_attributes(tmp_path):
    data = loaded(tmp_path, count=60, size=12)
    assert data.classes == ("chair", "table", "shelf", "lamp") and {"kind", "legs"} <= set(data.attributes)
    assert data.train_labels is not None and torch.equal(data.attributes["kind"]["train"], data.train_labels)


@pytest.mark.slow
def test_a_frame_keeps_meshes_beside_each_other_and_warnings_are_kept_for_the_report(tmp_path):
    (tmp_path / "shapes").mkdir()
    trimesh.creation.box(bounds=[(0, 0, 0), (16, 16, 16)]).export(tmp_path / "frame.stl")
    for k in range(24):
        low, high = (k % 4, k // 4, 0), (k % 4 + 5, k // 4 + 7, 6 + k % 5)
        mesh = trimesh.creation.box(bounds=[low, high])
        mesh.update_faces([k > 0] + [True] * 11)  # the first is open
        mesh.export(tmp_path / "shapes" / f"{k:02d}.stl")
    settings = {"voxels": str(tmp_path / "shapes"), "size": 16, "validation": 0.3}
    with pytest.warns(UserWarning, match="1 of 24 files are open meshes"):
        values = Load(**settings, frame=str(tmp_path / "frame.stl"))({}, Run(tmp_path, tmp_path))
    data = values["data"]
    assert all(x.sum() == (5 * 7) * (6 + k % 5) for x in (data.x() > 0)[:, 0] for k in [int(x.any(0).any(0).sum()) - 6])
    assert "open meshes, such as 00.stl: not watertight" in values["source"]["notes"][0]
    files = Load(**settings, frame=str(tmp_path / "frame.stl")).files()
    assert files == (str(tmp_path / "shapes"), str(tmp_path / "frame.stl"))


def test_shapes_without_labels_have_no_classes(tmp_path):
    np.savez(tmp_path / "all.npz", grids=chairs(24))
    data = loaded(tmp_path, voxels=str(tmp_path / "all.npz"))
    assert data.classes == () and data.train_labels is None and not data.attributes


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"voxels": "nowhere.stl"}, "load.voxels=nowhere.stl: no such file"),
        ({"voxels": "few.npz"}, "few.npz holds 3 shapes; at least 20"),
        ({"voxels": "alike.npz"}, "near-duplicates kept on one side"),
        ({"voxels": "small.npz"}, "is of 4 voxels a side; 8 to 128"),
    ],
)
def test_what_cannot_be_learned_from_is_told_in_one_line(settings, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("few.npz", grids=chairs(3))
    np.savez("alike.npz", grids=np.repeat(chairs(1), 30, 0))
    np.savez("small.npz", grids=np.random.default_rng(0).random((30, 4, 4, 4)) < 0.5)
    with pytest.raises(InputError, match=told) as caught:
        loaded(tmp_path, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"count": 5}, "count must be 20"),
        ({"validation": 0.0}, "validation must lie"),
        ({"validation": 1.0}, "validation must lie"),
        ({"size": 7}, "size must be 8 to 128"),
        ({"frame": "x.stl"}, "frame needs size"),
        ({"size": 16, "frame": "nowhere.stl"}, "frame=nowhere.stl: no such file"),
    ],
)
def test_bad_settings_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Load(**settings)
