"""Voxels: round trips through every format, axes that stay where they are, and one line for what is bad."""

import io
import itertools
import warnings
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import trimesh

from data import furniture, grids, mesh_files, shapes, voxels
from data.errors import InputError
from data.meshes import Frame

REAL = Path(__file__).resolve().parent.parent.parent.parent / "shared/data"
real = pytest.mark.skipif(not (REAL / "voxels").is_dir(), reason=f"the shared data are not at {REAL}")
MESHES = mesh_files.WRITABLE
TRIMESH = tuple(kind for kind in MESHES if kind != ".3mf")  # of which trimesh reads without lxml
GRIDS = (".binvox", ".npz")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))


def arms(size: int = 16) -> torch.Tensor:
    """Three arms of different thickness from one corner: no turn or mirror image of it is like it."""
    grid = torch.zeros(size, size, size, dtype=torch.bool)
    grid[:, :3, :3] = grid[:4, :, :5] = grid[:6, :3, :] = True
    return grid


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.4


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


def orientations(grid: torch.Tensor):
    """The 48 turned and mirrored images of a grid; first, the grid itself."""
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            yield grid.permute(order).flip([axis for axis in range(3) if flips[axis]])


def packed(grid: torch.Tensor) -> dict[str, np.ndarray]:
    return {"bits": np.packbits(grid.numpy().reshape(len(grid), -1), axis=1), "shape": np.array(grid.shape)}


# Round trips


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("up", ["y", "z", None])
@pytest.mark.parametrize("size", [2, 7, 16, 40])
def test_grids_come_back_exactly(tmp_path, kind, up, size):
    grid = noise(size, size, size) if size > 2 else torch.ones(2, 2, 2, dtype=torch.bool)
    written = voxels.write(grid, tmp_path / f"a{kind}", up=up, keep=1)
    assert written.voxels == grid.sum() and written.dropped_parts == 0
    assert torch.equal(voxels.read(tmp_path / f"a{kind}", up=up), grid)


@pytest.mark.parametrize("kind", MESHES)
@pytest.mark.parametrize("up", ["y", "z", None])
def test_meshes_come_back_with_their_axes(tmp_path, kind, up):
    grid = arms()
    voxels.write(grid, tmp_path / f"a{kind}", up=up)
    back = voxels.read(tmp_path / f"a{kind}", 16, up)
    scores = [iou(back, image) for image in orientations(grid)]
    assert scores[0] > 0.9 and scores[0] > max(scores[1:]) + 0.2


def test_up_is_the_axis_of_the_file(tmp_path):
    grid = torch.zeros(8, 8, 8, dtype=torch.bool)
    grid[3:5, 3:5, :] = True  # a post
    grid[:, 7, 0] = True  # a bar behind it, on the floor
    for kind in (".stl", ".glb", ".npz"):
        voxels.write(grid, tmp_path / f"a{kind}", keep=1)
    for kind, up in [(".stl", (0, 1, 2)), (".glb", (0, -2, 1))]:  # in glTF y is up and z comes to the front
        points = trimesh.load_mesh(tmp_path / f"a{kind}").vertices
        x, y, z = (points[:, abs(axis)] * (-1 if axis < 0 else 1) for axis in up)
        np.testing.assert_allclose([x.max(), y.max(), z.max()], 8, atol=0.4)
        np.testing.assert_allclose([x[z > 7].mean(), y[z > 7].mean()], 4, atol=0.1)
        assert z[y > 6].max() < 1.5
    turned = voxels.read(tmp_path / "a.npz", up="y")
    assert turned[3:5, :, 3:5].all()  # what was z, lies along -y now
    assert turned[:, 7, 7].all()


@pytest.mark.parametrize("kind", TRIMESH)
def test_mesh_files_are_watertight_and_true_to_scale(tmp_path, kind):
    solid, _ = furniture.make("chair", seed=0, index=3, size=24)
    written = voxels.write(solid, tmp_path / f"a{kind}", millimetres=96)
    mesh = trimesh.load_mesh(tmp_path / f"a{kind}")
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    unit = 1000.0 if kind == ".glb" else 1.0  # glTF counts in metres
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert written.volume is not None and mesh.volume * unit**3 == pytest.approx(written.volume, rel=1e-3)
    assert mesh.extents.max() * unit == pytest.approx(96, abs=2 * 4)  # smoothing rounds the ends off
    assert abs(written.volume / 4**3 - solid.sum()) < 0.15 * solid.sum()
    assert len(mesh.faces) == written.faces


