"""Recovery of a damaged clip in windows: classical estimates, stacked, and an energy learned from what is seen.

Everything is learned once, from pieces of the clip around its damage, and serves every window. What an energy adds, and
how wide the band is that holds nine of ten values, is judged by seen parts that were held out and never learned from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.errors import InputError
from energies import ClipReference, ConditionalEnergy, Context
from energies.classical import held_out as masks_held_out
from energies.classical import regression
from energies.classical.motion import SHOWN, Candidates, candidates, is_thin
from energies.classical.regression import Stack
from energies.classical.restoration import SMALLEST_ERROR
from energies.classical.shrinkage import shrinkage
from energies.objectives import Batch
from pipelines import checkpoint
from pipelines.learning.crops import sides_of, window
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import Amortised
from pipelines.learning.training import Learning
from pipelines.measures import certainty, metrics
from pipelines.side_by_side import side_by_side
from pipelines.stage import Run
from pipelines.windows.damage import Box, Damage
from pipelines.windows.film import parts
from pipelines.windows.plan import Joined, Plan

Frames = Callable[[], Iterable[Tensor]]
"""The frames of a clip from the first on, uint8 or float [C, H, W]."""

WHOLE = 1_000_000  # pixels of a clip that an energy is told as a whole, and that is one window
PIECES = 4  # that are learned from, at most
PIECE = Plan(most=400_000, frames=8, pixels=24)
TILE = Plan(most=300_000, frames=4, pixels=12)
"""Parts of a window that the network sees at once, to bound its memory."""


@dataclass(frozen=True, eq=False)
class Restoration:
    """What was learned of a damaged clip beside its energy.

    Attributes:
        stack: how its estimates are weighted.
        shrinkage: share of what the energy changes in the stacked estimate that held-out parts speak for, 0 to 1.
        stretch: factor of the expected error that makes the 90 % band hold that share of held-out values.
        held_out: pixels that judged, and PSNR there of the stacked estimate and of the recovery.
        thin: whether the damage is of scattered pixels or scratches.
        boxes: the pieces that judged.
        masks: what was held out of each, bool [t, h, w].
    """

    stack: Stack
    shrinkage: float
    stretch: float
    held_out: dict[str, float]
    thin: bool
    boxes: tuple[tuple[int, ...], ...]
    masks: tuple[Tensor, ...]

    def judged_parts(self, hidden: Tensor, x: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of a clip x [1, C, T, H, W] and its mask [1, 1, T, H, W], the pieces that judged, and what was held out."""
        for box, mask in zip(self.boxes, self.masks, strict=True):
            where = (..., *Box(*box).where)
            yield hidden[where], x[where], mask[None, None]

    def told(self) -> dict[str, Any]:
        """What is said of it beside its recovery."""
        return {"shrinkage": self.shrinkage, "stretch": self.stretch, "held_out": self.held_out}


@dataclass(frozen=True, eq=False)
class Lesson:
    """A piece of the clip of which more is hidden than there is.

    Attributes:
        piece: where it is.
        clip: [C, T, H, W], 0 where it is hidden in truth.
        hidden: bool [T, H, W], with the held-out part.
        held_out: bool [T, H, W], what is hidden here and known.
        found: estimates of what is hidden.
    """

    piece: Box
    clip: Tensor
    hidden: Tensor
    held_out: Tensor
    found: Candidates

    @property
    def known(self) -> tuple[Candidates, Tensor]:
        """The estimates of the held-out pixels alone, and the truth there [N, C]."""
        rows = self.held_out[self.hidden]
        return self.found.at(rows), self.clip[:, self.held_out].T


