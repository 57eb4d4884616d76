"""What the report of any modality says of each kind of result: of recoveries, new x, compositions, paths and
reconstructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from data import images
from data.words import counted
from pipelines.measures import tables
from pipelines.measures.likeness import warning_of
from pipelines.measures.recovery import compared, gains, of_own, on_held_out, said
from pipelines.measures.synthesis import FLOORS, refused, told
from pipelines.modalities.base import Modality
from pipelines.report import Report, predictions
from pipelines.report.report import Best
from pipelines.report.reporting import details, long_chains
from pipelines.stage import Run

UNITS = {"psnr": "PSNR, dB", "mae": "MAE, 0-255"}
BEST: dict[str, Best] = {
    "psnr": "max", "mae": "min", "ssim": "max", "iou": "max", "voxel_error": "min", "mse": "min",
}  # fmt: skip
TAKES = (
    "targets", "measured", "observation", "truth_known", "recovered", "samples", "spread", "ways", "gate", "held_out",
    "sampling", "damage", "footage", "composition", "paths", "cross_fades", "originals", "reconstructions", "noise",
    "rivals", "shown", "grid", "verdicts", "prediction", "metrics", "summary",
)  # fmt: skip
"""Values that an export writes and reports, where they are there."""
FEW = 200  # x to judge by
WRONG = 20  # x that are not what was asked for, at most
PATHS = 4  # on a sheet, at most


def title(values: Mapping[str, Any], modality: Modality) -> str:
    """What the values are the results of."""
    kinds = {
        "recovered": "Recovery", "composition": "Composition", "paths": "Interpolation",
        "reconstructions": "Reconstruction", "prediction": "Prediction", "samples": "Synthesis",
    }  # fmt: skip
    kind = next((kind for name, kind in kinds.items() if name in values), "Results")
    if kind == "Recovery" and "composition" in values:
        kind = "Recovery under a composition"
    return f"{kind}: {modality.noun}"


def finish(report: Report, values: Mapping[str, Any], run: Run) -> None:
    """Say how chains and learning went, and write the report."""
    details(report, run, values.get("sampling"))
    report.write(run.root / "report.html")


def show(report: Report, root: Path, sheets: Mapping[str, np.ndarray], captions: Mapping[str, str]) -> None:
    """Write pictures uint8 [H, W, 3] as files NAME.png into a run's folder, and show them in its report."""
    for name, picture in sheets.items():
        images.write(root / f"{name}.png", picture)
        report.image(picture, captions.get(name, tables.words(name)))


def write(
    report: Report, values: Mapping[str, Any], modality: Modality, run: Run, num: int, shown: int, columns: int
) -> None:
    """Write what was recovered, composed, interpolated or made again as files, with sheets, and say in the report how
    good it is.

    Args:
        report: what to add to.
        values: of a pipeline: data, source, and what there is.
        modality: of the data.
        run: gives the folder.
        num: x to write as files, at most.
        shown: x on a sheet of a recovery, or of reconstructions.
        columns: x beside each other on a sheet of samples.
    """
    root, source, one = run.root, values["source"], modality.noun.removesuffix("s")
    if "recovered" in values:
        modality.write(values["recovered"][:num], root / "recovered", one, source)
        recovery(report, values, modality)
        rows = recovery_rows(values, modality)
        show(report, root, {"contact_sheet": modality.sheet(rows, shown)}, {"contact_sheet": ", ".join(rows)})
    if "composition" in values:
        modality.write(values["samples"][:num], root / "samples", "sample", source)
        if "recovered" not in values:
            show(report, root, {"samples": modality.grid(values["samples"][:100], columns)}, {})
        composition(report, values, modality, root, columns)
    if "paths" in values:
        for number, path in enumerate(values["paths"][:num]):
            modality.write(path, root / f"path_{number:02d}", "frame", source)
        paths(report, values, modality)
        sheet = modality.sheet(path_rows(values), values["paths"].shape[1])
        show(report, root, {"contact_sheet": sheet}, {"contact_sheet": "paths above cross-fades of the same ends"})
    if "reconstructions" in values:
        modality.write(values["reconstructions"][:num], root / "reconstructions", one, source)
        reconstructions(report, values, modality)
        sheet = modality.sheet(reconstruction_rows(values), shown)
        show(report, root, {"contact_sheet": sheet}, {"contact_sheet": "the difference is grey where there is none"})
    if "prediction" in values:
        made = values["prediction"]
        modality.write(made["predicted"][:num], root / "predicted", one, source)
        modality.write(made["futures"][:num], root / "futures", "future", source)
        predictions.prediction(report, values, modality)
        sheet = modality.sheet(predictions.rows(made), shown)
        show(report, root, {"contact_sheet": sheet}, {"contact_sheet": "what is known, what is predicted, the truth"})


