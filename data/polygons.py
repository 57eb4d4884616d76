"""Polygons in space to triangles."""

import numpy as np


def triangulated(vertices: np.ndarray, corners: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Triangles int64 [F, 3], turned as their polygons are.

    A convex polygon becomes a fan. Ears are cut off others, so that no triangle covers what is outside of it.

    Args:
        vertices: places [V, 3].
        corners: of all polygons in a row, [sum of counts].
        counts: corners of each polygon [n]; those of fewer than three are left out.
    """
    starts = np.cumsum(counts) - counts
    found, order = [], []
    for count in np.unique(counts[counts > 2]).tolist():
        rows = np.flatnonzero(counts == count)
        polygons = corners[starts[rows][:, None] + np.arange(count)]  # [m, count]
        fans = np.stack([np.repeat(polygons[:, :1], count - 2, 1), polygons[:, 1:-1], polygons[:, 2:]], axis=2)
        if count > 3:
            for k in np.flatnonzero(~_convex(vertices[polygons])):
                fans[k] = polygons[k][_ears(_flat(vertices[polygons[k]]))]
        found.append(fans.reshape(-1, 3))
        order.append(np.repeat(rows, count - 2))
    if not found:
        return np.empty((0, 3), np.int64)
    return np.concatenate(found)[np.argsort(np.concatenate(order), kind="stable")].astype(np.int64)


def _convex(points: np.ndarray) -> np.ndarray:
    """Whether the fan of each polygon [m, n, 3] has all its triangles turned the same way, [m]."""
    with np.errstate(all="ignore"):
        normals = np.cross(points[:, 1:-1] - points[:, :1], points[:, 2:] - points[:, :1])
        total = normals.sum(1, keepdims=True)
        along = (normals * total).sum(2)
        return ~(along < -1e-9 * (total**2).sum(2)).any(1)


def _flat(points: np.ndarray) -> np.ndarray:
    """Places [n, 2] of a polygon [n, 3] in the coordinate plane that sees most of it, counter-clockwise."""
    normal = np.cross(points - points[0], np.roll(points, -1, 0) - points[0]).sum(0)  # Newell
    axis = int(np.abs(normal).argmax())
    seen = points[:, [(axis + 1) % 3, (axis + 2) % 3]]
    return seen if normal[axis] > 0 else seen * (1, -1)


def _ears(points: np.ndarray) -> np.ndarray:
    """Triangles [n - 2, 3] of a simple polygon [n, 2], counter-clockwise, by cutting off ears (Meisters 1975)."""
    left = list(range(len(points)))
    found = []
    while len(left) > 3:
        ear = next((k for k in range(len(left)) if _is_ear(points, left, k)), 0)  # one that crosses itself has none
        found.append((left[ear - 1], left[ear], left[(ear + 1) % len(left)]))
        del left[ear]
    return np.array([*found, tuple(left)])


def _is_ear(points: np.ndarray, left: list[int], k: int) -> bool:
    a, b, c = left[k - 1], left[k], left[(k + 1) % len(left)]
    others = points[[j for j in left if j not in (a, b, c)]]

    def beside(start: int, end: int, at: np.ndarray) -> np.ndarray:
        (x, y), (dx, dy) = points[start], points[end] - points[start]
        return dx * (at[..., 1] - y) - dy * (at[..., 0] - x)

    if beside(a, b, points[c]) <= 0:
        return False
    inside = (beside(a, b, others) >= 0) & (beside(b, c, others) >= 0) & (beside(c, a, others) >= 0)
    return not inside.any()
