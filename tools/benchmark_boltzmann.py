"""Boltzmann machines beside each other: likelihoods, brackets, crossings, features, halves filled in.

python tools/benchmark_boltzmann.py learn --data ../shared/data/images/train-images-idx3-ubyte.gz --steps 20000
python tools/benchmark_boltzmann.py learn --chains data persistent tempered trajectory --hidden 500
python tools/benchmark_boltzmann.py learn --hidden 500 1000 --steps 20000
python tools/benchmark_boltzmann.py helmholtz --steps 10000
python tools/benchmark_boltzmann.py brackets --seeds 20
python tools/benchmark_boltzmann.py crossings
python tools/benchmark_boltzmann.py features
python tools/benchmark_boltzmann.py halves

`--save` keeps what was learned in a folder, and `--machine` takes it from there in place of learning. Budgets are
steps, and times are seconds of the processor: other work on the machine changes neither. Likelihoods are nats of
pictures set aside, rounded to two levels, with the ends of the bracket two standard errors further out. Every line that
is printed is one row of a table, as JSON. benchmark_boltzmann_peers.py has other packages beside.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from energies import RBM, Helmholtz, Hidden, load
from energies.annealed_importance import annealed_log_z, enumerated
from energies.boltzmann import Machine
from energies.boltzmann.ladder import by_temperature, sweep
from energies.boltzmann.trajectory import ladder_log_z
from energies.objectives import Batch, ContrastiveDivergence, WakeSleep
from energies.objectives.contrastive_divergence import Start
from energies.saving import save_module
from pipelines.examples import Examples
from pipelines.learning.settings import Boltzmann, HelmholtzMachine
from pipelines.measures.baselines import baselines, score
from pipelines.measures.likelihood import Annealing, of_helmholtz, of_machine
from pipelines.modalities.images.load import Load
from pipelines.stage import Run
from pipelines.stages.learn import Learn

Kind = Callable[[Tensor], Tensor]
"""Number of the cluster [B] that units [B, V] belong to."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = (learn, helmholtz, brackets, crossings, features, halves)
    parser.add_argument("what", choices=[work.__name__ for work in works])
    add_settings(parser)
    parser.add_argument("--chains", nargs="+", default=["persistent"])
    parser.add_argument("--gibbs", type=int, default=1, help="Gibbs sweeps a step")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 5], help="of wake-sleep")
    parser.add_argument("--pretraining", type=int, help="steps of each layer of a deep machine alone")
    parser.add_argument("--kept", type=int, default=0, help="machines of its past that are judged, too")
    parser.add_argument("--save", type=Path, help="folder for the machine")
    parser.add_argument("--machine", type=Path, help="folder of one that was saved")
    asked = parser.parse_args()
    {work.__name__: work for work in works}[asked.what](asked)


def add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default="digits")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--hidden", type=int, nargs="+", default=[500])
    parser.add_argument("--rate", type=float, default=0.002)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3, help="seeds, or rounds of what is timed")
    parser.add_argument("--annealing", type=int, default=1000, help="steps of annealing")
    parser.add_argument("--runs", type=int, default=100, help="annealed chains each way")
    parser.add_argument("--settle", type=int, default=200, help="sweeps of the ladder that reverse runs start from")


def say(**row: Any) -> None:
    print(json.dumps(row), flush=True)


def loaded(asked: argparse.Namespace, run: Run) -> Examples:
    return Load(images=asked.data, validation=0.05)({}, run)["data"]


def run_in(folder: str, seed: int = 0) -> Run:
    return Run(Path(folder), Path(folder), seed)


def learned(stage: Learn, data: Examples, run: Run) -> tuple[Any, float]:
    """The energy, and the seconds of the processor that it took."""
    begun = time.process_time()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        energy = stage({"data": data}, run)["energy"]
    return energy, time.process_time() - begun


def machine_of(asked: argparse.Namespace, data: Examples, run: Run, chains: Start) -> tuple[Machine, float]:
    """A Boltzmann machine, saved or learned, and the seconds that it took."""
    if asked.machine is not None:
        machine, seconds = load(asked.machine), 0.0
    else:
        how = ContrastiveDivergence(steps=asked.gibbs, chains=chains, kept=asked.kept)
        stage = Learn(
            energy=Boltzmann(tuple(asked.hidden), pretraining=asked.pretraining), objective=how, steps=asked.steps,
            batch=asked.batch, learning_rate=asked.rate, chains=asked.batch, conditional=False,
        )  # fmt: skip
        machine, seconds = learned(stage, data, run)
    if asked.save is not None:
        save_module(machine, asked.save)
    assert isinstance(machine, Machine)
    return machine, seconds


def parts_of(data: Examples) -> dict[str, Tensor]:
    return {"train": data.x("train", slice(2000)), "validation": data.x("validation", slice(2000))}


