"""Learn the energy of a damaged clip from what is seen of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from data.errors import InputError
from energies import ClipReference, ConditionalEnergy, Context, GenerativeConvNet
from energies.buffer import ReplayBuffer
from energies.classical.stacking import Estimates, Example, estimates, held_out_masks
from energies.objectives import Batch, Denoising, MaximumLikelihood
from pipelines.pipeline import Run
from pipelines.results import weights_of
from pipelines.settings import check_network
from pipelines.stages.video.scene import prior
from pipelines.training import Optimizer, train


@dataclass(frozen=True)
class Refine:
    """Our default: a network around a reference that is regressed on the clip itself (energies/conditional.py): an
    amortised posterior mean, and a conditional energy for samples."""

    widths: tuple[int, ...] = (40, 64)
    """Channels of the network at a half, a quarter ... of the resolution."""

    depths: tuple[int, ...] = (1, 2)
    """Residual blocks there."""

    def __post_init__(self) -> None:
        check_network(self.widths, self.depths)


@dataclass(frozen=True)
class ConvNet:
    """A published generative ConvNet (energies/networks/convnet.py)."""

    preset: Literal["st", "fc_s"] = "st"
    """st: filters everywhere in space and time; fc_s: whole-frame filters."""

    sigma: float = 0.5
    """Standard deviation of the Gaussian reference, in units of x (half the range of values)."""


Energy = Refine | ConvNet


@dataclass(frozen=True, eq=False)
class Guard:
    """What the recovery is judged by before it is trusted: a seen part that was held out, and never learned from.

    Attributes:
        context: as that of the clip, with the held-out part hidden as well.
        held_out: bool [T, H, W].
        first: first fill [C, T, H, W] of both.
        trust: share of what the reference changes in the first fill that the held-out part speaks for, 0 to 1.
    """

    context: Context
    held_out: Tensor
    first: Tensor
    trust: float


@dataclass(frozen=True)
class Learn:
    """Fill what is hidden, and learn an energy that improves on the fill. Only seen pixels are learned from: parts of
    them are hidden too and held out, to learn from and, the last one, to judge by."""

    needs: ClassVar[tuple[str, ...]] = ("damaged", "hidden")
    gives: ClassVar[tuple[str, ...]] = ("fill", "energy", "context", "guard", "blend")
    distributed: ClassVar[bool] = True

    pretrained: str | None = None
    """Folder of a run, or of its energy, that learned to make such clips, as those of video_synthesis: then no energy
    is learned, and that one is conditioned on what is seen. It must have been learned from other frames, as with
    load.start: else it knows what is hidden here."""

    energy: Energy = Refine()
    """The energy: refine (our default), or conv_net, a published one."""

    objective: Denoising | MaximumLikelihood = Denoising()
    """How it learns: denoising, for refine; maximum_likelihood, for conv_net."""

    optimizer: Optimizer = Optimizer(steps=100)
    """How its weights are found."""

    held_out: int = 4
    """Held-out masks to learn from, at least 3; one more judges the result."""

    crop: tuple[int, int] = (12, 32)
    """Frames and pixels a side of the crops that a step learns from."""

    def __post_init__(self) -> None:
        if isinstance(self.energy, Refine) != isinstance(self.objective, Denoising):
            raise ValueError("objective must be denoising for the energy refine and maximum_likelihood for conv_net")
        if self.held_out < 3:
            raise ValueError(f"held_out must be 3 or more, got {self.held_out}")

    def files(self) -> tuple[str, ...]:
        return weights_of(self.pretrained)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        damaged, hidden = values["damaged"], values["hidden"]
        ready = None if self.pretrained is None else prior(Path(self.pretrained), damaged.shape, "learn.pretrained")
        found = run.on_main(lambda: self._reference(damaged, hidden, run))
        *examples, judge = found.examples
        context, trust = found.learned, found.shrinkage
        if ready is not None:
            energy = ready
        elif isinstance(self.energy, Refine):
            energy = self._refine(damaged, context, examples, judge, run)
        else:  # its reference changes nothing in the first fill
            context, trust, judge = found.first, 0.0, found.first_examples[-1]
            energy = self._maximum_likelihood(damaged, hidden, context.estimate, run)
        first = found.first_examples[-1].context.estimate[0]
        return {
            "fill": found.first.estimate[0],
            "energy": energy,
            "context": context,
            "guard": Guard(judge.context, judge.held_out[0, 0], first, trust),
            "blend": found.stacking,
        }

    def _reference(self, damaged: Tensor, hidden: Tensor, run: Run) -> Estimates:
        try:
            masks = held_out_masks(hidden, self.held_out + 1, run.generator("held out"))
        except ValueError as error:
            raise InputError(str(error)) from error
        return estimates(damaged, hidden, masks)

    def _refine(
        self, damaged: Tensor, context: Context, examples: list[Example], judge: Example, run: Run
    ) -> ConditionalEnergy:
        assert isinstance(self.energy, Refine)
        assert isinstance(self.objective, Denoising)
        # The judge's truth is never learned from; masks of whole frames may fall on the same ones as the judge's.
        targets = [example.held_out & ~judge.held_out for example in examples]
        lessons = [(example, target) for example, target in zip(examples, targets, strict=True) if target.any()]
        if not lessons:
            raise InputError("too little is seen to learn from one part of it and judge by another; hide less")
        energy = ConditionalEnergy(ClipReference.of(context), len(damaged), self.energy.widths, self.energy.depths)
        clip = damaged[None]
        device = run.accelerator.device

        def draw(energy: ConditionalEnergy, step: int, rng: torch.Generator) -> tuple[ConditionalEnergy, Batch]:
            example, target = lessons[int(torch.randint(len(lessons), (), generator=rng, device=rng.device))]
            where = crop_window(target, self.crop, rng)
            flips = [axis for axis in (-1, -2, -3) if torch.rand((), generator=rng, device=rng.device) < 0.5]
            parts = [*example.context.tensors(), clip, target]
            fill, scale, seen, others, x, known = (part[(..., *where)].flip(flips).to(device) for part in parts)
            return energy.told(Context(fill, scale, seen, others)), Batch(x, known)

        return train(energy, self.objective, draw, self.optimizer, run, {})

    def _maximum_likelihood(self, damaged: Tensor, hidden: Tensor, fill: Tensor, run: Run) -> GenerativeConvNet:
        assert isinstance(self.energy, ConvNet)
        assert isinstance(self.objective, MaximumLikelihood)
        mean = float(damaged[:, ~hidden].mean())
        energy = GenerativeConvNet(self.energy.preset, list(damaged.shape), self.energy.sigma, mean)
        device = run.accelerator.device
        imputed, chains = fill.clone().to(device), ReplayBuffer(fill.to(device))
        seen, mask = ~hidden[None, None].to(device), hidden.to(device)
        batch = Batch(damaged[None].to(device), seen, mask, imputed, chains)
        kept = {"imputed": imputed, **chains.tensors()}
        return train(energy, self.objective, lambda energy, step, rng: (energy, batch), self.optimizer, run, kept)


def crop_window(target: Tensor, crop: tuple[int, int], rng: torch.Generator) -> tuple[slice, slice, slice]:
    """A random window in which some of the target lies, around one of its pixels; its sides are even."""
    places = target[0, 0].nonzero()
    centre = places[int(torch.randint(len(places), (), generator=rng, device=rng.device))].tolist()
    window = []
    for middle, num, side in zip(centre, target.shape[2:], (crop[0], crop[1], crop[1]), strict=True):
        length = min(num, side)
        shift = int(torch.randint(length, (), generator=rng, device=rng.device))
        first = min(max(middle - shift, 0), num - length)
        window.append(slice(first, first + length))
    return window[0], window[1], window[2]
