"""Annealed importance sampling: estimates of log Z that bracket the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from energies.compute import Compute, prepared
from energies.energy import Energy
from energies.samplers.state import Rng, Sampler


@dataclass(frozen=True)
class LogRatio:
    """An estimate of log Z(target) - log Z(base).

    Attributes:
        log_weights: [B], float64; the mean of exp(log_weights) estimates the ratio without bias (forward), or its
            inverse (reverse).
        value: the estimate. Forward ones are too low on average, reverse ones too high (Grosse et al. 2015).
        error: its standard error by the delta method; it trusts the weights that were drawn, so it is too small where
            the ess is.
        ess: effective number of samples, (sum w)^2 / sum w^2.
    """

    log_weights: Tensor
    value: float
    error: float
    ess: float


def annealed_importance(
    base: Energy,
    target: Energy,
    sampler: Sampler,
    x: Tensor,
    rng: Rng,
    *,
    betas: Sequence[float],
    steps: int = 1,
    compute: Compute = "float32",
) -> LogRatio:
    """Go from exact samples of `base` to `target` over (1 - b) base + b target (Neal 2001).

    Args:
        base: where it starts, with a known log Z; like the target neither bounded nor conditioned.
        target: where it ends.
        sampler: moves x at every b, and should leave its law invariant: MALA, HMC, Gibbs ... .
        x: exact, independent samples of `base` [B, *event].
        rng: one stream, or one a chain.
        betas: rising b, from 0 to 1.
        steps: of the sampler at every b between.
        compute: number format, as for `sample`; the weights are always exact.
    """
    log_weights = _anneal(base, target, sampler, x, rng, _check(betas), steps, compute)
    return log_ratio(log_weights, 1)


def reverse_importance(
    base: Energy,
    target: Energy,
    sampler: Sampler,
    x: Tensor,
    rng: Rng,
    *,
    betas: Sequence[float],
    steps: int = 1,
    compute: Compute = "float32",
) -> LogRatio:
    """Go from exact samples x of `target` back to `base` (RAISE, Burda et al. 2015); else as `annealed_importance`."""
    backwards = [1 - b for b in reversed(_check(betas))]
    log_weights = _anneal(target, base, sampler, x, rng, backwards, steps, compute)
    return log_ratio(log_weights, -1)


def _check(betas: Sequence[float]) -> list[float]:
    betas = list(betas)
    if len(betas) < 2 or betas[0] != 0 or betas[-1] != 1 or sorted(betas) != betas:
        raise ValueError("betas must rise from 0 to 1")
    return betas


def _anneal(
    base: Energy,
    target: Energy,
    sampler: Sampler,
    x: Tensor,
    rng: Rng,
    betas: list[float],
    steps: int,
    compute: Compute,
) -> Tensor:
    log_weights = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for before, after in pairwise(betas):
        with torch.no_grad():
            log_weights += (after - before) * (base(x) - target(x)).double()
        if after < 1:
            between = prepared((1 - after) * base + after * target, compute)
            state = sampler.init(between, x)
            for _ in range(steps):
                state, _ = sampler.step(between, state, rng)
            x = state.x
    return log_weights


def log_ratio(log_weights: Tensor, sign: int) -> LogRatio:
    """The estimate of log weights [B] of forward runs, sign 1, or of reverse ones, sign -1."""
    num = len(log_weights)
    value = float(log_weights.logsumexp(0)) - math.log(num)
    weights = (log_weights - log_weights.max()).exp()
    error = float(weights.std() / weights.mean()) / math.sqrt(num)
    ess = float(weights.sum() ** 2 / weights.square().sum())
    return LogRatio(log_weights, sign * value, error, ess)
