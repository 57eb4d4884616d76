"""Training: an interrupted run equals an uninterrupted one, and processes learn as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from energies import ClipReference, ConditionalEnergy, Context, Energy, GenerativeConvNet
from energies.buffer import ReplayBuffer
from energies.objectives import Batch, Denoising, MaximumLikelihood
from pipelines import checkpoint
from pipelines.pipeline import Run
from pipelines.stages.video.recover import Recover
from pipelines.training import Optimizer, Training, train

ROOT = Path(__file__).resolve().parent.parent
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


SCRIPT = """
import sys, torch
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from test_training import Denoise, Likelihood, learn, run_in
from pipelines.run import leave, main
out = Path(sys.argv[3])
for kind in (Denoise, Likelihood):
    rank = run_in(out).accelerator.process_index
    torch.save(learn(kind(0), out / kind.__name__), out / f"{kind.__name__}_{rank}.pt")
leave(main(sys.argv[4:]))
"""
TINY = [
    "load.size=16", "load.frames=8", "learn.optimizer.steps=3", "learn.optimizer.checkpoint_every=2",
    "learn.energy.refine.widths=[8, 8]", "recover.chains=3", "recover.schedule.levels=2", "compute=float32",
]  # fmt: skip


@pytest.mark.skipif(find_spec("torch.distributed.run") is None, reason="this PyTorch has no torchrun")
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no distributed package")
def test_two_processes_learn_as_one_and_share_the_chains(tmp_path):
    """Over gloo: the weights agree and are not those of one process; chain k is the same however many processes."""
    (tmp_path / "two.py").write_text(SCRIPT)
    env = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK", "MASTER_PORT")}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "two.py"]
    arguments = [str(ROOT), str(ROOT / "tests"), str(tmp_path), "video_recovery", "out=pipeline", *TINY]
    result = subprocess.run(
        [*launcher, *arguments], cwd=tmp_path, env=env | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("results are in") == 1, "only one of them speaks"
    for kind in (Denoise, Likelihood):
        first, second = (torch.load(tmp_path / f"{kind.__name__}_{rank}.pt") for rank in (0, 1))
        weights = [name for name in first if not name.startswith("chain.")]
        assert all(torch.equal(first[name], second[name]) for name in weights)
        chains = [name for name in first if name in ("chain.imputed", "chain.x")]
        assert all(not torch.equal(first[name], second[name]) for name in chains)
        alone = learn(kind(0), tmp_path / f"alone_{kind.__name__}")
        assert not all(torch.equal(first[name], alone[name]) for name in weights), "both took part"

    root = tmp_path / "pipeline"
    folders = sorted(path for path in root.iterdir() if path.name[:2].isdigit())
    assert [folder.name[3:] for folder in folders][:4] == ["load", "hide", "learn", "recover"]
    values = {}
    for folder in folders:
        given = checkpoint.load_values(folder)
        assert given is not None
        values |= given
    stage = Recover(chains=3, schedule=replace(Recover().schedule, levels=2))
    again = stage(values, Run(root, root / "04_recover", compute="float32"))
    torch.testing.assert_close(again["samples"], values["samples"], rtol=0, atol=1e-5)
    assert len(values["samples"]) == 3 and not torch.equal(values["samples"][0], values["samples"][1])
