"""Video made from a seed: moving, textured, coloured clips that need no file.

Every kind is a scene: its palette, texture, speeds and directions are drawn once from the seed, and
it then paints the picture of any moment. So a shorter clip is the beginning of a longer one.

Lengths are in scene pixels, 64 along the shorter side of the picture, and times in frames.
"""

from math import cos, pi, sin

import torch
import torch.nn.functional as F
from torch import Tensor

from data.errors import InputError
from data.frames import check_memory, parse_size
from data.landscape import Scene, between, blend, journey

OVERSAMPLING = 2  # a scene paints with so many pixels a side of each final one: no jagged glints
SIDE = 64.0


def video(kind: str, *, frames: int, size: int | tuple[int, int], seed: int) -> Tensor:
    """A clip [3, T, H, W] in [-1, 1] of "journey", "waves", "flames" or "cloth" with T = `frames`.

    `size` in pixels is the side of a square or (height, width). The same arguments give the same
    clip. InputError for another kind, fewer than 2 frames, or a size out of range.
    """
    scenes = {"journey": journey, "waves": _waves, "flames": _flames, "cloth": _cloth}
    if kind not in scenes:
        raise InputError(f"procedural video {kind!r} does not exist; take {', '.join(scenes)}")
    if frames < 2:
        raise InputError(f"frames={frames} is too few; a video needs at least 2")
    height, width = parse_size(size)
    check_memory(frames, height, width)
    pixel = SIDE / min(height, width) / OVERSAMPLING
    y = (torch.arange(height * OVERSAMPLING) + 0.5) * pixel
    x = (torch.arange(width * OVERSAMPLING) + 0.5) * pixel
    scene = scenes[kind](y, x, torch.Generator().manual_seed(seed))
    clip = torch.empty(3, frames, height, width)
    for time in range(frames):
        clip[:, time] = F.avg_pool2d(scene(float(time)), OVERSAMPLING)
    return clip.mul_(2).sub_(1).clamp_(-1, 1)


def _waves(y: Tensor, x: Tensor, rng: torch.Generator) -> Scene:
    """Water seen at a slant: many plane waves under a sky, with the glitter of the sun.

    In deep water omega = sqrt(g k): long waves run ahead of short ones.
    """
    num = 64
    longest = between(rng, 20, 36)
    wavelength = longest * (5 / longest) ** torch.rand(num, generator=rng)
    k = 2 * pi / wavelength
    spread = between(rng, 0.3, 0.7)
    heading = between(rng, 0, 2 * pi) + spread * torch.randn(num, generator=rng)
    kx, ky = k * heading.cos(), k * heading.sin()
    omega = (between(rng, 0.15, 0.45) * k).sqrt()
    phase = 2 * pi * torch.rand(num, generator=rng)
    slope = (0.3 + torch.rand(num, generator=rng)) * (wavelength / longest) ** 0.45
    slope = slope * between(rng, 0.12, 0.17) / slope.square().sum().div(2).sqrt()
    weights = torch.stack([slope / k + 0j, 1j * slope * heading.cos(), 1j * slope * heading.sin()])
    # A plane wave is a product of a row and a column: the surface is a small matrix product.
    slant = between(rng, 1.2, 1.7)  # the picture's height holds so much more water than its width
    column = torch.polar(torch.ones(()), slant * y[:, None] * ky)  # [H, num]
    row = torch.polar(torch.ones(()), kx[:, None] * x)  # [num, W]

    hue = between(rng, 0.44, 0.64)
    deep = _hsv(hue + between(rng, -0.05, 0.05), between(rng, 0.6, 0.9), between(rng, 0.15, 0.3))
    crest = _hsv(hue - between(rng, 0, 0.1), between(rng, 0.4, 0.7), between(rng, 0.45, 0.7))
    zenith = _hsv(between(rng, 0.52, 0.64), between(rng, 0.2, 0.6), between(rng, 0.6, 0.9))
    haze = _hsv(between(rng, 0.5, 0.62), between(rng, 0.05, 0.3), 1.0)
    sunlight = _hsv(between(rng, 0.02, 0.15), between(rng, 0.05, 0.4), 1.0)
    view = _unit(torch.tensor([0.0, 1.6, 1.0]))
    side = [-1, 1][_choice(rng, 2)]  # beside the mirrored view, or glitter would drown the water
    sun = _unit(torch.tensor([side * between(rng, 0.3, 0.6), between(rng, -1.1, -0.8), 0.8]))
    glitter = between(rng, 80, 160)

    def paint(time: float) -> Tensor:
        moment = weights * torch.polar(torch.ones(()), phase - omega * time)  # [3, num]
        height, slope_x, slope_y = ((column * moment[:, None]) @ row).real
        height = height / (slope / k).square().sum().div(2).sqrt()
        sharper = (0.35 * height).exp()  # peaked crests, flat troughs
        normal = _unit(torch.stack([-slope_x * sharper, -slope_y * sharper, torch.ones_like(height)]))
        facing = _dot(normal, view).clamp(0, 1)
        reflected = 2 * facing * normal - view[:, None, None]
        fresnel = 0.04 + 0.96 * (1 - facing) ** 5
        water = blend(deep, crest, torch.sigmoid(0.9 * height - 0.6 + 6 * (facing - 0.53)))
        sky = blend(haze, zenith, reflected[2].clamp(0, 1).sqrt())
        glint = _dot(reflected, sun).clamp(0, 1) ** glitter
        return water * (1 - fresnel) + sky * fresnel * 1.3 + 0.8 * glint * sunlight[:, None, None]

    return paint


