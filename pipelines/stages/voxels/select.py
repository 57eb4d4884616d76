"""Keep of the shapes that were made those that hold together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from data.errors import InputError
from pipelines.measures.solids import WHOLE, largest_shares
from pipelines.pipeline import Run

SELECTED = ("coarse", "measured", "fields", "solids")


@dataclass(frozen=True)
class Select:
    """Keep the shapes that are one part: rejection, which samples the product of p(x) and an expert that knows only
    "whole" and "not". Where none is, the one that is closest stays. It is for shapes that were made, not recovered."""

    needs: ClassVar[tuple[str, ...]] = SELECTED
    gives: ClassVar[tuple[str, ...]] = (*SELECTED, "selection")

    whole: float = WHOLE
    """Share of a shape's voxels that its largest part must hold; 0: all shapes are kept."""

    def __post_init__(self) -> None:
        if not 0 <= self.whole <= 1:
            raise ValueError(f"whole must lie in [0, 1], got {self.whole}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        if "targets" in values:
            raise InputError("select is for new shapes; those that are recovered or refined each have a truth")
        shares = largest_shares(values["solids"])
        kept = (shares >= self.whole).nonzero()[:, 0]
        if not len(kept):
            kept = shares.argmax()[None]
        selection = {"made": len(shares), "whole": int((shares >= WHOLE).sum()), "kept": len(kept)}
        run.log(event="selected", **selection)
        return {name: values[name][kept] for name in SELECTED} | {"selection": selection}
