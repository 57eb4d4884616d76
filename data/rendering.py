"""Pictures of shapes: shaded renderings on white as uint8 [H, W, 3], without a graphics system.

The surface is that of `data.meshes`, drawn with a depth buffer: a warm key light from the viewer's
upper left, a cool fill light, ambient light dimmed in hollows, and a soft shadow on the ground.

picture = render(grid, azimuth=30)  # from the front, 30 degrees to the right
frames = turntable(grid, num=36)
"""

from dataclasses import dataclass
from math import cos, radians, sin
from pathlib import Path

import numpy as np

from data import meshes
from data.errors import InputError
from data.voxels import Grid, field

CLAY = (0.86, 0.62, 0.42)
SUPERSAMPLING = 2  # pixels drawn a side of each shown
DISTANCE = 4.0  # of the camera from the grid's centre, in its sides
SPAN = 1.3  # of the picture's side, in the grid's sides: wider only for shapes that would not fit
SMOOTHING = 16  # rounds, as in `data.voxels.write`
CHUNK = 2**21  # pixels tested at a time


def render(
    grid: Grid,
    azimuth: float = 30.0,
    elevation: float = 25.0,
    size: int = 256,
    *,
    level: float = 0.0,
    smoothing: int = SMOOTHING,
    color: tuple[float, float, float] = CLAY,
) -> np.ndarray:
    """One view, uint8 [size, size, 3], of a grid as `data.voxels.write` takes it; white if it is empty.

    Angles in degrees: azimuth 0 looks at the front (from -y), 90 at the right side (from +x);
    elevation 90 looks down. `color` is RGB in [0, 1]. InputError for values out of range.
    """
    return _draw(_scene(grid, level, smoothing), azimuth, _check(elevation, size), size, color)


def turntable(
    grid: Grid,
    num: int = 36,
    elevation: float = 25.0,
    size: int = 256,
    *,
    level: float = 0.0,
    smoothing: int = SMOOTHING,
    color: tuple[float, float, float] = CLAY,
) -> np.ndarray:
    """A full turn in `num` views, uint8 [num, size, size, 3]; the last is one step before the first."""
    if num < 1:
        raise InputError(f"num={num} is too small; a turntable needs at least 1 view")
    scene, elevation = _scene(grid, level, smoothing), _check(elevation, size)
    return np.stack([_draw(scene, 30 + 360 * k / num, elevation, size, color) for k in range(num)])


def write_turntable(path: str | Path, frames: np.ndarray, fps: float = 15) -> None:
    """Write views uint8 [T, H, W, 3] as .gif, .mp4 or .mkv. Errors as in `data.video.write`."""
    from data import video

    video.write(path, video.from_uint8(frames), fps)


@dataclass(frozen=True)
class _Scene:
    """What does not change with the view; lengths in sides of the grid, the grid's centre at 0."""

    corners: np.ndarray  # [F, 3, 3] of the triangles
    normals: np.ndarray  # [F, 3, 3] at their corners, outward
    open: np.ndarray  # [F, 3] how much of the surroundings is free there, 0 to 1
    floor: float  # height of the ground
    shadow: np.ndarray  # [S, S] darkness on the ground, over SHADOW_SIDES


SHADOW_SIDES = 2.0


