"""Combine experts of clips: the stages of pictures, to which a clip is a picture with an axis of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from data import video
from energies import Schedule
from pipelines.pipeline import Run
from pipelines.report import pictures
from pipelines.stages import images
from pipelines.results import emptied
from pipelines.training import Optimizer


@dataclass(frozen=True)
class Compose(images.Compose):
    """Combine experts by an expression into one energy of clips: one of motion and one of appearance, say. Experts that
    are not given are learned first, each from its own labels alone."""

    expr: str = "motion.right + colour.red"
    """a + b: both; w * a, a - w * b: more or less of it, and away from it; a | b: either; not a: any other label. An
    expert is written NAME.LABEL, or NAME where it has no labels. Moving shapes have shape, colour and motion."""

    strength: float = 1.5
    """How much concepts count beside p(x): 1 is Bayes' rule; more insists on them, at a lower temperature. (2, as for
    pictures, was not measured.)"""

    references: int = 0
    """Further clips a step that tell an expert that is learned what to expect of a noisy one, as `learn.references` of
    image_synthesis. 0: none; what they gain for clips was not measured."""

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(1000, 0.02, 30, 1.0, 0.995, 100, "muon"))
    """How the experts that are missing are learned."""

    generator: Schedule = field(default_factory=lambda: Schedule(16, 3.0, 0.04, 8, 0.6))
    """How it is sampled: the Langevin steps at each level are what makes a sum of noisy energies right."""


@dataclass(frozen=True)
class SynthesizeClips(images.Synthesize):
    """Sample new clips from the energy, of a class where it was learned by class."""

    num: int = 32
    """Number of clips."""


@dataclass(frozen=True)
class EvaluateComposition(images.EvaluateComposition):
    """Let classifiers, learned apart, say whether each sample is all that was asked for, into metrics.json. Beside it
    the same energy without Langevin steps, and the plain sum of the experts' energies."""

    baselines: int = 32
    """Samples of each of the simpler ways; 0: none."""

    cells: int = 2
    """Samples of every label of the first expert with every label of the second, in a grid; 0: no grid."""


@dataclass(frozen=True)
class ExportComposition(images.ExportComposition):
    """Write the samples as MP4 files, a sheet of them, frames side by side, the grid, the report and the composed
    energy into the run's folder; the experts lie in experts/."""

    needs: ClassVar[tuple[str, ...]] = (*images.ExportComposition.needs, "source")
    columns: ClassVar[int] = 2  # strips of frames beside each other

    pictures: int = 16
    """Samples to write as MP4 files, at most."""

    def write(self, samples: Tensor, values: dict[str, Any], run: Run) -> None:
        folder = emptied(run.root / "samples", "sample")
        for number, clip in enumerate(samples):
            video.write(folder / f"sample_{number:03d}.mp4", clip.clamp(-1, 1), values["source"]["frames_a_second"])

    def sheet(self, x: Tensor, columns: int) -> np.ndarray:
        """Every clip a strip of its frames."""
        scale = -(-48 // x.shape[-2])
        return pictures.grid(x.transpose(2, 3).flatten(3), columns, scale)
