"""Keep of the shapes that were made those that hold together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.pipeline import Run
from pipelines.stages.voxels.measures import largest_shares


@dataclass(frozen=True)
class Select:
    """Keep the shapes that are one part: rejection, which samples the product of p(x) and an expert that knows only
    "whole" and "not". Where none is, the one that is closest stays."""

    needs: ClassVar[tuple[str, ...]] = ("coarse", "fields", "solids")
    gives: ClassVar[tuple[str, ...]] = ("coarse", "fields", "solids", "selection")

    whole: float = 0.95
    """Share of a shape's voxels that its largest part must hold; 0: all shapes are kept."""

    def __post_init__(self) -> None:
        if not 0 <= self.whole <= 1:
            raise ValueError(f"whole must lie in [0, 1], got {self.whole}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        shares = largest_shares(values["solids"])
        kept = (shares >= self.whole).nonzero()[:, 0]
        selection = {"made": len(shares), "whole": len(kept)}
        run.log(event="selected", **selection)
        if not len(kept):
            kept = shares.argmax()[None]
        return {name: values[name][kept] for name in ("coarse", "fields", "solids")} | {"selection": selection}
