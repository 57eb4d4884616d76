"""Parallel tempering (replica exchange) around any sampler."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor

from energies.energy import Energy
from energies.samplers.gibbs import Gibbs
from energies.samplers.gradient_gibbs import GibbsWithGradients
from energies.samplers.hmc import HMC
from energies.samplers.langevin import Langevin
from energies.samplers.mala import MALA
from energies.samplers.random_walk import RandomWalk
from energies.samplers.state import Info, Rng, Rows, Sampler, State, each, uniform


class TemperedState(NamedTuple):
    """A `State` of the coldest replicas, with all of them beside it.

    Attributes:
        replicas: state of R replicas a chain, [B R, *event], chain by chain, their energies times their betas.
        round: number of steps made.
    """

    x: Tensor
    energy: Tensor
    grad: Tensor
    replicas: State
    round: int = 0
    momentum: None = None


class Tempered(Energy):
    """beta_r E(x) over replicas [B R, *event], chain by chain; what is bound for each chain holds for its replicas.

    Args:
        energy: E, of the B chains.
        betas: inverse temperatures of the R replicas.
    """

    def __init__(self, energy: Energy, betas: Sequence[float]) -> None:
        super().__init__()
        self.energy, self.betas = energy, tuple(betas)

    def forward(self, x: Tensor) -> Tensor:
        energies = self._each(self.energy, x)
        return self.rows(energies) * energies

    def rows(self, like: Tensor) -> Tensor:
        """The betas of replicas [B R, ...]: [B R]."""
        dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
        return torch.tensor(self.betas, dtype=dtype, device=like.device).repeat(len(like) // len(self.betas))

    @property
    def constrained(self) -> bool:
        return self.energy.constrained

    @property
    def bounded(self) -> bool:
        return self.energy.bounded

    @property
    def exact(self) -> Energy | None:  # type: ignore[override]
        return None if self.energy.exact is None else Tempered(self.energy.exact, self.betas)

    def tangent(self, v: Tensor, scale: Tensor | None = None) -> Tensor:
        if not self.energy.per_sample:
            return self.energy.tangent(v, scale)
        if scale is None or scale.ndim < v.ndim or len(scale) != len(v):
            return self._each(lambda part: self.energy.tangent(part, scale), v)
        parts = zip(self._split(v), self._split(scale), strict=True)
        return self._join([self.energy.tangent(part, own) for part, own in parts])

    def project(self, x: Tensor) -> Tensor:
        return self._each(self.energy.project, x)

    def reflect(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self.energy.per_sample:
            return self.energy.reflect(x)
        parts = [self.energy.reflect(part) for part in self._split(x)]
        signs = [sign for _, sign in parts if sign is not None]
        return self._join([part for part, _ in parts]), self._join(signs) if signs else None

    @property
    def binary_values(self) -> tuple[float, float]:
        return self.energy.binary_values

    @property
    def gibbs_blocks(self) -> list[Tensor]:
        return self.energy.gibbs_blocks

    def log_odds(self, x: Tensor, block: Tensor) -> Tensor:
        odds = self._each(lambda part: self.energy.log_odds(part, block), x)
        return each(self.rows(odds), odds) * odds

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """The replicas of each temperature, [B, *event] each."""
        return x.unflatten(0, (-1, len(self.betas))).unbind(1)

    def _join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(parts), 1).flatten(0, 1)

    def _each(self, work: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Of all replicas at once, unless something is bound for each chain."""
        if not self.energy.per_sample:
            return work(x)
        return self._join([work(part) for part in self._split(x)])


