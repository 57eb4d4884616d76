"""What is written of shapes: meshes that a printer takes, and a report in which they turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from data import furniture, mesh_files, voxels
from data.errors import InputError
from energies import Average, FunctionEnergy, Hidden
from pipelines.examples import Examples, to_bits
from pipelines.modalities.voxels import Export
from pipelines.stage import Run

SIDE = 12
SAMPLING = {"summary": {"kind": "annealed"}, "lines": [], "curves": {}, "chains": 1}


def chairs(num: int) -> torch.Tensor:
    pieces = [furniture.make("chair", seed=k, index=0, size=SIDE)[0] for k in range(num)]
    return torch.from_numpy(np.stack(pieces))[:, None].float() * 2 - 1


def made(**more: Any) -> dict[str, Any]:
    """Values of a pipeline that made new shapes."""
    bits = to_bits(chairs(4) > 0)
    data = Examples("voxels", (1, SIDE, SIDE, SIDE), bits[:2], bits[2:])
    source = {"name": "procedural", "up": None, "pad": False}
    return {"data": data, "source": source, "energy": FunctionEnergy("contrast"), "samples": chairs(3)} | more


def recovered(mask: torch.Tensor) -> dict[str, Any]:
    truth = chairs(2)
    hidden = Hidden(mask)
    return made(
        targets=truth.to(torch.int8), measured=hidden.observe(truth).to(torch.int8), observation=hidden,
        truth_known=True, recovered=truth, samples=truth[:1], spread=None,
        ways={"amortised": {"mean": truth, "seconds": 1.0}}, sampling=SAMPLING,
        rivals={"name": "class_mean", "x": -truth},
    )  # fmt: skip


def exported(values: dict[str, Any], folder: Path, **settings: Any) -> dict[str, Any]:
    (folder / "config.yaml").write_text("{}")
    (folder / "log.jsonl").touch()
    given = Export(views=2, **settings)(values, Run(folder, folder))
    assert set(given) == set(Export.gives)
    return given


@pytest.mark.slow
def test_meshes_are_watertight_and_the_report_shows_them(tmp_path):
    given = exported(made(), tmp_path, limit=2)
    files = sorted((tmp_path / "shapes").glob("*"))
    assert [file.name for file in files] == ["shape_000.stl", "shape_001.stl"]
    assert [entry["file"] for entry in given["written"]] == [f"shapes/{file.name}" for file in files]
    for file in files:
        mesh = trimesh.load_mesh(file)
        assert mesh.is_watertight and mesh.volume > 0
    page = (tmp_path / "report.html").read_text()
    assert 'class="shape"' in page and "shape_001.stl" in page
    for name in ("contact_sheet.png", "turntable.gif", "energy/energy.json"):
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.slow
def test_an_export_with_other_settings_leaves_none_of_the_old_files(tmp_path):
    exported(made(), tmp_path, limit=2)
    exported(made(), tmp_path, limit=1, format="glb", millimetres=80)
    files = list((tmp_path / "shapes").glob("*"))
    assert [file.name for file in files] == ["shape_000.glb"]
    assert trimesh.load(files[0]).extents.max() == pytest.approx(0.08, rel=1e-6)  # metres


@pytest.mark.slow
def test_of_a_recovery_the_decided_shapes_are_written_and_the_truth_shown_beside(tmp_path):
    mask = torch.zeros(2, 1, SIDE, SIDE, SIDE, dtype=torch.bool)
    mask[:, :, :6] = True
    values = recovered(mask)
    exported(values, tmp_path, format="npz", keep=1)
    for number, truth in enumerate(values["targets"]):
        assert torch.equal(voxels.read(tmp_path / "shapes" / f"shape_{number:03d}.npz"), truth[0] > 0)
    page = (tmp_path / "report.html").read_text()
    assert "truth, seen, class mean, recovered, one sample: a row each" in page


@pytest.mark.slow
@pytest.mark.parametrize("is_seen", [True, False])
def test_a_part_that_was_seen_is_written_though_it_hangs_in_the_air(is_seen, tmp_path):
    solid = torch.full((1, 1, SIDE, SIDE, SIDE), -1.0)
    solid[0, 0, :6, :6, :6] = solid[0, 0, 8:10, 8:10, 8:10] = 1.0
    mask = torch.zeros(1, 1, SIDE, SIDE, SIDE, dtype=torch.bool)
    mask[0, 0, 9 if is_seen else 8 :] = True
    hidden = Hidden(mask)
    values = recovered(mask) | {"recovered": solid, "measured": hidden.observe(solid), "observation": hidden}
    values |= {"targets": solid.to(torch.int8), "samples": solid, "rivals": None}
    found = exported(values, tmp_path, format="npz")["written"][0]
    assert found["voxels"] == 6**3 + 8 * is_seen


@pytest.mark.slow
@pytest.mark.parametrize("smoothing", [0, 10])
@pytest.mark.parametrize("format", ["stl", "3mf", "ply"])
def test_millimetres_are_those_of_what_is_solid(format, smoothing, tmp_path):
    body = torch.full((1, 1, SIDE, SIDE, SIDE), -1.0)
    body[0, 0, 2:9, 3:8, 4:6] = 1.0
    body[0, 0, 11, 11, 11] = 1.0  # a speck, which is dropped
    settings = {"format": format, "smoothing": smoothing, "millimetres": 80.0}
    exported(made(samples=body), tmp_path, **settings)
    mesh = mesh_files.read(tmp_path / "shapes" / f"shape_000.{format}")
    assert np.ptp(mesh.vertices, axis=0).max() == pytest.approx(80, abs=1e-3)
    full = torch.full_like(body, 1.0)
    exported(made(samples=full), tmp_path, **settings)
    assert np.ptp(mesh_files.read(tmp_path / "shapes" / f"shape_000.{format}").vertices, axis=0) == pytest.approx(80)


@pytest.mark.slow
@pytest.mark.parametrize(("format", "up"), [("stl", "z"), ("stl", "y"), ("glb", "y"), ("obj", "z")])
def test_what_is_recovered_of_a_scan_lies_where_the_scan_does(format, up, tmp_path):
    scan = trimesh.creation.box(bounds=[(100, 20, -6), (112, 26, -2)])
    name = {"z": "scan.stl", "y": "scan.obj"}[up]
    scan.export(tmp_path / name)
    frame = voxels.frame_of([tmp_path / name], SIDE)
    x = voxels.read(tmp_path / name, SIDE)[None, None].float() * 2 - 1
    observation = Hidden(torch.zeros(1, 1, SIDE, SIDE, SIDE, dtype=torch.bool))
    values = recovered(observation.mask) | {"recovered": x, "measured": x, "samples": x, "targets": x.to(torch.int8)}
    values |= {"rivals": None, "scan": {"frame": frame, "up": up, "notes": ["scan: not watertight"]}}
    exported(values, tmp_path, format=format, smoothing=0)
    mesh = mesh_files.read(tmp_path / "shapes" / f"shape_000.{format}")
    np.testing.assert_allclose([mesh.vertices.min(0), mesh.vertices.max(0)], scan.bounds, atol=0.03)
    assert "Warning: scan: not watertight" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_what_is_shown_is_what_is_written(tmp_path):
    """Without the specks that are dropped, and with the cavities that are filled."""
    body = torch.full((1, 1, SIDE, SIDE, SIDE), -1.0)
    body[0, 0, 2:9, 2:9, 2:9], body[0, 0, 5, 5, 5], body[0, 0, 11, 11, 11] = 1.0, -1.0, 1.0
    clean = torch.full_like(body, -1.0)
    clean[0, 0, 2:9, 2:9, 2:9] = 1.0
    pages = []
    for number, samples in enumerate((body, clean)):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        exported(made(samples=samples), folder, solid=True)
        pages.append([(folder / name).read_bytes() for name in ("contact_sheet.png", "turntable.gif")])
    assert pages[0] == pages[1]


@pytest.mark.slow
def test_paths_are_written_step_by_step(tmp_path):
    paths = chairs(6).view(2, 3, 1, SIDE, SIDE, SIDE)
    values = made(paths=paths, cross_fades=paths, summary="a line")
    exported(values, tmp_path, format="npz", keep=1)
    assert len(list((tmp_path / "shapes").glob("path_*"))) == 6
    assert torch.equal(voxels.read(tmp_path / "shapes" / "path_01_001.npz"), paths[1, 1, 0] > 0)
    exported(values, tmp_path, limit=1, format="npz", keep=1)
    names = sorted(file.stem for file in (tmp_path / "shapes").glob("*"))
    assert names == ["path_00_000", "path_00_001", "path_00_002"]


@pytest.mark.slow
def test_block_means_are_refined_to_the_likeliest_voxels(tmp_path):
    truth = chairs(2)
    means = Average((2, 2, 2))
    values = recovered(torch.ones(1, 1, 1, 1, 1, dtype=torch.bool))
    values |= {"observation": means, "measured": means.observe(truth), "recovered": 0.3 * truth}
    exported(values, tmp_path, format="npz", keep=1)
    assert torch.equal(voxels.read(tmp_path / "shapes" / "shape_001.npz"), truth[1, 0] > 0)


def test_what_could_not_be_met_is_told(tmp_path):
    given = exported(made(summary="so good"), tmp_path, limit=1, format="obj", faces=20)
    assert given["summary"].startswith("so good\n") and "with about 20 it would not stay watertight" in given["summary"]
    assert "with about 20 it would not stay watertight" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_empty_shapes_are_told_and_the_others_written(tmp_path):
    samples = torch.cat([torch.full((1, 1, SIDE, SIDE, SIDE), -1.0), chairs(1)])
    given = exported(made(samples=samples), tmp_path)
    assert given["written"][0]["file"] is None and given["written"][1]["file"] == "shapes/shape_001.stl"
    with pytest.raises(InputError, match="the grid is empty"):
        exported(made(samples=samples[:1]), tmp_path)
    assert (tmp_path / "report.html").exists()


def test_nothing_to_write_is_told(tmp_path):
    values = made()
    del values["samples"]
    with pytest.raises(InputError, match="export: nothing was recovered or made"):
        exported(values, tmp_path)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"millimetres": -1.0}, "millimetres must lie"),
        ({"millimetres": 1e-300}, "millimetres must lie"),  # a file would hold zeros
        ({"faces": 5}, "faces must be"),
        ({"faces": 50, "format": "npz"}, "faces must be"),
        ({"keep": "some"}, "keep must be"),
        ({"keep": 0}, "keep must be"),
        ({"keep": "9" * 5000}, "keep must be"),
        ({"smoothing": -1}, "smoothing must lie"),
        ({"limit": 0}, "limit and views must be"),
    ],
)
def test_bad_settings_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Export(**settings)