# -------------------------------------------------------------------------------------- recovery


def recovery_rows(values: Mapping[str, Any], modality: Modality) -> dict[str, Tensor]:
    """What a sheet of a recovery shows: the truth, what is seen, the best simple method, the recovery, and one sample
    of each x, [n, *shape] each."""
    observation, y = values["observation"], values["measured"]
    rows = {"truth": values["targets"].float()} if values["truth_known"] else {}
    rows["seen"] = modality.seen(observation, y)
    rival = values.get("rivals")
    if rival is not None:
        rows[tables.words(rival["name"])] = rival["x"]
    rows["recovered"] = modality.decided(values["recovered"].float(), observation, y)
    found = values.get("held_out")
    if found is not None and found["result"] != "energy":
        ways = list(values["ways"].values())
        rows["by the energy"] = modality.decided(ways[1]["mean"].float(), observation, y)
    samples = values["samples"]
    if len(samples):
        rows["one sample"] = samples[:: values["sampling"]["chains"]]
    return rows


def recovery(report: Report, values: Mapping[str, Any], modality: Modality) -> None:
    """The scores of a recovery beside those of simple methods, and how it was found."""
    found = values.get("metrics")
    if found is None:
        report.text("The recovery was not scored.")
        return
    unlike = warning_of(found.get("likeness"), modality)
    if unlike is not None:
        report.text(f"{unlike}.")
    if found["hidden_share"] is not None:
        report.text(f"{found['hidden_share']:.1%} of the elements were hidden.")
    if found["truth_known"]:
        for line in gains(found, modality):
            report.text(f"{line}.")
        _scores(report, compared(found))
    else:
        _own(report, found, modality)
    told = "; ".join(f"{name}: {said(name)} ({seconds:.1f} s)" for name, seconds in found["seconds"].items())
    report.text(f"The recovery is {tables.words(found['way'])}. {told}.")
    held_out = found["ways"][found["way"]].get("held_out")
    if held_out is not None:
        _gate(report, held_out, found["ways"][found["way"]])


def _own(report: Report, found: Mapping[str, Any], modality: Modality) -> None:
    """Of x whose truth is unknown."""
    lines = of_own(found, modality)
    report.text(f"{lines[0]}.")
    if found["held_out"] is not None:
        _scores(report, on_held_out(found["held_out"]), "on what was seen and held out")
        report.text(f"{lines[-1]}.")


def _scores(report: Report, rows: Mapping[str, Mapping[str, float]], corner: str = "on what was hidden") -> None:
    """A table, the best of each column set in bold."""
    names = list(next(iter(rows.values())))
    heads = {name: UNITS.get(name, tables.column(name).title) for name in names}
    lines = [[tables.words(name), *(row.get(n) for n in names)] for name, row in rows.items()]
    report.table([corner, *heads.values()], lines, best={heads[n]: BEST[n] for n in names if n in BEST})


def _gate(report: Report, held_out: Mapping[str, Any], way: Mapping[str, Any]) -> None:
    report.text(
        f"On {held_out['pixels']} held-out seen pixels: initial estimate {held_out['initial_estimate']:.2f} dB, "
        f"recovery {held_out['recovery']:.2f} dB. The validation gate took {way['shrinkage']:.0%} of what its "
        "network changes in that."
    )


# ------------------------------------------------------------------------------------- synthesis


def synthesis(report: Report, values: Mapping[str, Any], modality: Modality, words: str) -> None:
    """How new x compare with real ones. `words` say what the numbers are."""
    found = values.get("metrics")
    if found is None:
        num = len(values["samples"])
        report.text(f"{counted(num, modality.noun)} {'was' if num == 1 else 'were'} made, and not judged.")
        return
    report.text(words)
    if 0 < found["validation"] < FEW:
        report.text(f"So few {modality.noun} to judge by say little: give more, best {FEW} or more.")
    kinds = [name for name, row in found.items() if isinstance(row, dict) and name not in ("sampling", "selection")]
    if refused(found):
        kinds = [name for name in kinds if name in FLOORS]
    numbers = [name for name in found.get("samples", ()) if name != "nearest_training"]
    rows = [[tables.words(kind), *(found[kind].get(n) for n in numbers)] for kind in kinds]
    if rows:
        report.table([modality.noun, *(tables.column(n).title for n in numbers)], rows)
    if meanings := [f"{c.title}: {c.meaning}" for c in map(tables.column, numbers) if c.meaning]:
        report.text("; ".join(meanings) + ".")
    for told_too in told(found):
        report.text(f"{told_too}.")
    long_chains(report, found)
    if found.get("curve") and not refused(found):
        _curve(report, found["curve"])


