"""Energies made of energies over the same x: sums (AND, NOT), mixtures (OR), and what they are at a noise level.

`a + b` is the product of experts (Hinton 2002), `a - w * b` pushes away from b, `any_of(a, b)` is their mixture.
Families over noise levels compose level by level. At every level but the lowest that is not the energy of the noised
product (Du et al. 2023): sample it by MCMC steps at each level (`energies.sampling.anneal`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from energies.energy import Energy, check_part
from energies.family import Family, is_noisy

C = TypeVar("C", bound="Composite")


class Composite(Family):
    """Base of energies made of parts. It is a family over noise levels if a part is one.

    Args:
        parts: energies, none of them constrained or bounded: condition the whole instead.
    """

    def __init__(self, parts: Sequence[Energy]) -> None:
        super().__init__()
        for part in parts:
            check_part(part)
            if part.constrained or part.bounded:
                raise TypeError("add energies first and bound or condition their sum: it cannot be a term")
        self.energies = nn.ModuleList(parts)
        self._event_shape = next((part._event_shape for part in self._leading() if part._event_shape is not None), None)

    @property
    def parts(self) -> list[Energy]:
        """What it is made of."""
        return list(self.energies)  # type: ignore[arg-type]

    @property
    def arguments(self) -> dict[str, Any]:
        return {"parts": self.parts, **self._settings()}

    @property
    def noisy(self) -> bool:
        """Whether a part is a family over noise levels; parts of clean x then see what is expected of it."""
        return any(is_noisy(part) for part in self.parts)

    @property
    def per_sample(self) -> bool:
        return super().per_sample or any(part.per_sample for part in self.parts)

    @property
    def scale(self) -> Tensor | None:
        return self._family().scale

    @property
    def mean(self) -> Tensor:
        return self._family().mean

    @property
    def spread(self) -> float:
        return self._family().spread

    @property
    def origin(self) -> Tensor | float:
        return self.mean if self.noisy else next((part.origin for part in self.parts), 0.0)

    def at(self: C, level: float | Tensor) -> C:
        """The same of the parts at a noise level; those of clean x see what is expected of it (`Expected`)."""
        return self._at(level, {})

    def _at(self: C, level: float | Tensor, bound: dict[Energy, Energy]) -> C:
        """`bound`: families that are at this level already, so that what is shared stays one."""
        if not self.noisy or any(isinstance(part, Expected) for part in self.parts):
            raise RuntimeError("no part of this energy knows noise levels, or it is at one already")
        self._check_units()
        return self._with(nn.ModuleList(self._part_at(part, level, bound) for part in self.parts), level=level)

    def _part_at(self, part: Energy, level: float | Tensor, bound: dict[Energy, Energy]) -> Energy:
        if not is_noisy(part):
            return at_level(part, level, self)
        if part not in bound:
            bound[part] = part._at(level, bound) if isinstance(part, Composite) else at_level(part, level, self)
        return bound[part]

    def _check_units(self) -> None:
        """TypeError: a level would be another amount of noise for one part than for another."""
        scales = [part.scale if isinstance(part, Family) and part.noisy else None for part in self.parts]
        first = scales[0]
        if any((one is None) != (first is None) for one in scales) or (
            first is not None and any(one is not None and not torch.equal(one, first) for one in scales)
        ):
            raise TypeError("the parts' noise levels are in different units; add energies that learned to synthesise")

    def _with(self: C, energies: nn.ModuleList, **changes: Any) -> C:
        """A copy of other parts."""
        return self.bind(_modules={**self._modules, "energies": energies}, **changes)

    def _leading(self) -> list[Energy]:
        """The parts, families over noise levels first."""
        return sorted(self.parts, key=lambda part: not is_noisy(part))

    def _family(self) -> Family:
        """The part that knows noise levels best. RuntimeError: none does."""
        part = next(iter(self._leading()), None)
        if not isinstance(part, Family) or not part.noisy:
            raise RuntimeError("no part of this energy knows noise levels")
        return part

    def _settings(self) -> dict[str, Any]:
        """What its constructor wants besides the parts."""
        return {}


class OfSameX(Composite):
    """Base of compositions whose parts all see x itself."""

    def forward(self, x: Tensor) -> Tensor:
        return self.combined(x, {})

    def combined(self, x: Tensor, known: dict[Energy, Tensor]) -> Tensor:
        """E [B] of x [B, *event], where `known` holds energies of this very x; those of parts are added to it.

        So a part that several terms share is asked once.
        """
        raise NotImplementedError

    def _values(self, x: Tensor, known: dict[Energy, Tensor]) -> list[Tensor]:
        """Energies [B] of the parts, each part asked once."""
        for part in self.parts:
            if part not in known:
                known[part] = part.combined(x, known) if isinstance(part, OfSameX) else part(x)
        return [known[part] for part in self.parts]


class WeightedSum(OfSameX):
    """Sum of w_i E_i(x): what `a + b`, `a - w * b` and `w * a` make.

    Args:
        parts: all over the same x.
        weights: as many.
    """

    def __init__(self, parts: Sequence[Energy], weights: Sequence[float]) -> None:
        super().__init__(parts)
        self.weights = [float(weight) for _, weight in zip(parts, weights, strict=True)]
        if not all(map(math.isfinite, self.weights)):
            raise ValueError(f"weights must be finite, got {self.weights}")

    @property
    def terms(self) -> list[tuple[float, Energy]]:
        """Weights and parts."""
        return list(zip(self.weights, self.parts, strict=True))

    def combined(self, x: Tensor, known: dict[Energy, Tensor]) -> Tensor:
        return torch.stack([w * e for w, e in zip(self.weights, self._values(x, known), strict=True)]).sum(0)

    @property
    def binary_values(self) -> tuple[float, float]:
        return self.parts[0].binary_values

    @property
    def gibbs_blocks(self) -> list[Tensor]:
        """Those of the first term; the others' elements must be as independent in them."""
        return self.parts[0].gibbs_blocks

    def log_odds(self, x: Tensor, block: Tensor) -> Tensor:
        return torch.stack([w * part.log_odds(x, block) for w, part in self.terms]).sum(0)

    def _settings(self) -> dict[str, Any]:
        return {"weights": self.weights}


