"""What a run will take: told before it takes it, from a few steps on trial."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from energies import EncoderEnergy
from energies.objectives import Batch, ScoreMatching
from pipelines import cost
from pipelines.cost import Cost, estimate, learning
from pipelines.examples import Examples
from pipelines.learning.training import Learning, Optimizer, Training
from pipelines.pipeline import Pipeline, Run


@dataclass(frozen=True)
class Load:
    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("data",)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        return {"data": Examples("images", (3, 4, 4), torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4))}


@dataclass(frozen=True)
class Work:
    needs: ClassVar[tuple[str, ...]] = ("data",)
    gives: ClassVar[tuple[str, ...]] = ("worked",)

    takes_so_much: Cost = field(default_factory=Cost)

    def cost(self, values: dict[str, Any], run: Run) -> Cost:
        assert values["data"].shape == (3, 4, 4) and values.keys() == {"data"}, "no others than it needs"
        return self.takes_so_much

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        return {"worked": 1}


@dataclass(frozen=True)
class Sample(Work):
    gives: ClassVar[tuple[str, ...]] = ("samples",)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        return {"samples": 2}


LEARNED = Cost(seconds=30.0, gradient=0.25, memory=3e9, disk=5e6)
SAMPLED = Cost(seconds=10.0, evaluations=200.0, memory=1e9, disk=7e6)


def test_costs_add_up_and_evaluations_cost_what_the_learned_energy_says(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "_in_memory", lambda: 0.5e9)
    run = Run(tmp_path, tmp_path)
    values = Load()({}, run)
    line = estimate([Load(), Work(LEARNED), Sample(SAMPLED)], values, run)
    assert line == "this takes about 1 min 30 s, 3.5 GB of memory and 12 MB of disk"
    foretold = replace(LEARNED, known={"data": replace(values["data"], shape=(1,)), "worked": 1})
    with pytest.raises(AssertionError):
        estimate([Work(foretold), Sample(SAMPLED)], values, run)


@pytest.mark.slow
def test_it_is_told_once_the_data_are_loaded_and_of_what_is_left_to_do(tmp_path, capsys):
    stages = [Load(), Work(LEARNED), Sample(SAMPLED)]
    Pipeline(stages).run(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    [number] = [number for number, line in enumerate(lines) if line.startswith("this takes about 1 min 30 s, ")]
    assert lines[number - 1].endswith("01_load") and lines[number + 1].endswith("02_work")
    (tmp_path / "03_sample" / "manifest.json").unlink()
    Pipeline(stages).run(tmp_path)
    assert "this takes about 10 s, " in capsys.readouterr().err, "without a learner nothing says what a gradient costs"
    Pipeline(stages).run(tmp_path)
    assert "this takes" not in capsys.readouterr().err


def learn(energy: EncoderEnergy, steps: int, folder: Path | None, rows: int = 32) -> Any:
    """Learn, or say what it takes."""
    training = Training(steps, 1e-3, 32, Optimizer())
    run = Run(folder or Path("/"), folder or Path("/"), compute="float32")

    def draw(energy: EncoderEnergy, step: int, rng: torch.Generator) -> tuple[EncoderEnergy, Batch]:
        return energy, Batch(torch.randn(rows, 3, 16, 16, generator=rng))

    plan = Learning(energy, ScoreMatching(), draw, training, {})
    return learning(plan, (3, 16, 16), run) if folder is None else plan.train(run)


@pytest.mark.slow
def test_the_cost_of_learning_is_near_what_learning_takes(tmp_path):
    energy = EncoderEnergy((3, 16, 16), (16, 32), (1, 1))
    before = {name: tensor.clone() for name, tensor in energy.state_dict().items()}
    steps = 30
    told = learn(energy, steps, None, rows=8)
    assert all(torch.equal(tensor, before[name]) for name, tensor in energy.state_dict().items()), "it is left alone"
    start = time.perf_counter()
    learn(energy, steps, tmp_path)
    took = time.perf_counter() - start
    assert told.seconds / 4 < took < 4 * told.seconds, "within a factor of 2 on an idle machine"
    assert 0 < told.gradient < told.seconds / steps / 32
    numbers = sum(p.numel() for p in energy.parameters())
    assert told.disk == 20 * numbers


@pytest.mark.slow
def test_time_and_memory_are_in_proportion_to_the_rows_of_a_step():
    energy = EncoderEnergy((3, 16, 16), (16, 32), (1, 1))
    few, many = (learn(energy, 10, None, rows) for rows in (4, 16))
    assert few.memory == pytest.approx(many.memory, rel=0.2)
    everything = 32 * 16 * 8 * 8 * 4  # one response of the first level
    assert everything < many.memory < 100 * everything
