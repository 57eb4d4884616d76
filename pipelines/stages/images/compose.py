"""Combine experts, learned apart, into one energy of pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from energies import Energy, Schedule
from pipelines.pipeline import Run
from pipelines.stages.experts import ComposeExperts
from pipelines.stages.images.learn import Learn


@dataclass(frozen=True)
class Compose(ComposeExperts):
    """Combine experts by an expression into one energy of pictures. Experts that are not given are learned first, each
    from its own labels alone."""

    needs: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[tuple[str, ...]] = ("energy", "generator", "composition")
    distributed: ClassVar[bool] = True

    strength: float = 2.0
    """How much concepts count beside p(x): 1 is Bayes' rule; more insists on them, at a lower temperature."""

    generator: Schedule = field(default_factory=lambda: Schedule(16, 3.0, 0.04, 16, 0.8, 0.5))
    """How it is sampled: the Langevin steps at the higher levels are what makes a sum of noisy energies right."""

    references: int = 2048
    """Further pictures a step that tell an expert that is learned what to expect of a noisy one, as `learn.references`
    of image_synthesis. 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.references < 0:
            raise ValueError(f"references must not be negative, got {self.references}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        images = values["images"]
        return self.composed(values, images["attributes"], images["train"].shape[1:], run)

    def learned(self, own: dict[str, Any], values: dict[str, Any], run: Run) -> Energy:
        labelled = values["images"] | {"classes": own["classes"], "train_labels": own["train"]}
        learn = Learn(optimizer=self.optimizer, references=self.references, conditional=True)
        return learn(values | {"images": labelled}, run)["energy"]