def learn(
    frames: Frames, damage: Damage, recipe: Recipe, held_out: int, run: Run, whole: tuple[Tensor, Tensor] | None = None
) -> tuple[ConditionalEnergy, Restoration]:
    """An energy of the clip, and what judges it.

    Args:
        frames: of the clip.
        damage: what is hidden of it.
        recipe: how the energy is learned.
        held_out: masks to learn from, besides those that judge.
        run: gives randomness, processes and progress.
        whole: the clip [C, T, H, W] and what is hidden of it, bool [T, H, W], where it is small enough for the energy's
            reference to tell all of it.

    InputError: so much is hidden that nothing can be held out.
    """
    lessons, judges, thin, found = run.on_main(lambda: _lessons(frames, damage, held_out, whole, run))
    every = [*lessons, *judges]
    contexts = [told_by_others(every, number) for number in run.progress(range(len(every)), len(every), "stacking")]
    stack = stacked(every)
    num = len(lessons)
    energy = learning(lessons, judges, contexts[:num], recipe, run).train(run)
    if whole is not None and found is not None:
        energy = _of_clip(energy, told(*whole, found, stack))
    return energy, _judged(energy.to(run.accelerator.device).eval(), stack, thin, judges, contexts[num:], run)


def chosen(damage: Damage, num: int) -> list[Box]:
    """Pieces around the damage, spread evenly over it."""
    boxes = PIECE.windows(damage)
    if len(boxes) <= num:
        return boxes
    upto = torch.tensor([float(box.volume) for box in boxes]).cumsum(0)
    places = (torch.arange(num) + 0.5) / num * upto[-1]
    return [boxes[k] for k in sorted(set(torch.searchsorted(upto, places).tolist()))]


def _lessons(
    frames: Frames, damage: Damage, held_out: int, whole: tuple[Tensor, Tensor] | None, run: Run
) -> tuple[list[Lesson], list[Lesson], bool, Candidates | None]:
    """To learn from, and to judge by; whether the damage is thin; and the estimates of all of a clip that is given as a
    whole."""
    lessons: list[Lesson] = []
    judges: list[Lesson] = []
    boxes = chosen(damage, PIECES)
    each = max(2, math.ceil(held_out / len(boxes)))
    thin = sum(is_thin(damage.masks(box)) for box in boxes) * 2 > len(boxes)
    todo: list[tuple[Box, Tensor, Tensor, Tensor]] = []
    kinds: list[list[Lesson]] = []
    for number, (box, clip) in enumerate(parts(frames(), boxes)):
        hidden = damage.masks(box)
        masks = masks_held_out.alike(hidden, each + 1, run.generator("held out", number))
        # The likest mask judges, if there is another one to learn from.
        kinds += [judges if k == 0 and len(masks) > 1 else lessons for k in range(len(masks))]
        todo += [(box, clip, hidden, mask) for mask in masks]
    if not any(kind is judges for kind in kinds) or not any(kind is lessons for kind in kinds):
        raise InputError("hide: too much is hidden to learn from one part of the rest and judge by another; hide less")
    if whole is not None:
        clip, hidden = whole
        todo.insert(0, (Box.around(hidden), clip, hidden, torch.zeros_like(hidden)))
    made = run.progress(side_by_side(lambda part: lesson(*part, thin), todo), len(todo), "estimates of held-out parts")
    every = iter(made)
    own = next(every).found if whole is not None else None
    for kind, found in zip(kinds, every, strict=True):
        kind.append(found)
    return lessons, judges, thin, own


def lesson(box: Box, clip: Tensor, hidden: Tensor, mask: Tensor, thin: bool) -> Lesson:
    """A piece [C, t, h, w] of which a mask is held out, or nothing more than is hidden, with its estimates."""
    found = candidates(clip[None], (hidden | mask)[None, None], thin).within(box.y0, box.x0)
    return Lesson(box, torch.where(hidden, 0.0, clip), hidden | mask, mask, found)


def stacked(lessons: Sequence[Lesson]) -> Stack:
    """The weights of estimates by all lessons."""
    return regression.fit(*zip(*(lesson.known for lesson in lessons), strict=True))


def told_by_others(lessons: Sequence[Lesson], number: int) -> Context:
    """What the network is told of a lesson, its estimates weighted by the others: never by its own truth."""
    own = lessons[number]
    return told(own.clip, own.hidden, own.found, stacked([*lessons[:number], *lessons[number + 1 :]]))


