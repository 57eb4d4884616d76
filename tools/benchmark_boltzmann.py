"""Boltzmann machines beside each other and beside scikit-learn's: likelihoods, speed, brackets, crossings, features.

python tools/benchmark_boltzmann.py learn --data ../shared/data/images/train-images-idx3-ubyte.gz --steps 20000
python tools/benchmark_boltzmann.py learn --chains data persistent tempered trajectory --hidden 500
python tools/benchmark_boltzmann.py learn --hidden 500 1000 --steps 20000
python tools/benchmark_boltzmann.py helmholtz --steps 10000
python tools/benchmark_boltzmann.py speed
python tools/benchmark_boltzmann.py brackets --seeds 20
python tools/benchmark_boltzmann.py crossings

Budgets are steps, and times are seconds of the processor: other work on the machine changes neither. Likelihoods are
nats of pictures set aside, rounded to two levels, with the ends of the bracket two standard errors further out.
Every line that is printed is one row of a table, as JSON.
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

from energies import RBM, Helmholtz
from energies.annealed_importance import annealed_log_z, enumerated
from energies.boltzmann import GibbsChain, Machine
from energies.boltzmann.ladder import by_temperature
from energies.boltzmann.trajectory import ladder_log_z
from energies.objectives import Batch, ContrastiveDivergence, WakeSleep
from pipelines.examples import Examples
from pipelines.learning.settings import Boltzmann, HelmholtzMachine
from pipelines.measures.likelihood import Annealing, of_helmholtz, of_machine
from pipelines.modalities.images.load import Load
from pipelines.stage import Run
from pipelines.stages.learn import Learn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("learn", "helmholtz", "speed", "brackets", "crossings", "features"))
    parser.add_argument("--data", default="digits")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--hidden", type=int, nargs="+", default=[500])
    parser.add_argument("--chains", nargs="+", default=["persistent"])
    parser.add_argument("--gibbs", type=int, default=1, help="Gibbs sweeps a step")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 5], help="of wake-sleep")
    parser.add_argument("--rate", type=float, default=0.002)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--annealing", type=int, default=1000, help="steps of annealing")
    asked = parser.parse_args()
    {
        "learn": learn, "helmholtz": helmholtz, "speed": speed, "brackets": brackets, "crossings": crossings,
        "features": features,
    }[asked.what](asked)  # fmt: skip


def say(**row: Any) -> None:
    print(json.dumps(row), flush=True)


def loaded(asked: argparse.Namespace, run: Run) -> Examples:
    return Load(images=asked.data, validation=0.05)({}, run)["data"]


def run_in(folder: str) -> Run:
    return Run(Path(folder), Path(folder))


def learned(stage: Learn, data: Examples, run: Run) -> tuple[Any, float]:
    """The energy, and the seconds of the processor that it took."""
    begun = time.process_time()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        energy = stage({"data": data}, run)["energy"]
    return energy, time.process_time() - begun


def parts_of(data: Examples) -> dict[str, Tensor]:
    return {"train": data.x("train", slice(2000)), "validation": data.x("validation", slice(2000))}


def learn(asked: argparse.Namespace) -> None:
    """Machines by each kind of chains, and their brackets."""
    for chains in asked.chains:
        with tempfile.TemporaryDirectory() as folder:
            run = run_in(folder)
            data = loaded(asked, run)
            how = ContrastiveDivergence(steps=asked.gibbs, chains=chains, kept=4)
            stage = Learn(
                energy=Boltzmann(tuple(asked.hidden)), objective=how, steps=asked.steps, batch=asked.batch,
                learning_rate=asked.rate, chains=asked.batch, conditional=False,
            )  # fmt: skip
            machine, seconds = learned(stage, data, run)
            found = of_machine(machine, parts_of(data), Annealing(100, asked.annealing, 200), run)
        say(
            chains=chains, hidden=asked.hidden, gibbs=asked.gibbs, steps=asked.steps, seconds=round(seconds),
            closed=found["closed"], log_z=found["log_z"], nats=found["nats"], ladder=found["ladder"],
            curve=[(round(p["progress"], 2), p["nats"]["validation"]) for p in found["curve"]],
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


def speed(asked: argparse.Namespace) -> None:
    """Updates a second of PCD-1, beside scikit-learn's, in turns, on the same random pictures in float32."""
    from sklearn.neural_network import BernoulliRBM

    x = (torch.rand(60 * asked.batch, 784, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    machine, how = RBM((1, 28, 28), asked.hidden[0]), ContrastiveDivergence(kept=0)
    rng, pictures = torch.Generator().manual_seed(0), machine.x_of(x)
    buffer = how.buffer(machine, asked.batch, rng)
    optimizer = torch.optim.Adam(machine.parameters(), asked.rate, fused=True)

    def ours() -> None:
        for rows in torch.arange(len(x)).split(asked.batch):
            with torch.autocast("cpu", torch.bfloat16):
                loss, _ = how(machine, Batch(pictures[rows], chains=buffer), rng)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def theirs() -> None:
        BernoulliRBM(asked.hidden[0], batch_size=asked.batch, n_iter=1, random_state=0).fit(x.numpy())

    rounds = [[_timed(work) for work in (ours, theirs)] for _ in range(asked.seeds + 1)][1:]  # the first warms up
    for kind, name in enumerate(("processor", "clock")):
        own, peer = (float(np.median([60 / times[k][kind] for times in rounds])) for k in range(2))
        ratio = float(np.median([times[1][kind] / times[0][kind] for times in rounds]))
        say(seconds=name, ours=own, scikit_learn=peer, ratio=ratio, batch=asked.batch)


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of the processor and of the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - processor, time.perf_counter() - clock


def brackets(asked: argparse.Namespace) -> None:
    """How often the bracket holds the exact log Z of learned machines of 20 hidden units, and the ladder's error."""
    held, widths, ladder = 0, [], []
    for seed in range(asked.seeds):
        machine = _learned_small(seed, asked)
        truth, rng = enumerated(machine), torch.Generator().manual_seed(seed)
        assert truth is not None
        low, high = annealed_log_z(machine, rng, runs=100, steps=asked.annealing, settle=200).bounds
        held += low <= truth.low <= high
        widths.append(high - low)
        with torch.no_grad():
            rungs = by_temperature(machine.layers(), 12)
            found, _ = ladder_log_z(rungs, rng, chains=100, sweeps=200)
        ladder.append(float(found[0]) - truth.low)
    say(held=held, of=asked.seeds, median_width=float(np.median(widths)), largest_of_ladder=max(map(abs, ladder)))


def _learned_small(seed: int, asked: argparse.Namespace) -> Machine:
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), Path(folder), seed)
        data = loaded(asked, run)
        how = ContrastiveDivergence(kept=0)
        stage = Learn(energy=Boltzmann((20,)), objective=how, steps=asked.steps, batch=64, chains=64, conditional=False)
        machine, _ = learned(stage, data, run)
    assert isinstance(machine, Machine)
    return machine


