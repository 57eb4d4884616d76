"""Pipelines of pictures and textures, tiny, from the command line to the files."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import energies
from data import images
from energies import Average, ConditionalEnergy, DataReference, Grey
from pipelines import checkpoint
from pipelines.measures import judge
from pipelines.run import main

SAMPLED = [
    "recover.samples=3", "recover.generator.schedule={levels: 4, high: 4, low: 0.1, steps: 1}", "compute=float32",
]  # fmt: skip
TINY = [
    "learn.energy.amortised={widths: [8], depths: [1], rank: 20}", "learn.steps=3", "learn.batch=8", *SAMPLED,
]  # fmt: skip
NEW = [
    "load.images=digits", "load.count=700", "learn.energy.encoder={widths: [8, 12], depths: [1, 1]}", "learn.steps=6",
    "learn.batch=16", "learn.conditional=false", "synthesize.num=12", "synthesize.generator.schedule.levels=4",
    "export.limit=5", "compute=float32",
]  # fmt: skip
TEXTURE = [
    "load.size=32", "load.channels=1", "learn.crop=[16]", "learn.batch=2", "learn.steps=2", "synthesize.height=37",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick_judge():
    """A classifier of less learning: what is tested is not how well it judges."""
    steps, judge.STEPS = judge.STEPS, 4
    yield
    judge.STEPS = steps


def metrics_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def values_of(out: Path) -> dict[str, Any]:
    """What all stages of a run gave."""
    values: dict[str, Any] = {}
    for folder in sorted(out.glob("0*")):
        values |= checkpoint.load_values(folder) or {}
    return values


def recovered(out: Path, *arguments: str) -> dict[str, Any]:
    assert main(["image_recovery", *arguments, f"out={out}"]) == 0
    return values_of(out)


def refusal(capsys, name: str, *arguments: str) -> str:
    """The one line that a run ends with."""
    capsys.readouterr()
    assert main([name, *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture(scope="module")
def scattered(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "scattered"
    recovered(out, "load.count=200", "hide.pixels=0.4", "export.limit=4", *TINY)
    return out


@pytest.fixture(scope="module")
def known(scattered) -> list[str]:
    """To recover digits by the energy that was learned there."""
    return ["load.count=200", "learn.energy=null", f"learn.pretrained={scattered / 'energy'}", *SAMPLED]


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """A run that learned to make digits."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    few, judge.STEPS = judge.STEPS, 60  # that tell noise, or nothing would be judged
    assert main(["image_synthesis", *NEW, "evaluate.curve=32", f"out={out}"]) == 0
    judge.STEPS = few
    return out


def check_scores(found: dict[str, Any], baselines: set[str]) -> None:
    assert found["baselines"].keys() == baselines and found["best_baseline"] in baselines
    best = max(score["psnr"] for score in found["baselines"].values())
    assert found["baselines"][found["best_baseline"]]["psnr"] == best
    assert found["gain_db"] == pytest.approx(found["recovery"]["psnr"] - best)
    for score in (found["recovery"], found["one_sample"], *found["baselines"].values()):
        assert all(math.isfinite(v) for v in score.values()) and score["mae"] > 0


def psnr(x: Tensor, truth: Tensor, where: Tensor) -> float:
    """In dB, of values in [-1, 1], where bool [B, 1, H, W]."""
    error = (x - truth).square()[where.expand_as(x)]
    return float(-10 * (error.mean() / 4).log10())


# -------------------------------------------------------------------------------------- recovery