def _flames(y: Tensor, x: Tensor, rng: torch.Generator) -> Scene:
    """A wall of fire: noise of many scales that rises, sways and cools on its way up."""
    noise = torch.rand(32, 32, 32, generator=rng) * 2 - 1
    bed = float(y[-1])
    up = ((bed - y) / bed)[:, None]  # 0 at the bottom, 1 at the top
    rise = between(rng, 1.1, 2.2)
    wind = between(rng, -0.35, 0.35)
    reach = between(rng, 0.45, 0.75)
    width = between(rng, 9, 15)
    hue = [0.6, 0.04, 0.03, 0.36, 0.035, 0.05, 0.8, 0.045][_choice(rng, 8)] + between(rng, -0.015, 0.015)
    stops = torch.tensor([0.0, 0.22, 0.48, 0.74, 1.0])
    turn = between(rng, 0.06, 0.1)
    ramp = torch.stack(
        [
            _hsv(hue - 0.03, 0.9, 0.0),
            _hsv(hue - 0.03, 0.97, 0.42),
            _hsv(hue, 0.93, 0.95),
            _hsv(hue + turn, 0.75, 1.0),
            _hsv(hue + turn + 0.03, 0.25, 1.0),
        ]
    )
    wall = 0.5 + 0.8 * _fractal_noise(noise, x / 11, y[:, None] / 11, torch.full((1, 1), 7.7), 5)
    wall = wall.clamp(0.05, 1.2) * _hsv(hue + 0.01, 0.55, 1.0)[:, None, None]

    def paint(time: float) -> Tensor:
        rising = y[:, None] + rise * time
        slow = torch.full((1, 1), 0.035 * time)
        leaning = x - wind * (bed - y[:, None])
        sway = _fractal_noise(noise, leaning / 17 + 9, rising / 26, slow + 3, 2)
        twisted = leaning + 9 * up.sqrt() * sway
        tongues = _fractal_noise(noise, twisted / width, rising / (1.9 * width), 2 * slow, 4)
        bank = _fractal_noise(noise, x / 24, torch.full((1, 1), 0.5), 1.6 * slow + 5, 2)
        cooling = up / (reach * (1 + 0.45 * bank))
        heat = 0.92 - 0.72 * cooling + tongues * (0.3 + 0.4 * cooling.clamp(max=1))
        fire = _palette(ramp, stops, heat.clamp(0, 1))
        glow = 0.5 * (-1.7 * up).exp() * (1 + 0.5 * bank)
        return fire + wall * glow * (1 - heat.clamp(0, 1))

    return paint