@pytest.mark.parametrize("kind", MESHES)
@pytest.mark.parametrize(("centre", "side"), [((0.0, 0.0, 0.0), 1e-9), ((4e5, 5.6e6, 100.0), 12.0)])
def test_small_units_and_far_places_are_kept_or_told(tmp_path, kind, centre, side):
    written = voxels.write(arms(), tmp_path / f"a{kind}", frame=Frame(centre, side, 16), up="z")
    extent = np.ptp(mesh_files.read(tmp_path / f"a{kind}").vertices, axis=0)
    voxels.write(arms(), tmp_path / f"b{kind}", up="z")
    near = np.ptp(mesh_files.read(tmp_path / f"b{kind}").vertices, axis=0) * side / 16
    told = any("so far from 0 that" in note for note in written.notes)
    assert told == (side > 1 and kind in (".stl", ".ply", ".glb"))
    assert told or extent == pytest.approx(near, rel=1e-4)


def test_3mf_is_a_package_with_a_closed_model_in_millimetres(tmp_path):
    voxels.write(arms(), tmp_path / "a.3mf", millimetres=80, smoothing=0)
    with zipfile.ZipFile(tmp_path / "a.3mf") as package:
        assert package.testzip() is None
        trees = {name: ElementTree.fromstring(package.read(name)) for name in package.namelist()}
    assert list(trees)[:2] == ["[Content_Types].xml", "_rels/.rels"]
    target = trees["_rels/.rels"][0].attrib["Target"]
    model = trees[target.lstrip("/")]
    core = "{http://schemas.microsoft.com/3dmanufacturing/core/2015/02}"
    assert model.tag == f"{core}model" and model.attrib["unit"] == "millimeter"
    points = np.array([[float(v.attrib[axis]) for axis in "xyz"] for v in model.iter(f"{core}vertex")])
    faces = np.array([[int(t.attrib[key]) for key in ("v1", "v2", "v3")] for t in model.iter(f"{core}triangle")])
    mesh = trimesh.Trimesh(points, faces, process=False)
    assert mesh.is_watertight and mesh.volume > 0
    np.testing.assert_allclose(mesh.bounds, [[0] * 3, [80] * 3], atol=0.1)
    objects = [item.attrib["id"] for item in model.iter(f"{core}object")]
    assert [item.attrib["objectid"] for item in model.iter(f"{core}item")] == objects


@pytest.mark.parametrize("kind", voxels.WRITABLE)
def test_writing_twice_gives_the_same_bytes(tmp_path, kind):
    for name in "ab":
        voxels.write(arms(8), tmp_path / f"{name}{kind}")
    assert (tmp_path / f"a{kind}").read_bytes() == (tmp_path / f"b{kind}").read_bytes()


def test_a_grid_may_be_a_field_or_probabilities_or_bool(tmp_path):
    grid = arms()
    soft = (grid.float() * 2 - 1) * 0.7
    kinds = {
        "bool": (grid, {}),
        "uint8": (grid.to(torch.uint8), {}),
        "numpy": (grid.numpy(), {}),
        "channel": (soft[None], {}),
        "bfloat16": (soft.bfloat16(), {}),
        "gradient": (soft.clone().requires_grad_(), {}),
        "probabilities": (soft / 2 + 0.5, {"level": 0.5}),
    }
    for name, (given, options) in kinds.items():
        voxels.write(given, tmp_path / f"{name}.npz", **options)
        assert torch.equal(voxels.read(tmp_path / f"{name}.npz"), grid), name
    fields = [voxels.surface(voxels.field(given, **options))[0] for given, options in kinds.values()]
    assert all(mesh.volume == pytest.approx(fields[0].volume, rel=0.05) for mesh in fields)
    with pytest.raises(InputError, match=r"level=0\.5"):
        voxels.write(soft / 2 + 0.5, tmp_path / "a.stl")