def _scene(grid: Grid, level: float, smoothing: int) -> _Scene | None:
    from scipy.ndimage import map_coordinates

    values = field(grid, level)
    if not (values > 0).any():
        return None
    side = max(values.shape)
    mesh = meshes.smooth(meshes.surface(values), smoothing)
    normals = _normals(mesh)
    # Ambient occlusion: how much of a ball in front of the surface is filled.
    free = np.ones(len(mesh.vertices))
    solid = np.pad((values > 0).astype(np.float32), side // 4)
    for reach, weight in ((0.045, 0.5), (0.10, 0.5)):
        blurred = _blur(solid, reach * side)
        at = mesh.vertices + 1.3 * reach * side * normals + side // 4 - 0.5
        free -= weight * np.clip(1.5 * map_coordinates(blurred, at.T, order=1, mode="nearest"), 0, 1)
    points = (mesh.vertices - np.array(values.shape) / 2) / side
    return _Scene(
        points[mesh.faces], normals[mesh.faces], free[mesh.faces], float(points[:, 2].min()), _shadow(values > 0, side)
    )


def _normals(mesh: meshes.Mesh) -> np.ndarray:
    """Unit vectors [V, 3]: of the triangles around each vertex, weighted by their area, twice evened out."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    areas = normals = np.cross(b - a, c - a)
    for _ in range(2):
        normals = np.stack([np.bincount(mesh.faces.reshape(-1), np.repeat(part, 3)) for part in areas.T], axis=1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        areas = normals[mesh.faces].mean(1)
    return normals


def _blur(values: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(values, sigma, truncate=2.5, mode="constant")


def _shadow(solid: np.ndarray, side: int) -> np.ndarray:
    """Darkness [S, S]: a sharp one of what stands on the ground, a wide one of all that is above it."""
    lowest = int(np.flatnonzero(solid.any((0, 1)))[0])
    margin = [((2 * side - length) // 2, 2 * side - length - (2 * side - length) // 2) for length in solid.shape[:2]]
    heights = np.exp(-np.arange(solid.shape[2] - lowest) / (0.35 * side))
    above = np.pad((solid[:, :, lowest:] * heights).max(2), margin)
    touching = np.pad(solid[:, :, lowest : lowest + max(1, side // 16)].any(2).astype(float), margin)
    return 0.40 * _blur(above, 0.07 * side) + 0.35 * _blur(touching, 0.022 * side)


def _draw(
    scene: _Scene | None, azimuth: float, elevation: float, size: int, color: tuple[float, float, float]
) -> np.ndarray:
    if scene is None:
        return np.full((size, size, 3), 255, np.uint8)
    turn, tilt = radians(azimuth), radians(elevation)
    right = np.array([cos(turn), sin(turn), 0])
    toward = np.array([sin(turn) * cos(tilt), -cos(turn) * cos(tilt), sin(tilt)])  # the camera
    camera = np.stack([right, np.cross(toward, right), toward])  # rows: right, up, toward
    side = size * SUPERSAMPLING
    focus = side / _span(scene, tilt)
    points = scene.corners @ camera.T
    scale = focus * DISTANCE / (DISTANCE - points[..., 2])
    screen = np.stack([side / 2 + points[..., 0] * scale, side / 2 - points[..., 1] * scale], axis=-1)
    pixels, triangle, weights = _visible(screen, points[..., 2], side)
    normals = np.einsum("pc,pcx->px", weights, scene.normals[triangle]) @ camera.T
    light = _shade(normals, np.einsum("pc,pc->p", weights, scene.open[triangle]), camera, np.array(color))
    row, column = np.divmod(pixels, side)
    shown = row // SUPERSAMPLING * size + column // SUPERSAMPLING  # the shown pixel that each drawn one is part of
    covered, *sums = (np.bincount(shown, part, size * size) / SUPERSAMPLING**2 for part in (None, *light.T))
    ground = _ground(scene, camera, focus / SUPERSAMPLING, size)
    picture = (ground * (1 - covered))[:, None] + np.stack(sums, axis=1)
    return np.round(255 * np.clip(picture, 0, 1) ** (1 / 2.2)).astype(np.uint8).reshape(size, size, 3)


def _span(scene: _Scene, tilt: float) -> float:
    """Width of the view, in sides of the grid, that holds the shape from all sides of a turn."""
    x, y, z = np.moveaxis(scene.corners, 2, 0)
    radius, height = float(np.hypot(x, y).max()), float(np.abs(z).max())
    reach = max(radius, height * abs(cos(tilt)) + radius * abs(sin(tilt)))
    return max(SPAN, 2.04 * reach * DISTANCE / (DISTANCE - radius))


def _ground(scene: _Scene, camera: np.ndarray, focus: float, side: int) -> np.ndarray:
    """Brightness [side * side] of the white around the shape, darkened where its shadow lies on the ground."""
    from scipy.ndimage import map_coordinates

    right, up, toward = camera
    bright = np.ones((side, side), np.float32)
    if toward[2] < 0.05:  # the ground is seen from its edge or from below
        return bright.reshape(-1)
    across = ((np.arange(side) + 0.5 - side / 2) / (focus * DISTANCE)).astype(np.float32)
    # Rays from the camera to pixel (row, column), axis by axis: across[column] right - across[row] up - toward.
    down = -across * up[2] - toward[2]  # all columns alike: `right` is level
    rows = down < -1e-3
    length = ((scene.floor - DISTANCE * toward[2]) / down[rows])[:, None]
    x, y = (
        DISTANCE * toward[axis] + length * (across * right[axis] - across[rows, None] * up[axis] - toward[axis])
        for axis in (0, 1)
    )
    cells = len(scene.shadow) / SHADOW_SIDES
    at = np.stack([x, y]) * cells + len(scene.shadow) / 2 - 0.5
    bright[rows] -= np.clip(map_coordinates(scene.shadow, at, order=1, mode="constant"), 0, 0.9)
    return bright.reshape(-1)


def _visible(screen: np.ndarray, depth: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which triangle each pixel shows: pixels [P], triangles [P] and the weights [P, 3] of their corners.

    `screen` [F, 3, 2] is in pixels, y down; `depth` [F, 3] grows towards the viewer.
    """
    a, b, c = np.moveaxis(screen, 1, 0)
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    area = ux * vy - uy * vx
    low = np.maximum(np.ceil(screen.min(1) - 0.5), 0).astype(np.int32)
    extent = np.minimum(np.floor(screen.max(1) - 0.5), side - 1).astype(np.int32) - low + 1
    shown = np.flatnonzero((area < -1e-9) & (extent > 0).all(1))  # y runs down: fronts turn clockwise
    low, extent, depth = low[shown], extent[shown], depth[shown]
    # The weights of corners b and c are linear over the picture, and nearly so is the depth.
    slopes = (np.stack([vy, -vx, -uy, ux], axis=1) / area[:, None])[shown]  # db/dx, db/dy, dc/dx, dc/dy
    x, y = (low + 0.5 - a[shown]).T
    db, dc = (depth[:, 1:] - depth[:, :1]).T
    at_low = slopes[:, 0] * x + slopes[:, 1] * y, slopes[:, 2] * x + slopes[:, 3] * y
    planes = np.column_stack([slopes, *at_low, depth[:, 0], db, dc]).astype(np.float32)
    count = extent.prod(1)
    ends = np.cumsum(count)
    found: list[tuple[np.ndarray, ...]] = []
    first = 0
    while first < len(shown):
        begin = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, begin + CHUNK)))
        t = np.repeat(np.arange(first, last), count[first:last])
        row, column = np.divmod(np.arange(len(t)) + begin - (ends - count)[t], extent[t, 0])
        bx, by, cx, cy, b0, c0 = planes[t, :6].T
        right, down = column.astype(np.float32), row.astype(np.float32)
        weight_b, weight_c = b0 + bx * right + by * down, c0 + cx * right + cy * down
        inside = np.flatnonzero((weight_b >= 0) & (weight_c >= 0) & (weight_b + weight_c <= 1))
        t, weight_b, weight_c = t[inside], weight_b[inside], weight_c[inside]
        pixel = (low[t, 1] + row[inside]) * side + low[t, 0] + column[inside]
        found.append((pixel, t, planes[t, 6] + planes[t, 7] * weight_b + planes[t, 8] * weight_c, weight_b, weight_c))
        first = last
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 3))
    pixel, t, near, weight_b, weight_c = (np.concatenate(column) for column in zip(*found, strict=True))
    nearest = np.full(side * side, -np.inf, np.float32)
    np.maximum.at(nearest, pixel, near)
    winner = np.full(side * side, -1)
    front = np.flatnonzero(near == nearest[pixel])
    winner[pixel[front]] = front  # one of those that are equally near, where triangles meet
    won = winner[winner >= 0]
    weights = np.stack([1 - weight_b[won] - weight_c[won], weight_b[won], weight_c[won]], axis=1)
    return pixel[won], shown[t[won]], weights


