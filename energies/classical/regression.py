"""Stacking by regression: the weights of estimates by their errors on held-out pixels, and by what is known of a pixel.

The estimate is m + sum_k w_k (e_k - m) with m a vote of the candidates e_k and w_k linear in the features of the
pixel (feature-weighted linear stacking, Sill et al. 2009). Ridge regression finds it: the errors of the
candidates and the correlations of these errors decide; how strong the ridge, each held-out mask by the others. Then
the constant weights may differ from place to place (`places`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from energies.classical import places
from energies.classical.motion import Candidates
from energies.classical.places import Held, Local

RIDGES = ((0.01, 0.1), (0.03, 0.3), (0.1, 1.0), (0.3, 3.0), (1.0, 10.0), (10.0, 100.0), (1e6, 1e6))
"""Strengths to choose from, on the weights that are the same for all pixels and on their change with the features,
against the mean power of the candidates about m; with the last one m alone is left."""

VOTE = -4
EVEN = 0.25  # power of the candidates' variance by which pixels are weighted down: 0 counts errors, .5 relative ones
FLOOR = 0.1  # share of the median variance below which no pixel gains weight
BOUND = 3.0  # of standardised features
LEVELS = 12  # of expected errors


@dataclass(frozen=True)
class Stack:
    """A regression of estimates.

    Attributes:
        votes: [K], shares of the candidates in m: their mean squared errors to the power of VOTE.
        weights: [1 + J, K], the constant ones first.
        local: differences of the constant ones by the place.
        centre, scale: [J], of the features.
        edges: [LEVELS - 1], quantiles of the spread of the candidates.
        errors: [LEVELS], root mean square error between these.
    """

    votes: Tensor
    weights: Tensor
    local: Local
    centre: Tensor
    scale: Tensor
    edges: Tensor
    errors: Tensor

    def estimate(self, found: Candidates) -> Tensor:
        """Stacked values [N, C] in [-1, 1]."""
        mean, apart = _about_vote(found, self.votes)
        weights = self._known(found) @ self.weights + self.local.at(found.places)  # [N, K]
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
    votes = _votes(trials, truths)
    parts = [_normal(trial, truth, votes, centre, scale) for trial, truth in zip(trials, truths, strict=True)]
    squares, crosses = (torch.stack(part) for part in zip(*parts, strict=True))
    num = len(trials[0].values)
    ridge = RIDGES[1] if len(parts) == 1 else min(RIDGES, key=lambda choice: _left_out(squares, crosses, num, choice))
    weights = _solved(squares.sum(0), crosses.sum(0), num, ridge)
    none = Local(1, torch.zeros(1, 1, num))
    stack = Stack(votes, weights.view(-1, num).float(), none, centre, scale, torch.zeros(0), torch.zeros(1))
    stack = replace(stack, local=places.fit([_held(stack, *pair) for pair in zip(trials, truths, strict=True)]))
    return _with_errors(stack, trials, truths)


def _held(stack: Stack, trial: Candidates, truth: Tensor) -> Held:
    """What the weights of the whole leave of one trial."""
    _, apart = _about_vote(trial, stack.votes)
    return Held(trial.places, apart, truth - stack.estimate(trial), _trust(apart))


def _normal(trial: Candidates, truth: Tensor, votes: Tensor, centre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Normal equations of one trial, [P, P] and [P] with P = (1 + J) K; the power of what is wanted is 1."""
    mean, apart = _about_vote(trial, votes)
    trust = _trust(apart)
    told = _known(trial, centre, scale) * trust[:, None]
    design = torch.einsum("nj,knc->jknc", told, apart).flatten(2).flatten(0, 1)  # [P, N C]
    wanted = ((truth - mean) * trust[:, None]).flatten()
    level = float(wanted.double().square().sum()) + 1e-12
    return (design @ design.T).double() / level, (design @ wanted).double() / level


def _trust(apart: Tensor) -> Tensor:
    """[N], by which a pixel counts, of candidates about their vote [K, N, C]."""
    variance = apart.square().mean((0, 2))
    return (variance + FLOOR * variance.median() + 1e-5) ** (-EVEN / 2)


def _solved(square: Tensor, cross: Tensor, num: int, ridge: tuple[float, float]) -> Tensor:
    strength = torch.full((len(cross),), ridge[1], dtype=torch.double)
    strength[:num] = ridge[0]
    power = square.diagonal()[:num].mean()
    return torch.linalg.solve(square + torch.diag(strength * power + 1e-9), cross)


def _left_out(squares: Tensor, crosses: Tensor, num: int, ridge: tuple[float, float]) -> float:
    """Mean log error of every trial by the weights of all others: a mask is one observation."""
    total = 0.0
    for k in range(len(squares)):
        others = [j for j in range(len(squares)) if j != k]
        weights = _solved(squares[others].sum(0), crosses[others].sum(0), num, ridge)
        error = 1 - 2 * weights @ crosses[k] + weights @ squares[k] @ weights
        total += float(error.clamp(min=1e-6).log()) / len(squares)
    return total


def _with_errors(stack: Stack, trials: Sequence[Candidates], truths: Sequence[Tensor]) -> Stack:
    spread = torch.cat([_spread(trial) for trial in trials])
    wrong = torch.cat(
        [(stack.estimate(trial) - truth).square().mean(1) for trial, truth in zip(trials, truths, strict=True)]
    )
    edges = torch.quantile(spread[:: max(1, len(spread) // 100_000)], torch.linspace(0, 1, LEVELS + 1)[1:-1])
    level = torch.bucketize(spread, edges)
    total = torch.zeros(LEVELS).index_add(0, level, wrong) + wrong.mean()
    count = torch.bincount(level, minlength=LEVELS) + 1
    return replace(stack, edges=edges, errors=(total / count).sqrt())


def _about_vote(found: Candidates, votes: Tensor) -> tuple[Tensor, Tensor]:
    mean = torch.einsum("k,knc->nc", votes, found.values)
    return mean, found.values - mean


def _votes(trials: Sequence[Candidates], truths: Sequence[Tensor]) -> Tensor:
    errors = torch.zeros(len(trials[0].values))
    for trial, truth in zip(trials, truths, strict=True):
        error = (trial.values - truth).square().mean((1, 2)) + 1e-6
        errors += error / error.min()
    votes = errors**VOTE
    return votes / votes.sum()


def _spread(found: Candidates) -> Tensor:
    return found.values.std(0, correction=0).mean(1)


def _known(found: Candidates, centre: Tensor, scale: Tensor) -> Tensor:
    """[N, 1 + J]: 1, and the standardised features."""
    told = ((found.features - centre) / scale).clamp(-BOUND, BOUND)
    return torch.cat([torch.ones(len(told), 1), told], 1)
