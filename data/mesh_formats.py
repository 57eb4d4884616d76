"""Parsers of the text formats of meshes, of STL and of 3MF: bytes to vertices and triangles, every line accounted for.

They are ours because trimesh refuses or misreads files that people have: negative indices between vertices, polygons
and comments in OFF, text that is not UTF-8, bytes behind the end of an STL.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from data.meshes import Mesh
from data.polygons import triangulated

MAX_FACES = 5_000_000
STL_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


class BadMesh(ValueError):
    """What is wrong with the bytes, and how to mend it: a clause to put behind the file's name."""


AGAIN = "export the mesh again"
NO_CORNER = f"a face names a corner that is not there; {AGAIN}"
NO_MESH = "holds no mesh (it is empty, cut short or another format); export it as a surface of triangles"
ONLY_POINTS = "holds only points or lines, no faces; export it as a surface of triangles"


def parse_obj(data: bytes) -> Mesh:
    """Wavefront OBJ: `v` and `f`; groups, materials, lines and what else there is are passed over."""
    places: list[Sequence[str]] = []
    corners: list[int] = []
    counts: list[int] = []
    lines = re.sub(r"\\\r?\n", " ", text_of(data)).splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0] not in ("v", "f"):
            continue
        words = words[: words.index("#")] if "#" in words else words
        if words[0] == "v":
            if len(words) < 4:
                raise BadMesh(f"line {number} is a vertex of {len(words) - 1} numbers; {AGAIN}")
            places.append(words[1:4])
        elif len(words) > 3:
            corners += _indices(words[1:], len(places), number)
            counts.append(len(words) - 1)
        elif number == len(lines) and not line.endswith("\n"):
            raise BadMesh(f"is cut short within line {number}; {AGAIN}")
        check_count(len(counts))
    if not counts:
        raise BadMesh(ONLY_POINTS if places else NO_MESH)
    vertices = _numbers(places, "a vertex")
    return Mesh(vertices, faces_of(vertices, np.array(corners), np.array(counts)))


def parse_off(data: bytes) -> Mesh:
    """Object File Format, also with normals, colours and texture places (COFF, NOFF, STOFF ...), and without its name,
    and with its name and its counts in one word as in ModelNet."""
    lines = [words for line in text_of(data).splitlines() if (words := line.partition("#")[0].split())]
    head = re.fullmatch(r"(?:ST)?C?N?(4?n?)OFF(\d*)", lines[0][0]) if lines else None
    if head:
        rest = [*filter(None, [head[2]]), *lines[0][1:]]
        lines = [rest, *lines[1:]] if rest else lines[1:]
        if head[1] or rest[:1] == ["BINARY"]:
            raise BadMesh("binary OFF, and OFF of other than 3 dimensions, is not read; export it as text in 3")
    if not lines or len(lines[0]) < 2:
        raise BadMesh(f"not a whole off mesh, its head is wrong; {AGAIN}")
    num, num_faces = (_whole(word, "its head") for word in lines[0][:2])
    if not num_faces:
        raise BadMesh(ONLY_POINTS if num else NO_MESH)
    check_count(num_faces)
    rows = lines[1:]
    if len(rows) < num + num_faces:  # fewer lines than rows: they may go on over lines
        rows = list(_rows([*lines[0][3:], *(word for line in lines[1:] for word in line)], num))
    if len(rows) < num:
        raise BadMesh(f"cut short, {len(rows)} of {num} vertices are there; {AGAIN}")
    vertices = _numbers(rows[:num], "a vertex")
    corners: list[int] = []
    counts: list[int] = []
    for row in rows[num : num + num_faces]:
        count = _whole(row[0], "a face")
        if len(row) < count + 1:
            break
        corners += [_whole(word, "a face") for word in row[1 : count + 1]]
        counts.append(count)
    if len(counts) < num_faces:
        raise BadMesh(f"cut short, {len(counts)} of {num_faces} faces are there; {AGAIN}")
    return Mesh(vertices, faces_of(vertices, np.array(corners, np.int64), np.array(counts, np.int64)))


