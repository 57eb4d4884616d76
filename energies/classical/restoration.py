"""The hidden part of one window of a clip, by classical estimates that are stacked: x, hidden -> estimate.

restored = restore(x, hidden, rng)

The same in steps, where one regression serves many windows:

trials = [trial(x, hidden, mask) for mask in held_out.alike(hidden[0, 0], 2, rng)]
stack = regression.fit(*zip(*trials, strict=True))
restored = of_stack(x, hidden, motion.candidates(x, hidden), stack)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from energies.classical import held_out, regression
from energies.classical.motion import Candidates, candidates
from energies.classical.regression import Stack

SMALLEST_ERROR = 0.006  # three quarters of a grey level


@dataclass(frozen=True)
class Restored:
    """What is known of a window.

    Attributes:
        estimate: [1, C, T, H, W] in [-1, 1], x where it is seen.
        scale: [1, 1, T, H, W], expected root mean square error where hidden, positive everywhere.
        found: the candidates.
    """

    estimate: Tensor
    scale: Tensor
    found: Candidates


def restore(x: Tensor, hidden: Tensor, rng: torch.Generator, num: int = 4) -> Restored:
    """Estimate the hidden part of a window.

    Args:
        x: [1, C, T, H, W] in [-1, 1]; hidden values are ignored.
        hidden: bool [1, 1, T, H, W].
        rng: for the masks to hold out.
        num: of these masks.

    ValueError: too little is seen to hold out a part of it.
    """
    masks = held_out.alike(hidden[0, 0].cpu(), num, rng)
    if not masks:
        raise ValueError(
            "too much is hidden to learn from the rest: moved about, the mask falls on too few seen pixels"
        )
    trials, truths = zip(*(trial(x, hidden, mask) for mask in masks), strict=True)
    return of_stack(x, hidden, candidates(x, hidden), regression.fit(trials, truths))


def trial(x: Tensor, hidden: Tensor, mask: Tensor) -> tuple[Candidates, Tensor]:
    """Candidates of the seen pixels under a mask bool [T, H, W], which were hidden as well, and the truth [N, C]."""
    mask = mask.to(x.device)
    both = hidden | mask
    found = candidates(x, both)
    judged = mask[both[0, 0]].cpu()
    return found.at(judged), x[0][:, mask].T.float().cpu()


def of_stack(x: Tensor, hidden: Tensor, found: Candidates, stack: Stack) -> Restored:
    """The stacked estimate of candidates that were found for x and hidden, as in `restore`."""
    where = hidden[0, 0]
    estimate = x.clone()
    estimate[0, :, where] = stack.estimate(found).T.to(x)
    scale = torch.full_like(x[:, :1], SMALLEST_ERROR)
    scale[0, 0, where] = stack.expected_error(found).to(x).clamp(min=SMALLEST_ERROR)
    return Restored(estimate, scale, found)
