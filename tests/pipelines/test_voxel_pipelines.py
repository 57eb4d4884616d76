"""Pipelines of shapes, tiny, from the command line to the mesh."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from data import furniture, voxels
from energies import Chain, Hidden, Noisy, Schedule
from pipelines import checkpoint, run
from pipelines.measures import judge
from pipelines.modalities import modality_of
from pipelines.modalities.voxels import Export, Hide, Learn, Load, Recover
from pipelines.pipeline import Pipeline

VOXELS = modality_of("voxels")
DATA = ["load.count=60", "load.size=16"]
NETWORK = ["learn.energy.amortised.widths=[8, 12]", "learn.energy.amortised.depths=[1, 1]"]
TINY = [*DATA, *NETWORK, "learn.steps=6", "learn.batch=2"]
SHOWN = ["export.views=2", "export.limit=2"]
COARSE = [
    "load.count=40", "load.size=16", "02_learn.size=8", "02_learn.energy.encoder.widths=[4, 8]",
    "02_learn.energy.encoder.depths=[1, 1]", "02_learn.steps=3", "02_learn.batch=4", "synthesize.num=4",
    "synthesize.generator.schedule.levels=3", "04_learn.steps=3", "04_learn.energy.amortised.widths=[8, 12]",
    "04_learn.energy.amortised.depths=[1, 1]", "04_learn.batch=2", *SHOWN,
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick_judge() -> Iterator[None]:
    """Classifiers of less learning: what is tested is not how well they judge."""
    steps, judge.STEPS = judge.STEPS, 4
    yield
    judge.STEPS = steps


@pytest.fixture(scope="module")
def recovered(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "recovery"
    assert run.main(["voxel_recovery", *TINY, *SHOWN, f"out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory) -> Path:
    """A run whose energy was learned to synthesise whole shapes."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "encoder.yaml").write_text("""
modality: voxels
stages:
  - load: {count: 60, size: 16}
  - learn: {energy: {encoder: {widths: [8, 12], depths: [1, 1]}}, objective: {score_matching: {level: 1.0}}, steps: 20}
