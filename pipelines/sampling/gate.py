"""The validation gate of one damaged clip: what is seen of it judges its recovery before the recovery is trusted.

A seen part is held out, and never learned from. It tells how much of what an energy changes in the initial estimate is
kept (shrinkage), and how wide the band must be that holds nine of ten values (calibration).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.nn import functional as F

from data.errors import InputError
from energies import (
    AmortisedPosterior,
    Chain,
    ClipReference,
    ConditionalEnergy,
    Conditioned,
    Context,
    Energy,
    Hidden,
    Schedule,
)
from energies.classical.shrinkage import shrinkage
from energies.diagnostics import Monitor
from energies.samplers import Langevin
from energies.samplers.state import normal
from energies.sampling import anneal, sample
from pipelines.measures import certainty, metrics
from pipelines.sampling.chains import sample_chains
from pipelines.sampling.posterior import Sampling
from pipelines.stage import Run


@dataclass(frozen=True, eq=False)
class Gate:
    """What one damaged clip is recovered from, and what judges the result: a seen part that was held out, and never
    learned from.

    Attributes:
        context: what the energy is told of the clip; its estimate is the initial one, by classical methods alone.
        judged: the same where the held-out part is hidden as well.
        held_out: bool [1, 1, T, H, W], seen pixels that judge.
    """

    context: Context
    judged: Context
    held_out: Tensor

    def judged_parts(self, hidden: Tensor, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of a clip x [1, C, T, H, W] and its mask [1, 1, T, H, W], the parts that judged, and what was held out: here
        one, all of it."""
        return [(hidden, x, self.held_out)]


@dataclass(frozen=True)
class Gated:
    """A recovery that passed the gate.

    Attributes:
        mean: [1, C, T, H, W].
        samples: [chains, C, T, H, W].
        spread: calibrated standard deviation [1, C, T, H, W], 0 where the clip is seen.
        way: "amortised" or "conditioned".
        found: of the way: `mean` of the energy alone [1, C, T, H, W], its `seconds`, `shrinkage` of what it changes,
            `stretch` of its spread, and `held_out` pixels with PSNR there.
    """

    mean: Tensor
    samples: Tensor
    spread: Tensor
    way: str
    found: dict[str, Any]


@dataclass(frozen=True)
class Posterior:
    """What an energy makes of a clip: mean [C, T, H, W], samples [chains, C, T, H, W], and seconds of the mean."""

    mean: Tensor
    samples: Tensor
    way: str
    seconds: float


def of_damaged(energy: Energy) -> TypeGuard[ConditionalEnergy]:
    """Whether an energy was learned to recover one damaged clip, and serves for no other."""
    if not isinstance(energy, ConditionalEnergy) or not isinstance(energy.reference, ClipReference):
        return False
    return not bool(energy.reference.hidden.all())


def gated(
    energy: Energy, gate: Gate, y: Tensor, chains: int, how: Sampling, run: Run, purpose: str, monitor: Monitor
) -> Gated:
    """Recover a clip y [1, C, T, H, W] of which the gate's context tells what is hidden; its samples are moved to the
    mean that the gate lets pass.

    Args:
        energy: on the device of the run.
        gate: of the clip.
        y: what is seen.
        chains: samples, 2 or more: their spread is the uncertainty.
        how: settings.
        run: gives processes and randomness.
        purpose: what the names of the random streams begin with.
        monitor: watches the chains.
    """
    begin = time.monotonic()
    seen, hidden = y[0], gate.context.hidden[0, 0]
    context, judge, held_out = gate.context, gate.judged, gate.held_out[0, 0]
    first, estimate = judge.estimate[0], context.estimate[0]
    judged = sampled(energy, judge, y, chains, how, run, f"{purpose}guard", Monitor())
    whole = sampled(energy, context, y, chains, how, run, f"{purpose}recover", monitor)
    share = shrinkage([seen - first], [judged.mean - first], [held_out])
    passed = first + share * (judged.mean - first)
    mean = estimate + share * (whole.mean - estimate)
    mean = torch.where(hidden, mean.clamp(-1, 1), seen)
    samples = torch.where(hidden, whole.samples + (mean - whole.mean), seen).clamp(-1, 1)

    judged_spread = raw_spread(judged.samples - judged.mean, judge, passed - judged.mean)
    wide = stretch(passed, judged_spread, seen, held_out)
    spread = wide * raw_spread(whole.samples - whole.mean, context, mean - whole.mean) * hidden
    scores = {
        "pixels": int(held_out.sum()),
        "initial_estimate": metrics.score(first, seen, held_out)["psnr"],
        "recovery": metrics.score(passed, seen, held_out)["psnr"],
    }
    run.log(event="gate", way=whole.way, shrinkage=share, **scores)
    found = {
        "mean": torch.where(hidden, whole.mean.clamp(-1, 1), seen)[None],
        "seconds": round(whole.seconds, 3),
        "shrinkage": share,
        "stretch": wide,
        "held_out": scores,
        "seconds_in_all": round(time.monotonic() - begin, 3),
    }
    return Gated(mean[None], samples, spread[None], whole.way, found)


