"""Training: an interrupted run equals an uninterrupted one."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from energies import ClipReference, ConditionalEnergy, Context, Energy, GenerativeConvNet
from energies.buffer import ReplayBuffer
from energies.objectives import Batch, Denoising, MaximumLikelihood
from pipelines import checkpoint, stopping
from pipelines.learning.training import Optimizer, Training, train
from pipelines.pipeline import Run

SETTINGS = Training(7, 0.01, 1, Optimizer(warmup=2, average=0.9, checkpoint_every=2))


def run_in(folder: Path) -> Run:
    (folder / "stage").mkdir(parents=True, exist_ok=True)
    return Run(folder, folder / "stage", seed=1, compute="float32")


class Denoise:
    """A tiny conditional energy that learns by denoising; `stop` interrupts it as a full disk or Ctrl-C would."""

    objective = Denoising()
    settings = SETTINGS

    def __init__(self, weights: int) -> None:
        torch.manual_seed(weights)
        self.energy = ConditionalEnergy(ClipReference((3, 4, 8, 8)), 3, (8, 8), (1, 1))
        self.chains: dict[str, Tensor] = {}
        rng = torch.Generator().manual_seed(0)
        self.x = torch.rand(1, 3, 4, 8, 8, generator=rng) * 2 - 1
        hidden = torch.rand(1, 1, 4, 8, 8, generator=rng) < 0.5
        self.context = Context(
            self.x * 0.9, torch.full(hidden.shape, 0.1), hidden, self.x[:, None, :0].new_zeros(1, 0, 3, 4, 8, 8)
        )
        self.stop: int | None = None
        self.drawn = 0

    def batch(self) -> Batch:
        return Batch(self.x, self.context.hidden)

    def draw(self, energy: Energy, step: int, rng: torch.Generator) -> tuple[Energy, Batch]:
        if self.drawn == self.stop:
            raise KeyboardInterrupt
        self.drawn += 1
        torch.randint(10, (), generator=rng)
        return (energy.told(self.context) if isinstance(energy, ConditionalEnergy) else energy), self.batch()


class Likelihood(Denoise):
    """A published ConvNet that learns by MCMC maximum likelihood: its chains must go on, too."""

    objective = MaximumLikelihood(steps=2, step_size=0.05)
    settings = replace(SETTINGS, learning_rate=0.0002)

    def __init__(self, weights: int) -> None:
        super().__init__(weights)
        torch.manual_seed(weights)
        self.energy = GenerativeConvNet("image", [3, 8, 8])
        self.x = self.x[:, :, 0]
        self.imputed, self.buffer = self.x.clone(), ReplayBuffer(torch.zeros_like(self.x))
        self.chains = {"imputed": self.imputed, **self.buffer.tensors()}

    def batch(self) -> Batch:
        hidden = self.context.hidden[0, 0, 0]
        return Batch(self.x, ~hidden, hidden, self.imputed, self.buffer)


def learn(task: Denoise, folder: Path) -> dict[str, Tensor]:
    result = train(task.energy, task.objective, task.draw, task.settings, run_in(folder), task.chains)
    return result.state_dict() | {f"chain.{name}": chain for name, chain in task.chains.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Denoise, Likelihood])
@pytest.mark.parametrize("stop", [1, 5])
def test_resumed_training_equals_uninterrupted_training_bit_for_bit(kind, stop, tmp_path):
    whole = learn(kind(0), tmp_path / "whole")
    task = kind(0)
    task.stop = stop
    with pytest.raises(KeyboardInterrupt):
        learn(task, tmp_path / "parts")
    assert (checkpoint.load(tmp_path / "parts/stage/checkpoint") is None) == (stop == 1)
    # From a checkpoint all weights come from it; without one they are drawn anew by the same seed.
    task = kind(0 if stop == 1 else 5)
    resumed = learn(task, tmp_path / "parts")
    assert task.drawn == (7 if stop == 1 else 3), "only the steps after the last checkpoint are done again"
    assert same(whole, resumed)
    assert not same(whole, learn(kind(3), tmp_path / "other")), "the comparison sees a difference"


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_learning_after_the_step_with_all_of_it_saved(sent, tmp_path, capfd):
    whole = learn(Likelihood(0), tmp_path / "whole")
    task, draw = Likelihood(0), Likelihood.draw

    def signalled(energy: Energy, step: int, rng: torch.Generator) -> tuple[Energy, Batch]:
        if step == 2:
            os.kill(os.getpid(), sent)
        return draw(task, energy, step, rng)

    task.draw = signalled
    with pytest.raises(stopping.Stopped) as stopped, stopping.listening():
        learn(task, tmp_path / "parts")
    assert stopped.value.signal == sent and f"{sent.name}: stopping after this step" in capfd.readouterr().err
    found = checkpoint.load(tmp_path / "parts/stage/checkpoint")
    assert found is not None and found[1]["step"] == 3
    assert same(whole, learn(Likelihood(5), tmp_path / "parts"))


def _send_three() -> None:
    with stopping.waiting():
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping.asked() == [1, 0, 0]
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


def test_a_second_signal_does_not_wait_and_an_ignored_one_stays_so():
    before = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(stopping.Stopped) as stopped, stopping.listening():
            _send_three()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stopped.value.signal == signal.SIGTERM


@pytest.mark.slow
def test_the_result_is_the_average_of_the_weights(tmp_path):
    class Still(Denoise):
        """Always the mean, which learns for sure."""

        objective = Denoising(mean_share=1.0)

    task = Still(0)
    settings = replace(SETTINGS, steps=60, optimizer=replace(SETTINGS.optimizer, average=0.5))
    before = task.energy.told(task.context).posterior_mean()
    result = train(task.energy, task.objective, task.draw, settings, run_in(tmp_path), {})
    assert not same(result.state_dict(), task.energy.state_dict())

    def error(mean: Tensor) -> float:
        return float(((mean.detach() - task.x) * task.context.hidden).square().sum())

    assert error(result.told(task.context).posterior_mean()) < 0.8 * error(before)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(60))


@pytest.mark.parametrize(
    "setting",
    [
        {"steps": 0}, {"learning_rate": float("nan")}, {"batch": 0}, {"clip": -1.0}, {"average": 1.0},
        {"checkpoint_every": 0}, {"rollbacks": -1},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        replace(SETTINGS if hasattr(SETTINGS, next(iter(setting))) else SETTINGS.optimizer, **setting)