@dataclass(frozen=True)
class ParallelTempering:
    """Replicas at rising temperatures, each moved by a sampler, whose neighbours exchange places (Geyer 1991).

    Even and odd pairs take turns. Every chain has replicas of its own, so that chains stay independent. Hotter replicas
    make steps larger by beta^-1/2, where the sampler has a scale.
    """

    sampler: Langevin | MALA | HMC | RandomWalk = Langevin()
    """What moves the replicas: any sampler that keeps no momentum between steps; from Python, of elements with two
    values, also Gibbs and GibbsWithGradients."""

    betas: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1)
    """Inverse temperatures, falling from 1."""

    def __post_init__(self) -> None:
        falling = all(a > b > 0 for a, b in pairwise(self.betas))
        if len(self.betas) < 2 or self.betas[0] != 1.0 or not falling:
            raise ValueError(f"betas must fall from 1 and stay above 0, two or more of them; got {self.betas}")

    def init(self, energy: Energy, x: Tensor) -> TemperedState:
        replicas = repeat(x, "b ... -> (b r) ...", r=len(self.betas))
        return self._cold(self.sampler.init(Tempered(energy, self.betas), replicas), 0)

    def step(self, energy: Energy, state: TemperedState, rng: Rng) -> tuple[TemperedState, Info]:
        streams = _of_replicas(rng, len(self.betas))
        replicas, info = self._moving(state.x).step(Tempered(energy, self.betas), state.replicas, streams)
        if replicas.momentum is not None:
            raise TypeError(f"{type(self.sampler).__name__} keeps a momentum; replicas cannot exchange it")
        replicas = self._exchange(replicas, state.round % 2, rng)
        cold = Info(*(None if v is None else v[:: len(self.betas)] for v in info))
        return self._cold(replicas, state.round + 1), cold

    def _exchange(self, replicas: State, first: int, rng: Rng) -> State:
        """Swap the places of neighbouring temperatures (i, i + 1), i = first, first + 2, ..., where accepted."""
        num = len(self.betas)
        betas = torch.tensor(self.betas, dtype=replicas.energy.dtype, device=replicas.x.device)
        raw = rearrange(replicas.energy, "(b r) -> b r", r=num) / betas  # [B, R]
        order = torch.arange(num, device=raw.device).expand(len(raw), num).clone()
        low = torch.arange(first, num - 1, 2, device=raw.device)
        log_ratio = (betas[low] - betas[low + 1]) * (raw[:, low] - raw[:, low + 1])
        accepted = uniform(log_ratio, rng) < log_ratio.exp()
        order[:, low] += accepted.long()
        order[:, low + 1] -= accepted.long()
        rows = (order + num * torch.arange(len(raw), device=raw.device)[:, None]).flatten()
        factor = (betas / betas[order]).flatten()
        grad = replicas.grad
        if grad.numel():
            grad = grad[rows] * each(factor, grad).to(grad.dtype)
        return State(replicas.x[rows], replicas.energy[rows] * factor, grad)

    def _cold(self, replicas: State, rounds: int) -> TemperedState:
        num = len(self.betas)
        grad = replicas.grad[::num] if replicas.grad.numel() else replicas.grad
        return TemperedState(replicas.x[::num], replicas.energy[::num], grad, replicas, rounds)

    def _moving(self, x: Tensor) -> Sampler:
        if isinstance(self.sampler, Gibbs | GibbsWithGradients):
            return self.sampler
        betas = torch.tensor(self.betas, dtype=x.dtype if x.is_floating_point() else None, device=x.device)
        hotter = each(betas.repeat(len(x)), x) ** -0.5
        own = self.sampler.scale
        if own is not None and own.ndim == x.ndim and len(own) == len(x):  # of each chain
            own = own.repeat_interleave(len(self.betas), 0)
        scale = hotter if own is None else own * hotter
        return dataclasses.replace(self.sampler, scale=scale)


def _of_replicas(rng: Rng, num: int) -> Rng:
    """Randomness for `num` replicas of each sample, side by side."""
    if isinstance(rng, Rows):
        return Rows(rng.stream, rng.first * num, rng.last * num, rng.total * num)
    return rng if isinstance(rng, torch.Generator) else [stream for stream in rng for _ in range(num)]
