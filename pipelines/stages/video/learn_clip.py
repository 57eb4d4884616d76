"""Learn the energy of a whole clip, to make more of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from energies import ClipReference, ConditionalEnergy, Context
from energies.objectives import Batch, Denoising
from pipelines.pipeline import Run
from pipelines.stages.video.learn import Refine, crop_window
from pipelines.stages.video.scene import scene
from pipelines.training import Optimizer, train


@dataclass(frozen=True)
class LearnClip:
    """Learn the energy of a clip by denoising at all noise levels, its mean picture given. It makes new clips of any
    length, and recovers damaged ones of the same scene by conditioning (`learn.pretrained` of video_recovery)."""

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
        energy = ConditionalEnergy(ClipReference.of(whole), len(clip), self.energy.widths, self.energy.depths)
        everywhere = torch.ones(1, 1, *clip.shape[1:], dtype=torch.bool)
        device = run.accelerator.device

        def draw(energy: ConditionalEnergy, step: int, rng: torch.Generator) -> tuple[ConditionalEnergy, Batch]:
            where = crop_window(everywhere, self.crop, rng)
            parts = [*whole.tensors(), clip[None], everywhere]
            fill, scale, hidden, others, x, known = (part[(..., *where)].to(device) for part in parts)
            return energy.told(Context(fill, scale, hidden, others)), Batch(x, known)

        return {"energy": train(energy, self.objective, draw, self.optimizer, run, {})}
