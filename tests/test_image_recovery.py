"""Tiny runs from the command line: pictures recovered from a part, and what a joint energy of labels is good for."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import seeded
from torch import Tensor

import energies
from data import images
from energies import Average, Blur, ConditionalEnergy, Grey, JointEnergy, Noisy
from pipelines import checkpoint, run
from pipelines.measures import judge
from pipelines.stages.images.load import to_float

SAMPLED = [
    "recover.samples=3",
    "recover.generator.schedule={levels: 4, high: 4, low: 0.1, steps: 1}",
    "compute=float32",
]
TINY = [
    "learn_recovery.widths=[8]", "learn_recovery.depths=[1]", "learn_recovery.optimizer.steps=3",
    "learn_recovery.batch=8", "learn_recovery.rank=20", *SAMPLED,
]  # fmt: skip
JOINT = [
    "load.count=200", "learn_joint.widths=[8]", "learn_joint.depths=[1]", "learn_joint.optimizer.steps=4",
    "learn_joint.batch=16", "compute=float32",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick_judge():
    """A classifier of less learning: what is tested is not how well it judges."""
    steps, judge.STEPS = judge.STEPS, 20
    yield
    judge.STEPS = steps


def metrics_of(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


def values_of(out: Path) -> dict:
    """What all stages of a run gave."""
    values: dict = {}
    for folder in sorted(out.glob("0*")):
        values |= checkpoint.load_values(folder) or {}
    return values


def recovered(out: Path, *arguments: str) -> dict:
    assert run.main(["image_recovery", *arguments, f"out={out}"]) == 0
    return values_of(out)


def refusal(capsys, name: str, *arguments: str) -> str:
    """The one line that a run ends with."""
    capsys.readouterr()
    assert run.main([name, *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


@pytest.fixture(scope="module")
def scattered(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "scattered"
    recovered(out, "load.count=200", "hide.pixels=0.4", "export_recovery.num=4", *TINY)
    return out


@pytest.fixture(scope="module")
def known(scattered) -> list[str]:
    """To recover digits by the energy that was learned there."""
    return ["load.count=200", f"learn_recovery.pretrained={scattered / 'energy'}", *SAMPLED]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> tuple[Path, Path]:
    """A picture of one's own, and its mask."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    images.write(folder / "own.png", torch.from_numpy(rng.uniform(-1, 1, (1, 8, 8))).float())
    mask = -torch.ones(1, 8, 8)
    mask[:, 2:5, 3:7] = 1
    images.write(folder / "mask.png", mask)
    images.write(folder / "black.png", -torch.ones(1, 8, 8))
    images.write(folder / "white.png", torch.ones(1, 8, 8))
    return folder / "own.png", folder / "mask.png"


def check_scores(found: dict, baselines: set[str]) -> None:
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


# -------------------------------------------------------------------------------------------- recovery


def test_hidden_pixels_are_recovered_and_seen_ones_kept(scattered):
    values, found = values_of(scattered), metrics_of(scattered)
    hidden = values["observation"].mask
    assert hidden.shape == (20, 1, 8, 8)
    assert abs(float(hidden.float().mean()) - 0.4) < 5 * (0.24 / 1280) ** 0.5
    truth = to_float(values["images"]["validation"])
    assert torch.equal(values["targets"], truth) and values["truth_known"] is True
    for x in (values["recovered"], values["samples"]):
        part = hidden[: len(x)]
        assert torch.equal(x[~part], truth[: len(x)][~part]), "to the last bit"
        assert x.abs().max() <= 1 and (x != truth[: len(x)])[part].float().mean() > 0.5
    assert not values["measured"][hidden].any(), "what is hidden is not told"
    assert values["samples"].shape == (3, 1, 8, 8) and values["recovered"].shape == (20, 1, 8, 8)
    assert (values["samples"] - values["recovered"][:3])[hidden[:3]].abs().max() > 1e-3
    check_scores(found, {"nearest_training", "mean", "biharmonic"})
    assert found["recovery"]["psnr"] == pytest.approx(psnr(values["recovered"], truth, hidden), abs=0.01)
    mean = to_float(values["images"]["train"]).mean(0).expand_as(truth)
    assert found["baselines"]["mean"]["psnr"] == pytest.approx(psnr(mean, truth, hidden), abs=0.01)
    assert found["recovery"]["psnr"] > found["baselines"]["mean"]["psnr"], "the reference alone is better than that"


