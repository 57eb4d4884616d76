"""Which points an open or badly turned mesh encloses: its faces turned alike, and its generalised winding number.

Jacobson et al. 2013, "Robust inside-outside segmentation using generalized winding numbers": 1 inside a closed mesh, 0
outside, and harmonic where the mesh has holes, so that the level 1/2 closes them smoothly.
"""

import numpy as np

CHUNK = 2**21  # pairs of a triangle and a grid line that are tested at a time
SHIFT = (3.1e-4, 4.7e-4, 5.9e-4)  # of the lines, in voxels: corners of meshes lie on round numbers, and no line should
MARGIN = 4  # an Mth of the grid's side is empty on each side of it, up to where the winding number is taken for 0
PANEL = 0.6  # of its area, what a part's faces add up to at most where its volume tells which side is outside


def oriented(faces: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Faces int [F, 3] of a welded mesh, turned alike across every edge of two faces, and outward.

    Most of a part's area keeps the turn of the file, unless the part is nearly closed and encloses a negative volume.
    Parts that are far from closed follow the whole: its volume is not negative.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    num = len(faces)
    ends = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    codes = ends.min(1) * len(vertices) + ends.max(1)
    order = np.argsort(codes, kind="stable")
    _, start, count = np.unique(codes[order], return_index=True, return_counts=True)
    first, second = order[start[count == 2]], order[start[count == 2] + 1]
    alike = ends[first, 0] != ends[second, 0]  # neighbours that are turned alike pass their edge opposite ways
    # Every face stands twice in a graph, as it is and turned over: a part of the graph is one way to turn a part.
    one, two = first // 3, second // 3
    rows = np.concatenate([one, one + num])
    columns = np.concatenate([np.where(alike, two, two + num), np.where(alike, two + num, two)])
    links = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(2 * num, 2 * num))
    _, ways = connected_components(links, directed=False)
    kept, turned = ways[:num], ways[num:]
    area = np.linalg.norm(normals_of(vertices[faces]), axis=1)
    weight = np.bincount(ways, np.concatenate([area, area]) * np.repeat([1.0, 0.0], num), 2 * num)
    turn = weight[turned] > weight[kept]
    faces = np.where(turn[:, None], faces[:, ::-1], faces)
    return _outward(faces, vertices, np.minimum(kept, turned))


