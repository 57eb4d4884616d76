"""Write what a person prints, plays with and looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from data import images, rendering, voxels
from data.errors import InputError
from pipelines.pipeline import Run
from pipelines.report import Report, pictures
from pipelines.report.reporting import details
from pipelines.results import emptied, save_energy
from pipelines.stages.voxels.grids import rendered

Format = Literal["stl", "obj", "ply", "glb", "off", "3mf", "binvox", "npz"]
VIEWED_FACES = 6000  # of a shape in the report
VIEWED = 3  # shapes that can be turned there
SHOWN = -0.6  # a fifth: how full a measured block is that the sheet shows


@dataclass(frozen=True)
class Export:
    """Write the shapes as meshes or grids, renderings, a turntable, the report and the energy into the run's folder."""

    needs: ClassVar[tuple[str, ...]] = ("fields", "solids", "energy")
    gives: ClassVar[tuple[str, ...]] = ("written", "summary")

    format: Format = "stl"
    """Of the files shapes/shape_000.stl ...; stl, obj, ply, glb, off and 3mf are watertight meshes. npz holds `bits`,
    to be unpacked by numpy.unpackbits, and `shape`."""

    num: int = 8
    """Shapes to write and show, at most."""

    keep: int | str = "largest"
    """Parts to keep: the largest one, or all of at least so many voxels; of recovered shapes also what was seen."""

    solid: bool = False
    """Fill cavities that nothing reaches from outside."""

    smoothing: int = 10
    """Rounds that even out the steps of a mesh."""

    faces: int | None = None
    """About how many triangles a mesh should have; null: as many as there are."""

    millimetres: float | None = None
    """Length of the grid's longest side; null: one unit a voxel."""

    up: Literal["y", "z"] | None = None
    """The axis that points up; null: y for obj and glb, else z."""

    views: int = 36
    """Pictures of the turntable."""

    def __post_init__(self) -> None:
        if self.num < 1 or self.views < 1:
            raise ValueError(f"num and views must be 1 or more, got {self.num} and {self.views}")
        if self.keep != "largest" and not (str(self.keep).isdecimal() and int(self.keep) > 0):
            raise ValueError(f"keep must be largest or a number of voxels, got {self.keep!r}")
        if self.faces is not None and (self.faces < 20 or self.format in ("binvox", "npz")):
            raise ValueError(f"faces must be 20 or more, and for a mesh; got {self.faces} with format {self.format}")
        if not 0 <= self.smoothing <= 1000:
            raise ValueError(f"smoothing must lie in [0, 1000], got {self.smoothing}")
        if self.millimetres is not None and not self.millimetres > 0:
            raise ValueError(f"millimetres must be positive, got {self.millimetres}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        solids = values["solids"]
        written, problem = self._write(values, run)
        rows = _rows(values, values["paths"]["steps"] if "paths" in values else self.num)
        clips = {label: rendered(row) for label, row in run.progress(list(rows.items()), len(rows), "rendering")}
        sheet = pictures.contact_sheet(clips, frames=max(clip.shape[1] for clip in clips.values()), scale=1)
        images.write(run.root / "contact_sheet.png", sheet)
        first = next((k for k, solid in enumerate(solids) if solid.any()), None)
        if first is not None:
            rendering.write_turntable(
                run.root / "turntable.gif", rendering.turntable(solids[first], self.views, size=192)
            )
        save_energy(values["energy"], run.root)
        self._report(values, run, sheet, list(rows), written).write(run.root / "report.html")
        if all(entry["file"] is None for entry in written):
            raise InputError(problem)
        told = [f"{entry['file']}: {note}" for entry in written for note in entry.get("notes", ())]
        return {"written": written, "summary": "\n".join([*values.get("summary", "").splitlines(), *told])}

    def _write(self, values: dict[str, Any], run: Run) -> tuple[list[dict[str, Any]], str]:
        """What was written of each shape, and why the last one was not that was not. Parts that were seen stay."""
        solids, hidden, steps = values["solids"], values.get("hidden"), None
        if "paths" in values:
            steps, hidden = values["paths"]["steps"], None
        folder = emptied(run.root / "shapes", "shape", "path")
        keep = int(self.keep) if str(self.keep).isdecimal() else "largest"
        written: list[dict[str, Any]] = []
        problem = ""
        for number, solid in enumerate(solids[: self.num]):
            name = f"shape_{number:03d}" if steps is None else f"path_{number // steps:02d}_{number % steps:03d}"
            path = folder / f"{name}.{self.format}"
            try:
                made = voxels.write(
                    solid,
                    path,
                    keep=keep,
                    seen=None if hidden is None else solid & ~hidden[number],
                    solid=self.solid,
                    smoothing=self.smoothing,
                    faces=self.faces,
                    millimetres=self.millimetres,
                    up=self.up,
                )
            except InputError as error:
                problem = str(error)
                run.log(event="not written", reason=problem)
                written.append({"file": None, "reason": problem})
                continue
            found = {name: value for name, value in vars(made).items() if value not in (None, ())}
            written.append({"file": str(path.relative_to(run.root))} | found)
        return written, problem

    def _report(
        self, values: dict[str, Any], run: Run, sheet: np.ndarray, labels: list[str], written: list[dict[str, Any]]
    ) -> Report:
        report = Report("Voxels")
        if "summary" in values:
            report.preformatted(values["summary"])
        report.image(sheet, ", ".join(labels) + ": a row each")
        for number, solid in enumerate(values["solids"][:VIEWED]):
            if solid.any():
                mesh, _ = voxels.surface(voxels.field(solid), self.smoothing, VIEWED_FACES)
                report.shape(mesh.vertices, mesh.faces, f"shape {number}; drag to turn it")
        rows = [
            [
                entry["file"] or "not written", entry.get("voxels"), entry.get("faces"), entry.get("dropped_voxels"),
                entry.get("reason") or "; ".join(entry.get("notes", ())),
            ]
            for entry in written
        ]  # fmt: skip
        report.table(["file", "voxels", "faces", "voxels dropped as specks", "remarks"], rows)
        details(report, run, values.get("sampling"))
        return report


def _rows(values: dict[str, Any], num: int) -> dict[str, Tensor]:
    """What the sheet shows, from whatever the stages before gave: label -> bool [n, 1, N, N, N]."""
    solids = values["solids"]
    rows: dict[str, Tensor] = {}
    if "paths" in values:
        fades = values["paths"]["cross_fades"]
        for k in range(min(len(solids) // num, 4)):
            part = slice(k * num, (k + 1) * num)
            rows |= {f"path {k}": solids[part], f"cross-fade {k}": fades[part] > 0}
        return rows
    if values.get("truth_known"):
        rows["truth"] = values["targets"] > 0
    if "hidden" in values:
        rows["visible"] = (values["measured"] > 0) & ~values["hidden"]
    elif "measured" in values and "targets" in values:
        rows["measured"] = values["measured"] > SHOWN
    if "rivals" in values:
        rows[values["rivals"]["name"].replace("_", " ")] = values["rivals"]["solids"]
    rows["result"] = solids
    if "samples" in values:
        rows["one sample"] = values["samples"] > 0
    return {label: row[:num] for label, row in rows.items()}