@pytest.mark.slow
def test_hidden_pixels_are_recovered_and_seen_ones_kept(scattered):
    values, found = values_of(scattered), metrics_of(scattered)
    hidden, truth = values["observation"].mask, values["data"].x("validation")
    for x in (values["recovered"], values["samples"]):
        part = hidden[: len(x)]
        assert torch.equal(x[~part], truth[: len(x)][~part]), "to the last bit"
        assert x.abs().max() <= 1 and (x != truth[: len(x)])[part].float().mean() > 0.5
    assert not values["measured"][hidden].any(), "what is hidden is not told"
    assert values["samples"].shape == (3, 1, 8, 8) and values["recovered"].shape == (20, 1, 8, 8)
    assert (values["samples"] - values["recovered"][:3])[hidden[:3]].abs().max() > 1e-3
    check_scores(found, {"nearest_training", "mean", "biharmonic", "nearest", "blur", "total_variation"})
    assert found["recovery"]["psnr"] == pytest.approx(psnr(values["recovered"], truth, hidden), abs=0.01)
    mean = values["data"].x("train").mean(0).expand_as(truth)
    assert found["baselines"]["mean"]["psnr"] == pytest.approx(psnr(mean, truth, hidden), abs=0.01)
    assert found["recovery"]["psnr"] > found["baselines"]["mean"]["psnr"], "the reference alone is better than that"


@pytest.mark.slow
def test_a_recovery_writes_pictures_a_sheet_a_report_and_the_energy(scattered):
    files = sorted((scattered / "recovered").glob("*.png"))
    assert [file.name for file in files] == [f"picture_{k:03d}.png" for k in range(4)]
    assert "biharmonic" in (scattered / "report.html").read_text() and (scattered / "contact_sheet.png").exists()
    energy = energies.load(scattered / "energy")
    assert isinstance(energy, ConditionalEnergy) and energy.event_shape == (1, 8, 8)
    assert isinstance(energy.reference, DataReference) and len(energy.reference.data) == 180


@pytest.mark.slow
def test_the_same_command_again_resumes_after_what_is_done(scattered, tmp_path, capsys):
    out = tmp_path / "again"
    shutil.copytree(scattered, out)
    shutil.rmtree(out / "05_evaluate")
    shutil.rmtree(out / "06_export")
    (out / "metrics.json").unlink()
    capsys.readouterr()
    arguments = ["load.count=200", "hide.pixels=0.4", "export.limit=4", *TINY]
    recovered(out, *arguments)
    assert capsys.readouterr().err.count("done before") == 4
    again, first = metrics_of(out), metrics_of(scattered)
    assert again["recovery"] == first["recovery"] and again["sampling"] == first["sampling"]


@pytest.mark.slow
def test_a_learned_energy_recovers_the_same_again(scattered, known, tmp_path):
    first, again = values_of(scattered), recovered(tmp_path, "hide.pixels=0.4", *known)
    torch.testing.assert_close(again["recovered"], first["recovered"], rtol=0, atol=1e-4)
    assert torch.equal(again["observation"].mask, first["observation"].mask)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [2, 4])
def test_pictures_of_lower_resolution_keep_the_means_of_their_blocks(known, factor, tmp_path):
    values = recovered(tmp_path, f"hide.average={factor}", *known)
    average = Average((factor, factor))
    for x in (values["recovered"], values["samples"]):
        torch.testing.assert_close(average.observe(x), values["measured"][: len(x)], rtol=0, atol=1e-5)
        assert (x - average.repeat(average.observe(x))).abs().max() > 0.1, "it adds detail"
    check_scores(metrics_of(tmp_path), {"nearest_training", "mean", "bicubic"})


@pytest.mark.slow
def test_grey_pictures_are_coloured_and_stay_as_grey(tmp_path):
    values = recovered(tmp_path, "load.images=scenes", "load.count=60", "hide.grey=true", *TINY)
    for x in (values["recovered"], values["samples"]):
        torch.testing.assert_close(Grey().observe(x), values["measured"][: len(x)], rtol=0, atol=1e-5)
        assert (x.amax(1) - x.amin(1)).max() > 0.05, "it is coloured"
    found = metrics_of(tmp_path)
    check_scores(found, {"nearest_training", "mean", "grey"})
    grey = values["measured"].expand(-1, 3, -1, -1)
    everywhere = torch.ones(6, 1, 24, 24, dtype=torch.bool)
    assert found["baselines"]["grey"]["psnr"] == pytest.approx(psnr(grey, values["targets"], everywhere), abs=0.01)


