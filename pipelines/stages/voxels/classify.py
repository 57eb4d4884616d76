"""Classify shapes, say how sure, and make some of each class with the same network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from data import images
from pipelines.measures.solids import distances
from pipelines.pipeline import Run
from pipelines.report import Report, pictures
from pipelines.stages.joint import Classification, Examples
from pipelines.stages.voxels.grids import likeliest, rendered
from pipelines.stages.voxels.learn_joint import labelled


@dataclass(frozen=True)
class Classify(Classification):
    """Accuracy and calibration of the joint energy beside the same network by cross-entropy alone, and samples of each
    class, judged by the nearest shape that was learned from; into metrics.json and the report."""

    needs: ClassVar[tuple[str, ...]] = ("shapes", "energy", "plain", "generator")
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary", "samples")
    distributed: ClassVar[bool] = True

    levels: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Noise levels that classes are read at, in units of x, where the energy is a family over levels: p(y | x) is the
    mean over them, which is less sure of itself than any one."""

    samples: int = 0
    """Samples to make, the classes in turns; 0: none. After minutes of learning they are noise at 30^3 voxels; shapes
    of a class are made by `voxel_synthesis`."""

    def examples(self, values: dict[str, Any]) -> Examples:
        return labelled(values["shapes"], "validation")

    def judged(self, collections: list[Tensor], values: dict[str, Any], run: Run) -> list[Tensor]:
        x, labels = labelled(values["shapes"], "train").known()
        return [labels[distances(likeliest(new), x > 0).argmin(1)] for new in collections]

    def show(self, samples: Tensor, report: Report, run: Run) -> None:
        sheet = pictures.grid(rendered(likeliest(samples)).movedim(1, 0))
        images.write(run.root / "samples.png", sheet)
        report.image(sheet, "samples of the joint energy, the classes in turns")