""")
    assert run.main([str(folder / "encoder.yaml"), "learn.batch=8", f"out={folder / 'run'}"]) == 0
    return folder / "run"


def metrics_of(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


def values_of(out: Path, name: str) -> dict:
    found = checkpoint.load_values(next(out.glob(f"*_{name}")))
    assert found is not None
    return found


def solids_of(out: Path) -> torch.Tensor:
    """The shapes that a recovery decides on."""
    hide, recover = values_of(out, "hide"), values_of(out, "recover")
    return VOXELS.decided(recover["recovered"], hide["observation"], hide["measured"]) > 0


# -------------------------------------------------------------------------------------- recovery


@pytest.mark.slow
def test_recovery_beats_the_mean_shape_and_leaves_what_is_seen(recovered):
    found = metrics_of(recovered)
    assert found["recovery"]["iou"] > found["baselines"]["class_mean"]["iou"] + 0.1
    assert set(found["baselines"]) == {"class_mean", "nearest_shape", "blurred_visible", "mirrored"}
    hide, recover = values_of(recovered, "hide"), values_of(recovered, "recover")
    truth, seen = hide["targets"].float(), ~hide["observation"].mask
    assert torch.equal(recover["recovered"][seen], truth[seen])
    assert torch.equal(solids_of(recovered)[seen], truth[seen] > 0)
    num = len(recover["samples"])
    assert num == 8 and torch.equal(recover["samples"][seen[:num]], truth[:num][seen[:num]])
    assert set(recover["samples"].unique().tolist()) == {-1.0, 1.0}


@pytest.mark.slow
def test_weights_are_on_disk_once(recovered):
    places = [recovered / "03_learn" / "energy", recovered / "energy"]
    assert os.path.samefile(*(place / "model.safetensors" for place in places))


@pytest.mark.slow
def test_a_learned_energy_serves_other_tasks(recovered, tmp_path):
    settings = [*DATA, *SHOWN, "hide.half=true", f"learn.pretrained={recovered / 'energy'}", "export.format=glb"]
    assert run.main(["voxel_recovery", *settings, f"out={tmp_path / 'half'}"]) == 0
    assert metrics_of(tmp_path / "half")["hidden_share"] == 0.5
    assert len(list((tmp_path / "half" / "shapes").glob("*.glb"))) == 2


@pytest.mark.slow
def test_an_energy_for_synthesis_recovers_by_conditioning_and_stays_with_what_is_seen(synthesised, tmp_path, capsys):
    out = tmp_path / "run"
    settings = ["hide.num=4", "recover.samples=2", "recover.mean.levels=3", "recover.generator.schedule.levels=3"]
    sampler = ["recover.generator.schedule.steps=2", "recover.sampler.mala.step_size=0.3"]
    arguments = [*DATA, *settings, *sampler, *SHOWN, f"learn.pretrained={synthesised / '02_learn'}"]
    assert run.main(["voxel_recovery", *arguments, f"out={out}"]) == 0
    assert "the recovery is conditioned" in capsys.readouterr().out
    hide, recover, found = values_of(out, "hide"), values_of(out, "recover"), metrics_of(out)
    truth, seen = hide["targets"].float(), ~hide["observation"].mask
    assert torch.equal(recover["recovered"][seen], truth[seen])
    assert torch.equal(recover["samples"][seen[:2]], truth[:2][seen[:2]])
    assert found["way"] == "conditioned" and list(found["ways"]) == ["conditioned"]
    assert recover["sampling"]["summary"]["acceptance"] is not None  # mala took the steps


@pytest.mark.slow
def test_both_ways_stand_beside_each_other(recovered, synthesised, tmp_path, capsys):
    out = tmp_path / "run"
    settings = ["hide.num=3", "recover.samples=1", "recover.masked.sweeps=0", "recover.mean.levels=2"]
    energies_of = [f"learn.pretrained={recovered}", f"recover.prior={synthesised / '02_learn'}"]
    assert run.main(["voxel_recovery", *DATA, *settings, *energies_of, *SHOWN, f"out={out}"]) == 0
    told, found = capsys.readouterr().out, metrics_of(out)
    assert list(found["ways"]) == list(found["seconds"]) == ["amortised", "conditioned"]
    both = found["ways"]
    assert both["amortised"]["iou"] == found["recovery"]["iou"] != both["conditioned"]["iou"]
    assert "by this energy, conditioned  " in told and "the recovery is amortised" in told


@pytest.mark.slow
def test_noise_is_on_what_is_seen_and_all_is_found_anew(recovered, synthesised, tmp_path):
    out = tmp_path / "run"
    settings = ["hide.num=4", "hide.voxels=0.7", "hide.noise=0.5", "recover.samples=1", "recover.mean.levels=3"]
    arguments = [*DATA, *settings, *SHOWN, f"learn.pretrained={synthesised / '02_learn'}", f"recover.prior={recovered}"]
    assert run.main(["voxel_recovery", *arguments, "recover.generator.schedule.levels=3", f"out={out}"]) == 0
    hide, recover = values_of(out, "hide"), values_of(out, "recover")
    assert isinstance(hide["observation"], Noisy) and isinstance(hide["observation"].operator, Hidden)
    seen = ~hide["observation"].operator.mask
    assert not torch.equal(solids_of(out)[seen], hide["measured"][seen] > 0)
    assert set(recover["ways"]) == {"conditioned", "amortised"}  # the energy of recovery is told signs


@pytest.mark.slow
def test_the_published_energy_recovers_by_conditioning(tmp_path):
    out = tmp_path / "run"
    settings = [
        "load.count=30", "load.size=16", "learn.energy=conv_net", "learn.objective.maximum_likelihood.steps=2",
        "learn.steps=2", "learn.batch=2", "hide.num=2", "recover.samples=1", "recover.generator.chain.steps=3",
        "recover.generator.chain.step_size=0.01", *SHOWN,
    ]  # fmt: skip
    assert run.main(["voxel_recovery", *settings, f"out={out}"]) == 0
    assert metrics_of(out)["way"] == "conditioned"
    hide, recover = values_of(out, "hide"), values_of(out, "recover")
    seen = ~hide["observation"].mask
    assert torch.equal(recover["recovered"][seen], hide["targets"][seen].float())
    assert isinstance(values_of(out, "learn")["generator"], Chain)


@pytest.mark.slow
def test_every_energy_comes_with_how_it_is_sampled(recovered, synthesised):
    amortised, encoder = (values_of(out, "learn")["generator"] for out in (recovered, synthesised))
    assert isinstance(amortised, Schedule) and amortised.steps > 0 and encoder == Schedule(24, 20.0, 0.05)


@pytest.mark.slow
def test_an_energy_of_details_is_told_to_know_nothing_whole(tmp_path, capsys):
    settings = [*DATA, *NETWORK, "learn.energy.amortised.rank=0", "learn.steps=6", "learn.batch=2"]
    details = [*settings, "hide.num=2", "recover.samples=1", *SHOWN]
    assert run.main(["voxel_recovery", *details, f"out={tmp_path / 'fine'}"]) == 0
    noisy = [*details, "hide.noise=0.2", f"learn.pretrained={tmp_path / 'fine'}", f"out={tmp_path / 'noisy'}"]
    assert run.main(["voxel_recovery", *[each for each in noisy if "learn.energy" not in each]]) == 2
    assert "knows nothing whole" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_an_own_shape_and_mask_are_recovered_and_nothing_is_scored(recovered, tmp_path, capsys):
    solid, mask = furniture.make("chair", seed=9, index=0, size=16)[0], np.zeros((16, 16, 16), bool)
    mask[:8] = True
    np.savez(tmp_path / "chair.npz", solid & ~mask)
    np.savez(tmp_path / "mask.npz", mask)
    own = [f"hide.shape={tmp_path / 'chair.npz'}", f"hide.mask={tmp_path / 'mask.npz'}"]
    out = tmp_path / "run"
    assert run.main(["voxel_recovery", *DATA, *own, f"learn.pretrained={recovered}", *SHOWN, f"out={out}"]) == 0
    found = metrics_of(out)
    assert found["truth_known"] is False and "recovery" not in found
    assert "the truth is unknown, so nothing is scored" in capsys.readouterr().out


@pytest.mark.slow
def test_the_same_command_gives_the_same_and_resumes(recovered, tmp_path, capsys):
    assert run.main(["voxel_recovery", *TINY, *SHOWN, f"out={recovered}"]) == 0
    assert "finished by an earlier command" in capsys.readouterr().out
    stages = [
        Load(count=60, size=16), Learn(pretrained=str(recovered / "energy")), Hide(), Recover(samples=0),
        Export(limit=1, views=2, format="npz"),
    ]  # fmt: skip
    values = Pipeline(stages).run(tmp_path / "again")
    assert torch.equal(values_of(recovered, "recover")["recovered"], values["recovered"])


@pytest.mark.slow
def test_a_finished_run_is_exported_anew(recovered, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(recovered, out)
    assert run.main(["voxel_recovery", *TINY, *SHOWN, "export.format=obj", f"out={out}"]) == 0
    assert capsys.readouterr().err.count("done before") == 5
    assert {file.suffix for file in (out / "shapes").iterdir()} == {".obj"}


# ------------------------------------------------------------------------------ super-resolution


@pytest.mark.slow
def test_super_resolution_is_scored_beside_simple_methods_and_holds_block_means(recovered, tmp_path):
    out = tmp_path / "run"
    settings = [*DATA, f"learn.pretrained={recovered}", "hide.num=4", *SHOWN]
    assert run.main(["voxel_super_resolution", *settings, f"out={out}"]) == 0
    assert set(metrics_of(out)["baselines"]) > {"nearest", "trilinear", "cubic", "nearest_shape"}
    assert torch.equal(F.avg_pool3d(solids_of(out).float() * 2 - 1, 2), values_of(out, "hide")["measured"])


@pytest.mark.slow
def test_an_energy_for_synthesis_refines_and_holds_block_means(synthesised, tmp_path):
    out = tmp_path / "run"
    settings = [
        "hide.num=4",
        "recover.mean.levels=3",
        "recover.samples=0",
        f"learn.pretrained={synthesised / '02_learn'}",
    ]
    assert run.main(["voxel_super_resolution", *DATA, *settings, *SHOWN, f"out={out}"]) == 0
    fine, measured = values_of(out, "recover")["recovered"], values_of(out, "hide")["measured"]
    assert (F.avg_pool3d(fine, 2) - measured).abs().max() < 1e-5
    assert torch.equal(F.avg_pool3d(solids_of(out).float() * 2 - 1, 2), measured)
    assert metrics_of(out)["way"] == "conditioned"


@pytest.mark.slow
def test_super_resolution_in_two_steps_holds_what_was_measured(tmp_path):
    out = tmp_path / "run"
    tiny = [
        "load.count=40", "load.size=16", "hide.num=4", "03_learn.size=8", "03_learn.steps=4", "05_learn.steps=4",
        "03_learn.energy.amortised.widths=[8]", "03_learn.energy.amortised.depths=[1]",
        "05_learn.energy.amortised.widths=[8]", "05_learn.energy.amortised.depths=[1]", "04_recover.samples=1",
        "06_recover.samples=1",
    ]  # fmt: skip
    assert run.main(["voxel_super_resolution_64", *tiny, *SHOWN, f"out={out}"]) == 0
    hide, last = (checkpoint.load_values(out / name) for name in ("02_hide", "06_recover"))
    assert hide is not None and last is not None and hide["measured"].shape[-1] == 4
    solid = VOXELS.decided(last["recovered"], hide["observation"], hide["measured"])
    assert solid.shape[-1] == 16 and torch.equal(F.avg_pool3d(solid, 4), hide["measured"])
    assert torch.equal(F.avg_pool3d(last["samples"], 4), hide["measured"][:1])


@pytest.mark.slow
def test_an_own_coarse_grid_is_refined_as_it_is(recovered, tmp_path, capsys):
    solid = furniture.make("chair", seed=9, index=0, size=8)[0]
    np.savez(tmp_path / "coarse.npz", solid)
    settings = [*DATA, f"learn.pretrained={recovered}", f"hide.shape={tmp_path / 'coarse.npz'}", *SHOWN]
    assert run.main(["voxel_super_resolution", *settings, f"out={tmp_path / 'run'}"]) == 0
    measured = values_of(tmp_path / "run", "hide")["measured"]
    assert torch.equal(measured[0, 0] > 0, torch.as_tensor(solid)) and measured.abs().min() == 1
    assert not metrics_of(tmp_path / "run")["truth_known"]
    assert run.main(["voxel_super_resolution", *settings, "hide.average=4", f"out={tmp_path / 'wrong'}"]) == 2


# ------------------------------------------------------------------------------------- synthesis


@pytest.mark.slow
def test_coarse_shapes_of_a_class_are_made_and_refined(tmp_path):
    out = tmp_path / "run"
    assert run.main(["voxel_synthesis", *COARSE, "synthesize.label=lamp", f"out={out}"]) in (0, 2)  # 2: all are empty
    coarse, fine = values_of(out, "synthesize"), values_of(out, "refine")
    assert coarse["soft"].shape == coarse["samples"].shape == (4, 1, 8, 8, 8)
    assert fine["samples"].shape == (4, 1, 16, 16, 16) and fine["soft"].abs().max() <= 1
    energy = checkpoint.load_values(out / "02_learn")
    assert energy is not None and energy["energy"].classes == ("chair", "table", "shelf", "lamp")
    metrics = metrics_of(out)
    assert "in_one_part" in metrics["samples"] and metrics["selection"]["made"] == 4


@pytest.mark.slow
def test_synthesis_from_nothing_to_a_mesh_and_on_to_finer_ones(tmp_path):
    text = """