@pytest.mark.slow
def test_a_damaged_picture_of_ones_own_is_mended_and_not_scored(known, tmp_path, capsys):
    images.write(tmp_path / "own.png", torch.rand(1, 8, 8) * 2 - 1)
    mask = -torch.ones(1, 8, 8)
    mask[:, 2:5, 3:7] = 1
    images.write(tmp_path / "mask.png", mask)
    own = [f"hide.image={tmp_path / 'own.png'}", f"hide.mask={tmp_path / 'mask.png'}", "hide.dilate=0"]
    values = recovered(tmp_path / "run", *own, *known)
    picture, hidden = images.read(tmp_path / "own.png", channels=1), mask > 0
    for x in (values["recovered"], values["samples"]):
        assert x.shape == (1, 1, 8, 8) and torch.equal(x[0][~hidden], picture[~hidden])
        assert not torch.isclose(x[0][hidden], picture[hidden]).all()
    found = metrics_of(tmp_path / "run")
    assert found["truth_known"] is False and found["num"] == 1
    assert not found.keys() & {"recovery", "one_sample", "baselines", "best_baseline", "gain_db"}
    assert "nothing is scored" in capsys.readouterr().out
    assert "nothing is scored" in (tmp_path / "run" / "report.html").read_text()
    assert [file.name for file in (tmp_path / "run" / "recovered").iterdir()] == ["picture_000.png"]


@pytest.mark.slow
@pytest.mark.parametrize("hide", ["pixels=0.5", "average=2", "blur=1.0", "noise=0.2"])
def test_an_energy_that_learned_to_synthesise_recovers_by_conditioning(digits, hide, tmp_path):
    given = ["load.count=200", "learn.energy=null", f"learn.pretrained={digits}", "hide.num=6", *SAMPLED]
    values = recovered(tmp_path, f"hide.{hide}", *given)
    observation, y = values["observation"], values["measured"]
    assert list(values["ways"]) == ["conditioned"] and metrics_of(tmp_path)["way"] == "conditioned"
    for x in (values["recovered"], values["samples"]):
        assert x.isfinite().all() and x.shape[1:] == (1, 8, 8)
        if observation.holds:
            own = observation.rows(slice(0, len(x)), 4)
            torch.testing.assert_close(own.observe(x), own.observe(own.project(x, y[: len(x)])), rtol=0, atol=1e-5)
    assert metrics_of(tmp_path)["recovery"]["psnr"] > 3


@pytest.mark.slow
def test_both_ways_stand_beside_the_baselines(known, digits, tmp_path, capsys):
    given = [f"recover.prior={digits}", "hide.num=6", "recover.mean.chains=2", *known]
    values, found = recovered(tmp_path, "hide.pixels=0.5", *given), metrics_of(tmp_path)
    assert list(values["ways"]) == ["amortised", "conditioned"] == list(found["ways"]) == list(found["seconds"])
    assert torch.equal(values["ways"]["amortised"]["mean"], values["recovered"])
    told = capsys.readouterr().out
    assert "amortised" in told and "conditioned" in told and "biharmonic" in told
    assert "by this energy, conditioned" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_what_cannot_be_is_refused_in_one_line_before_anything_is_learned(capsys, tmp_path):
    np.savez(tmp_path / "ten.npz", images=np.random.default_rng(0).integers(0, 255, (30, 10, 10), np.uint8))
    for number, (arguments, words) in enumerate([
        (["hide.box=8"], "hide.box=8 leaves nothing of 8x8 pixels"),
        (["hide.grey=true"], "needs pictures in colour; set load.channels=3"),
        ([f"load.images={tmp_path / 'ten.npz'}", "hide.average=4"], "hide.average=4 does not divide the 10x10 pixels"),
        (["hide.pixels=0.5", "hide.box=3"], "hide.pixels and box cannot be combined"),
        (["hide.average=1"], "hide.average must be 2 or more"),
        (["load.count=19"], "load.count must be 20 or more"),
        (["recover.samples=-1"], "samples"),
        ([f"load.images={tmp_path / 'none.npz'}"], "none.npz"),
    ]):  # fmt: skip
        out = tmp_path / str(number)
        size = [] if any(a.startswith("load.") for a in arguments) else ["load.count=40"]
        tiny = [t for t in TINY if t.split("=")[0] not in {a.split("=")[0] for a in arguments}]
        assert words in refusal(capsys, "image_recovery", *size, *tiny, *arguments, f"out={out}"), arguments
        assert not list(out.glob("03*/manifest.json")), "nothing was learned"


