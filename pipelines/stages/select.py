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
    """Keep the samples that are one part, and stand if that is asked for: rejection, which samples the product of p(x)
    and an expert that knows only yes and no. Where none is kept, the one that is nearest to one part stays. It is for
    samples that were made, not recovered."""

    needs: ClassVar[tuple[str, ...]] = ("data", "samples")
    takes: ClassVar[tuple[str, ...]] = ("soft", "sample_labels", "targets")
    gives: ClassVar[tuple[str, ...]] = ("samples", "soft", "sample_labels", "selection")

    whole: float = WHOLE
    """Share of a sample that its largest part must hold; 0: all samples are kept."""

    standing: bool = False
    """Keep only those that stand by themselves: their centre of mass is above what they stand on."""

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
        sound, stand = shares >= self.whole, modality.standing(values["samples"])
        if self.standing:
            if stand is None:
                raise InputError(f"select.standing: whether {modality.noun} stand is no question; leave it out")
            sound = sound & stand
        kept = sound.nonzero()[:, 0]
        if not len(kept):
            kept = shares.argmax()[None]
        whole = shares >= WHOLE
        selection = {"made": len(shares), "whole": int(whole.sum()), "kept": len(kept)}
        if stand is not None:
            selection["standing"] = int((whole & stand).sum())
        run.log(event="selected", **selection)
        rows = {name: values.get(name) for name in ("samples", "soft", "sample_labels")}
        return {name: None if x is None else x[kept] for name, x in rows.items()} | {"selection": selection}