class AnyOf(OfSameX):
    """The mixture of its parts, E(x) = -log mean_k exp(offset_k - E_k(x)): likely is what is likely for any of them.

    Parts count alike where offset_k = -log Z_k up to a constant, which `energies.mbar` estimates; with offsets of 0
    the part with the lower energies drowns the others.

    Args:
        parts: all over the same x.
        offsets: one a part, for families one a part at each of the `levels` [L, K]; None: 0.
        levels: falling or rising noise levels; between them offsets are interpolated in the logarithm.
    """

    offsets: Tensor

    def __init__(
        self,
        parts: Sequence[Energy],
        offsets: Sequence[float] | Sequence[Sequence[float]] | None = None,
        levels: Sequence[float] | None = None,
    ) -> None:
        super().__init__(parts)
        values = torch.zeros(len(parts)) if offsets is None else torch.tensor(offsets, dtype=torch.get_default_dtype())
        wanted = (len(parts),) if levels is None else (len(levels), len(parts))
        if values.shape != wanted:
            raise ValueError(f"offsets must be {' x '.join(map(str, wanted))}, got {list(values.shape)}")
        if not parts or (levels is not None and not self.noisy):
            raise ValueError("a mixture needs a part or more, and levels only where a part is a family over them")
        self.register_buffer("offsets", values)
        self.levels = None if levels is None else [float(level) for level in levels]

    def _at(self, level: float | Tensor, bound: dict[Energy, Energy]) -> AnyOf:
        if self.levels == []:
            raise RuntimeError("it has the offsets of the level that it is at: bind what it was bound from")
        mixture = super()._at(level, bound)
        if self.levels is None:
            return mixture
        return mixture.bind(_buffers={**self._buffers, "offsets": self._offsets_at(level)}, levels=[])

    def combined(self, x: Tensor, known: dict[Energy, Tensor]) -> Tensor:
        return math.log(len(self.energies)) - self._logits(x, known).logsumexp(1)

    def shares(self, x: Tensor) -> Tensor:
        """Of clean x, or at a bound level: how likely each part is that x [B, *event] came from it, [B, K]."""
        return self._logits(x, {}).softmax(1)

    def shifted(self, change: Tensor) -> AnyOf:
        """The same mixture with `change` [K] added to the offsets, at every level."""
        return AnyOf(self.energies, (self.offsets.cpu() + change.cpu()).tolist(), self.levels)  # type: ignore[arg-type]

    def _logits(self, x: Tensor, known: dict[Energy, Tensor]) -> Tensor:
        energies = torch.stack(self._values(x, known), 1)  # [B, K]
        return self.offsets.to(energies) - energies

    def _offsets_at(self, level: float | Tensor) -> Tensor:
        """[K] or, for a level a sample, [B, K]."""
        assert self.levels is not None
        order = sorted(range(len(self.levels)), key=lambda k: self.levels[k])  # type: ignore[index]
        known = torch.tensor([math.log(self.levels[k]) for k in order])
        wanted = torch.as_tensor(level).detach().float().cpu().flatten().log()
        upper = torch.searchsorted(known, wanted).clamp(1, max(len(known) - 1, 1))
        if len(known) == 1:
            return self.offsets[0]
        share = ((wanted - known[upper - 1]) / (known[upper] - known[upper - 1])).clamp(0, 1)[:, None]
        table = self.offsets[torch.tensor(order)]
        found = torch.lerp(table[upper - 1], table[upper], share.to(table))
        return found[0] if len(found) == 1 else found

    def _settings(self) -> dict[str, Any]:
        if not self.levels and self.offsets.ndim > 1:
            raise TypeError("it is bound to a noise level for each sample: save it unbound")
        return {"offsets": self.offsets.tolist(), "levels": self.levels or None}


