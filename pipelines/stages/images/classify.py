"""Classify pictures, say how sure, and make some of each class with the same network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from data import images
from pipelines.measures import judge
from pipelines.pipeline import Run
from pipelines.report import Report, pictures
from pipelines.stages.images.evaluate import judge_of
from pipelines.stages.images.learn_joint import labelled
from pipelines.stages.joint import Classification, Examples


@dataclass(frozen=True)
class Classify(Classification):
    """Accuracy and calibration of the joint energy beside the same network by cross-entropy alone, and samples of each
    class, judged by a classifier of its own; into metrics.json and the report."""

    needs: ClassVar[tuple[str, ...]] = ("images", "energy", "plain", "generator")
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary", "samples")
    distributed: ClassVar[bool] = True

    def examples(self, values: dict[str, Any]) -> Examples:
        return labelled(values["images"], "validation")

    def judged(self, collections: list[Tensor], values: dict[str, Any], run: Run) -> list[Tensor]:
        by = judge_of(values["images"], run)
        assert isinstance(by, judge.Classifier)
        return [by.probabilities(x).argmax(1) for x in collections]

    def show(self, samples: Tensor, report: Report, run: Run) -> None:
        sheet = pictures.grid(samples)
        images.write(run.root / "samples.png", sheet)
        report.image(sheet, "samples of the joint energy, the classes in turns")
