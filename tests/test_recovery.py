"""The pipelines as a user meets them: a tiny recovery, a tiny synthesis, and every bad input in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import energies
from data import images, procedural, video
from energies import Schedule
from energies.objectives import MaximumLikelihood
from pipelines.pipeline import Pipeline
from pipelines.run import main
from pipelines.stages.video import (
    Evaluate,
    ExportRecovery,
    ExportSynthesis,
    Hide,
    Learn,
    LearnClip,
    Load,
    Recover,
    Synthesize,
)
from pipelines.stages.video.learn import ConvNet, Refine
from pipelines.stages.video.scene import is_scene, stretched
from pipelines.training import Optimizer

FILES = (
    "recovered.mp4",
    "recovered.mkv",
    "comparison.mp4",
    "contact_sheet.png",
    "report.html",
    "metrics.json",
    "log.jsonl",
)
SCORES = {"psnr", "mae", "ssim"}
BASELINES = ("temporal_linear", "nearest_frame", "biharmonic", "total_variation")


def recovery(load: Load, hide: Hide, learn: Learn | None = None, baselines: Any = ("nearest_frame",)) -> Pipeline:
    learn = learn or Learn(energy=Refine((8, 8), (1, 1)), optimizer=Optimizer(steps=8))
    recover = Recover(chains=2, schedule=Schedule(3, 2.0, 0.1, 1, 0.5))
    return Pipeline([load, hide, learn, recover, Evaluate(baselines), ExportRecovery()], "video_recovery")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Pipeline, Path, dict[str, Any]]:
    """A finished run of odd size, and what it gave."""
    root = tmp_path_factory.mktemp("recovery") / "run"
    pipeline = recovery(Load(size="19x22", frames=10), Hide(pixels=0.4), baselines=BASELINES)
    return pipeline, root, pipeline.run(root, seed=2, compute="float32")


def test_recovery_beats_the_nearest_frame_and_tells_so(whole):
    _, root, values = whole
    found = json.loads((root / "metrics.json").read_text())
    assert found == values["metrics"] and found["truth_known"] is True
    assert found["recovery"]["psnr"] > found["baselines"]["nearest_frame"]["psnr"] + 1
    assert set(found["baselines"]) == set(BASELINES)
    for scores in (found["recovery"], found["fill"], found["single_sample"], *found["baselines"].values()):
        assert scores.keys() >= SCORES
    best = max(BASELINES, key=lambda name: found["baselines"][name]["psnr"])
    assert found["best_baseline"] == best
    assert found["gain_db"] == pytest.approx(found["recovery"]["psnr"] - found["baselines"][best]["psnr"])
    assert found["fill_gain_db"] == pytest.approx(found["recovery"]["psnr"] - found["fill"]["psnr"])
    assert 0.75 < found["coverage_90"] <= 1
    assert found["seconds"] > 0 and all(scores["seconds"] >= 0 for scores in found["baselines"].values())
    assert found["trust"] and all(0 <= share <= 1 for share in found["trust"].values())
    wrong = ((values["recovered"] - values["clip"])[:, values["hidden"]] * 127.5).double()
    rms = wrong.square().mean().sqrt().item()
    assert found["recovery"]["psnr"] == pytest.approx(20 * math.log10(255 / rms), abs=0.1)


def test_what_is_seen_is_never_changed(whole):
    _, _, values = whole
    hidden, clip = values["hidden"], values["clip"]
    for result in (values["recovered"], values["fill"], *values["samples"], values["rival"]["clip"]):
        assert torch.equal(result[:, ~hidden], clip[:, ~hidden])
        assert result.isfinite().all() and result.abs().max() <= 1.5
    assert not values["std"][:, ~hidden].any() and (values["std"][:, hidden] > 0).all()
    assert not values["damaged"][:, hidden].any(), "no later stage can look"
    assert not torch.equal(values["samples"][0], values["samples"][1])


def test_a_run_leaves_what_a_person_looks_at(whole):
    _, root, values = whole
    assert all((root / name).stat().st_size for name in FILES)
    lossless, fps = video.read(root / "recovered.mkv")
    assert fps == values["source"]["fps"]
    assert lossless.shape == values["recovered"].shape, "odd sizes stay"
    assert (lossless - values["recovered"].clamp(-1, 1)).abs().max() < 1.01 / 127.5
    browser, _ = video.read(root / "recovered.mp4")
    assert browser.shape[1] == 10 and all(side % 2 == 0 for side in browser.shape[2:])
    wide, _ = video.read(root / "comparison.mp4")
    assert wide.shape[3] > 4 * 22
    report = (root / "report.html").read_text()
    assert "http://" not in report.replace("http://www.w3.org", "") and "<script src" not in report, "it opens offline"


def test_the_energy_loads_by_itself(whole):
    _, root, values = whole
    loaded = energies.load(root / "energy")
    assert isinstance(loaded, energies.ConditionalEnergy)
    energy, clip = loaded.at(0.1), values["clip"][None]
    assert energy(clip).shape == (1,)
    assert torch.equal(energy(clip), values["energy"].at(0.1)(clip))
    _, slope = energies.gradient(energy, clip)
    assert slope[:, :, values["hidden"]].any() and not slope[:, :, ~values["hidden"]].any()


def test_running_again_returns_at_once_with_the_same_result(whole, capsys):
    pipeline, root, values = whole
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and path.name[0] != "."}
    again = pipeline.run(root, seed=2, compute="float32")
    told = capsys.readouterr()
    assert told.err.count("done before") == 6 and "finished by an earlier command" in told.out
    assert values["summary"] in told.out
    assert torch.equal(again["recovered"], values["recovered"]) and again["metrics"] == values["metrics"]
    changed = {p.name for p, t in before.items() if p.stat().st_mtime_ns != t}
    assert changed <= {"config.yaml"}


def test_the_seed_decides(whole, tmp_path):
    """The same settings give the same result in another folder, wherever it was interrupted."""
    pipeline, _, values = whole
    first = Pipeline(pipeline.stages[:3]).run(tmp_path / "run", seed=2, compute="float32")
    assert torch.equal(first["clip"], values["clip"]) and torch.equal(first["hidden"], values["hidden"])
    x = values["clip"][None]
    assert torch.equal(first["energy"].at(0.1)(x), values["energy"].at(0.1)(x))
    other = Pipeline(pipeline.stages[:2]).run(tmp_path / "other", seed=3)
    assert not torch.equal(other["hidden"], values["hidden"]) and not torch.equal(other["clip"], values["clip"])


def test_an_own_mask_scores_nothing_that_is_hidden(tmp_path):
    clip = procedural.video("waves", frames=8, size=16, seed=0)
    video.write(tmp_path / "clip.mkv", clip, 10.0, lossless=True)
    mask = np.zeros((16, 16, 3), np.uint8)
    mask[4:9, 5:12] = 255
    images.write(tmp_path / "mask.png", mask)
    load = Load(str(tmp_path / "clip.mkv"), size=None, frames=None)
    values = recovery(load, Hide(mask=str(tmp_path / "mask.png"))).run(tmp_path / "run")
    hidden = values["hidden"]
    assert hidden[:, 4:9, 5:12].all() and hidden.sum() == 8 * 5 * 7
    found = json.loads((tmp_path / "run/metrics.json").read_text())
    assert found["truth_known"] is False
    unknown = {
        "recovery",
        "fill",
        "single_sample",
        "baselines",
        "best_baseline",
        "gain_db",
        "fill_gain_db",
        "coverage_90",
    }
    assert not unknown & found.keys()
    assert found["held_out"]["pixels"] > 0 and "nothing hidden is scored" in values["summary"]
    assert torch.equal(values["recovered"][:, ~hidden], values["clip"][:, ~hidden])
    assert all((tmp_path / "run" / name).stat().st_size for name in FILES)


@pytest.mark.parametrize(
    "hide", [Hide(frames=2), Hide(frames="3:5"), Hide(region="6x5 moving"), Hide(region="5x6", pixels=0.2)]
)
def test_every_made_mask_goes_all_the_way(hide, tmp_path):
    values = recovery(Load(size=16, frames=8), hide).run(tmp_path / "run", compute="float32")
    hidden = values["hidden"]
    if hide.frames:
        assert hidden.flatten(1).all(1).sum() == 2 and not hidden[[0, -1]].any()
    else:
        assert hidden.flatten(1).any(1).all()
    assert torch.equal(values["recovered"][:, ~hidden], values["clip"][:, ~hidden])
    assert values["metrics"]["recovery"]["psnr"] > 10


def test_the_published_way_goes_all_the_way(tmp_path):
    """A published ConvNet by MCMC maximum likelihood; the guard keeps it from doing harm."""
    learn = Learn(
        energy=ConvNet("st"), objective=MaximumLikelihood(steps=2), optimizer=Optimizer(steps=2, learning_rate=1e-4)
    )
    pipeline = recovery(Load(size=12, frames=6), Hide(pixels=0.4), learn)
    pipeline = Pipeline([replace(s, steps=4) if isinstance(s, Recover) else s for s in pipeline.stages])
    values = pipeline.run(tmp_path / "run", compute="float32")
    assert isinstance(energies.load(tmp_path / "run/energy"), energies.GenerativeConvNet)
    assert values["metrics"]["fill_gain_db"] > -1
    assert torch.equal(values["recovered"][:, ~values["hidden"]], values["clip"][:, ~values["hidden"]])


def test_synthesis_makes_clips_of_another_length(tmp_path):
    stages = [
        Load("procedural:flames", size=16, frames=8),
        LearnClip(energy=Refine((8, 8), (1, 1)), optimizer=Optimizer(steps=4)),
        Synthesize(num=2, frames=11, schedule=Schedule(3, 2.0, 0.1, 1, 0.5)),
        ExportSynthesis(),
    ]
    values = Pipeline(stages, "video_synthesis").run(tmp_path / "run", compute="float32")
    samples = values["samples"]
    assert samples.shape == (2, 3, 11, 16, 16) and samples.isfinite().all() and samples.abs().max() <= 1
    assert not torch.equal(samples[0], samples[1])
    for number in range(2):
        clip, _ = video.read(tmp_path / f"run/sample_{number}.mp4")
        assert clip.shape == (3, 11, 16, 16)
    found = json.loads((tmp_path / "run/metrics.json").read_text())
    assert found.pop("sampling")["num_chains"] == 2
    assert found.keys() == {"data", "sample_0", "sample_1"}
    assert all({"horizontal", "vertical", "temporal"} <= statistics.keys() for statistics in found.values())
    for name in ("contact_sheet.png", "report.html"):
        assert (tmp_path / "run" / name).stat().st_size
    energy = energies.load(tmp_path / "run/energy")
    assert isinstance(energy, energies.ConditionalEnergy) and energy.at(0.1)(values["clip"][None]).shape == (1,)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """A run that learned to make clips of 6 frames."""
    root = tmp_path_factory.mktemp("scene") / "run"
    learn = LearnClip(energy=Refine((8, 8), (1, 1)), optimizer=Optimizer(steps=6))
    synthesize = Synthesize(num=2, schedule=Schedule(2, 2.0, 0.1, 1, 0.5))
    stages = [Load(size=16, frames=6), learn, synthesize, ExportSynthesis()]
    Pipeline(stages, "video_synthesis").run(root, compute="float32")
    return root


def test_an_energy_that_learned_to_make_clips_recovers_one_by_conditioning(scene, tmp_path):
    """Of another length, too; what is seen stays, and the guard lets it do no harm."""
    pipeline = recovery(Load(size=16, frames=8), Hide(pixels=0.4), Learn(pretrained=str(scene)))
    values = pipeline.run(tmp_path / "run", compute="float32")
    energy, made = values["energy"], energies.load(scene / "energy")
    assert isinstance(energy, energies.ConditionalEnergy) and isinstance(made, energies.ConditionalEnergy)
    assert energy.event_shape == (3, 8, 16, 16) and made.event_shape == (3, 6, 16, 16)
    assert all(torch.equal(a, b) for a, b in zip(energy.net.parameters(), made.net.parameters(), strict=True))
    assert values["metrics"]["way"] == "conditioned" and set(values["ways"]) == {"conditioned"}
    hidden = values["hidden"]
    for result in (values["recovered"], *values["samples"]):
        assert torch.equal(result[:, ~hidden], values["clip"][:, ~hidden])
    assert values["metrics"]["fill_gain_db"] > -0.5 and not torch.equal(values["samples"][0], values["samples"][1])


def test_both_ways_to_the_posterior_are_shown_beside_each_other(whole, scene, tmp_path):
    pipeline = recovery(Load(size=16, frames=8), Hide(pixels=0.4))
    stages = [replace(s, prior=str(scene)) if isinstance(s, Recover) else s for s in pipeline.stages]
    alone = pipeline.run(tmp_path / "alone", compute="float32")
    values = Pipeline(stages, "video_recovery").run(tmp_path / "run", compute="float32")
    found = json.loads((tmp_path / "run/metrics.json").read_text())
    assert found["way"] == "amortised" and set(found["ways"]) == {"amortised", "conditioned"}
    assert all(way.keys() >= SCORES | {"seconds"} for way in found["ways"].values())
    assert torch.equal(values["recovered"], alone["recovered"]), "what is beside changes nothing"
    means = [values["ways"][name]["mean"] for name in ("amortised", "conditioned")]
    hidden = values["hidden"]
    assert not torch.equal(*means) and all(torch.equal(x[:, ~hidden], values["clip"][:, ~hidden]) for x in means)
    report = (tmp_path / "run/report.html").read_text()
    assert "amortised" in report and "conditioned" in report and "conditioned" in values["summary"]
    assert whole[2]["metrics"]["way"] == "amortised"


def test_the_frames_of_a_scene_are_one_picture_and_more_of_them_change_nothing(scene):
    """Far from the ends, which the network sees: the energy of a longer clip is that of a scene as long."""
    energy = energies.load(scene / "energy")
    assert isinstance(energy, energies.ConditionalEnergy) and is_scene(energy)
    longer = stretched(energy, 9)
    assert longer.event_shape == (3, 9, 16, 16)
    assert torch.equal(longer.mean[:, :, 8], energy.mean[:, :, 0])
    x = energy.mean[:, :, :1] + energy.scale[:, :, :1] * torch.randn(1, 3, 9, 16, 16)
    x[:, :, 6:] = longer.mean[:, :, 6:]
    again = stretched(longer, 6)
    assert torch.equal(again.at(0.5)(x[:, :, :6]), energy.at(0.5)(x[:, :, :6]))


def empty(folder: Path) -> None:
    (folder / "clip.mp4").touch()


def text(folder: Path) -> None:
    (folder / "clip.mp4").write_text("This is no video.\n" * 100)


def short(folder: Path) -> None:
    video.write(folder / "clip.mp4", torch.zeros(3, 5, 16, 16), 10.0)


def black(folder: Path) -> None:
    images.write(folder / "mask.png", np.zeros((16, 16, 3), np.uint8))


def stranger(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out/precious.txt").write_text("mine")


TINY = ("load.size=16", "load.frames=8")
SETTINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unknown key": (("load.vidoe=x.mp4",), ("vidoe", "did you mean", "video")),
    "unknown stage": (("lode.video=x.mp4",), ("lode", "did you mean", "load")),
    "unknown run setting": (("sed=3",), ("sed", "did you mean", "seed")),
    "wrong type": (("load.frames=many",), ("load.frames", "many")),
    "not a number": (("learn.optimizer.learning_rate=.nan",), ("learn.optimizer", "learning_rate")),
    "no number of pixels": (("load.size=4",), ("size", "8", "4")),
    "frames out of range": (("load.frames=2",), ("frames", "4", "2")),
    "share out of range": (("hide.pixels=1.5",), ("pixels", "1.5")),
    "no region": (("hide.region=big",), ("region", "HEIGHTxWIDTH", "big")),
    "mask and pixels": (("hide.mask=m.png", "hide.pixels=0.5"), ("mask", "pixels")),
    "objective of another energy": (("learn.objective.maximum_likelihood.steps=3",), ("objective", "conv_net")),
    "one chain": (("recover.chains=1",), ("chains", "2", "1")),
    "no baseline": (("evaluate.baselines=[best]",), ("baselines", "best")),
}
INPUTS: dict[str, tuple[Callable[[Path], None] | None, tuple[str, ...], tuple[str, ...]]] = {
    "missing file": (None, ("load.video=none.mp4",), ("none.mp4", "no such file")),
    "missing mask": (None, (*TINY, "hide.mask=none.png"), ("none.png", "no such file")),
    "0 bytes": (empty, ("load.video=clip.mp4",), ("clip.mp4", "empty")),
    "text": (text, ("load.video=clip.mp4",), ("clip.mp4",)),
    "shorter than asked": (short, ("load.video=clip.mp4",), ("clip.mp4", "5")),
    "too short": (short, ("load.video=clip.mp4", "load.frames=null", "load.start=3"), ("clip.mp4", "2 frames")),
    "mask that hides nothing": (black, (*TINY, "hide.mask=mask.png"), ("mask.png", "hides nothing")),
    "mask that is text": (text, (*TINY, "hide.mask=clip.mp4"), ("clip.mp4",)),
    "region too large": (None, (*TINY, "hide.region=20x20"), ("hide.region", "16x16")),
    "frames beyond the clip": (None, (*TINY, "hide.frames=6:12"), ("hide.frames", "8 frames")),
    "too many frames": (None, (*TINY, "hide.frames=7"), ("hide.frames", "8 frames")),
    "nearly all": (None, (*TINY, "hide.pixels=0.98"), ("98%", "hide less")),
    "unknown kind": (None, ("load.video=procedural:smoke",), ("smoke", "cloth")),
}


@pytest.mark.parametrize("field", ["learn.pretrained", "recover.prior"])
def test_an_energy_that_does_not_suit_the_clip_is_told_in_one_line(field, whole, scene, tmp_path, capsys):
    tiny = ("learn.energy.refine={widths: [8, 8], depths: [1, 1]}", "learn.optimizer.steps=1", "compute=float32")
    for root, size, words in (
        (scene, 12, "3x6x16x16"), (whole[1], 16, "damaged clip alone"), (tmp_path / "none", 16, "none"),
    ):  # fmt: skip
        given = [] if field == "learn.pretrained" else tiny
        out = tmp_path / f"out{size}{root.name}"
        assert (
            main(["video_recovery", f"load.size={size}", "load.frames=6", *given, f"{field}={root}", f"out={out}"]) == 2
        )
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.startswith("error: ") and field in told and words in told


@pytest.mark.parametrize("name", SETTINGS)
def test_a_bad_setting_is_told_in_one_line_before_anything_is_done(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings, words = SETTINGS[name]
    assert main(["video_recovery", *settings, "out=out"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ") and told.err.count("\n") == 1 and not told.out
    assert all(word in told.err for word in words), told.err
    assert not list(tmp_path.iterdir()), "nothing is left"


@pytest.mark.parametrize("name", INPUTS)
def test_a_bad_input_is_told_in_one_line_and_leaves_nothing_half_written(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare, settings, words = INPUTS[name]
    if prepare:
        prepare(tmp_path)
    assert main(["video_recovery", *settings, "out=out"]) == 2
    told = capsys.readouterr()
    steps, (line,) = told.err.splitlines()[:-1], told.err.splitlines()[-1:]
    assert line.startswith("error: ") and not told.out
    assert all(step.startswith("[") for step in steps), told.err
    assert all(word in line for word in words), line
    # Of the run there are its configuration and the stages that were finished: the mended command goes on from there.
    assert {p.name for p in (tmp_path / "out").iterdir() if p.is_file()} <= {"config.yaml", "log.jsonl", ".lock"}
    *finished, failed = sorted(p for p in (tmp_path / "out").iterdir() if p.is_dir())
    assert {p.name for p in failed.iterdir()} == {"begun.json"}
    assert all((folder / "manifest.json").is_file() for folder in finished)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stranger(tmp_path)
    assert main(["video_recovery", *TINY, "out=out"]) == 2
    assert "not empty and holds no run" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["precious.txt"]
    assert (tmp_path / "out/precious.txt").read_text() == "mine"


def test_another_run_in_the_folder_is_told_and_kept(whole, capsys):
    _, root, _ = whole
    before = sorted(path.name for path in root.rglob("*"))
    assert (
        main(["video_recovery", "load.size=19x22", "load.frames=11", "seed=2", "compute=float32", f"out={root}"]) == 2
    )
    told = capsys.readouterr().err
    assert (
        told.startswith("error: ") and told.count("\n") == 1 and "load.frames=10" in told and "load.frames=11" in told
    )
    assert sorted(path.name for path in root.rglob("*")) == before