def test_a_recovery_writes_pictures_a_sheet_a_report_and_the_energy(scattered):
    files = sorted((scattered / "recovered").glob("*.png"))
    assert [file.name for file in files] == [f"picture_{k:03d}.png" for k in range(4)]
    shown = values_of(scattered)["recovered"]
    assert (images.read(files[2], channels=1) - shown[2]).abs().max() < 1.01 / 127.5
    page = (scattered / "report.html").read_text()
    assert "Image recovery" in page and "biharmonic" in page and "data:image" in page and "http://" not in page
    assert (scattered / "contact_sheet.png").stat().st_size > 0
    energy = energies.load(scattered / "energy")
    assert isinstance(energy, ConditionalEnergy) and energy.event_shape == (1, 8, 8)
    assert len(energy.reference.data) == 180


def test_the_same_command_again_resumes_after_what_is_done(scattered, tmp_path, capsys):
    out = tmp_path / "again"
    shutil.copytree(scattered, out)
    shutil.rmtree(out / "05_evaluate_recovery")
    shutil.rmtree(out / "06_export_recovery")
    (out / "metrics.json").unlink()
    capsys.readouterr()
    arguments = ["load.count=200", "hide.pixels=0.4", "export_recovery.num=4", *TINY]
    recovered(out, *arguments)
    assert capsys.readouterr().err.count("done before") == 4
    assert metrics_of(out) == metrics_of(scattered)
    recovered(out, *arguments)
    assert capsys.readouterr().err.count("done before") == 6


def test_a_learned_energy_recovers_the_same_again(scattered, known, tmp_path):
    first, again = values_of(scattered), recovered(tmp_path, "hide.pixels=0.4", *known)
    torch.testing.assert_close(again["recovered"], first["recovered"], rtol=0, atol=1e-4)
    assert torch.equal(again["observation"].mask, first["observation"].mask)


def test_a_box_is_hidden_somewhere_else_in_every_picture(known, tmp_path):
    values = recovered(tmp_path, "hide.box=3", "hide.num=7", *known)
    hidden, truth = values["observation"].mask, values["targets"]
    assert hidden.shape == (7, 1, 8, 8) and len(hidden.unique(dim=0)) > 1
    for one in hidden[:, 0]:
        rows, columns = one.any(1), one.any(0)
        assert int(rows.sum()) == int(columns.sum()) == 3 and int(one.sum()) == 9
    for x in (values["recovered"], values["samples"]):
        assert torch.equal(x[~hidden[: len(x)]], truth[: len(x)][~hidden[: len(x)]])
    check_scores(metrics_of(tmp_path), {"nearest_training", "mean", "biharmonic"})
    assert metrics_of(tmp_path)["num"] == 7


