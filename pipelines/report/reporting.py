"""What the reports of the pipelines say, from their values and logs."""

from __future__ import annotations

import json
from itertools import product
from typing import Any, Literal

import numpy as np

from pipelines.measures import metrics as measure
from pipelines.report import Report
from pipelines.stage import Run

BEST: dict[str, Literal["min", "max"]] = {"PSNR, dB": "max", "MAE, 0-255": "min", "SSIM": "max"}


WAYS = {
    "amortised": "the posterior mean that a network, told what is seen, gives in one pass",
    "conditioned": "the mean of chains of an energy of whole clips, which are held to what is seen",
}


def recovery_report(run: Run, values: dict[str, Any], sheet: np.ndarray) -> Report:
    """Of a damaged clip's recovery."""
    report, found = Report("Video recovery"), values["metrics"]
    if found["truth_known"]:
        scored = {"recovery (mean)": found["recovery"]} | found["ways"]
        scored |= {"one posterior sample": found["single_sample"], "first fill": found["fill"]} | found["baselines"]
        rows = [[name.replace("_", " "), s["psnr"], s["mae"], s["ssim"]] for name, s in scored.items()]
        report.text(
            f"{found['hidden_share']:.1%} of the pixels were hidden. The recovery is {found['gain_db']:+.2f} dB "
            f"against the best baseline ({found['best_baseline'].replace('_', ' ')}) and "
            f"{found['fill_gain_db']:+.2f} dB against its own first fill. {found['coverage_90']:.1%} of the hidden "
            "values lie within the 90 % band."
        )
        report.table(["on hidden pixels", *BEST], rows, best=BEST)
    else:
        report.text(f"{found['hidden_share']:.1%} of the pixels are hidden; the truth there is unknown and not scored.")
    told = "; ".join(f"{name}: {WAYS[name]} ({way['seconds']:.1f} s)" for name, way in found["ways"].items())
    report.text(f"{told}. The recovery is the {found['way']} mean, mixed with the first fill as held-out pixels say.")
    held_out, trust = found["held_out"], found["trust"]
    report.text(
        f"On {held_out['pixels']} held-out seen pixels: first fill {held_out['fill']:.2f} dB, recovery "
        f"{held_out['recovery']:.2f} dB. The guard took {trust['reference']:.0%} of what the energy's reference "
        f"changes in the fill, and {trust['network']:.0%} of what its network changes in that."
    )
    report.video(run.root / "comparison.mp4", "truth or input, what was hidden, the best baseline, the recovery")
    report.image(sheet, "frames with hidden pixels; the last rows show one posterior sample and the standard deviation")
    details(report, run, values["recovery_info"]["sampling"])
    return report


def synthesis_report(run: Run, values: dict[str, Any], sheet: np.ndarray) -> Report:
    """Of new clips beside the one that was learned."""
    report = Report("Video synthesis")
    found = values["metrics"]
    names = [name for name, value in found["data"].items() if not isinstance(value, list)]
    rows = [[name.replace("_", " "), *(s[key] for key in names)] for name, s in found.items()]
    report.text("Mean absolute differences of neighbouring pixels and of neighbouring frames, 0-255.")
    report.table(["clip", *names], rows)
    report.image(sheet, "the data above the samples")
    for number in range(len(values["samples"])):
        report.video(run.root / f"sample_{number}.mp4", f"sample {number}")
    for axis in ("spatial", "temporal"):
        curves = {"data": measure.spectrum(values["clip"])[axis]}
        curves |= {f"sample {i}": measure.spectrum(s)[axis] for i, s in enumerate(values["samples"])}
        report.curves(curves, f"{axis} spectrum", "frequency, cycles a step", "power", log=True)
    details(report, run, values["sampling"])
    return report


def long_chains(report: Report, found: dict[str, Any]) -> None:
    """What chains of ten times the steps came to; `long_run_ratio` is None where they diverged, and absent where there
    were none."""
    if "long_run_ratio" not in found:
        return
    ratio = found["long_run_ratio"]
    if ratio is None:
        report.text("Long chains diverged.")
    else:
        report.text(f"The distance after ten times the steps is {ratio:.2f} times that after one.")


def details(report: Report, run: Run, sampling: dict[str, Any] | None) -> None:
    """How chains went and learning went, and the configuration: the end of every report."""
    if sampling is not None:
        _sampling(report, sampling)
    _learning(report, run)
    report.details("Configuration", (run.root / "config.yaml").read_text())


def _sampling(report: Report, found: dict[str, Any]) -> None:
    for line in found["lines"]:
        report.text(f"Chains: {line}")
    curves = {name: _known(found["curves"]["step"], values) for name, values in found["curves"].items()}
    moves = {name: curves[name] for name in ("drift", "noise", "displacement") if name in curves}
    if moves:
        report.curves(moves, "moves of the chains", "step", "root mean square, units of x", log=_positive(moves))
        report.curves({"energy": curves["energy"]}, "energy of the chains", "step", "mean energy")


def _known(steps: list[int], values: list[float | None]) -> tuple[list[float], list[float]]:
    """A curve's points but those that have no value."""
    points = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
    return [float(step) for step, _ in points], [value for _, value in points]


def _positive(lines: dict[str, tuple[list[float], list[float]]]) -> bool:
    return all(value > 0 for _, values in lines.values() for value in values)


CURVES = {
    "learning": ("mean_loss", "noise_loss", "flow_loss", "class_loss", "energy_gap"),
    "norms": ("gradient_norm", "weight_norm"),
    "replay buffer: mean age in updates, restarts so far": ("buffer_age", "restarts"),
    "values at their bounds, samples less data": ("saturation",),
}


def _learning(report: Report, run: Run) -> None:
    """How learning went: its curves, and whether it had to go back."""
    records = [json.loads(line) for line in (run.root / "log.jsonl").read_text().splitlines()]
    stages = list(dict.fromkeys(record["stage"] for record in records if "step" in record))
    for title, names in CURVES.items():
        curves: dict[str, tuple[list[float], list[float]]] = {}
        for name, stage in product(names, stages):
            # A step that was done again, after going back or an interruption, counts as it was the last time.
            points = {r["step"]: r[name] for r in records if r["stage"] == stage and r.get(name) is not None}
            if points:
                label = name.replace("_", " ") + (f" ({stage})" if len(stages) > 1 else "")
                curves[label] = (sorted(points), [points[step] for step in sorted(points)])
        if curves:
            report.curves(curves, title, "step", "value", log=title == "norms" and _positive(curves))
    for record in records:
        if record.get("event") == "rolled back":
            report.text(
                f"Learning diverged at step {record['diverged_at']}: {record['reason']}. It went back to step "
                f"{record['to']} and on with smaller steps."
            )
