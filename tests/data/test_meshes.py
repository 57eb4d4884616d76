"""Meshes: watertight whatever the field, true in volume, and nothing bad gets through the reader."""

import json
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy import ndimage

from data import furniture, mesh_files, mesh_formats, meshes
from data.errors import InputError
from data.meshes import Mesh

BOX = trimesh.creation.box(extents=(2, 3, 4))
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"


def of(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(np.array(shape.vertices, float), np.array(shape.faces))


def signs(solid: np.ndarray) -> np.ndarray:
    return np.where(solid, 1.0, -1.0)


def noise_fields():
    rng = np.random.default_rng(0)
    for trial in range(60):
        size = int(rng.integers(2, 9))
        if trial % 2:
            field = signs(rng.random((size, size + 1, size + 2)) < rng.uniform(0.05, 0.6))
        else:
            field = rng.normal(size=(size, size, size)) - rng.uniform(-0.5, 1.5)
        if (field > 0).any():
            yield field


# From grids to meshes


@pytest.mark.slow
def test_any_field_gives_a_watertight_mesh_with_the_parts_of_the_grid():
    for field in noise_fields():
        mesh = meshes.surface(field)
        for made in (mesh, meshes.smooth(mesh, 10)):
            other = trimesh.Trimesh(made.vertices, made.faces, process=False)
            assert made.open_edges() == 0 and other.is_watertight and other.is_winding_consistent
            assert made.volume > 0 and made.volume == pytest.approx(other.volume)
        bodies = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).split(only_watertight=False)
        numbers, sizes = meshes.parts(field > 0)
        assert sum(body.volume > 0 for body in bodies) == len(sizes) - 1 == numbers.max()
        assert sizes.sum() == field.size and sizes[0] == (field <= 0).sum()


def test_the_surface_passes_half_way_between_inside_and_outside():
    solid = np.zeros((7, 9, 11), bool)
    solid[2:5, 1:9, 3:10] = True
    mesh = meshes.surface(signs(solid))
    np.testing.assert_allclose(mesh.vertices.min(0), (2, 1, 3), atol=0.02)
    np.testing.assert_allclose(mesh.vertices.max(0), (5, 9, 10), atol=0.02)


@pytest.mark.slow
def test_volume_is_the_number_of_voxels_but_for_the_edges():
    for a, b, c in [(4, 5, 6), (10, 10, 10), (20, 3, 8)]:
        edges = 4 * (a + b + c)
        mesh = meshes.surface(np.ones((a, b, c)))
        assert a * b * c - 0.15 * edges < mesh.volume < a * b * c  # an edge loses 1/8 of its voxels
        assert abs(meshes.smooth(mesh, 10).volume / mesh.volume - 1) < 0.03
    for kind in furniture.KINDS:
        for index in range(5):
            solid, _ = furniture.make(kind, seed=1, index=index, size=32)
            skin = (solid & ~ndimage.binary_erosion(solid)).sum()
            mesh = meshes.smooth(meshes.surface(signs(solid)), 10)
            assert abs(mesh.volume - solid.sum()) < 0.15 * skin


def test_a_soft_ball_has_the_volume_of_a_ball():
    x, y, z = np.mgrid[:24, :24, :24] + 0.5 - 12
    mesh = meshes.surface(np.tanh(8.3 - np.sqrt(x**2 + y**2 + z**2)))
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 8.3**3, rel=0.01)
    np.testing.assert_allclose(mesh.vertices.mean(0), 12, atol=0.01)


def test_rods_of_one_voxel_keep_their_section():
    solid = np.zeros((5, 5, 40), bool)
    solid[2, 2] = True
    sharp = meshes.surface(signs(solid))
    assert 0.8 < sharp.volume / 40 < 1.3
    assert meshes.smooth(sharp, 100).volume / 40 > 0.4  # Taubin's rounds alone leave a hair