def parse_stl(data: bytes) -> Mesh:
    """STL, binary or text, whatever its first word says; bytes behind the last triangle are passed over."""
    count = int.from_bytes(data[80:84], "little") if len(data) >= 84 else 0
    whole = (len(data) - 84) // STL_FACET.itemsize  # triangles that there is room for
    if not 0 < count <= whole and re.search(rb"\bfacet\b[^\0]*?\bvertex\b", data, re.IGNORECASE):
        return _parse_stl_text(text_of(data))
    if len(data) < 84 or (count > whole and b"\0" not in data):
        raise BadMesh(NO_MESH)
    if count > whole:
        raise BadMesh(f"cut short, {whole} of {count} triangles are there; {AGAIN}")
    if not count and whole > 0:  # some programs never fill in the count
        count = whole
    if not count:
        raise BadMesh(NO_MESH)
    check_count(count)
    corners = np.frombuffer(data, STL_FACET, count, 84)["corners"].reshape(-1, 3).astype(np.float64)
    return Mesh(corners, np.arange(len(corners)).reshape(-1, 3))


def _parse_stl_text(text: str) -> Mesh:
    text = text.lower()
    found = re.findall(r"^\s*vertex\s+(\S+)\s+(\S+)\s+(\S+)\s*$", text, re.MULTILINE)
    opened, closed = (len(re.findall(rf"^\s*{word}\b", text, re.MULTILINE)) for word in ("facet", "endfacet"))
    if opened != closed or len(found) != 3 * opened or not re.search(r"^\s*endsolid\b", text, re.MULTILINE):
        raise BadMesh(f"cut short or damaged: {opened} facets begin, {closed} end, of {len(found)} corners; {AGAIN}")
    check_count(opened)
    return Mesh(_numbers(found, "a vertex"), np.arange(len(found)).reshape(-1, 3))


def text_of(data: bytes) -> str:
    """Text in UTF-8, UTF-16 by its mark, or else Latin-1, in which any byte is a letter: only names can differ."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    return data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")


def faces_of(vertices: np.ndarray, corners: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Triangles int64 [F, 3] of polygons with so many corners each, all in a row; BadMesh: a corner is not there."""
    check_corners(corners, len(vertices))
    faces = triangulated(vertices, corners, counts)
    if not len(faces):
        raise BadMesh(ONLY_POINTS)
    check_count(len(faces))
    return faces


def _indices(words: Sequence[str], num: int, line: int) -> list[int]:
    """Corners of an OBJ face, from 0: negative ones count back from the vertices so far."""
    try:
        found = [int(word.partition("/")[0]) for word in words]
    except ValueError:
        raise BadMesh(f"line {line} is no face: {' '.join(words)[:40]}; {AGAIN}") from None
    corners = [k - 1 if k > 0 else num + k for k in found]
    if 0 in found or min(corners) < 0:
        raise BadMesh(NO_CORNER)
    return corners


def _numbers(rows: Sequence[Sequence[str]], what: str) -> np.ndarray:
    """float64 [n, 3] of the first three words of rows."""
    try:
        return np.array([row[:3] for row in rows], np.float64).reshape(-1, 3)
    except ValueError:
        bad = next(row for row in rows if len(row) < 3 or not all(map(_is_number, row[:3])))
        raise BadMesh(f"{' '.join(bad)[:40]!r} is not {what}, three numbers; {AGAIN}") from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _whole(word: str, what: str) -> int:
    if not word.isdecimal() or len(word) > 12:
        raise BadMesh(NO_CORNER if word.startswith("-") else f"not a whole off mesh, {word[:20]!r} in {what}; {AGAIN}")
    return int(word)


def _rows(words: Sequence[str], num: int) -> Iterable[Sequence[str]]:
    """Rows of a plain OFF whose words do not keep to lines: `num` of three numbers, then faces."""
    at = 0
    while at < len(words):
        step = 3 if at < 3 * num else 1 + (int(words[at]) if words[at].isdecimal() and len(words[at]) < 7 else 0)
        if at + step > len(words):
            return
        yield words[at : at + step]
        at += step


def check_corners(corners: np.ndarray, num: int) -> None:
    """BadMesh: a corner of a face is none of `num` vertices."""
    if corners.size and (corners.min() < 0 or corners.max() >= num):
        raise BadMesh(NO_CORNER)


def check_count(faces: int) -> None:
    """BadMesh: more faces than are read."""
    if faces > MAX_FACES:
        raise BadMesh(f"has more than {MAX_FACES} faces; decimate the mesh first")