def learn(asked: argparse.Namespace) -> None:
    """Machines by each kind of chains, and their brackets."""
    for chains in asked.chains:
        with tempfile.TemporaryDirectory() as folder:
            run = run_in(folder, asked.seed)
            data = loaded(asked, run)
            machine, seconds = machine_of(asked, data, run, chains)
            begun = time.process_time()
            found = of_machine(machine, parts_of(data), Annealing(asked.runs, asked.annealing, asked.settle), run)
        say(
            chains=chains, hidden=asked.hidden, gibbs=asked.gibbs, steps=asked.steps, seconds=round(seconds),
            closed=found["closed"], log_z=found["log_z"], nats=found["nats"], ladder=found.get("ladder"),
            curve=[(round(p["progress"], 2), p["nats"]["validation"]) for p in found.get("curve", [])],
            annealed=round(time.process_time() - begun),
        )  # fmt: skip


def helmholtz(asked: argparse.Namespace) -> None:
    """Helmholtz machines 200-200-10 by wake-sleep, plain and reweighted."""
    for samples in asked.samples:
        with tempfile.TemporaryDirectory() as folder:
            run = run_in(folder)
            data = loaded(asked, run)
            stage = Learn(
                energy=HelmholtzMachine((200, 200, 10)), objective=WakeSleep(samples), steps=asked.steps,
                batch=asked.batch, learning_rate=asked.rate,
            )  # fmt: skip
            machine, seconds = learned(stage, data, run)
            assert isinstance(machine, Helmholtz)
            kept = {"validation": data.x("validation", slice(300))}
            nats = of_helmholtz(machine, kept)["nats"]
        say(samples=samples, steps=asked.steps, seconds=round(seconds), nats=nats)


def brackets(asked: argparse.Namespace) -> None:
    """Of machines of 20 hidden units, how often the bracket, and three standard errors around what their trajectory
    says, hold the exact log Z."""
    held, widths, told, errors = 0, [], 0, []
    for seed in range(asked.seeds):
        machine = _learned_small(seed, asked)
        truth, rng = enumerated(machine), torch.Generator().manual_seed(seed)
        assert truth is not None
        low, high = annealed_log_z(machine, rng, runs=100, steps=asked.annealing, settle=asked.settle).bounds
        held += low <= truth.low <= high
        widths.append(high - low)
        with torch.no_grad():
            layers = machine.layers()
            rungs = [layers, *machine.past(), by_temperature(layers, 2)[1]]
            found, error, _ = ladder_log_z(rungs, rng, chains=100, sweeps=400)
        told += abs(float(found[0]) - truth.low) <= 3 * float(error[0])
        errors.append(float(found[0]) - truth.low)
    say(
        of=asked.seeds, bracket=held, median_width=float(np.median(widths)), trajectory=told,
        largest_error_of_trajectory=max(map(abs, errors)),
    )  # fmt: skip


def _learned_small(seed: int, asked: argparse.Namespace) -> Machine:
    with tempfile.TemporaryDirectory() as folder:
        run = run_in(folder, seed)
        data = loaded(asked, run)
        how = ContrastiveDivergence(chains="trajectory", kept=0)
        stage = Learn(energy=Boltzmann((20,)), objective=how, steps=asked.steps, batch=64, chains=64, conditional=False)
        machine, _ = learned(stage, data, run)
    assert isinstance(machine, Machine)
    return machine


