"""Initial estimates of hidden values by stacking (Wolpert 1992): classical methods weighted by how well each predicts.

Parts of what is seen are held out as well (the mask itself, moved and mirrored). Every method estimates them, and the
errors there tell how to weight the methods where the truth is unknown. Each held-out part yields, as a by-product, an
example of an estimate beside its truth: what `energies.conditional` learns from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from energies.classical import inpainting, self_similarity
from energies.classical.weights import Record, Stacking, coefficients, combined, expected_error
from energies.references.context import Context

SMOOTH = ((1, 0.01), (1, 10.0), (1, 100.0), (2, 0.01), (2, 0.3), (2, 1.0), (2, 3.0), (2, 10.0))
"""Order and temporal weight of the smooth candidates."""

SHOWN = (0, 1, 4, 6, 8, 9)
"""Candidates that the network is shown: temporal line, membrane, thin plates still to slow, temporal mean."""

MOST_COPIES = 3  # of the mask in one that is held out
MOST_HIDDEN = 0.3  # share of the pixels, with several of them
PLACE = 16  # pixels a side of what counts as one place


@dataclass(frozen=True)
class Example:
    """An initial estimate beside its truth.

    Attributes:
        context: batch of one; hidden is the damage and the held-out part together.
        held_out: bool [1, 1, T, H, W], hidden values whose truth is known.
    """

    context: Context
    held_out: Tensor


def candidates(clip: Tensor, hidden: Tensor) -> Tensor:
    """All interpolations of a clip [C, T, H, W] -> [K, C, T, H, W]."""
    line = inpainting.temporal_linear(clip, hidden)
    smooth = [inpainting.smooth(clip, hidden, line, order=order, time=time) for order, time in SMOOTH]
    return torch.stack([line, *smooth, inpainting.temporal_mean(clip, hidden)])


def held_out_masks(hidden: Tensor, num: int, rng: torch.Generator) -> list[Tensor]:
    """Seen pixels to hold out: the mask [T, H, W] rolled and mirrored at random, without what is hidden anyway.

    Where the mask is small it is moved to several places at once, as many as leave MOST_HIDDEN: what a single place
    says of others is little.

    Where every move hides all that is seen, as of every second frame, only some frames of the moved mask are held out.

    ValueError: nothing is hidden, or so much that none of 200 moves leaves something both to hold out and to see.
    """
    masks: list[Tensor] = []
    for attempt in range(200):
        held_out = _moved(hidden, rng)
        if attempt >= 100:
            held_out &= (torch.rand(len(hidden), generator=rng) < 0.5)[:, None, None]
        if not held_out.any() or (held_out | hidden).all():
            continue
        for _ in range(MOST_COPIES - 1):
            more = held_out | _moved(hidden, rng)
            if (more | hidden).float().mean() > MOST_HIDDEN:
                break
            held_out = more
        masks.append(held_out)
        if len(masks) == num:
            return masks
    raise ValueError(
        "hide: too much is hidden to learn from the rest: moved about, the mask should fall on pixels that are seen"
    )


def _moved(hidden: Tensor, rng: torch.Generator) -> Tensor:
    shifts = [int(torch.randint(n, (), generator=rng)) for n in hidden.shape]
    axes = [axis for axis in range(3) if torch.rand((), generator=rng) < 0.5]
    return hidden.roll(shifts, (0, 1, 2)).flip(axes) & ~hidden


def self_similar(clip: Tensor, hidden: Tensor, context: Context) -> Tensor:
    """Estimates from the clip itself, given an initial one (batch of one): [K, C, T, H, W]."""
    estimate, scale = context.estimate[0], context.scale[0, 0]
    seen = (~hidden).to(clip.dtype)
    mean = (clip * seen).sum((1, 2, 3), keepdim=True) / seen.sum().clamp(min=1)
    times = seen.sum(0)
    mean_of_pixel = torch.where(times > 0, (clip * seen).sum(1, keepdim=True) / times.clamp(min=1), mean)
    return torch.stack(
        [
            *self_similarity.nonlocal_means(estimate, hidden, scale, self_similarity.PATCHES),
            self_similarity.kriging(clip, hidden, mean_of_pixel),
            self_similarity.kriging(clip, hidden, mean),
        ]
    )


@dataclass(frozen=True)
class Trial:
    """Estimates of a damaged clip and of the same clip with more hidden, all [K, C, T, H, W]."""

    damaged: Tensor
    held_out: list[Tensor]


def cross_validated(
    clip: Tensor, hidden: Tensor, masks: Sequence[Tensor], trial: Trial, kinds: Sequence[Stacking]
) -> tuple[Context, list[Example], Stacking]:
    """Stack estimates by how well they predict held-out pixels.

    Args:
        clip: [C, T, H, W] in [-1, 1]; hidden values are ignored.
        hidden: bool [T, H, W].
        masks: at least two masks of seen pixels [T, H, W].
        trial: the estimates, one set more for each mask.
        kinds: of stacking, to choose from.

    Returns:
        the stacked estimate as a context (batch of one); one example a mask, estimated without looking at its truth;
        and the kind that won.
    """
    clip = torch.where(hidden, 0.0, clip)
    records = [Record.of(tries, clip, mask) for tries, mask in zip(trial.held_out, masks, strict=True)]

    def without(j: int) -> list[Record]:
        return [record for i, record in enumerate(records) if i != j]

    guesses: dict[Stacking, list[Tensor]] = {}
    error: dict[Stacking, float] = {}
    for kind in kinds:
        guesses[kind] = [
            combined(tries, coefficients(without(j), kind), clip, hidden | masks[j])
            for j, tries in enumerate(trial.held_out)
        ]
        error[kind] = sum(
            float((guess - clip)[:, mask].square().mean().clamp(min=1e-6).log())
            for guess, mask in zip(guesses[kind], masks, strict=True)
        )
    best = min(error, key=lambda kind: error[kind])
    errors = [(guess - clip).square().mean(0) * mask for guess, mask in zip(guesses[best], masks, strict=True)]

    def context(estimate: Tensor, mask: Tensor, tries: Tensor, used: list[int]) -> Context:
        scale = expected_error([errors[i] for i in used], [masks[i] for i in used])
        return Context(estimate[None], scale[None, None], mask[None, None], tries[list(SHOWN)][None])

    numbers = list(range(len(masks)))
    estimate = combined(trial.damaged, coefficients(records, best), clip, hidden)
    examples = [
        Example(
            context(guesses[best][j], hidden | mask, trial.held_out[j], [i for i in numbers if i != j]),
            mask[None, None],
        )
        for j, mask in enumerate(masks)
    ]
    return context(estimate, hidden, trial.damaged, numbers), examples, best


@dataclass(frozen=True)
class Estimates:
    """What is learned of a damaged clip without a network.

    Attributes:
        first: the initial estimate.
        first_examples: the same for each held-out mask.
        learned: the estimate that is stacked of all candidates and those from the clip itself.
        examples: the same for each held-out mask.
        stacking: the kind that predicted held-out pixels best.
        shrinkage: share in [0, 1] of the change from the first estimate to the learned one that held-out pixels speak
            for.
    """

    first: Context
    first_examples: list[Example]
    learned: Context
    examples: list[Example]
    stacking: Stacking
    shrinkage: float


def estimates(clip: Tensor, hidden: Tensor, masks: Sequence[Tensor]) -> Estimates:
    """An initial estimate, and from it a better one: a vote of interpolations, then stacked with the clip's own.

    The first is the start that the energy is measured against; the second is the mean of its Gaussian reference.
    """
    clip = torch.where(hidden, 0.0, clip)
    damages = [(clip, hidden), *((torch.where(mask, 0.0, clip), hidden | mask) for mask in masks)]
    tries = [candidates(*damage) for damage in damages]
    first, first_examples, _ = cross_validated(clip, hidden, masks, Trial(tries[0], tries[1:]), ["vote"])
    contexts = [first, *(example.context for example in first_examples)]
    tries = [
        torch.cat([found, self_similar(*damage, context)])
        for found, damage, context in zip(tries, damages, contexts, strict=True)
    ]
    learned, examples, kind = cross_validated(clip, hidden, masks, Trial(tries[0], tries[1:]), get_args(Stacking))
    before, after = ([example.context.estimate[0] for example in made] for made in (first_examples, examples))
    wanted = [clip - estimate for estimate in before]
    share = shrinkage(wanted, [b - a for a, b in zip(before, after, strict=True)], masks)
    return Estimates(first, first_examples, learned, examples, kind, share)


def shrinkage(wanted: Sequence[Tensor], changes: Sequence[Tensor], masks: Sequence[Tensor]) -> float:
    """Share in [0, 1] of changes to take, by what they would do to pixels whose truth is known.

    The least-squares share, less its standard error: of what helped in one place and hurt in another little is taken.
    The error is that of the jackknife over places, columns of PLACE^2 pixels through all frames.

    Args:
        wanted: truth minus estimate [C, T, H, W], one a mask.
        changes: of the estimates, the same shapes.
        masks: bool [T, H, W], where the truth is known. Every one weighs the same.
    """
    both, power = [], []
    for target, change, mask in zip(wanted, changes, masks, strict=True):
        level = (target.double().square() * mask).sum().clamp(min=1e-12)
        for sums, product in ((both, target * change), (power, change.square())):
            total = (product.double() * mask).sum((0, 1))
            pads = [n for axis in (-1, -2) for n in (0, -total.shape[axis] % PLACE)]
            places = F.pad(total, pads).unfold(0, PLACE, PLACE).unfold(1, PLACE, PLACE).sum((-1, -2))
            sums.append(places.flatten() / level)
    a, b = torch.cat(both), torch.cat(power)
    a, b = a[b > 0], b[b > 0]
    if len(b) < 2:
        return 0.0
    share = a.sum() / b.sum()
    without = (a.sum() - a) / (b.sum() - b)
    error = ((len(b) - 1) / len(b) * (without - without.mean()).square().sum()).sqrt()
    return float((share.clamp(max=1) - error).clamp(0, 1))
