"""Mesh files: read with every check that trimesh leaves out, and encoded in the formats of printers and engines."""

import io
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data.containers import check_file
from data.errors import InputError
from data.mesh_formats import (
    NO_CORNER,
    NO_MESH,
    ONLY_POINTS,
    BadMesh,
    check_corners,
    check_count,
    parse_obj,
    parse_off,
    parse_stl,
)
from data.meshes import Mesh
from data.ply import parse_ply
from data.three_mf import encode_3mf, parse_3mf

READABLE = (".obj", ".off", ".stl", ".ply", ".glb", ".gltf", ".3mf")
WRITABLE = (".stl", ".obj", ".ply", ".glb", ".off", ".3mf")
Y_UP = (".obj", ".glb", ".gltf")
"""Formats whose files have y up: by their standard (glb) or by custom (obj)."""

UNREAD = {
    ".step": "STEP", ".stp": "STEP", ".iges": "IGES", ".igs": "IGES", ".fbx": "FBX", ".blend": "Blender's format",
    ".dae": "COLLADA", ".3ds": "3DS", ".max": "3ds Max", ".ma": "Maya", ".mb": "Maya", ".c4d": "Cinema 4D",
    ".usd": "USD", ".usda": "USD", ".usdc": "USD", ".usdz": "USD", ".x3d": "X3D", ".wrl": "VRML", ".skp": "SketchUp",
    ".3dm": "Rhino", ".sldprt": "SolidWorks", ".sldasm": "SolidWorks", ".f3d": "Fusion", ".ipt": "Inventor",
    ".dwg": "DWG", ".dxf": "DXF", ".amf": "AMF", ".scad": "OpenSCAD", ".brep": "BREP", ".jt": "JT", ".x_t": "Parasolid",
    ".sat": "ACIS", ".gcode": "G-code", ".lwo": "LightWave", ".vrml": "VRML", ".xyz": "a list of points",
    ".pcd": "a list of points", ".las": "a list of points", ".laz": "a list of points", ".e57": "a list of points",
    ".vtk": "VTK", ".vtp": "VTK", ".msh": "Gmsh", ".mesh": "MEDIT", ".abc": "Alembic", ".zpr": "ZBrush",
}  # fmt: skip
"""Formats of shapes that are not read, by their names."""

MAX_BYTES = 512 * 1024**2
DECIMALS = {".obj": 8, ".off": 10}  # that are written of a number, at least
SINGLE = (".stl", ".ply", ".glb")  # formats that hold places in 32 bits
COARSE = 1e-3  # of the longest side, rounding that shows
FLAT = 1e-12  # area over the square of the extent below which faces have none
MAGIC = {
    b"ply": ".ply", b"glTF": ".glb", b"PK\x03\x04": ".3mf", b"OFF": ".off", b"ISO-10303": ".step",
    b"Kaydara": ".fbx", b"BLENDER": ".blend",
}  # fmt: skip
"""What files of a format begin with."""
PARSERS: dict[str, Callable[[bytes], Mesh]] = {
    ".obj": parse_obj, ".off": parse_off, ".stl": parse_stl, ".ply": parse_ply, ".3mf": parse_3mf,
}  # fmt: skip
COMPRESSIONS = {"KHR_draco_mesh_compression": "Draco", "EXT_meshopt_compression": "meshopt"}


def read(path: Path) -> Mesh:
    """The triangles of .obj, .off, .stl, .ply, .glb, .gltf or .3mf in the file's own axes and units; of .3mf in mm.

    A scene of several meshes is put together as it is placed; lines, loose points, colours and materials are left out,
    and no other file is opened. InputError for a file that is empty, cut short or another kind, holds no triangles or
    none with an area, NaN or infinite places, or a face without its corners.
    """
    check_file(path)
    kind = path.suffix.lower()
    if kind in UNREAD:
        raise InputError(f"{path}: {UNREAD[kind]} is not read; export it as stl")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB; decimate the mesh first")
    data = path.read_bytes()
    found = next((other for start, other in MAGIC.items() if data.startswith(start)), kind)
    try:
        if found != kind:
            what = f"{UNREAD[found]} is not read; export it as stl" if found in UNREAD else f"name it *{found}"
            raise BadMesh(f"is not {kind[1:]} but {found[1:]} inside; {what}")
        return _checked(PARSERS[kind](data) if kind in PARSERS else _read_gltf(data))
    except BadMesh as error:
        raise InputError(f"{path}: {error}") from None


def encode(mesh: Mesh, kind: str) -> bytes:
    """The file of a mesh in its own units (3mf: millimetres); `kind` is one of WRITABLE."""
    if kind == ".3mf":
        return encode_3mf(mesh)
    import trimesh

    options = {}
    if kind in DECIMALS:  # of small units more
        longest = float(np.ptp(mesh.vertices, axis=0).max())
        options["digits"] = max(DECIMALS[kind], 8 - math.floor(math.log10(longest)))
    data = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(file_type=kind[1:], **options)
    return data.encode() if isinstance(data, str) else bytes(data)  # type: ignore[arg-type]


