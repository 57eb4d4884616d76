"""Keep of the samples that were made those that hold together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from data.errors import InputError
from pipelines.examples import Examples
from pipelines.measures.solids import WHOLE
from pipelines.modalities import modality_of
from pipelines.stage import Run


@dataclass(frozen=True)
class Select:
    """Keep the samples that are one part: rejection, which samples the product of p(x) and an expert that knows only
    "whole" and "not". Where none is, the one that is closest stays. It is for samples that were made, not recovered."""

    needs: ClassVar[tuple[str, ...]] = ("data", "samples")
    takes: ClassVar[tuple[str, ...]] = ("soft", "sample_labels", "targets")
    gives: ClassVar[tuple[str, ...]] = ("samples", "soft", "sample_labels", "selection")

    whole: float = WHOLE
    """Share of a sample that its largest part must hold; 0: all samples are kept."""

    def __post_init__(self) -> None:
        if not 0 <= self.whole <= 1:
            raise ValueError(f"whole must lie in [0, 1], got {self.whole}")

    def check(self, values: dict[str, Any]) -> None:
        if "targets" in values:
            raise InputError("select is for samples that were made; what is recovered has a truth each")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        self.check(values)
        data: Examples = values["data"]
        modality = modality_of(data.modality)
        shares = modality.wholeness(values["samples"])
        if shares is None:
            raise InputError(f"select: whether {modality.noun} hold together is no question; leave it out")
        kept = (shares >= self.whole).nonzero()[:, 0]
        if not len(kept):
            kept = shares.argmax()[None]
        selection = {"made": len(shares), "whole": int((shares >= WHOLE).sum()), "kept": len(kept)}
        run.log(event="selected", **selection)
        rows = {name: values.get(name) for name in ("samples", "soft", "sample_labels")}
        return {name: None if x is None else x[kept] for name, x in rows.items()} | {"selection": selection}
