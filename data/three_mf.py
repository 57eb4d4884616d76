"""3MF packages: the solids that they are to print, in millimetres. 3MF core specification 1.3."""

import io
import zipfile
import zlib
from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np

from data.mesh_formats import AGAIN, NO_MESH, BadMesh, check_corners, check_count
from data.meshes import Mesh

CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
PART = "{http://schemas.microsoft.com/3dmanufacturing/production/2015/06}path"
MODEL = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
UNITS = {"micron": 1e-3, "millimeter": 1.0, "centimeter": 10.0, "inch": 25.4, "foot": 304.8, "meter": 1000.0}
MAX_BYTES = 2 * 1024**3
DEEPEST = 16  # components of components
WRONG = f"not a whole 3mf mesh; {AGAIN}"
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,  # a place before the beginning of the file
    EOFError,
    NotImplementedError,
    RuntimeError,
    LookupError,  # no such file, or no such encoding of XML
    OverflowError,
    ElementTree.ParseError,
    ValueError,
)


def parse_3mf(data: bytes) -> Mesh:
    """All items of its `build`, or all its objects where it has none; supports and materials are passed over."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
                raise BadMesh(f"unpacks to more than {MAX_BYTES >> 30} GiB; decimate the mesh first")
            return _Package(archive).build()
    except BadMesh:
        raise
    except DAMAGE as error:
        raise BadMesh(WRONG) from error


def encode_3mf(mesh: Mesh) -> bytes:
    """A zip with the content types, the relation to the model, and the model, in millimetres."""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    vertices = "".join(f'<vertex x="{x:.12g}" y="{y:.12g}" z="{z:.12g}"/>\n' for x, y, z in mesh.vertices.tolist())
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>\n' for a, b, c in mesh.faces.tolist())
    files = {
        "[Content_Types].xml": f'{head}<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>',
        "_rels/.rels": f'{head}<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="model" '
        f'Target="/3D/3dmodel.model" Type="{MODEL}"/></Relationships>',
        "3D/3dmodel.model": f'{head}<model unit="millimeter" xml:lang="en-US" xmlns="{CORE}"><resources>'
        f'<object id="1" type="model"><mesh><vertices>\n{vertices}</vertices><triangles>\n{triangles}</triangles>'
        '</mesh></object></resources><build><item objectid="1"/></build></model>\n',
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)  # ZipInfo: no time of day in it
    return buffer.getvalue()


@dataclass
class _Package:
    """The models of a package, read when they are asked for."""

    archive: zipfile.ZipFile
    models: dict[str, ElementTree.Element] = field(default_factory=dict)
    parts: list[Mesh] = field(default_factory=list)

    def build(self) -> Mesh:
        root = self._root()
        model = self._model(root)
        scale = UNITS.get(model.get("unit", "millimeter"))
        if scale is None:
            raise BadMesh(f"its unit is {model.get('unit', '')[:20]!r}, none that 3MF knows; {AGAIN}")
        items = model.findall(f"{{{CORE}}}build/{{{CORE}}}item")
        if items:
            for item in items:
                self._place(item.get(PART, root), item.get("objectid", ""), _matrix(item), 0)
        else:
            for made in model.iterfind(f"{{{CORE}}}resources/{{{CORE}}}object"):
                self._place(root, made.get("id", ""), np.eye(4), 0)
        if not self.parts:
            raise BadMesh(NO_MESH)
        whole = Mesh.joined(self.parts)
        return Mesh(whole.vertices * scale, whole.faces)

    def _root(self) -> str:
        links = ElementTree.fromstring(self.archive.read("_rels/.rels"))
        target = next((link.get("Target", "") for link in links if link.get("Type") == MODEL), None)
        if target is None:
            raise BadMesh(WRONG)
        return target

    def _model(self, name: str) -> ElementTree.Element:
        if name not in self.models:
            self.models[name] = ElementTree.fromstring(self.archive.read(name.lstrip("/")))
        return self.models[name]

    def _place(self, part: str, number: str, where: np.ndarray, depth: int) -> None:
        """Add an object of a model, with its components, at a place [4, 4] (of rows, as 3MF has it)."""
        objects = self._model(part).iterfind(f"{{{CORE}}}resources/{{{CORE}}}object")
        made = next((one for one in objects if one.get("id") == number), None)
        if made is None or depth > DEEPEST:
            raise BadMesh(WRONG)
        if made.get("type") == "support":
            return
        for component in made.iterfind(f"{{{CORE}}}components/{{{CORE}}}component"):
            self._place(component.get(PART, part), component.get("objectid", ""), _matrix(component) @ where, depth + 1)
        mesh = made.find(f"{{{CORE}}}mesh")
        if mesh is not None:
            self._add(mesh, where)

    def _add(self, mesh: ElementTree.Element, where: np.ndarray) -> None:
        found = mesh.iterfind(f"{{{CORE}}}vertices/{{{CORE}}}vertex")
        places = np.array([[float(one.get(axis, "nan")) for axis in "xyz"] for one in found]).reshape(-1, 3)
        found = mesh.iterfind(f"{{{CORE}}}triangles/{{{CORE}}}triangle")
        faces = np.array([[int(one.get(key, "-1")) for key in ("v1", "v2", "v3")] for one in found], np.int64)
        if not len(faces):
            return
        check_corners(faces, len(places))
        check_count(sum(len(part.faces) for part in self.parts) + len(faces))
        self.parts.append(Mesh(places, faces).placed(where[:3, :3], where[3, :3]))


def _matrix(item: ElementTree.Element) -> np.ndarray:
    """The place [4, 4] of an item: a point is a row, times it."""
    numbers = [float(word) for word in item.get("transform", "1 0 0 0 1 0 0 0 1 0 0 0").split()]
    if len(numbers) != 12:
        raise BadMesh(WRONG)
    return np.concatenate([np.array(numbers).reshape(4, 3), [[0], [0], [0], [1]]], axis=1)
