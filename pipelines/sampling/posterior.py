"""Recover x of any modality from a measurement, by any energy.

There are two ways to the same posterior. An energy that was learned for recovery is told what is seen: its mean is
*amortised*, one pass of a network. Any other energy is *conditioned*: its mean is found by moment matching down its
noise levels (`energies.matching`), its samples by chains that hold the measurement at every level
(`energies.conditioned`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from data.errors import InputError
from energies import AmortisedPosterior, Average, Conditioned, Energy, Hidden, Noisy, Schedule, Stepwise
from energies.diagnostics import Monitor
from energies.family import is_noisy
from energies.generators import Generator
from energies.matching import MomentMatching
from energies.observation import Measurement, Observation
from energies.samplers.masked import MaskedSampling
from energies.samplers.state import normal
from energies.sampling import LevelSampler, anneal
from pipelines.sampling.chains import sample_chains
from pipelines.sampling.generation import num_steps, share
from pipelines.sampling.masked import masked_samples, of_details, of_two_values
from pipelines.stage import Run

WAYS = {
    "amortised": "the posterior mean by one pass of a network that is told what is seen",
    "conditioned": "the posterior mean of an energy that was not told, matched to what is seen at every noise level",
}
"""The ways to recover, in words."""

STEPS = 8  # of the sampler at each level of a conditioned energy, where its own schedule has none
TOGETHER = 2**19  # numbers of x whose amortised mean is taken at once


@dataclass(frozen=True)
class Seen:
    """What is seen of x.

    Attributes:
        observation: A on x [n, C, *size].
        y: A x (+ noise) of all n.
        num: n.
        shape: of one x, [C, *size].
    """

    observation: Observation
    y: Measurement
    num: int
    shape: tuple[int, ...]

    def rows(self, rows: Sequence[int]) -> Seen:
        """Of these x."""
        observation = self.observation.rows(torch.tensor(rows, dtype=torch.long), 1 + len(self.shape))
        return Seen(observation, _rows(self.y, rows), len(rows), self.shape)


@dataclass(frozen=True)
class Sampling:
    """How an energy is sampled given a measurement.

    Attributes:
        generator: of the samples: a `Schedule`, or a `Chain` for energies of clean x.
        sampler: in place of Langevin steps; None: these.
        warm_up: steps that adapt the sampler.
        mean: how the mean of a conditioned energy over noise levels is found; of an energy of clean x, as many chains
            are averaged.
        masked: how an amortised energy of x of two values is sampled; None: by the generator, as any other.
        remask: how often in the end most of such a sample is forgotten and expected again.
    """

    generator: Generator
    sampler: LevelSampler | None = None
    warm_up: int = 0
    mean: MomentMatching = MomentMatching()
    masked: MaskedSampling | None = None
    remask: int = 0


@dataclass(frozen=True)
class Expected:
    """What an energy expects of x.

    Attributes:
        mean: [n, *shape], where y is seen exactly equal to it.
        way: "amortised" or "conditioned".
        seconds: that it took.
    """

    mean: Tensor
    way: str
    seconds: float


def expected(energy: Energy, seen: Seen, how: Sampling, run: Run, symmetric: Sequence[int] = ()) -> Expected:
    """The mean of every x given y, on the CPU, with what is seen exactly put back.

    Args:
        energy: on the device of the run.
        seen: of all x.
        how: settings.
        run: gives processes and randomness.
        symmetric: axes of x along which an amortised mean is averaged over x and its mirror image.
    """
    begin = time.monotonic()
    if isinstance(posterior(energy, seen.rows([0]), run), AmortisedPosterior):
        mean, way = _amortised(energy, seen, symmetric, run), "amortised"
    else:
        ends = _chains(energy, seen, how.mean.chains, how, run, "mean", Monitor())
        mean = exactly(seen.observation, ends.unflatten(0, (seen.num, how.mean.chains)).mean(1), seen.y)
        way = "conditioned"
    return Expected(mean, way, time.monotonic() - begin)


def drawn(energy: Energy, seen: Seen, each: int, how: Sampling, run: Run, monitor: Monitor) -> Tensor:
    """`each` samples of every x given y, [n each, *shape], on the CPU; row i each + j is sample j of x i.

    InputError: the energy cannot be sampled so.
    """
    if not seen.num:
        return torch.empty(0, *seen.shape)
    if of_two_values(energy) and isinstance(seen.observation, Hidden) and how.masked is not None:
        if how.sampler is not None:
            raise InputError("recover.sampler: this energy is sampled by masks; give recover.generator, too")
        mask = seen.observation.mask.expand(seen.num, 1, *seen.shape[1:])
        return masked_samples(energy, seen.y, mask, each, how.masked, how.remask, run, "recover")
    return _chains(energy, seen, each, how, run, "recover", monitor)


def posterior(energy: Energy, seen: Seen, run: Run) -> Conditioned:
    """p(x | y), on the device of the run. InputError: the energy knows nothing of such a measurement."""
    device = run.accelerator.device
    if of_details(energy) and not isinstance(seen.observation, Hidden | Average):
        raise InputError("recover: an energy of details knows nothing whole, which noise asks for; learn whole x")
    return energy.posterior(seen.observation.to(device), _to(seen.y, device))


def at_size_of(energy: Energy, observation: Observation, y: Tensor, shape: tuple[int, ...]) -> Seen:
    """What is seen of x of a shape [C, *size] or, where the energy is of smaller x, of their block means.

    InputError: the energy is of x that the measurement does not speak of.
    """
    own = shape if energy._event_shape is None else energy.event_shape
    if own == shape:
        return Seen(observation, y, len(y), shape)
    if not isinstance(observation, Average):
        found, wanted = ("x".join(map(str, sides)) for sides in (own, shape))
        raise InputError(
            f"recover: x is {wanted}, the energy of {found}: set load.size or learn.size, or see averages alone"
        )
    return of_means(y, own)


def of_means(y: Tensor, shape: tuple[int, ...]) -> Seen:
    """x of a shape [C, *size] of which block means y [n, C, ...] are seen. InputError: x has no such blocks."""
    sides = list(zip(shape[1:], y.shape[2:], strict=True))
    if any(side % blocks for side, blocks in sides) or all(side == blocks for side, blocks in sides):
        found, wanted = ("x".join(map(str, size)) for size in (y.shape[2:], shape[1:]))
        raise InputError(f"recover: an energy of {wanted} refines no means of {found}; set learn.size or hide.average")
    return Seen(Average(tuple(side // blocks for side, blocks in sides)), y, len(y), shape)


def exactly(observation: Observation, x: Tensor, y: Measurement) -> Tensor:
    """x [n, *event] within -1 and 1, moved to where A x = y as far as y is exact."""
    x = x.clamp(-1, 1)
    return observation.project(x, y) if observation.holds else x


def posterior_schedule(generator: Generator) -> Generator:
    """The generator for a conditioned energy: with steps of a sampler at every level, which make x fit what is seen; a
    stepwise one becomes a schedule of its levels."""
    if isinstance(generator, Stepwise):
        generator = Schedule(18, generator.high, generator.low)
    if isinstance(generator, Schedule):
        return replace(generator, steps=generator.steps or STEPS, down_to=0.0)
    return generator


def _rows(y: Measurement, rows: Sequence[int]) -> Measurement:
    """Measurements of these x."""
    return tuple(_rows(part, rows) for part in y) if isinstance(y, tuple) else y[list(rows)]


def _to(y: Measurement, device: torch.device) -> Measurement:
    return tuple(_to(part, device) for part in y) if isinstance(y, tuple) else y.to(device)


def _amortised(energy: Energy, seen: Seen, symmetric: Sequence[int], run: Run) -> Tensor:
    """Batch by batch, which processes share."""
    index, processes = run.accelerator.process_index, run.accelerator.num_processes
    together = max(1, min(TOGETHER // torch.Size(seen.shape).numel(), -(-seen.num // processes)))
    batches = [range(low, min(low + together, seen.num)) for low in range(0, seen.num, together)]
    own = batches[index::processes]
    found = torch.zeros(seen.num, *seen.shape)
    with torch.no_grad():
        for rows in run.progress(own, len(own), "expecting"):
            part = seen.rows(rows)
            mean = _mean(energy, part, run)
            if symmetric:
                mean = (mean + _mean(energy, _mirrored(part, symmetric), run).flip(list(symmetric))) / 2
            found[rows.start : rows.stop] = _held(energy, part, mean.cpu())
    whole = run.accelerator.reduce(found.to(run.accelerator.device), "sum")
    assert isinstance(whole, Tensor)
    return whole.cpu()


def _held(energy: Energy, seen: Seen, mean: Tensor) -> Tensor:
    """The mean with what is seen exactly put back. Elements of two values are ranked by it within a block: beyond the
    bounds, too."""
    if of_two_values(energy) and isinstance(seen.observation, Average):
        return seen.observation.project(mean, seen.y)
    return exactly(seen.observation, mean, seen.y)


def _mean(energy: Energy, seen: Seen, run: Run) -> Tensor:
    told = posterior(energy, seen, run)
    assert isinstance(told, AmortisedPosterior)
    with run.accelerator.autocast():
        return told.posterior_mean().float()


def _mirrored(seen: Seen, axes: Sequence[int]) -> Seen:
    """What is seen of mirror images."""
    observation = seen.observation
    if isinstance(observation.noiseless, Hidden):
        mask = Hidden(observation.noiseless.mask.flip(list(axes)))
        observation = replace(observation, operator=mask) if isinstance(observation, Noisy) else mask
    return replace(seen, observation=observation, y=seen.y.flip(list(axes)))


def _chains(energy: Energy, seen: Seen, each: int, how: Sampling, run: Run, purpose: str, monitor: Monitor) -> Tensor:
    """Ends of `each` chains of every x, [n each, *shape]; `purpose` mean: that average to it."""
    noisy = is_noisy(energy)
    if noisy != isinstance(how.generator, Schedule):
        kind = "many noise levels; take schedule" if noisy else "clean x; take chain"
        raise InputError(f"the generator does not suit the energy, which is of {kind} ({purpose})")

    def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        given = posterior(energy, seen.rows([chain // each for chain in chains]), run)
        noise = normal(torch.empty(len(chains), *seen.shape, device=run.accelerator.device), streams)
        if purpose == "mean" and noisy:
            x = how.mean.expected(given, noise, streams, compute=run.compute)
        else:
            *_, x = _steps(given, noise, streams, how, run, monitor)
        return exactly(given.observation, x, given.y)

    return sample_chains(run, seen.num * each, share(seen.shape), purpose, monitor, draw)


def _steps(
    given: Conditioned, noise: Tensor, streams: list[torch.Generator], how: Sampling, run: Run, monitor: Monitor
) -> Iterable[Tensor]:
    settings: Any = {"sampler": how.sampler, "warm_up": how.warm_up, "monitor": monitor, "compute": run.compute}
    if not isinstance(how.generator, Schedule):
        steps = how.generator.generate(given, noise, streams, **settings)
        return run.progress(steps, num_steps(how.generator), "steps")
    high = how.generator.noise_levels()[0]
    chain = anneal(given, how.generator, given.start(noise, high), streams, **settings)
    return (x for _, x in run.progress(chain, how.generator.levels, "noise levels"))
