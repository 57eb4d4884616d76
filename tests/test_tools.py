"""The benchmarks of tools/ ask for what the program takes, and read what it finds."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from data import video
from energies import EncoderEnergy
from pipelines import run
from pipelines.measures import judge
from pipelines.pipeline import Pipeline
from tests.conftest import seeded

TOOLS = Path(__file__).resolve().parent.parent / "tools"
SCORES = {"psnr": 20.0, "mae": 5.0, "ssim": 0.8, "iou": 0.7, "voxel_error": 0.01, "seconds": 0.1}
NUMBERS = {"frechet": 1.0, "precision": 0.9, "recall": 0.9, "in_one_part": 0.9, "temporal": 3.0}
HELD_OUT = {"recovery": 20.5, "initial_estimate": 20.0}
WAYS = {"amortised": SCORES | {"held_out": HELD_OUT}, "conditioned": SCORES}
FOUND: dict[str, Any] = {
    "recovery": SCORES, "way": "amortised", "ways": WAYS, "seconds": {"amortised": 0.1, "conditioned": 2.0},
    "baselines": {"mean": SCORES, "flow": SCORES}, "best_baseline": "mean", "gain_db": 1.0, "gain_iou": 0.1,
    "total_seconds": 30.0, "initial_estimate": SCORES, "initial_estimate_gain_db": 0.5, "coverage_90": 0.9,
    "samples": NUMBERS, "real": NUMBERS, "noise": NUMBERS, "long_run_ratio": None, "asked": {"all_hold": 0.9},
    "path": {"accepted": 0.8, "in_one_part": 0.9, "distance_to_training": 0.1}, "reconstruction": SCORES,
    "classes": ["chair", "table"], "accuracy": {"energy": 0.8},
}  # fmt: skip
"""What metrics.json of all pipelines may hold, by the names that the program gives them."""


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list[list[str]]:
    """The commands of a tool, each of which is built in full, but not run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Pipeline, "run", lambda self, *settings: {})
    found: list[list[str]] = []

    def call(words: list[str]) -> None:
        assert run.main(words) == 0, words
        found.append(words)
        out = Path(words[-1].removeprefix("out="))
        out.mkdir(parents=True)
        (out / "metrics.json").write_text(json.dumps(FOUND))
        (out / "log.jsonl").write_text("".join(json.dumps({"step": k, "time": 0.125 * k}) + "\n" for k in range(12)))

    monkeypatch.setattr(importlib.import_module("command"), "call", call)
    return found


def rows(capsys) -> list[str]:
    """Of the tables that were printed, without heads."""
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert all("nan" not in line for line in lines)
    return lines


def test_video(asked, capsys):
    tool = importlib.import_module("benchmark_video")
    tool.main(["--seeds", "0", "1", "--clips", "flag2"])
    assert len(asked) == 2 * len(tool.MASKS)
    assert len(rows(capsys)) == 1 + len(tool.MASKS)


def test_voxels(asked, capsys, tmp_path):
    tool = importlib.import_module("benchmark_voxels")
    (tmp_path / "labelled.npz").touch()
    tool.main(["--labelled", str(tmp_path / "labelled.npz")])
    assert len(asked) == 2 + 2 * len(tool.TASKS) + 1
    assert len([row for row in rows(capsys) if row.split(" | ")[0][2:] in tool.TASKS]) == len(tool.TASKS)


@pytest.mark.parametrize("modality", ["images", "voxels", "clips"])
def test_posterior(modality, asked, capsys):
    tool = importlib.import_module("benchmark_posterior")
    tool.main([modality])
    chosen = tool.MODALITIES[modality]
    each = 2 if chosen.told is not None and chosen.prior is None else 1
    assert len(asked) == 1 + (chosen.told is not None) + each * len(chosen.tasks) + len(chosen.others)
    assert len(rows(capsys)) == 2 + len(chosen.tasks) + len(chosen.others)


def test_objectives(asked, capsys):
    tool = importlib.import_module("compare_objectives")
    tool.main(["--images", "digits"])
    assert len(asked) == 2 * len(tool.RUNS) and len(rows(capsys)) == 1 + len(tool.RUNS)
    steps = next(word for word in asked[1] if word.startswith("learn.steps="))
    assert steps == "learn.steps=4800"  # ten minutes of steps of an eighth of a second


def test_the_experts_of_the_benchmark_of_compositions(monkeypatch):
    """The command of its docstring."""
    monkeypatch.setattr(Pipeline, "run", lambda self, *settings: {})
    text = importlib.import_module("benchmark_composition").__doc__ or ""
    command = text.partition("python -m pipelines.run ")[2].partition("\n\n")[0].replace("\\\n", " ")
    assert run.main(command.split()) == 0


# ------------------------------------------------------------------------------------ real runs


