"""Holes of a mesh closed as its surface bends around them, where that can be told.

The level 1/2 of the winding number closes a hole flatly. Around a hole of a curved surface a spline of the places and
normals nearby goes on bending: Carr et al. 2001, "Reconstruction and representation of 3D objects with radial basis
functions". It is the mean of the triharmonic spline, which bends too much beside edges, and the biharmonic one, which
bends too little on balls. It is believed only where the winding number leaves it open, and only if both splines agree:
among thin parts they do not.
"""

from collections.abc import Callable

import numpy as np

from data.winding import normals_of

INSIDE = 0.5 + 1e-4  # winding numbers of what is inside; both sides of a flat sheet reach 1/2 and nothing more
UNSURE = 0.15  # winding numbers up to so far from 0 and 1 are believed
APART = 0.12  # share of a hole of which two splines may say different things
BEHIND = 0.8  # share of the places, at least, behind which a step is still inside: not behind thin parts
LEAST = 200  # voxels of a hole that are worth a spline
PLACES = 250  # that a spline goes through, at most
STEP = 1 / 3  # of the space of places, in which a spline is taken to be straight


def inside(numbers: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """What an open mesh encloses, bool [N, N, N].

    Args:
        numbers: its winding numbers at the centres of voxels.
        triangles: [F, 3, 3] in voxels, outward.
    """
    from scipy import ndimage

    solid = numbers > INSIDE
    holes, count = ndimage.label((numbers > UNSURE) & (numbers < 1 - UNSURE), np.ones((3, 3, 3)))  # type: ignore[misc]
    if not count:
        return solid
    normals = normals_of(triangles)
    length = np.linalg.norm(normals, axis=1)
    triangles, normals = triangles[length > 1e-12], normals[length > 1e-12] / length[length > 1e-12, None]
    for number, box in enumerate(ndimage.find_objects(holes), 1):
        hole = holes[box] == number
        if np.count_nonzero(hole) < LEAST:
            continue
        centres = np.argwhere(hole) + [side.start + 0.5 for side in box]
        values = _bent(centres, *_around(centres, triangles, normals), numbers)
        if values is not None:
            solid[box][hole] = values > 0
    return solid


def _around(centres: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Places [n, 3] of the surface that are as near to a hole as half its width, their normals, and how far apart."""
    from scipy.spatial import KDTree
    from trimesh.remesh import subdivide_to_size

    reach, space = max(4.0, 0.5 * float(np.ptp(centres, axis=0).max() + 1)), 1.5
    low, high = centres.min(0) - reach, centres.max(0) + reach
    near = np.flatnonzero(((triangles.max(1) > low) & (triangles.min(1) < high)).all(1))
    if not len(near):
        return np.empty((0, 3)), np.empty((0, 3)), space
    corners = np.arange(3 * len(near)).reshape(-1, 3)
    points, faces, origin = subdivide_to_size(  # type: ignore[misc]
        triangles[near].reshape(-1, 3), corners, max(space, reach / 8), max_iter=12, return_index=True
    )
    places = points[faces].mean(1)
    found = np.isfinite(KDTree(centres).query(places, distance_upper_bound=reach)[0])
    places, normals = places[found], normals[near][origin][found]
    while len(places):  # one place in each cell of a grid, which is coarsened until there are few
        x, y, z = np.floor((places - places.min(0)) / space).astype(np.int64).T
        _, kept = np.unique((x << 40) + (y << 20) + z, return_index=True)
        places, normals = places[kept], normals[kept]
        if len(places) <= PLACES:
            break
        space *= 1.25
    return places, normals, space


def _bent(
    centres: np.ndarray, places: np.ndarray, normals: np.ndarray, space: float, numbers: np.ndarray
) -> np.ndarray | None:
    """Values [m] at centres, above 0 inside, of the mean of two splines that are 0 at places, and `space` so far below
    them, where winding numbers say that inside is there. None: the places are few, or leave open how it bends."""
    from scipy.interpolate import RBFInterpolator

    if len(places) < 10:
        return None
    above, below = places + space * normals, places - space * normals
    above, inner = above[_at(above, numbers) < INSIDE], _at(below, numbers) > INSIDE
    if inner.mean() < BEHIND:
        return None
    known = np.concatenate([places, above, below[inner]])
    values = np.concatenate([np.zeros(len(places)), np.full(len(above), -space), np.full(inner.sum(), space)])
    try:  # in space the kernel r^3 is triharmonic, -r biharmonic
        splines = [RBFInterpolator(known, values, kernel=kernel, degree=1) for kernel in ("cubic", "linear")]
    except np.linalg.LinAlgError:  # the places lie twice in one, or on a line
        return None
    bent, stiff = (_values(spline, centres, max(1.0, STEP * space)) for spline in splines)
    return (bent + stiff) / 2 if ((bent > 0) != (stiff > 0)).mean() < APART else None


def _values(spline: Callable[[np.ndarray], np.ndarray], centres: np.ndarray, step: float) -> np.ndarray:
    """What a spline is at centres, between points of a grid that are `step` apart."""
    from scipy.ndimage import map_coordinates

    low = centres.min(0)
    sides = [np.arange(0, high + step, step) for high in centres.max(0) - low]
    points = np.stack(np.meshgrid(*sides, indexing="ij"), -1)
    grid = spline(points.reshape(-1, 3) + low).reshape(points.shape[:3])
    return map_coordinates(grid, ((centres - low) / step).T, order=1, mode="nearest")


def _at(points: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The winding numbers [n] at points, 0 out of the grid."""
    cells = np.floor(points).astype(np.int64)
    there = ((cells >= 0) & (cells < len(numbers))).all(1)
    found = np.zeros(len(points))
    found[there] = numbers[tuple(cells[there].T)]
    return found
