"""Mesh files as people have them: what each holds, and one line for what is not read."""

import base64
import io
import json
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import trimesh

from data import mesh_files, shapes
from data.errors import InputError
from data.mesh_formats import parse_stl
from data.meshes import Mesh
from data.polygons import triangulated

# An L of two boxes' width: 12 corners, 2 concave faces of 6 corners and 6 of 4.
OUTLINE = [(0, 0), (30, 0), (30, 10), (10, 10), (10, 40), (0, 40)]
CORNERS = np.array([(x, y, z) for z in (0, 20) for x, y in OUTLINE], float)
POLYGONS = [[5, 4, 3, 2, 1, 0], [6, 7, 8, 9, 10, 11], *([k, (k + 1) % 6, (k + 1) % 6 + 6, k + 6] for k in range(6))]
VOLUME = 20 * (30 * 10 + 10 * 30)
POINTS = "".join(f"v {x:g} {y:g} {z:g}\n" for x, y, z in CORNERS)
FACES = "".join("f " + " ".join(str(k + 1) for k in face) + "\n" for face in POLYGONS)


def triangles() -> Mesh:
    return Mesh(CORNERS, triangulated(CORNERS, np.concatenate(POLYGONS), np.array([len(face) for face in POLYGONS])))


def stl(header: bytes = b"", count: int | None = None, tail: bytes = b"") -> bytes:
    mesh = triangles()
    rows = b"".join(struct.pack("<12fH", 0, 0, 0, *mesh.vertices[face].reshape(-1), 0) for face in mesh.faces)
    return header.ljust(80, b"\0") + struct.pack("<I", len(mesh.faces) if count is None else count) + rows + tail


def stl_text(name: str = "l") -> str:
    mesh = triangles()
    facet = "facet normal 0 0 0\n outer loop\n{} endloop\nendfacet\n"
    rows = ["".join("  vertex {:g} {:g} {:g}\n".format(*mesh.vertices[k]) for k in face) for face in mesh.faces]
    return f"solid {name}\n{''.join(map(facet.format, rows))}endsolid {name}\n"


def off(head: str = "OFF\n12 8 0\n", end: str = "", point: str = "") -> str:
    points = "".join(f"{x:g} {y:g} {z:g}{point}{end}\n" for x, y, z in CORNERS)
    return head + points + "".join(f"{len(face)} {' '.join(map(str, face))}{end}\n" for face in POLYGONS)


def ply(kind: str = "ascii", comment: str = "comment x", newline: str = "\n", extra: bool = False) -> bytes:
    more = "property uchar red\n" if extra else ""
    edges = "element edge 1\nproperty int vertex1\nproperty int vertex2\n" if extra else ""
    head = (
        f"ply\nformat {kind} 1.0\n{comment}\nelement vertex 12\nproperty float x\nproperty float y\nproperty float z\n"
    )
    head += f"{more}{edges}element face 8\nproperty list uchar int vertex_indices\n{more}end_header\n"
    if kind == "ascii":
        tint = " 7" if extra else ""
        body = "".join(f"{x:g} {y:g} {z:g}{tint}\n" for x, y, z in CORNERS) + ("0 1\n" if extra else "")
        body += "".join(f"{len(face)} {' '.join(map(str, face))}{tint}\n" for face in POLYGONS)
        return (head + body).replace("\n", newline).encode("latin-1")
    order, tint = (">" if "big" in kind else "<"), ([7] if extra else [])
    body = b"".join(struct.pack(f"{order}3f{'B' * extra}", *place, *tint) for place in CORNERS)
    body += struct.pack(f"{order}2i", 0, 1) if extra else b""
    for face in POLYGONS:
        body += struct.pack(f"{order}B{len(face)}i{'B' * extra}", len(face), *face, *tint)
    return head.replace("\n", newline).encode("latin-1") + body


def strips() -> bytes:
    head = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    return (head + "0 0 0\n1 0 0\n0 1 0\n0 0 1\n7 0 2 1 3 0 2 -1\n").encode()


def gltf() -> bytes:
    """With its buffers inside, as text."""
    files = trimesh.Trimesh(CORNERS, triangles().faces, process=False).scene().export(file_type="gltf")
    tree = json.loads(files["model.gltf"])
    for buffer in tree["buffers"]:
        buffer["uri"] = "data:application/octet-stream;base64," + base64.b64encode(files[buffer["uri"]]).decode()
    return json.dumps(tree).encode()


