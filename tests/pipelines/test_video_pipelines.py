"""Pipelines of video, tiny, as a user meets them: recoveries, new clips, and every bad input in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import energies
from data import images, moving, procedural, video
from energies import ConditionalEnergy, Schedule
from pipelines import checkpoint
from pipelines.learning.settings import Amortised
from pipelines.measures import judge
from pipelines.modalities.video import Evaluate, Export, Hide, Learn, Load, Recover, Synthesize
from pipelines.pipeline import Pipeline
from pipelines.run import main

FILES = (
    "recovered.mp4", "recovered.mkv", "comparison.mp4", "contact_sheet.png", "report.html", "metrics.json", "log.jsonl",
)  # fmt: skip
BASELINES = (
    "temporal_linear",
    "nearest_frame",
    "biharmonic",
    "total_variation",
    "telea",
    "navier_stokes",
    "low_rank",
    "flow",
)
"""Patches are for more than the scattered pixels that are hidden here."""
FEW = Schedule(3, 2.0, 0.1, 1, 0.5)


@pytest.fixture(scope="module", autouse=True)
def quick_judge() -> Iterator[None]:
    """Classifiers of less learning: what is tested is not how well they judge."""
    steps, judge.STEPS = judge.STEPS, 4
    yield
    judge.STEPS = steps


def recovery(load: Load, hide: Hide, **learn: Any) -> Pipeline:
    settings: dict[str, Any] = {"energy": Amortised((8, 8), (1, 1)), "steps": 8} | learn
    recover = Recover(chains=2, generator=FEW)
    evaluate = Evaluate(("nearest_frame",))
    return Pipeline([load, hide, Learn(**settings), recover, evaluate, Export()], "video_recovery")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Pipeline, Path, dict[str, Any]]:
    """A finished run of odd size, and what it gave."""
    root = tmp_path_factory.mktemp("recovery") / "run"
    pipeline = recovery(Load(size="19x22", frames=10), Hide(pixels=0.4))
    pipeline = Pipeline([Evaluate() if isinstance(s, Evaluate) else s for s in pipeline.stages], "video_recovery")
    return pipeline, root, pipeline.run(root, seed=2, compute="float32")


def given(folder: Path) -> dict[str, Any]:
    """What a stage gave."""
    found = checkpoint.load_values(folder)
    assert found is not None
    return found


def unseen(values: dict[str, Any]) -> torch.Tensor:
    """bool [3, T, H, W]: what is hidden of the clip."""
    return values["observation"].mask.expand_as(values["targets"])[0]


# -------------------------------------------------------------------------------------- one clip


@pytest.mark.slow
def test_recovery_beats_the_nearest_frame_and_tells_so(whole):
    _, root, values = whole
    found = json.loads((root / "metrics.json").read_text())
    assert found == values["metrics"] and found["truth_known"] is True
    assert found["recovery"]["psnr"] > found["baselines"]["nearest_frame"]["psnr"] + 1
    assert set(found["baselines"]) == set(BASELINES)
    best = max(BASELINES, key=lambda name: found["baselines"][name]["psnr"])
    assert found["best_baseline"] == best == values["rivals"]["name"]
    assert found["gain_db"] == pytest.approx(found["recovery"]["psnr"] - found["baselines"][best]["psnr"])
    assert 0.75 < found["coverage_90"] <= 1 and found["total_seconds"] > 0
    wrong = ((values["recovered"] - values["targets"])[0][unseen(values)] * 127.5).double()
    assert found["recovery"]["psnr"] == pytest.approx(
        20 * math.log10(255 / wrong.square().mean().sqrt().item()), abs=0.1
    )
    assert "report" not in values["summary"] and f"{found['recovery']['psnr']:.2f}" in values["summary"]


@pytest.mark.slow
def test_what_is_seen_is_never_changed(whole):
    _, _, values = whole
    hidden, clip = unseen(values), values["targets"][0]
    results = [values["recovered"], values["ways"]["amortised"]["estimate"], values["samples"], values["rivals"]["x"]]
    for result in torch.cat(results):
        assert torch.equal(result[~hidden], clip[~hidden])
        assert result.isfinite().all() and result.abs().max() <= 1.5
    assert not values["spread"][0][~hidden].any() and (values["spread"][0][hidden] > 0).all()
    assert not values["measured"][0][hidden].any(), "no later stage can look"
    assert not torch.equal(values["samples"][0], values["samples"][1])


@pytest.mark.slow
def test_a_run_leaves_what_a_person_looks_at(whole):
    _, root, values = whole
    assert all((root / name).stat().st_size for name in FILES)
    lossless, fps = video.read(root / "recovered.mkv")
    assert fps == values["source"]["fps"]
    assert (lossless - values["recovered"][0].clamp(-1, 1)).abs().max() < 1.01 / 127.5


@pytest.mark.slow
def test_the_energy_loads_by_itself(whole):
    _, root, values = whole
    loaded = energies.load(root / "energy")
    assert isinstance(loaded, ConditionalEnergy)
    energy, clip = loaded.at(0.1), values["targets"]
    assert energy(clip).shape == (1,)
    assert torch.equal(energy(clip), values["energy"].at(0.1)(clip))
    _, slope = energies.gradient(energy, clip)
    assert slope[0][unseen(values)].any() and not slope[0][~unseen(values)].any()


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_seed_decides(whole, tmp_path):
    """The same settings give the same result in another folder, wherever it was interrupted."""
    pipeline, _, values = whole
    first = Pipeline(pipeline.stages[:3]).run(tmp_path / "run", seed=2, compute="float32")
    x = values["targets"]
    assert torch.equal(first["targets"], x) and torch.equal(unseen(first), unseen(values))
    assert torch.equal(first["energy"].at(0.1)(x), values["energy"].at(0.1)(x))
    other = Pipeline(pipeline.stages[:2]).run(tmp_path / "other", seed=3)
    assert not torch.equal(unseen(other), unseen(values)) and not torch.equal(other["targets"], x)


@pytest.mark.slow
def test_an_own_mask_scores_nothing_that_is_hidden(tmp_path):
    clip = procedural.video("waves", frames=8, size=16, seed=0)
    video.write(tmp_path / "clip.mkv", clip, 10.0, lossless=True)
    mask = np.zeros((16, 16, 3), np.uint8)
    mask[4:9, 5:12] = 255
    images.write(tmp_path / "mask.png", mask)
    load = Load(str(tmp_path / "clip.mkv"), size=None, frames=None)
    values = recovery(load, Hide(mask=str(tmp_path / "mask.png"))).run(tmp_path / "run")
    found = json.loads((tmp_path / "run/metrics.json").read_text())
    assert found["truth_known"] is False
    assert not found.keys() & {"recovery", "one_sample", "baselines", "best_baseline", "gain_db", "coverage_90"}
    assert found["ways"]["amortised"]["held_out"]["pixels"] > 0 and "nothing is scored" in values["summary"]
    hidden = unseen(values)
    assert torch.equal(values["recovered"][0][~hidden], values["targets"][0][~hidden])
    assert all((tmp_path / "run" / name).stat().st_size for name in FILES)


@pytest.mark.slow
@pytest.mark.parametrize("hide", [Hide(frames=2), Hide(region="6x5 moving"), Hide(every=3), Hide(box=5, noise=0.1)])
def test_every_made_damage_goes_all_the_way(hide, scene, tmp_path):
    learn = {"energy": None, "steps": None, "pretrained": str(scene)} if hide.noise else {}
    values = recovery(Load(size=16, frames=8), hide, **learn).run(tmp_path / "run", compute="float32")
    assert values["metrics"]["recovery"]["psnr"] > 5
    if not hide.noise:
        assert torch.equal(values["recovered"][0][~unseen(values)], values["targets"][0][~unseen(values)])


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """A run that learned to make clips of 6 frames, and made some of 9."""
    root = tmp_path_factory.mktemp("scene") / "run"
    learn = Learn(energy=Amortised((8, 8), (1, 1)), steps=6)
    synthesize = Synthesize(num=2, frames=9, generator=Schedule(2, 2.0, 0.1, 1, 0.5))
    stages = [Load(size=16, frames=6), learn, synthesize, Evaluate(), Export()]
    Pipeline(stages, "video_synthesis").run(root, compute="float32")
    return root


@pytest.mark.slow
def test_synthesis_makes_clips_of_another_length(scene):
    samples = given(scene / "03_synthesize")["samples"]
    assert samples.shape == (2, 3, 9, 16, 16) and samples.isfinite().all() and samples.abs().max() <= 1
    assert not torch.equal(samples[0], samples[1])
    for number in range(2):
        assert video.read(scene / f"samples/sample_{number:03d}.mp4")[0].shape == (3, 9, 16, 16)
    found = json.loads((scene / "metrics.json").read_text())
    assert found["sampling"]["num_chains"] == 2 and found["samples"].keys() == found["real"].keys()
    assert (scene / "contact_sheet.png").stat().st_size and (scene / "report.html").stat().st_size
    assert energies.load(scene / "energy").event_shape == (3, 6, 16, 16)


@pytest.mark.slow
def test_an_energy_that_learned_to_make_clips_recovers_one_by_conditioning(scene, tmp_path):
    """Of another length, too; what is seen stays, and the gate lets it do no harm."""
    pipeline = recovery(Load(size=16, frames=8), Hide(pixels=0.4), energy=None, steps=None, pretrained=str(scene))
    values = pipeline.run(tmp_path / "run", compute="float32")
    assert values["energy"].event_shape == (3, 8, 16, 16)
    assert values["metrics"]["way"] == "conditioned" and set(values["ways"]) == {"conditioned"}
    hidden = unseen(values)
    for result in (*values["recovered"], *values["samples"]):
        assert torch.equal(result[~hidden], values["targets"][0][~hidden])
    assert values["metrics"]["initial_estimate_gain_db"] > -0.5


@pytest.mark.slow
def test_both_ways_to_the_posterior_are_shown_beside_each_other(whole, scene, tmp_path):
    pipeline = recovery(Load(size=16, frames=8), Hide(pixels=0.4))
    stages = [replace(s, prior=str(scene)) if isinstance(s, Recover) else s for s in pipeline.stages]
    values = Pipeline(stages, "video_recovery").run(tmp_path / "run", compute="float32")
    found = json.loads((tmp_path / "run/metrics.json").read_text())
    assert found["way"] == "amortised" and list(found["ways"]) == ["amortised", "conditioned"]
    means = [values["ways"][name]["mean"][0] for name in ("amortised", "conditioned")]
    hidden, clip = unseen(values), values["targets"][0]
    assert not torch.equal(*means) and all(torch.equal(x[~hidden], clip[~hidden]) for x in means)
    report = (tmp_path / "run/report.html").read_text()
    assert "by this energy, amortised" in report and "by this energy, conditioned" in report


# ------------------------------------------------------------------------------------ many clips


CLIPS = ("load.count=60", "load.size=12", "load.frames=6", "compute=float32")


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """A run that learned one energy of clips, and made some."""
    out = tmp_path_factory.mktemp("learned") / "run"
    few = ["learn.energy.encoder.widths=[4, 6]", "learn.energy.encoder.depths=[1, 1]", "learn.steps=2",
           "synthesize.num=3", "synthesize.generator.schedule.levels=3"]  # fmt: skip
    assert main(["clip_synthesis", *CLIPS, *few, f"out={out}"]) == 0
    return out


@pytest.mark.slow
def test_one_energy_of_clips_makes_new_ones(learned):
    samples = given(learned / "03_synthesize")["samples"]
    assert samples.shape == (3, 3, 6, 12, 12) and samples.abs().max() <= 1
    assert tuple(energies.load(learned / "energy").event_shape) == (3, 6, 12, 12)
    found = json.loads((learned / "metrics.json").read_text())
    assert {"samples", "real", "sampling"} <= set(found)
    clip, _ = video.read(learned / "samples" / "sample_002.mp4")
    assert clip.shape == (3, 6, 12, 12) and (learned / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["pixels=0.5", "every=2", "average=2", "grey=true", "blur=1.0", "noise=0.2"])
def test_the_same_energy_recovers_clips_however_they_are_seen(way, learned, tmp_path):
    out = tmp_path / "run"
    few = ["hide.num=2", "recover.samples=2", f"learn.pretrained={learned}"]
    assert main(["clip_recovery", *CLIPS, *few, f"hide.{way}", f"out={out}"]) == 0
    values = given(out / "02_hide") | given(out / "04_recover")
    observation, y = values["observation"], values["measured"]
    for x in (values["recovered"], values["samples"]):
        assert x.shape == (2, 3, 6, 12, 12) and x.isfinite().all()
        if observation.holds:  # to rounding, where values within bounds can be
            assert (observation.observe(x) - observation.observe(observation.project(x, y))).abs().max() < 1e-4
    found = json.loads((out / "metrics.json").read_text())
    assert found["way"] == "conditioned" and found["truth_known"] and found["recovery"]["psnr"] > 5
    assert (out / "contact_sheet.png").exists() and (out / "recovered" / "clip_001.mp4").exists()


COMPOSED = [
    "load.size=12", "load.frames=4", "compose.energy.widths=[4, 6]", "compose.energy.depths=[1, 1]", "compose.steps=2",
    "compose.generator.levels=3", "compose.generator.steps=1", "compose.balance=4", "synthesize.num=3",
    "evaluate.cells=1", "evaluate.rivals=2", "compute=float32",
]  # fmt: skip


@pytest.mark.slow
def test_a_motion_and_an_appearance_are_combined(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["video_compose", "load.count=80", *COMPOSED, f"out={out}"]) == 0
    assert "motion.right" in capsys.readouterr().out
    samples = given(out / "03_synthesize")["samples"]
    assert samples.shape == (3, 3, 4, 12, 12) and samples.isfinite().all()
    found = json.loads((out / "metrics.json").read_text())
    assert set(found["asked"]) == {"num", "all_hold", "motion.right", "colour.red"}
    assert set(found["rivals"]) == {"without_langevin_steps", "sum_of_energies"}
    assert found["grid"]["rows"] == list(moving.ATTRIBUTES["motion"]) and len(found["grid"]["accuracy"][0]) == 5
    height, width = images.read(out / "grid.png", channels=3).shape[1:]
    assert (out / "samples.png").exists() and width > 2 * height, "five columns of strips, four rows"
    assert video.read(out / "samples" / "sample_000.mp4")[0].shape == (3, 4, 12, 12)
    again = [f"experts.motion={out / 'experts' / 'motion'}", "expr=motion.up | motion.down", "load.count=80"]
    assert main(["video_compose", *COMPOSED, *again, f"out={tmp_path / 'again'}"]) == 0


@pytest.mark.slow
def test_an_own_label_of_clips_is_learned(tmp_path):
    x, labels = moving.clips(12, 16, 9, seed=1)
    for number, clip in enumerate(x):
        kind = tmp_path / "own" / ("along" if labels["motion"][number] < 2 else "upright")
        kind.mkdir(parents=True, exist_ok=True)
        video.write(kind / f"{number}.mp4", clip, 12.0)
    own = [f"load.clips={tmp_path / 'own'}", "expr=kind.along", f"out={tmp_path / 'run'}"]
    assert main(["video_compose", *COMPOSED, *own]) == 0
    assert "kind.along" in json.loads((tmp_path / "run" / "metrics.json").read_text())["asked"]


# --------------------------------------------------------------------------------------- refusals


def empty(folder: Path) -> None:
    (folder / "clip.mp4").touch()


def text(folder: Path) -> None:
    (folder / "clip.mp4").write_text("This is no video.\n" * 100)


def short(folder: Path) -> None:
    video.write(folder / "clip.mp4", torch.zeros(3, 5, 16, 16), 10.0)


def black(folder: Path) -> None:
    images.write(folder / "mask.png", np.zeros((16, 16, 3), np.uint8))


TINY = ("load.size=16", "load.frames=8")
SETTINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unknown key": (("load.vidoe=x.mp4",), ("vidoe", "did you mean", "video")),
    "unknown stage": (("lode.video=x.mp4",), ("lode", "did you mean", "load")),
    "unknown run setting": (("sed=3",), ("sed", "did you mean", "seed")),
    "wrong type": (("load.frames=many",), ("load.frames", "many")),
    "not a number": (("learn.learning_rate=.nan",), ("learn.learning_rate", "nan")),
    "no number of pixels": (("load.size=4",), ("load.size", "8", "4")),
    "share out of range": (("hide.pixels=1.5",), ("hide.pixels", "1.5")),
    "missing mask": (("hide.mask=none.png",), ("hide.mask", "none.png", "no such file")),
    "clips and a video": (("load.clips=moving", "load.video=a.mp4"), ("load.video", "cannot be combined")),
    "objective of another energy": (
        ("learn.objective.maximum_likelihood.steps=3", "learn.energy.amortised.rank=3"), ("objective", "denoising"),
    ),
    "one chain": (("recover.chains=0",), ("recover.chains", "1", "0")),
}  # fmt: skip
INPUTS: dict[str, tuple[Callable[[Path], None] | None, tuple[str, ...], tuple[str, ...]]] = {
    "missing file": (None, ("load.video=none.mp4",), ("none.mp4", "no such file")),
    "0 bytes": (empty, ("load.video=clip.mp4",), ("clip.mp4", "empty")),
    "text": (text, ("load.video=clip.mp4",), ("clip.mp4",)),
    "shorter than asked": (short, ("load.video=clip.mp4", "load.frames=32"), ("clip.mp4", "5")),
    "too short": (short, ("load.video=clip.mp4", "load.frames=null", "load.start=3"), ("clip.mp4", "2 frames")),
    "mask that hides nothing": (black, (*TINY, "hide.mask=mask.png"), ("mask.png", "hides nothing")),
    "mask that is text": (text, (*TINY, "hide.mask=clip.mp4"), ("clip.mp4",)),
    "region too large": (None, (*TINY, "hide.region=20x20"), ("hide.region", "16x16")),
    "nearly all": (None, (*TINY, "hide.pixels=0.98"), ("98%", "hide less")),
    "unknown kind": (None, ("load.video=procedural:smoke",), ("smoke", "cloth")),
    "what one clip cannot learn": (None, (*TINY, "hide.average=2"), ("learn", "pretrained")),
}


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
    line = told.err.splitlines()[-1]
    assert line.startswith("error: ") and told.err.count("error") == 1 and not told.out
    assert all(word in line for word in words), line
    # Of the run there are its configuration and the stages that were finished: the mended command goes on from there.
    assert {p.name for p in (tmp_path / "out").iterdir() if p.is_file()} <= {"config.yaml", "log.jsonl", ".lock"}
    folders = sorted(p for p in (tmp_path / "out").iterdir() if p.is_dir())
    done = [folder for folder in folders if (folder / "manifest.json").is_file()]
    assert all({p.name for p in folder.iterdir()} <= {"begun.json"} for folder in folders if folder not in done)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious.txt").write_text("mine")
    assert main(["video_recovery", *TINY, "out=out"]) == 2
    assert "not empty and holds no run" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["precious.txt"]
    assert (tmp_path / "out/precious.txt").read_text() == "mine"


@pytest.mark.slow
def test_another_run_in_the_folder_is_told_and_kept(whole, capsys):
    _, root, _ = whole
    before = sorted(path.name for path in root.rglob("*"))
    settings = ["load.size=19x22", "load.frames=11", "seed=2", "compute=float32"]
    assert main(["video_recovery", *settings, f"out={root}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    assert "load.frames=10" in told and "load.frames=11" in told
    assert sorted(path.name for path in root.rglob("*")) == before