def _outward(faces: np.ndarray, vertices: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """The faces, those of parts (numbers [F]) turned over that enclose a negative volume."""
    normals, middles = normals_of(vertices[faces]) / 2, vertices[faces].mean(1)
    area = np.linalg.norm(normals, axis=1)

    def total(values: np.ndarray) -> np.ndarray:
        """Sums over each part, [parts, 3]."""
        return np.stack([np.bincount(parts, column) for column in values.T], axis=1)

    sums, whole = total(normals), np.maximum(np.bincount(parts, area), 1e-300)
    centres = total(middles * area[:, None]) / whole[:, None]
    volume = np.bincount(parts, ((middles - centres[parts]) * normals).sum(1))
    closed = np.linalg.norm(sums, axis=1) < PANEL * whole
    turn = (closed & (volume < 0))[parts]
    normals = np.where(turn[:, None], -normals, normals)
    centre = (middles * area[:, None]).sum(0) / max(float(area.sum()), 1e-300)
    if ((middles - centre) * normals).sum() < 0:
        turn = turn ^ ~closed[parts]
    return np.where(turn[:, None], faces[:, ::-1], faces)


def winding_numbers(triangles: np.ndarray, size: int) -> np.ndarray:
    """Float32 [N, N, N], N = `size`: the winding number at the centres of voxels; triangles [F, 3, 3] lie in [0, N].

    Along a grid line the number jumps by 1 wherever the line passes the surface. Those jumps are its differences where
    the mesh is closed; where it has holes no field has them all, and the one that is nearest to them in the least
    squares is harmonic off the surface. It solves the Poisson equation of their divergence, here by sine transforms,
    with 0 on the sides of a larger box.
    """
    from scipy.fft import dstn, idstn, next_fast_len

    side = int(next_fast_len(size + 2 * max(2, size // MARGIN) + 1, True)) - 1  # type: ignore[arg-type]
    low = (side - size) // 2
    divergence = np.zeros((side,) * 3, np.float32)
    for axis in range(3):
        jumps = np.moveaxis(_jumps(triangles, size, axis), 0, axis)  # size + 1 along the axis
        inner = [slice(low, low + size)] * 3
        for shift, sign in ((-1, 1), (0, -1)):  # a jump e lies between the voxels e - 1 and e
            inner[axis] = slice(low + shift, low + shift + size + 1)
            divergence[tuple(inner)] += sign * jumps
    waves = (2 * np.cos(np.pi * np.arange(1, side + 1) / (side + 1)) - 2).astype(np.float32)
    spectrum = np.asarray(dstn(divergence, type=1, overwrite_x=True))
    spectrum /= waves[:, None, None] + waves[:, None] + waves
    solution = np.asarray(idstn(spectrum, type=1, overwrite_x=True))
    return solution[(slice(low, low + size),) * 3]


def _jumps(triangles: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Float32 [size + 1, size, size]: by how much the winding number jumps before each voxel of the lines along an
    axis, which comes first; the other axes keep their order."""
    points = triangles - np.array(SHIFT)
    across = points[..., [other for other in range(3) if other != axis]]
    depth = points[..., axis]
    a, b, c = np.moveaxis(across, 1, 0)
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    area = ux * vy - uy * vx
    low = np.clip(np.ceil(across.min(1) - 0.5), 0, size).astype(np.int64)
    extent = np.clip(np.floor(across.max(1) - 0.5), -1, size - 1).astype(np.int64) - low + 1
    met = np.flatnonzero((np.abs(area) > 1e-14) & (extent > 0).all(1))
    count = extent[met].prod(1)
    ends = np.cumsum(count)
    # Outward normals along the axis leave the solid; the axes 0 and 2 form a left-handed pair.
    sign = np.sign(area) * (1 if axis == 1 else -1)
    jumps = np.zeros((size + 1) * size * size, np.float32)
    first = 0
    while first < len(met):
        begin = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, begin + CHUNK)))
        t = np.repeat(met[first:last], count[first:last])
        row, column = np.divmod(
            np.arange(len(t)) + begin - np.repeat((ends - count)[first:last], count[first:last]), extent[t, 1]
        )
        row, column = row + low[t, 0], column + low[t, 1]
        x, y = row + 0.5, column + 0.5
        # Each edge is told apart by the same sum for both of its triangles, up to its sign: no line slips through.
        edges = [_beside(across[t, k], across[t, (k + 1) % 3], x, y) for k in range(3)]
        turn = np.sign(area[t])
        inside = np.flatnonzero((edges[0] * turn > 0) & (edges[1] * turn > 0) & (edges[2] * turn > 0))
        t, row, column = t[inside], row[inside], column[inside]
        shares = [edge[inside] / area[t] for edge in edges]
        at = shares[1] * depth[t, 0] + shares[2] * depth[t, 1] + shares[0] * depth[t, 2]
        before = np.clip(np.ceil(at - 0.5), 0, size).astype(np.int64)
        jumps += np.bincount((before * size + row) * size + column, sign[t], len(jumps)).astype(np.float32)
        first = last
    return jumps.reshape(size + 1, size, size)


def _beside(start: np.ndarray, end: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """On which side of the lines from start to end [n, 2] points lie: twice the area that they span, by its sign."""
    swap = (start[:, 0] > end[:, 0]) | ((start[:, 0] == end[:, 0]) & (start[:, 1] > end[:, 1]))
    low, high = np.where(swap[:, None], end, start), np.where(swap[:, None], start, end)
    area = (high[:, 0] - low[:, 0]) * (y - low[:, 1]) - (high[:, 1] - low[:, 1]) * (x - low[:, 0])
    return np.where(swap, -area, area)


def normals_of(triangles: np.ndarray) -> np.ndarray:
    """Normals [F, 3] of triangles [F, 3, 3], as long as twice their areas."""
    a, b, c = np.moveaxis(triangles, 1, 0)
    return np.cross(b - a, c - a)