def test_smoothing_evens_steps_and_moves_no_vertex_far():
    x, y, z = np.mgrid[:20, :20, :20]
    steps = meshes.surface(signs((z < 0.5 * x + 0.3 * y) & (x > 0)))
    even = meshes.smooth(steps, 10)
    assert np.linalg.norm(even.vertices - steps.vertices, axis=1).max() <= meshes.DRIFT + 1e-9
    np.testing.assert_array_equal(even.faces, steps.faces)
    normal = np.array([-0.5, -0.3, 1]) / np.linalg.norm([-0.5, -0.3, 1])

    def tilt(mesh: Mesh) -> float:
        """Mean angle between the triangles in the middle of the slope and the plane that was sampled."""
        corners = mesh.vertices[mesh.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        cosines = normals @ normal / np.linalg.norm(normals, axis=1)
        middle = (np.abs(corners.mean(1)[:, :2] - 10) < 6).all(1) & (cosines > 0.3)
        return float(np.degrees(np.arccos(cosines[middle])).mean())

    assert tilt(steps) > 25 and tilt(even) < 9


@pytest.mark.slow
def test_decimation_is_sound_or_refused():
    for kind in furniture.KINDS:
        solid, _ = furniture.make(kind, seed=3, index=2, size=32)
        mesh = meshes.smooth(meshes.surface(signs(solid)), 10)
        smaller = meshes.decimate(mesh, len(mesh.faces) // 3)
        if smaller is not None:
            assert smaller.open_edges() == 0 and len(smaller.faces) < 0.4 * len(mesh.faces)
            assert smaller.volume == pytest.approx(mesh.volume, rel=0.1)
        assert meshes.decimate(mesh, len(mesh.faces)) is mesh
    pinched = 0
    for field in noise_fields():  # thin necks, which collapse before anything else does
        mesh = meshes.surface(field)
        smaller = meshes.decimate(mesh, len(mesh.faces) // 8)
        pinched += smaller is None
        assert smaller is None or (smaller.open_edges() == 0 and smaller.volume > 0)
    assert pinched


def test_open_edges():
    box = of(BOX)
    assert box.open_edges() == 0 and box.volume == pytest.approx(24)
    assert Mesh(box.vertices, box.faces[1:]).open_edges() == 3
    turned = box.faces.copy()
    turned[0] = turned[0, ::-1]
    assert Mesh(box.vertices, turned).open_edges() > 0
    assert Mesh(box.vertices, box.faces[:, ::-1]).volume == pytest.approx(-24)
    soup = Mesh(box.vertices[box.faces].reshape(-1, 3), np.arange(36).reshape(-1, 3))
    assert soup.open_edges() == 36 and soup.welded().open_edges() == 0


# From meshes to grids


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 17, 32])
def test_a_mesh_is_scaled_to_the_grid_and_centred(size):
    solid, note = meshes.voxelize(of(BOX), size)
    assert note is None and solid.shape == (size,) * 3
    sides = [np.flatnonzero(solid.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    assert len(sides[2]) == size
    for side, extent in zip(sides, (2, 3, 4), strict=True):
        assert abs(len(side) - extent / 4 * size) <= 1.01
        assert abs(side[0] + side[-1] - (size - 1)) <= 1
    assert solid.sum() == np.prod([len(side) for side in sides])  # filled
    moved = Mesh(1e-3 * of(BOX).vertices + 7.0, of(BOX).faces)
    assert (meshes.voxelize(moved, size)[0] ^ solid).mean() < 0.05


@pytest.mark.slow
def test_no_closed_mesh_leaks_and_volume_is_that_of_the_voxels():
    ball = trimesh.creation.icosphere(subdivisions=1)
    rng = np.random.default_rng(0)
    for size in (6, 11, 24, 40):
        for _ in range(3):
            squashed = ball.copy().apply_transform(trimesh.transformations.random_rotation_matrix(rng.random(3)))
            squashed.apply_scale(rng.uniform(0.4, 1, 3))
            solid, note = meshes.voxelize(of(squashed), size)
            assert note is None
            pitch = squashed.extents.max() / size
            skin = squashed.area / pitch**2
            assert abs(solid.sum() - squashed.volume / pitch**3) < 0.3 * skin


def test_thin_parts_are_not_lost_and_cavities_are_filled():
    needle = trimesh.creation.box(extents=(0.001, 0.001, 1))
    assert meshes.voxelize(of(needle), 32)[0].any((0, 1)).all()
    shell = trimesh.util.concatenate([trimesh.creation.icosphere(radius=r) for r in (1.0, 0.7)])
    ball = trimesh.creation.icosphere(radius=1.0)
    np.testing.assert_array_equal(meshes.voxelize(of(shell), 20)[0], meshes.voxelize(of(ball), 20)[0])


@pytest.mark.slow
def test_open_meshes_are_solids_and_a_note_says_so():
    whole, _ = meshes.voxelize(of(BOX), 16)
    fine = BOX.subdivide_to_size(0.2)
    holed, note = meshes.voxelize(Mesh(np.array(fine.vertices), np.array(fine.faces)[1:]), 16)
    np.testing.assert_array_equal(holed, whole)
    assert note is not None and "not watertight" in note and "16^3" in note
    ball = trimesh.creation.icosphere(subdivisions=2)
    holed, note = meshes.voxelize(Mesh(np.array(ball.vertices), np.array(ball.faces)[1:]), 12)
    assert note is not None and (holed ^ meshes.voxelize(of(ball), 12)[0]).sum() < 50
    lidless = of(BOX).faces[BOX.face_normals[:, 2] < 0.5]
    closed, note = meshes.voxelize(Mesh(of(BOX).vertices, lidless), 16)
    assert note is not None and "13% of its edges are open" in note
    assert (closed ^ whole).sum() < 20


@pytest.mark.slow
def test_mesh_to_voxels_to_mesh_to_voxels():
    for kind in furniture.KINDS:
        solid, _ = furniture.make(kind, seed=0, index=1, size=32)
        back, note = meshes.voxelize(meshes.surface(signs(solid)), 32)
        assert note is None
        assert (solid & back).sum() / (solid | back).sum() > 0.85
        again, _ = meshes.voxelize(meshes.smooth(meshes.surface(signs(solid)), 10), 32)
        assert not (solid & ~ndimage.binary_dilation(again, np.ones((3, 3, 3)))).any()
        assert not (again & ~ndimage.binary_dilation(solid, np.ones((3, 3, 3)))).any()


@pytest.mark.slow
def test_voxelizing_is_quick():
    ball = of(trimesh.creation.icosphere(subdivisions=5))  # 20,480 faces
    start = time.process_time()
    meshes.voxelize(ball, 32)
    assert time.process_time() - start < 2


# Files


@pytest.mark.parametrize("kind", mesh_files.WRITABLE)
def test_formats_keep_places_and_order(tmp_path, kind):
    solid = np.zeros((4, 6, 9), bool)
    solid[1:, 2:4, 1:8] = solid[2, :5, 3] = True
    mesh = meshes.surface(signs(solid))
    path = tmp_path / f"a{kind}"
    path.write_bytes(mesh_files.encode(mesh, kind))
    back = mesh_files.read(path).welded()
    assert back.open_edges() == 0 and back.volume == pytest.approx(mesh.volume, rel=1e-4)
    assert len(back.faces) == len(mesh.faces)
    for axis in range(3):
        np.testing.assert_allclose(np.sort(back.vertices[:, axis]), np.sort(mesh.vertices[:, axis]), atol=1e-4)


def test_a_scene_is_put_together_as_it_is_placed(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box(), transform=trimesh.transformations.translation_matrix((5, 0, 0)))
    mirror = np.diag([-1.0, 2.0, 1.0, 1.0])
    scene.add_geometry(trimesh.creation.icosphere(), transform=mirror)
    (tmp_path / "a.glb").write_bytes(scene.export(file_type="glb"))
    mesh = mesh_files.read(tmp_path / "a.glb")
    assert mesh.open_edges() == 0
    assert mesh.volume == pytest.approx(1 + 2 * trimesh.creation.icosphere().volume, rel=1e-3)
    assert mesh.vertices[:, 0].max() == pytest.approx(5.5)


def test_negative_indices_polygons_and_glued_heads(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf -4 -3 -2 -1\nmtllib ../secret.mtl\n")
    assert len(mesh_files.read(tmp_path / "a.obj").faces) == 2
    (tmp_path / "a.off").write_text("OFF4 1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n")
    assert len(mesh_files.read(tmp_path / "a.off").faces) == 2


def half(kind: str) -> bytes:
    data = mesh_files.encode(of(BOX), kind)
    return data[: len(data) // 2]


def glb(**accessor) -> bytes:
    """A triangle as .glb with its accessors' fields replaced."""
    data = mesh_files.encode(Mesh(np.eye(3), np.array([[0, 1, 2]])), ".glb")
    length = struct.unpack("<I", data[12:16])[0]
    tree = json.loads(data[20 : 20 + length])
    for entry in tree["accessors"]:
        entry.update(accessor)
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    total = 20 + len(text) + len(rest)
    return struct.pack("<III", 0x46546C67, 2, total) + struct.pack("<II", len(text), 0x4E4F534A) + text + rest


PLY = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
FACE = "element face 1\nproperty list uchar int vertex_indices\n"
CASES = {
    "empty.obj": (b"", "0 bytes"),
    "empty.stl": (b"", "0 bytes"),
    "text.obj": (b"hello\n" * 9, "no mesh"),
    "text.stl": (b"hello\n" * 9, "no mesh"),
    "text.off": (b"hello\n" * 9, "not a whole off"),
    "text.ply": (b"hello\n" * 9, "not a whole ply"),
    "text.glb": (b"hello\n" * 9, "not a whole glb"),
    "binary.obj": (bytes(range(256)) * 8, "no mesh|not a whole obj"),
    **{f"half{kind}": (half(kind), "not a whole|no mesh|only points|cut short") for kind in mesh_files.WRITABLE},
    "short.off": (b"OFF\n3 5 0\n0 0 0\n0 1 0\n1 0 0\n3 0 1 2\n", "1 of 5 faces"),
    "nan.obj": (b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "NaN or infinite"),
    "inf.off": (b"OFF\n3 1 0\n0 0 0\n0 inf 0\n1 0 0\n3 0 1 2\n", "NaN or infinite"),
    "nan.stl": (bytes(80) + struct.pack("<I12fH", 1, *[0, 0, 1, np.nan, 0, 0, 1, 0, 0, 0, 1, 0], 0), "NaN or infinite"),
    "range.obj": (f"{TRIANGLE}f 1 2 9\n".encode(), "corner that is not there"),
    "below.obj": (f"{TRIANGLE}f -1 -2 -9\n".encode(), "corner that is not there"),
    "range.off": (b"OFF\n3 1 0\n0 0 0\n0 1 0\n1 0 0\n3 0 1 9\n", "not a whole off|not there"),
    "range.ply": (f"{PLY}{FACE}end_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n".encode(), "not there"),
    "below.ply": (f"{PLY}{FACE}end_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 -2\n".encode(), "not there"),
    "points.obj": (TRIANGLE.encode(), "only points"),
    "points.ply": (f"{PLY}end_header\n0 0 0\n1 0 0\n0 1 0\n".encode(), "only points"),
    "line.obj": (f"{TRIANGLE}l 1 2 3\n".encode(), "only points"),
    "dot.obj": (b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "no size"),
    "huge.obj": (b"v -1e308 0 0\nv 1e308 0 0\nv 0 1 0\nf 1 2 3\n", "no size"),
    "count.glb": (glb(count=10**12), "not a whole glb"),
    "count.ply": (
        PLY.replace("vertex 3", "vertex 99999999999").encode() + b"end_header\n0 0 0\n",
        "not a whole|only points",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_files_are_refused_in_one_line(tmp_path, name):
    data, words = CASES[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        mesh_files.read(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / name)) and "\n" not in message and len(message) < 250 + len(str(tmp_path))


def test_too_many_faces_are_counted_before_they_are_built(tmp_path, monkeypatch):
    scene = trimesh.Scene()
    for k in range(5):
        scene.add_geometry(BOX, geom_name="one", transform=trimesh.transformations.translation_matrix((k, 0, 0)))
    (tmp_path / "a.glb").write_bytes(scene.export(file_type="glb"))
    assert len(mesh_files.read(tmp_path / "a.glb").faces) == 60
    monkeypatch.setattr(mesh_formats, "MAX_FACES", 59)
    with pytest.raises(InputError, match="more than 59 faces"):
        mesh_files.read(tmp_path / "a.glb")
    monkeypatch.setattr(mesh_files, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="larger than"):
        mesh_files.read(tmp_path / "a.glb")


def test_no_other_file_is_opened(tmp_path, monkeypatch):
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd picture.png\n")
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{TRIANGLE}usemtl m\nf 1 2 3\n")
    opened = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self.name) or read_bytes(self))
    monkeypatch.setattr("builtins.open", lambda *args, **_: opened.append(str(args[0])))
    mesh_files.read(tmp_path / "a.obj")
    assert opened == ["a.obj"]