def test_specks_are_dropped_and_counted(tmp_path):
    grid = arms()
    grid[10:12, 10:12, 10:12] = grid[15, 15, 15] = True
    main = int(arms().sum())
    written = voxels.write(grid, tmp_path / "a.npz")
    assert (written.voxels, written.parts, written.dropped_voxels, written.dropped_parts) == (main, 1, 9, 2)
    assert torch.equal(voxels.read(tmp_path / "a.npz"), arms())
    written = voxels.write(grid, tmp_path / "a.stl", keep=8)
    assert (written.voxels, written.parts, written.dropped_parts) == (main + 8, 2, 1)
    assert len(trimesh.load_mesh(tmp_path / "a.stl").split()) == 2
    voxels.write(torch.where(grid, 0.3, -0.1), tmp_path / "a.ply")
    assert len(trimesh.load_mesh(tmp_path / "a.ply").split()) == 1
    twins = torch.zeros(4, 4, 4, dtype=torch.bool)
    twins[0], twins[3] = True, True
    assert voxels.write(twins, tmp_path / "a.npz").parts == 1
    with pytest.raises(InputError, match=r"keep=99.*lower it"):
        voxels.write(twins, tmp_path / "b.npz", keep=99)


def test_cavities_are_told_and_filled_on_demand(tmp_path):
    grid = torch.ones(8, 8, 8, dtype=torch.bool)
    grid[2:5, 3, 3] = grid[6, 6, 6] = False
    hollow = voxels.write(grid, tmp_path / "a.stl")
    full = voxels.write(grid, tmp_path / "b.stl", solid=True)
    assert "4 voxels" in hollow.notes[0] and "filled 4 voxels" in full.notes[0]
    assert len(trimesh.load_mesh(tmp_path / "a.stl").split(only_watertight=False)) == 3
    assert len(trimesh.load_mesh(tmp_path / "b.stl").split(only_watertight=False)) == 1
    voxels.write(grid, tmp_path / "b.npz", solid=True)
    assert voxels.read(tmp_path / "b.npz").all()
    assert not voxels.write(arms(), tmp_path / "c.stl", solid=True).notes