class Expected(Energy):
    """An energy of clean x where x holds noise: of mean + (x - mean) s^2 / (s^2 + sigma^2).

    That is what a Gaussian reference expects of clean x. So a classifier or a score of one's own, which has never seen
    noise, steers from the first level on.

    Args:
        energy: of clean x.
        mean, spread: of the data, s the root mean square about the mean.
        level: sigma, one or one a sample [B].
    """

    def __init__(self, energy: Energy, mean: Tensor | float, spread: float, level: float | Tensor) -> None:
        super().__init__()
        self.energy, self.mean, self.spread, self.level = energy, mean, spread, level

    def forward(self, x: Tensor) -> Tensor:
        sigma = torch.as_tensor(self.level, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))
        return self.energy(self.mean + (x - self.mean) * (self.spread**2 / (self.spread**2 + sigma**2)))

    @property
    def arguments(self) -> dict[str, Any]:
        raise TypeError("it is bound to a noise level: save the composition unbound")


def any_of(*energies: Energy) -> AnyOf:
    """Their mixture (OR). Give it to `energies.mbar.balanced` so that none drowns the others."""
    return AnyOf(energies)


def at_level(energy: Energy, level: float | Tensor, whole: Composite) -> Energy:
    """An energy at a noise level; one of clean x sees what data of the whole's mean and spread let expect."""
    if isinstance(energy, Family) and energy.noisy:
        return energy.at(level)
    return Expected(energy, whole.mean, whole.spread, level)


def terms_of(energy: Energy) -> list[tuple[float, Energy]]:
    """The terms of a sum; of any other energy itself, with weight 1."""
    return energy.terms if isinstance(energy, WeightedSum) else [(1.0, energy)]


def weighted(terms: Sequence[tuple[float, Energy]]) -> WeightedSum:
    """The sum of weights times energies; sums among them are taken apart."""
    flat = [(w * inner, part) for w, energy in terms for inner, part in terms_of(energy)]
    return WeightedSum([part for _, part in flat], [w for w, _ in flat])
