"""Stacking by regression: the weights of estimates by their errors on held-out pixels, and by what is known of a pixel.

The estimate is m + sum_k w_k (e_k - m) with m the mean of the candidates e_k and w_k linear in the features of the
pixel (feature-weighted linear stacking, Sill et al. 2009). Ridge regression finds it: the errors of the
candidates and the correlations of these errors decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from energies.classical.motion import Candidates

RIDGE = 0.01  # on the weights that are the same for all pixels, against the mean power of the candidates about m
FEATURES_RIDGE = 0.1  # on the change of the weights with the features
EVEN = 0.25  # power of the candidates' variance by which pixels are weighted down: 0 counts errors, .5 relative ones
FLOOR = 0.1  # share of the median variance below which no pixel gains weight
BOUND = 3.0  # of standardised features
LEVELS = 12  # of expected errors


@dataclass(frozen=True)
class Stack:
    """A regression of estimates.

    Attributes:
        weights: [1 + J, K], the constant ones first.
        centre, scale: [J], of the features.
        edges: [LEVELS - 1], quantiles of the spread of the candidates.
        errors: [LEVELS], root mean square error between these.
    """

    weights: Tensor
    centre: Tensor
    scale: Tensor
    edges: Tensor
    errors: Tensor

    def estimate(self, found: Candidates) -> Tensor:
        """Stacked values [N, C] in [-1, 1]."""
        mean, apart = _about_mean(found)
        weights = self._known(found) @ self.weights  # [N, K]
        return (mean + torch.einsum("knc,nk->nc", apart, weights)).clamp(-1, 1)

    def expected_error(self, found: Candidates) -> Tensor:
        """Expected root mean square error [N], by how much the candidates differ."""
        return self.errors[torch.bucketize(_spread(found), self.edges)]

    def _known(self, found: Candidates) -> Tensor:
        return _known(found, self.centre, self.scale)


def fit(trials: Sequence[Candidates], truths: Sequence[Tensor]) -> Stack:
    """Regress truths [N, C] on the estimates of held-out pixels. Every trial weighs the same."""
    features = torch.cat([trial.features for trial in trials])
    centre, scale = features.mean(0), features.std(0, correction=0) + 1e-3
    num, known = len(trials[0].values), 1 + features.shape[1]
    square, cross = torch.zeros(2, num * known, num * known, dtype=torch.double).unbind()
    cross = cross[0].clone()
    for trial, truth in zip(trials, truths, strict=True):
        mean, apart = _about_mean(trial)
        variance = apart.square().mean((0, 2))
        trust = (variance + FLOOR * variance.median() + 1e-5) ** -EVEN  # [N]
        told = _known(trial, centre, scale)
        design = torch.einsum("nj,knc->jknc", told * trust.sqrt()[:, None], apart).flatten(0, 1).flatten(1)
        wanted = ((truth - mean) * trust.sqrt()[:, None]).flatten()
        level = float(wanted.double().square().sum()) + 1e-12
        square += (design @ design.T).double() / level
        cross += (design @ wanted).double() / level
    power = square.diagonal()[:num].mean()
    ridge = torch.full((known, num), FEATURES_RIDGE, dtype=torch.double)
    ridge[0] = RIDGE
    weights = torch.linalg.solve(square + torch.diag(ridge.flatten() * power + 1e-9), cross)
    stack = Stack(weights.view(known, num).float(), centre, scale, torch.zeros(0), torch.zeros(1))
    return _with_errors(stack, trials, truths)


def _with_errors(stack: Stack, trials: Sequence[Candidates], truths: Sequence[Tensor]) -> Stack:
    spread = torch.cat([_spread(trial) for trial in trials])
    wrong = torch.cat(
        [(stack.estimate(trial) - truth).square().mean(1) for trial, truth in zip(trials, truths, strict=True)]
    )
    edges = torch.quantile(spread[:: max(1, len(spread) // 100_000)], torch.linspace(0, 1, LEVELS + 1)[1:-1])
    level = torch.bucketize(spread, edges)
    total = torch.zeros(LEVELS).index_add(0, level, wrong) + wrong.mean()
    count = torch.bincount(level, minlength=LEVELS) + 1
    return Stack(stack.weights, stack.centre, stack.scale, edges, (total / count).sqrt())


def _about_mean(found: Candidates) -> tuple[Tensor, Tensor]:
    mean = found.values.mean(0)
    return mean, found.values - mean


def _spread(found: Candidates) -> Tensor:
    return found.values.std(0, correction=0).mean(1)


def _known(found: Candidates, centre: Tensor, scale: Tensor) -> Tensor:
    """[N, 1 + J]: 1, and the standardised features."""
    told = ((found.features - centre) / scale).clamp(-BOUND, BOUND)
    return torch.cat([torch.ones(len(told), 1), told], 1)
