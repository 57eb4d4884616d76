"""One network that classifies and generates, of every modality: `learn_joint`, `classify`, `score`, `attack`; and
`features`."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import seeded
from torch import Tensor

import energies
from data import images, video, voxels
from data.errors import InputError
from energies import Chain, EncoderEnergy, JointEnergy, Schedule
from energies.objectives import Joint, MaximumLikelihood
from pipelines.examples import Examples, to_bits, to_levels
from pipelines.learning.settings import Weights
from pipelines.measures import judge
from pipelines.modalities import modality_of
from pipelines.modalities.video.load import Load
from pipelines.stage import Run
from pipelines.stages.attack import Attack
from pipelines.stages.classify import Classify
from pipelines.stages.features import Features
from pipelines.stages.learn_joint import LearnJoint
from pipelines.stages.score import Score

NAMES = ("images", "video", "voxels")  # with joint energies
CLASSES = ("left", "right")
SHAPES = {"images": (1, 8, 8), "video": (3, 8, 8, 8), "voxels": (1, 8, 8, 8)}
LIKELIHOOD = Joint(MaximumLikelihood(steps=2, sampling_steps=3, negatives=8))


@pytest.fixture(scope="module", autouse=True)
def quick_judge():
    """A classifier of less learning: what is tested is not how well it judges."""
    steps, judge.STEPS = judge.STEPS, 30
    yield
    judge.STEPS = steps


def halves(modality: str, num: int = 80) -> Examples:
    """Bars on the left or on the right, somewhere in their half along the last axis; shapes that stand, along the one
    before."""
    shape, labels = SHAPES[modality], torch.arange(num) % 2
    x = torch.full((num, *shape), -1.0)
    if modality != "voxels":
        x = 0.15 * torch.randn(num, *shape, generator=seeded(0)) - 0.6
    places = torch.randint(0, 3, (num,), generator=seeded(1)) + 4 * labels
    for one, place in zip(x, places.tolist(), strict=True):
        if modality == "voxels":
            one[..., place : place + 2, :5] = 1.0
        else:
            one[..., place : place + 2] = 0.6
    stored = to_bits(x > 0) if modality == "voxels" else to_levels(x)
    return Examples(modality, shape, stored[24:], stored[:24], CLASSES, labels[24:], labels[:24])


DATA = {name: halves(name) for name in NAMES}


def here(folder: Path) -> Run:
    """With what a report shows."""
    run = Run(folder, folder, compute="float32")
    run.log(event="begun")
    (folder / "config.yaml").write_text("stages: []")
    return run


def learned(modality: str, folder: Path, **settings: Any) -> dict[str, Any]:
    """The values that later stages read."""
    own: dict[str, Any] = {"widths": (8, 8), "depths": (1, 1), "steps": 20, "batch": 12} | settings
    values = {"data": DATA[modality], "source": {}}
    return values | LearnJoint(**own)(values, here(folder))


@pytest.fixture(scope="module")
def joints(tmp_path_factory) -> dict[str, dict[str, Any]]:
    return {name: learned(name, tmp_path_factory.mktemp(name)) for name in NAMES}


def metrics_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


# ---------------------------------------------------------------------------------------------- learn


@pytest.mark.slow
@pytest.mark.parametrize("modality", NAMES)
def test_two_networks_are_learned_one_of_which_generates(modality, joints):
    energy, plain = (joints[modality][name] for name in ("energy", "plain"))
    places = 2.0 if modality == "voxels" else 0.5
    for one in (energy, plain):
        assert isinstance(one, JointEnergy) and one.classes == CLASSES and one.fits(SHAPES[modality])
        assert one.classifier.encoder.arguments["places"] == places, "classes weigh little beside p(x)"
    assert energy.noisy and not plain.noisy and isinstance(joints[modality]["generator"], Schedule)


@pytest.mark.slow
def test_the_plain_network_gets_its_share_of_the_steps(tmp_path):
    learned("images", tmp_path, steps=4, plain_share=0.5, optimizer=Weights(checkpoint_every=1))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = {name: [li["step"] for li in lines if li["stage"] == name and "step" in li] for name in ("joint", "plain")}
    assert steps == {"joint": [0, 1, 2, 3], "plain": [0, 1]}


@pytest.mark.slow
def test_by_maximum_likelihood_it_is_of_clean_x(tmp_path):
    values = learned("images", tmp_path, objective=LIKELIHOOD, chains=20, steps=3)
    assert not values["energy"].noisy and isinstance(values["generator"], Chain)
    classify = Classify(samples=4)
    assert classify(values, here(tmp_path))["samples"].isfinite().all()


@pytest.mark.slow
def test_ones_that_were_learned_before_are_taken_or_refused(joints, tmp_path):
    values = joints["images"]
    for name in ("energy", "plain"):
        values[name].save_pretrained(tmp_path / name)
    for folder in (tmp_path, tmp_path / "energy"):
        taken = LearnJoint(str(folder))(values, here(tmp_path))
        assert torch.equal(next(taken["plain"].parameters()), next(values["plain"].parameters()))
    data, alone = values["data"], tmp_path / "alone"
    values["energy"].save_pretrained(alone / "energy")
    three = replace(data, classes=("a", "b", "c"), train_labels=torch.arange(len(data.train)) % 3)
    for settings, given, words in (
        ({"pretrained": str(tmp_path)}, three, "no joint energies of 3 classes"),
        ({"pretrained": str(tmp_path), "objective": LIKELIHOOD}, data, "by another objective"),
        ({"pretrained": str(tmp_path)}, DATA["voxels"], "1x8x8, the shapes are 1x8x8x8"),
        ({"pretrained": str(tmp_path / "none")}, data, "learn_joint.pretrained="),
        ({"pretrained": "zoo:digits"}, data, "=zoo:digits: holds no energy; name a run of learn_joint"),
        ({"pretrained": str(alone)}, data, "holds no plain; name a run of learn_joint"),
        ({}, replace(data, train_labels=None), "needs data with labels of two classes"),
        ({}, replace(data, classes=(*CLASSES, "middle")), "no pictures of the class middle"),
        ({"widths": (4,)}, data, "learn_joint: widths and depths must be as many"),
    ):
        with pytest.raises(InputError, match=words) as told:
            LearnJoint(**settings).check({"data": given})
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("stage", "settings", "words"),
    [
        (LearnJoint, {"plain_share": 0}, "plain_share"),
        (LearnJoint, {"batch": 1}, "batch must be 2"),
        (LearnJoint, {"steps": 0}, "steps must be positive"),
        (LearnJoint, {"widths": (4,), "depths": (1, 1)}, "widths and depths"),
        (Classify, {"levels": ()}, "levels must be positive"),
        (Classify, {"guidance": -1}, "guidance"),
        (Score, {"num": 19}, "num 20 or more"),
        (Score, {"levels": ()}, "levels"),
        (Score, {"input": "nowhere"}, "input=nowhere: no such file"),
        (Attack, {"linf": (), "l2": ()}, "one be given"),
        (Attack, {"linf": (-0.1,)}, "must be positive"),
        (Features, {"noise": 0}, "noise must be positive"),
    ],
)
def test_settings_that_cannot_be_are_refused(stage, settings, words):
    with pytest.raises(ValueError, match=words):
        stage(**settings)


# ------------------------------------------------------------------------------------------- classify


@pytest.mark.slow
@pytest.mark.parametrize("modality", NAMES)
def test_a_classification_says_how_right_and_how_sure_it_is(modality, joints, tmp_path):
    values, levels = joints[modality], (0.25, 0.5)
    given = Classify(levels, 6, generator=Schedule(3))(values, here(tmp_path))
    found, data = metrics_of(tmp_path), DATA[modality]
    assert found["num"] == 24
    for name, key in (("joint", "energy"), ("plain", "plain")):
        energy = values[key]
        members = [energy.at(level) for level in levels] if energy.noisy else [energy]
        p = torch.stack([member.probabilities(data.x("validation")) for member in members]).mean(0)
        right = (p.argmax(1) == data.validation_labels).float().mean()
        assert found[name]["accuracy"] == pytest.approx(float(right))
        assert 0 <= found[name]["ece"] <= 1 and sum(found[name]["bins"]["share"]) == pytest.approx(1)
    assert 0 <= found["of_their_class"] <= 1 and found["judge_accuracy"] > 0.9
    samples = given["samples"]
    assert samples.shape == (6, *SHAPES[modality]) and samples.isfinite().all() and samples.abs().max() <= 1
    assert modality != "voxels" or bool((samples.abs() == 1).all()), "a voxel is set or not"
    page = (tmp_path / "report.html").read_text()
    assert "Classification" in page and "of the class asked for" in page and (tmp_path / "samples.png").exists()
    assert energies.load(tmp_path / "plain").fits(SHAPES[modality])


@pytest.mark.slow
def test_without_labels_to_judge_by_nothing_is_classified(joints, tmp_path):
    values = joints["images"]
    without = replace(values["data"], validation_labels=torch.full((24,), -1))
    for stage in (Classify(), Attack()):
        with pytest.raises(InputError, match="none of the pictures to judge by is labelled"):
            stage.check({"data": without})


@pytest.mark.slow
@pytest.mark.parametrize("modality", NAMES)
def test_what_is_learned_apart_tells_the_classes(modality, tmp_path):
    data = DATA[modality]
    (told,) = modality_of(modality).classes_of([data.x("validation")], data, here(tmp_path))
    assert float((told == data.validation_labels).float().mean()) > 0.9


# ---------------------------------------------------------------------------------------------- score


@pytest.mark.slow
@pytest.mark.parametrize("modality", NAMES)
def test_what_does_not_belong_is_told_by_kind(modality, joints, tmp_path):
    Score()(joints[modality], here(tmp_path))
    found = metrics_of(tmp_path)
    kinds = set(modality_of(modality).strangers(DATA[modality].x("validation"), seeded()))
    assert found["num"] == 24 and len(found["detection"]) == 8
    for by_kind in found["detection"].values():
        assert by_kind.keys() == kinds and "noise" in kinds
        assert all(0 <= v <= 1 for kind in by_kind.values() for v in kind.values())
    assert found["detection"]["joint: energy"]["noise"]["auroc"] > 0.9, "noise is no bar"
    assert "What does not belong" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("modality", NAMES)
def test_strangers_are_as_large_and_as_many_and_none_of_them(modality):
    x, strangers = DATA[modality].x("validation"), modality_of(modality).strangers
    found, again = strangers(x, seeded(1)), strangers(x, seeded(1))
    for name, other in found.items():
        assert other.shape == x.shape and other.abs().max() <= 1 and torch.equal(other, again[name]), name
        assert not (torch.cdist(other.flatten(1), x.flatten(1)).amin(1) == 0).all(), name
        assert modality != "voxels" or bool((other.abs() == 1).all()), "shapes are of two values"
    shares = {"noise": (found["noise"] > 0).float().mean(), "x": (x > 0).float().mean()}
    if modality == "voxels":
        bound = 5 * float((shares["x"] * (1 - shares["x"]) / x.numel()).sqrt())
        assert float(shares["noise"]) == pytest.approx(float(shares["x"]), abs=bound), "as full as the shapes"


def write_one(modality: str, x: Tensor, folder: Path, name: str) -> str:
    """x [C, *size] as a file that is read as it is."""
    if modality == "images":
        images.write(folder / f"{name}.png", x)
        return f"{name}.png"
    if modality == "video":
        video.write(folder / f"{name}.mkv", x, 10.0, lossless=True)
        return f"{name}.mkv"
    voxels.write(x > 0, folder / f"{name}.npz", keep=1)
    return f"{name}.npz"


@pytest.mark.slow
@pytest.mark.parametrize("modality", NAMES)
def test_files_of_ones_own_are_listed_by_energy(modality, joints, tmp_path):
    folder, out = tmp_path / "mine", tmp_path / "out"
    (folder / "deeper").mkdir(parents=True)
    out.mkdir()
    known = DATA[modality].x("validation")[0]
    noise = torch.rand(known.shape, generator=seeded(0)) * 2 - 1
    names = {write_one(modality, known, folder, "known"), write_one(modality, noise, folder / "deeper", "noise")}
    (folder / "notes.txt").write_text("nothing of the kind")
    Score(input=str(folder))(joints[modality], here(out))
    rows = list(csv.reader((out / "scores.csv").read_text().splitlines()))
    assert rows[0][:2] == ["file", "energy"] and {Path(row[0]).name for row in rows[1:]} == names
    scores, shares = ([float(row[k]) for row in rows[1:]] for k in (1, 2))
    assert scores == sorted(scores, reverse=True) and shares == sorted(shares, reverse=True)
    assert Path(rows[-1][0]).stem == "known" and shares[0] == 1
    assert "notes.txt" in (out / "log.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("modality", NAMES)
def test_outliers_of_ones_own_are_a_kind_each(modality, joints, tmp_path):
    """Also those whose folders have the same name."""
    for number, folder in enumerate(("first/test", "second/test")):
        (tmp_path / folder).mkdir(parents=True)
        for k in range(3):
            x = torch.rand(SHAPES[modality], generator=seeded(k)) - number / 4
            write_one(modality, x, tmp_path / folder, str(k))
    names = tuple(str(tmp_path / folder) for folder in ("first/test", "second/test"))
    Score(outliers=names)(joints[modality], here(tmp_path))
    assert {"1: test", "2: test"} < metrics_of(tmp_path)["detection"]["joint: energy"].keys()


@pytest.mark.slow
def test_windows_of_one_photograph_are_a_kind(joints, tmp_path):
    images.write(tmp_path / "photograph.png", torch.rand(1, 40, 30, generator=seeded(0)) * 2 - 1)
    Score(outliers=(str(tmp_path / "photograph.png"),), num=20)(joints["images"], here(tmp_path))
    assert "1: photograph.png" in metrics_of(tmp_path)["detection"]["joint: energy"]


@pytest.mark.slow
@pytest.mark.parametrize("modality", NAMES)
def test_a_folder_without_any_is_told(modality, joints, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("nothing of the kind")
    noun = modality_of(modality).noun
    with pytest.raises(InputError, match=f"holds no {noun}") as told:
        Score(input=str(tmp_path / "texts"))(joints[modality], here(tmp_path))
    assert "\n" not in str(told.value)


# --------------------------------------------------------------------------------------------- attack


@pytest.mark.slow
@pytest.mark.parametrize("modality", NAMES)
def test_attacks_are_told_by_size_for_both_networks(modality, joints, tmp_path):
    Attack(10, (0.1, 0.4), (1.0,), 2, refine=2)(joints[modality], here(tmp_path))
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


# ------------------------------------------------------------------------------------------- features


@pytest.mark.parametrize("modality", NAMES)
def test_features_are_compared_with_simple_ones(modality, tmp_path):
    torch.manual_seed(0)
    energy = EncoderEnergy(SHAPES[modality], (4, 8), (0, 1))
    Features(components=4)({"data": DATA[modality], "energy": energy}, here(tmp_path))
    accuracy = metrics_of(tmp_path)["accuracy"]
    assert set(accuracy) == {"energy", "random_network", "raw", "principal_components", "nearest"}
    assert all(0 <= share <= 1 for share in accuracy.values()) and accuracy["nearest"] > 0.9


def test_features_of_a_shape_and_its_mirror_image_are_the_same(tmp_path):
    data = DATA["voxels"]
    energy = EncoderEnergy(SHAPES["voxels"], (4, 8), (0, 1))
    mirrored = replace(data, train=to_bits(data.x().flip(2) > 0), validation=to_bits(data.x("validation").flip(2) > 0))
    found = []
    for number, own in enumerate((data, mirrored)):
        (tmp_path / str(number)).mkdir()
        Features(components=4)({"data": own, "energy": energy}, here(tmp_path / str(number)))
        found.append(metrics_of(tmp_path / str(number))["accuracy"]["energy"])
    assert found[0] == found[1]


def test_features_want_the_energy_that_has_them_and_classes():
    data, energy = DATA["voxels"], EncoderEnergy((1, 4, 4, 4), (4,), (1,))
    for values, words in (
        ({"data": data, "energy": energies.ResidualEnergy((1, 8, 8, 8), 4)}, "learn.energy=encoder"),
        ({"data": data, "energy": energy}, "the energy is of 1x4x4x4, what is loaded of 1x8x8x8"),
        ({"data": replace(data, classes=(), train_labels=None)}, "no classes to tell apart"),
        ({"data": replace(data, train_labels=torch.zeros(56, dtype=torch.int64))}, "fewer than two classes"),
    ):
        with pytest.raises(InputError, match=words):
            Features().check(values)


def test_clips_have_the_classes_that_are_asked_for(tmp_path):
    load = Load
    none, motion = (
        load(clips="moving", size=16, frames=8, count=30, label=label)({}, here(tmp_path))["data"]
        for label in (None, "motion")
    )
    assert none.classes == () and none.train_labels is None
    own = motion.attributes["motion"]
    assert motion.classes == tuple(own["classes"]) and torch.equal(motion.train_labels, own["train"])
    assert np.array_equal(motion.train, none.train)
    with pytest.raises(InputError, match=r"load.label=size: the labels are"):
        load(clips="moving", size=16, frames=8, count=30, label="size")({}, here(tmp_path))
    with pytest.raises(ValueError, match="label=kind is for clips"):
        load(label="kind")