def _cloth(y: Tensor, x: Tensor, rng: torch.Generator) -> Scene:
    """A woven fabric in the wind: folds travel along it, carry its pattern and shade it."""
    pixel = float(x[1] - x[0])
    margin = 24.0
    v = torch.arange(-margin, float(y[-1]) + margin, pixel)[:, None]
    u = torch.arange(-margin, float(x[-1]) + margin, pixel)
    fabric = _fabric(v, u, rng)[None]  # [1, 3, len(v), len(u)]
    num = 10
    wavelength = 10 * 5 ** torch.linspace(0, 1, num)
    k = 2 * pi / wavelength
    heading = between(rng, 0, 2 * pi) + 0.5 * torch.randn(num, generator=rng)
    along = heading.cos()[:, None, None] * x + heading.sin()[:, None, None] * y[:, None]
    speed = between(rng, 0.9, 1.9) * (0.7 + 0.6 * torch.rand(num, generator=rng))
    phase = 2 * pi * torch.rand(num, generator=rng)
    slope = (0.4 + torch.rand(num, generator=rng)) * wavelength**0.35
    height = slope * between(rng, 0.42, 0.6) / slope.square().sum().div(2).sqrt() / k
    slant_x, slant_y = between(rng, -0.7, 0.7), between(rng, -0.7, 0.7)
    azimuth, period = between(rng, 0, 2 * pi), between(rng, 28, 50)
    light = _unit(torch.tensor([0.9 * cos(azimuth), 0.9 * sin(azimuth), 1.0]))
    gloss = _unit(light + torch.tensor([0.0, 0.0, 1.0]))
    sheen = between(rng, 0.05, 0.3)
    bend = 6 * (2 * pi * (y[:, None] * cos(azimuth) - x * sin(azimuth)) / 70).sin()

    def paint(time: float) -> Tensor:
        angle = k[:, None, None] * (along + bend - (speed * time)[:, None, None])
        angle = angle + phase[:, None, None]
        folds = (height[:, None, None] * (angle + 0.5 * angle.cos()).sin()).sum(0)  # [H, W]
        slope_y, slope_x = torch.gradient(folds, spacing=pixel)
        normal = _unit(torch.stack([-slope_x, -slope_y, torch.ones_like(folds)]))
        swing = 2 * pi * time / period
        place_x = x + slant_x * folds + 3 * sin(swing + azimuth)
        place_y = y[:, None] + slant_y * folds + 2 * sin(1.3 * swing)
        places = torch.stack([(place_x - u[0]) / (u[-1] - u[0]), (place_y - v[0]) / (v[-1] - v[0])], -1)
        cloth = F.grid_sample(fabric, 2 * places[None] - 1, "bilinear", "reflection", True)[0]
        diffuse = _dot(normal, light).clamp(0, 1) / light[2]
        valleys = torch.sigmoid(0.5 * folds)
        return cloth * (0.14 + 0.68 * diffuse + 0.16 * valleys) + sheen * _dot(normal, gloss) ** 24

    return paint


def _fabric(v: Tensor, u: Tensor, rng: torch.Generator) -> Tensor:
    """The flat fabric [3, len(v), len(u)]: coloured stripes or tartan, twill, threads, wear."""
    hue = between(rng, 0, 1)
    other = hue + between(rng, 0.2, 0.8)
    colours = torch.stack(
        [
            _hsv(hue, between(rng, 0.6, 0.95), between(rng, 0.5, 0.85)),
            _hsv(other, between(rng, 0.3, 0.9), between(rng, 0.25, 0.9)),
            _hsv(between(rng, 0.05, 0.16), between(rng, 0.03, 0.3), between(rng, 0.8, 0.95)),
        ]
    )
    turn = between(rng, -0.6, 0.6)
    warp, weft = u * cos(turn) + v * sin(turn), v * cos(turn) - u * sin(turn)
    broad = between(rng, 5, 9)
    pattern = _stripes(warp, colours, broad, rng)
    if _choice(rng, 3):  # two of three fabrics are tartans, the others striped
        pattern = (pattern + _stripes(weft, colours, broad, rng)) / 2
    twill = (2 * pi * (warp + weft) / between(rng, 2.6, 3.6)).sin()
    threads = torch.randn(2, 256, generator=rng)
    yarn = threads[0, (warp / 1.4).long() % 256] + threads[1, (weft / 1.4).long() % 256]
    wear = _cloud(len(v), len(u), rng)
    return pattern * (1 + 0.07 * twill + 0.05 * yarn + 0.1 * wear)


