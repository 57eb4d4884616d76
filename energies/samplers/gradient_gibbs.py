"""Gibbs-with-gradients for energies of elements with two values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from energies.energy import Energy, gradient
from energies.samplers.state import Info, Rng, State, allowed, exactly, metropolis, uniform


@dataclass(frozen=True)
class GibbsWithGradients:
    """Flip the element that the gradient says matters, and keep exp(-E) exactly (Grathwohl et al. 2021, algorithm 1).

    For any differentiable energy over elements with two `binary_values`; a Taylor estimate of what each flip would
    change makes the proposal, so that a step needs one gradient whatever the number of elements.
    """

    def init(self, energy: Energy, x: Tensor) -> State:
        _ = energy.binary_values  # TypeError: it has none
        x = allowed(energy, x)
        return exactly(energy, State(x, *gradient(energy, x)))

    def step(self, energy: Energy, state: State, rng: Rng) -> tuple[State, Info]:
        odds = _log_proposal(energy, state)
        # The largest of log-probabilities with Gumbel noise is a draw from them.
        gumbel = -(-uniform(odds, rng).clamp(min=torch.finfo(odds.dtype).tiny).log()).log()
        chosen = (odds + gumbel).argmax(1, keepdim=True)
        flat = state.x.flatten(1)
        flipped = sum(energy.binary_values) - flat.gather(1, chosen)
        x = flat.scatter(1, chosen, flipped).view_as(state.x)
        proposal = exactly(energy, State(x, *gradient(energy, x)))
        back = _log_proposal(energy, proposal)
        ratio = (odds.gather(1, chosen) - back.gather(1, chosen))[:, 0]
        return metropolis(state, proposal, proposal.energy - state.energy + ratio, rng)


def _log_proposal(energy: Energy, state: State) -> Tensor:
    """Log-probability [B, elements] of choosing each element to flip."""
    change = (sum(energy.binary_values) - 2 * state.x) * state.grad  # of the energy by a flip, to first order
    free = energy.tangent(torch.ones_like(state.x)) != 0
    return torch.where(free, -change / 2, -torch.inf).flatten(1).log_softmax(1)
