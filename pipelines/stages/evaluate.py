"""Say how good it is: what was recovered, made, or composed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from data.errors import InputError
from pipelines.measures import composition, recovery, synthesis
from pipelines.modalities import modality_of
from pipelines.results import save_metrics
from pipelines.stage import Run

KEPT = "made {made} {noun}; {whole} were whole{stand}; {kept} are kept and judged"


@dataclass(frozen=True)
class Evaluate:
    """Judge by data that were not learned from, into metrics.json. Recovered x are scored where nothing was seen,
    beside simple methods. New x are compared with real ones as collections. Of composed ones classifiers, learned
    apart, say whether each is all that was asked for."""

    needs: ClassVar[tuple[str, ...]] = ("data",)
    takes: ClassVar[tuple[str, ...]] = (
        "source", "targets", "measured", "observation", "truth_known", "recovered", "samples", "spread", "ways", "gate",
        "damage", "footage",
        "held_out", "sampling", "energy", "generator", "guidance", "sample_labels", "composition", "selection",
    )  # fmt: skip
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary", "rivals", "shown", "grid", "verdicts")
    distributed: ClassVar[bool] = True

    baselines: bool | tuple[str, ...] = True
    """Of what was recovered: whether simple methods are scored, too, or the names of some, as [mean, biharmonic]."""

    curve: int = 0
    """Of new x: how many for each point of a curve of quality against sampling steps, 32 or more; 0: no curve."""

    long: bool = True
    """With a curve, also take ten times the steps, from noise and from data."""

    rivals: int = 0
    """Of a composition: samples of simpler ways to ask, the same energy without Langevin steps and the plain sum of the
    experts' energies; 0: none."""

    cells: int = 0
    """Of a composition: samples of every label of the first expert with every label of the second, in a grid; 0: no
    grid."""

    def __post_init__(self) -> None:
        if self.curve < 0 or 0 < self.curve < 32:
            raise ValueError(f"curve must be 0, or 32 or more, got {self.curve}")
        if self.rivals < 0 or self.cells < 0:
            raise ValueError(f"rivals and cells must not be negative, got {self.rivals} and {self.cells}")

    def check(self, values: dict[str, Any]) -> None:
        if "energy" in values and not {"observation", "composition"} & values.keys():  # new x will be judged
            synthesis.check(values["data"])

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        modality = modality_of(values["data"].modality)
        is_recovery, is_composition = "recovered" in values, "composition" in values
        if not is_recovery and "samples" not in values:
            raise InputError("evaluate: nothing was recovered, and no samples were made; put it after such a stage")
        found: dict[str, Any] = {}
        lines: list[str] = []
        given: dict[str, Any] = {"rivals": None, "shown": None, "grid": None, "verdicts": None}
        if is_recovery:
            found, lines, rival = run.on_main(lambda: recovery.evaluate(values, modality, self.baselines, run))
            if rival is not None:
                given["rivals"] = {"name": rival[0], "x": rival[1].to(values["targets"].dtype)}
        elif not is_composition:
            found, lines, given["shown"] = synthesis.evaluate(values, modality, self.curve, self.long, run)
        else:
            found, lines = self._compared(values, run)
        if is_composition:
            told, words, more = composition.evaluate(values, modality, self.rivals, self.cells, run)
            found, lines, given = found | told, [*lines, *words], given | more
        if "selection" in values:
            found["selection"] = values["selection"]
            standing = values["selection"].get("standing")
            stand = "" if standing is None else f", of which {standing} stand"
            lines.append(KEPT.format(noun=modality.noun, stand=stand, **values["selection"]))
        if "sampling" in values:
            found["sampling"] = values["sampling"]["summary"]
            lines += [f"chains: {line}" for line in values["sampling"]["lines"]]
        run.on_main(lambda: save_metrics(found, run.root))
        return {"metrics": found, "summary": "\n".join(lines)} | given

    def _compared(self, values: dict[str, Any], run: Run) -> tuple[dict[str, Any], list[str]]:
        """Composed x beside real ones, where nothing has to be learned for it."""
        data = values["data"]
        compare = run.on_main(lambda: modality_of(data.modality).comparison(data, run, learn=False))
        if compare is None:
            return {}, []
        found = run.on_main(lambda: compare.beside(values["samples"], None, run.generator("evaluate")))
        return found, [*synthesis.summary(found), ""]