def _stripes(place: Tensor, colours: Tensor, broad: float, rng: torch.Generator) -> Tensor:
    """Bands [3, H, W] of the colours along `place` [H, W], about `broad` wide, hard edged."""
    num = 128
    widths = broad * (0.25 + 1.5 * torch.rand(num, generator=rng))
    edges = widths.cumsum(0) + place.min()
    order = torch.randint(1, len(colours), (num + 1,), generator=rng).cumsum(0) % len(colours)
    return colours[order[torch.bucketize(place, edges)]].movedim(-1, 0)


def _cloud(height: int, width: int, rng: torch.Generator) -> Tensor:
    """Noise [H, W] with the spectrum of photographs (amplitude 1/f), mean 0 and deviation 1."""
    spectrum = torch.fft.rfft2(torch.randn(height, width, generator=rng))
    f = torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width).square()
    f[0, 0] = torch.inf
    cloud = torch.fft.irfft2(spectrum / f.sqrt(), s=(height, width))
    return cloud / cloud.std()


def _fractal_noise(table: Tensor, x: Tensor, y: Tensor, z: Tensor, octaves: int) -> Tensor:
    """Value noise of several octaves, roughly in [-1, 1]; x, y, z broadcast together."""
    total, gain = torch.zeros(()), 1.0
    for octave in range(octaves):
        total = total + gain * _value_noise(table, x + 5.3 * octave, y + 9.1 * octave, z)
        x, y, z, gain = 2.03 * x, 2.03 * y, 1.6 * z, gain * 0.55
    return total


def _value_noise(table: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The random values of the periodic `table` [n, n, n], smoothly interpolated (quintic)."""
    corners, blends = [], []
    for place in (x, y, z):
        low = place.floor()
        part = place - low
        blends.append(part**3 * (part * (part * 6 - 15) + 10))
        corners.append((low.long() % len(table), (low.long() + 1) % len(table)))
    (x0, x1), (y0, y1), (z0, z1) = corners
    planes = []
    for depth in (z0, z1):
        upper = torch.lerp(table[depth, y0, x0], table[depth, y0, x1], blends[0])
        lower = torch.lerp(table[depth, y1, x0], table[depth, y1, x1], blends[0])
        planes.append(torch.lerp(upper, lower, blends[1]))
    return torch.lerp(planes[0], planes[1], blends[2])


def _palette(colours: Tensor, stops: Tensor, value: Tensor) -> Tensor:
    """Colours [3, H, W] of values [H, W] along the ramp `colours` [n, 3] at the rising `stops`."""
    index = torch.bucketize(value, stops[1:-1])
    part = (value - stops[index]) / (stops[index + 1] - stops[index])
    return torch.lerp(colours[index], colours[index + 1], part[..., None]).movedim(-1, 0)


def _hsv(hue: float, saturation: float, value: float) -> Tensor:
    """RGB [3] in [0, 1]; the hue counts turns and wraps."""
    wheel = (hue * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6
    pure = ((wheel - 3).abs() - 1).clamp(0, 1)
    return value * (1 - saturation * (1 - pure))


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.square().sum(0).sqrt()


def _dot(field: Tensor, vector: Tensor) -> Tensor:
    """The product of a vector field [3, H, W] with a vector [3]: [H, W]."""
    return torch.einsum("chw,c->hw", field, vector)


def _choice(rng: torch.Generator, num: int) -> int:
    return int(torch.randint(num, (), generator=rng))