@pytest.mark.parametrize("factor", [2, 4])
def test_pictures_of_lower_resolution_keep_the_means_of_their_blocks(known, factor, tmp_path):
    values = recovered(tmp_path, f"hide.shrink={factor}", *known)
    assert values["measured"].shape == (20, 1, 8 // factor, 8 // factor)
    shrink = Average((factor, factor))
    torch.testing.assert_close(values["measured"], shrink.observe(to_float(values["images"]["validation"])))
    for x in (values["recovered"], values["samples"]):
        torch.testing.assert_close(shrink.observe(x), values["measured"][: len(x)], rtol=0, atol=1e-5)
        assert (x - shrink.repeat(shrink.observe(x))).abs().max() > 0.1, "it adds detail"
    found = metrics_of(tmp_path)
    check_scores(found, {"nearest_training", "mean", "bicubic"})
    everywhere = torch.ones(20, 1, 8, 8, dtype=torch.bool)
    assert found["recovery"]["psnr"] == pytest.approx(psnr(values["recovered"], values["targets"], everywhere), abs=0.3)


def test_grey_pictures_are_coloured_and_stay_as_grey(tmp_path):
    values = recovered(tmp_path, "load.images=scenes", "load.count=60", "hide.grey=true", *TINY)
    weights = torch.tensor([0.299, 0.587, 0.114])
    truth = to_float(values["images"]["validation"])
    assert values["measured"].shape == (6, 1, 24, 24) and truth.shape == (6, 3, 24, 24)
    torch.testing.assert_close(values["measured"][:, 0], torch.einsum("c,bchw->bhw", weights, truth))
    for x in (values["recovered"], values["samples"]):
        torch.testing.assert_close(Grey().observe(x), values["measured"][: len(x)], rtol=0, atol=1e-5)
        assert (x.amax(1) - x.amin(1)).max() > 0.05, "it is coloured"
    found = metrics_of(tmp_path)
    check_scores(found, {"nearest_training", "mean", "grey"})
    grey = values["measured"].expand(-1, 3, -1, -1)
    everywhere = torch.ones(6, 1, 24, 24, dtype=torch.bool)
    assert found["baselines"]["grey"]["psnr"] == pytest.approx(psnr(grey, truth, everywhere), abs=0.01)


# ------------------------------------------------------------------------------------ pictures of one's own


def check_unscored(out: Path) -> None:
    found = metrics_of(out)
    assert found["truth_known"] is False and found["num"] == 1
    assert not found.keys() & {"recovery", "one_sample", "baselines", "best_baseline", "gain_db"}
    assert "nothing is scored" in (out / "report.html").read_text()
    assert [file.name for file in (out / "recovered").iterdir()] == ["picture_000.png"]


def test_a_damaged_picture_is_mended_where_its_mask_is_white(known, damaged, tmp_path, capsys):
    own, mask = damaged
    values = recovered(tmp_path, f"hide.image={own}", f"hide.mask={mask}", *known)
    picture, hidden = images.read(own, channels=1), images.read(mask, channels=1) > 0
    assert int(hidden.sum()) == 12 and torch.equal(values["observation"].mask[0], hidden)
    for x in (values["recovered"], values["samples"]):
        assert x.shape == (1, 1, 8, 8) and torch.equal(x[0][~hidden], picture[~hidden])
        assert not torch.isclose(x[0][hidden], picture[hidden]).all()
    check_unscored(tmp_path)
    assert "nothing is scored" in capsys.readouterr().out


def test_a_small_picture_of_ones_own_is_what_is_seen(known, damaged, tmp_path):
    small = images.read(damaged[0], 4, channels=1)
    images.write(tmp_path / "small.png", small)
    small = images.read(tmp_path / "small.png", channels=1)  # as a file has it, in 255 levels
    values = recovered(tmp_path / "run", f"hide.image={tmp_path / 'small.png'}", "hide.shrink=2", *known)
    assert torch.equal(values["measured"][0], small)
    torch.testing.assert_close(Average((2, 2)).observe(values["recovered"])[0], small, rtol=0, atol=1e-5)
    check_unscored(tmp_path / "run")


def test_own_files_of_other_sizes_are_refused_not_misplaced(known, damaged, capsys, tmp_path):
    images.write(tmp_path / "wide.png", torch.ones(1, 8, 12))
    for arguments in (["hide.shrink=2"], [f"hide.mask={tmp_path / 'wide.png'}"]):
        settings = [f"hide.image={damaged[0]}", *arguments, *known, f"out={tmp_path / arguments[0][5:9]}"]
        assert run.main(["image_recovery", *settings]) == 2
        assert "of 8x8" in capsys.readouterr().err


def test_a_whole_picture_of_ones_own_is_hidden_in_part_and_scored(known, damaged, tmp_path):
    values = recovered(tmp_path, f"hide.image={damaged[0]}", "hide.box=4", *known)
    hidden, picture = values["observation"].mask[0], images.read(damaged[0], channels=1)
    assert values["truth_known"] is True and torch.equal(values["targets"][0], picture)
    assert torch.equal(values["recovered"][0][~hidden], picture[~hidden])
    check_scores(metrics_of(tmp_path), {"nearest_training", "mean", "biharmonic"})


@pytest.mark.parametrize("share", [0.0001, 0.9999], ids=["none hidden", "all hidden"])
def test_shares_that_hide_all_or_nothing_end_in_words(known, damaged, share, tmp_path):
    arguments = [f"hide.image={damaged[0]}", f"hide.pixels={share}", *known, f"out={tmp_path}"]
    assert run.main(["image_recovery", *arguments]) in (0, 2)


# -------------------------------------------------------------------------------------------- refusals


def test_what_cannot_be_hidden_is_refused_in_one_line(damaged, capsys, tmp_path):
    own, mask = damaged
    np.savez(tmp_path / "ten.npz", images=np.random.default_rng(0).integers(0, 255, (30, 10, 10), np.uint8))
    for number, (arguments, words) in enumerate([
        (["hide.box=8"], "hide.box=8 leaves nothing of 8x8 pixels"),
        (["hide.grey=true"], "needs pictures in colour; set load.channels=3"),
        ([f"load.images={tmp_path / 'ten.npz'}", "hide.shrink=4"], "hide.shrink=4 does not divide the 10x10 pixels"),
        ([f"hide.image={own}", f"hide.mask={mask.with_name('black.png')}"], "must be white where"),
        ([f"hide.image={own}", f"hide.mask={mask.with_name('white.png')}"], "must be white where"),
        ([f"hide.image={tmp_path / 'none.png'}"], "none.png"),
        ([f"hide.mask={mask}"], "mask needs image"),
        (["hide.pixels=0.5", "hide.box=3"], "pixels and box cannot be combined"),
        ([f"hide.image={own}", f"hide.mask={mask}", "hide.shrink=2"], "shrink and mask cannot be combined"),
        (["hide.shrink=2", "hide.grey=true"], "shrink and grey cannot be combined"),
        (["hide.blur=1", "hide.box=3"], "box and blur cannot be combined"),
        (["hide.blur=-1"], "blur must lie above 0"),
        (["hide.noise=0"], "noise must lie above 0"),
        (["hide.pixels=1.0"], "pixels must lie between 0 and 1"),
        (["hide.box=0"], "box must be 1 or more"),
        (["hide.shrink=3"], "shrink must be 2 or 4"),
        (["hide.num=0"], "num must be 1 or more"),
        (["learn_recovery.widths=[8, 8]"], "widths and depths"),
        (["learn_recovery.folds=1"], "folds 2 to 10"),
        (["recover.generator.schedule={low: 30}"], "high >= low"),
        (["recover.samples=0"], "samples must be 1 or more"),
    ]):  # fmt: skip
        out = tmp_path / str(number)
        tiny = [t for t in TINY if t.split("=")[0] not in {a.split("=")[0] for a in arguments}]
        size = [] if any(a.startswith("load.images") for a in arguments) else ["load.count=40"]
        assert words in refusal(capsys, "image_recovery", *size, *tiny, *arguments, f"out={out}"), arguments
        assert not list(out.glob("03*/manifest.json")), "nothing was learned"


def test_energies_of_other_pictures_are_refused_in_one_line(scattered, capsys, tmp_path):
    energies.EncoderEnergy((1, 9, 8), (4,), (1,)).save_pretrained(tmp_path / "other")
    given = f"learn_recovery.pretrained={tmp_path / 'other'}"
    line = refusal(capsys, "image_recovery", "load.count=40", given, f"out={tmp_path / 'a'}")
    assert "is an energy of 1x9x8, the pictures are 1x8x8" in line
    given = f"learn_recovery.pretrained={scattered / 'energy'}"
    line = refusal(capsys, "image_recovery", "load.images=scenes", "load.count=40", given, f"out={tmp_path / 'b'}")
    assert "pretrained" in line
    more = ["load.count=400", given]
    line = refusal(capsys, "image_recovery", *more, f"out={tmp_path / 'c'}")
    assert "was learned from 20 of the 40 that are to be judged by" in line


# --------------------------------------------------------------------------- one energy, every measurement


@pytest.fixture(scope="module")
def synthesis(tmp_path_factory) -> Path:
    """A run that learned to synthesise."""
    out = tmp_path_factory.mktemp("runs") / "synthesis"
    tiny = [
        "load.count=200", "learn.energy.encoder={widths: [8], depths: [1]}", "learn.optimizer.steps=5", "learn.batch=8",
        "synthesize.num=8", "synthesize.generator.schedule.levels=3", "evaluate_synthesis.curve=0", "compute=float32",
    ]  # fmt: skip
    assert run.main(["image_synthesis", *tiny, f"out={out}"]) == 0
    return out


@pytest.mark.parametrize("hide", ["pixels=0.5", "box=3", "shrink=2", "blur=1.0", "noise=0.2"])
def test_an_energy_that_learned_to_synthesise_recovers_by_conditioning(synthesis, hide, tmp_path):
    given = ["load.count=200", f"learn_recovery.pretrained={synthesis}", "hide.num=6", *SAMPLED]
    values = recovered(tmp_path, f"hide.{hide}", *given)
    observation, y = values["observation"], values["measured"]
    assert list(values["ways"]) == ["conditioned"] and metrics_of(tmp_path)["way"] == "conditioned"
    for x in (values["recovered"], values["samples"]):
        assert x.isfinite().all() and x.shape[1:] == (1, 8, 8)
        if observation.holds:
            own = observation.rows(slice(0, len(x)), 4)
            torch.testing.assert_close(own.observe(x), own.observe(own.project(x, y[: len(x)])), rtol=0, atol=1e-5)
    assert metrics_of(tmp_path)["recovery"]["psnr"] > 3


def test_both_ways_stand_beside_the_baselines(scattered, synthesis, tmp_path, capsys):
    given = ["load.count=200", f"learn_recovery.pretrained={scattered}", f"recover.prior={synthesis}", "hide.num=6"]
    values = recovered(tmp_path, "hide.pixels=0.5", "recover.mean.chains=2", *given, *SAMPLED)
    found = metrics_of(tmp_path)
    assert list(values["ways"]) == ["amortised", "conditioned"] == list(found["ways"]) == list(found["seconds"])
    assert torch.equal(values["ways"]["amortised"]["mean"], values["recovered"])
    assert found["ways"]["amortised"] == found["recovery"] != found["ways"]["conditioned"]
    told = capsys.readouterr().out
    assert "amortised" in told and "conditioned" in told and "biharmonic" in told
    assert "by this energy, conditioned" in (tmp_path / "report.html").read_text()


def test_blurred_and_noisy_pictures_are_measured_with_their_noise(known, tmp_path):
    values = recovered(tmp_path / "blur", "hide.blur=1.0", *known)
    truth, observation = values["targets"], values["observation"]
    assert observation == Noisy(Blur(1.0), 0.02)
    off = values["measured"] - Blur(1.0).observe(truth)
    assert abs(float(off.std()) / 0.02 - 1) < 5 / (2 * off.numel()) ** 0.5
    check_scores(metrics_of(tmp_path / "blur"), {"nearest_training", "mean", "as_it_is", "wiener", "total_variation"})
    values = recovered(tmp_path / "noise", "hide.noise=0.3", *known)
    off = values["measured"] - values["targets"]
    assert abs(float(off.std()) / 0.3 - 1) < 5 / (2 * off.numel()) ** 0.5
    assert list(values["ways"]) == ["conditioned"], "it has not learned to be told of noise"
    check_scores(metrics_of(tmp_path / "noise"), {"nearest_training", "mean", "as_it_is", "wiener", "total_variation"})


@pytest.mark.parametrize("sampler", ["mala.step_size=0.3", "hmc={step_size: 0.3, num_leapfrog: 2}", "underdamped={}"])
def test_the_sampler_of_a_recovery_is_a_setting(synthesis, sampler, tmp_path):
    given = ["load.count=200", f"learn_recovery.pretrained={synthesis}", "hide.num=3", *SAMPLED]
    values = recovered(tmp_path, f"recover.sampler.{sampler}", "hide.box=3", *given)
    assert values["samples"].isfinite().all()
    accepted = values["sampling"]["summary"].get("acceptance")
    assert (accepted is None) == ("underdamped" in sampler)


# -------------------------------------------------------------------------------------- joint energies


@pytest.fixture(scope="module")
def classified(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "classified"
    arguments = [*JOINT, "classify.samples=12", "classify.generator.schedule.levels=3"]
    assert run.main(["classification", *arguments, f"out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """Of an energy without noise levels."""
    out = tmp_path_factory.mktemp("runs") / "clean"
    learner = "learn_joint.objective.generative.maximum_likelihood={steps: 2, sampling_steps: 3, negatives: 8}"
    arguments = [*JOINT, learner, "learn_joint.chains=20", "classify.samples=10", f"out={out}"]
    assert run.main(["classification", *arguments]) == 0
    return out


@pytest.fixture(scope="module")
def joint(classified) -> list[str]:
    """The energies that were learned there."""
    return ["load.count=200", f"learn_joint.pretrained={classified}", "compute=float32"]


def test_a_classification_says_how_right_and_how_sure_it_is(classified):
    found, values = metrics_of(classified), values_of(classified)
    assert found["num"] == 20
    x, labels = to_float(values["images"]["validation"]), values["images"]["validation_labels"]
    for name, folder, levels in (("joint", "energy", (0.15, 0.25, 0.4, 0.7)), ("plain", "plain", None)):
        energy = energies.load(classified / folder)
        assert isinstance(energy, JointEnergy) and energy.num_classes == 10 and energy.noisy == (name == "joint")
        assert energy.classifier.encoder.arguments["places"] == 0.5, "classes weigh little beside p(x)"
        members = [energy] if levels is None else [energy.at(level) for level in levels]
        p = torch.stack([member.probabilities(x) for member in members]).mean(0)
        assert found[name]["accuracy"] == pytest.approx(float((p.argmax(1) == labels).float().mean()))
        assert 0 <= found[name]["ece"] <= 1 and sum(found[name]["bins"]["share"]) == pytest.approx(1)
    assert 0 <= found["of_their_class"] <= 1 and 0 <= found["judge_accuracy"] <= 1
    samples = values["samples"]
    assert samples.shape == (12, 1, 8, 8) and samples.isfinite().all() and samples.abs().max() <= 1
    page = (classified / "report.html").read_text()
    assert "Classification" in page and "of the class asked for" in page and (classified / "samples.png").exists()


def test_the_same_classification_again_does_nothing_anew(classified, capsys):
    capsys.readouterr()
    arguments = [*JOINT, "classify.samples=12", "classify.generator.schedule.levels=3"]
    assert run.main(["classification", *arguments, f"out={classified}"]) == 0
    assert capsys.readouterr().err.count("done before") == 3


def test_a_joint_energy_by_maximum_likelihood_is_of_clean_pictures(clean):
    energy = energies.load(clean / "energy")
    assert isinstance(energy, JointEnergy) and not energy.noisy
    assert values_of(clean)["samples"].isfinite().all() and 0 <= metrics_of(clean)["joint"]["ece"] <= 1


def test_what_does_not_belong_is_told_and_ones_own_pictures_listed(classified, joint, tmp_path):
    folder = tmp_path / "mine"
    (folder / "deeper").mkdir(parents=True)
    values = values_of(classified)
    images.write(folder / "digit.png", to_float(values["images"]["validation"])[0])
    images.write(folder / "deeper" / "noise.png", torch.rand(1, 8, 8, generator=seeded(0)) * 2 - 1)
    images.write(folder / "checks.png", (torch.arange(8)[:, None] + torch.arange(8)).remainder(2)[None] * 2.0 - 1)
    (folder / "notes.txt").write_text("no picture")
    out = tmp_path / "out"
    assert run.main(["out_of_distribution", *joint, f"score.input={folder}", f"out={out}"]) == 0
    found = metrics_of(out)
    assert found["num"] == 20 and len(found["detection"]) == 8
    for by_kind in found["detection"].values():
        assert by_kind.keys() == {"rotated", "mirrored", "blank", "noise", "bricks"}
        assert all(0 <= v <= 1 for kind in by_kind.values() for v in kind.values())
    assert found["detection"]["joint: energy"]["noise"]["auroc"] > 0.9, "noise is no digit"
    rows = list(csv.reader((out / "scores.csv").read_text().splitlines()))
    assert rows[0][:2] == ["file", "energy"]
    assert {row[0] for row in rows[1:]} == {str(path) for path in folder.rglob("*.png")}
    scores, shares = ([float(row[k]) for row in rows[1:]] for k in (1, 2))
    assert scores == sorted(scores, reverse=True) and shares == sorted(shares, reverse=True)
    assert rows[-1][0] == str(folder / "digit.png") and shares[0] == 1
    assert (
        "notes.txt" in (out / "log.jsonl").read_text() and "What does not belong" in (out / "report.html").read_text()
    )


def test_outliers_of_ones_own_are_a_kind_each(joint, damaged, tmp_path):
    images.write(tmp_path / "photograph.png", torch.rand(1, 40, 30, generator=seeded(0)) * 2 - 1)
    arguments = [*joint, f"score.outliers=[{tmp_path / 'photograph.png'}]", "score.num=20", f"out={tmp_path / 'out'}"]
    assert run.main(["out_of_distribution", *arguments]) == 0
    found = metrics_of(tmp_path / "out")
    assert "1: photograph.png" in found["detection"]["joint: energy"]


def test_attacks_are_told_by_size_for_both_networks(joint, tmp_path):
    arguments = [*joint, "attack.num=10", "attack.steps=2", "attack.linf=[0.1, 0.4]", "attack.l2=[1.0]"]
    assert run.main(["adversarial_robustness", *arguments, "attack.refine=2", f"out={tmp_path}"]) == 0
    found = metrics_of(tmp_path)
    assert found["num"] == 10 and found["curves"]["linf"]["size"] == [0, 0.1, 0.4]
    assert found["curves"]["l2"]["size"] == [0, 1]
    for by in found["curves"].values():
        for name in ("joint", "joint, refined", "plain"):
            assert len(by[name]) == len(by["size"]) and all(0 <= v <= 1 for v in by[name])
        for name in ("joint", "plain"):
            assert by[name] == sorted(by[name], reverse=True), "an attack never helps"
    for name in ("joint", "plain"):
        assert found["curves"]["linf"][name][0] == found["curves"]["l2"][name][0], "without a change there is no norm"
    assert "Adversarial robustness" in (tmp_path / "report.html").read_text()


def test_what_joint_energies_cannot_do_is_refused_in_one_line(classified, joint, capsys, tmp_path):
    unlabelled, texts = tmp_path / "unlabelled.npz", tmp_path / "texts"
    np.savez(unlabelled, images=np.random.default_rng(0).integers(0, 255, (50, 8, 8), np.uint8))
    texts.mkdir()
    (texts / "notes.txt").write_text("no picture")
    np.savez(tmp_path / "two.npz", images=np.zeros((50, 8, 8), np.uint8), labels=np.arange(50) % 2)
    for number, (name, arguments, words) in enumerate([
        ("classification", [f"load.images={unlabelled}"], "needs data with labels"),
        ("classification", [f"load.images={tmp_path / 'two.npz'}", joint[1]], "no joint energies of 2 classes"),
        ("classification", ["load.count=40", f"learn_joint.pretrained={tmp_path / 'none'}"], "none"),
        ("classification", ["classify.levels=[]"], "levels must be positive"),
        ("classification", ["learn_joint.plain_share=0"], "plain_share"),
        ("classification", ["learn_joint.objective.smoothing=1"], "smoothing"),
        ("out_of_distribution", [*joint, f"score.input={texts}"], "holds no pictures"),
        ("out_of_distribution", ["score.num=19"], "num 20 or more"),
        ("out_of_distribution", ["score.levels=[]"], "levels"),
        ("adversarial_robustness", ["attack.linf=[]", "attack.l2=[]"], "one be given"),
        ("adversarial_robustness", ["attack.linf=[-0.1]"], "must be positive"),
    ]):  # fmt: skip
        assert words in refusal(capsys, name, *arguments, f"out={tmp_path / str(number)}"), arguments


@pytest.mark.parametrize("names", [("first/test", "second/test"), ("noise",)], ids=["alike", "as one that is made"])
def test_outliers_whose_folders_have_the_same_name_are_kept_apart(joint, names, tmp_path):
    for number, name in enumerate(names):
        (tmp_path / name).mkdir(parents=True)
        for k in range(3):
            x = torch.rand(1, 8, 8, generator=seeded(k)) - number
            images.write(tmp_path / name / f"{k}.png", x)
    outliers = ", ".join(str(tmp_path / name) for name in names)
    arguments = [*joint, f"score.outliers=[{outliers}]"]
    assert run.main(["out_of_distribution", *arguments, f"out={tmp_path / 'out'}"]) == 0
    assert len(metrics_of(tmp_path / "out")["detection"]["joint: energy"]) == 5 + len(names)


LIKELIHOOD = "learn_joint.objective.generative.maximum_likelihood={sampling_steps: 2}"


@pytest.mark.parametrize(
    ("of", "arguments"),
    [
        ("noisy", ["classify.generator.chain.steps=2"]),
        ("noisy", [LIKELIHOOD]),
        ("clean", []),
        ("clean", [LIKELIHOOD, "classify.generator.schedule.levels=3"]),
    ],
    ids=["noisy, chain", "noisy, likelihood", "clean, score matching", "clean, annealed"],
)
def test_an_energy_and_a_way_to_sample_it_that_do_not_fit_are_refused(
    classified, clean, of, arguments, capsys, tmp_path
):
    given = f"learn_joint.pretrained={classified if of == 'noisy' else clean}"
    line = refusal(
        capsys, "classification", "load.count=200", given, *arguments, "classify.samples=10", f"out={tmp_path}"
    )
    assert "pretrained" in line or "generator" in line
