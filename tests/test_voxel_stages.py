"""The stages of voxel pipelines: their parts against brute force, and tiny runs from the command line to the mesh."""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from conftest import seeded

import energies
from data import furniture, voxels
from data.errors import InputError
from energies import Chain, Hidden, LocalReference, Noisy, Schedule
from pipelines import checkpoint, run
from pipelines.measures import solids as measures
from pipelines.pipeline import Pipeline, Run
from pipelines.stages.voxels import Export, Hide, Interpolate, Learn, Load, Recover, Select
from pipelines.stages.voxels.grids import averaged, likeliest, pack, top_of_blocks, unpack
from pipelines.stages.voxels.hide import box, half, scattered
from pipelines.stages.voxels.learn import _crop

TINY = [
    "load.count=60", "load.size=16", "learn.optimizer.steps=6", "learn.energy.shapes.widths=[8, 12]",
    "learn.energy.shapes.depths=[1, 1]", "learn.batch=2",
]  # fmt: skip
SHOWN = ["export.views=2", "export.num=2"]


@pytest.fixture(scope="module")
def recovered(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "recovery"
    assert run.main(["voxel_recovery", *TINY, *SHOWN, f"out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory) -> Path:
    """A run whose energy was learned to synthesise whole shapes, and was asked for ways between some."""
    out = tmp_path_factory.mktemp("runs") / "encoder"
    settings = [
        "learn.energy.encoder.widths=[8, 12]", "learn.energy.encoder.depths=[1, 1]", "learn.optimizer.steps=20",
        "learn.objective.score_matching.level=1.0", "learn.batch=8", "interpolate.pairs=1", "interpolate.steps=4",
    ]  # fmt: skip
    assert run.main(["voxel_interpolation", *TINY[:2], *settings, *SHOWN, f"out={out}"]) == 0
    return out


def metrics_of(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


# ------------------------------------------------------------------------------------------- grids


def test_the_likeliest_solid_maximises_the_expected_overlap():
    field = torch.rand(1, 1, 2, 2, 2, generator=seeded(0)) * 2 - 1
    hidden = torch.tensor([True] * 6 + [False] * 2).view(1, 1, 2, 2, 2)
    p = (field[hidden] + 1) / 2

    def expected(chosen: torch.Tensor) -> float:  # the ratio of means that the rule goes by
        inside = p[chosen].sum()
        return float(inside / (chosen.sum() + p[~chosen].sum())) if chosen.any() else 0.0

    best = max(expected(torch.tensor(chosen)) for chosen in product([False, True], repeat=6))
    solid = likeliest(field, hidden)
    assert expected(solid[hidden]) == pytest.approx(best)
    assert torch.equal(solid[~hidden], field[~hidden] > 0)


def test_blocks_hold_as_many_voxels_as_was_measured_and_the_likeliest():
    truth = torch.rand(3, 1, 8, 8, 8, generator=seeded(1)) < 0.3
    coarse = torch.nn.functional.avg_pool3d(truth.float() * 2 - 1, 4)
    field = torch.rand(3, 1, 8, 8, 8, generator=seeded(2))
    solid = top_of_blocks(field, coarse)
    assert torch.equal(torch.nn.functional.avg_pool3d(solid.float() * 2 - 1, 4), coarse)
    block, inside = field[0, 0, :4, :4, :4], solid[0, 0, :4, :4, :4]
    assert block[inside].min() >= block[~inside].max()
    assert torch.equal(top_of_blocks(truth.float(), coarse), truth)


def test_packing_and_averaging():
    solid = torch.rand(3, 1, 8, 8, 8, generator=seeded(3)) < 0.5
    bits = pack(solid)
    assert torch.equal(unpack(bits, 8) > 0, solid)
    assert torch.equal(averaged(bits, 8, 4), torch.nn.functional.avg_pool3d(solid.float() * 2 - 1, 2))


@pytest.mark.parametrize(
    ("mask", "share"),
    [
        (lambda rng: scattered(16, 0.7, rng), 0.7),
        (lambda rng: half(16, rng), 0.5),
        (lambda rng: box(16, 8, rng), 1 / 8),
    ],
)
def test_masks_hide_their_share(mask, share):
    masks = torch.stack([mask(seeded(k)) for k in range(20)])
    assert float(masks.float().mean()) == pytest.approx(share, abs=0.02)
    assert len({tuple(m.flatten().tolist()) for m in masks}) > 3


# ---------------------------------------------------------------------------------------- measures


def test_overlap_counts_only_where_it_should():
    a = torch.tensor([True, True, False, False]).view(1, 1, 1, 2, 2)
    b = torch.tensor([True, False, True, False]).view(1, 1, 1, 2, 2)
    everywhere = torch.ones_like(a)
    assert measures.overlap(a, b, everywhere).item() == pytest.approx(1 / 3)
    assert measures.overlap(a, b, a).item() == pytest.approx(1 / 2)
    assert measures.score(a, b, everywhere) == {"iou": pytest.approx(1 / 3), "voxel_error": pytest.approx(1 / 2)}


def test_two_collections_of_one_law_cannot_be_told_apart():
    rng = seeded(4)
    one, two = (torch.rand(200, 1, 4, 4, 4, generator=rng) < 0.5 for _ in range(2))
    other = (torch.rand(1, 1, 4, 4, 4, generator=rng) < 0.5) ^ (torch.rand(200, 1, 4, 4, 4, generator=rng) < 0.1)
    assert abs(measures.two_sample(one, two) - 0.5) < 5 * 0.5 / 400**0.5
    assert measures.two_sample(one, other) > 0.9
    assert measures.coverage(one, one) == 1.0 and measures.coverage(one[:1], two) == 1 / 200


def test_specks_are_no_part_of_a_whole():
    solid = torch.zeros(2, 1, 8, 8, 8, dtype=torch.bool)
    solid[:, :, :4, :4, :4] = True
    solid[1, :, 6:, 6:, 6:] = True
    assert measures.whole_share(solid) == 0.5


# -------------------------------------------------------------------------------------------- runs


def test_recovery_beats_the_mean_shape_and_leaves_what_is_seen(recovered):
    found = metrics_of(recovered)
    assert found["recovery"]["iou"] > found["baselines"]["class_mean"]["iou"] + 0.1
    assert set(found["baselines"]) == {"class_mean", "nearest_shape", "blurred_visible"}
    hide, recover = (checkpoint.load_values(recovered / name) for name in ("02_hide", "04_recover"))
    assert hide is not None and recover is not None
    seen = ~hide["hidden"]
    assert torch.equal(recover["solids"][seen], hide["targets"][seen] > 0)
    assert torch.equal(recover["fields"][seen], hide["targets"][seen].half())
    num = len(recover["samples"])
    assert torch.equal(recover["samples"][seen[:num]] > 0, hide["targets"][:num][seen[:num]] > 0)


def test_meshes_are_watertight_and_the_report_shows_them(recovered):
    files = sorted((recovered / "shapes").glob("*.stl"))
    assert len(files) == 2
    for file in files:
        mesh = trimesh.load_mesh(file)
        assert mesh.is_watertight and mesh.volume > 0
    page = (recovered / "report.html").read_text()
    assert 'canvas class="shape"' in page and "nearest shape" in page
    for name in ("contact_sheet.png", "turntable.gif", "energy/energy.json"):
        assert (recovered / name).stat().st_size > 0


def test_a_learned_energy_serves_other_tasks_and_formats(recovered, tmp_path):
    out = tmp_path / "half"
    arguments = [
        "hide.half=true",
        f"learn.pretrained={recovered / 'energy'}",
        "export.format=glb",
        "export.millimetres=80",
    ]
    assert run.main(["voxel_recovery", *TINY[:2], *SHOWN, *arguments, f"out={out}"]) == 0
    assert metrics_of(out)["hidden_share"] == 0.5
    size = trimesh.load(out / "shapes" / "shape_000.glb").extents.max()
    assert 0.04 < size <= 0.081  # metres


def test_synthesis_from_nothing_to_a_mesh_and_on_to_finer_ones(tmp_path):
    # Two stages of learning: whole shapes at 8^3, then details at 16^3.
    text = """
modality: voxels
stages:
  - load: {count: 60, size: 16}
  - learn: {size: 8, batch: 2, energy: {shapes: {widths: [8], depths: [1]}}, optimizer: {steps: 4}}
  - synthesize: {num: 4, unmasking: {sweeps: 1}}
  - learn: {batch: 2, energy: {shapes: {widths: [8], depths: [1], rank: 0}}, optimizer: {steps: 4}}
  - super_resolve: {factor: 2}
  - evaluate_synthesis: {}
  - export: {num: 2, views: 2, keep: 1, format: npz}
"""
    file = tmp_path / "chain.yaml"
    file.write_text(text)
    out = tmp_path / "run"
    assert run.main([str(file), f"out={out}"]) == 0
    coarse, fine = (checkpoint.load_values(out / name) for name in ("03_synthesize", "05_super_resolve"))
    assert coarse is not None and fine is not None
    averages = torch.nn.functional.avg_pool3d(fine["coarse"], 2)
    assert (averages - coarse["coarse"]).abs().max() < 1e-4
    assert voxels.read(out / "shapes" / "shape_000.npz").shape == (16, 16, 16)


def test_super_resolution_in_two_steps_holds_what_was_measured(tmp_path):
    out = tmp_path / "run"
    tiny = [
        "load.count=40", "load.size=16", "coarsen.size=4", "coarsen.num=4", "03_learn.size=8",
        "03_learn.optimizer.steps=4", "03_learn.energy.shapes.widths=[8]", "03_learn.energy.shapes.depths=[1]",
        "05_learn.optimizer.steps=4", "05_learn.energy.shapes.widths=[8]", "05_learn.energy.shapes.depths=[1]",
    ]  # fmt: skip
    assert run.main(["voxel_super_resolution_64", *tiny, *SHOWN, f"out={out}"]) == 0
    measured, last = (checkpoint.load_values(out / name) for name in ("02_coarsen", "06_super_resolve"))
    assert measured is not None and last is not None
    again = torch.nn.functional.avg_pool3d(last["solids"].float() * 2 - 1, 4)
    assert torch.equal(again, measured["coarse"])
    assert metrics_of(out)["to"] == 16


def test_super_resolution_is_scored_beside_simple_methods(recovered, tmp_path):
    out = tmp_path / "run"
    arguments = [*TINY[:2], f"learn.pretrained={recovered / 'energy'}", "coarsen.size=8", "coarsen.num=4", *SHOWN]
    assert run.main(["voxel_super_resolution", *arguments, f"out={out}"]) == 0
    assert set(metrics_of(out)["baselines"]) > {"nearest", "trilinear", "cubic", "nearest_shape"}


def test_interpolation_starts_and_ends_at_the_shapes(recovered, tmp_path):
    out = tmp_path / "run"
    arguments = [*TINY[:2], f"learn.pretrained={recovered / 'energy'}", "interpolate.pairs=1", "interpolate.steps=3"]
    assert run.main(["voxel_interpolation", *arguments, *SHOWN, f"out={out}"]) == 0
    load, path = (checkpoint.load_values(out / name) for name in ("01_load", "03_interpolate"))
    assert load is not None and path is not None
    ends = unpack(load["shapes"]["validation"][:2], 16) > 0
    assert torch.equal(path["solids"][[0, 2]], ends)
    assert set(metrics_of(out)) == {"path", "cross_fade"}


# ------------------------------------------------------------------------- one energy for every task


def values_of(out: Path, name: str) -> dict:
    found = checkpoint.load_values(next(out.glob(f"*_{name}")))
    assert found is not None
    return found


def test_an_energy_for_synthesis_interpolates_between_the_very_shapes(synthesised):
    path, load = values_of(synthesised, "interpolate"), values_of(synthesised, "load")
    ends = unpack(load["shapes"]["validation"][:2], 16) > 0
    assert torch.equal(path["fields"][[0, 3]], ends.half() * 2 - 1) and torch.equal(path["solids"][[0, 3]], ends)
    assert not torch.equal(path["solids"][1], path["solids"][2])
    assert set(metrics_of(synthesised)) == {"path", "cross_fade"}


def test_an_energy_for_synthesis_recovers_by_conditioning_and_stays_with_what_is_seen(synthesised, tmp_path, capsys):
    out = tmp_path / "run"
    settings = ["hide.num=4", "recover.samples=2", "recover.mean.levels=3", "recover.generator.schedule.levels=3"]
    sampler = ["recover.generator.schedule.steps=2", "recover.sampler.mala.step_size=0.3"]
    arguments = [*TINY[:2], *settings, *sampler, *SHOWN, f"learn.pretrained={synthesised}"]
    assert run.main(["voxel_recovery", *arguments, f"out={out}"]) == 0
    assert "the recovery is conditioned" in capsys.readouterr().out
    hide, recover, found = values_of(out, "hide"), values_of(out, "recover"), metrics_of(out)
    seen = ~hide["hidden"]
    assert torch.equal(recover["fields"][seen], hide["targets"][seen].half())
    assert torch.equal(recover["solids"][seen], hide["targets"][seen] > 0)
    assert torch.equal(recover["samples"][seen[:2]], hide["targets"][:2][seen[:2]].half())
    assert found["way"] == "conditioned" and found["seconds"]["conditioned"] > 0 and "ways" not in found
    assert recover["sampling"]["summary"]["acceptance"] is not None  # mala took the steps


def test_both_ways_stand_beside_each_other(recovered, synthesised, tmp_path, capsys):
    out = tmp_path / "run"
    settings = ["hide.num=3", "recover.samples=1", "recover.unmasking.sweeps=0", "recover.mean.levels=2"]
    energies_of = [f"learn.pretrained={recovered}", f"recover.prior={synthesised}"]
    assert run.main(["voxel_recovery", *TINY[:2], *settings, *energies_of, *SHOWN, f"out={out}"]) == 0
    told, found = capsys.readouterr().out, metrics_of(out)
    assert list(found["ways"]) == list(found["seconds"]) == ["amortised", "conditioned"]
    both = found["ways"]
    assert both["amortised"]["iou"] == found["recovery"]["iou"] != both["conditioned"]["iou"]
    assert "\nconditioned  " in told and "the recovery is amortised" in told and "conditioned in" in told


def test_an_energy_for_synthesis_refines_and_holds_block_means(synthesised, tmp_path):
    out = tmp_path / "run"
    settings = ["coarsen.size=8", "coarsen.num=4", "super_resolve.mean.levels=3", f"learn.pretrained={synthesised}"]
    assert run.main(["voxel_super_resolution", *TINY[:2], *settings, *SHOWN, f"out={out}"]) == 0
    fine, measured = values_of(out, "super_resolve"), values_of(out, "coarsen")["measured"]
    pool = torch.nn.functional.avg_pool3d
    assert (pool(fine["coarse"], 2) - measured).abs().max() < 1e-5
    assert torch.equal(pool(fine["solids"].float() * 2 - 1, 2), measured)
    assert metrics_of(out)["way"] == "conditioned"


def test_noise_is_on_what_is_seen_and_all_is_found_anew(recovered, synthesised, tmp_path):
    out = tmp_path / "run"
    settings = ["hide.num=4", "hide.noise=0.5", "recover.samples=1", "recover.mean.levels=3"]
    arguments = [*TINY[:2], *settings, *SHOWN, f"learn.pretrained={synthesised}", f"recover.prior={recovered}"]
    assert run.main(["voxel_recovery", *arguments, "recover.generator.schedule.levels=3", f"out={out}"]) == 0
    hide, recover = values_of(out, "hide"), values_of(out, "recover")
    assert isinstance(hide["observation"], Noisy) and isinstance(hide["observation"].operator, Hidden)
    seen = ~hide["hidden"]
    error = (hide["measured"] - hide["targets"])[seen]
    assert float(error.std()) == pytest.approx(0.5, abs=5 * 0.5 / (2 * len(error)) ** 0.5)
    assert not torch.equal(recover["solids"][seen], hide["measured"][seen] > 0)
    assert set(recover["ways"]) == {"conditioned", "prior"}  # the energy of recovery was not told of noise


def test_the_published_energy_recovers_by_conditioning(tmp_path):
    out = tmp_path / "run"
    settings = [
        "load.count=30", "load.size=16", "learn.energy=descriptor_net", "learn.objective.maximum_likelihood.steps=2",
        "learn.optimizer.steps=2", "learn.batch=2", "hide.num=2", "recover.samples=1",
        "recover.generator.chain.steps=3", "recover.generator.chain.step_size=0.01", *SHOWN,
    ]  # fmt: skip
    assert run.main(["voxel_recovery", *settings, f"out={out}"]) == 0
    assert metrics_of(out)["way"] == "conditioned"
    hide, recover = values_of(out, "hide"), values_of(out, "recover")
    assert torch.equal(recover["fields"][~hide["hidden"]], hide["targets"][~hide["hidden"]].half())
    assert values_of(out, "learn")["generator"] == Chain(300, 0.01, 0.1, bound=1.5)


def test_every_energy_comes_with_how_it_is_sampled(recovered, synthesised):
    shapes, encoder = (values_of(out, "learn")["generator"] for out in (recovered, synthesised))
    assert isinstance(shapes, Schedule) and shapes.steps > 0 and encoder == Schedule(24, 20.0, 0.05)


def test_an_energy_of_details_is_told_to_know_nothing_whole(tmp_path, capsys):
    settings = [*TINY[:3], "learn.energy.shapes.widths=[8]", "learn.energy.shapes.depths=[1]", "learn.batch=2"]
    details = [*settings, "learn.energy.shapes.rank=0", "hide.num=2", "recover.samples=1", *SHOWN]
    assert run.main(["voxel_recovery", *details, f"out={tmp_path / 'fine'}"]) == 0
    assert run.main(["voxel_recovery", *details, "hide.noise=0.2", f"out={tmp_path / 'noisy'}"]) == 2
    assert "knows nothing whole" in capsys.readouterr().err.splitlines()[-1]


def test_half_way_little_is_seen_of_either_end(tmp_path):
    ends = torch.stack([torch.full((1, 16, 16, 16), -1.0), torch.full((1, 16, 16, 16), 1.0)])
    x, hidden = Interpolate(middle=0.1)._seen(ends, torch.tensor([0.0, 0.5, 1.0]), Run(tmp_path, tmp_path))
    assert not hidden[0].any() and not hidden[2].any() and (x[0] == -1).all() and (x[2] == 1).all()
    for end in (-1, 1):
        assert float((x[1] == end).float().mean()) == pytest.approx(0.1, abs=5 * (0.1 * 0.9 / 4096) ** 0.5)


def test_any_size_is_learned_and_another_than_the_shapes_is_told(tmp_path, capsys):
    tiny = ["load.count=40", "load.size=18", "learn.batch=1", "learn.optimizer.steps=17", *TINY[3:5]]
    settings = [*tiny, "hide.num=2", "recover.samples=1", "recover.unmasking.sweeps=0", *SHOWN]
    assert run.main(["voxel_recovery", *settings, f"out={tmp_path / 'a'}"]) == 0
    assert run.main(["voxel_recovery", *settings, "learn.size=9", f"out={tmp_path / 'b'}"]) == 2
    assert "recover: the shapes are 18 voxels a side" in capsys.readouterr().err


def test_an_energy_that_knows_the_shapes_to_judge_by_is_refused(recovered, tmp_path, capsys):
    settings = [*TINY[:2], "load.validation=0.5", f"learn.pretrained={recovered / 'energy'}", f"out={tmp_path / 'run'}"]
    assert run.main(["voxel_recovery", *settings]) == 2
    assert "that are to be judged by" in capsys.readouterr().err


def test_an_own_shape_is_seen_coarsely_and_refined(recovered, tmp_path):
    solid, _ = furniture.make("chair", seed=9, index=0, size=16)
    np.savez(tmp_path / "chair.npz", solid)
    settings = [
        *TINY[:2], f"learn.pretrained={recovered / 'energy'}", "coarsen.size=4",
        f"coarsen.shape={tmp_path / 'chair.npz'}", *SHOWN, f"out={tmp_path / 'run'}",
    ]  # fmt: skip
    assert run.main(["voxel_super_resolution", *settings]) == 0
    found = metrics_of(tmp_path / "run")
    assert found["recovery"]["iou"] > found["baselines"]["nearest"]["iou"]


def test_details_do_not_see_what_is_hidden():
    hidden = torch.rand(2, 1, 16, 16, 16, generator=seeded(5)) < 0.7
    y = torch.ones(2, 1, 16, 16, 16)
    fills = [LocalReference().context(Hidden(hidden), torch.where(hidden, v, y)).estimate for v in (0.0, 9.0)]
    assert torch.equal(*fills)


@pytest.mark.parametrize("side", [16, 20, 32, 50])
def test_crops_lie_within_the_grid_and_around_what_is_set(side):
    shape = torch.full((1, side, side, side), -1.0)
    shape[0, side // 2, 1, side - 2] = 1.0
    crop = _crop(shape, seeded(0))
    assert list(crop.shape) == [1, *[min(side, 32)] * 3] and (crop > 0).sum() == 1


def test_text_labels_and_files_of_a_folder(tmp_path):
    pieces = np.stack([furniture.make("chair", seed=k, index=0, size=16)[0] for k in range(24)])
    np.savez(tmp_path / "all.npz", grids=pieces, labels=np.array(["soft", "hard"] * 12))
    shapes = Load(str(tmp_path / "all.npz"))({}, Run(tmp_path, tmp_path))["shapes"]
    assert shapes["classes"] == ["hard", "soft"] and set(shapes["train_labels"].tolist()) == {0, 1}
    assert Load(str(tmp_path)).files() == (str(tmp_path / "all.npz"),)


def test_a_damaged_energy_is_told(recovered, tmp_path, capsys):
    folder = tmp_path / "energy"
    shutil.copytree(recovered / "energy", folder)
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    settings = [*TINY[:2], f"learn.pretrained={folder}", f"out={tmp_path / 'run'}"]
    assert run.main(["voxel_recovery", *settings]) == 2
    assert "model.safetensors is damaged" in capsys.readouterr().err


def test_shapes_sorted_by_class_are_shuffled(tmp_path):
    values = Load(count=80, size=8)({}, Run(tmp_path, tmp_path))["shapes"]
    labels = values["train_labels"]
    assert int((labels[1:] != labels[:-1]).sum()) > len(labels) / 2
    again = Load(count=80, size=8)({}, Run(tmp_path, tmp_path, seed=0))["shapes"]
    assert torch.equal(values["validation"], again["validation"])


def test_features_are_compared_with_simple_ones(tmp_path):
    out = tmp_path / "run"
    small = ["learn.energy.encoder.widths=[4, 8]", "learn.energy.encoder.depths=[0, 1]", "learn.optimizer.steps=2"]
    assert run.main(["voxel_features", *TINY[:2], *small, f"out={out}"]) == 0
    accuracy = metrics_of(out)["accuracy"]
    assert set(accuracy) == {"energy", "random_network", "raw_voxels", "principal_components", "nearest_shape"}
    assert accuracy["nearest_shape"] > 0.5


def test_features_want_the_energy_that_has_them(recovered, capsys, tmp_path):
    arguments = [*TINY[:2], f"learn.pretrained={recovered / 'energy'}"]
    assert run.main(["voxel_features", *arguments, f"out={tmp_path}"]) == 2
    assert "learn.energy=encoder" in capsys.readouterr().err.splitlines()[-1]


def test_the_published_energy_learns_and_synthesises(tmp_path):
    settings = [
        "load.count=30", "load.size=16",
        "learn.objective.maximum_likelihood.steps=2", "learn.optimizer.steps=2", "learn.batch=2", "synthesize.num=2",
        "synthesize.generator.chain.steps=3", "export.keep=1", *SHOWN,
    ]  # fmt: skip
    status = run.main(["voxel_synthesis_descriptor", *settings, f"out={tmp_path / 'run'}"])
    assert status in (0, 2)  # 2: an empty grid is refused


COARSE = [
    "load.count=40", "load.size=16", "02_learn.size=8", "02_learn.energy.encoder.widths=[4, 8]",
    "02_learn.energy.encoder.depths=[1, 1]", "02_learn.optimizer.steps=3", "02_learn.batch=4", "synthesize.num=4",
    "synthesize.generator.schedule.levels=3", "04_learn.optimizer.steps=3", "04_learn.energy.shapes.widths=[8, 12]",
    "04_learn.energy.shapes.depths=[1, 1]", "04_learn.batch=2", *SHOWN,
]  # fmt: skip


def test_coarse_shapes_of_a_class_are_made_and_refined(tmp_path):
    out = tmp_path / "run"
    assert run.main(["voxel_synthesis", *COARSE, "synthesize.label=lamp", f"out={out}"]) in (0, 2)
    values = checkpoint.load_values(out / "03_synthesize")
    assert values["coarse"].shape == (4, 1, 8, 8, 8) and torch.equal(values["coarse"], values["measured"])
    refined = checkpoint.load_values(out / "05_super_resolve")
    assert refined["solids"].shape == (4, 1, 16, 16, 16) and refined["fields"].abs().max() <= 1
    energy = checkpoint.load_values(out / "02_learn")["energy"]
    assert energy.classes == ("chair", "table", "shelf", "lamp") and energy.num_classes == 4
    metrics = json.loads((out / "metrics.json").read_text())
    assert "in_one_part" in metrics["samples"] and metrics["selection"]["made"] == 4


def test_shapes_that_fall_apart_are_rejected_and_the_closest_stays_where_all_do(tmp_path):
    whole, apart, closer = (torch.zeros(1, 8, 8, 8, dtype=torch.bool) for _ in range(3))
    whole[0, :4], apart[0, 0], apart[0, 4], closer[0, :4], closer[0, 6, :2] = True, True, True, True, True
    empty = torch.zeros_like(whole)
    assert measures.largest_shares(torch.stack([whole, apart, empty])).tolist() == [1.0, 0.5, 0.0]
    for shapes, kept, found in (
        ([apart, whole, closer], [1], 1),
        ([apart, closer, empty], [1], 0),
        ([whole] * 2, [0, 1], 2),
    ):
        solids = torch.stack(shapes)
        fields = torch.arange(len(shapes)).view(-1, 1, 1, 1, 1).expand(-1, 1, 8, 8, 8).float()
        values = {"solids": solids, "fields": fields, "coarse": fields, "measured": fields}
        given = Select()(values, Run(tmp_path, tmp_path))
        assert torch.equal(given["measured"], fields[kept])
        assert given["fields"][:, 0, 0, 0, 0].tolist() == kept and torch.equal(given["solids"], solids[kept])
        assert given["selection"] == {"made": len(shapes), "whole": found, "kept": len(kept)}
    with pytest.raises(InputError, match="select is for new shapes"):
        Select()(values | {"targets": fields}, Run(tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["synthesize.label=sofa"], "the classes are chair, table, shelf, lamp"),
        (["super_resolve.exact=true"], "polish must"),
        (["select.whole=2"], "whole must lie in"),
        (["02_learn.conditional=false", "synthesize.label=lamp"], "was not learned by class"),
    ],
)
def test_bad_ways_to_make_coarse_shapes_are_told_in_one_line(settings, words, capsys, tmp_path):
    assert run.main(["voxel_synthesis", *COARSE, *settings, f"out={tmp_path / 'run'}"]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


JOINT = [
    "load.count=60", "load.size=16", "learn_joint.widths=[8, 12]", "learn_joint.depths=[1, 1]",
    "learn_joint.optimizer.steps=3", "learn_joint.batch=4", "classify.samples=4",
    "classify.generator.schedule.levels=3",
]  # fmt: skip


def test_one_network_classifies_shapes_and_makes_some_of_each_class(tmp_path, capsys):
    out = tmp_path / "run"
    assert run.main(["voxel_classification", *JOINT, f"out={out}"]) == 0
    found, values = metrics_of(out), checkpoint.load_values(out / "03_classify")
    assert 0 <= found["joint"]["accuracy"] <= 1 and found["judge_accuracy"] > 0.5 and 0 <= found["of_their_class"] <= 1
    assert values["samples"].shape == (4, 1, 16, 16, 16)
    energy, plain = (energies.load(out / name) for name in ("energy", "plain"))
    assert energy.classes == ("chair", "table", "shelf", "lamp") and energy.noisy and not plain.noisy
    assert (out / "samples.png").exists() and "reliability" in (out / "report.html").read_text()
    again = ["load.count=60", "load.size=16", f"learn_joint.pretrained={out}", "classify.samples=0"]
    assert run.main(["voxel_classification", *again, f"out={tmp_path / 'again'}"]) == 0
    assert metrics_of(tmp_path / "again")["joint"] == found["joint"]
    other = ["load.count=60", f"learn_joint.pretrained={out}", f"out={tmp_path / 'other'}"]
    assert run.main(["voxel_classification", *other]) == 2
    assert "is an energy of 1x16x16x16, the shapes are 1x32x32x32" in capsys.readouterr().err.splitlines()[-1]


def test_an_own_coarse_grid_is_refined_as_it_is(recovered, tmp_path):
    solid = furniture.make("chair", seed=9, index=0, size=8)[0]
    np.savez(tmp_path / "coarse.npz", solid)
    arguments = [
        *TINY[:2],
        f"learn.pretrained={recovered}",
        f"coarsen.shape={tmp_path / 'coarse.npz'}",
        "coarsen.size=8",
    ]
    out = tmp_path / "run"
    assert run.main(["voxel_super_resolution", *arguments, *SHOWN, f"out={out}"]) == 0
    measured = checkpoint.load_values(next(out.glob("*_coarsen")))["measured"]
    assert torch.equal(measured[0, 0] > 0, torch.as_tensor(solid)) and measured.abs().min() == 1
    assert not metrics_of(out)["truth_known"]
    wrong = [*TINY[:2], f"learn.pretrained={recovered}", f"coarsen.shape={tmp_path / 'coarse.npz'}", "coarsen.size=4"]
    assert run.main(["voxel_super_resolution", *wrong, f"out={tmp_path / 'wrong'}"]) == 2


def test_what_was_seen_is_written_though_it_hangs_in_the_air(tmp_path):
    solid = torch.zeros(1, 12, 12, 12, dtype=torch.bool)
    solid[0, :6, :6, :6], solid[0, 8:10, 8:10, 8:10], solid[0, 8:10, :2, 8:10] = True, True, True
    seen = torch.zeros_like(solid)
    seen[0, 8, 8, 8] = True
    for given, voxels_left in ((None, 216), (seen, 224)):
        assert voxels.write(solid, tmp_path / "x.npz", seen=given).voxels == voxels_left


def test_a_label_that_there_is_not_is_told_before_anything_is_learned(capsys, tmp_path):
    assert run.main(["voxel_synthesis", *COARSE, "synthesize.label=lmap", f"out={tmp_path}"]) == 2
    assert "the classes are chair, table, shelf, lamp" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "02_learn").exists()


def test_an_own_shape_and_mask_are_recovered_and_nothing_is_scored(recovered, tmp_path):
    solid, _ = furniture.make("chair", seed=9, index=0, size=16)
    mask = np.zeros((16, 16, 16), bool)
    mask[:8] = True
    np.savez(tmp_path / "chair.npz", solid & ~mask)
    np.savez(tmp_path / "mask.npz", mask)
    out = tmp_path / "run"
    arguments = [
        *TINY[:2], f"learn.pretrained={recovered / 'energy'}", f"hide.shape={tmp_path / 'chair.npz'}",
        f"hide.mask={tmp_path / 'mask.npz'}", *SHOWN,
    ]  # fmt: skip
    assert run.main(["voxel_recovery", *arguments, f"out={out}"]) == 0
    found = metrics_of(out)
    assert found["truth_known"] is False and "recovery" not in found


def test_the_same_command_gives_the_same_and_resumes(recovered, tmp_path, capsys):
    assert run.main(["voxel_recovery", *TINY, *SHOWN, f"out={recovered}"]) == 0
    assert "finished by an earlier command" in capsys.readouterr().out
    values = Pipeline(
        [
            Load(count=60, size=16),
            Learn(pretrained=str(recovered / "energy")),
            Hide(),
            Recover(),
            Export(num=1, views=2, format="npz"),
        ]
    ).run(tmp_path / "again")
    before = checkpoint.load_values(recovered / "04_recover")
    assert before is not None and torch.equal(before["solids"], values["solids"])


def test_a_finished_run_is_exported_anew_and_says_what_could_not_be_met(recovered, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(recovered, out)
    assert run.main(["voxel_recovery", *TINY, *SHOWN, "export.format=obj", "export.faces=20", f"out={out}"]) == 0
    told = capsys.readouterr()
    assert told.err.count("done before") == 5 and "[6/6] export\n" in told.err
    assert not list((out / "shapes").glob("*.stl"))
    assert list((out / "shapes").glob("*.obj")) and "with about 20 it would not stay watertight" in told.out
    assert "with about 20 it would not stay watertight" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("load.voxels=nowhere.stl", "nowhere.stl"),
        ("load.count=5", "count must be 20"),
        ("load.validation=0", "validation must lie"),
        ("hide.box=99", "hide.box=99 does not fit"),
        ("hide.voxels=1.5", "voxels must lie"),
        ("hide.noise=0", "noise must be positive"),
        ("recover.prior=nowhere", "prior=nowhere: no such file or folder"),
        ("recover.warm_up=-1", "warm_up must be 0, or 50 or more"),
        ("learn.pretrained=nowhere", "nowhere: holds no energy"),
        ("learn.size=-8", "size must be 8"),
        ("learn.folds=100", "folds 2 to"),
        ("learn.energy.shapes.remembered=0", "remembered must be"),
        ("export.millimetres=-1", "millimetres must be"),
        ("export.faces=5", "faces must be"),
        ("learn.size=9", "does not divide"),
        ("learn.objective=maximum_likelihood", "objective must be denoising"),
        ("export.format=dxf", "format"),
        ("export.keep=some", "keep must be"),
    ],
)
def test_bad_settings_are_one_line(setting, told, tmp_path, capsys):
    settings = ["load.size=8", "learn.optimizer.steps=1", setting, f"out={tmp_path / 'run'}"]
    assert run.main(["voxel_recovery", *settings, *["load.count=30"] * ("count" not in setting)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert told in line and "Traceback" not in line
