"""Clips of moving shapes, clips of one's own, and tiny compositions of a motion with an appearance."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import energies
from data import images, moving, video
from data.errors import InputError
from data.scenes import COLOURS
from pipelines import checkpoint, run
from pipelines.expression import parse
from pipelines.measures.judge import Classifier
from pipelines.pipeline import Run
from pipelines.stages.images.evaluate_composition import judge_of
from pipelines.stages.video import LoadClips

TINY = [
    "load_clips.count=80", "load_clips.size=12", "load_clips.frames=4", "compose.optimizer.steps=2",
    "compose.generator.levels=3", "compose.generator.steps=1", "compose.balance=4", "num=3", "cells=1",
    "evaluate_composition.baselines=2", "compute=float32",
]  # fmt: skip


def test_a_clip_is_the_same_whatever_is_made_with_it():
    x, labels = moving.clips(40, 14, 5, seed=3)
    part, own = moving.clips(7, 14, 5, seed=3, start=20)
    assert x.shape == (40, 3, 5, 14, 14) and torch.equal(x[20:27], part)
    assert all(torch.equal(labels[name][20:27], own[name]) for name in moving.ATTRIBUTES)
    assert not torch.equal(moving.clips(40, 14, 5, seed=4)[0], x) and x.abs().max() <= 1


def test_an_object_goes_where_its_label_says_in_the_colour_it_says():
    x, labels = moving.clips(200, 24, 6, seed=0)
    bright = x - x[:, :, :, :1, :1]  # less the background
    mass = bright.abs().sum(1)
    axis = torch.arange(24.0)
    across, down = ((mass.sum(dim) * axis).sum(2) / mass.sum((2, 3)) for dim in (2, 3))
    way = torch.stack([across[:, -1] - across[:, 0], down[:, -1] - down[:, 0]], 1)
    ahead = (way * moving.HEADINGS[labels["motion"]]).sum(1)
    aside = (way * moving.HEADINGS[labels["motion"]].flip(1)).sum(1)
    assert (ahead - 2 * moving.REACH * 24).abs().max() < 0.5 and aside.abs().max() < 0.2
    steps = across.diff(dim=1) + down.diff(dim=1)
    assert (steps - steps[:, :1]).abs().max() < 0.2, "it goes at one speed"
    hue = (x.flatten(2).amax(2) + 1) / 2  # an object's channel where it is brightest
    guess = torch.cdist(hue, COLOURS).argmin(1)
    assert (guess == labels["colour"]).float().mean() > 0.9
    filled = (mass[:, 0] > mass[:, 0].flatten(1).amax(1)[:, None, None] / 2).sum((1, 2))
    assert filled[labels["shape"] == 0].min() > filled[labels["shape"] == 1].max(), "a circle is fuller than a cross"
    for name, values in moving.ATTRIBUTES.items():
        assert len(labels[name].unique()) == len(values)


@pytest.mark.parametrize("bad", [{"num": 0}, {"side": 11}, {"frames": 1}, {"seed": -1}, {"start": -1}])
def test_clips_that_cannot_be_made_are_refused(bad):
    with pytest.raises(InputError, match=r"must be|too small"):
        moving.clips(**{"num": 2, **bad})


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """Two classes of videos, each long enough for several clips."""
    folder = tmp_path_factory.mktemp("own")
    x, labels = moving.clips(12, 16, 9, seed=1)
    for number, clip in enumerate(x):
        kind = folder / ("along" if labels["motion"][number] < 2 else "upright")
        kind.mkdir(exist_ok=True)
        video.write(kind / f"{number}.mp4", clip, 12.0)
    return folder


def test_videos_in_folders_by_class_are_cut_into_clips(own, tmp_path):
    loaded = LoadClips(clips=str(own), size=16, frames=4)({}, Run(tmp_path, tmp_path))
    assert loaded["source"]["frames_a_second"] == pytest.approx(12.0), "as they are exported again"
    given = loaded["images"]
    assert len(given["train"]) + len(given["validation"]) == 24 and given["train"].shape[1:] == (3, 4, 16, 16)
    kind = given["attributes"]["kind"]
    assert kind["classes"] == ["along", "upright"] and len(kind["train"]) == len(given["train"])
    files = len(list((own / "upright").iterdir()))
    assert int(kind["train"].sum() + kind["validation"].sum()) == 2 * files


def test_videos_that_are_too_short_count_for_nothing(own, tmp_path):
    """Neither when some are set aside, whichever those are, nor for the rate."""
    clips = moving.clips(24, 16, 4, seed=2)[0]
    for number, clip in enumerate(clips):
        kind = tmp_path / "videos" / ("odd" if number % 2 else "even")
        kind.mkdir(parents=True, exist_ok=True)
        for short in range(2):
            video.write(kind / f"{number}_{short}.mp4", clip[:, :3], 30.0)
        video.write(kind / f"{number}_long.mp4", clip, 12.0)
    loaded = LoadClips(clips=str(tmp_path / "videos"), size=16, frames=4)({}, Run(tmp_path, tmp_path))
    assert len(loaded["images"]["validation"]) == 2 and len(loaded["images"]["train"]) == 22
    assert loaded["source"]["frames_a_second"] == pytest.approx(12.0)


def test_a_motion_and_an_appearance_are_combined(tmp_path, capsys):
    out = tmp_path / "run"
    assert run.main(["video_compose", *TINY, f"out={out}"]) == 0
    assert "motion.right" in capsys.readouterr().out
    samples = checkpoint.load_values(out / "03_synthesize_clips")["samples"]
    assert samples.shape == (3, 3, 4, 12, 12) and samples.isfinite().all()
    found = json.loads((out / "metrics.json").read_text())
    assert set(found["samples"]) == {"num", "all_hold", "motion.right", "colour.red"}
    assert set(found["baselines"]) == {"without_langevin_steps", "sum_of_energies"}
    assert found["grid"]["rows"] == list(moving.ATTRIBUTES["motion"]) and len(found["grid"]["accuracy"][0]) == 5
    height, width = images.read(out / "grid.png", channels=3).shape[1:]
    assert (out / "samples.png").exists() and width > 2 * height, "five columns of strips, four rows"
    clip, _ = video.read(out / "samples" / "sample_000.mp4", size=None, frames=None)
    assert clip.shape == (3, 4, 12, 12)
    expert = energies.load(out / "experts" / "motion")
    assert expert.classes == moving.ATTRIBUTES["motion"] and tuple(expert.event_shape) == (3, 4, 12, 12)
    again = [f"experts.motion={out / 'experts' / 'motion'}", "expr=motion.up | motion.down"]
    assert run.main(["video_compose", *TINY, *again, f"out={tmp_path / 'again'}"]) == 0


def test_an_own_label_of_clips_is_learned(own, tmp_path):
    arguments = [a for a in TINY if "frames" not in a and "size" not in a]
    arguments += [f"load_clips.clips={own}", "load_clips.frames=4", "expr=kind.along", f"out={tmp_path / 'run'}"]
    assert run.main(["video_compose", *arguments]) == 0
    assert "kind.along" in json.loads((tmp_path / "run" / "metrics.json").read_text())["samples"]


def test_what_moves_is_told_by_the_judge():
    x, labels = moving.clips(600, 12, 4, seed=0)
    classes = {name: list(values) for name, values in moving.ATTRIBUTES.items()}
    given = {
        name: {"classes": classes[name], "train": own[:500], "validation": own[500:]} for name, own in labels.items()
    }
    levels = ((x + 1) * 127.5).round().to(torch.uint8)
    images = {"train": levels[:500], "validation": levels[500:], "attributes": given}
    judge = judge_of(images, "moving", parse("motion.up + colour.red"), Run(Path(), Path(), seed=0))
    assert set(judge.classes) == {"motion", "colour"} and isinstance(judge.model, Classifier) and not judge.of_scenes
    assert min(judge.accuracy.values()) > 0.9
    found, holds = judge.judged(parse("motion.up + colour.red"), x)
    truth = (labels["motion"] == 2) & (labels["colour"] == 0)
    assert (holds == truth).float().mean() > 0.95 and found["num"] == 600


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["load_clips.clips=/nowhere"], "no such folder"),
        (["load_clips.size=8"], "size 12 to 64"),
        (["load_clips.validation=1"], "validation must lie"),
        (["expr=motion.sideways"], "unknown label"),
        (["expr=place.left"], "no label of the data is called"),
    ],
)
def test_bad_clips_and_expressions_are_told_in_one_line(settings, words, capsys, tmp_path):
    rest = [a for a in TINY if a.split("=")[0] not in [s.split("=")[0] for s in settings]]
    assert run.main(["video_compose", *rest, *settings, f"out={tmp_path / 'run'}"]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_video_is_on_one_side_and_a_class_without_clips_is_told(own, tmp_path):
    x, _ = moving.clips(4, 16, 5, seed=2)
    (tmp_path / "short" / "short").mkdir(parents=True)
    for kind in ("along", "upright"):
        shutil.copytree(own / kind, tmp_path / "short" / kind)
    video.write(tmp_path / "short" / "short" / "0.mp4", x[0, :, :3], 8.0)
    with pytest.raises(InputError, match="to learn kind short from"):
        LoadClips(clips=str(tmp_path / "short"), frames=4)({}, Run(tmp_path, tmp_path))
    given = LoadClips(clips=str(own), frames=4, validation=0.3)({}, Run(tmp_path, tmp_path))["images"]
    assert len(given["validation"]) == 6, "three videos of two clips each"
    first, second = given["validation"][::2].float(), given["validation"][1::2].float()
    other = given["train"].float().mean((2, 3, 4))
    for a, b in zip(first.mean((2, 3, 4)), second.mean((2, 3, 4)), strict=True):
        assert (a - b).norm() < (a - other).norm(dim=1).amax()


def test_too_few_clips_of_ones_own_are_told(own, tmp_path):
    with pytest.raises(InputError, match="holds 12 clips of 9 frames"):
        LoadClips(clips=str(own), frames=9)({}, Run(tmp_path, tmp_path))


CLIPS = ("load_clips.count=60", "load_clips.size=12", "load_clips.frames=6", "compute=float32")


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """A run that learned one energy of clips, and made some."""
    out = tmp_path_factory.mktemp("learned") / "run"
    few = ["learn_clips.optimizer.steps=2", "synthesize_clips.num=3", "synthesize_clips.generator.schedule.levels=3"]
    assert run.main(["clip_synthesis", *CLIPS, *few, f"out={out}"]) == 0
    return out


def test_one_energy_of_clips_makes_new_ones(learned):
    samples = checkpoint.load_values(learned / "03_synthesize_clips")["samples"]
    assert samples.shape == (3, 3, 6, 12, 12) and samples.abs().max() <= 1
    assert tuple(energies.load(learned / "energy").event_shape) == (3, 6, 12, 12)
    assert set(json.loads((learned / "metrics.json").read_text())) == {"data", "samples", "sampling"}
    clip, _ = video.read(learned / "samples" / "sample_002.mp4")
    assert clip.shape == (3, 6, 12, 12) and (learned / "report.html").exists()


@pytest.mark.parametrize("way", ["pixels=0.5", "box=5", "frames=2", "shrink=2", "grey=true", "blur=1.0", "noise=0.2"])
def test_the_same_energy_recovers_clips_however_they_are_seen(way, learned, tmp_path):
    out = tmp_path / "run"
    few = ["hide_clips.num=2", "recover_clips.samples=2", f"learn_clips.pretrained={learned}"]
    assert run.main(["clip_recovery", *CLIPS, *few, f"hide_clips.{way}", f"out={out}"]) == 0
    values = checkpoint.load_values(out / "02_hide_clips") | checkpoint.load_values(out / "04_recover_clips")
    observation, y = values["observation"], values["measured"]
    for x in (values["recovered"], values["samples"]):
        assert x.shape == (2, 3, 6, 12, 12) and x.isfinite().all()
        if observation.holds:  # to rounding, where values within bounds can be
            assert (observation.observe(x) - observation.observe(observation.project(x, y))).abs().max() < 1e-4
    found = json.loads((out / "metrics.json").read_text())
    assert found["way"] == "conditioned" and found["truth_known"] and found["recovery"]["psnr"] > 5
    assert (out / "contact_sheet.png").exists() and (out / "recovered" / "clip_001.mp4").exists()
    if way == "frames=2":
        assert observation.mask.flatten(3).all(3).sum(2).eq(2).all()
        assert not observation.mask[:, :, [0, -1]].any()


@pytest.mark.parametrize("bad", ["hide_clips.frames=5", "hide_clips={frames: 2, box: 3}", "hide_clips.frames=0"])
def test_frames_that_cannot_be_hidden_are_told(bad, learned, tmp_path, capsys):
    given = [*CLIPS, f"learn_clips.pretrained={learned}", bad, f"out={tmp_path / 'run'}"]
    assert run.main(["clip_recovery", *given]) == 2
    assert "frames" in capsys.readouterr().err.splitlines()[-1]
