"""Sampling in any order, against laws that are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from energies.samplers.masked import MaskedSampling

EXACT = MaskedSampling(first=1, growth=1.01, known=0.99, sweeps=0, cut=0.0)  # one at a time, all of them


def streams(num: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + k) for k in range(num)]


def last(sampling: MaskedSampling, expect, x: Tensor, hidden: Tensor, first: int = 0) -> Tensor:
    *_, x = sampling.run(expect, x, hidden, streams(len(x), first))
    return x


def ising(strength: float):
    """Expected spins of a ring of four, given those that are known, by enumeration."""
    states = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)
    weights = (strength * (states * states.roll(1, 1)).sum(1) + 0.3 * states.sum(1)).exp()

    def expect(x: Tensor, hidden: Tensor) -> Tensor:
        agree = ((states == x[:, None]) | hidden[:, None]).all(2) * weights
        return (agree @ states) / agree.sum(1, keepdim=True)

    return expect, states, weights / weights.sum()


@pytest.mark.slow
@pytest.mark.parametrize("sweeps", [0, 3])
def test_one_at_a_time_the_law_is_exact(sweeps):
    expect, states, law = ising(0.6)
    num = 4000
    hidden = torch.ones(num, 4, dtype=torch.bool)
    sampling = MaskedSampling(1, 1.01, 0.99, sweeps, 0.0)
    found = last(sampling, expect, torch.zeros(num, 4), hidden)
    assert (found.abs() == 1).all()
    share = (found[:, None] == states).all(2).float().mean(0)
    assert ((share - law).abs() < 5 * (law * (1 - law) / num).sqrt()).all()


def test_what_is_seen_stays_and_conditions():
    expect, states, law = ising(0.6)
    num = 4000
    x = torch.tensor([1.0, 0.0, -1.0, 0.0]).expand(num, 4)
    hidden = torch.tensor([False, True, False, True]).expand(num, 4)
    found = last(EXACT, expect, x, hidden)
    assert (found[:, 0] == 1).all() and (found[:, 2] == -1).all()
    given = law * (states[:, 0] == 1) * (states[:, 2] == -1)
    mean = (given @ states)[1] / given.sum()
    assert abs(float(found[:, 1].mean() - mean)) < 5 / num**0.5


def test_a_chain_does_not_depend_on_its_company():
    expect, *_ = ising(0.6)
    hidden = torch.ones(8, 4, dtype=torch.bool)
    hidden[0, 1:] = False
    hidden[5, 0] = False
    sampling = MaskedSampling(1, 1.01, 0.99, 2, 0.0)
    both = last(sampling, expect, torch.ones(8, 4), hidden)
    for k in (0, 5, 7):
        assert torch.equal(both[k : k + 1], last(sampling, expect, torch.ones(1, 4), hidden[k : k + 1], first=k))


def test_a_sweep_remasks_all_but_as_many_as_were_known():
    asked: list[Tensor] = []

    def expect(x: Tensor, hidden: Tensor) -> Tensor:
        asked.append(hidden.clone())
        return torch.zeros_like(x)

    sampling = MaskedSampling(first=5, growth=2.0, known=0.1, sweeps=2, cut=0.0)
    *means, _ = sampling.run(expect, torch.zeros(2, 100), torch.ones(2, 100, dtype=torch.bool), streams(2))
    known = [(~hidden).sum(1).tolist() for hidden in asked]
    assert known == [[0, 0], [5, 5], [10, 10], [10, 10], [10, 10]] and len(means) == 4
    assert not torch.equal(asked[-1], asked[-2])


def test_the_cut_rules_out_the_unlikely():
    def expect(x: Tensor, hidden: Tensor) -> Tensor:
        return torch.full_like(x, -0.9)  # probability 0.05

    hidden = torch.ones(50, 40, dtype=torch.bool)
    assert (last(MaskedSampling(1, 1.5, 0.9, 0, 0.1), expect, torch.zeros(50, 40), hidden) < 0).all()
    assert (last(MaskedSampling(1, 1.5, 0.9, 0, 0.0), expect, torch.zeros(50, 40), hidden) > 0).any()


@pytest.mark.parametrize("wrong", [{"first": 0}, {"growth": 1.0}, {"known": 1.0}, {"sweeps": -1}, {"cut": 0.5}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MaskedSampling(**wrong)