def test_decimation_says_what_it_could_do(tmp_path):
    solid, _ = furniture.make("chair", seed=0, index=3, size=32)
    whole = voxels.write(solid, tmp_path / "a.stl")
    assert whole.faces is not None
    for target in (whole.faces // 2, 20):
        fewer = voxels.write(solid, tmp_path / "b.stl", faces=target)
        mesh = trimesh.load_mesh(tmp_path / "b.stl")
        assert mesh.is_watertight and mesh.volume > 0 and fewer.faces == len(mesh.faces)
        assert fewer.faces <= 1.1 * target or "would not stay watertight" in fewer.notes[-1]


def test_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    voxels.write(arms(), tmp_path / "a.stl")
    before = (tmp_path / "a.stl").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        voxels.write(arms(8), tmp_path / "a.stl")
    assert (tmp_path / "a.stl").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.stl"]


@pytest.mark.parametrize(
    ("name", "grid", "options", "words"),
    [
        ("a.stl", torch.zeros(8, 8, 8), {}, "the grid is empty"),
        ("a.npz", torch.full((8, 8, 8), -1.0), {}, "the grid is empty"),
        ("a.stl", torch.full((8, 8, 8), torch.nan), {}, "NaN"),
        ("a.stl", torch.ones(8, 8), {}, r"\[D, H, W\]"),
        ("a.stl", torch.ones(2, 8, 8, 8), {}, r"\[D, H, W\]"),
        ("a.stl", torch.full((8, 8, 8), 7), {}, "0 or 1"),
        ("a.stl", np.zeros((8, 8, 8), complex), {}, "complex128"),
        ("a.stl", np.full((2, 2, 2), None), {}, "object"),
        ("a.step", torch.ones(8, 8, 8), {}, r"end it in .*\.3mf"),
        ("a.stl", torch.ones(8, 8, 8), {"millimetres": 0}, "millimetres=0"),
        ("a.stl", torch.ones(8, 8, 8), {"millimetres": float("inf")}, "millimetres=inf"),
        ("a.stl", torch.ones(8, 8, 8), {"faces": 3}, "faces=3"),
        ("a.npz", torch.ones(8, 8, 8), {"faces": 100}, "faces=100"),
        ("a.stl", torch.ones(8, 8, 8), {"smoothing": -1}, "smoothing=-1"),
        ("a.stl", torch.ones(8, 8, 8), {"up": "x"}, "up='x'"),
        ("a.stl", torch.ones(8, 8, 8), {"keep": "all"}, "keep='all'"),
        ("a.stl", torch.ones(8, 8, 8), {"keep": 0}, "keep=0"),
        ("a.binvox", torch.ones(8, 8, 9), {}, r"cube.*\.npz"),
    ],
)
def test_write_refuses(tmp_path, name, grid, options, words):
    with pytest.raises(InputError, match=words) as caught:
        voxels.write(grid, tmp_path / name, **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


# Reading grids


def test_npz_and_npy_in_every_shape(tmp_path):
    grid = noise(5, 6, 6, 6)
    bits = packed(grid)["bits"]
    files = {
        "known": {"bits": bits},
        "stack": {"bits": bits, "shape": np.array([5, 6, 6, 6])},
        "one": {"bits": bits, "shape": np.array([6, 6, 6])},
        "bool": {"anything": grid.numpy()},
        "uint8": {"grids": grid.numpy().astype(np.uint8)},
        "float": {"grids": grid.numpy() * 0.9},
        "signs": {"grids": grid.numpy() * 2.0 - 1},
        "fortran": {"grids": np.asfortranarray(grid.numpy())},
    }
    for name, arrays in files.items():
        np.savez_compressed(tmp_path / f"{name}.npz", **arrays)
        assert torch.equal(voxels.read(tmp_path / f"{name}.npz", index=3), grid[3]), name
    np.save(tmp_path / "a.npy", grid[2].numpy())
    assert torch.equal(voxels.read(tmp_path / "a.npy"), grid[2])
    np.save(tmp_path / "a.npy", grid.numpy().astype(np.float64))
    assert torch.equal(voxels.read(tmp_path / "a.npy", size=6, index=4), grid[4])
    for index in (None, 5, -1):
        with pytest.raises(InputError, match=r"grids 0 to 4|index=0 to 4"):
            voxels.read(tmp_path / "a.npy", index=index)


def test_padding_is_asked_for(tmp_path):
    grid = torch.ones(3, 4, 6, dtype=torch.bool)
    np.save(tmp_path / "a.npy", grid.numpy())
    with pytest.raises(InputError, match=r"3x4x6, not cubes; .*pad=true"):
        voxels.read(tmp_path / "a.npy")
    padded = voxels.read(tmp_path / "a.npy", pad=True)
    assert padded.shape == (6, 6, 6) and padded[1:4, 1:5, :].all() and padded.sum() == grid.sum()
    larger = voxels.read(tmp_path / "a.npy", size=9, pad=True)
    assert larger.shape == (9, 9, 9) and larger[3:6, 2:6, 1:7].all() and larger.sum() == grid.sum()
    lying = voxels.read(tmp_path / "a.npy", up="y", pad=True)
    assert lying[1:4, :, 1:5].all() and lying.sum() == grid.sum()
    with pytest.raises(InputError, match="larger than size=5; give size=6"):
        voxels.read(tmp_path / "a.npy", size=5, pad=True)
    np.save(tmp_path / "b.npy", np.ones((6, 6, 6), bool))
    with pytest.raises(InputError, match=r"not cubes of size=8.*pad=true"):
        voxels.read(tmp_path / "b.npy", size=8)


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def lying_npy(shape: str) -> bytes:
    """A .npy file whose head claims another shape than (2, 2, 2)."""
    data = npy(np.ones((2, 2, 2), bool))
    head = data[10 : 10 + int.from_bytes(data[8:10], "little")]
    claimed = head.replace(b"(2, 2, 2)", shape.encode()).rstrip()
    return data[:10] + claimed.ljust(len(head) - 1) + b"\n" + data[10 + len(head) :]


def bomb() -> bytes:
    """A small archive that unpacks to 4 GiB of zeros, if its directory is believed."""
    data = bytearray(npz(bits=np.zeros((1, 1000), np.uint8)))
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (2**32 - 2).to_bytes(4, "little")
    return bytes(data)


def moved() -> bytes:
    """An archive whose directory says that it begins before the file does."""
    data = bytearray(npz(grids=CUBE))
    place = data.index(b"PK\x05\x06") + 16
    data[place : place + 4] = (int.from_bytes(data[place : place + 4], "little") + 5).to_bytes(4, "little")
    return bytes(data)


CUBE = np.ones((4, 4, 4), bool)
BITS = np.zeros((3, 8), np.uint8)
CASES = {
    "empty.npz": (b"", "0 bytes"),
    "text.npz": (b"hello" * 50, "not a whole npz"),
    "half.npz": (npz(grids=noise(20, 20, 20).numpy())[:700], "not a whole npz"),
    "damaged.npz": (npz(grids=noise(20, 20, 20).numpy()).replace(b"PK\x03\x04", b"PK\x03\x05"), "not a whole npz"),
    "moved.npz": (moved(), "not a whole npz"),
    "bomb.npz": (bomb(), "more than 2 GiB"),
    "object.npz": (npz(grids=np.full((4, 4, 4), None)), "Python objects"),
    "label.npz": (npz(bits=BITS, labels=np.array([None] * 3)), "Python objects"),
    "nothing.npz": (npz(), "it has nothing"),
    "flat.npz": (npz(a=np.zeros(5)), r"a \[5\]"),
    "two.npz": (npz(a=CUBE, b=CUBE), "one array"),
    "none.npz": (npz(bits=BITS[:0]), "0 grids"),
    "nocube.npz": (npz(bits=np.zeros((3, 5), np.uint8)), "no cube"),
    "fewbits.npz": (npz(bits=BITS, shape=np.array([9, 9, 9])), "do not hold 9x9x9"),
    "count.npz": (npz(bits=BITS, shape=np.array([4, 4, 4, 4])), "shape says 4 grids, bits hold 3"),
    "shape.npz": (npz(bits=BITS, shape=np.array([4.0, 4, 4])), "shape must be"),
    "wide.npz": (npz(bits=BITS.astype(np.int64)), "uint8"),
    "labels.npz": (npz(bits=BITS, labels=np.array([0, 1])), "one for each of 3"),
    "classes.npz": (npz(bits=BITS, labels=np.array([0, 1, 2]), classes=np.array(["a", "b"])), "0 to 1"),
    "empty.npy": (b"", "0 bytes"),
    "text.npy": (b"hello" * 50, "not a whole npy"),
    "object.npy": (npy(np.full((4, 4, 4), None), allow_pickle=True), "Python objects"),
    "record.npy": (npy(np.zeros((4, 4, 4), [("a", bool)])), "Python objects"),
    "cut.npy": (npy(CUBE)[:-5], "cut short"),
    "lying.npy": (lying_npy("(9999999, 999, 99)"), "says"),
    "negative.npy": (lying_npy("(-2, -2, 2)"), "each side must be|not a whole"),
    "five.npy": (npy(np.ones((1, 1, 4, 4, 4), bool)), "must be"),
    "range.npy": (npy(CUBE * 3), "0 or 1"),
    "float.npy": (npy(CUBE * 7.5), "0 or 1"),
    "nan.npy": (npy(CUBE * np.nan), "NaN"),
    "complex.npy": (npy(CUBE * 1j), "complex128"),
    "words.npy": (npy(np.full((4, 4, 4), "a")), "<U1"),
    "noncubic.npy": (npy(np.ones((4, 4, 5), bool)), "4x4x5"),
    "thin.npy": (npy(np.ones((1, 4, 4), bool)), "each side must be 2"),
    "text.binvox": (b"hello" * 50, "not a binvox"),
    "cut.binvox": (grids.encode_binvox(noise(9, 9, 9).numpy(), 1)[:-8], "cut short"),
    "huge.binvox": (b"#binvox 1\ndim 99999 99999 99999\ndata\n\x01\x01", "each side must be"),
    "noncubic.binvox": (b"#binvox 1\ndim 2 3 4\ntranslate 0 0 0\nscale 1\ndata\n\x01\x18", "2x4x3"),
    "values.binvox": (b"#binvox 1\ndim 2 2 2\ndata\n\x07\x08", "other than 0 and 1"),
    "shape.step": (b"hello", "STEP is not read; export it as stl"),
    "shape.html": (b"hello", "not a kind"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_grids_are_refused_in_one_line(tmp_path, name):
    data, words = CASES[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        voxels.read(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / name)) and "\n" not in message
    with pytest.raises(InputError, match=words):
        voxels.open_dataset(tmp_path / name)


def test_values_out_of_range(tmp_path):
    voxels.write(arms(), tmp_path / "a.stl")
    for options, words in [({}, "size=32"), ({"size": 3}, "size=3"), ({"size": 8, "up": "x"}, "up='x'")]:
        with pytest.raises(InputError, match=words):
            voxels.read(tmp_path / "a.stl", **options)
    with pytest.raises(InputError, match="no such file"):
        voxels.read(tmp_path / "b.stl", 8)


def test_an_open_mesh_is_read_with_a_warning(tmp_path):
    box = trimesh.creation.box().subdivide_to_size(0.06)
    box.faces = box.faces[1:]
    box.export(tmp_path / "a.stl")
    with pytest.warns(UserWarning, match=r"a\.stl: not watertight") as caught:
        assert voxels.read(tmp_path / "a.stl", 16).all()
    assert len(caught) == 1 and "\n" not in str(caught[0].message)


# Packing


@pytest.mark.parametrize("size", [2, 5, 8, 30, 33])
def test_pack_and_unpack(size):
    grid = noise(7, 1, size, size, size)
    batch = voxels.unpack(voxels.pack(grid), size)
    assert batch.dtype == torch.float32 and batch.shape == (7, 1, size, size, size)
    assert torch.equal(batch, grid * 2.0 - 1)
    assert torch.equal(voxels.unpack(voxels.pack(batch[:, 0])), batch)
    for bits, given in [([], None), (voxels.pack(grid), size + 1), ([b"12345"], None), ([b"1", b"12"], None)]:
        with pytest.raises(ValueError, match=r"cubes|empty"):
            voxels.unpack(bits, given)


# Datasets


def test_procedural_datasets():
    dataset = voxels.open_dataset("procedural", size=16, count=10, seed=4)
    assert dataset.features["label"].names == list(furniture.KINDS)
    assert dataset["label"][:6] == [0, 1, 2, 3, 0, 1]
    assert set(dataset.column_names) == {"bits", "label", *furniture.ATTRIBUTES}
    solid, labels = furniture.make("shelf", seed=4, index=6, size=16)
    assert torch.equal(voxels.unpack(dataset[6:7]["bits"])[0, 0] > 0, torch.from_numpy(solid))
    assert {key: dataset.features[key].int2str(dataset[6][key]) for key in furniture.ATTRIBUTES} == labels
    lamps = voxels.open_dataset("procedural:lamps", count=3)
    assert lamps.features["label"].names == ["lamp"] and voxels.unpack(lamps["bits"][:]).shape[-1] == 32
    for source, options, words in [
        ("procedural:sofas", {}, "procedural:chairs"),
        ("procedural", {"count": 0}, "count=0"),
        ("procedural", {"size": 1000}, "size=1000"),
    ]:
        with pytest.raises(InputError, match=words):
            voxels.open_dataset(source, **options)


def test_a_file_with_labels_and_columns(tmp_path):
    grid = noise(4, 6, 6, 6)
    extra = {"labels": np.array([1, 0, 1, 1], np.uint8), "classes": np.array(["bed", "sofa"])}
    columns = {"maker": np.array(["a", "b", "c", "d"]), "year": np.array([1, 2, 3, 4]), "odd": np.array([1.5])}
    np.savez_compressed(tmp_path / "a.npz", **packed(grid), **extra, **columns)
    dataset = voxels.open_dataset(tmp_path / "a.npz", size=8, pad=True)
    assert set(dataset.column_names) == {"bits", "label", "maker", "year"}
    assert dataset.features["label"].names == ["bed", "sofa"] and dataset["label"][:] == [1, 0, 1, 1]
    assert dataset["maker"][:] == ["a", "b", "c", "d"] and dataset["year"][:] == [1, 2, 3, 4]
    assert torch.equal(voxels.unpack(dataset["bits"][:])[:, 0, 1:7, 1:7, 1:7] > 0, grid)
    np.savez_compressed(tmp_path / "b.npz", **packed(grid), labels=extra["labels"])
    assert voxels.open_dataset(tmp_path / "b.npz")["label"][:] == [1, 0, 1, 1]


def test_a_folder_takes_its_classes_from_its_folders(tmp_path, monkeypatch):
    source = tmp_path / "shapes"
    for name in ("chair/train/a.stl", "chair/b.binvox", "lamp/c.npz", "d.ply", ".hidden/e.stl", "lamp/notes.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("txt"):
            (source / name).write_text("hello")
        else:
            voxels.write(arms(), source / name)
    seen = []
    dataset = voxels.open_dataset(source, size=16, progress=lambda done, all: seen.append((done, all)))
    assert dataset["name"][:] == ["chair/b.binvox", "chair/train/a.stl", "d.ply", "lamp/c.npz"]
    assert dataset.features["label"].names == ["chair", "lamp"] and dataset["label"][:] == [0, 0, None, 1]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    batch = voxels.unpack(dataset["bits"][:], 16)
    assert torch.equal(batch[0, 0] > 0, arms()) and iou(batch[1, 0] > 0, arms()) > 0.9

    monkeypatch.setattr(shapes.meshes, "voxelize", lambda *_: pytest.fail("voxelised again"))
    assert voxels.open_dataset(source, size=16)["bits"][:] == dataset["bits"][:]
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    before = (source / "d.ply").stat().st_size
    voxels.write(arms().flip(0), source / "d.ply")  # a changed file is another one, though it is as long
    assert (source / "d.ply").stat().st_size == before
    assert voxels.open_dataset(source, size=16)["bits"][2] != dataset["bits"][2]
    with pytest.raises(InputError, match=r"d\.ply: is 12\^3|not cubes of size=12|larger than size=12"):
        voxels.open_dataset(source, size=12)


def test_a_folder_of_open_meshes_warns_once_also_from_the_cache(tmp_path):
    source = tmp_path / "shapes"
    source.mkdir()
    box = trimesh.creation.box()
    box.faces = box.faces[1:]
    for name in "abc":
        box.export(source / f"{name}.stl")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"3 of 3 files are open meshes, such as a\.stl") as caught:
            voxels.open_dataset(source, size=8, cache=tmp_path / "cache")
        assert len(caught) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_folders_without_shapes_or_of_several_sizes(tmp_path):
    with pytest.raises(InputError, match="no shapes"):
        voxels.open_dataset(tmp_path)
    voxels.write(arms(8), tmp_path / "a.npz")
    voxels.write(arms(9), tmp_path / "b.npz")
    with pytest.raises(InputError, match=r"b\.npz: is 9\^3"):
        voxels.open_dataset(tmp_path)
    assert voxels.unpack(voxels.open_dataset(tmp_path, size=9, pad=True)["bits"][:]).shape == (2, 1, 9, 9, 9)


# Real data


@real
def test_real_grids_open_in_seconds():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        many = voxels.open_dataset(REAL / "voxels/modelnet10_30_train.npz")
        chairs = voxels.open_dataset(REAL / "voxels/chair_32.npz")
    assert len(many) == 3799 and many.features["label"].num_classes == 10
    assert voxels.unpack(many[:16]["bits"]).shape == (16, 1, 30, 30, 30)
    assert len(chairs) == 889
    batch = voxels.unpack(chairs["bits"][:]) > 0
    assert batch.shape == (889, 1, 32, 32, 32) and 0.04 < batch.float().mean() < 0.08
    top = batch[:, 0, :, :, 24:].float().mean((0, 1, 3))
    assert top[16:].sum() > 3 * top[:16].sum()  # backs are at the high end of y, as in our furniture


@real
@pytest.mark.parametrize("name", ["chair_A", "table_medium", "cactus_medium_A", "couch"])
def test_real_meshes(name):
    with pytest.warns(UserWarning, match="not watertight"):
        grid = voxels.read(REAL / f"meshes/{name}.obj", 32)
    heights = grid.any(0).any(0).nonzero().flatten()
    if name in ("chair_A", "table_medium"):  # stands on four legs
        from scipy import ndimage

        assert ndimage.label(grid[:, :, heights[0]].numpy())[1] == 4
    else:  # filled, though it is open
        assert grid.float().mean() > 0.1
    if name == "chair_A":
        assert grid[:, :, -4:].nonzero()[:, 1].float().mean() > 16
