"""Closed triangle meshes and voxel grids: from one to the other, and what keeps a mesh printable.

Coordinates are voxels: the centre of voxel (i, j, k) is the point (i, j, k) + 1/2, so that a grid
[D, H, W] fills the box from 0 to (D, H, W). Axes are (x, y, z) with z up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from data import closing, winding

STEP = 0.5  # between samples of a surface, in voxels: no face-to-face path slips through between them
FINER = 3  # voxels are divided by so many a side to tell how much of them is inside
FINEST = 64  # voxels a side up to which winding numbers are taken where voxels are divided, else at their centres
UNSEEN = 0.1  # winding numbers up to so far from 0 and 1 tell outside and inside
CHUNK = 2**21  # samples at a time
FLAT = 0.01  # fields nearer to the surface than this are pushed off it: no triangle shrinks to a point
ROD = 0.3  # around voxels in a row the field falls to -0.3 of theirs at most: a section of about one voxel
DRIFT = 0.3  # voxels that smoothing may move a vertex: steps need no more, thin rods would shrink away


@dataclass(frozen=True)
class Mesh:
    """Vertices float64 [V, 3] and triangles int64 [F, 3], counter-clockwise seen from outside."""

    vertices: np.ndarray
    faces: np.ndarray

    @property
    def volume(self) -> float:
        """What the mesh encloses; negative if it is inside out, meaningless if it is open."""
        a, b, c = np.moveaxis(self.vertices[self.faces], 1, 0)
        return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6)

    def open_edges(self) -> int:
        """How many edges lack the one neighbour that runs along them the other way; 0 is watertight."""
        ends = self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        codes = ends[:, 0] * len(self.vertices) + ends[:, 1]
        codes, counts = np.unique(codes, return_counts=True)
        back = codes % len(self.vertices) * len(self.vertices) + codes // len(self.vertices)
        place = np.minimum(np.searchsorted(codes, back), max(len(codes) - 1, 0))  # isin would hash a million of them
        return int(counts.sum() - np.count_nonzero((counts == 1) & (codes[place] == back) & (counts[place] == 1)))

    def placed(self, turn: np.ndarray, shift: np.ndarray) -> "Mesh":
        """Every vertex, a row, times `turn` [3, 3], and moved. A mirrored place would turn triangles inside out."""
        faces = self.faces[:, ::-1] if np.linalg.det(turn) < 0 else self.faces
        return Mesh(self.vertices @ turn + shift, faces)

    @classmethod
    def joined(cls, parts: Sequence["Mesh"]) -> "Mesh":
        """All triangles of some meshes in one."""
        firsts = np.cumsum([0, *(len(part.vertices) for part in parts)])
        faces = [part.faces + first for part, first in zip(parts, firsts, strict=False)]
        return cls(np.concatenate([part.vertices for part in parts]), np.concatenate(faces))

    def welded(self) -> "Mesh":
        """Vertices at the same place become one (files split them at seams), slivers without area go."""
        extent = float(np.ptp(self.vertices, axis=0).max()) or 1.0
        places = np.round(self.vertices / extent * 1e7).astype(np.int64)
        _, first, index = np.unique(places, axis=0, return_index=True, return_inverse=True)
        faces = index.reshape(-1)[self.faces]
        whole = (faces != np.roll(faces, 1, axis=1)).all(1)
        return Mesh(self.vertices[first], faces[whole])

    def turned(self) -> "Mesh":
        """Of a welded mesh: its faces turned alike, and outward (`winding.oriented`)."""
        return Mesh(self.vertices, winding.oriented(self.faces, self.vertices))


@dataclass(frozen=True)
class Frame:
    """Where a grid lies among the places of a mesh: `centre`, in the mesh's units and with z up, is the middle of a
    cube whose side is `side` units long and `size` voxels."""

    centre: tuple[float, float, float]
    side: float
    size: int

    @classmethod
    def around(cls, vertices: np.ndarray, size: int) -> "Frame":
        """The least one around places [V, 3]; a trifle larger, so that no side of theirs lands on the next voxel."""
        low, high = vertices.min(0), vertices.max(0)
        x, y, z = ((low + high) / 2).tolist()
        return cls((x, y, z), float((high - low).max()) * size / (size - 1e-3), size)

    def to_grid(self, places: np.ndarray) -> np.ndarray:
        """Places [V, 3] in voxels, from 0 to `size` where they lie in the cube."""
        return (places - np.array(self.centre)) * (self.size / self.side) + self.size / 2

    def overhang(self, places: np.ndarray) -> int:
        """By how many voxels places [V, 3] lie out of the cube, at most; ValueError where that is more than a side."""
        points = self.to_grid(places)
        over = max(0.0, float(-points.min()), float(points.max()) - self.size)
        if over > self.size:
            raise ValueError(f"reaches {over / self.size:.1f} sides of the frame out of it")
        return ceil(over)

    def widened(self, margin: int) -> "Frame":
        """With so many more voxels on every side."""
        size = self.size + 2 * margin
        return Frame(self.centre, self.side * size / self.size, size)

    def to_places(self, points: np.ndarray) -> np.ndarray:
        """The opposite of `to_grid`."""
        return (points - self.size / 2) * (self.side / self.size) + np.array(self.centre)


def voxelize(mesh: Mesh, grid: int | Frame) -> tuple[np.ndarray, str | None]:
    """The solid bool [N, N, N] that a mesh bounds; and a note where it is not watertight.

    `grid` is N, and the mesh is scaled so that its longest side spans the grid, and centred; or it is a frame that
    places the mesh, and what lies out of it is cut off. ValueError where that is more than a side of the frame. Set
    are the voxels that are at least half inside it, and those of parts that are thinner than that, so none is lost.
    Inside is what cannot be reached from outside by faces of voxels: cavities are filled. Where a mesh is open, inside
    is also what its winding number tells, and around its holes how the surface bends (`data.closing`).
    """
    frame = Frame.around(mesh.vertices, grid) if isinstance(grid, int) else grid
    over = frame.overhang(mesh.vertices)
    if over:
        solid, note = voxelize(mesh, frame.widened(over))
        return solid[(slice(over, -over),) * 3], note
    size = frame.size
    welded = mesh.welded()
    welded = welded.turned() if welded.open_edges() else welded
    num_open = welded.open_edges()
    triangles = frame.to_grid(mesh.vertices)[mesh.faces]
    walls = _rasterize(triangles, size)
    finer = FINER if size <= FINEST else 1
    inside = np.zeros((finer * size,) * 3, bool)
    if num_open:
        outward = finer * frame.to_grid(welded.vertices)[welded.faces]
        inside = closing.inside(winding.winding_numbers(outward, finer * size), outward)
    solid = fill(walls | inside[(slice(finer // 2, None, finer),) * 3])
    inner = solid & ~walls
    # Finer, where holes are wider in voxels: what is inside on the coarse grid stays inside.
    fine = _rasterize(FINER * triangles, FINER * size)
    for part in (inner, inside):
        fine |= _enlarged(part, FINER * size // len(part))
    parts = fill(fine).reshape(size, FINER, size, FINER, size, FINER)
    solid = _peel(solid, parts.mean((1, 3, 5), dtype=np.float32) > 0.5)
    if not num_open:
        return solid, None
    share = np.count_nonzero(inner) / max(np.count_nonzero(solid), 1)
    return solid, (
        f"not watertight ({num_open / (3 * len(welded.faces)):.0%} of its edges are open): its holes were closed by "
        f"its winding number; {share:.0%} of its voxels at {size}^3 lie inside, the others are the surface itself"
    )


def unseen(mesh: Mesh, frame: Frame) -> np.ndarray:
    """Voxels bool [N, N, N] of which an open mesh leaves it unsaid whether they are inside, as no surface is there.

    Its winding number is neither nearly 0 nor nearly 1 there: near holes, about as far as they are wide. Voxels that
    its surface passes through are left out.
    """
    welded = mesh.welded().turned()
    if not welded.open_edges():
        return np.zeros((frame.size,) * 3, bool)
    wide = frame.widened(frame.overhang(mesh.vertices))
    over = (wide.size - frame.size) // 2
    numbers = winding.winding_numbers(wide.to_grid(welded.vertices)[welded.faces], wide.size)
    inner = (slice(over, over + frame.size),) * 3
    between = (numbers > UNSEEN) & (numbers < 1 - UNSEEN)
    return (between & ~_rasterize(wide.to_grid(mesh.vertices)[mesh.faces], wide.size))[inner]


def surface(field: np.ndarray) -> Mesh:
    """The watertight mesh around {field > 0} of a finite float field [D, H, W] with some voxel above 0.

    Marching cubes: the surface passes between voxel centres where the linear interpolation is 0,
    and is closed half-way out of the grid's faces. Voxels that share only an edge are joined, so a
    slanted rod one voxel thick stays one part: the parts of the mesh are those of `parts`. Such
    rods are given about the section of their voxels, of which the interpolation would take half.
    Lewiner et al. 2003, "Efficient implementation of Marching Cubes' cases with topological guarantees".
    """
    from skimage.measure import marching_cubes

    field = np.asarray(field, np.float32) / np.abs(field).max()
    field = np.pad(field, 1, constant_values=-1.0)
    field = _thicken_rods(field)
    field = np.where(np.abs(field) < FLAT, np.where(field > 0, FLAT, -FLAT), field)
    # Where a face is ambiguous scikit-image joins the lower values, whatever their size: so the solid is made low.
    vertices, faces, _, _ = marching_cubes(
        np.negative(field, dtype=np.float32), 0.0, method="lorensen", gradient_direction="descent"
    )
    return Mesh(vertices.astype(np.float64) - 0.5, faces.astype(np.int64))


def smooth(mesh: Mesh, rounds: int) -> Mesh:
    """The mesh with its steps evened out by `rounds` of smoothing that keep volume and connections.

    Each round moves the vertices 0.5 of the way to the mean of their neighbours, and 0.53 back, but
    none further than DRIFT from where it was.
    Taubin 1995, "A signal processing approach to fair surface design"; the bound is that of Gibson
    1998, "Constrained elastic surface nets".
    """
    from scipy.sparse import csr_array

    if not rounds:
        return mesh
    starts, ends = mesh.faces[:, [0, 1, 2]].reshape(-1), mesh.faces[:, [1, 2, 0]].reshape(-1)
    num = len(mesh.vertices)
    # On a closed mesh every edge runs once each way, so this lists all neighbours of all vertices.
    links = csr_array((np.ones(len(starts)), (starts, ends)), shape=(num, num))
    degree = np.maximum(np.bincount(starts, minlength=num), 1)[:, None]
    vertices = mesh.vertices
    for _ in range(rounds):
        for factor in (0.5, -0.53):
            vertices = vertices + factor * (links @ vertices / degree - vertices)
        moved = vertices - mesh.vertices
        far = np.linalg.norm(moved, axis=1, keepdims=True)
        vertices = mesh.vertices + moved * np.minimum(1, DRIFT / np.maximum(far, 1e-12))
    return Mesh(vertices, mesh.faces)


def decimate(mesh: Mesh, faces: int) -> Mesh | None:
    """A watertight mesh of about so many faces, nearly the same shape; None where none was found.

    Edges collapse in order of the quadric error (Garland and Heckbert 1997), which may pinch thin
    walls: a result that is not watertight or changes the volume by a tenth is not returned.
    """
    from fast_simplification import simplify

    if len(mesh.faces) <= faces:
        return mesh
    points, triangles = simplify(mesh.vertices, mesh.faces, target_count=faces)[:2]
    smaller = Mesh(points.astype(np.float64), triangles.astype(np.int64))
    sound = len(triangles) > 3 and not smaller.open_edges() and abs(smaller.volume / mesh.volume - 1) < 0.1
    return smaller if sound else None


def parts(solid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the parts of a bool grid: int [D, H, W], 0 outside and k in part k; and voxels [1 + parts].

    Voxels that share a face or an edge belong together, as in `surface`.
    """
    from scipy import ndimage

    numbers, count = ndimage.label(solid, ndimage.generate_binary_structure(3, 2))  # type: ignore[misc]
    return numbers, np.bincount(numbers.reshape(-1), minlength=count + 1)