# ------------------------------------------------------------------------------------- synthesis


@pytest.mark.slow
def test_a_run_writes_samples_a_report_and_numbers(digits):
    found = metrics_of(digits)
    assert {"num", "validation", "samples", "real", "noise", "curve", "sampling"} <= found.keys()
    assert {"ten_times_the_steps", "long_from_data", "long_run_ratio", "classifier_accuracy"} <= found.keys()
    assert (found["num"], found["validation"]) == (12, 70)
    assert "of_their_class" not in found, "it was not asked for classes"
    assert [point["factor"] for point in found["curve"]] == [0.25, 0.5, 1, 2]
    for kind in (found["samples"], found["noise"], *found["curve"]):
        assert kind["frechet"] >= 0 and 0 <= kind["precision"] <= 1 and 0 <= kind["recall"] <= 1
    assert found["real"]["frechet"] < found["noise"]["frechet"]
    samples = values_of(digits)["samples"]
    assert samples.shape == (12, 1, 8, 8) and samples.abs().max() <= 1
    assert len(list((digits / "samples").glob("*.png"))) == 5
    page = (digits / "report.html").read_text()
    assert "ten times the steps" in page and "more time, better samples" in page
    for name in ("samples.png", "data.png", "ten_times_the_steps.png", "energy/energy.json", "config.yaml"):
        assert (digits / name).stat().st_size > 0


# -------------------------------------------------------------------------------------- textures


@pytest.mark.slow
@pytest.mark.parametrize("windows", [None, 8])
def test_a_texture_is_twice_as_large_as_its_photograph(windows, tmp_path, capsys):
    energy = "learn.energy.encoder={widths: [4, 8], depths: [1, 1]}"
    ways = ["synthesize.margin=8"] if windows is None else ["synthesize.windows=8"]
    arguments = [*TEXTURE, energy, *ways, "synthesize.generator.schedule={levels: 3, steps: 1}"]
    assert main(["texture_synthesis", *arguments, f"out={tmp_path}"]) == 0
    assert values_of(tmp_path)["samples"].shape == (1, 1, 37, 64)
    assert images.read(tmp_path / "texture.png", channels=1).shape == (1, 37, 64)
    found = metrics_of(tmp_path)
    assert {"samples", "real", "tiled_photograph", "random_phase_noise"} <= set(found)
    assert (tmp_path / "photograph.png").is_file()
    assert tuple(energies.load(tmp_path / "energy").event_shape) == (1, 16, 16)
    assert "the texture has 64x37 pixels; the photograph was loaded with 32x32" in capsys.readouterr().out


@pytest.mark.slow
def test_a_photograph_of_a_file_is_learned_as_large_as_it_is(tmp_path, capsys):
    images.write(tmp_path / "wall.png", torch.rand(3, 40, 48) * 2 - 1)
    few = ["learn.crop=[16]", "learn.batch=2", "learn.steps=1", "synthesize.generator.schedule={levels: 2, steps: 1}"]
    small = [*few, "learn.energy.encoder={widths: [4], depths: [1]}", f"load.photograph={tmp_path / 'wall.png'}"]
    assert main(["texture_synthesis", *small, f"out={tmp_path / 'run'}"]) == 0
    assert "the texture has 96x80 pixels; the photograph was loaded with 48x40" in capsys.readouterr().out
    assert main(["texture_synthesis", *small, "load.size=32", f"out={tmp_path / 'less'}"]) == 0
    assert "loaded with 32x32 (its file has 48x40; load.size says" in capsys.readouterr().out