def glb(**more: object) -> bytes:
    data = mesh_files.encode(triangles(), ".glb")
    length = struct.unpack("<I", data[12:16])[0]
    text = json.dumps(json.loads(data[20 : 20 + length]) | more).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    return struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest


def three_mf(unit: str = "millimeter", scale: float = 1.0, change: tuple[str, str] = ("", "")) -> bytes:
    """A component, moved; and a support, which is no part of the shape."""
    points = "".join('<vertex x="{}" y="{}" z="{}"/>'.format(*place) for place in CORNERS * scale)
    faces = "".join('<triangle v1="{}" v2="{}" v3="{}"/>'.format(*face) for face in triangles().faces)
    mesh = f"<mesh><vertices>{points}</vertices><triangles>{faces}</triangles></mesh>"
    place = f"0 1 0 -1 0 0 0 0 1 {5 * scale} 0 0"
    model = (
        f'<model unit="{unit}" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"><resources>'
        f'<object id="1">{mesh}</object><object id="2" type="support">{mesh}</object><object id="3"><components>'
        f'<component objectid="1" transform="{place}"/><component objectid="2"/></components></object></resources>'
        '<build><item objectid="3"/></build></model>'
    )
    buffer = io.BytesIO()
    own = zipfile.ZipFile(io.BytesIO(mesh_files.encode(triangles(), ".3mf")))
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("_rels/.rels", own.read("_rels/.rels"))
        archive.writestr("3D/3dmodel.model", model.replace(*change))
    return buffer.getvalue()