def raw_spread(deviations: Tensor, context: Context, shift: Tensor) -> Tensor:
    """Standard deviation [C, T, H, W] of samples about the mean [N, C, T, H, W], before it is calibrated.

    A few chains tell little of a single value, so their variance is averaged over the colours and the 26 neighbours,
    and joined to what the expected error of the estimate says, and to what the gate took back.
    """
    hidden = context.hidden[0].float()
    variance = deviations.square().mean((0, 1), keepdim=True)[0]
    local = F.avg_pool3d(variance * hidden, 3, 1, 1) / F.avg_pool3d(hidden, 3, 1, 1).clamp(min=1e-6)
    total = local + (0.5 * context.scale[0]).square() + shift.square().mean(0, keepdim=True)
    return (total.sqrt() * hidden).expand(deviations.shape[1:])


def stretch(mean: Tensor, spread: Tensor, truth: Tensor, held_out: Tensor) -> float:
    """Factor of the spread [C, T, H, W] that makes the band hold its share of held-out values, bool [T, H, W]."""
    return certainty.stretch(((truth - mean).abs() / spread.clamp(min=1e-6))[:, held_out])


def sampled(
    energy: Energy, context: Context, y: Tensor, chains: int, how: Sampling, run: Run, purpose: str, monitor: Monitor
) -> Posterior:
    """Mean and samples, on the CPU, the same on every process.

    The energy of this clip is told the context, also one that hides more of it; any other is conditioned on what is
    seen; one of clean clips is sampled from the estimate on.
    """
    device = run.accelerator.device
    context, seen = context.to(device), y.to(device)
    observation = Hidden(context.hidden)
    if of_damaged(energy):
        given: Conditioned = AmortisedPosterior(energy.told(context), observation, seen)
    else:
        given = energy.posterior(observation, seen)
    start, size = context.estimate[0], y[0].numel()

    def chain(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        *_, x = _steps(given, start.expand(len(streams), -1, -1, -1, -1), streams, how, run, monitor)
        return x

    def expected(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        noise = normal(start.expand(len(streams), -1, -1, -1, -1), streams)
        return how.mean.expected(given, noise, streams, compute=run.compute)

    begin = time.monotonic()
    samples = sample_chains(run, chains, size, purpose, monitor, chain)
    if given.noisy:
        begin = time.monotonic()
    if isinstance(given, AmortisedPosterior):
        mean = _amortised(given, run)[0].cpu()
    elif given.noisy:
        mean = sample_chains(run, how.mean.chains, size, f"{purpose} mean", Monitor(), expected).mean(0)
    else:
        mean = samples.mean(0)
    way = "amortised" if isinstance(given, AmortisedPosterior) else "conditioned"
    return Posterior(mean, samples, way, time.monotonic() - begin)


def _amortised(given: AmortisedPosterior, run: Run) -> Tensor:
    with torch.no_grad(), run.accelerator.autocast():
        return given.posterior_mean()


def _steps(
    given: Conditioned, x: Tensor, streams: list[torch.Generator], how: Sampling, run: Run, monitor: Monitor
) -> Iterator[Tensor]:
    """x step by step, from the estimate on where the energy is of clean clips."""
    generator = how.generator
    if isinstance(generator, Schedule) != given.noisy:
        raise InputError("recover.generator does not suit the energy; of many noise levels take schedule, else chain")
    if isinstance(generator, Chain):
        langevin = Langevin(generator.step_size, generator.noise)
        for state, info in sample(langevin, given, x, generator.steps, streams, compute=run.compute):
            monitor.update(state, info)
            yield state.x
        return
    assert isinstance(generator, Schedule)
    settings: Any = {"sampler": how.sampler, "warm_up": how.warm_up, "monitor": monitor, "compute": run.compute}
    noise, high = normal(x, streams), generator.noise_levels()[0]
    x = given.start(noise, high)
    if isinstance(given, AmortisedPosterior):
        # From the mean: closer to the samples than the estimate that the levels are centred at.
        x = _amortised(given, run) + (x - given.start(torch.zeros_like(noise), high))
    chain = anneal(given, generator, x, streams, **settings)
    yield from (x for _, x in run.progress(chain, generator.levels, "noise levels"))