def pasted(x: Tensor, hidden: Tensor, values: Tensor) -> Tensor:
    """x [C, T, H, W] with values [C, N] where bool [T, H, W]."""
    made = x.clone()
    made[:, hidden] = values
    return made


def told(clip: Tensor, hidden: Tensor, found: Candidates, stack: Stack) -> Context:
    """What the network is told of a clip [C, T, H, W] with estimates of what is hidden of it."""
    error = stack.expected_error(found).clamp(min=SMALLEST_ERROR)
    estimate = pasted(clip, hidden, stack.estimate(found).T)
    others = torch.stack([pasted(clip, hidden, found.values[k].T) for k in SHOWN])
    scale = pasted(torch.full_like(clip[:1], float(error.median())), hidden, error[None])
    return Context(estimate[None], scale[None], hidden[None, None], others[None])


def _of_clip(energy: ConditionalEnergy, context: Context) -> ConditionalEnergy:
    """The same energy, its reference telling all of a small clip."""
    made = ConditionalEnergy(**{**energy.arguments, "reference": ClipReference.of(context)})
    made.net = energy.net
    return made


def context_of(restoration: Restoration, clip: Tensor, hidden: Tensor, row: int = 0, column: int = 0) -> Context:
    """What the energy is told of a clip [C, T, H, W], a part of another one at a row and a column of it."""
    found = candidates(clip[None], hidden[None, None], restoration.thin).within(row, column)
    return told(clip, hidden, found, restoration.stack)


def learning(
    lessons: Sequence[Lesson], judges: Sequence[Lesson], contexts: Sequence[Context], recipe: Recipe, run: Run
) -> Learning[ConditionalEnergy]:
    """How the energy is learned from what is held out."""
    settings = recipe.energy
    assert isinstance(settings, Amortised) and settings.widths is not None and settings.depths is not None
    judged = {judge.piece: judge.held_out for judge in judges}
    nothing = torch.zeros((), dtype=torch.bool)  # of a piece that has no judge
    # The judge's truth is never learned from.
    targets = [(lesson.held_out & ~judged.get(lesson.piece, nothing))[None, None] for lesson in lessons]
    useful = [k for k, target in enumerate(targets) if target.any()]
    if not useful:
        raise InputError("hide: too much is hidden to learn from one part of the rest and judge by another; hide less")
    first = contexts[0]
    sides = tuple(slice(0, min(8, n)) for n in first.hidden.shape[2:])
    small = Context(*(part[(..., *sides)] for part in first.tensors()))
    energy = ConditionalEnergy(
        ClipReference.of(small), first.estimate.shape[1], settings.widths, settings.depths, recipe.stride
    )
    device, batch = run.accelerator.device, recipe.batch
    smallest = [min(sizes) for sizes in zip(*(targets[k].shape[2:] for k in useful), strict=True)]
    side = sides_of((1, *smallest), recipe)  # of all crops, or they would make no batch

    def crop(rng: torch.Generator) -> list[Tensor]:
        """Context, truth and where it is known, of a crop that may be mirrored."""
        k = useful[int(torch.randint(len(useful), (), generator=rng, device=rng.device))]
        target = targets[k]
        where = window(target, side, rng)
        flips = [axis for axis in (-1, -2, -3) if torch.rand((), generator=rng, device=rng.device) < 0.5]
        whole = (*contexts[k].tensors(), lessons[k].clip[None], target)
        return [part[(..., *where)].flip(flips) for part in whole]

    def draw(energy: ConditionalEnergy, step: int, rng: torch.Generator) -> tuple[ConditionalEnergy, Batch]:
        drawn = zip(*(crop(rng) for _ in range(batch)), strict=True)
        estimate, scale, hidden, others, x, known = (torch.cat(part).to(device) for part in drawn)
        return energy.told(Context(estimate, scale, hidden, others)), Batch(x, known)

    return Learning(energy, recipe.objective, draw, recipe.training, {})


