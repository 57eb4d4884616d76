"""Learn the energy of a whole clip, to make more of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from energies import Context, Refiner
from energies.objectives import Batch, Denoising
from pipelines.pipeline import Run
from pipelines.stages.video.learn import Refine, crop_window
from pipelines.training import Optimizer, train

LEAST_SCALE = 0.02  # 2.5 grey levels: what hardly moves need not be learned more finely


def scene(clip: Tensor, frames: int) -> Context:
    """What stays the same in a clip [C, T, H, W]: its mean picture, and how much each pixel varies about it."""
    mean = clip.mean(1, keepdim=True)
    variance = (clip - mean).square().mean((0, 1), keepdim=True)
    scale = variance.sqrt().clamp(min=LEAST_SCALE)
    size = (-1, frames, -1, -1)
    fill = mean.expand(size)[None]
    scale = scale.expand(size)[None]
    return Context(
        fill.contiguous(),
        scale.contiguous(),
        torch.ones_like(scale, dtype=torch.bool),
        fill[:, None][:, :0].contiguous(),
    )


@dataclass(frozen=True)
class LearnClip:
    """Learn the energy of a clip by denoising at all noise levels, its mean picture given."""

    needs: ClassVar[tuple[str, ...]] = ("clip",)
    gives: ClassVar[tuple[str, ...]] = ("energy",)
    distributed: ClassVar[bool] = True

    energy: Refine = field(default_factory=lambda: Refine((32, 64, 96), (1, 2, 2)))
    """The network."""

    objective: Denoising = field(default_factory=lambda: Denoising(0.0, 0.7, 1.3))
    """How it learns."""

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(400, 0.02, 15, 1.0, 0.99, method="muon"))
    """How its weights are found."""

    crop: tuple[int, int] = (12, 64)
    """Frames and pixels a side of the crops that a step learns from."""

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        clip = values["clip"]
        whole = scene(clip, clip.shape[1])
        energy = Refiner(len(clip), 0, self.energy.widths, self.energy.depths)
        everywhere = torch.ones(1, 1, *clip.shape[1:], dtype=torch.bool)
        device = run.accelerator.device

        def draw(energy: Refiner, step: int, rng: torch.Generator) -> tuple[Refiner, Batch]:
            where = crop_window(everywhere, self.crop, rng)
            parts = [*whole.tensors().values(), clip[None], everywhere]
            fill, scale, hidden, others, x, known = (part[(..., *where)].to(device) for part in parts)
            return energy.given(Context(fill, scale, hidden, others)), Batch(x, known)

        energy = train(energy, self.objective, draw, self.optimizer, run, {})
        return {"energy": energy.given(whole).at(0.1)}
