"""New pictures from the command line: resumed, of a class, of every way to learn, and every bad setting in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import seeded
from torch import Tensor

import energies
from pipelines import checkpoint, run
from pipelines.examples import to_levels
from pipelines.measures import judge

TINY = [
    "learn.energy.encoder.widths=[8, 12]", "learn.energy.encoder.depths=[1, 1]", "learn.steps=6", "learn.batch=16",
    "compute=float32",
]  # fmt: skip
SHORT = [
    "load.images=digits", "load.count=200", *TINY, "learn.conditional=false", "synthesize.num=12",
    "synthesize.generator.schedule.levels=4", "evaluate.curve=0",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick_judge() -> Iterator[None]:
    """A classifier of less learning: what is tested is not how well it judges."""
    steps, judge.STEPS = judge.STEPS, 4
    yield
    judge.STEPS = steps


def metrics_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "metrics.json").read_text())


def samples_of(out: Path) -> dict[str, Any]:
    values = checkpoint.load_values(out / "03_synthesize")
    assert values is not None
    return values


def refusal(capsys: Any, *arguments: str) -> str:
    """The one line that a run ends with."""
    capsys.readouterr()
    assert run.main(["image_synthesis", *arguments]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def digits(tmp_path_factory: Any) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    assert run.main(["image_synthesis", *SHORT, f"out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def bars(tmp_path_factory: Any) -> Path:
    """Pictures with a bright bar on the left, or on the right, somewhere in their half, as an NPZ file."""
    rng = seeded(0)
    labels = torch.arange(400) % 2
    x = 0.15 * torch.randn(400, 8, 8, generator=rng) - 0.6
    places = torch.randint(0, 3, (400,), generator=rng) + 4 * labels
    for picture, place in zip(x, places.tolist(), strict=True):
        picture[:, place : place + 2] += 1.2
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, images=to_levels(x).numpy(), labels=labels.numpy(), classes=["left", "right"])
    return path


@pytest.fixture(scope="module")
def by_class(bars: Path, tmp_path_factory: Any) -> Path:
    out, steps = tmp_path_factory.mktemp("runs") / "bars", judge.STEPS
    judge.STEPS = 30  # it tells the classes
    arguments = [
        f"load.images={bars}", *TINY[:2], "learn.conditional=true", "learn.steps=80", "learn.batch=64",
        "compute=float32", "synthesize.label=each", "synthesize.num=60", "evaluate.curve=0",
    ]  # fmt: skip
    assert run.main(["image_synthesis", *arguments, f"out={out}"]) == 0
    judge.STEPS = steps
    return out


def side(x: Tensor) -> Tensor:
    """0: the left half is brighter, 1: the right one."""
    return (x[..., 4:].mean((1, 2, 3)) > x[..., :4].mean((1, 2, 3))).long()


@pytest.mark.slow
def test_the_same_command_again_does_nothing_anew(digits: Path, capsys: Any) -> None:
    times = {path: path.stat().st_mtime_ns for path in digits.glob("*_*/manifest.json")}
    assert run.main(["image_synthesis", *SHORT, f"out={digits}"]) == 0
    assert {path: path.stat().st_mtime_ns for path in digits.glob("*_*/manifest.json")} == times and len(times) == 5
    told = capsys.readouterr()
    assert told.err.count("done before") == 5 and "finished by an earlier command" in told.out


@pytest.mark.slow
def test_the_same_seed_gives_the_same_samples_and_another_one_others(digits: Path, tmp_path: Path) -> None:
    for name, seed in (("same", 0), ("other", 1)):
        assert run.main(["image_synthesis", *SHORT, f"seed={seed}", f"out={tmp_path / name}"]) == 0
    first, same, other = (samples_of(out)["samples"] for out in (digits, tmp_path / "same", tmp_path / "other"))
    assert torch.equal(first, same) and not torch.equal(first, other)


@pytest.mark.slow
def test_a_learned_energy_makes_more_samples_and_the_first_stay_the_same(digits: Path, tmp_path: Path) -> None:
    arguments = [*SHORT[:2], f"learn.pretrained={digits / 'energy'}", "compute=float32", "evaluate.curve=0"]
    arguments += ["synthesize.num=20", "synthesize.generator.schedule.levels=4"]
    assert run.main(["image_synthesis", *arguments, f"out={tmp_path}"]) == 0
    torch.testing.assert_close(samples_of(tmp_path)["samples"][:12], samples_of(digits)["samples"])


@pytest.mark.slow
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
         "learn.chains=4", "learn.learning_rate=0.0001"],
    ],
    ids=["recovery", "flow", "likelihood", "residual", "convnet"],
)  # fmt: skip
def test_every_way_of_learning_ends_in_samples(learner: list[str], tmp_path: Path) -> None:
    own = any("energy." in argument for argument in learner)
    arguments = ["load.count=120", *(TINY[2:] if own else TINY), *learner, "synthesize.num=8", "evaluate.curve=0"]
    assert run.main(["image_synthesis", *arguments, f"out={tmp_path}"]) == 0
    samples = samples_of(tmp_path)["samples"]
    assert len(samples) == 8 and samples.isfinite().all() and samples.abs().max() <= 1
    assert metrics_of(tmp_path)["samples"]["frechet"] > 0


# --------------------------------------------------------------------------------------------- classes


@pytest.mark.slow
def test_samples_are_of_the_class_that_was_asked_for(by_class: Path) -> None:
    values = samples_of(by_class)
    assert torch.equal(values["sample_labels"], torch.arange(60) % 2)
    right = (side(values["samples"]) == values["sample_labels"]).float().mean()
    assert right > 0.9, "by chance it would be a half, give or take 0.07"
    found = metrics_of(by_class)
    assert found["classifier_accuracy"] > 0.9 and found["of_their_class"] > 0.8


def of_label(by_class: Path, bars: Path, label: str, num: int, out: Path) -> dict[str, Any]:
    """What the energy by class makes when a label is asked for."""
    arguments = [
        f"load.images={bars}", "learn.conditional=true", f"learn.pretrained={by_class / 'energy'}",
        f"synthesize.label={label}", f"synthesize.num={num}", "evaluate.curve=0", "compute=float32",
    ]  # fmt: skip
    assert run.main(["image_synthesis", *arguments, f"out={out}"]) == 0
    return samples_of(out)


@pytest.mark.slow
def test_one_class_by_its_name(by_class: Path, bars: Path, tmp_path: Path) -> None:
    values = of_label(by_class, bars, "right", 30, tmp_path)
    assert torch.equal(values["sample_labels"], torch.ones(30, dtype=torch.int64))
    assert side(values["samples"]).float().mean() > 0.85


@pytest.mark.slow
def test_of_any_label_both_classes_come(by_class: Path, bars: Path, tmp_path: Path) -> None:
    values = of_label(by_class, bars, "any", 60, tmp_path)
    assert values["sample_labels"] is None
    assert 10 < int(side(values["samples"]).sum()) < 50


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.slow
def test_labels_that_are_not_there_are_refused_in_one_line(
    digits: Path, by_class: Path, bars: Path, capsys: Any, tmp_path: Path
) -> None:
    plain = ["load.count=60", "learn.conditional=false", f"learn.pretrained={digits / 'energy'}"]
    assert "not learned by class" in refusal(capsys, *plain, "synthesize.label=3", f"out={tmp_path / 'a'}")
    known = [f"load.images={bars}", "learn.conditional=true", f"learn.pretrained={by_class / 'energy'}"]
    line = refusal(capsys, *known, "synthesize.label=middle", f"out={tmp_path / 'b'}")
    assert "middle" in line and "left, right" in line


@pytest.fixture(scope="module")
def clean(tmp_path_factory: Any) -> Path:
    """An energy of clean pictures, without noise levels."""
    folder = tmp_path_factory.mktemp("clean")
    energies.EncoderEnergy((1, 8, 8), (4,), (1,), noisy=False).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["learn.pretrained=NOISY", "synthesize.generator.chain.steps=3"],
        ["learn.pretrained=CLEAN", "learn.objective.energy_matching={}", "synthesize.generator.stepwise={}"],
    ],
    ids=["noisy, chain", "clean, stepwise"],
)
def test_an_energy_and_a_way_to_sample_it_that_do_not_fit_are_refused(
    arguments: list[str], digits: Path, clean: Path, capsys: Any, tmp_path: Path
) -> None:
    """An energy of noise levels has no chain of clean x, one of clean x no levels to go down."""
    arguments = [a.replace("NOISY", str(digits / "energy")).replace("CLEAN", str(clean)) for a in arguments]
    rest = ["load.count=60", "learn.conditional=false", "evaluate.curve=0", "synthesize.num=8", f"out={tmp_path}"]
    line = refusal(capsys, *arguments, *rest)
    assert "pretrained" in line or "generator" in line


@pytest.mark.slow
def test_an_energy_is_sampled_as_suits_it_whatever_objective_stands_there(
    digits: Path, clean: Path, tmp_path: Path
) -> None:
    rest = ["load.count=60", "learn.conditional=false", "evaluate.curve=0", "synthesize.num=8", "compute=float32"]
    for name, given in (
        ("noisy", [f"learn.pretrained={digits}", "learn.objective.maximum_likelihood={}"]),
        ("clean", [f"learn.pretrained={clean}"]),
    ):
        assert run.main(["image_synthesis", *given, *rest, f"out={tmp_path / name}"]) == 0
        learned = checkpoint.load_values(tmp_path / name / "02_learn")
        assert learned is not None
        assert type(learned["generator"]).__name__ == {"noisy": "Schedule", "clean": "Chain"}[name]


@pytest.mark.slow
def test_energies_that_are_no_such_energies_are_refused_in_one_line(digits: Path, capsys: Any, tmp_path: Path) -> None:
    assert "none" in refusal(capsys, "load.count=60", f"learn.pretrained={tmp_path / 'none'}", f"out={tmp_path / 'a'}")
    small = f"learn.pretrained={digits / 'energy'}"
    assert "16x16" in refusal(capsys, "load.count=60", "load.size=16", small, f"out={tmp_path / 'b'}")
    damaged = tmp_path / "damaged"
    shutil.copytree(digits / "energy", damaged)
    (damaged / "model.safetensors").write_bytes(b"no")
    line = refusal(capsys, "load.count=60", f"learn.pretrained={damaged}", f"out={tmp_path / 'c'}")
    assert "model.safetensors is damaged" in line
