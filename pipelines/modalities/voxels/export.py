"""Write what a person prints, plays with and looks at."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from data import rendering, voxels
from data.errors import InputError
from energies import Hidden
from pipelines.modalities.voxels.modality import MODALITY
from pipelines.report import Report, products
from pipelines.results import emptied, save_energy
from pipelines.stage import Run

Format = Literal["stl", "obj", "ply", "glb", "off", "3mf", "binvox", "npz"]
VIEWED_FACES = 6000  # of a shape in the report
VIEWED = 3  # shapes that can be turned there
TURNED = 192  # pixels a side of the turntable
JUDGED = (
    "New shapes beside real ones: numbers of the samples, and of as many shapes that were learned from, against those "
    "kept to judge by."
)


@dataclass(frozen=True)
class Export:
    """Write the shapes that were recovered, made, composed, or lie on paths as meshes or grids, renderings, a
    turntable, the report and the energy into the run's folder."""

    needs: ClassVar[tuple[str, ...]] = ("data", "source", "energy")
    takes: ClassVar[tuple[str, ...]] = (*products.TAKES, "scan")
    gives: ClassVar[tuple[str, ...]] = ("written", "summary")

    format: Format = "stl"
    """Of the files shapes/shape_000.stl ...; stl, obj, ply, glb, off and 3mf are watertight meshes. npz holds `bits`,
    to be unpacked by numpy.unpackbits, and `shape`."""

    limit: int = 8
    """Shapes to write and show, or paths of shapes, at most."""

    keep: int | str = "largest"
    """Parts to keep: the largest one, or all of at least so many voxels; of recovered shapes also what was seen."""

    solid: bool = False
    """Fill cavities that nothing reaches from outside."""

    smoothing: int = 10
    """Rounds that even out the steps of a mesh."""

    faces: int | None = None
    """About how many triangles a mesh should have; null: as many as there are."""

    millimetres: float | None = None
    """Length of the longest side of each shape, as it is after smoothing; null: one unit a voxel, or the units and the
    place of the mesh that `hide.shape` gave."""

    up: Literal["y", "z"] | None = None
    """The axis that points up; null: that of the mesh that `hide.shape` gave, or else y for obj and glb, and z."""

    views: int = 36
    """Pictures of the turntable."""

    def __post_init__(self) -> None:
        if self.limit < 1 or self.views < 1:
            raise ValueError(f"limit and views must be 1 or more, got {self.limit} and {self.views}")
        if self.keep != "largest" and not re.fullmatch(r"0*[1-9]\d{0,8}", str(self.keep)):
            raise ValueError(f"keep must be largest or a number of voxels, got {self.keep!r}")
        if self.faces is not None and (self.faces < 20 or self.format in ("binvox", "npz")):
            raise ValueError(f"faces must be 20 or more, and for a mesh; got {self.faces} with format {self.format}")
        if not 0 <= self.smoothing <= 1000:
            raise ValueError(f"smoothing must lie in [0, 1000], got {self.smoothing}")
        if self.millimetres is not None and not 1e-3 <= self.millimetres <= 1e6:  # files hold 7 digits and 8 decimals
            raise ValueError(f"millimetres must lie in [0.001, 1000000], got {self.millimetres}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        solids = shapes_of(values, self.limit) > 0
        written = self._write(solids, values, run)
        shown = self._shown(solids, values)
        first = next((k for k, solid in enumerate(shown) if solid.any()), None)
        if first is not None:
            turned = rendering.turntable(shown[first], self.views, size=TURNED, smoothing=self.smoothing)
            rendering.write_turntable(run.root / "turntable.gif", turned)
        save_energy(values["energy"], run.root)
        self._report(values, shown, written, run)
        if all(entry["file"] is None for entry in written):
            raise InputError(written[-1]["reason"])
        notes = [f"{entry['file']}: {note}" for entry in written for note in entry.get("notes", ())]
        return {"written": written, "summary": "\n".join([*values.get("summary", "").splitlines(), *notes])}

    @property
    def _kept(self) -> int | Literal["largest"]:
        return int(self.keep) if str(self.keep).isdecimal() else "largest"

    def _shown(self, solids: Tensor, values: Mapping[str, Any]) -> Tensor:
        """The shapes as they are written, bool [n, 1, N, N, N]; empty where nothing is left to write."""
        seen = _seen(values, solids)
        shown = torch.zeros_like(solids)
        for k, solid in enumerate(solids):
            with suppress(InputError):
                found = voxels.kept(solid, keep=self._kept, seen=None if seen is None else seen[k], solid=self.solid)
                shown[k, 0] = torch.from_numpy(found.values > 0)
        return shown

    def _write(self, solids: Tensor, values: Mapping[str, Any], run: Run) -> list[dict[str, Any]]:
        """What was written of each shape, or why nothing was."""
        folder = emptied(run.root / "shapes", "shape", "path")
        seen, scan = _seen(values, solids), values.get("scan") or {}
        frame = scan.get("frame") if "recovered" in values else None
        steps = values["paths"].shape[1] if "paths" in values else None
        written: list[dict[str, Any]] = []
        for number, solid in enumerate(run.progress(solids, len(solids), "writing shapes")):
            name = f"shape_{number:03d}" if steps is None else f"path_{number // steps:02d}_{number % steps:03d}"
            path = folder / f"{name}.{self.format}"
            try:
                made = voxels.write(
                    solid, path, keep=self._kept, seen=None if seen is None else seen[number], solid=self.solid,
                    smoothing=self.smoothing, faces=self.faces, millimetres=self.millimetres, frame=frame,
                    up=self.up or (scan["up"] if frame is not None else None),
                )  # fmt: skip
            except InputError as error:
                run.log(event="not written", reason=str(error))
                written.append({"file": None, "reason": str(error)})
                continue
            found = {name: value for name, value in vars(made).items() if value not in (None, ())}
            written.append({"file": str(path.relative_to(run.root))} | found)
        return written

    def _report(
        self, values: Mapping[str, Any], solids: Tensor, written: Sequence[Mapping[str, Any]], run: Run
    ) -> None:
        report = Report(products.title(values, MODALITY))
        notes = [*values["source"].get("notes", ()), *(values.get("scan") or {}).get("notes", ())]
        for note in notes:
            report.text(f"Warning: {note}")
        rows, num = _told(report, values, run, self.limit)
        rows = _as_written(rows, solids, values)
        sheet = MODALITY.sheet(rows, num)
        products.show(report, run.root, {"contact_sheet": sheet}, {"contact_sheet": f"{', '.join(rows)}: a row each"})
        for number, solid in enumerate(solids[:VIEWED]):
            if solid.any():
                mesh, _ = voxels.surface(voxels.field(solid), self.smoothing, VIEWED_FACES)
                report.shape(mesh.vertices, mesh.faces, f"shape {number}; drag to turn it")
        lines = [
            [
                entry["file"] or "not written", entry.get("voxels"), entry.get("faces"), entry.get("dropped_voxels"),
                entry.get("reason") or "; ".join(entry.get("notes", ())),
            ]
            for entry in written
        ]  # fmt: skip
        report.table(["file", "voxels", "faces", "voxels dropped as specks", "remarks"], lines)
        products.finish(report, values, run)


def shapes_of(values: Mapping[str, Any], limit: int) -> Tensor:
    """The first shapes to write, decided, [n, 1, N, N, N]; of paths, all of so many."""
    if "paths" in values:
        return values["paths"][:limit].flatten(0, 1)
    if "recovered" in values:
        return MODALITY.decided(values["recovered"].float(), values["observation"], values["measured"])[:limit]
    if "reconstructions" in values:
        return values["reconstructions"][:limit]
    if "samples" not in values:
        raise InputError("export: nothing was recovered or made; put it after such a stage")
    return values["samples"][:limit]


def _as_written(rows: Mapping[str, Tensor], solids: Tensor, values: Mapping[str, Any]) -> dict[str, Tensor]:
    """The rows of a sheet, those of what is written as it is written."""
    x, written = solids.float() * 2 - 1, dict(rows)
    if "paths" in values:
        for k, path in enumerate(x.unflatten(0, (-1, values["paths"].shape[1]))):
            written |= {f"path {k}": path} if f"path {k}" in rows else {}
        return written
    name = next(name for name in ("recovered", "reconstruction", "samples") if name in rows)
    return written | {name: x}


def _seen(values: Mapping[str, Any], solids: Tensor) -> Tensor | None:
    """Voxels of recovered shapes that were seen to be solid, bool [n, 1, N, N, N]; their parts stay."""
    observation = values.get("observation")
    if "paths" in values or "recovered" not in values or not isinstance(observation, Hidden):
        return None
    return solids & ~observation.mask.expand(len(values["recovered"]), *solids.shape[1:])[: len(solids)]


def _told(report: Report, values: Mapping[str, Any], run: Run, num: int) -> tuple[dict[str, Tensor], int]:
    """Say how good the shapes are; gives the rows of the sheet, and how many shapes each of them shows."""
    rows: dict[str, Tensor] = {}
    if "recovered" in values:
        products.recovery(report, values, MODALITY)
        rows = products.recovery_rows(values, MODALITY)
    elif "samples" in values and "composition" not in values and "paths" not in values:
        products.synthesis(report, values, MODALITY, JUDGED)
    if "composition" in values and "paths" not in values:
        products.composition(report, values, MODALITY, run.root, num)
    if "paths" in values:
        products.paths(report, values, MODALITY)
        rows, num = products.path_rows(values), values["paths"].shape[1]
    if "reconstructions" in values:
        products.reconstructions(report, values, MODALITY)
        rows = products.reconstruction_rows(values)
    return rows or {"samples": values["samples"]}, num
