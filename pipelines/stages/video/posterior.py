"""The posterior of a clip of which some is seen, by any energy: its mean, and samples.

An energy that was learned for this clip is told what is seen: its mean is *amortised*, one pass of a network, and its
levels are a conditional energy for samples. Any other one is *conditioned*: its mean is found by moment matching, its
samples by chains that hold what is seen while they go down its noise levels. An energy of clean clips, as the published
ones, is sampled at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from energies import AmortisedPosterior, ConditionalEnergy, Conditioned, Context, Energy, Hidden, Schedule
from energies.diagnostics import Monitor
from energies.matching import MomentMatching
from energies.samplers import Langevin
from energies.samplers.state import normal
from energies.sampling import LevelSampler, anneal, sample
from pipelines.chains import sample_chains
from pipelines.pipeline import Run


@dataclass(frozen=True)
class Sampling:
    """How the posterior is sampled.

    Attributes:
        chains: number of samples.
        mean: how the mean of a conditioned energy is found.
        amortised: schedule of an energy that is told what is seen.
        conditioned: of one that is not.
        langevin: of an energy of clean clips.
        steps: of that.
        sampler: of the steps at noise levels; None: Langevin.
        warm_up: steps that adapt it.
    """

    chains: int
    mean: MomentMatching
    amortised: Schedule
    conditioned: Schedule
    langevin: Langevin
    steps: int
    sampler: LevelSampler | None
    warm_up: int


@dataclass(frozen=True)
class Posterior:
    """What an energy makes of a clip.

    Attributes:
        mean: [C, T, H, W].
        samples: [chains, C, T, H, W].
        way: "amortised" or "conditioned".
        seconds: that the mean took.
    """

    mean: Tensor
    samples: Tensor
    way: str
    seconds: float


def told(energy: Energy, context: Context, seen: Tensor, run: Run) -> Conditioned:
    """The posterior of an energy given a clip [C, T, H, W] that is seen where the context does not hide it.

    The energy of this clip takes the context, also one that hides more of it; any other needs none.
    """
    device = run.accelerator.device
    context, y = context.to(device), seen[None].to(device)
    observation = Hidden(context.hidden)
    if isinstance(energy, ConditionalEnergy) and not bool(energy.reference.free(1).hidden.all()):
        return AmortisedPosterior(energy.told(context), observation, y)
    return energy.posterior(observation, y)


def recovered(
    posterior: Conditioned, start: Tensor, how: Sampling, run: Run, purpose: str, monitor: Monitor
) -> Posterior:
    """Mean and samples, on the CPU, the same on every process.

    Args:
        posterior: on the device of the run.
        start: [C, T, H, W], where chains of an energy of clean clips begin.
        how: settings.
        run: gives processes and randomness.
        purpose: of the random streams.
        monitor: watches the chains of the samples.
    """
    amortised = isinstance(posterior, AmortisedPosterior)

    def chain(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        x = start.to(run.accelerator.device).expand(len(streams), -1, -1, -1, -1)
        *_, x = _steps(posterior, x, streams, how, run, monitor)
        return x

    def expected(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        noise = normal(start.to(run.accelerator.device).expand(len(streams), -1, -1, -1, -1), streams)
        return how.mean.expected(posterior, noise, streams, compute=run.compute)

    begin = time.monotonic()
    samples = sample_chains(run, how.chains, start.numel(), purpose, monitor, chain)
    if posterior.noisy:
        begin = time.monotonic()
    if amortised:
        mean = _amortised(posterior, run)[0].cpu()
    elif posterior.noisy:
        mean = sample_chains(run, how.mean.chains, start.numel(), f"{purpose} mean", Monitor(), expected).mean(0)
    else:
        mean = samples.mean(0)
    return Posterior(mean, samples, "amortised" if amortised else "conditioned", time.monotonic() - begin)


def _amortised(posterior: Conditioned, run: Run) -> Tensor:
    assert isinstance(posterior, AmortisedPosterior)
    with torch.no_grad(), run.accelerator.autocast():
        return posterior.posterior_mean()


def _steps(
    posterior: Conditioned, x: Tensor, streams: list[torch.Generator], how: Sampling, run: Run, monitor: Monitor
) -> Iterator[Tensor]:
    """x step by step."""
    if not posterior.noisy:
        for state, info in sample(how.langevin, posterior, x, how.steps, streams, compute=run.compute):
            monitor.update(state, info)
            yield state.x
        return
    settings: Any = {"sampler": how.sampler, "warm_up": how.warm_up, "monitor": monitor, "compute": run.compute}
    noise = normal(x, streams)
    if isinstance(posterior, AmortisedPosterior):
        schedule, centre = how.amortised, _amortised(posterior, run)
        high = schedule.noise_levels()[0]
        # From the mean: closer to the samples than the estimate that the levels are centred at.
        x = centre + (posterior.start(noise, high) - posterior.start(torch.zeros_like(noise), high))
    else:
        schedule = how.conditioned
        x = posterior.start(noise, schedule.noise_levels()[0])
    chain = anneal(posterior, schedule, x, streams, **settings)
    yield from (x for _, x in run.progress(chain, schedule.levels, "noise levels"))
