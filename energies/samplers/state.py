"""What a chain carries from step to step, and the pieces that several samplers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from energies.energy import Energy, gradient


class Rows(NamedTuple):
    """A stream for a batch of `total` samples, of which only those from `first` to before `last` are here: they get the
    same numbers as in the whole batch."""

    stream: torch.Generator
    first: int
    last: int
    total: int


Rng = torch.Generator | list[torch.Generator] | Rows
"""One stream for the whole batch, or one a sample: then sample k does not depend on the batch it is in."""


class State(NamedTuple):
    """Where the chains are: x [B, *event] with its energy [B] and gradient [B, *event], never computed twice.

    The gradient is empty where an algorithm has no use for it; momentum is there where one keeps it between steps. In a
    short number format the energies of samplers that decide by them are exact, those of the others rounded.
    """

    x: Tensor
    energy: Tensor
    grad: Tensor
    momentum: Tensor | None = None


class Info(NamedTuple):
    """How a step went, each [B]; None where an algorithm has no such thing.

    Attributes:
        drift: root mean square of the move that the gradient made, in units of the scale if there is one.
        noise: root mean square of the move that the noise made, in the same units.
        acceptance: probability with which the proposal was accepted.
        accepted: whether it was.
        energy_error: change of the total energy that the proposal made, 0 for an exact flow.
    """

    drift: Tensor | None = None
    noise: Tensor | None = None
    acceptance: Tensor | None = None
    accepted: Tensor | None = None
    energy_error: Tensor | None = None


class Sampler(Protocol):
    """An algorithm with its settings."""

    def init(self, energy: Energy, x: Tensor) -> Any:
        """The `State` of chains that start at x [B, *event], moved onto the energy's constraint."""
        ...

    def step(self, energy: Energy, state: Any, rng: Rng) -> tuple[Any, Info]:
        """One step of every chain."""
        ...


def start(energy: Energy, x: Tensor) -> State:
    """The state at x [B, *event], moved to where the energy allows it to be."""
    x = allowed(energy, x)
    return exactly(energy, State(x, *gradient(energy, x)))


def still(energy: Energy, x: Tensor) -> State:
    """The state at x [B, *event] of an algorithm without gradients."""
    with torch.no_grad():
        return State(x, (energy.exact or energy)(x), x.new_empty(0))


def allowed(energy: Energy, x: Tensor) -> Tensor:
    """x moved to where the energy allows it to be; ValueError: its measurement is for another number of chains."""
    there, _ = energy.reflect(energy.project(x))
    if there.shape != x.shape:
        raise ValueError(f"the measurement is for {len(there)} chains, x has {len(x)}")
    return there


def exactly(energy: Energy, state: State) -> State:
    """The state with the energy that a decision to accept may rest on, where the force comes from a rounded one."""
    if energy.exact is None:
        return state
    with torch.no_grad():
        return state._replace(energy=energy.exact(state.x))


def normal(like: Tensor, rng: Rng) -> Tensor:
    """Standard normal noise of the shape of `like` [B, *event]."""
    return _drawn(torch.randn, like, rng)


def uniform(like: Tensor, rng: Rng) -> Tensor:
    """Uniform numbers in [0, 1) of the shape of `like` [B, *event]."""
    return _drawn(torch.rand, like, rng)


def _drawn(draw: Callable[..., Tensor], like: Tensor, rng: Rng) -> Tensor:
    def numbers(shape: Sequence[int], stream: torch.Generator) -> Tensor:
        return draw(shape, generator=stream, dtype=like.dtype, device=like.device)

    if isinstance(rng, torch.Generator):
        return numbers(like.shape, rng)
    num = rng.last - rng.first if isinstance(rng, Rows) else len(rng)
    if num != len(like):
        raise ValueError(f"{num} random streams for {len(like)} samples")
    if isinstance(rng, Rows):
        return numbers((rng.total, *like.shape[1:]), rng.stream)[rng.first : rng.last]
    return torch.stack([numbers(like.shape[1:], stream) for stream in rng])


def rms(v: Tensor) -> Tensor:
    """Root mean square of each sample of v [B, *event] -> [B]."""
    return v.flatten(1).square().mean(1).sqrt()


def each(flags: Tensor, like: Tensor) -> Tensor:
    """flags [B] in a shape that broadcasts with `like` [B, *event]."""
    return flags.view(-1, *[1] * (like.ndim - 1))


# Samplers work in units of a scale s (a diagonal mass matrix of s^-2): x = s z, so that the force in z is s dE/dx.


def force(energy: Energy, grad: Tensor, scale: Tensor | None) -> Tensor:
    """Gradient of the energy in units of the scale, along the allowed directions."""
    if scale is None:
        return grad
    scale = scale.to(grad)
    return energy.tangent(grad * scale, scale)


def fresh(energy: Energy, like: Tensor, scale: Tensor | None, rng: Rng) -> Tensor:
    """A standard normal momentum, or noise, in units of the scale along the allowed directions."""
    return energy.tangent(normal(like, rng), None if scale is None else scale.to(like))


def move(energy: Energy, x: Tensor, by: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """x moved in units of the scale, kept on the constraint and within the bounds.

    The second is the sign, 1 or -1, by which the reflections turned every element of the velocity; None: no bounds.
    """
    return energy.reflect(energy.project(x + (by if scale is None else by * scale.to(by))))


def leapfrog(
    energy: Energy, state: State, momentum: Tensor, step_size: float, scale: Tensor | None, steps: int
) -> tuple[State, Tensor]:
    """Follow Hamilton's equations: half a kick, a drift, half a kick (Neal 2011, eq. 5.18-5.20).

    Reversible and volume-preserving, also with reflections, which turn the momentum.
    """
    x, energies, grad = state.x, state.energy, state.grad
    for _ in range(steps):
        momentum = momentum - force(energy, grad, scale) * (step_size / 2)
        x, sign = move(energy, x, momentum * step_size, scale)
        if sign is not None:
            momentum = momentum * sign
        energies, grad = gradient(energy, x)
        momentum = momentum - force(energy, grad, scale) * (step_size / 2)
    return exactly(energy, State(x, energies, grad)), momentum


def kinetic_change(before: Tensor, after: Tensor) -> Tensor:
    """Change of |p|^2 / 2, [B]; summed in float64, since it is a small difference of large numbers."""
    return ((after - before) * (after + before)).flatten(1).sum(1, dtype=torch.float64) / 2


def metropolis(state: State, proposal: State, change: Tensor, rng: Rng) -> tuple[State, Info]:
    """Accept each chain's proposal with probability min(1, exp(-change)), change [B] that of the total energy.

    A proposal whose energy is not finite, or whose change is not a number, is refused.
    """
    change = change.to(state.energy.dtype)
    possible = proposal.energy.isfinite() & ~change.isnan()
    probability = torch.where(possible, (-change).clamp(max=0).exp(), 0.0)
    accepted = uniform(probability, rng) < probability

    def choose(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(each(accepted, old), new, old) if old.numel() else old

    chosen = State(
        choose(proposal.x, state.x), choose(proposal.energy, state.energy), choose(proposal.grad, state.grad)
    )
    return chosen, Info(acceptance=probability, accepted=accepted, energy_error=change)


def check_step_size(step_size: float) -> None:
    """ValueError unless it is positive."""
    if not step_size > 0:
        raise ValueError(f"step_size must be positive, got {step_size}")