def crossings(asked: argparse.Namespace) -> None:
    """How often chains of plain and of tempered learning go over to another cluster: of bits, or zeros and ones among
    digits with labels; as they learn, and then on the machine that each has learned, alone and on its ladder."""
    x, kind, hidden = _clusters() if asked.data == "digits" else _two_digits(asked)
    for chains in ("persistent", "tempered"):
        rng = torch.Generator().manual_seed(asked.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(asked.seed)
            machine = RBM(x.shape[1], hidden)
        machine.centre(x)
        how = ContrastiveDivergence(chains=chains, kept=0)
        buffer = how.buffer(machine, 64, rng)
        assert buffer is not None
        optimizer = torch.optim.Adam(machine.parameters(), asked.rate)
        count, before = 0, None
        for step in range(asked.steps):
            batch = Batch(x[torch.randint(len(x), (64,), generator=rng)], chains=buffer, progress=step / asked.steps)
            loss, _ = how(machine, batch, rng)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step >= asked.steps // 2:
                now = kind(buffer.x[:64, : x.shape[1]])
                count += 0 if before is None else int((now != before).sum())
                before = now
        bracket = enumerated(machine) or annealed_log_z(machine, rng, steps=asked.annealing, settle=asked.settle)
        with torch.no_grad():
            nats = [-float(machine(x[:2000]).mean()) - end for end in bracket.bounds[::-1]]
            still = {name: _crossed(machine, num, kind, rng) for name, num in (("alone", 1), ("ladder", 20))}
        say(chains=chains, crossed=count / 64 / (asked.steps - asked.steps // 2), still=still, nats=nats)


def _crossed(machine: RBM, num: int, kind: Kind, rng: torch.Generator) -> dict[str, Any]:
    """Share of the sweeps of 64 chains, on so many temperatures, in which one changes its kind, and the share that is
    of the first kind in the second half of 1000 sweeps that begin at samples of the base."""
    rungs = by_temperature(machine.layers(), num)
    base = by_temperature(machine.layers(), 2)[1]
    states, kinds = [base.base_units(64, rng) for _ in rungs], []
    for number in range(1000):
        states, _ = sweep(rungs, states, rng, number % 2)
        kinds.append(kind(states[0].layers[0]))
    told = torch.stack(kinds[500:])
    return {"crossed": float((told[1:] != told[:-1]).float().mean()), "first": float((told == 0).float().mean())}


def _clusters() -> tuple[Tensor, Kind, int]:
    """x of four clusters of 60 bits, what tells a cluster of units, and hidden units to learn them by."""
    rng = torch.Generator().manual_seed(0)
    centres = (torch.rand(4, 60, generator=rng) < 0.5).float()
    rows = torch.randint(4, (4000,), generator=rng)
    flips = torch.rand(4000, 60, generator=rng) < 0.05
    x = torch.where(flips, 1 - centres[rows], centres[rows]) * 2 - 1
    return x, lambda v: torch.cdist(v, centres).argmin(1), 20


def _two_digits(asked: argparse.Namespace) -> tuple[Tensor, Kind, int]:
    """Likewise of zeros and ones, told by a logistic regression."""
    from sklearn.linear_model import LogisticRegression

    with tempfile.TemporaryDirectory() as folder:
        x, labels = loaded(asked, run_in(folder)).known("train")
    rows = labels < 2
    x, labels = 2 * (x[rows].flatten(1) > 0).float() - 1, labels[rows]
    model = LogisticRegression(C=0.1).fit((x[:5000].numpy() + 1) / 2, labels[:5000].numpy())
    weight, bias = torch.tensor(model.coef_[0]).float(), float(model.intercept_[0])
    return x, lambda v: (v @ weight + bias > 0).long(), asked.hidden[0]


def features(asked: argparse.Namespace) -> None:
    """Accuracy of logistic regression on hidden units, and on pixels."""
    from sklearn.linear_model import LogisticRegression

    with tempfile.TemporaryDirectory() as folder:
        run = run_in(folder, asked.seed)
        data = loaded(asked, run)
        if data.train_labels is None:
            raise SystemExit(f"{asked.data}: has no labels")
        machine, _ = machine_of(asked, data, run, asked.chains[0])
    (train, known), (new, truth) = data.known("train"), data.known("validation")
    with torch.no_grad():
        parts = {"hidden units": (machine.features(train), machine.features(new)), "pixels": (train, new)}
    for name, (seen, others) in parts.items():
        begun = time.process_time()
        model = LogisticRegression(C=0.1, max_iter=100, tol=1e-3).fit(seen.flatten(1).numpy(), known.numpy())
        accuracy = float(model.score(others.flatten(1).numpy(), truth.numpy()))
        say(features=name, accuracy=accuracy, train=len(train), of=len(new), seconds=round(time.process_time() - begun))


@torch.no_grad()
def halves(asked: argparse.Namespace) -> None:
    """PSNR and MAE, on the lower half, of clamped chains and of their mean, beside simple methods; pictures of two
    levels. Chains begin at noise, or at an inverse temperature of 0, which rises to 1 in `--settle` sweeps."""
    with tempfile.TemporaryDirectory() as folder:
        run = run_in(folder, asked.seed)
        data = loaded(asked, run)
        machine, _ = machine_of(asked, data, run, asked.chains[0])
        rng = run.generator("halves")
    truth, train = machine.rounded(data.x("validation", slice(256))), machine.rounded(data.x("train"))
    hidden = torch.zeros(1, *truth.shape[1:], dtype=torch.bool)
    hidden[..., truth.shape[2] // 2 :, :] = True
    observation = Hidden(hidden)
    y = observation.observe(truth)
    for name, method in baselines(train, observation, y).items():
        say(method=name, **score(method(), truth, hidden.expand_as(truth)))
    rows = torch.arange(len(truth)).repeat_interleave(16)
    clamp = machine.clamp_of(observation, y[rows])
    for name, first in (("clamped from noise", 1.0), ("clamped, from hot to cold", 0.0)):
        begun, means = time.process_time(), torch.zeros_like(truth)
        state = machine.begin(torch.randn(len(rows), *truth.shape[1:], generator=rng), rng, clamp)
        for beta in torch.linspace(first, 1, asked.settle).tolist():
            state = machine.move(state, rng, clamp, beta)
        for _ in range(asked.settle // 4):
            state = machine.move(state, rng, clamp)
            means += machine.seen_in(state).view(len(truth), 16, *truth.shape[1:]).mean(1) / (asked.settle // 4)
        seconds = round(time.process_time() - begun)
        say(method=f"mean of 16 chains {name}", **score(means, truth, hidden.expand_as(truth)), seconds=seconds)
        x = machine.seen_in(state)[::16]
        say(method=f"one chain {name}", **score(x, truth, hidden.expand_as(truth)))


if __name__ == "__main__":
    main()
