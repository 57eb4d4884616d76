"""Tiny runs of image reconstruction and image interpolation."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import seeded

from data import images
from pipelines import run
from pipelines.measures import judge
from pipelines.stages.images import Interpolate, Reconstruct

TINY = [
    "load.count=60", "learn.optimizer.steps=3", "learn.batch=4", "learn.energy.encoder.widths=[8]",
    "learn.energy.encoder.depths=[1]",
]  # fmt: skip


def test_reconstruction_runs_and_takes_ones_own_pictures(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for k in range(3):
        images.write(folder / f"{k}.png", torch.rand(3, 20, 16, generator=seeded(k)) * 2 - 1)
    out = tmp_path / "run"
    assert run.main(["image_reconstruction", *TINY, f"reconstruct.images={folder}", f"out={out}"]) == 0
    found = json.loads((out / "metrics.json").read_text())
    assert found["num"] == 3
    assert found["reconstruction"]["psnr"] > max(found[k]["psnr"] for k in ("mean_picture", "16_components"))
    assert len(list((out / "reconstructions").iterdir())) == 3
    assert (out / "contact_sheet.png").exists() and (out / "report.html").exists()


def test_interpolation_runs_for_energies_of_noise_levels_and_of_clean_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(judge, "STEPS", 20)
    out = tmp_path / "levels"
    assert run.main(["image_interpolation", *TINY, "interpolate.pairs=2", "interpolate.steps=4", f"out={out}"]) == 0
    found = json.loads((out / "metrics.json").read_text())
    assert found["walk"] == "chosen" and 0 <= found["path"]["accepted"] <= 1
    assert found["cross_fade"]["largest_step"] == pytest.approx(1 / 3, rel=1e-3)
    assert len(list((out / "path_00").iterdir())) == 4
    out = tmp_path / "chain"
    objective = ["learn.objective.maximum_likelihood.sampling_steps=2", "learn.chains=8"]
    walk = ["interpolate.pairs=1", "interpolate.steps=3"]
    assert run.main(["image_interpolation", *TINY, *objective, *walk, f"out={out}"]) == 0
    assert json.loads((out / "metrics.json").read_text())["walk"] == "spherical"


def test_settings_out_of_range_and_bad_files_are_told_in_one_line(tmp_path, capsys):
    for settings in ({"num": 0}, {"rounds": -1}, {"components": (0,)}):
        with pytest.raises(ValueError, match="must be"):
            Reconstruct(**settings)
    for settings in ({"pairs": 0}, {"steps": 2}, {"level": 0.0}, {"smoothness": -1.0}):
        with pytest.raises(ValueError, match="must be"):
            Interpolate(**settings)
    missing = tmp_path / "none.png"
    assert run.main(["image_reconstruction", *TINY, f"reconstruct.images={missing}", f"out={tmp_path / 'r'}"]) == 2
    assert "reconstruct.images" in capsys.readouterr().err.strip().splitlines()[-1]