def _curve(report: Report, points: Sequence[Mapping[str, float]]) -> None:
    """Quality against sampling steps: distances, and shares."""
    at = [point["factor"] for point in points]
    lines = {n: (at, [p[n] for p in points]) for n in points[0] if n not in ("factor", "nearest_training")}
    distances = {tables.column(n).title: line for n, line in lines.items() if n == "frechet"}
    shares = {tables.column(n).title: line for n, line in lines.items() if n != "frechet"}
    if distances:
        report.curves(distances, "more time, better samples", "times the sampling steps", "distance")
    if shares:
        report.curves(shares, ", ".join(shares), "times the sampling steps", "share")


# ----------------------------------------------------------------------------------- composition


def composition(report: Report, values: Mapping[str, Any], modality: Modality, root: Path, columns: int) -> None:
    """Whether composed x are what was asked for, those that are not, and the grid of every pair, so many x in a row."""
    told, found = values["composition"], values.get("metrics", {})
    report.text(f"{told['expr']}: strength {told['strength']:g}.")
    if found.get("classifiers"):
        names = [name for name in found["asked"] if name != "num"]
        table = {"composed": found["asked"], **found["rivals"], **found.get("bounds", {})}
        rows = [[tables.words(name), *(scores.get(column) for column in names)] for name, scores in table.items()]
        report.table(["share of the samples", *map(tables.words, names)], rows)
        accuracy = ", ".join(f"{name} {share:.1%}" for name, share in found["classifiers"].items())
        report.text(f"Judged by classifiers that were learned apart; their own accuracy: {accuracy}.")
        if found.get("refused") is not None:
            report.text(f"Warning: {found['refused']}.")
    verdicts, samples = values.get("verdicts"), values["samples"]
    if verdicts is not None and len(samples) and not verdicts.all():
        wrong = modality.grid(samples[~verdicts][:WRONG], columns)
        report.image(wrong, "those that are not all that was asked for")
    if values.get("grid") is not None:
        _grid(report, values["grid"], modality, root)


def _grid(report: Report, grid: Mapping[str, Any], modality: Modality, root: Path) -> None:
    rows = [
        [row, *(f"{share:.2f}{'' if seen else ' (unseen)'}" for share, seen in zip(shares, counts, strict=True))]
        for row, shares, counts in zip(grid["rows"], grid["accuracy"], grid["learned"], strict=True)
    ]
    report.heading("Every pair")
    report.text(
        f"Share of samples in which both hold: {grid['mean']:.3f} on average. Pairs that none of the {modality.noun} "
        "learned from shows are marked."
    )
    report.table([" x ".join(grid["names"]), *grid["columns"]], rows)
    sheet = modality.grid(grid["samples"], len(grid["columns"]))
    show(
        report, root, {"grid": sheet}, {"grid": f"rows {', '.join(grid['rows'])}; columns {', '.join(grid['columns'])}"}
    )


# ------------------------------------------------------------------------ paths, reconstructions


def path_rows(values: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a sheet of paths shows: each above the cross-fade of the same ends, [steps, *shape] each."""
    paths, fades = values["paths"], values["cross_fades"]
    rows: dict[str, Tensor] = {}
    for k in range(min(PATHS, len(paths))):
        rows |= {f"path {k}": paths[k], f"cross-fade {k}": fades[k]}
    return rows


def paths(report: Report, values: Mapping[str, Any], modality: Modality) -> None:
    """How likely the frames of paths are, beside cross-fades."""
    steps = values["paths"].shape[1]
    report.text(f"From one of the {modality.noun} to another in {steps} frames, beside cross-fades of the same ends.")
    if values.get("summary"):
        report.preformatted(values["summary"])


def reconstruction_rows(values: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a sheet of reconstructions shows, [n, *shape] each."""
    x, made = values["originals"], values["reconstructions"]
    return {"original": x, "reconstruction": made, "difference": (made - x) / 2}


def reconstructions(report: Report, values: Mapping[str, Any], modality: Modality) -> None:
    """How near x that were made again are, and how near to normal their noise is."""
    found = values["metrics"]
    noun = modality.noun.capitalize()
    report.text(f"{noun}, the starting noise that the generator makes them of, and what it makes of it.")
    if found.get("draws_noise"):
        report.text("The generator draws noise on its way: it was inverted without, and what it makes then is another.")
    rows = {name: s for name, s in found.items() if isinstance(s, dict) and "mse" in s}
    heads = {"mse": "mean squared error", **UNITS}
    names = list(next(iter(rows.values())))
    table = [[tables.words(name), *(row.get(n) for n in names)] for name, row in rows.items()]
    report.table(["made of", *(heads.get(n, tables.column(n).title) for n in names)], table)
    noise = found["noise"]
    report.table(["noise found", "standard normal"], [[noise["mean"], 0.0], [noise["std"], 1.0]])
