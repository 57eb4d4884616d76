"""Two processes learn and sample as one does: the same weights and samples, to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from conftest import seeded
from torch import Tensor

from energies import (
    ClipReference,
    ConditionalEnergy,
    Context,
    EncoderEnergy,
    EncoderLogits,
    Energy,
    Hidden,
    JointEnergy,
    LocalReference,
    Schedule,
    Stepwise,
)
from energies.buffer import ReplayBuffer
from energies.diagnostics import Monitor
from energies.objectives import (
    Batch,
    Denoising,
    EnergyMatching,
    Joint,
    MaximumLikelihood,
    RecoveryLikelihood,
    References,
    ScoreMatching,
)
from energies.objectives.share import Share
from energies.samplers.state import normal
from pipelines import checkpoint
from pipelines.learning.lessons import Lessons, Task, hides
from pipelines.learning.training import Optimizer, Training, train
from pipelines.pipeline import Run
from pipelines.run import main
from pipelines.sampling.chains import sample_chains
from pipelines.sampling.posterior import Sampling, Seen, expected

ROOT = Path(__file__).resolve().parent.parent.parent
SIDES = {"image": (3, 6, 6), "video": (3, 4, 6, 6), "voxels": (1, 4, 4, 4)}
ROWS = 5  # of a batch: an odd number
STEPS = 3
Learned = dict[str, Tensor]


def run_in(folder: Path) -> Run:
    (folder / "stage").mkdir(parents=True, exist_ok=True)
    return Run(folder, folder / "stage", seed=1, compute="float32")


def data_of(shape: tuple[int, ...], num: int = 12) -> Tensor:
    return torch.rand(num, *shape, generator=seeded()) * 2 - 1


def encoder(shape: tuple[int, ...], **settings: Any) -> EncoderEnergy:
    return EncoderEnergy(shape, (6, 8), (1, 1), **settings)


def learned(
    energy: Energy,
    objective: Any,
    draw: Any,
    run: Run,
    chains: dict[str, Tensor],
    rows: int = ROWS,
    method: Literal["adam", "muon"] = "adam",
) -> Learned:
    training = Training(STEPS, 0.01, rows, Optimizer(method, warmup=1, average=0.5, checkpoint_every=2))
    result = train(energy, objective, draw, training, run, chains)
    return result.state_dict() | {f"chain.{name}": chain for name, chain in chains.items()}


def whole(
    shape: tuple[int, ...],
    objective: Any,
    rows: int = ROWS,
    build: Callable[..., Energy] = encoder,
    method: Literal["adam", "muon"] = "adam",
) -> Any:
    """Learning of a whole x, with labels that are known in part, references and chains."""

    def learn(run: Run) -> Learned:
        x, energy = data_of(shape), build(shape)
        labels = torch.tensor([0, 1, -1, 1, 0, -1, -1, 1, 0, 0, 1, -1])
        buffer = ReplayBuffer.of_noise(7, x[0], run.generator("chains", 0))
        is_joint, matches = isinstance(objective, Joint), isinstance(objective, ScoreMatching)

        def draw(energy: Energy, step: int, rng: torch.Generator) -> tuple[Energy, Batch]:
            drawn = torch.randint(len(x), (rows,), generator=rng)
            label = labels[drawn] if is_joint else None
            others = References(x[:8]) if matches else None
            return energy, Batch(x[drawn], label=label, chains=buffer, progress=step / STEPS, references=others)

        return learned(energy, objective, draw, run, buffer.tensors(), rows, method)

    return learn


def joint(shape: tuple[int, ...]) -> JointEnergy:
    return JointEnergy(EncoderLogits(encoder(shape, noisy=True, heads=2)), 2, shape)


def clean(shape: tuple[int, ...]) -> EncoderEnergy:
    return encoder(shape, noisy=False)


def conditional(shape: tuple[int, ...], objective: Denoising) -> Any:
    """Learning of an energy that is told what is seen: its context is drawn for all rows."""

    def learn(run: Run) -> Learned:
        x = data_of(shape)
        energy = ConditionalEnergy(ClipReference(shape), shape[0], (6, 8), (1, 1), (1, 2, 2)[4 - len(shape) :])

        def draw(energy: ConditionalEnergy, step: int, rng: torch.Generator) -> tuple[ConditionalEnergy, Batch]:
            rows = torch.randint(len(x), (ROWS,), generator=rng)
            hidden = torch.rand(ROWS, 1, *shape[1:], generator=rng) < 0.5
            estimate = torch.where(hidden, 0.0, x[rows])
            scale = 0.3 + 0.2 * torch.rand(hidden.shape, generator=rng)
            context = Context(estimate, scale, hidden, x.new_zeros(ROWS, 0, *shape))
            return energy.told(context), Batch(x[rows], hidden)

        return learned(energy, objective, draw, run, {})

    return learn


def lessons(run: Run) -> Learned:
    """Learning by the lessons of a data set: each process makes the contexts of its rows alone."""
    shape = SIDES["voxels"]
    x = data_of(shape)
    tasks = {"pixels": Task(1, hides(lambda rng: torch.rand(1, *shape[1:], generator=rng) < 0.5))}
    made = Lessons(x, ROWS, tasks, None, 2, run, lambda x, rng: x)
    energy = ConditionalEnergy(LocalReference(), shape[0], (6, 8), (1, 1), (2, 2, 2))

    def draw(energy: ConditionalEnergy, step: int, rng: torch.Generator) -> tuple[ConditionalEnergy, Batch]:
        context, batch = made[step]
        return energy.told(context), batch

    return learned(energy, Denoising(), draw, run, {})


def imputing(run: Run) -> Learned:
    """Maximum likelihood of x of which part is hidden: chains of it, one a row, go on."""
    shape = SIDES["image"]
    x, energy = data_of(shape, ROWS), clean(shape)
    hidden = torch.rand(ROWS, 1, *shape[1:], generator=seeded(1)) < 0.5
    imputed, buffer = torch.where(hidden, 0.0, x), ReplayBuffer(torch.zeros_like(x))
    batch = Batch(x, ~hidden, hidden, imputed, buffer)
    chains = {"imputed": imputed, **buffer.tensors()}
    return learned(energy, MaximumLikelihood(steps=2), lambda energy, *_: (energy, batch), run, chains)


def sampled(shape: tuple[int, ...]) -> Callable[[Run], Learned]:
    """Chains, more than go at once and an odd number."""

    def sample(run: Run) -> Learned:
        def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
            x = normal(torch.empty(len(chains), *shape), streams)
            return x + torch.tensor(chains).view(-1, *[1] * len(shape))

        return {"samples": sample_chains(run, 7, 2**21, "samples", Monitor(), draw)}

    return sample


def means(run: Run) -> Learned:
    """Amortised means of an odd number of x."""
    energy = ConditionalEnergy(LocalReference(), 1, (4,), (1,), (2, 2))
    rng = seeded()
    hidden = torch.rand(5, 1, 8, 8, generator=rng) < 0.5
    y = torch.where(hidden, 0.0, torch.rand(5, 1, 8, 8, generator=rng) * 2 - 1)
    how = Sampling(Schedule())  # of which an amortised mean takes nothing
    return {"means": expected(energy, Seen(Hidden(hidden), y, 5, (1, 8, 8)), how, run, (-1,)).mean}


MATCHING = MaximumLikelihood(steps=2, negatives=3, restart=0.2, energy_weight=0.1, data_noise=0.1)
TASKS: dict[str, Callable[[Run], Learned]] = {
    **{f"{name} by score matching": whole(shape, ScoreMatching()) for name, shape in SIDES.items()},
    **{f"{name} by denoising": conditional(shape, Denoising(0.3)) for name, shape in SIDES.items() if name != "voxels"},
    **{f"samples of {name}": sampled(shape) for name, shape in SIDES.items()},
    "likelihood": whole(SIDES["image"], MATCHING, build=clean),
    "flow": whole(SIDES["image"], EnergyMatching(warm_up=0.0, steps=2, negatives=3), build=clean),
    "recovery likelihood": whole(SIDES["image"], RecoveryLikelihood(Stepwise(steps=2))),
    "joint": whole(SIDES["image"], Joint(), build=joint),
    "one row": whole(SIDES["image"], ScoreMatching(), rows=1),
    "muon": whole(SIDES["image"], ScoreMatching(), method="muon"),
    "lessons": lessons,
    "imputing": imputing,
    "means": means,
}


def perform(name: str, folder: Path) -> Learned:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    try:
        return TASKS[name](run_in(folder))
    finally:
        torch.set_default_dtype(torch.float32)


SCRIPT = """
import sys, torch
from pathlib import Path
sys.path[:0] = sys.argv[1:4]
from test_processes import TASKS, perform, run_in
from pipelines.run import leave
out = Path(sys.argv[4])
for name in TASKS:
    rank = run_in(out / name).accelerator.process_index
    torch.save(perform(name, out / name), out / f"{name} {rank}.pt")
