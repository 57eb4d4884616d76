"""Say how good it is, beside simple methods on the same input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from pipelines.measures import baselines
from pipelines.measures import solids as measures
from pipelines.pipeline import Run
from pipelines.results import save_metrics
from pipelines.stages.posterior import WAYS
from pipelines.stages.voxels.grids import averaged, likeliest, top_of_blocks, unpack
from pipelines.stages.voxels.recover import decided

SCORES = "(IoU: voxels set in both over those set in either, 1 is best; voxel error: share that is wrong)"
COLLECTION = """(in one part: share with 95 % of their voxels in one piece; two sample: how often the nearest other
shape is of the same kind, 0.5 where samples and real ones cannot be told apart; coverage: share of the real
ones that are nearest to some sample; distance, 1 - IoU: to the nearest shape that was learned from, median)"""


@dataclass(frozen=True)
class EvaluateRecovery:
    """Score recovered shapes on the hidden voxels beside baselines, into metrics.json; on all where what is seen is
    noisy."""

    needs: ClassVar[tuple[str, ...]] = (
        "shapes", "targets", "hidden", "observation", "measured", "truth_known", "solids", "samples", "ways",
    )  # fmt: skip
    gives: ClassVar[tuple[str, ...]] = ("metrics", "rivals", "summary")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        hidden, targets, solids = values["hidden"], values["targets"].float(), values["solids"]
        observation, damaged = values["observation"], torch.where(hidden, 0.0, values["measured"].float())
        where = decided(hidden, observation)
        labels = values["shapes"].get("validation_labels")
        labels = labels[: len(targets)] if labels is not None and len(labels) >= len(targets) > 1 else None
        shapes = values["shapes"]
        train = unpack(shapes["train"], shapes["side"])
        fields = baselines.recoveries(train, damaged, hidden, observation, shapes.get("train_labels"), labels)
        rivals = {name: likeliest(torch.where(where, f, damaged), where) for name, f in fields.items()}
        samples = values["samples"].float()
        found: dict[str, Any] = {"hidden_share": float(hidden.float().mean()), "shapes": len(targets)}
        ours = {"recovery": solids, "one_sample": samples > 0}
        return _scored(values, run, found, ours, rivals, targets > 0, where)


@dataclass(frozen=True)
class EvaluateRefinement:
    """Score super-resolved shapes beside baselines, into metrics.json."""

    needs: ClassVar[tuple[str, ...]] = ("shapes", "targets", "measured", "truth_known", "solids", "ways")
    gives: ClassVar[tuple[str, ...]] = ("metrics", "rivals", "summary")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        measured, targets, solids = values["measured"].float(), values["targets"].float(), values["solids"]
        if solids.shape != targets.shape:
            raise InputError(
                f"evaluate_refinement: refined to {solids.shape[-1]} voxels a side, the shapes are {targets.shape[-1]}"
            )
        everywhere = torch.ones_like(solids)
        fields = baselines.refinements(unpack(values["shapes"]["train"], values["shapes"]["side"]), measured)
        rivals = {name: top_of_blocks(field, measured) for name, field in fields.items()}
        found: dict[str, Any] = {"from": measured.shape[-1], "to": targets.shape[-1], "shapes": len(targets)}
        return _scored(values, run, found, {"recovery": solids}, rivals, targets > 0, everywhere)


@dataclass(frozen=True)
class EvaluateSynthesis:
    """Compare new shapes with those to judge by, and with those that were learned from, into metrics.json."""

    needs: ClassVar[tuple[str, ...]] = ("shapes", "fields", "solids", "sampling")
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        found, lines = compared(values)
        save_metrics(found, run.root)
        return {"metrics": found, "summary": "\n".join(lines)}


def compared(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """New shapes beside those to judge by and those that were learned from: the numbers, and lines that say them."""
    shapes = values["shapes"]
    size = values["solids"].shape[-1]
    if shapes["side"] % size:
        raise InputError(f"evaluate_synthesis: shapes of {shapes['side']} a side are no match for {size}")
    train, validation = (averaged(shapes[part], shapes["side"], size) > 0 for part in ("train", "validation"))
    found: dict[str, Any] = {"samples": measures.collection(values["solids"], train, validation)}
    # The same of real shapes: what the best samples could reach.
    num = min(len(values["solids"]), len(validation), len(train) // 2)
    found["real"] = measures.collection(train[-num:], train[:-num], validation)
    found["sampling"] = values["sampling"]["summary"]
    if "selection" in values:
        found["selection"] = values["selection"]
    lines = [f"{'':24}{'samples':>10}{'real':>10}"]
    lines += [f"{k.replace('_', ' '):24}{v:10.3f}{found['real'][k]:10.3f}" for k, v in found["samples"].items()]
    lines.append(COLLECTION)
    if "selection" in values:
        words = "made {made} shapes; {whole} had 95 % of their voxels in one part; {kept} are kept and judged"
        lines.append(words.format(**values["selection"]))
    return found, lines


def _scored(
    values: dict[str, Any],
    run: Run,
    found: dict[str, Any],
    ours: dict[str, Tensor],
    rivals: dict[str, Tensor],
    truth: Tensor,
    where: Tensor,
) -> dict[str, Any]:
    ways = values["ways"]
    found |= {
        "truth_known": values["truth_known"],
        "way": next(iter(ways)),
        "seconds": {name: way["seconds"] for name, way in ways.items()},
    }
    summary = f"{len(truth)} shapes; the truth is unknown, so nothing is scored."
    shown = next(iter(rivals))
    if values["truth_known"]:
        scores = {name: measures.score(s, truth[: len(s)], where[: len(s)]) for name, s in (ours | rivals).items()}
        found |= {name: scores[name] | {"shapes": len(solids)} for name, solids in ours.items()}
        both = {name: measures.score(way["solids"], truth, where) for name, way in ways.items()}
        both = both if len(both) > 1 else {}
        found |= {"ways": both} if both else {}
        found["baselines"] = {name: scores[name] for name in rivals}
        shown = max(rivals, key=lambda name: scores[name]["iou"])
        found["best_baseline"] = shown
        found["gain_iou"] = scores["recovery"]["iou"] - scores[shown]["iou"]
        verb = "better" if found["gain_iou"] >= 0 else "WORSE"
        lines = [f"{'':28}    IoU  voxel error"]
        rows = {name: scores[name] for name in ours} | both | found["baselines"]
        lines += [f"{n.replace('_', ' '):28} {s['iou']:6.3f}  {s['voxel_error']:11.4f}" for n, s in rows.items()]
        lines.append(SCORES)
        seconds = ", ".join(f"{name} in {seconds:.1f} s" for name, seconds in found["seconds"].items())
        words = (WAYS | {"unchanged": "what was there before"})[found["way"]]
        lines.append(f"the recovery is {found['way']}: {words} ({seconds})")
        lines.append(f"{abs(found['gain_iou']):.3f} {verb} than the best baseline ({shown.replace('_', ' ')})")
        summary = "\n".join(lines)
    save_metrics(found, run.root)
    return {"metrics": found, "rivals": {"name": shown, "solids": rivals[shown]}, "summary": summary}
