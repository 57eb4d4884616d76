"""What the report says of predictions: their quality by the steps of descent, what the energy knows of it, rivals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pipelines.measures import tables
from pipelines.modalities.base import Modality
from pipelines.report import Report

UNITS = {"dB": "PSNR, dB", "bits": "bits a byte"}


def rows(made: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a sheet shows, [n, *shape] each."""
    return {"known": made["known"], "predicted": made["predicted"], "truth": made["truth"]}


def prediction(report: Report, values: Mapping[str, Any], modality: Modality) -> None:
    """Tables and curves of what `Predict` found."""
    found = values["metrics"]
    unit, steps = UNITS[found["unit"]], found["steps"]
    report.text(
        f"{found['num']} {modality.noun} that were not learned from, each position given those before, or what is "
        f"noisy. A candidate starts from noise and goes down the energy; learned with {steps} steps."
    )
    report.heading("More steps")
    thinking = found["thinking"]
    report.curves(
        {name: (points["steps"], points["quality"]) for name, points in thinking.items()},
        "quality by steps of descent", "steps", unit,
    )  # fmt: skip
    report.curves(
        {name: (points["steps"], points["energy"]) for name, points in thinking.items()},
        "energy by steps of descent", "steps", "mean energy",
    )  # fmt: skip
    at = {"one step": 0, "as learned": steps - 1, "most steps": -1}
    table = [[name, *(points["quality"][k] for k in at.values())] for name, points in thinking.items()]
    report.table([unit, *at], table)
    judge = found["judge"]
    report.heading("The energy as judge")
    report.table(
        ["", "Spearman's rank correlation of energy and error"],
        [["over all candidates", judge["rank_correlation"]], ["of one position", judge["rank_correlation_within"]]],
    )
    report.table(
        [f"of {found['candidates']} candidates", unit],
        [["one", judge["one"]], ["of least energy", judge["least_energy"]], ["of least error", judge["least_error"]]],
    )
    if found["rivals"]:
        report.heading("Simple methods")
        report.table(["", unit], [[tables.words(name), quality] for name, quality in found["rivals"].items()])
    if "forecast" in found:
        report.heading("Frame by frame")
        heads = ["first", "last", "all"]
        lines = [[tables.words(name), *(row[k] for k in heads)] for name, row in found["forecast"].items()]
        report.table(["PSNR, dB", *heads], lines, best=dict.fromkeys(heads, "max"))
