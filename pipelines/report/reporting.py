"""What every report says of the run: how its chains and its learning went, and its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from pipelines.report import Report
from pipelines.results import log_of, save_energy, save_metrics
from pipelines.stage import Run


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


def publish(
    report: Report, found: dict[str, Any], energies: Mapping[str, Any], run: Run, name: str = "report.html"
) -> None:
    """What a stage that judges a network leaves in the run's folder: the report, by its name, metrics.json, and
    energies by the names of their folders."""
    save_metrics(found, run.root)
    for folder, energy in energies.items():
        save_energy(energy, run.root, folder)
    details(report, run, None)
    report.write(run.root / name)


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
    records = log_of(run.root)
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