leave(0)
"""

needs_launcher = pytest.mark.skipif(
    find_spec("torch.distributed.run") is None or not torch.distributed.is_available(), reason="PyTorch has no torchrun"
)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """Where two processes leave what they learned."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "two.py").write_text(SCRIPT)
    env = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK", "MASTER_PORT")}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "two.py"]
    result = subprocess.run(
        [*launcher, str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent), str(folder)], cwd=folder,
        env=env | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
@needs_launcher
@pytest.mark.parametrize("name", TASKS)
def test_two_processes_do_as_one_does(name, two, tmp_path):
    first, second = (torch.load(two / f"{name} {rank}.pt") for rank in (0, 1))
    alone = perform(name, tmp_path)
    assert first.keys() == second.keys() == alone.keys()
    for key in alone:
        assert torch.equal(first[key], second[key]), "both have the same"
        torch.testing.assert_close(first[key], alone[key], rtol=1e-7, atol=1e-9)
    if "samples" in alone:
        assert torch.equal(first["samples"], alone["samples"])
        return
    if "means" in alone:
        return
    for ours, theirs in zip(steps_of(two / name), steps_of(tmp_path), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9)


def steps_of(folder: Path) -> list[dict[str, float]]:
    """What was logged of every step."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("stage", "time")} for record in records if "step" in record]


@pytest.mark.slow
@needs_launcher
def test_one_process_goes_on_where_two_stopped(two, tmp_path):
    """A checkpoint of two holds all that one needs."""
    name = "likelihood"
    found = checkpoint.load(two / name / "stage" / "checkpoint")
    assert found is not None and found[1]["step"] == 2
    (tmp_path / "stage").mkdir()
    checkpoint.save(tmp_path / "stage" / "checkpoint", *found)
    with pytest.warns(UserWarning, match="stage was learned by 2 processes and goes on with 1 process: weights"):
        alone = perform(name, tmp_path)
    assert [record["step"] for record in steps_of(tmp_path)] == [2]
    for key, value in torch.load(two / f"{name} 0.pt").items():
        torch.testing.assert_close(alone[key], value, rtol=1e-7, atol=1e-9)


FAULTS = """
import resource, sys, torch
sys.path[:0] = [sys.argv[1]]
from pipelines.learning.processes import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        kept = [torch.zeros(2**22) + k for k in range(3)]
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = faults()
keep_freed_memory()
print(before, min(faults() for _ in range(5)))  # the first ones find their memory
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_freed_memory_serves_again():
    """Without the system, which clears its pages: 4 kB each, of tensors of 16 MB."""
    result = subprocess.run([sys.executable, "-c", FAULTS, str(ROOT)], capture_output=True, text=True, check=True)
    before, after = map(int, result.stdout.split())
    assert after < 100 < 4000 < before


