"""The loop of learning step by step: its rate, its average, its clip."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies import EncoderEnergy
from energies.objectives import Batch, ScoreMatching
from pipelines.learning.training import Optimizer, Training, train
from pipelines.stage import Run

SETTINGS = Training(12, 0.05, 8, Optimizer("adam", 2, 1.0, 0.97, 50))


class Learning:
    """Tiny pictures, and the weights and gradients that each step begins with."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.energy = EncoderEnergy((1, 4, 4), (4,), (1,))
        self.x = torch.rand(8, 1, 4, 4, generator=seeded(0)) * 2 - 1
        self.energy.centre(self.x)
        self.weights: list[Tensor] = []
        self.norms: list[float] = []

    def draw(self, energy: EncoderEnergy, step: int, rng: torch.Generator) -> tuple[EncoderEnergy, Batch]:
        self.weights.append(flat(energy))
        if step:
            gradients = [p.grad.flatten() for p in energy.parameters() if p.grad is not None]
            self.norms.append(float(torch.cat(gradients).norm()))
        return energy, Batch(self.x)

    def learn(self, folder: Path, training: Training) -> EncoderEnergy:
        return train(self.energy, ScoreMatching(), self.draw, training, Run(folder, folder, 1, "float32"), {})


def flat(energy: EncoderEnergy) -> Tensor:
    return torch.cat([p.detach().double().flatten() for p in energy.parameters()])


def test_the_average_forgets_the_first_weights_at_first(tmp_path):
    """After step k of weights w_k it is d a + (1 - d) w_k, d the smaller of the decay and k / (k + 10)."""
    learning = Learning()
    result = learning.learn(tmp_path, SETTINGS)
    *weights, last = [*learning.weights, flat(learning.energy)]
    average = weights[0]
    for k, following in enumerate([*weights[1:], last], 1):
        decay = min(0.97, k / (k + 10))
        average = decay * average + (1 - decay) * following
    assert (last - weights[0]).abs().max() > 0.1, "it has moved"
    torch.testing.assert_close(flat(result), average, atol=1e-6, rtol=1e-5)


def test_the_rate_rises_and_falls_as_a_cosine():
    training = Training(100, 0.4, 1, Optimizer(warmup=10))
    rates = [training.rate(step) for step in range(100)]
    whole = [0.4 * (0.05 + 0.95 * (1 + math.cos(math.pi * step / 100)) / 2) for step in range(100)]
    for step in range(10):
        assert rates[step] == pytest.approx((step + 1) / 10 * whole[step]), "in ten steps it is there"
    assert rates[9:] == pytest.approx(whole[9:])
    assert rates[50] == pytest.approx(0.4 * 0.525) and 0.02 < rates[99] < 0.021, "half way, and a twentieth in the end"
    assert replace(training, optimizer=Optimizer(warmup=0)).rate(0) == pytest.approx(0.4)


def test_no_gradient_is_longer_than_the_clip(tmp_path):
    learning = Learning()
    learning.learn(tmp_path, replace(SETTINGS, optimizer=replace(SETTINGS.optimizer, clip=0.01)))
    before = [json.loads(line)["gradient_norm"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert min(before[:5]) > 0.02, "there is something to clip"
    assert max(learning.norms) < 0.0101 and len(learning.norms) == 11