def _judged(
    energy: ConditionalEnergy, stack: Stack, thin: bool, judges: Sequence[Lesson], contexts: Sequence[Context], run: Run
) -> Restoration:
    """How much of what the energy changes is kept, and how wide the band is."""
    changes = [refined(energy, context, run) - context.estimate[0] for context in contexts]
    wanted = [judge.clip - context.estimate[0] for judge, context in zip(judges, contexts, strict=True)]
    masks = [judge.held_out for judge in judges]
    share = shrinkage(wanted, changes, masks)
    ratios, before, after = [], [], []
    for target, change, mask, context in zip(wanted, changes, masks, contexts, strict=True):
        left = (target - share * change)[:, mask]
        before.append(target[:, mask])
        after.append(left)
        ratios.append((left.abs() / context.scale[0][:, mask]).flatten())
    found = {
        "pixels": float(sum(int(mask.sum()) for mask in masks)),
        "initial_estimate": _psnr(torch.cat(before, 1)),
        "recovery": _psnr(torch.cat(after, 1)),
    }
    run.log(event="gate", shrinkage=share, **found)
    boxes = tuple(tuple(judge.piece) for judge in judges)
    return Restoration(stack, share, certainty.stretch(torch.cat(ratios)), found, thin, boxes, tuple(masks))


def _psnr(error: Tensor) -> float:
    return metrics.psnr(float(error.double().square().mean()))


def refined(energy: ConditionalEnergy, context: Context, run: Run) -> Tensor:
    """The posterior mean [C, T, H, W] of the energy that is told a context of one clip, tile by tile."""
    hidden, estimate = context.hidden[0, 0], context.estimate[0]
    damage = Damage.whole(hidden)
    joined = Joined(damage, len(estimate), TILE)
    device = run.accelerator.device
    for box in TILE.windows(damage):
        where = (..., *box.where)
        tile = Context(*(part[where] for part in context.tensors())).to(device)
        with torch.no_grad(), run.accelerator.autocast():
            joined.add(box, energy.told(tile).posterior_mean()[0].float().cpu())
    return pasted(estimate, hidden, joined.values)


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

    def estimated(part: tuple[Box, Tensor]) -> tuple[Box, Tensor, Context]:
        box, clip = part
        hidden = damage.masks(box)
        return box, hidden, context_of(restoration, torch.where(hidden, 0.0, clip), hidden, box.y0, box.x0)

    found = side_by_side(estimated, parts(frames(), todo))
    for box, hidden, context in run.progress(found, len(todo), "windows"):
        checkpoint.save(_place(run, box), _restored(energy, restoration, context, hidden, run), {})
    run.accelerator.wait_for_everyone()
    joined: dict[str, Joined] = {}
    for box in boxes:
        saved = checkpoint.load(_place(run, box))
        assert saved is not None
        for name, values in saved[0].items():
            joined.setdefault(name, Joined(damage, len(values), plan)).add_hidden(box, values.float())
    return Restored(*(joined[name].values for name in ("mean", "spread", "estimate")))


def restored_whole(energy: ConditionalEnergy, restoration: Restoration, hidden: Tensor, run: Run) -> Restored:
    """Recover what is hidden, bool [T, H, W], of a clip that the reference of an energy tells."""
    found = _restored(energy, restoration, energy.reference.free(1), hidden, run)
    return Restored(found["mean"].float(), found["spread"].float(), found["estimate"].float())


def _restored(
    energy: ConditionalEnergy, restoration: Restoration, found: Context, hidden: Tensor, run: Run
) -> dict[str, Tensor]:
    """Values of what is hidden in a window, half precision."""
    estimate, scale = found.estimate[0], found.scale[0]
    mean = estimate + restoration.shrinkage * (refined(energy, found, run) - estimate)
    made = {"mean": mean.clamp(-1, 1), "spread": restoration.stretch * scale, "estimate": estimate}
    return {name: x[:, hidden].half() for name, x in made.items()}


def _place(run: Run, box: Box) -> Path:
    return run.folder / "windows" / "_".join(map(str, box))


def _shared(boxes: Sequence[Box], run: Run) -> list[Box]:
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
