"""PLY meshes: text and binary of both orders of bytes, polygons and strips of triangles.

Turk 1994, "The PLY polygon file format". Ours, because trimesh refuses text that is not UTF-8 and bytes behind the end,
and passes over an end that is missing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from data.mesh_formats import AGAIN, ONLY_POINTS, BadMesh, faces_of, text_of
from data.meshes import Mesh

TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
SHORT = f"not a whole ply mesh, it ends within its numbers; {AGAIN}"
WRONG = f"not a whole ply mesh, its head is wrong; {AGAIN}"
CORNERS = ("vertex_indices", "vertex_index")


@dataclass
class Element:
    """Rows of one kind; a property is (name, type) or (name, type of the length, type of the items)."""

    name: str
    count: int
    properties: list[tuple[str, ...]] = field(default_factory=list)

    def place(self, *names: str) -> int | None:
        """The number of the first property that has one of the names."""
        return next((k for k, (name, *_) in enumerate(self.properties) if name in names), None)


def parse_ply(data: bytes) -> Mesh:
    """The triangles of `vertex` and `face` or `tristrips`; all other elements and properties are passed over."""
    order, elements, body = _head(data)
    vertices, corners, counts = np.empty((0, 3)), np.empty(0, np.int64), np.empty(0, np.int64)
    strips: list[np.ndarray] = []
    columns = _text_columns(body, elements) if not order else _binary_columns(body, elements, order)
    for element, values in zip(elements, columns, strict=True):
        if element.name == "vertex":
            places = [element.place(axis) for axis in "xyz"]
            if None in places or any(len(element.properties[k]) > 2 for k in places if k is not None):
                raise BadMesh(WRONG)
            vertices = np.stack([values[k][0] for k in places if k is not None], axis=1).astype(np.float64)
        elif element.name in ("face", "tristrips"):
            place = element.place(*CORNERS)
            if place is None or len(element.properties[place]) < 3:
                raise BadMesh(WRONG)
            items, lengths = values[place]
            if element.name == "face":
                corners, counts = items.astype(np.int64), lengths.astype(np.int64)
            else:
                strips.append(items.astype(np.int64))
    for strip in strips:
        corners = np.concatenate([corners, _unstripped(strip)])
        counts = np.concatenate([counts, np.full((len(corners) - int(counts.sum())) // 3, 3)])
    if not len(counts):
        raise BadMesh(ONLY_POINTS)
    return Mesh(vertices, faces_of(vertices, corners, counts))


def _head(data: bytes) -> tuple[str, list[Element], bytes]:
    """The order of bytes ("" for text), the elements, and what follows the head."""
    end = re.search(rb"\bend_header[ \t]*(\r\n|\n|\r)", data[: 2**20])
    if not data.startswith(b"ply") or end is None:
        raise BadMesh(WRONG)
    order, elements = None, []
    for words in map(str.split, text_of(data[: end.start()]).splitlines()):
        if words[:1] == ["format"] and len(words) > 1:
            order = ORDERS.get(words[1])
        elif words[:1] == ["element"] and len(words) == 3 and re.fullmatch(r"\d{1,12}", words[2]):
            elements.append(Element(words[1], int(words[2])))
        elif words[:1] == ["property"] and elements and len(words) in (3, 5):
            kinds = [TYPES.get(word) for word in (words[1:2] if len(words) == 3 else words[2:4])]
            if None in kinds or (len(words) == 5 and words[1] != "list"):
                raise BadMesh(WRONG)
            elements[-1].properties.append((words[-1], *filter(None, kinds)))
        elif words and words[0] not in ("ply", "comment", "obj_info"):
            raise BadMesh(WRONG)
    if order is None:
        raise BadMesh(WRONG)
    body = data[end.end() :]
    if any(element.count > len(body) for element in elements if element.properties):
        raise BadMesh(SHORT)
    return order, elements, body


Columns = list[tuple[np.ndarray, np.ndarray]]
"""Of each property all its values in a row, and how many each row of the element has."""


def _text_columns(body: bytes, elements: list[Element]) -> Iterator[Columns]:
    try:
        numbers = np.array(body.split(), np.float64)
    except ValueError:
        raise BadMesh(f"holds a word that is no number behind its head; {AGAIN}") from None
    at = 0
    for element in elements:
        columns, at = _text_rows(numbers, at, element)
        yield columns


def _text_rows(numbers: np.ndarray, at: int, element: Element) -> tuple[Columns, int]:
    if all(len(kinds) == 2 for kinds in element.properties):
        end = at + element.count * len(element.properties)
        if end > len(numbers):
            raise BadMesh(SHORT)
        rows = numbers[at:end].reshape(element.count, -1)
        return [(column, np.ones(element.count, np.int64)) for column in rows.T], end
    rows = [([], []) for _ in element.properties]
    for _ in range(element.count):
        for (_, *kinds), (items, lengths) in zip(element.properties, rows, strict=True):
            num = 1
            if len(kinds) == 2:
                num = int(numbers[at]) if at < len(numbers) and 0 <= numbers[at] < 2**31 else len(numbers)
                at += 1
            if at + num > len(numbers):
                raise BadMesh(SHORT)
            items.append(numbers[at : at + num])
            lengths.append(num)
            at += num
    return [(np.concatenate([np.empty(0), *items]), np.array(lengths, np.int64)) for items, lengths in rows], at


def _binary_columns(body: bytes, elements: list[Element], order: str) -> Iterator[Columns]:
    at = 0
    for element in elements:
        columns, at = _binary_rows(body, at, element, order)
        yield columns


def _binary_rows(body: bytes, at: int, element: Element, order: str) -> tuple[Columns, int]:
    """Rows in which every list is as long as in the first at once, others one by one."""
    lengths = _lengths(body, at, element, order)
    kind = _row(element, order, lengths)
    end = at + element.count * kind.itemsize
    if end <= len(body):
        rows = np.frombuffer(body, kind, element.count, at)
        if all((rows[f"n{k}"] == num).all() for k, num in enumerate(lengths) if f"n{k}" in (kind.names or ())):
            each = [np.full(element.count, num) for num in lengths]
            return [(rows[f"v{k}"].reshape(-1), num) for k, num in enumerate(each)], end
    if all(len(kinds) == 2 for kinds in element.properties):
        raise BadMesh(SHORT)
    found = [([], []) for _ in element.properties]
    kinds: dict[tuple[int, ...], np.dtype] = {}
    for _ in range(element.count):
        lengths = _lengths(body, at, element, order)
        kind = kinds.setdefault(lengths, _row(element, order, lengths)) if lengths not in kinds else kinds[lengths]
        if at + kind.itemsize > len(body):
            raise BadMesh(SHORT)
        row = np.frombuffer(body, kind, 1, at)
        for k, (items, nums) in enumerate(found):
            items.append(row[f"v{k}"].reshape(-1))
            nums.append(lengths[k])
        at += kind.itemsize
    return [(np.concatenate(items), np.array(nums, np.int64)) for items, nums in found], at


def _lengths(body: bytes, at: int, element: Element, order: str) -> tuple[int, ...]:
    """Of each property in the row at `at`; 1 of a single number."""
    found = []
    for _, *kinds in element.properties:
        num = 1
        if len(kinds) == 2:
            size = np.dtype(kinds[0]).itemsize
            if at + size > len(body):
                raise BadMesh(SHORT if element.count else ONLY_POINTS)
            num = int(np.frombuffer(body, order + kinds[0], 1, at)[0])
            if not 0 <= num <= len(body):
                raise BadMesh(SHORT)
            at += size
        found.append(num)
        at += num * np.dtype(kinds[-1]).itemsize
    return tuple(found)


def _row(element: Element, order: str, lengths: tuple[int, ...]) -> np.dtype:
    fields = []
    for k, ((_, *kinds), num) in enumerate(zip(element.properties, lengths, strict=True)):
        fields += [(f"n{k}", order + kinds[0])] if len(kinds) == 2 else []
        fields.append((f"v{k}", order + kinds[-1], (num,)))
    return np.dtype(fields)


def _unstripped(strip: np.ndarray) -> np.ndarray:
    """Corners of the triangles of strips that -1 parts; every other one is turned over."""
    found = [np.empty(0, np.int64)]
    for part in np.split(strip, np.flatnonzero(strip < 0)):
        part = part[part >= 0]
        if len(part) > 2:
            rows = np.stack([part[:-2], part[1:-1], part[2:]], axis=1)
            rows[1::2] = rows[1::2, ::-1]
            found.append(rows.reshape(-1))
    return np.concatenate(found)
