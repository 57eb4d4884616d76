"""The validation gate of one damaged clip: what is seen of it judges its recovery before the recovery is trusted."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from energies import Context
from energies.classical.stacking import Stacking


@dataclass(frozen=True, eq=False)
class Gate:
    """What one damaged clip is recovered from, and what judges the result: a seen part that was held out, and never
    learned from.

    Attributes:
        estimate: initial estimate of the clip, of classical methods alone, [1, C, T, H, W].
        context: what the energy is told of the clip.
        judged: the same where the held-out part is hidden as well.
        held_out: bool [1, 1, T, H, W], seen pixels that judge.
        first: initial estimate where the held-out part is hidden as well, [1, C, T, H, W].
        shrinkage: share of what `context` changes in the initial estimate that the held-out part speaks for, 0 to 1.
        stacking: how the classical methods were stacked: the kind that predicted held-out pixels best.
    """

    estimate: Tensor
    context: Context
    judged: Context
    held_out: Tensor
    first: Tensor
    shrinkage: float
    stacking: Stacking
