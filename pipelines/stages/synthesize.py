"""Make new x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import Chain, ConditionalEnergy, Energy, Schedule, Stepwise, Tiled, tiled
from energies.diagnostics import Monitor, saturation
from energies.generators import Generator
from energies.samplers.masked import MaskedSampling
from energies.sampling import LevelSampler
from pipelines.examples import Examples
from pipelines.learning.single import LONGEST, of_size
from pipelines.modalities import modality_of
from pipelines.sampling.chains import findings
from pipelines.sampling.gate import of_damaged
from pipelines.sampling.generation import asked_labels, check_label, check_suits, generate, guidance_of
from pipelines.sampling.masked import masked_samples, of_details, of_two_values
from pipelines.settings import check_sampler
from pipelines.stage import Run

LARGEST = 4096  # pixels a side of what is made
MOST_GUIDANCE = 100  # beyond, the class drowns what is learned of x
MARGIN = 24  # pixels around a photograph, where nothing is said


@dataclass(frozen=True)
class Synthesize:
    """Sample new x from the energy: of a class where it was learned by class, of any size where of one photograph or
    clip."""

    needs: ClassVar[tuple[str, ...]] = ("data", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("samples", "soft", "sample_labels", "generator", "guidance", "sampling")
    distributed: ClassVar[bool] = True
    stored: ClassVar[bool] = True

    num: int | None = None
    """How many; null: 1 of a photograph, 3 of a single clip, else 64."""

    label: str | None = None
    """Of an energy learned by class: the name of one, each, to take turns, or any; null: each where it was."""

    guidance: float | None = None
    """How much the class counts: above 1, samples are surer to be of it and less varied, at twice the time; null: 1.5
    where a class is asked for of an energy of many noise levels, else 1."""

    generator: Schedule | Chain | Stepwise | None = None
    """How they are sampled: schedule, chain or stepwise; null: as it suits what was learned or composed, and by masks
    where an amortised energy is of x of two values."""

    sampler: LevelSampler | None = None
    """What takes the steps of a chain, or those at every level of a schedule: mala, hmc, underdamped, random_walk,
    parallel_tempering; its step size is in units of x, or of the level. null: langevin."""

    warm_up: int = 0
    """Steps that first adapt the step size of mala, hmc or random_walk; 50 or more, or 0."""

    masked: MaskedSampling = MaskedSampling()
    """How an amortised energy of x of two values is sampled: some elements at a time, given those before."""

    remask: int = 6
    """How often in the end most of such a sample is forgotten and expected again: specks go, and gaps close."""

    frames: int | None = None
    """Length of the samples of a single clip; null: that of the clip, 64 at most."""

    height: int | None = None
    """Pixels of the samples of a photograph; null: twice those that were loaded."""

    width: int | None = None
    """Likewise."""

    margin: int | None = None
    """Pixels around it that are sampled as well and cut off, for the network sees zeros beyond a border. null: 24
    around a photograph."""

    windows: int | None = None
    """Pixels between overlapping windows as large as a crop, 32 of 64 say: the product of the energy over them is
    sampled, without a margin, and a texture goes on at its opposite edge where its size is a multiple. It serves any
    energy, at so many times the time as windows overlap. null: the network is made as large as the texture."""

    def __post_init__(self) -> None:
        if self.num is not None and self.num < 1:
            raise ValueError(f"num must be 1 or more, got {self.num}")
        if self.remask < 0:
            raise ValueError(f"remask must not be negative, got {self.remask}")
        if self.guidance is not None and not 0 <= self.guidance <= MOST_GUIDANCE:
            raise ValueError(f"guidance must lie in [0, {MOST_GUIDANCE}], got {self.guidance}")
        if self.frames is not None and self.frames < 2:
            raise ValueError(f"frames must be 2 or more, got {self.frames}")
        for name in ("height", "width"):
            size = getattr(self, name)
            if size is not None and not 16 <= size <= LARGEST:
                raise ValueError(f"{name} must be 16 to {LARGEST} pixels, got {size}")
        if self.margin is not None and not 0 <= self.margin <= 512:
            raise ValueError(f"margin must be 0 to 512 pixels, got {self.margin}")
        if self.windows is not None and self.windows < 4:
            raise ValueError(f"windows must be 4 pixels apart or more, got {self.windows}")
        if self.windows and self.margin:
            raise ValueError("margin and windows cannot be combined: windows need none")
        check_sampler(self.sampler, self.warm_up)

    def check(self, values: dict[str, Any]) -> None:
        if "data" not in values:
            return
        data: Examples = values["data"]
        self._check(data)
        if {"energy", "generator"} <= values.keys() and not data.single and not of_details(values["energy"]):
            asked_labels(self.label, self.guidance, values["energy"], data.classes, self.number(data))
            if self.generator is not None:
                check_suits(self.generator, values["energy"], "synthesize")

    def _check(self, data: Examples) -> None:
        check_label(self.label, data)
        if not data.single:
            for name in ("frames", "height", "width", "margin", "windows"):
                if getattr(self, name) is not None:
                    raise InputError(f"synthesize.{name} is for the energy of one photograph or clip; leave it out")
        elif self.frames is not None and len(data.shape) != 4:
            raise InputError("synthesize.frames is for the energy of a clip; leave it out")

    def number(self, data: Examples) -> int:
        return self.num or (64 if not data.single else 3 if _is_clip(data) else 1)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data: Examples = values["data"]
        self._check(data)
        energy = values["energy"]
        if of_details(energy):
            raise InputError("synthesize: an energy of details knows nothing whole; set learn.energy.amortised.rank")
        if of_damaged(energy):
            raise InputError("synthesize: the energy was learned to recover one damaged clip, and makes no other")
        if data.single:
            energy = self._resized(energy, data)
        energy = energy.to(run.accelerator.device).eval()
        generator = self.generator or values["generator"]
        num = self.number(data)
        labels = asked_labels(self.label, self.guidance, energy, data.classes, num)
        guidance = guidance_of(self.guidance, energy, labels)
        monitor = _monitor(data, generator)
        soft = self._drawn(energy, generator, num, labels, guidance, monitor, data, run)
        if data.single:
            soft = self._cut(soft, data)
        samples = modality_of(data.modality).made(soft, energy)
        return {
            "samples": samples,
            "soft": None if samples is soft else soft,
            "sample_labels": labels,
            "generator": generator,
            "guidance": guidance,
            "sampling": findings(monitor),
        }

    def _drawn(
        self, energy: Energy, generator: Generator, num: int, labels: Tensor | None, guidance: float, monitor: Monitor,
        data: Examples, run: Run,
    ) -> Tensor:  # fmt: skip
        """Samples [num, *event], not decided."""
        if of_two_values(energy) and self.generator is None:
            return self._masked(energy, num, run)
        whole = energy.free() if isinstance(energy, ConditionalEnergy) else energy
        purpose = "texture" if data.single and not _is_clip(data) else "synthesize"
        return generate(
            whole, generator, num, labels, run, purpose, guidance=guidance, sampler=self.sampler, warm_up=self.warm_up,
            monitor=monitor,
        )  # fmt: skip

    def _masked(self, energy: ConditionalEnergy, num: int, run: Run) -> Tensor:
        if self.sampler is not None:
            raise InputError("synthesize.sampler: this energy is sampled by masks; give synthesize.generator, too")
        nothing = torch.zeros(num, *energy.event_shape)
        hidden = torch.ones_like(nothing[:, :1], dtype=torch.bool)
        return masked_samples(energy, nothing, hidden, 1, self.masked, self.remask, run, "synthesize").clamp(-1, 1)

    def sides(self, data: Examples) -> tuple[int, ...]:
        """Of the samples of a photograph, [H, W], or of a clip, [T, H, W]."""
        times = 1 if _is_clip(data) else 2
        height, width = (size * times for size in data.shape[-2:])
        frame = self.height or height, self.width or width
        return (self.frames or min(data.shape[1], LONGEST), *frame) if _is_clip(data) else frame

    def _margin(self, data: Examples) -> int:
        if self.windows:
            return 0
        return self.margin if self.margin is not None else 0 if _is_clip(data) else MARGIN

    def _resized(self, energy: Energy, data: Examples) -> Energy:
        """The energy of one photograph or clip, over x of the size of the samples and their margin."""
        size, margin = self.sides(data), self._margin(data)
        try:
            if self.windows:
                return over_windows(energy, size, self.windows)
            return of_size(energy, (*size[:-2], *(side + 2 * margin for side in size[-2:])))
        except ValueError as error:
            name = "windows" if self.windows else "frames, .height and .width"
            raise InputError(f"synthesize.{name}: {error}") from None

    def _cut(self, x: Tensor, data: Examples) -> Tensor:
        """Without the margin, x [n, *shape]."""
        return cut(x, self.sides(data), self._margin(data))


def over_windows(energy: Energy, size: Sequence[int], stride: int) -> Tiled:
    """The product of an energy over windows so far apart, of x [C, *size] or a little larger: a multiple of the stride.

    ValueError: the windows do not divide by the stride, or x is smaller than one.
    """
    window = energy.event_shape[1:]
    names = "x".join(map(str, window))
    if any(side % stride or side == stride for side in window):
        raise ValueError(f"does not divide windows of {names} into some that overlap")
    if any(side < own for side, own in zip(size, window, strict=True)):
        raise ValueError(f"windows are of {names}, larger than the {'x'.join(map(str, size))} that are asked for")
    return tiled(energy, [-(-side // stride) * stride for side in size], [stride] * len(window))


def cut(x: Tensor, size: Sequence[int], margin: int) -> Tensor:
    """x [n, C, *sides] of that size, without what lies around it by a margin along the last two axes, or behind it."""
    for axis, side in enumerate(size, 2):
        x = x.narrow(axis, margin if axis >= x.ndim - 2 else 0, side)
    return x.contiguous()


def _is_clip(data: Examples) -> bool:
    return len(data.shape) == 4


def _monitor(data: Examples, generator: Generator) -> Monitor:
    """It calls chains saturated where they are at the bounds far more often than the data."""
    at_bounds = float(saturation(data.x("train" if data.single else "validation")).mean())
    temperature = generator.noise**2 if isinstance(generator, Chain) else 1.0
    return Monitor(bounds=(-1, 1), saturated=(1 + at_bounds) / 2, temperature=temperature)
