"""RBMs of other packages beside ours: updates a second, and likelihoods after as many seconds of the processor.

python tools/benchmark_boltzmann_peers.py speed
python tools/benchmark_boltzmann_peers.py likelihood --data ../shared/data/images/train-images-idx3-ubyte.gz

They are scikit-learn's BernoulliRBM, and `rbms` where it is installed (pip install rbms): persistent chains with one
Gibbs sweep a step in all, the same batches and pictures. Ours rounds products of 32 rows or more to bfloat16. log Z of
all is found by our annealing, from the same base.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmark_boltzmann import add_settings, loaded, parts_of, run_in, say

from energies import RBM
from energies.annealed_importance import annealed_log_z
from energies.objectives import Batch, ContrastiveDivergence
from pipelines.measures.likelihood import mean_energy

Weights = tuple[Tensor, Tensor, Tensor]
"""W [V, H], and the biases of the visible and of the hidden units."""

Peer = Callable[[Tensor, argparse.Namespace, float, Callable[[], float]], Iterator[Callable[[], Weights]]]
"""Of units v [n, V], settings, a learning rate and the share of the time that is left: after each update, what tells
the weights."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "likelihood"))
    add_settings(parser)
    parser.add_argument("--seconds", type=float, default=140, help="of the processor, that each learns")
    parser.add_argument("--rates", type=float, nargs="+", help="to try, of the peers")
    asked = parser.parse_args()
    {"speed": speed, "likelihood": likelihood}[asked.what](asked)


def scikit_learn(v: Tensor, asked: argparse.Namespace, rate: float, left: Callable[[], float]) -> Iterator[Any]:
    from sklearn.neural_network import BernoulliRBM

    model = BernoulliRBM(asked.hidden[0], learning_rate=rate, batch_size=asked.batch, n_iter=1, random_state=asked.seed)
    model.fit(v[: asked.batch].numpy())  # partial_fit alone would begin with weights in float64
    for rows in batches(len(v), asked):
        model.learning_rate = rate * left()
        model.partial_fit(v[rows].numpy())
        yield lambda: tuple(
            torch.as_tensor(part).float()
            for part in (model.components_.T, model.intercept_visible_, model.intercept_hidden_)
        )


def rbms(v: Tensor, asked: argparse.Namespace, rate: float, left: Callable[[], float]) -> Iterator[Any]:
    BBRBM = import_module("rbms.bernoulli_bernoulli.classes").BBRBM  # it need not be installed
    fit_batch_pcd = import_module("rbms.training.pcd").fit_batch_pcd

    torch.manual_seed(asked.seed)
    some = argparse.Namespace(data=v)
    model = BBRBM.init_parameters(asked.hidden[0], some, torch.device("cpu"), torch.float32)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    chains = model.init_chains(asked.batch)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, maximize=True)
    for rows in batches(len(v), asked):
        optimizer.param_groups[0]["lr"] = rate * left()
        with torch.no_grad():
            batch = (v[rows], torch.ones(len(rows)))
            chains, _ = fit_batch_pcd(batch, chains, model, gibbs_steps=1, beta=1.0)
            optimizer.step()
        yield lambda: (model.weight_matrix, model.vbias, model.hbias)


def ours(v: Tensor, asked: argparse.Namespace, rate: float, left: Callable[[], float]) -> Iterator[Any]:
    """The steps of learning alone, without averages, logs and checkpoints."""
    machine, how = RBM(v.shape[1], asked.hidden[0]), ContrastiveDivergence(kept=0)
    rng, x = torch.Generator().manual_seed(asked.seed), machine.x_of(v)
    machine.centre(x[:2000])
    buffer = how.buffer(machine, asked.batch, rng)
    optimizer = torch.optim.Adam(machine.parameters(), rate, fused=True)
    for rows in batches(len(v), asked):
        optimizer.param_groups[0]["lr"] = rate * left()
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = how(machine, Batch(x[rows], chains=buffer, progress=1 - left()), rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield lambda: (machine.layers().weights[0], *machine.layers().biases)


PEERS: dict[str, tuple[Peer, float]] = {"scikit_learn": (scikit_learn, 0.1), "rbms": (rbms, 1.0)}
"""And a learning rate: the largest that was tried, of .03, .1 (and 1 of rbms, which takes gradients of norm 1)."""


def batches(num: int, asked: argparse.Namespace) -> Iterator[Tensor]:
    rng = torch.Generator().manual_seed(asked.seed)
    while True:
        yield torch.randint(num, (asked.batch,), generator=rng)


def known_peers() -> dict[str, tuple[Peer, float]]:
    if find_spec("rbms") is None:
        say(peer="rbms", missing="pip install rbms")
        return {"scikit_learn": PEERS["scikit_learn"]}
    return PEERS


def speed(asked: argparse.Namespace) -> None:
    """Updates a second of the processor, in turns, so that other work on the machine slows all of them."""
    v = (torch.rand(60 * asked.batch, 784, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    works = {"ours": ours} | {name: peer for name, (peer, _) in known_peers().items()}
    running = {name: work(v, asked, 0.002, lambda: 1.0) for name, work in works.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(asked.seeds + 1):  # the first warms up
        for name, updates in running.items():
            begun = time.process_time()
            for _ in range(60):
                next(updates)
            if number:
                seconds[name].append((time.process_time() - begun) / 60)
    rates = {name: 1 / float(np.median(each)) for name, each in seconds.items()}
    say(batch=asked.batch, hidden=asked.hidden[0], updates_a_second={n: round(r) for n, r in rates.items()},
        ratios={name: round(rates["ours"] / rate, 2) for name, rate in rates.items() if name != "ours"})  # fmt: skip


def likelihood(asked: argparse.Namespace) -> None:
    """Nats of pictures set aside, each after as many seconds of the processor, with a rate that falls to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        run = run_in(folder, asked.seed)
        data = loaded(asked, run)
        machine = RBM(data.shape, asked.hidden[0])
        x = machine.rounded(data.x())
        v, aside = machine.observed(x), machine.rounded(parts_of(data)["validation"])
        machine.centre(x)
        machine.get_buffer("offset_0").zero_()
        machine.get_buffer("offset_1").zero_()
        for name, (peer, best) in ({"ours": (ours, asked.rate)} | known_peers()).items():
            for rate in asked.rates if asked.rates and peer is not ours else [best]:
                updates, parts = _within(peer, v, asked, rate)
                with torch.no_grad():
                    for own, other in zip((machine.weights[0], *machine.biases), parts, strict=True):
                        own.copy_(other)
                _told(name, machine, aside, asked, run, rate=rate, updates=updates)


def _within(peer: Peer, v: Tensor, asked: argparse.Namespace, rate: float) -> tuple[int, Weights]:
    """How many updates a peer makes in its seconds, and its weights then."""
    begun = time.process_time()

    def left() -> float:
        return max(1 - (time.process_time() - begun) / asked.seconds, 0.0)

    for updates, weights in enumerate(peer(v, asked, rate, left), 1):
        if not left():
            return updates, weights()
    raise AssertionError("peers go on for ever")


def _told(name: str, machine: RBM, aside: Tensor, asked: argparse.Namespace, run: Any, **more: Any) -> None:
    bracket = annealed_log_z(machine, run.generator("log_z"), steps=asked.annealing, settle=asked.settle)
    nats = [-mean_energy(machine, aside) - end for end in bracket.bounds[::-1]]
    say(peer=name, seconds=asked.seconds, nats=nats, ess=[bracket.low_ess, bracket.high_ess], **more)


if __name__ == "__main__":
    main()