def fill(walls: np.ndarray) -> np.ndarray:
    """All voxels bool [D, H, W] that cannot be reached by faces from outside the grid, the walls included."""
    from scipy import ndimage

    free, _ = ndimage.label(np.pad(~walls, 1, constant_values=True))  # type: ignore[misc]
    return (free != free[0, 0, 0])[1:-1, 1:-1, 1:-1]


def _enlarged(grid: np.ndarray, times: int) -> np.ndarray:
    return grid.repeat(times, 0).repeat(times, 1).repeat(times, 2)


def _peel(solid: np.ndarray, core: np.ndarray) -> np.ndarray:
    """The solid without the voxels outside its core that only coat it; parts without a core stay.

    A coat has the core on one side and nothing on the other. Around the core's edges and corners it
    has no core, but coat on one side and nothing on the other.
    """
    solid, core = np.pad(solid, 1), np.pad(core, 1)

    def lies_on(layer: np.ndarray) -> np.ndarray:
        sides = [(axis, step) for axis in range(3) for step in (-1, 1)]
        faces = [np.roll(layer, step, axis) & ~np.roll(solid, -step, axis) for axis, step in sides]
        return solid & ~core & np.logical_or.reduce(faces)

    beside = np.logical_or.reduce([np.roll(core, step, axis) for axis in range(3) for step in (-1, 1)])
    coat = lies_on(core)
    for _ in range(2):
        coat |= lies_on(coat) & ~beside
    return (solid & ~coat)[1:-1, 1:-1, 1:-1]


