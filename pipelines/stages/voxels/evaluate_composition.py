"""Say whether composed shapes are what was asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from pipelines import expression
from pipelines.expression import Node, parse
from pipelines.measures.attributes import Attributes, Data
from pipelines.measures.judge import share_of
from pipelines.measures.solids import WHOLE, largest_shares
from pipelines.pipeline import Run
from pipelines.results import save_metrics
from pipelines.stages.voxels.evaluate import EvaluateSynthesis, compared
from pipelines.stages.voxels.grids import averaged
from pipelines.stages.voxels.load import Load

JUDGED_BY = 3000  # pieces of furniture that the classifiers learn from, at most
VOXELS = 200_000_000  # of all that classifiers learn from, at most; each takes four bytes
JUDGED_FOR = 600  # steps


@dataclass(frozen=True)
class EvaluateComposition:
    """Let classifiers, learned apart, say whether each new shape is all that was asked for, and compare the shapes with
    those to judge by, and with those that were learned from, into metrics.json."""

    needs: ClassVar[tuple[str, ...]] = (*EvaluateSynthesis.needs, "source", "composition")
    gives: ClassVar[tuple[str, ...]] = EvaluateSynthesis.gives

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        found, lines = compared(values)
        node = parse(values["composition"]["expr"])
        if set(expression.names(node)) & set(values["shapes"]["attributes"]):
            lines += self._asked(node, found, values, run)
        save_metrics(found, run.root)
        return {"metrics": found, "summary": "\n".join(lines)}

    def _asked(self, node: Node, found: dict[str, Any], values: dict[str, Any], run: Run) -> list[str]:
        """Adds to what was found whether shapes are what was asked for; gives the lines that say so."""
        solids = values["solids"]
        judge = judge_of(values, node, solids.shape[-1], run)
        asked, holds = judge.judged(node, solids.float() * 2 - 1)
        asked["hold_and_in_one_part"] = share_of(holds & (largest_shares(solids) >= WHOLE))
        found |= {"asked": asked, "classifiers": judge.accuracy}
        lines = ["", f"share of {asked['num']} new shapes that are what was asked for"]
        lines += [f"{name.replace('_', ' '):30}{share:10.3f}" for name, share in asked.items() if name != "num"]
        told = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in judge.accuracy.items())
        lines.append(f"(by classifiers that were learned apart; their own accuracy: {told})")
        return lines


def judge_of(values: dict[str, Any], node: Node, size: int, run: Run) -> Attributes:
    """Learned from furniture of another seed where the shapes are furniture, else from those to learn from."""
    shapes, name = values["shapes"], values["source"]["name"]
    asked = expression.names(node)
    classes = {name: own["classes"] for name, own in shapes["attributes"].items() if name in asked}
    judged = _labelled(shapes, "validation", size)
    if name.split(":")[0] != "procedural":
        return Attributes.fit(classes, _labelled(shapes, "train", size), judged, run)
    others = Load(name, shapes["side"], min(JUDGED_BY, VOXELS // shapes["side"] ** 3))(
        {}, replace(run, seed=run.seed + 1_000)
    )["shapes"]
    return Attributes.fit(classes, _labelled(others, "train", size), judged, run, JUDGED_FOR)


def _labelled(shapes: dict[str, Any], part: str, size: int) -> Data:
    most = VOXELS // size**3
    x = torch.where(averaged(shapes[part][:most], shapes["side"], size) > 0, 1.0, -1.0)
    return x, {name: own[part][:most] for name, own in shapes["attributes"].items()}
