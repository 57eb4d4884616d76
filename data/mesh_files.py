"""Mesh files: read with every check that trimesh leaves out, and encoded in the formats of printers and engines."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from data.decoding import check_file
from data.errors import InputError
from data.meshes import Mesh

READABLE = (".obj", ".off", ".stl", ".ply", ".glb")
WRITABLE = (".stl", ".obj", ".ply", ".glb", ".off", ".3mf")
Y_UP = (".obj", ".glb")
"""Formats whose files have y up: by their standard (glb) or by custom (obj)."""

MAX_BYTES = 512 * 1024**2
MAX_FACES = 5_000_000


def read(path: Path) -> Mesh:
    """The triangles of .obj, .off, .stl, .ply or .glb in the file's own units and axes.

    A scene of several meshes is put together as it is placed; lines, loose points, colours and
    materials are left out, and no other file is opened. InputError for a file that is empty, cut
    short or another kind, holds no triangles, NaN or infinite places, or a face without its corners.
    """
    import trimesh

    check_file(path)
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB; decimate the mesh first")
    data, kind = path.read_bytes(), path.suffix.lower()[1:]
    options: dict[str, Any] = {"skip_materials": True} if kind in ("obj", "glb") else {}
    try:
        # From bytes, without a resolver: a mesh file cannot have other files opened.
        loaded = trimesh.load_scene(io.BytesIO(data), file_type=kind, process=False, **options)
        with np.errstate(all="ignore"):  # infinite places are refused below
            mesh = _checked(path, _assemble(path, loaded))
    except InputError:
        raise
    except IndexError as error:
        raise InputError(f"{path}: a face names a corner that is not there; export the mesh again") from error
    except Exception as error:  # whatever the bytes made of the parser
        raise InputError(f"{path}: not a whole {kind} mesh ({_short(error)}); export the mesh again") from error
    if kind == "off":
        _check_off(path, data, len(mesh.faces))
    return mesh


def encode(mesh: Mesh, kind: str) -> bytes:
    """The file of a mesh in its own units (3mf: millimetres); `kind` is one of WRITABLE."""
    if kind == ".3mf":
        return _encode_3mf(mesh)
    import trimesh

    data = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(file_type=kind[1:])
    return data.encode() if isinstance(data, str) else bytes(data)  # type: ignore[arg-type]


def _assemble(path: Path, scene: Any) -> Mesh:
    """All triangles of a trimesh scene in one mesh, each in its place."""
    import trimesh

    placed = [scene.graph[node] for node in scene.graph.nodes_geometry]  # (transform [4, 4], name)
    meshes = [(where, scene.geometry[name]) for where, name in placed]
    solid = [(where, mesh) for where, mesh in meshes if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)]
    if not solid:
        what = "only points or lines, no faces" if meshes else "no mesh (it is empty, cut short or another format)"
        raise InputError(f"{path}: holds {what}; export it as a surface of triangles")
    # Counted before it is built: a small scene may place a large mesh a million times.
    if sum(len(mesh.faces) for _, mesh in solid) > MAX_FACES:
        raise InputError(f"{path}: has more than {MAX_FACES} faces; decimate the mesh first")
    vertices, faces, first = [], [], 0
    for where, mesh in solid:
        corners = np.asarray(mesh.faces, np.int64)
        if corners.min() < 0 or corners.max() >= len(mesh.vertices):
            raise IndexError
        points = np.asarray(mesh.vertices, np.float64)
        vertices.append(points @ where[:3, :3].T + where[:3, 3])
        # A mirrored place turns triangles inside out.
        faces.append((corners[:, ::-1] if np.linalg.det(where[:3, :3]) < 0 else corners) + first)
        first += len(points)
    return Mesh(np.concatenate(vertices), np.concatenate(faces))


def _checked(path: Path, mesh: Mesh) -> Mesh:
    """The mesh without the vertices that no face uses; InputError if it has places that are none."""
    used, faces = np.unique(mesh.faces, return_inverse=True)
    vertices = mesh.vertices[used]
    if not np.isfinite(vertices).all():
        count = int((~np.isfinite(vertices)).any(1).sum())
        raise InputError(f"{path}: {count} of its vertices are NaN or infinite; repair the mesh")
    extent = np.ptp(vertices, axis=0).max()
    if not (np.isfinite(extent) and extent > 1e-9 * max(1e-200, float(np.abs(vertices).max()))):
        raise InputError(f"{path}: has no size, all its vertices are at one place; export the mesh again")
    return Mesh(vertices, faces.reshape(-1, 3).astype(np.int64))


def _check_off(path: Path, data: bytes, faces: int) -> None:
    """InputError if an .off file has fewer faces than its head declares: readers pass over the end in silence."""
    head = re.sub(rb"#[^\n]*", b"", data[:4096]).split(maxsplit=4)
    numbers = [*([head[0][3:]] if head[0][3:] else []), *head[1:]]  # "OFF 8 12 0", or "OFF8 12 0" as in ModelNet
    if len(numbers) > 1 and numbers[1].isdigit() and faces < int(numbers[1]):
        raise InputError(f"{path}: cut short, {faces} of {int(numbers[1])} faces are there; export the mesh again")


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 60 else text[:57] + "..."


def _encode_3mf(mesh: Mesh) -> bytes:
    """3MF core specification 1.3: a zip with the content types, the relation to the model, and the model."""
    core = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
    package = "http://schemas.openxmlformats.org/package/2006"
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    vertices = "".join(f'<vertex x="{x:.7g}" y="{y:.7g}" z="{z:.7g}"/>\n' for x, y, z in mesh.vertices.tolist())
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>\n' for a, b, c in mesh.faces.tolist())
    files = {
        "[Content_Types].xml": f'{head}<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>',
        "_rels/.rels": f'{head}<Relationships xmlns="{package}/relationships"><Relationship Id="model" '
        'Target="/3D/3dmodel.model" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>'
        "</Relationships>",
        "3D/3dmodel.model": f'{head}<model unit="millimeter" xml:lang="en-US" xmlns="{core}"><resources>'
        f'<object id="1" type="model"><mesh><vertices>\n{vertices}</vertices><triangles>\n{triangles}</triangles>'
        '</mesh></object></resources><build><item objectid="1"/></build></model>\n',
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)  # ZipInfo: no time of day in it
    return buffer.getvalue()
