"""What is hidden of shapes, and how what is seen of them is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from conftest import seeded
from torch.nn import functional as F

from data import furniture, voxels
from data.errors import InputError
from energies import Average, Hidden, Noisy
from pipelines.examples import Examples, to_bits
from pipelines.modalities.voxels import Hide
from pipelines.modalities.voxels.hide import box as cube
from pipelines.modalities.voxels.hide import half, scattered
from pipelines.stage import Run

SIDE = 16


@pytest.fixture(scope="module")
def data() -> Examples:
    solid = torch.rand(7, 1, SIDE, SIDE, SIDE, generator=seeded(0)) < 0.3
    return Examples("voxels", (1, SIDE, SIDE, SIDE), to_bits(solid[:3]), to_bits(solid[3:]))


def hidden(data: Examples, folder: Path, **settings: Any) -> dict[str, Any]:
    values = {"data": data, "source": {"name": "procedural", "up": None, "pad": False}}
    return Hide(**settings)(values, Run(folder, folder))


@pytest.mark.parametrize(
    ("mask", "share"),
    [
        (lambda rng: scattered(16, 0.7, rng), 0.7),
        (lambda rng: half(16, rng), 0.5),
        (lambda rng: cube(16, 8, rng), 1 / 8),
    ],
)
def test_masks_hide_their_share(mask, share):
    masks = torch.stack([mask(seeded(k)) for k in range(20)])
    assert float(masks.float().mean()) == pytest.approx(share, abs=0.02)
    assert len({tuple(m.flatten().tolist()) for m in masks}) > 3


@pytest.mark.parametrize("settings", [{}, {"voxels": 0.5}, {"half": True}, {"box": 5}])
def test_what_is_seen_is_exact_and_nothing_else_is_told(settings, data, tmp_path):
    values = hidden(data, tmp_path, **settings)
    observation, targets = values["observation"], values["targets"]
    assert isinstance(observation, Hidden) and observation.mask.shape == targets.shape and values["truth_known"]
    assert torch.equal(targets.float(), data.x("validation"))
    assert torch.equal(values["measured"], torch.where(observation.mask, 0, targets))
    assert values["measured"].dtype == torch.int8


@pytest.mark.parametrize("factor", [2, 4])
def test_block_means_are_those_of_the_shapes(factor, data, tmp_path):
    values = hidden(data, tmp_path, average=factor)
    assert values["observation"] == Average((factor,) * 3)
    assert torch.equal(values["measured"], F.avg_pool3d(data.x("validation"), factor))


@pytest.mark.parametrize("settings", [{"voxels": 0.7}, {"average": 2}, {}])
def test_noise_is_on_what_is_seen(settings, data, tmp_path):
    values = hidden(data, tmp_path, noise=0.5, **settings)
    observation = values["observation"]
    assert isinstance(observation, Noisy) and observation.noise == 0.5
    clean = observation.operator.observe(values["targets"].float())
    error = values["measured"] - clean
    if settings == {"voxels": 0.7}:
        assert isinstance(observation.operator, Hidden) and observation.operator.mask.any()
        error = error[~observation.operator.mask]
    elif not settings:  # noise alone is on shapes that are seen whole
        assert isinstance(observation.operator, Hidden) and not observation.operator.mask.any()
    num = error.numel()
    assert float(error.std()) == pytest.approx(0.5, abs=5 * 0.5 / (2 * num) ** 0.5)
    assert float(error.mean()) == pytest.approx(0, abs=5 * 0.5 / num**0.5)


def test_an_own_shape_and_mask_hide_what_nobody_knows(data, tmp_path):
    solid, mask = furniture.make("chair", seed=9, index=0, size=SIDE)[0], np.zeros((SIDE,) * 3, bool)
    mask[:8] = True
    np.savez(tmp_path / "chair.npz", solid & ~mask)
    np.savez(tmp_path / "mask.npz", mask)
    own = {"shape": str(tmp_path / "chair.npz"), "mask": str(tmp_path / "mask.npz")}
    values = hidden(data, tmp_path, **own)
    assert not values["truth_known"] and torch.equal(values["observation"].mask[0, 0], torch.from_numpy(mask))
    assert torch.equal(values["measured"][0, 0, 8:] > 0, torch.from_numpy(np.array(solid[8:])))
    assert Hide(shape=own["shape"], mask=own["mask"]).files() == tuple(own.values())


def box(folder: Path, name: str, low: tuple[float, ...], high: tuple[float, ...]) -> str:
    """A mesh file of a box."""
    mesh = trimesh.creation.box(bounds=[low, high])
    mesh.export(folder / name)
    return str(folder / name)


@pytest.mark.parametrize("name", ["stl", "obj"])
def test_a_mask_that_is_a_mesh_and_a_region_lie_where_the_scan_does(name, data, tmp_path):
    shape = box(tmp_path, f"scan.{name}", (100, 20, -5), (116, 36, 3))  # of 16: a voxel a unit
    mask = box(tmp_path, f"hole.{name}", (108, 20, -5), (116, 36, 3))
    values = hidden(data, tmp_path, shape=shape, mask=mask)
    marked, solid = values["observation"].mask[0, 0], values["targets"][0, 0] > 0
    axis = {"stl": 2, "obj": 1}[name]  # what is z in the file
    assert solid.sum() == 16 * 16 * 8 and int(solid.any(axis).sum()) == 16 * 16
    assert torch.equal(marked, solid & (torch.arange(16) >= 8)[:, None, None]) and not values["truth_known"]
    frame = values["scan"]["frame"]
    assert frame.centre == pytest.approx((108, 28, -1) if name == "stl" else (108, 1, 28)) and frame.size == SIDE
    region = hidden(data, tmp_path, shape=shape, region=(108.0, 20.0, -5.0, 116.0, 36.0, 3.0))
    assert torch.equal(region["observation"].mask, values["observation"].mask) and region["scan"]["frame"] == frame


def test_the_frame_holds_what_the_scan_lacks(data, tmp_path):
    """Of a box the upper half is missing: the mask, or the box of the whole, tells how large it was."""
    shape = box(tmp_path, "scan.stl", (0, 0, 0), (8, 8, 8))
    whole = box(tmp_path, "whole.stl", (0, 0, 0), (8, 8, 16))
    mask = box(tmp_path, "mask.stl", (0, 0, 8), (8, 8, 16))
    for settings in ({"mask": mask}, {"frame": whole, "mask": mask}, {"region": (0.0, 0.0, 8.0, 8.0, 8.0, 16.0)}):
        values = hidden(data, tmp_path, shape=shape, **settings)
        solid, marked = values["targets"][0, 0] > 0, values["observation"].mask[0, 0]
        assert solid[4:12, 4:12, :8].all() and solid.sum() == 8**3
        assert marked[4:12, 4:12, 8:].all() and marked.sum() == 8**3
    assert Hide(shape=shape, frame=whole).files() == (shape, whole)


@pytest.mark.slow
def test_holes_hide_what_no_surface_tells(data, tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=3)
    ball.update_faces(ball.triangles_center[:, 2] < 0.6)
    ball.export(tmp_path / "scan.stl")
    whole = trimesh.creation.icosphere(subdivisions=3)
    whole.export(tmp_path / "whole.stl")
    with pytest.warns(UserWarning, match="not watertight"):
        values = hidden(data, tmp_path, shape=str(tmp_path / "scan.stl"), frame=str(tmp_path / "whole.stl"), holes=True)
    marked = values["observation"].mask[0, 0]
    assert marked[6:10, 6:10, 12:15].all() and not marked[:, :, :4].any()
    assert not values["truth_known"] and "not watertight" in values["scan"]["notes"][0]
    with pytest.raises(InputError, match=r"whole\.stl: has no holes"):
        hidden(data, tmp_path, shape=str(tmp_path / "whole.stl"), holes=True)


@pytest.mark.parametrize("size", [SIDE, SIDE // 4])
def test_an_own_shape_is_seen_by_its_means_or_is_them(size, data, tmp_path):
    solid = torch.as_tensor(np.array(furniture.make("chair", seed=9, index=0, size=size)[0]))
    voxels.write(solid, tmp_path / "chair.npz", keep=1)
    values = hidden(data, tmp_path, average=4, shape=str(tmp_path / "chair.npz"))
    assert values["truth_known"] == (size == SIDE) and values["targets"].shape == (1, 1, SIDE, SIDE, SIDE)
    means = F.avg_pool3d(solid[None, None].float() * 2 - 1, size // 4)
    assert torch.equal(values["measured"], means)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"box": 99}, "hide.box=99 does not fit"),
        ({"box": SIDE}, "must hide something of every shape and leave something"),
        ({"average": 3}, "hide.average=3 must be less than the 16 voxels a side, and divide it"),
        ({"average": SIDE}, "hide.average=16 must be less"),
        ({"average": 2, "shape": "coarse.npz"}, "not cubes of size=16"),
        ({"shape": "coarse.npz"}, "not cubes of size=16"),
        ({"shape": "whole.npz", "mask": "chair.stl"}, "give the mask as a grid"),
        ({"shape": "whole.npz", "mask": "none.npz"}, "none.npz must hide something"),
        ({"shape": "whole.npz", "mask": "coarse.npz"}, "the mask is of 4x4x4 voxels, the shapes are of 16x16x16"),
        ({"shape": "whole.npz", "holes": True}, "hide.holes is of meshes; whole.npz is a grid"),
        ({"shape": "whole.npz", "region": (0.0,) * 3 + (1.0,) * 3}, "hide.region is of meshes"),
        ({"shape": "chair.stl", "frame": "far.stl"}, r"reaches \d+.\d sides of the frame out of it"),
        ({"shape": "chair.stl", "frame": "beside.stl"}, "has nothing in the frame"),
        ({"shape": "chair.stl", "frame": "chair.stl", "region": (90.0,) * 3 + (99.0,) * 3}, "holds no voxel"),
    ],
)
def test_what_cannot_be_hidden_is_told_in_one_line(settings, told, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solid = np.array(furniture.make("chair", seed=9, index=0, size=SIDE)[0])
    np.savez("coarse.npz", solid[::4, ::4, ::4])
    np.savez("whole.npz", solid)
    np.savez("none.npz", np.zeros_like(solid))
    voxels.write(torch.from_numpy(solid), "chair.stl")
    box(tmp_path, "far.stl", (900, 0, 0), (901, 1, 1))
    box(tmp_path, "beside.stl", (17, 0, 0), (33, 16, 16))
    with pytest.raises(InputError, match=told) as caught:
        hidden(data, tmp_path, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"voxels": 1.5}, "voxels must lie"),
        ({"box": 0}, "box must be 1"),
        ({"average": 1}, "average must be 2"),
        ({"noise": 0.0}, "noise must be positive"),
        ({"num": 0}, "num must be 1"),
        ({"box": 3, "half": True}, "box and half cannot be combined"),
        ({"average": 2, "voxels": 0.5}, "voxels and average cannot be combined"),
        ({"box": 3, "mask": "x.npz", "shape": "x.npz"}, "box and mask cannot be combined"),
        ({"mask": "x.npz"}, "mask needs shape"),
        ({"index": 1}, "index needs shape"),
        ({"frame": "x.stl"}, "frame needs shape"),
        ({"holes": True}, "holes needs shape"),
        ({"shape": "x.stl", "holes": True, "half": True}, "half and holes cannot be combined"),
        ({"shape": "x.stl", "holes": True, "mask": "m.stl"}, "mask and holes cannot be combined"),
        ({"shape": "x.stl", "region": (0.0, 0.0, 0.0, 1.0, 0.0, 1.0)}, "region must be a corner and the higher one"),
        ({"shape": "nowhere.npz"}, "shape=nowhere.npz: no such file"),
    ],
)
def test_bad_settings_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Hide(**settings)