def crossings(asked: argparse.Namespace) -> None:
    """Of clusters of bits, how often chains go over to another one in 2000 sweeps, alone and on a ladder."""
    rng = torch.Generator().manual_seed(0)
    centres = (torch.rand(4, 60, generator=rng) < 0.5).float()
    rows = torch.randint(4, (4000,), generator=rng)
    flips = torch.rand(4000, 60, generator=rng) < 0.05
    x = torch.where(flips, 1 - centres[rows], centres[rows]) * 2 - 1
    for chains in ("persistent", "tempered"):
        machine = RBM(60, 20)
        torch.manual_seed(0)
        machine.centre(x)
        how = ContrastiveDivergence(chains=chains, kept=0)
        buffer = how.buffer(machine, 64, rng)
        optimizer = torch.optim.Adam(machine.parameters(), 0.01)
        count, before = 0, None
        for step in range(asked.steps):
            batch = Batch(x[torch.randint(4000, (64,), generator=rng)], chains=buffer, progress=step / asked.steps)
            loss, _ = how(machine, batch, rng)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if buffer is not None and step >= asked.steps // 2:
                nearest = torch.cdist(buffer.x[:64, :60], centres).argmin(1)
                count += 0 if before is None else int((nearest != before).sum())
                before = nearest
        exact = enumerated(machine)
        assert exact is not None
        nats = -float(machine(x).mean().detach()) - exact.low
        *_, samples = GibbsChain(200).generate(machine, torch.randn(400, 60, generator=rng), rng)
        shares = torch.bincount(torch.cdist((samples + 1) / 2, centres).argmin(1), minlength=4) / 400
        say(chains=chains, crossings=count, of_chain_sweeps=64 * (asked.steps // 2), nats=nats, shares=shares.tolist())


def features(asked: argparse.Namespace) -> None:
    """Accuracy of logistic regression on hidden units, and on pixels."""
    from sklearn.linear_model import LogisticRegression

    with tempfile.TemporaryDirectory() as folder:
        run = run_in(folder)
        labels = asked.data.replace("images-idx3", "labels-idx1")
        data = loaded(asked, run)
        if data.train_labels is None:
            raise SystemExit(f"{asked.data}: has no labels beside it ({labels})")
        stage = Learn(
            energy=Boltzmann(tuple(asked.hidden)), objective=ContrastiveDivergence(kept=0), steps=asked.steps,
            batch=asked.batch, learning_rate=asked.rate, chains=asked.batch, conditional=False,
        )  # fmt: skip
        machine, _ = learned(stage, data, run)
    (train, known), (new, truth) = data.known("train"), data.known("validation")
    train, known = train[:10_000], known[:10_000]
    with torch.no_grad():
        parts = {"hidden units": (machine.features(train), machine.features(new)), "pixels": (train, new)}
    for name, (seen, others) in parts.items():
        model = LogisticRegression(C=0.1, max_iter=100, tol=1e-3).fit(seen.flatten(1).numpy(), known.numpy())
        say(features=name, accuracy=float(model.score(others.flatten(1).numpy(), truth.numpy())), train=len(train))


if __name__ == "__main__":
    main()
