"""Holes of a mesh closed as its surface bends around them, where that can be told.

The level 1/2 of the winding number closes a hole flatly. Around a hole of a curved surface a thin-plate spline of the
places and normals nearby goes on bending: Carr et al. 2001, "Reconstruction and representation of 3D objects with
radial basis functions". It is believed near that level only, and only where it leaves the winding number right that is
nearly sure.
"""

import numpy as np

from data.winding import normals_of

INSIDE = 0.5 + 1e-4  # winding numbers of what is inside; both sides of a flat sheet reach 1/2 and nothing more
UNSURE = 0.3  # winding numbers up to so far from 0 and 1 are believed
SHELL = 0.06  # the next ones, on which a spline is tried
WRONG = 0.4  # share of those on which a spline may differ
LEAST = 200  # voxels of a hole that are worth a spline
PLACES = 250  # that a spline goes through, at most


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
        values = _spline(centres, *_around(centres, triangles, normals))
        if values is not None and _is_right(values, numbers[box][hole]):
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


def _spline(centres: np.ndarray, places: np.ndarray, normals: np.ndarray, space: float) -> np.ndarray | None:
    """Values [m] at centres of a function that is 0 at places, and `space` so far below them; None: too few."""
    from scipy.interpolate import RBFInterpolator

    if len(places) < 10:
        return None
    known = np.concatenate([places, places + space * normals, places - space * normals])
    values = np.repeat([0.0, -space, space], len(places))
    try:
        return RBFInterpolator(known, values, kernel="linear", degree=1)(centres)  # -r is the thin plate's in space
    except np.linalg.LinAlgError:  # the places lie twice in one, or on a line
        return None


def _is_right(values: np.ndarray, numbers: np.ndarray) -> bool:
    """Whether a spline tells inside from outside where winding numbers nearly do."""
    outer, inner = numbers < UNSURE + SHELL, numbers > 1 - UNSURE - SHELL
    wrong = [float((values[outer] > 0).mean()) if outer.any() else 0.0]
    wrong.append(float((values[inner] < 0).mean()) if inner.any() else 0.0)
    return max(wrong) < WRONG