GROUPED = f"# Möbel\no L\ng a b\n{POINTS}vt 0 0\nvn 0 0 1\nusemtl x\ns off\n{FACES.replace('f 1 ', 'f 1/1/1 ')}l 1 2\n"
GOOD = {
    "latin.obj": GROUPED.encode("latin-1"),
    "utf8.obj": b"\xef\xbb\xbf" + GROUPED.encode(),
    "utf16.obj": GROUPED.encode("utf-16"),
    "crlf.obj": GROUPED.replace("\n", "\r\n").encode(),
    "continued.obj": GROUPED.replace("f 1/1/1 ", "f 1/1/1 \\\n").encode(),
    "colours.obj": POINTS.replace("\n", " 0.5 0.5 0.5\n").encode() + FACES.encode(),
    "later.obj": FACES.encode() + POINTS.encode(),
    "polygons.off": off().encode(),
    "comments.off": off("OFF # head\n12 8 0 # counts\n# more\n", "  # möbel").encode("latin-1"),
    "one_line.off": off("OFF 12 8 0\n").encode(),
    "glued.off": off("OFF12 8 0\n").encode(),
    "nameless.off": off("12 8 0\n").encode(),
    "colours.off": off("COFF\n12 8 0\n", point=" 10 20 30 255").encode(),
    "faces.off": off().replace("5 4 3 2 1 0", "5 4 3 2 1 0 255 0 0").encode(),
    "words.off": off().replace("\n", " ").encode(),
    "binary.stl": stl(),
    "tail.stl": stl(tail=b"written by x\n"),
    "solid.stl": stl(header=b"solid L"),
    "no_count.stl": stl(count=0),
    "text.stl": stl_text().encode(),
    "latin.stl": stl_text("Möbel").encode("latin-1"),
    "upper.stl": stl_text().upper().encode(),
    "crlf.stl": stl_text().replace("\n", "\r\n").encode(),
    **{f"{kind}.ply": ply(kind) for kind in ("ascii", "binary_little_endian", "binary_big_endian")},
    "latin.ply": ply(comment="comment Möbel"),
    "latin_binary.ply": ply("binary_little_endian", "obj_info Möbel"),
    "crlf.ply": ply("binary_big_endian", newline="\r\n"),
    "cr.ply": ply(newline="\r"),
    "more.ply": ply(extra=True),
    "more_binary.ply": ply("binary_little_endian", extra=True),
    "tail.ply": ply("binary_little_endian") + b"written by x\n",
    "inside.gltf": gltf(),
    "a.glb": glb(),
    "a.3mf": three_mf(),
    "own.3mf": mesh_files.encode(triangles(), ".3mf"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_files_hold_the_shape_that_was_put_into_them(name, tmp_path):
    (tmp_path / name).write_bytes(GOOD[name])
    mesh = mesh_files.read(tmp_path / name).welded()
    assert mesh.open_edges() == 0 and mesh.volume == pytest.approx(VOLUME)
    assert len(mesh.vertices) == 12 and len(mesh.faces) == 20
    if name == "a.3mf":  # turned about z, and moved
        np.testing.assert_allclose([mesh.vertices.min(0), mesh.vertices.max(0)], [[-35, 0, 0], [5, 30, 20]])
    else:
        np.testing.assert_allclose([mesh.vertices.min(0), mesh.vertices.max(0)], [[0, 0, 0], [30, 40, 20]])


def test_units_of_3mf_become_millimetres(tmp_path):
    (tmp_path / "a.3mf").write_bytes(three_mf("inch", 1 / 25.4))
    mesh = mesh_files.read(tmp_path / "a.3mf")
    assert mesh.volume == pytest.approx(VOLUME) and mesh.vertices[:, 0].min() == pytest.approx(-35)


def test_negative_indices_count_from_the_vertices_so_far(tmp_path):
    moved = "".join(f"v {x + 100:g} {y:g} {z:g}\n" for x, y, z in CORNERS)
    back = "".join("f " + " ".join(str(k - 12) for k in face) + "\n" for face in POLYGONS)
    (tmp_path / "a.obj").write_text(POINTS + back + moved + back)
    mesh = mesh_files.read(tmp_path / "a.obj").welded()
    assert mesh.open_edges() == 0 and len(mesh.faces) == 40
    assert mesh.volume == pytest.approx(2 * VOLUME)


def test_triangles_of_concave_polygons_stay_inside_and_in_order():
    mesh = triangles()
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    assert areas.sum() == pytest.approx(2 * (300 + 300) + 20 * 140)  # a fan would cover more
    assert all(set(face) <= set(POLYGONS[0]) for face in mesh.faces[:4].tolist())
    turns, far = 0.7 * np.arange(9) - 3, 1 + 2 * (np.arange(9) % 2)
    star = np.stack([np.cos(turns) * far, np.sin(turns) * far, np.full(9, 5.0)], axis=1)
    for turn in (star, star[::-1], star[:, [2, 0, 1]]):
        faces = triangulated(turn, np.arange(9), np.array([9]))
        a, b, c = np.moveaxis(turn[faces], 1, 0)
        normals = np.cross(b - a, c - a)
        assert len(faces) == 7 and (normals @ normals.sum(0) > 0).all()


@pytest.mark.parametrize("name", ["a.stl", "a.ply", "a.off"])
def test_one_shape_in_two_formats_is_one_grid(name, tmp_path):
    (tmp_path / "a.obj").write_text(POINTS + FACES)
    (tmp_path / name).write_bytes({"a.stl": stl(), "a.ply": ply(), "a.off": off().encode()}[name])
    one, two = (shapes.load(tmp_path / file, 24, "z", False)[0] for file in ("a.obj", name))
    np.testing.assert_array_equal(one.bits, two.bits)


def external() -> bytes:
    return json.dumps({"asset": {"version": "2.0"}, "buffers": [{"uri": "../../secret.bin", "byteLength": 9}]}).encode()


def cut(data: bytes, share: float = 0.6) -> bytes:
    return data[: int(len(data) * share)]


BAD = {
    "draco.glb": (glb(extensionsRequired=["KHR_draco_mesh_compression"]), "Draco compression is not read; export"),
    "meshopt.glb": (
        glb(extensionsUsed=["EXT_meshopt_compression"]),
        "meshopt compression is not read; export without it",
    ),
    "external.gltf": (external(), "keeps its mesh in other files, which are not opened; export it as glb"),
    "list.gltf": (b"[]", "not a whole glb mesh"),
    "number.gltf": (b'{"extensionsUsed": 5}', "not a whole glb mesh"),
    "map.gltf": (b'{"extensionsUsed": [{}], "buffers": 5}', "not a whole glb mesh"),
    "length.glb": (cut(glb()), "of [0-9]+ bytes are there"),
    "step.step": (b"ISO-10303-21;", "STEP is not read; export it as stl"),
    "fbx.FBX": (b"Kaydara FBX", "FBX is not read; export it as stl"),
    "blend.blend": (b"BLENDER", "Blender's format is not read; export it as stl"),
    "ply.stl": (ply(), r"is not stl but ply inside; name it \*\.ply"),
    "step.stl": (b"ISO-10303-21;" + bytes(100), "STEP is not read"),
    "cut.stl": (cut(stl()), "cut short, 11 of 20 triangles are there"),
    "cut_text.stl": (cut(stl_text().encode()), "cut short or damaged"),
    "empty_text.stl": (b"solid a\nendsolid a\n", "holds no mesh"),
    "none.stl": (bytes(84), "holds no mesh"),
    "million.stl": (stl(count=2**31), "cut short, 20 of 2147483648"),
    "numbers.obj": (b"v 1,5 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "'1,5 0 0' is not a vertex"),
    "zero.obj": (b"v 1 0 0\nv 0 1 0\nv 0 0 1\nf 0 1 2\n", "corner that is not there"),
    "short.obj": (POINTS.encode() + FACES.encode() + b"f 1 2", "cut short within line 21"),
    "word.obj": (POINTS.encode() + b"f a b c\n", "line 13 is no face"),
    "line.obj": (b"v 0 0 0\nv 1 1 1\nv 2 2 2\nf 1 2 3\n", "has no area"),
    "points.off": (b"OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", "only points"),
    "vertices.off": (off("OFF\n99 8 0\n").encode(), "cut short, 26 of 99 vertices"),
    "binary.off": (b"OFF BINARY\n" + bytes(50), "binary OFF"),
    "lying.off": (off("OFF\n12 99999999 0\n").encode(), "more than 5000000 faces"),
    "digits.off": (off(f"OFF\n12 {'9' * 5000} 0\n").encode(), "not a whole off mesh"),
    "negative.off": (off().replace("5 4 3 2 1 0", "5 4 3 2 1 -1").encode(), "corner that is not there"),
    **{f"cut_{kind}.ply": (cut(ply(kind), 0.9), "not a whole ply") for kind in ("ascii", "binary_big_endian")},
    "lying.ply": (ply("binary_little_endian").replace(b"face 8", b"face 999999999"), "not a whole ply"),
    "digits.ply": (ply().replace(b"face 8", b"face " + b"9" * 5000), "not a whole ply"),
    "endless.ply": (b"ply\nformat ascii 1.0\n" + b"comment x\n" * 9, "not a whole ply"),
    "format.ply": (ply().replace(b"ascii", b"utf"), "not a whole ply"),
    "zip.3mf": (cut(three_mf()), "not a whole 3mf"),
    "unit.3mf": (three_mf("parsec"), "its unit is 'parsec'"),
    "encoding.3mf": (three_mf(change=("<model", '<?xml version="1.0" encoding="UTF-1"?><model')), "not a whole 3mf"),
    "corner.3mf": (three_mf(change=('v1="5"', f'v1="{10**30}"')), "not a whole 3mf"),
    "docx.3mf": (three_mf().replace(b"_rels/.rels", b"_rels/.abcd"), "not a whole 3mf"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_read_is_told_in_a_line_of_our_own(name, tmp_path, capfd, caplog):
    data, words = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        shapes.load(tmp_path / name, 16, None, False)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / name)) and "\n" not in message and len(message) < 200 + len(str(tmp_path))
    assert not any(capfd.readouterr()) and not caplog.records


@pytest.mark.parametrize("kind", [".obj", ".off", ".stl", ".ply", ".glb", ".3mf"])
def test_a_file_that_is_cut_anywhere_is_refused_or_whole(kind, tmp_path):
    data = mesh_files.encode(triangles(), kind)
    for length in np.linspace(1, len(data) - 1, 40).astype(int):
        (tmp_path / f"a{kind}").write_bytes(data[:length])
        with suppress(InputError):
            mesh = mesh_files.read(tmp_path / f"a{kind}")
            assert kind == ".obj" or len(mesh.faces) == 20  # of OBJ no one can tell that its last faces are missing


def test_a_large_stl_is_read_at_once():
    rows = np.zeros(200_000, np.dtype([("n", "<f4", 3), ("v", "<f4", (3, 3)), ("a", "<u2")]))
    rows["v"] = np.random.default_rng(0).random((200_000, 3, 3))
    mesh = parse_stl(bytes(80) + struct.pack("<I", 200_000) + rows.tobytes())
    np.testing.assert_array_equal(mesh.vertices.reshape(-1, 3, 3), rows["v"])


def test_a_folder_tells_what_of_it_is_not_read(tmp_path):
    for name in ("a.obj", "b.step", "b.mtl", ".hidden.obj"):
        (tmp_path / name).write_text(POINTS + FACES)
    Path(tmp_path / "@eaDir").mkdir()
    (tmp_path / "@eaDir" / "a.obj").write_text("x")
    with pytest.warns(UserWarning, match=r"2 files that are not shapes are left out \(1 \.mtl, 1 \.step\)") as caught:
        dataset = shapes.open_dataset(tmp_path, 16, cache=tmp_path / ".cache")
    assert dataset["name"][:] == ["a.obj"] and len(caught) == 1
