"""Recover x of any modality from a measurement, by any energy: what the stages `recover` have in common.

There are two ways to the same posterior. An energy that was learned for recovery is told what is seen: its mean is
*amortised*, one pass of a network. Any other energy is *conditioned*: its mean is found by moment matching down its
noise levels (`energies.matching`), its samples by chains that hold the measurement at every level
(`energies.conditioned`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from data.errors import InputError
from energies import AmortisedPosterior, Conditioned, Energy, Schedule, Stepwise
from energies.diagnostics import Monitor
from energies.family import is_noisy
from energies.generators import Generator
from energies.matching import MomentMatching
from energies.observation import Measurement, Observation
from energies.samplers.state import normal
from energies.sampling import LevelSampler, anneal
from pipelines.chains import sample_chains
from pipelines.generation import share
from pipelines.pipeline import Run

WAYS = {
    "amortised": "the posterior mean by one pass of a network that is told what is seen",
    "conditioned": "the posterior mean of an energy that was not told, matched to what is seen at every noise level",
}
"""The ways to recover, in words."""

STEPS = 8  # of the sampler at each level of a conditioned energy, where its own schedule has none
TOGETHER = 2**19  # numbers of x whose amortised mean is taken at once


@dataclass(frozen=True)
class Recovered:
    """What an energy makes of measurements.

    Attributes:
        mean: expected x [n, *event], where y is seen exactly equal to it.
        samples: of the first x, [k, *event].
        way: "amortised" or "conditioned".
        seconds: of the mean and of the samples.
    """

    mean: Tensor
    samples: Tensor
    way: str
    seconds: dict[str, float]


@dataclass(frozen=True)
class Sampling:
    """How an energy is sampled given a measurement.

    Attributes:
        generator: of the samples: a `Schedule`, or a `Chain` for energies of clean x.
        sampler: in place of Langevin steps; None: these.
        warm_up: steps that adapt the sampler.
        mean: how the mean of a conditioned energy over noise levels is found; of an energy of clean x, as many chains
            are averaged.
    """

    generator: Generator
    sampler: LevelSampler | None = None
    warm_up: int = 0
    mean: MomentMatching = MomentMatching()


def recover(
    energy: Energy, observation: Observation, y: Measurement, num: int, samples: int, how: Sampling, run: Run,
    monitor: Monitor,
) -> Recovered:  # fmt: skip
    """The mean and samples of `num` x given y, on the CPU, with what is seen exactly put back.

    Args:
        energy: on the device of the run.
        observation: A on x [n, *event].
        y: A x (+ noise) of all n.
        num: n.
        samples: how many x are sampled, from the first; 0: none.
        how: settings.
        monitor: watches the chains of the samples.
    """
    begin = time.monotonic()
    first = _posterior(energy, observation, y, [0], run)
    amortised = isinstance(first, AmortisedPosterior)
    if amortised:
        mean = _amortised(energy, observation, y, num, run)
    else:
        ends = _chains(energy, observation, y, num, how.mean.chains, how, run, "mean", Monitor())
        mean = ends.unflatten(0, (num, how.mean.chains)).mean(1)
        mean = exactly(observation, mean, y)
    middle = time.monotonic()
    drawn = mean[:0]
    if samples:
        drawn = _chains(energy, observation, y, min(samples, num), 1, how, run, "recover", monitor)
    seconds = {"mean": middle - begin, "samples": time.monotonic() - middle}
    return Recovered(mean, drawn, "amortised" if amortised else "conditioned", seconds)


def exactly(observation: Observation, x: Tensor, y: Measurement) -> Tensor:
    """x [n, *event] within -1 and 1, moved to where A x = y as far as y is exact."""
    x = x.clamp(-1, 1)
    return observation.project(x, y) if observation.holds else x


def rows_of(y: Measurement, rows: list[int], device: torch.device) -> Measurement:
    """Measurements of these x."""
    return tuple(rows_of(part, rows, device) for part in y) if isinstance(y, tuple) else y[rows].to(device)


def posterior_schedule(generator: Generator) -> Generator:
    """The generator for a conditioned energy: with steps of a sampler at every level, which make x fit what is seen; a
    stepwise one becomes a schedule of its levels."""
    if isinstance(generator, Stepwise):
        generator = Schedule(18, generator.high, generator.low)
    if isinstance(generator, Schedule):
        return replace(generator, steps=generator.steps or STEPS, down_to=0.0)
    return generator


def _posterior(energy: Energy, observation: Observation, y: Measurement, rows: list[int], run: Run) -> Conditioned:
    device = run.accelerator.device
    axes = 1 + len(energy.event_shape)
    return energy.posterior(observation.rows(torch.tensor(rows), axes).to(device), rows_of(y, rows, device))


def _amortised(energy: Energy, observation: Observation, y: Measurement, num: int, run: Run) -> Tensor:
    together = max(1, TOGETHER // (8 * torch.Size(energy.event_shape).numel()))
    starts = range(0, num, together)
    parts: list[Tensor] = []
    with torch.no_grad():
        for low in run.progress(starts, len(starts), "expecting"):
            posterior = _posterior(energy, observation, y, list(range(low, min(low + together, num))), run)
            assert isinstance(posterior, AmortisedPosterior)
            with run.accelerator.autocast():
                mean = posterior.posterior_mean().float()
            parts.append(exactly(posterior.observation, mean, posterior.y).cpu())
    return torch.cat(parts)


def _chains(
    energy: Energy, observation: Observation, y: Measurement, num: int, each: int, how: Sampling, run: Run,
    purpose: str, monitor: Monitor,
) -> Tensor:  # fmt: skip
    """Ends of `each` chains of every one of the first num x, [num each, *event]; `purpose` mean: that average to it."""
    noisy = is_noisy(energy)
    if noisy != isinstance(how.generator, Schedule):
        kind = "many noise levels; take schedule" if noisy else "clean x; take chain"
        raise InputError(f"the generator does not suit the energy, which is of {kind} ({purpose})")

    def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        posterior = _posterior(energy, observation, y, [chain // each for chain in chains], run)
        noise = normal(torch.empty(len(chains), *energy.event_shape, device=run.accelerator.device), streams)
        if purpose == "mean" and noisy:
            x = how.mean.expected(posterior, noise, streams, compute=run.compute)
        else:
            *_, x = _steps(posterior, noise, streams, how, run, monitor)
        return exactly(posterior.observation, x, posterior.y)

    return sample_chains(run, num * each, share(energy.event_shape), purpose, monitor, draw)


def _steps(
    posterior: Conditioned, noise: Tensor, streams: list[torch.Generator], how: Sampling, run: Run, monitor: Monitor
) -> Iterable[Tensor]:
    settings: Any = {"sampler": how.sampler, "warm_up": how.warm_up, "monitor": monitor, "compute": run.compute}
    if not isinstance(how.generator, Schedule):
        return how.generator.generate(posterior, noise, streams, **settings)
    high = how.generator.noise_levels()[0]
    chain = anneal(posterior, how.generator, posterior.start(noise, high), streams, **settings)
    return (x for _, x in run.progress(chain, how.generator.levels, "noise levels"))
