"""What one step learns from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from torch import Tensor

from energies.buffer import ReplayBuffer
from energies.energy import Energy
from energies.family import Family
from energies.objectives.share import Share

E = TypeVar("E", bound=Energy)
Metrics = dict[str, float]


class References(NamedTuple):
    """Further data x [N, *event], with labels [N] where there are any, that tell what is expected of a noisy x."""

    x: Tensor
    label: Tensor | None = None


@dataclass
class Batch:
    """What one step learns from.

    Attributes:
        x: [B, *event]; what is true of it, `known` tells.
        known: bool, broadcasting with x: where the truth is known and counts (None: everywhere).
        hidden: bool, broadcasting with x: what is hidden from the model (None: nothing), for maximum likelihood.
        imputed: [B, *event], persistent chains of x given what is seen; written in place.
        chains: persistent chains of the model; written in place.
        label: of x, [B], negative where it has none; None: the energy knows no labels.
        progress: share of the learning that is done, 0 to 1.
        references: further data of the same law, for score matching.
        part: the rows of a larger batch that these are, one share of several; None: they are all.
    """

    x: Tensor
    known: Tensor | None = None
    hidden: Tensor | None = None
    imputed: Tensor | None = None
    chains: ReplayBuffer | None = None
    label: Tensor | None = None
    progress: float = 0.0
    references: References | None = None
    part: Share | None = None

    @property
    def share(self) -> Share:
        """The rows of the whole batch that these are."""
        return self.part or Share(len(self.x))

    def split(self, share: Share) -> Batch:
        """The rows of a process. Chains and references stay whole, and so does what serves all rows at once."""

        def own(values: Tensor | None) -> Tensor | None:
            per_row = values is not None and values.ndim == self.x.ndim and len(values) == share.total
            return values[share.rows] if values is not None and per_row else values

        label = None if self.label is None else self.label[share.rows]
        x, known, hidden = self.x[share.rows], own(self.known), own(self.hidden)
        return replace(self, x=x, known=known, hidden=hidden, label=label, part=share)


def labelled(energy: E, label: Tensor | None) -> E:
    """The energy of x with these labels [B], where there are any. TypeError: it knows no labels."""
    if label is None:
        return energy
    if not isinstance(energy, Family):
        raise TypeError(f"{type(energy).__name__} knows no labels to learn from")
    return energy.given(label)