def rounding(mesh: Mesh, kind: str) -> str | None:
    """What a file of this kind rounds so much that it shows, as of places far from 0; None: nothing."""
    if kind not in SINGLE:
        return None
    step = float(np.spacing(np.abs(mesh.vertices).max().astype(np.float32)))
    if step < COARSE * float(np.ptp(mesh.vertices, axis=0).max()):
        return None
    return f"it lies so far from 0 that a {kind[1:]} file rounds its places to {step:.2g}; obj, off and 3mf do not"


def _read_gltf(data: bytes) -> Mesh:
    """glTF 2.0, as one file of bytes or of text. BadMesh: it is none, or needs what is not read."""
    import trimesh

    binary = data.startswith(b"glTF")
    try:
        _check_gltf(_gltf_tree(data, binary))
        # From bytes, without a resolver: a mesh file cannot have other files opened.
        scene = trimesh.load_scene(
            io.BytesIO(data), file_type="glb" if binary else "gltf", process=False, skip_materials=True
        )
        with np.errstate(all="ignore"):  # infinite places are refused later
            return _assemble(scene)
    except BadMesh:
        raise
    except IndexError:
        raise BadMesh(NO_CORNER) from None
    except Exception:  # whatever the bytes made of the parser: its words are none of a person's
        raise BadMesh("not a whole glb mesh, what it names is not there; export the mesh again") from None


def _gltf_tree(data: bytes, binary: bool) -> dict[str, Any]:
    """The JSON of a glTF; BadMesh where it is none, or less than the file says is there."""
    wrong = BadMesh("not a whole glb mesh, its head is wrong; export the mesh again")
    if binary:
        if len(data) < 20:
            raise wrong
        version, length, chunk, kind = struct.unpack("<III4s", data[4:20])
        if version != 2 or kind != b"JSON":
            raise wrong
        if length > len(data) or 20 + chunk > len(data):
            raise BadMesh(f"not a whole glb mesh, {len(data)} of {length} bytes are there; export the mesh again")
        data = data[20 : 20 + chunk]
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(tree, dict):
        raise wrong
    return tree


def _check_gltf(tree: dict[str, Any]) -> None:
    used = [name for key in ("extensionsRequired", "extensionsUsed") for name in tree.get(key) or ()]
    found = next((COMPRESSIONS[name] for name in used if name in COMPRESSIONS), None)
    if found:
        raise BadMesh(f"{found} compression is not read; export without it")
    buffers = [buffer for buffer in tree.get("buffers") or () if isinstance(buffer, dict)]
    if any(not str(buffer.get("uri", "data:")).startswith("data:") for buffer in buffers):
        raise BadMesh("keeps its mesh in other files, which are not opened; export it as glb, in one file")


def _assemble(scene: Any) -> Mesh:
    """All triangles of a trimesh scene in one mesh, each in its place."""
    import trimesh

    placed = [scene.graph[node] for node in scene.graph.nodes_geometry]  # (transform [4, 4], name)
    meshes = [(where, scene.geometry[name]) for where, name in placed]
    solid = [(where, mesh) for where, mesh in meshes if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)]
    if not solid:
        raise BadMesh(ONLY_POINTS if meshes else NO_MESH)
    # Counted before it is built: a small scene may place a large mesh a million times.
    check_count(sum(len(mesh.faces) for _, mesh in solid))
    parts = []
    for where, mesh in solid:
        part = Mesh(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64))
        check_corners(part.faces, len(part.vertices))
        parts.append(part.placed(where[:3, :3].T, where[:3, 3]))
    return Mesh.joined(parts)


def _checked(mesh: Mesh) -> Mesh:
    """The mesh without the vertices that no face uses; BadMesh if it has places that are none, or no area."""
    used, faces = np.unique(mesh.faces, return_inverse=True)
    vertices, faces = mesh.vertices[used], faces.reshape(-1, 3).astype(np.int64)
    if not np.isfinite(vertices).all():
        count = int((~np.isfinite(vertices)).any(1).sum())
        raise BadMesh(f"{count} of its vertices are NaN or infinite; repair the mesh")
    with np.errstate(all="ignore"):
        extent = np.ptp(vertices, axis=0).max()
    if not (np.isfinite(extent) and extent > 1e-9 * max(1e-200, float(np.abs(vertices).max()))):
        raise BadMesh("has no size, all its vertices are at one place; export the mesh again")
    a, b, c = np.moveaxis((vertices[faces] - vertices.mean(0)) / extent, 1, 0)
    if np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() < FLAT:
        raise BadMesh("has no area, the corners of each face lie on a line; export it as a surface of triangles")
    return Mesh(vertices, faces)
