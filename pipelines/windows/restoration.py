"""Recovery of a damaged clip in windows: classical estimates, stacked, and an energy that was learned from what is seen.

Everything is learned once, from pieces of the clip around its damage, and serves every window. What an energy adds, and
how wide the band is that holds nine of ten values, is judged by seen parts that were held out and never learned from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from data.errors import InputError
from energies import ClipReference, ConditionalEnergy, Context
from energies.classical.stacking import Stack, Tries, held_out_masks, shrinkage, tries
from energies.objectives import Batch
from pipelines import checkpoint
from pipelines.learning.crops import window
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import Amortised
from pipelines.learning.training import Learning
from pipelines.measures import metrics
from pipelines.stage import Run
from pipelines.windows.damage import Box, Damage
from pipelines.windows.film import parts
from pipelines.windows.plan import Joined, Plan

Frames = Callable[[], Iterable[Tensor]]
"""The frames of a clip from the first on, uint8 or float [C, H, W]."""

PIECES = 4  # that are learned from, at most
PIECE = Plan(most=400_000, frames=8, pixels=24)
TILE = Plan(most=300_000, frames=4, pixels=12)
"""Parts of a window that the network sees at once, to bound its memory."""
LEVEL = 0.9  # of the band that is calibrated


@dataclass(frozen=True, eq=False)
class Restoration:
    """What was learned of a damaged clip beside its energy.

    Attributes:
        stack: how its estimates are weighted.
        shrinkage: share of what the energy changes in the stacked estimate that held-out parts speak for, 0 to 1.
        stretch: factor of the expected error that makes the central band of LEVEL hold that share of held-out values.
        held_out: pixels that judged, and PSNR there of the stacked estimate and of the recovery.
    """

    stack: Stack
    shrinkage: float
    stretch: float
    held_out: dict[str, float]


@dataclass(frozen=True, eq=False)
class Lesson:
    """A piece of the clip of which more is hidden than there is.

    Attributes:
        clip: [C, T, H, W], what is seen of it.
        tries: estimates where anything is hidden.
        held_out: bool [T, H, W], what is hidden and known.
    """

    clip: Tensor
    tries: Tries
    held_out: Tensor


def learn(
    frames: Frames, damage: Damage, recipe: Recipe | None, ready: ConditionalEnergy | None, held_out: int, run: Run
) -> tuple[ConditionalEnergy, Restoration]:
    """An energy of the clip, and what judges it.

    Args:
        frames: of the clip.
        damage: what is hidden of it.
        recipe: how the energy is learned; None: `ready` was learned before.
        held_out: masks of each piece to learn from, besides the one that judges.
        run: gives randomness, processes and progress.
    """
    lessons, judges = run.on_main(lambda: _lessons(frames, damage, held_out, run))
    records = [Stack.record(lesson.tries, lesson.clip, lesson.held_out) for lesson in lessons + judges]
    stack = Stack.fit(records)
    apart = [Stack.fit(records[:k] + records[k + 1 :]) for k in range(len(records))]
    contexts = [context(lesson, own) for lesson, own in zip(lessons + judges, apart, strict=True)]
    told, judged = contexts[: len(lessons)], contexts[len(lessons) :]
    if recipe is not None:
        energy = learning(lessons, judges, told, recipe, run).train(run)
    else:
        assert ready is not None
        energy = ready
    return energy, _judged(energy, stack, judges, judged, run)


def chosen(damage: Damage, num: int) -> list[Box]:
    """Pieces around the damage, spread evenly over it."""
    boxes = PIECE.windows(damage)
    if len(boxes) <= num:
        return boxes
    weight = torch.tensor([float(box.volume) for box in boxes]).cumsum(0)
    places = (torch.arange(num) + 0.5) / num * weight[-1]
    return [boxes[k] for k in sorted(set(torch.searchsorted(weight, places).tolist()))]


def _lessons(frames: Frames, damage: Damage, held_out: int, run: Run) -> tuple[list[Lesson], list[Lesson]]:
    """To learn from, and to judge by."""
    lessons: list[Lesson] = []
    judges: list[Lesson] = []
    boxes = chosen(damage, PIECES)
    each = max(1, math.ceil(held_out / len(boxes)))
    work = parts(frames(), boxes)
    for number, (box, clip) in enumerate(run.progress(work, len(boxes), "estimates of held-out parts")):
        hidden = damage.masks(box)
        try:
            masks = held_out_masks(hidden, each + 1, run.generator("held out", number))
        except ValueError:
            continue
        for k, mask in enumerate(masks):
            both = hidden | mask
            seen = torch.where(both, 0.0, clip)
            lesson = Lesson(torch.where(hidden, 0.0, clip), tries(seen, both), mask)
            (judges if k == each else lessons).append(lesson)
    if not judges:
        raise InputError(
            "hide: too much is hidden to learn from the rest: moved about, the mask should fall on pixels that are seen"
        )
    return lessons, judges


def context(lesson: Lesson, stack: Stack) -> Context:
    """What the network is told of a piece."""
    return told(torch.where(lesson.held_out, 0.0, lesson.clip), lesson.tries, stack)


def told(clip: Tensor, tries: Tries, stack: Stack) -> Context:
    """What the network is told of a clip [C, T, H, W] that was tried."""
    mean, scale = stack(tries)
    hidden = tries.hidden

    def pasted(values: Tensor, rest: Tensor) -> Tensor:
        made = rest.clone()
        made[:, hidden] = values
        return made

    estimate = pasted(mean, clip)
    others = torch.stack([pasted(values, clip) for values in tries.shown])
    everywhere = pasted(scale[None], torch.full_like(clip[:1], float(scale.median())))
    return Context(estimate[None], everywhere[None], hidden[None, None], others[None])


def learning(
    lessons: Sequence[Lesson], judges: Sequence[Lesson], contexts: Sequence[Context], recipe: Recipe, run: Run
) -> Learning[ConditionalEnergy]:
    """How the energy is learned from what is held out."""
    settings = recipe.energy
    assert isinstance(settings, Amortised) and settings.widths is not None and settings.depths is not None
    judged = {id(judge.clip): judge.held_out for judge in judges}
    del judged
    targets = [lesson.held_out[None, None] for lesson in lessons]
    first = contexts[0]
    sides = tuple(slice(0, min(8, n)) for n in first.hidden.shape[2:])
    small = Context(*(part[(..., *sides)] for part in first.tensors()))
    energy = ConditionalEnergy(
        ClipReference.of(small), first.estimate.shape[1], settings.widths, settings.depths, recipe.stride
    )
    device, batch = run.accelerator.device, recipe.batch

    def crop(rng: torch.Generator) -> list[Tensor]:
        """Context, truth and where it is known, of a crop that may be mirrored."""
        k = int(torch.randint(len(lessons), (), generator=rng, device=rng.device))
        target = targets[k]
        where = window(target, recipe.sides(target.shape[2:]), rng)
        flips = [axis for axis in (-1, -2, -3) if torch.rand((), generator=rng, device=rng.device) < 0.5]
        whole = (*contexts[k].tensors(), lessons[k].clip[None], target)
        return [part[(..., *where)].flip(flips) for part in whole]

    def draw(energy: ConditionalEnergy, step: int, rng: torch.Generator) -> tuple[ConditionalEnergy, Batch]:
        drawn = zip(*(crop(rng) for _ in range(batch)), strict=True)
        estimate, scale, hidden, others, x, known = (torch.cat(part).to(device) for part in drawn)
        return energy.told(Context(estimate, scale, hidden, others)), Batch(x, known)

    return Learning(energy, recipe.objective, draw, recipe.training, {})


def _judged(
    energy: ConditionalEnergy, stack: Stack, judges: Sequence[Lesson], contexts: Sequence[Context], run: Run
) -> Restoration:
    """How much of what the energy changes is kept, and how wide the band is."""
    changes = [refined(energy, context, run) - context.estimate[0] for context in contexts]
    wanted = [judge.clip - context.estimate[0] for judge, context in zip(judges, contexts, strict=True)]
    masks = [judge.held_out for judge in judges]
    share = shrinkage(wanted, changes, masks)
    ratios, before, after = [], [], []
    for target, change, mask, told in zip(wanted, changes, masks, contexts, strict=True):
        left = (target - share * change)[:, mask]
        before.append(target[:, mask])
        after.append(left)
        ratios.append((left.abs() / told.scale[0][:, mask]).flatten())
    found = {
        "pixels": float(sum(int(mask.sum()) for mask in masks)),
        "initial_estimate": _psnr(torch.cat(before, 1)),
        "recovery": _psnr(torch.cat(after, 1)),
    }
    run.log(event="gate", shrinkage=share, **found)
    return Restoration(stack, share, metrics.stretched(torch.cat(ratios), LEVEL), found)


def _psnr(error: Tensor) -> float:
    return float(10 * torch.log10(4 / error.double().square().mean().clamp(min=4e-10)))


def refined(energy: ConditionalEnergy, context: Context, run: Run) -> Tensor:
    """The posterior mean [C, T, H, W] of the energy that is told a context of one clip, tile by tile."""
    hidden, estimate = context.hidden[0, 0], context.estimate[0]
    damage = Damage.whole(hidden)
    joined = Joined(damage, len(estimate), TILE)
    device = run.accelerator.device
    for box in TILE.windows(damage):
        where = (..., slice(box.t0, box.t1), *box.place)
        tile = Context(*(part[where] for part in context.tensors())).to(device)
        with torch.no_grad(), run.accelerator.autocast():
            joined.add(box, energy.told(tile).posterior_mean()[0].float().cpu())
    made = estimate.clone()
    made[:, hidden] = joined.values
    return made


@dataclass(frozen=True, eq=False)
class Restored:
    """Values of the hidden pixels of a clip.

    Attributes:
        mean: [C, N].
        spread: calibrated standard deviation [N].
        estimate: stacked estimate, without the energy [C, N].
    """

    mean: Tensor
    spread: Tensor
    estimate: Tensor


def restore(
    energy: ConditionalEnergy, restoration: Restoration, frames: Frames, damage: Damage, plan: Plan, run: Run
) -> Restored:
    """Recover what is hidden, window by window; each is kept as a checkpoint, and processes share them."""
    boxes = plan.windows(damage)
    mine = _shared(boxes, run)
    todo = [box for box in mine if checkpoint.load(_place(run, box)) is None]
    for box, clip in run.progress(parts(frames(), todo), len(todo), "windows"):
        checkpoint.save(_place(run, box), _restored(energy, restoration, clip, damage.masks(box), run), {})
    run.accelerator.wait_for_everyone()
    channels = 0
    joined: dict[str, Joined] = {}
    for box in boxes:
        found = checkpoint.load(_place(run, box))
        assert found is not None
        for name, values in found[0].items():
            channels = len(values)
            joined.setdefault(name, Joined(damage, channels, plan)).add_hidden(box, values.float())
    return Restored(*(joined[name].values for name in ("mean", "spread", "estimate")))


def _restored(
    energy: ConditionalEnergy, restoration: Restoration, clip: Tensor, hidden: Tensor, run: Run
) -> dict[str, Tensor]:
    """Values of what is hidden in a window, half precision."""
    seen = torch.where(hidden, 0.0, clip)
    found = told(seen, tries(seen, hidden), restoration.stack)
    estimate, scale = found.estimate[0], found.scale[0]
    mean = estimate + restoration.shrinkage * (refined(energy, found, run) - estimate)
    made = {"mean": mean.clamp(-1, 1), "spread": restoration.stretch * scale, "estimate": estimate}
    return {name: x[:, hidden].half() for name, x in made.items()}


def _place(run: Run, box: Box) -> Any:
    return run.folder / "windows" / "_".join(map(str, box))


def _shared(boxes: Sequence[Box], run: Run) -> Iterator[Box] | list[Box]:
    """The windows of this process: the largest first, to whoever has least."""
    num, index = run.accelerator.num_processes, run.accelerator.process_index
    loads = [0] * num
    own = []
    for box in sorted(boxes, key=lambda box: -box.volume):
        least = loads.index(min(loads))
        loads[least] += box.volume
        if least == index:
            own.append(box)
    return sorted(own)