def _shade(normals: np.ndarray, free: np.ndarray, camera: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Light [P, 3] that reaches the viewer, linear; normals [P, 3] are in the camera's axes."""
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    key, fill = _unit(-0.5, 0.75, 0.65), _unit(0.8, 0.1, 0.5)
    sky = 0.5 + 0.5 * normals @ (camera @ np.array([0.0, 0.0, 1.0]))
    free = np.clip(free, 0, 1)[:, None]
    lit = np.clip(normals @ key, 0, 1)[:, None] * np.array([1.0, 0.97, 0.92]) * (0.4 + 0.6 * free)
    filled = np.clip(normals @ fill, 0, 1)[:, None] * np.array([0.75, 0.85, 1.0])
    ambient = (0.35 + 0.65 * sky)[:, None] * np.array([0.9, 0.95, 1.0]) * free
    albedo = color**2.2
    gloss = np.clip(normals @ _unit(-0.5, 0.75, 1.65), 0, 1)[:, None] ** 24
    return albedo * (0.85 * lit + 0.16 * filled + 0.38 * ambient) + 0.04 * gloss * free


def _unit(*direction: float) -> np.ndarray:
    return np.array(direction) / np.linalg.norm(direction)


def _check(elevation: float, size: int) -> float:
    if not -90 <= elevation <= 90:
        raise InputError(f"elevation={elevation} is out of range; it is -90 to 90 degrees")
    if not 8 <= size <= 4096:
        raise InputError(f"size={size} is out of range; a picture is 8 to 4096 pixels wide")
    return elevation