@pytest.mark.parametrize(("total", "num"), [(8, 2), (5, 2), (7, 3), (3, 3), (1, 2), (2, 3)])
def test_shares_are_all_rows_once_and_weigh_one(total, num):
    shares = [Share(total, index, num) for index in range(num)]
    assert sum(share.weight for share in shares) == pytest.approx(1)
    rows = [list(range(total))[share.rows] for share in shares]
    if total < num:
        assert all(part == list(range(total)) for part in rows), "each has all"
    else:
        assert [row for part in rows for row in part] == list(range(total)) and max(map(len, rows)) - min(
            map(len, rows)
        ) <= 1
    like = torch.empty(total, 2)
    noise = Share(total).normal(like, seeded())
    assert all(torch.equal(share.normal(like[share.rows], seeded()), noise[share.rows]) for share in shares)
    assert torch.equal(noise, torch.randn(total, 2, generator=seeded()))


RECOVERY = [
    "load.size=16", "load.frames=8", "learn.energy.amortised.widths=[8]", "learn.energy.amortised.depths=[1]",
    "learn.steps=3", "recover.chains=2", "evaluate.baselines=[nearest_frame, telea]", "compute=float32",
]  # fmt: skip


@needs_launcher
@pytest.mark.slow
def test_a_pipeline_finds_the_same_with_two_processes(tmp_path, monkeypatch):
    """To rounding, but for the diagnostics of sampling: each process watches its own chains."""
    env = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK", "MASTER_PORT")}
    env |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    monkeypatch.chdir(tmp_path)
    assert main(["video_recovery", "out=alone", *RECOVERY]) == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, "-m", "pipelines.run", "video_recovery", "out=two", *RECOVERY]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("results are in") == 1, "only one of them speaks"
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("alone", "two")]
    for found in metrics:
        del found["sampling"]
    alone, two = (dict(numbers(found)) for found in metrics)
    assert alone.keys() == two.keys() and len(alone) > 30
    for name, value in alone.items():
        assert two[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name


def numbers(found: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """All numbers in metrics by their addresses, but for times."""
    parts = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, part in parts:
        if "seconds" not in str(key):
            yield from numbers(part, f"{name}.{key}")
    if isinstance(found, int | float) and not isinstance(found, bool):
        yield name, float(found)