@pytest.fixture
def real(monkeypatch, tmp_path):
    """Commands are run in this process, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(judge, "STEPS", 3)

    def call(words: list[str]) -> None:
        assert run.main(words) == 0, words

    monkeypatch.setattr(importlib.import_module("command"), "call", call)
    return call


@pytest.mark.slow
def test_a_row_of_the_table_of_clips(real, capsys, monkeypatch, tmp_path):
    x = torch.rand(3, 6, 16, 16, generator=seeded()) * 2 - 1
    video.write(tmp_path / "noise.mkv", x.cumsum(1) / 4, 8.0)
    tool = importlib.import_module("benchmark_video")
    monkeypatch.setitem(tool.CLIPS, "flag2", "noise.mkv")
    tiny = ["load.size=16", "load.frames=6", "learn.steps=2", "learn.energy.amortised.widths=[4]",
            "learn.energy.amortised.depths=[1]", "learn.crop=[6, 8]", "compute=float32"]  # fmt: skip
    tool.main(["--data", str(tmp_path), "--clips", "flag2", "--masks", "half the pixels", "--seeds", "0", "--settings",
               *tiny])  # fmt: skip
    head, row = rows(capsys)
    assert row.startswith("| half the pixels | flag2 |") and row.count("|") == head.count("|")


@pytest.mark.slow
def test_a_row_of_an_energy_for_every_task_of_pictures(real, capsys, monkeypatch):
    tool = importlib.import_module("benchmark_posterior")
    source = ["load.images=digits", "load.count=200", "compute=float32"]
    learn = ["learn.steps=2", "synthesize.num=8", "synthesize.generator.schedule.levels=3", "evaluate.curve=0"]
    small = ["learn.energy.encoder.widths=[4, 6]", "learn.energy.encoder.depths=[1, 1]"]
    real(["image_synthesis", *source, *learn, *small, "out=energy"])
    told = ["learn.steps=2", "learn.energy.amortised.widths=[4]", "learn.energy.amortised.depths=[1]",
            "learn.tasks=[pixels]"]  # fmt: skip
    real(["image_recovery", *source, *told, "hide.num=4", "recover.samples=1", "out=told"])
    chosen = tool.MODALITIES["images"]
    tasks = {name: chosen.tasks[name] for name in ("half the pixels", "noise of 0.5")}
    short = {"compose": ["compose.generator.levels=3", "compose.balance=2", "synthesize.num=4"]}
    others = {
        name: (pipeline, [*(s.replace("num=1000", "num=8") for s in settings), *short.get(pipeline, [])], key)
        for name, (pipeline, settings, key) in chosen.others.items()
    }
    few = replace(chosen, tasks=tasks, others=others, more=["hide.num=4", "recover.samples=1"])
    monkeypatch.setitem(tool.MODALITIES, "images", few)
    capsys.readouterr()
    tool.main(["images", "--energy", "energy", "--told", "told", "--settings", *source[1:]])
    found = rows(capsys)
    assert len(found) == 2 + len(tasks) + len(others)
    assert found[1].split(" | ")[3] and found[2].split(" | ")[3] == ""  # it was not told of noise


@pytest.mark.slow
def test_rows_of_compositions_and_of_joint_labels(real, capsys, monkeypatch, tmp_path):
    tool = importlib.import_module("benchmark_composition")
    monkeypatch.setattr(tool, "scenes", lambda num, *others, **more: scenes(min(num, 300), *others, **more))
    monkeypatch.setattr(importlib.import_module("pipelines.measures.composition"), "JUDGED_BY", 60)
    monkeypatch.setattr(importlib.import_module("pipelines.measures.composition"), "JUDGED_FOR", 2)
    monkeypatch.setattr(tool, "GENERATOR", replace(tool.GENERATOR, levels=3, steps=1))
    tool.learn_joint(tmp_path / "joint", steps=2)
    settings = ["load.images=scenes", "load.count=60", "load.label=shape", "learn.steps=2", "synthesize.num=8",
                "learn.energy.encoder.widths=[4]", "learn.energy.encoder.depths=[1]", "evaluate.curve=0",
                "synthesize.generator.schedule.levels=2", "compute=float32"]  # fmt: skip
    real(["image_synthesis", *settings, f"out={tmp_path / 'shape'}"])
    for name in ("colour", "size", "place"):
        expert = EncoderEnergy(tool.SHAPE, (4,), (1,), num_classes=len(tool.ATTRIBUTES[name]))
        expert.classes = tuple(tool.ATTRIBUTES[name])
        expert.save_pretrained(tmp_path / name / "energy")
    monkeypatch.setattr(tool, "STAGE", replace(tool.STAGE, balance=2))
    some = ("one: shape", "two: averaged", "two: strength", "all four, unseen", "or", "not, sub")
    capsys.readouterr()
    tool.main(["--runs", str(tmp_path), "--num", "2", "--rows", *some])
    assert len(rows(capsys)) == 1 + len(some) + 3  # "all four" begins three, and "or" two


def scenes(*settings: Any, **more: Any) -> tuple[Tensor, dict[str, Tensor]]:
    from data.scenes import scenes

    return scenes(*settings, **more)


@pytest.mark.slow
def test_the_speed_of_a_sampler_beside_a_loop(capsys, tmp_path):
    tool = importlib.import_module("bench")
    out = tmp_path / "found.json"
    tool.main([
        "--peers", "ours", "tutorial", "--workloads", "residual", "--samplers", "langevin", "--rounds", "2", "--budget",
        "0.1", "--bf16", "no", "--json", str(out),
    ])  # fmt: skip
    head, ours, loop = rows(capsys)
    assert ours.startswith("| residual | langevin | ours fp32 |") and ours.count("|") == head.count("|")
    found = json.loads(out.read_text())["residual langevin"]
    assert 0 < found["ours fp32"]["gradient_error"] < 1e-4
    assert found["tutorial loop"]["ours fp32"] > 0 and loop.startswith("| residual | langevin | tutorial loop |")


def test_no_module_of_the_tools_hides_one_that_others_import():
    """They stand first on the path while these tests run."""
    names = {file.stem for file in TOOLS.glob("*.py")}
    assert not names & set(sys.stdlib_module_names)