modality: voxels
stages:
  - load: {count: 60, size: 16}
  - learn: {size: 8, batch: 2, energy: {amortised: {widths: [8], depths: [1]}}, steps: 4}
  - synthesize: {num: 4, masked: {sweeps: 1}}
  - learn: {batch: 2, energy: {amortised: {widths: [8], depths: [1], rank: 0}}, steps: 4}
  - refine: {factor: 2, remask: 0}
  - evaluate: {}
  - export: {limit: 2, views: 2, keep: 1, format: npz}
"""
    file, out = tmp_path / "chain.yaml", tmp_path / "run"
    file.write_text(text)
    assert run.main([str(file), f"out={out}"]) == 0
    coarse, fine = values_of(out, "synthesize")["soft"], values_of(out, "refine")["soft"]
    assert (F.avg_pool3d(fine.float(), 2) - coarse.float()).abs().max() < 2e-3  # of half precision on disk
    assert voxels.read(out / "shapes" / "shape_000.npz").shape == (16, 16, 16)


@pytest.mark.slow
def test_the_published_energy_learns_and_synthesises(tmp_path):
    settings = [
        "load.count=30", "load.size=16", "learn.objective.maximum_likelihood.steps=2", "learn.steps=2",
        "learn.batch=2", "synthesize.num=2", "synthesize.generator.chain.steps=3", "export.keep=1", *SHOWN,
    ]  # fmt: skip
    status = run.main(["voxel_synthesis_descriptor", *settings, f"out={tmp_path / 'run'}"])
    assert status in (0, 2)  # 2: an empty grid is refused


# ----------------------------------------------------------------------------------- told in words


def test_a_label_that_there_is_not_is_told_before_anything_is_learned(capsys, tmp_path):
    assert run.main(["voxel_synthesis", *COARSE, "synthesize.label=lmap", f"out={tmp_path}"]) == 2
    assert "the classes are chair, table, shelf, lamp" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "02_learn").exists()


@pytest.mark.slow
def test_an_energy_that_knows_the_shapes_to_judge_by_is_refused(recovered, tmp_path, capsys):
    settings = [*DATA, "load.validation=0.5", f"learn.pretrained={recovered / 'energy'}", f"out={tmp_path / 'run'}"]
    assert run.main(["voxel_recovery", *settings]) == 2
    assert "that are to be judged by" in capsys.readouterr().err


@pytest.mark.slow
def test_any_size_is_learned_and_another_than_the_shapes_is_told(tmp_path, capsys):
    settings = ["load.count=40", "load.size=18", *NETWORK, "learn.steps=2", "learn.batch=1", "hide.num=2", *SHOWN]
    settings += ["recover.samples=1", "recover.masked.sweeps=0"]
    assert run.main(["voxel_recovery", *settings, f"out={tmp_path / 'a'}"]) == 0
    assert run.main(["voxel_recovery", *settings, "learn.size=9", f"out={tmp_path / 'b'}"]) == 2
    assert "recover: x is 1x18x18x18, the energy of 1x9x9x9" in capsys.readouterr().err


@pytest.mark.slow
def test_a_damaged_energy_is_told(recovered, tmp_path, capsys):
    folder = tmp_path / "energy"
    shutil.copytree(recovered / "energy", folder)
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    assert run.main(["voxel_recovery", *DATA, f"learn.pretrained={folder}", f"out={tmp_path / 'run'}"]) == 2
    assert "model.safetensors is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pipeline", "settings", "told"),
    [
        ("voxel_recovery", ["load.voxels=nowhere.stl"], "nowhere.stl"),
        ("voxel_recovery", ["load.count=5"], "load.count must be 20"),
        ("voxel_recovery", ["hide.box=99"], "hide.box=99 does not fit"),
        ("voxel_recovery", ["hide.voxels=1.5"], "hide.voxels must lie"),
        ("voxel_recovery", ["recover.prior=nowhere"], "prior=nowhere: no such file or folder"),
        ("voxel_recovery", ["recover.warm_up=-1"], "warm_up must be 0, or 50 or more"),
        ("voxel_recovery", ["learn.pretrained=nowhere"], "nowhere: holds no energy"),
        ("voxel_recovery", ["learn.size=9"], "does not divide"),
        ("voxel_recovery", ["export.format=dxf"], "format"),
        ("voxel_recovery", ["evaluate.curve=3"], "curve must be 0, or 32"),
        ("voxel_super_resolution", ["hide.box=2"], "box and average cannot be combined"),
        ("voxel_super_resolution", ["hide.average=3"], "must be less than the 8 voxels a side, and divide it"),
        ("voxel_synthesis", ["select.whole=2", "02_learn.size=4"], "whole must lie in"),
    ],
)
def test_bad_settings_are_one_line(pipeline, settings, told, tmp_path, capsys):
    arguments = [*settings, "load.size=8", f"out={tmp_path / 'run'}"]
    assert run.main([pipeline, *arguments, *["load.count=30"] * ("count" not in settings[0])]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert told in line and "Traceback" not in line