def _rasterize(triangles: np.ndarray, size: int) -> np.ndarray:
    """Voxels bool [N, N, N] that triangles [F, 3, 3] pass through.

    Samples lie at most STEP apart in rows along the longest edge. No point of the surface is then
    further than 0.36 from one, so of two voxels whose centres it separates at least one is set.
    """
    lengths = np.linalg.norm(triangles - np.roll(triangles, -1, axis=1), axis=2)  # of edge k to k + 1
    turn = (np.argmax(lengths, axis=1)[:, None] + np.arange(3)) % 3
    a, b, c = np.moveaxis(np.take_along_axis(triangles, turn[:, :, None], axis=1), 1, 0)
    longest = lengths.max(1)
    height = np.linalg.norm(np.cross(b - a, c - a), axis=1) / np.maximum(longest, 1e-12)
    columns = np.ceil(longest / STEP).astype(np.int64) + 1
    rows = np.ceil(height / STEP).astype(np.int64) + 1
    ends = np.cumsum(rows * columns)
    grid = np.zeros((size, size, size), bool)
    first = 0
    while first < len(triangles):
        begin = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, begin + CHUNK)))
        t = np.repeat(np.arange(first, last), (rows * columns)[first:last])
        row, column = np.divmod(np.arange(len(t)) + begin - (ends - rows * columns)[t], columns[t])
        v = (row / np.maximum(rows[t] - 1, 1))[:, None]
        u = (column / np.maximum(columns[t] - 1, 1))[:, None]
        points = a[t] + v * (c - a)[t] + u * (1 - v) * (b - a)[t]
        x, y, z = np.clip(np.floor(points).astype(np.int64), 0, size - 1).T
        grid[x, y, z] = True
        first = last
    return grid


def _thicken_rods(field: np.ndarray) -> np.ndarray:
    """Raise values that stay below 0 beside voxels that lie in no 2x2 square of set voxels."""
    solid = field > 0
    squares = np.zeros_like(solid)
    for one, two in ((0, 1), (0, 2), (1, 2)):
        turned, wide = np.moveaxis(solid, (one, two), (0, 1)), np.moveaxis(squares, (one, two), (0, 1))  # views
        full = turned[:-1, :-1] & turned[1:, :-1] & turned[:-1, 1:] & turned[1:, 1:]
        for part in (wide[:-1, :-1], wide[1:, :-1], wide[:-1, 1:], wide[1:, 1:]):
            part |= full
    rods = solid & ~squares
    if not rods.any():
        return field
    least = np.full_like(field, -np.inf)
    for axis in range(3):
        for step in (-1, 1):  # the padding keeps what is rolled around empty
            np.maximum(
                least, np.where(np.roll(rods, step, axis), -ROD * np.roll(field, step, axis), -np.inf), out=least
            )
    return np.where(solid, field, np.maximum(field, least))
