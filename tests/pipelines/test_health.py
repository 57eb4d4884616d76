"""Is learning healthy? What is told of it, and how training that diverges goes back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from data.errors import InputError
from energies import EncoderEnergy, ResidualEnergy
from energies.buffer import ReplayBuffer
from energies.health import PATIENCE, Health
from energies.objectives import Batch, EnergyMatching, MaximumLikelihood, ScoreMatching
from pipelines.learning.training import Optimizer, Training, train
from pipelines.pipeline import Run

# ---------------------------------------------------------------------------------------------- health


def run_of(health: Health, steps: list[tuple[float, dict[str, float]]]) -> tuple[int | None, list[str | None]]:
    """The step at which it says that learning diverged, and what it said of every step."""
    said = []
    for number, (norm, metrics) in enumerate(steps):
        said.append(health.problem(norm, metrics))
        if health.diverged(said[-1] is not None):
            return number, said
    return None, said


def sane(num: int, seed: int = 0) -> list[tuple[float, dict[str, float]]]:
    """A noisy loss with a heavy tail, that falls, a gap about 0, and some saturation."""
    rng = torch.Generator().manual_seed(seed)
    loss = 2 * torch.exp(0.7 * torch.randn(num, generator=rng)) / (1 + torch.arange(num) / 30)
    gap = 0.3 * torch.randn(num, generator=rng)
    sizes = zip(loss.tolist(), gap.tolist(), strict=True)
    return [(1.0, {"noise_loss": a, "energy_gap": b, "saturation": 0.3}) for a, b in sizes]


BAD = {
    "the gradient norm is not finite": (math.inf, {"noise_loss": 1.0}),
    "the noise loss is not finite": (1.0, {"noise_loss": math.nan}),
    "the energy gap is not finite": (1.0, {"energy_gap": -math.inf}),
    "the noise loss exploded to 500": (1.0, {"noise_loss": 500.0}),
    "the energy gap exploded to -500": (1.0, {"energy_gap": -500.0}),
    "90% more values of the samples than of the data are at their bounds": (1.0, {"saturation": 0.9}),
}


@pytest.mark.parametrize("words", BAD)
def test_divergence_is_told_in_words_after_some_patience(words):
    stopped, said = run_of(Health(), sane(40) + [BAD[words]] * 20)
    assert stopped == 40 + PATIENCE - 1
    assert said[:40] == [None] * 40 and said[40:] == [words] * PATIENCE


@pytest.mark.parametrize("words", BAD)
def test_bad_steps_now_and_then_are_forgiven(words):
    few = [BAD[words]] * (PATIENCE - 1)
    steps = sane(30) + few + sane(1, seed=1) + few + sane(30, seed=2) + few[:1] + sane(30, seed=3)
    stopped, said = run_of(Health(), steps)
    assert stopped is None
    assert sum(line is not None for line in said) == 2 * len(few) + 1


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_noisy_loss_is_not_complained_of(seed):
    assert run_of(Health(), sane(2000, seed)) == (None, [None] * 2000)


def test_bad_steps_do_not_count_as_usual():
    """An explosion that lasts does not become the measure of itself."""
    health = Health()
    run_of(health, sane(30))
    before = dict(health.means)
    run_of(health, [(1.0, {"noise_loss": 500.0, "energy_gap": 0.1})] * 3)
    assert health.means == before


def test_its_means_keep_what_it_knows():
    whole, first = Health(), Health()
    run_of(whole, sane(60))
    run_of(first, sane(60)[:25])
    second = Health(json.loads(json.dumps(first.means)))
    run_of(second, sane(60)[25:])
    assert second.means == whole.means and set(whole.means) == {"noise_loss", "energy_gap"}


def test_a_loss_that_grows_slowly_is_no_explosion():
    assert run_of(Health(), [(1.0, {"loss": 1.01**k}) for k in range(1000)])[0] is None


# -------------------------------------------------------------------------------------------- training

STEPS = 40
DENOISING = ScoreMatching()
SETTINGS = Training(STEPS, 0.01, 16, Optimizer("adam", 2, 1.0, 0.9, 8))


def settings_of(steps: int = STEPS, learning_rate: float = 0.01, **optimizer: Any) -> Training:
    return Training(steps, learning_rate, 16, replace(SETTINGS.optimizer, **optimizer))


class Learning:
    """A tiny energy that learns two-pixel stripes; `stop` interrupts it as Ctrl-C would."""

    def __init__(self, objective: Any = DENOISING, settings: Training = SETTINGS, weights: int = 0) -> None:
        torch.manual_seed(weights)
        self.objective, self.settings = objective, settings
        self.energy = self.build()
        rng = torch.Generator().manual_seed(0)
        bright = torch.rand(60, 1, 1, 2, generator=rng).round() * 2 - 1
        self.x = (0.7 * bright.repeat(1, 1, 4, 2) + 0.1 * torch.randn(60, 1, 4, 4, generator=rng)).clamp(-1, 1)
        if isinstance(self.energy, EncoderEnergy):
            self.energy.centre(self.x)
        self.buffer = ReplayBuffer.of_noise(12, self.x[0], rng)
        self.stop: int | None = None
        self.drawn = 0

    def build(self) -> Any:
        return EncoderEnergy((1, 4, 4), (8, 8), (1, 1), noisy=isinstance(self.objective, ScoreMatching))

    def draw(self, energy, step: int, rng: torch.Generator) -> tuple[EncoderEnergy, Batch]:
        if self.drawn == self.stop:
            raise KeyboardInterrupt
        self.drawn += 1
        rows = torch.randint(len(self.x), (16,), generator=rng)
        return energy, Batch(self.x[rows], chains=self.buffer, progress=step / self.settings.steps)

    def learn(self, folder: Path) -> dict[str, Tensor]:
        (folder / "stage").mkdir(parents=True, exist_ok=True)
        run = Run(folder, folder / "stage", seed=1, compute="float32")
        result = train(self.energy, self.objective, self.draw, self.settings, run, self.buffer.tensors())
        return result.state_dict() | {f"chain.{name}": chain for name, chain in self.buffer.tensors().items()}


class Residual(Learning):
    def build(self):
        return ResidualEnergy((1, 4, 4), 4)


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def rolled_back(folder: Path) -> list[dict]:
    return [line for line in log_of(folder) if line.get("event") == "rolled back"]


def loss_at_the_end(folder: Path) -> float:
    losses = [line["noise_loss"] for line in log_of(folder) if "noise_loss" in line][-10:]
    return sum(losses) / len(losses)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "rate", "sane_rate"), [("adam", 0.3, 0.01), ("muon", 1.0, 0.05)])
def test_learning_with_a_rate_much_too_large_goes_back_and_ends_well(method, rate, sane_rate, tmp_path):
    losses = {}
    for name, lr in (("sane", sane_rate), ("wild", rate)):
        learning = Learning(settings=settings_of(learning_rate=lr, method=method))
        result = learning.learn(tmp_path / name)
        assert all(tensor.isfinite().all() for tensor in result.values())
        losses[name] = loss_at_the_end(tmp_path / name)
        bound = learning.energy.at(0.5)
        assert (bound.denoise(learning.x) - learning.x).square().mean() < 0.5**2
    assert not rolled_back(tmp_path / "sane")
    returns = rolled_back(tmp_path / "wild")
    assert 1 <= len(returns) <= SETTINGS.optimizer.rollbacks
    assert [line["times"] for line in returns] == list(range(1, len(returns) + 1))
    for line in returns:
        assert line["reason"].startswith("the ") and line["to"] % SETTINGS.optimizer.checkpoint_every == 0
        assert line["diverged_at"] >= line["to"] + PATIENCE - 1
    assert losses["wild"] < 2 * losses["sane"] + 0.3
    steps = [line["step"] for line in log_of(tmp_path / "wild") if "step" in line]
    assert steps[-1] == STEPS - 1


@pytest.mark.slow
def test_learning_that_cannot_be_saved_ends_in_words(tmp_path):
    with pytest.raises(InputError, match=r"diverged at step \d+: the .*, also after 2 returns .*lower the"):
        Learning(settings=settings_of(learning_rate=1e4, rollbacks=2)).learn(tmp_path / "twice")
    assert len(rolled_back(tmp_path / "twice")) == 2
    with pytest.raises(InputError, match="after 0 returns"):
        Learning(settings=settings_of(learning_rate=1e4, rollbacks=0)).learn(tmp_path / "never")
    assert not rolled_back(tmp_path / "never")


@pytest.mark.slow
def test_it_goes_on_from_where_it_was_healthy_with_smaller_steps(tmp_path):
    """After the return all is as at the checkpoint, also the chains, and only the rate is another."""
    settings = settings_of(steps=20, method="muon")

    def learn(name: str, objective) -> Learning:
        learning = Learning(objective, settings)
        learning.learn(tmp_path / name)
        return learning

    class Cliff(MaximumLikelihood):
        """Not a number at steps 10 to 14, once."""

        left = PATIENCE

        def __call__(self, energy, batch, rng):
            loss, metrics = super().__call__(energy, batch, rng)
            if batch.progress >= 0.5 and Cliff.left:
                Cliff.left -= 1
                return loss * math.nan, metrics
            return loss, metrics

    options = {"steps": 2, "step_size": 0.05}
    learn("fallen", Cliff(**options))
    learn("whole", MaximumLikelihood(**options))
    [line] = rolled_back(tmp_path / "fallen")
    assert (line["to"], line["diverged_at"], line["times"]) == (8, 14, 1)
    rows = {name: [line for line in log_of(tmp_path / name) if "step" in line] for name in ("fallen", "whole")}
    fallen = rows["fallen"]
    again = next(i for i, row in enumerate(fallen) if i and row["step"] <= fallen[i - 1]["step"])
    assert [row["step"] for row in fallen] == [*range(15), *range(8, 20)]
    later = ("time", "weight_norm")  # that norm is taken after the step
    first = {k: v for k, v in fallen[again].items() if k not in later}
    assert first == {k: v for k, v in rows["whole"][8].items() if k not in later}, "the same step from the same state"
    assert fallen[again + 1]["energy_gap"] != rows["whole"][9]["energy_gap"]


ALONG = {
    "muon": (ScoreMatching(), {"method": "muon", "learning_rate": 0.05}),
    "likelihood": (
        MaximumLikelihood(steps=2, negatives=5, restart=0.1), {"method": "muon", "learning_rate": 0.02}
    ),
    "flow": (EnergyMatching(warm_up=0.3, steps=2, negatives=5), {"learning_rate": 0.01}),
    "adam that fell": (ScoreMatching(), {"learning_rate": 0.3}),
    "muon that fell": (ScoreMatching(), {"method": "muon", "learning_rate": 1.0}),
}  # fmt: skip


@pytest.fixture(scope="module", params=ALONG)
def uninterrupted(request, tmp_path_factory) -> tuple[str, Training, dict[str, Tensor]]:
    objective, options = ALONG[request.param]
    settings, folder = settings_of(steps=20, **options), tmp_path_factory.mktemp("whole")
    whole = Learning(objective, settings).learn(folder)
    assert bool(rolled_back(folder)) == request.param.endswith("fell")
    return request.param, settings, whole


@pytest.mark.slow
@pytest.mark.parametrize("stop", [4, 11, 19])
def test_resumed_learning_equals_uninterrupted_learning_bit_for_bit(uninterrupted, stop, tmp_path):
    name, settings, whole = uninterrupted
    learning = Learning(ALONG[name][0], settings)
    learning.stop = stop
    with pytest.raises(KeyboardInterrupt):
        learning.learn(tmp_path)
    assert not same(whole, learning.energy.state_dict() | {k: v for k, v in whole.items() if k.startswith("chain.")})
    assert same(whole, Learning(ALONG[name][0], settings).learn(tmp_path))


@pytest.mark.slow
def test_resumed_learning_of_a_residual_energy_equals_uninterrupted_learning(tmp_path):
    objective, settings = MaximumLikelihood(steps=2), settings_of(steps=12, learning_rate=0.003)
    whole = Residual(objective, settings).learn(tmp_path / "whole")
    learning = Residual(objective, settings)
    learning.stop = 10
    with pytest.raises(KeyboardInterrupt):
        learning.learn(tmp_path / "parts")
    assert same(whole, Residual(objective, settings).learn(tmp_path / "parts"))
