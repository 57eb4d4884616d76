"""The stages of image pipelines: tiny runs from the command line to the pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import seeded
from torch import Tensor

import energies
from data import images
from energies.generators import Chain
from energies.objectives import EnergyMatching, MaximumLikelihood, References, ScoreMatching
from pipelines import checkpoint, run
from pipelines.measures import judge
from pipelines.pipeline import Run
from pipelines.stages.images import Learn
from pipelines.stages.images import learn as learn_module
from pipelines.stages.images.learn import ConvNet, Encoder, Residual
from pipelines.stages.images.load import to_bytes, to_float
from pipelines.training import Optimizer

TINY = [
    "learn.energy.encoder.widths=[8, 12]", "learn.energy.encoder.depths=[1, 1]", "learn.optimizer.steps=6",
    "learn.batch=16", "compute=float32",
]  # fmt: skip
SHORT = [
    "load.images=digits", "load.count=200", *TINY, "learn.conditional=false", "synthesize.num=12",
    "synthesize.generator.schedule.levels=4",
    "evaluate_synthesis.curve=32", "export_synthesis.num=5",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick_judge():
    """A classifier of less learning: what is tested is not how well it judges."""
    steps, judge.STEPS = judge.STEPS, 30
    yield
    judge.STEPS = steps


def metrics_of(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


def values_of(folder: Path) -> dict:
    values = checkpoint.load_values(folder)
    assert values is not None
    return values


def refusal(capsys, *arguments: str) -> str:
    """The one line that a run ends with."""
    capsys.readouterr()
    assert run.main(["image_synthesis", *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    assert run.main(["image_synthesis", *SHORT, f"out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def bars(tmp_path_factory) -> Path:
    """Pictures with a bright bar on the left, or on the right, somewhere in their half, as an NPZ file."""
    rng = seeded(0)
    labels = torch.arange(400) % 2
    x = 0.15 * torch.randn(400, 8, 8, generator=rng) - 0.6
    places = torch.randint(0, 3, (400,), generator=rng) + 4 * labels
    for picture, place in zip(x, places.tolist(), strict=True):
        picture[:, place : place + 2] += 1.2
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, images=to_bytes(x).numpy(), labels=labels.numpy(), classes=["left", "right"])
    return path


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory) -> Path:
    """Fifty pictures without labels."""
    path = tmp_path_factory.mktemp("data") / "unlabelled.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 255, (50, 8, 8), np.uint8))
    return path


@pytest.fixture(scope="module")
def by_class(bars, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "bars"
    arguments = [
        f"load.images={bars}", *TINY[:2], "learn.conditional=true", "learn.optimizer.steps=80", "compute=float32",
        "synthesize.label=each", "synthesize.num=60", "evaluate_synthesis.curve=0",
    ]  # fmt: skip
    assert run.main(["image_synthesis", *arguments, f"out={out}"]) == 0
    return out


def side(x: Tensor) -> Tensor:
    """0: the left half is brighter, 1: the right one."""
    return (x[..., 4:].mean((1, 2, 3)) > x[..., :4].mean((1, 2, 3))).long()


# ------------------------------------------------------------------------------------------------ runs


def test_a_run_writes_samples_a_report_and_numbers(digits):
    found = metrics_of(digits)
    assert {"num", "validation", "samples", "training_pictures", "noise", "curve", "sampling"} <= found.keys()
    assert {"ten_times_the_steps", "long_from_data", "long_run_ratio", "classifier_accuracy"} <= found.keys()
    assert (found["num"], found["validation"]) == (12, 20)
    assert "of_their_class" not in found, "it was not asked for classes"
    assert [point["factor"] for point in found["curve"]] == [0.25, 0.5, 1, 2]
    for kind in (found["samples"], found["noise"], *found["curve"]):
        assert kind["frechet"] >= 0 and 0 <= kind["precision"] <= 1 and 0 <= kind["recall"] <= 1
    assert found["training_pictures"]["frechet"] < found["noise"]["frechet"]
    files = sorted((digits / "samples").glob("*.png"))
    assert len(files) == 5
    samples = values_of(digits / "03_synthesize")["samples"]
    assert samples.shape == (12, 1, 8, 8) and samples.abs().max() <= 1
    assert (images.read(files[2], channels=1) - samples[2]).abs().max() < 1.01 / 127.5
    page = (digits / "report.html").read_text()
    assert (
        "Image synthesis" in page and "ten times the steps" in page and "data:image" in page and "http://" not in page
    )
    for name in ("samples.png", "data.png", "energy/energy.json", "log.jsonl", "config.yaml"):
        assert (digits / name).stat().st_size > 0
    assert energies.load(digits / "energy").event_shape == (1, 8, 8)


def test_the_same_command_again_does_nothing_anew(digits, capsys):
    times = {path: path.stat().st_mtime_ns for path in digits.glob("*_*/manifest.json")}
    assert run.main(["image_synthesis", *SHORT, f"out={digits}"]) == 0
    assert {path: path.stat().st_mtime_ns for path in digits.glob("*_*/manifest.json")} == times and len(times) == 5
    told = capsys.readouterr()
    assert told.err.count("done before") == 5 and "finished by an earlier command" in told.out


def test_the_same_seed_gives_the_same_samples_and_another_one_others(digits, tmp_path):
    for name, seed in (("same", 0), ("other", 1)):
        arguments = [*SHORT[:-2], "evaluate_synthesis.curve=0", f"seed={seed}"]
        assert run.main(["image_synthesis", *arguments, f"out={tmp_path / name}"]) == 0
    runs = (digits, tmp_path / "same", tmp_path / "other")
    first, same, other = (values_of(out / "03_synthesize")["samples"] for out in runs)
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert "curve" not in metrics_of(tmp_path / "same") and not (tmp_path / "same/ten_times_the_steps.png").exists()


def test_a_learned_energy_makes_more_samples_and_the_first_stay_the_same(digits, tmp_path):
    arguments = [*SHORT[:2], f"learn.pretrained={digits / 'energy'}", "compute=float32"]
    arguments += ["synthesize.num=20", "synthesize.generator.schedule.levels=4", "evaluate_synthesis.curve=0"]
    assert run.main(["image_synthesis", *arguments, f"out={tmp_path}"]) == 0
    few, many = (values_of(out / "03_synthesize")["samples"] for out in (digits, tmp_path))
    torch.testing.assert_close(many[:12], few)


@pytest.mark.parametrize(
    "learner",
    [
        ["learn.objective.recovery_likelihood.stepwise={levels: 3, steps: 2}"],
        ["learn.objective.energy_matching.steps=2", "learn.chains=20"],
        ["learn.objective.maximum_likelihood.steps=2", "learn.objective.maximum_likelihood.sampling_steps=8",
         "learn.chains=20"],
        ["learn.objective.maximum_likelihood={steps: 2, restart: 1, negatives: 9}", "learn.energy.residual.width=4",
         "learn.chains=20", "learn.conditional=true", "synthesize.label=each"],
        ["learn.objective.maximum_likelihood={steps: 1, sampling_steps: 4}", "learn.energy.conv_net={}", "load.size=16",
         "learn.chains=4", "learn.optimizer.learning_rate=0.0001"],
    ],
    ids=["recovery", "flow", "likelihood", "residual", "convnet"],
)  # fmt: skip
def test_every_way_of_learning_ends_in_samples(learner, tmp_path):
    own = any("energy." in argument for argument in learner)
    arguments = ["load.count=120", *(TINY[2:] if own else TINY), *learner, "synthesize.num=8"]
    assert run.main(["image_synthesis", *arguments, "evaluate_synthesis.curve=0", f"out={tmp_path}"]) == 0
    values = values_of(tmp_path / "03_synthesize")
    assert len(values["samples"]) == 8 and values["samples"].isfinite().all() and values["samples"].abs().max() <= 1
    assert metrics_of(tmp_path)["samples"]["frechet"] > 0


# --------------------------------------------------------------------------------------------- classes


def test_samples_are_of_the_class_that_was_asked_for(by_class):
    values = values_of(by_class / "03_synthesize")
    assert torch.equal(values["sample_labels"], torch.arange(60) % 2)
    right = (side(values["samples"]) == values["sample_labels"]).float().mean()
    assert right > 0.9, "by chance it would be a half, give or take 0.07"
    found = metrics_of(by_class)
    assert found["classifier_accuracy"] > 0.9 and found["of_their_class"] > 0.8
    assert "of the class asked for" in (by_class / "report.html").read_text()


def of_label(by_class, bars, label: str, num: int, out: Path) -> dict:
    """What the energy by class makes when a label is asked for."""
    arguments = [
        f"load.images={bars}", "learn.conditional=true", f"learn.pretrained={by_class / 'energy'}",
        f"synthesize.label={label}", f"synthesize.num={num}", "evaluate_synthesis.curve=0", "compute=float32",
    ]  # fmt: skip
    assert run.main(["image_synthesis", *arguments, f"out={out}"]) == 0
    return values_of(out / "03_synthesize")


def test_one_class_by_its_name(by_class, bars, tmp_path):
    values = of_label(by_class, bars, "right", 30, tmp_path)
    assert torch.equal(values["sample_labels"], torch.ones(30, dtype=torch.int64))
    assert side(values["samples"]).float().mean() > 0.85


def test_of_any_label_both_classes_come(by_class, bars, tmp_path):
    values = of_label(by_class, bars, "any", 60, tmp_path)
    assert values["sample_labels"] is None
    assert 10 < int(side(values["samples"]).sum()) < 50


def references_of(pictures: dict, num: int, conditional: bool, folder: Path) -> References | None:
    """Those of a step of learning."""
    told = []

    class Told(ScoreMatching):
        def __call__(self, energy, batch, rng):
            told.append(batch.references)
            return super().__call__(energy, batch, rng)

    optimizer = Optimizer(1, 0.02, 30, 1.0, 0.995, 100, "muon")
    learn = Learn(None, Encoder((4,), (1,)), Told(), optimizer, 4, num, conditional)
    learn({"images": pictures}, Run(folder, folder))
    return told[0]


@pytest.mark.parametrize("conditional", [False, True])
def test_references_are_of_the_pictures_and_their_labels_and_no_more_than_may_be(conditional, tmp_path, monkeypatch):
    monkeypatch.setattr(learn_module, "MOST_REFERENCES", 20 * 3 * 64)
    pictures = {"train": torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1).expand(50, 3, 8, 8).contiguous()}
    pictures |= {"train_labels": torch.arange(50) % 3, "classes": ["a", "b", "c"]} if conditional else {"classes": []}
    few, none, most = (references_of(pictures, num, conditional, tmp_path) for num in (12, 0, 40))
    assert none is None and few is not None and most is not None
    assert len(few.x) == 12 and len(most.x) == 20
    number = to_bytes(most.x)[:, 0, 0, 0].long()
    assert number.unique().numel() > 5
    assert most.label is None if not conditional else torch.equal(most.label, number % 3)


def test_references_have_the_law_of_what_has_no_label_in_learning():
    labels = torch.tensor([0, 1, -1, 2, -1])
    weights = learn_module.weights_of_references(labels)
    torch.testing.assert_close(weights, torch.tensor([0.15, 0.15, 1, 0.15, 1]))
    assert learn_module.weights_of_references(None) is None
    assert learn_module.weights_of_references(labels[:2]) is None


def test_references_are_drawn_by_their_weights(tmp_path):
    labels = torch.where(torch.arange(2000) < 1000, -1, torch.arange(2000) % 7)
    pictures = {
        "train": torch.zeros(2000, 3, 8, 8, dtype=torch.uint8),
        "train_labels": labels,
        "classes": list("abcdefg"),
    }
    found = references_of(pictures, 4000, True, tmp_path)
    assert found is not None and found.label is not None
    counts = torch.bincount(found.label + 1, minlength=8)
    assert abs(counts[0] / 4000 - 1 / 1.15) < 0.03 and counts[1:].min() > 0.5 * 4000 * 0.15 / 1.15 / 7


# ------------------------------------------------------------------------------------------- refusals


def test_what_cannot_be_is_refused_in_one_line_before_it_starts(capsys, tmp_path):
    for arguments, words in [
        (["learn.energy.residual.width=4"], "objective must be maximum_likelihood"),
        (["learn.energy.conv_net={}"], "objective must be maximum_likelihood"),
        (["learn.energy.conv_net={}", "learn.objective.maximum_likelihood={}", "learn.conditional=true"], "conv_net"),
        (["load.count=19"], "count must be 20 or more"),
        (["load.size=4"], "size must be 8 to 256"),
        (["load.validation=1.0"], "validation"),
        (["learn.batch=0"], "batch and chains"),
        (["learn.references=-1"], "references must not be negative"),
        (
            ["learn.references=8", "learn.objective.recovery_likelihood={}"],
            "references must not be negative, and are for",
        ),
        (["learn.energy.encoder.widths=[4]"], "widths and depths"),
        (["synthesize.num=0"], "num must be 1 or more"),
        (["evaluate_synthesis.curve=5"], "curve must be 0, or 32 or more"),
        (["learn.objective.score_matching.level=-1"], "level must be positive"),
        (["synthesize.generator.schedule.levels=0"], "levels must be 1 or more"),
        (["synthesize.generator.schedule.down_to=-1"], "down_to must not be negative"),
    ]:
        assert words in refusal(capsys, *arguments, f"out={tmp_path / 'out'}"), arguments
    assert not list((tmp_path / "out").glob("0*"))


def test_pictures_that_are_not_there_are_refused_in_one_line(capsys, tmp_path):
    assert "none.npz" in refusal(capsys, f"load.images={tmp_path / 'none.npz'}", f"out={tmp_path / 'a'}")
    np.savez(tmp_path / "few.npz", images=np.zeros((5, 8, 8), np.uint8))
    assert "5 pictures" in refusal(capsys, f"load.images={tmp_path / 'few.npz'}", f"out={tmp_path / 'b'}")
    np.savez(tmp_path / "large.npz", images=np.zeros((20, 8, 300), np.uint8))
    assert "load.size" in refusal(capsys, f"load.images={tmp_path / 'large.npz'}", f"out={tmp_path / 'c'}")


def test_labels_that_are_not_there_are_refused_in_one_line(digits, by_class, bars, unlabelled, capsys, tmp_path):
    plain = ["load.count=60", *TINY, f"learn.pretrained={digits / 'energy'}"]
    assert "not learned by class" in refusal(capsys, *plain, "synthesize.label=3", f"out={tmp_path / 'a'}")
    known = [f"load.images={bars}", "learn.conditional=true", f"learn.pretrained={by_class / 'energy'}"]
    line = refusal(capsys, *known, "synthesize.label=middle", f"out={tmp_path / 'b'}")
    assert "middle" in line and "left, right" in line
    line = refusal(capsys, f"load.images={unlabelled}", "learn.conditional=true", f"out={tmp_path / 'c'}")
    assert "needs pictures with labels" in line


def test_energies_that_are_no_such_energies_are_refused_in_one_line(digits, capsys, tmp_path):
    assert "none" in refusal(capsys, "load.count=60", f"learn.pretrained={tmp_path / 'none'}", f"out={tmp_path / 'a'}")
    small = f"learn.pretrained={digits / 'energy'}"
    line = refusal(capsys, "load.count=60", "load.size=16", small, f"out={tmp_path / 'b'}")
    assert "16x16" in line
    damaged = tmp_path / "damaged"
    shutil.copytree(digits / "energy", damaged)
    (damaged / "model.safetensors").write_bytes(b"no")
    assert "model.safetensors is damaged" in refusal(
        capsys, "load.count=60", f"learn.pretrained={damaged}", f"out={tmp_path / 'c'}"
    )


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """An energy of clean pictures, without noise levels."""
    folder = tmp_path_factory.mktemp("clean")
    energies.EncoderEnergy((1, 8, 8), (4,), (1,), noisy=False).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["learn.pretrained=NOISY", "synthesize.generator.chain.steps=3"],
        ["learn.pretrained=CLEAN", "learn.objective.energy_matching={}", "synthesize.generator.stepwise={}"],
    ],
    ids=["noisy, chain", "clean, stepwise"],
)
def test_an_energy_and_a_way_to_sample_it_that_do_not_fit_are_refused(
    arguments, digits, clean, unlabelled, capsys, tmp_path
):
    """An energy of noise levels has no chain of clean x, one of clean x no levels to go down."""
    arguments = [a.replace("NOISY", str(digits / "energy")).replace("CLEAN", str(clean)) for a in arguments]
    line = refusal(
        capsys,
        f"load.images={unlabelled}",
        *arguments,
        "evaluate_synthesis.curve=0",
        "synthesize.num=8",
        f"out={tmp_path}",
    )
    assert "pretrained" in line or "generator" in line


def test_an_energy_is_sampled_as_suits_it_whatever_objective_stands_there(digits, clean, unlabelled, tmp_path):
    rest = ["evaluate_synthesis.curve=0", "synthesize.num=8", "compute=float32"]
    for name, given in (
        ("noisy", [f"learn.pretrained={digits}", "learn.objective.maximum_likelihood={}"]),
        ("clean", [f"load.images={unlabelled}", f"learn.pretrained={clean}"]),
    ):
        assert run.main(["image_synthesis", *given, *rest, f"out={tmp_path / name}"]) == 0
        learned = checkpoint.load_values(tmp_path / name / "02_learn")
        assert type(learned["generator"]).__name__ == {"noisy": "Schedule", "clean": "Chain"}[name]


@pytest.mark.parametrize("arguments", [["load.count=20"], ["synthesize.num=1"], ["synthesize.num=3"]], ids=str)
def test_few_pictures_are_judged_or_refused_in_words(arguments, unlabelled, tmp_path):
    settings = [*TINY, "synthesize.generator.schedule.levels=3", "evaluate_synthesis.curve=0"]
    source = f"load.images={unlabelled}"
    assert run.main(["image_synthesis", source, *settings, *arguments, f"out={tmp_path}"]) in (0, 2)


# ---------------------------------------------------------------------------------------------- learn


@pytest.mark.parametrize(
    "energy", [Encoder((4,), (1,)), Residual(width=4), ConvNet()], ids=["encoder", "residual", "conv_net"]
)
def test_short_run_chains_start_in_sampling_as_they_did_in_learning(energy, tmp_path):
    """Else what was learned, where k steps from noise lead, is not what is sampled."""
    levels = to_bytes(torch.linspace(-1, 1, 64).view(1, 1, 8, 8).expand(40, -1, -1, -1))
    learn = Learn(energy=energy, objective=MaximumLikelihood(steps=1, step_size=1e-6, restart=1), chains=1000)
    built = learn._build([1, 8, 8], 0, to_float(levels))
    buffer = learn._buffer(built, levels, None, Run(tmp_path, tmp_path, compute="float32"))
    assert buffer is not None
    chain = learn.objective.generator()
    assert isinstance(chain, Chain)
    x, *_ = chain.generate(built, torch.randn(1000, 1, 8, 8, generator=seeded(0)), seeded(1))
    for moment in (lambda x: x, torch.square):
        a, b = moment(x), moment(buffer.x)
        assert ((a.mean(0) - b.mean(0)).abs() < 6 * ((a.var(0) + b.var(0)) / 1000).sqrt()).all()


def test_chains_have_the_labels_and_the_start_of_their_objective(tmp_path):
    levels, labels = torch.full((50, 1, 8, 8), 150, dtype=torch.uint8), torch.arange(50) % 2
    here = Run(tmp_path, tmp_path, compute="float32")
    learn = Learn(objective=EnergyMatching(), chains=300)
    buffer = learn._buffer(learn._build([1, 8, 8], 2, to_float(levels)), levels, labels, here)
    assert buffer is not None and buffer.start.spread == 1.0 and len(buffer) == 300
    counts = torch.bincount(buffer.label + 1, minlength=3)
    assert 15 < int(counts[0]) < 80, "some have none"
    assert 80 < int(counts[2]) < 175
    assert Learn()._buffer(learn._build([1, 8, 8], 2, to_float(levels)), levels, labels, here) is None


# --------------------------------------------------------------------------------------------- judges


def test_the_frechet_distance_of_gaussians_is_known():
    a = torch.randn(4000, 3, generator=seeded(0))
    assert judge.frechet(a, a) == pytest.approx(0, abs=1e-6)
    shifted = judge.frechet(a, a + torch.tensor([1.0, 0.0, 2.0]))
    assert shifted == pytest.approx(5, abs=1e-4)
    wider = float(4 * a.double().T.cov().trace() + (2 * a.mean(0)).square().sum())
    assert judge.frechet(a, 3 * a) == pytest.approx(wider, rel=1e-4)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=seeded(1))).Q
    b = torch.randn(4000, 3, generator=seeded(2)) * torch.tensor([1.0, 2.0, 3.0])
    assert judge.frechet(a @ turn, b @ turn) == pytest.approx(judge.frechet(a, b), rel=1e-4)


def test_precision_is_of_samples_and_recall_of_the_real():
    real = torch.randn(400, 2, generator=seeded(0))
    real[200:] += 20
    samples = torch.randn(400, 2, generator=seeded(1))
    precision, recall = judge.precision_recall(samples, real)
    assert precision > 0.9 and recall == pytest.approx(0.5, abs=0.05)
    precision, recall = judge.precision_recall(real, samples)
    assert precision == pytest.approx(0.5, abs=0.05) and recall > 0.9


def test_principal_components_judge_where_there_are_no_labels():
    x = torch.randn(300, 1, 6, 6, generator=seeded(0)) * torch.linspace(0.1, 2, 36).view(1, 6, 6)
    by = judge.Components.fit(x)
    features = by.features(x)
    assert features.shape == (300, 36)
    torch.testing.assert_close(
        torch.cdist(features, features), torch.cdist(x.flatten(1), x.flatten(1)), atol=0.05, rtol=0
    )
