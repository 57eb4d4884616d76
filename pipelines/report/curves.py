"""Curves as inline SVG, with ticks, and values under the pointer; the page gives the colours."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

Line = tuple[Sequence[float], Sequence[float]]
"""xs and ys of one length."""

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 66, 626, 12, 268
"""The plot's edges within the drawing."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """Maps values to positions from `start` to `end`, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def at(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values on it: 1, 2 or 5 times a power of ten apart; decades if logarithmic."""
        if self.log and self.high / self.low >= 10:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            step = math.ceil(len(decades) / 8)
            digits = (1, 2, 5) if len(decades) <= 3 else (1,)
            ticks = [digit * 10.0**decade for decade in decades[::step] for digit in digits]
        else:
            step = _round_step((self.high - self.low) / 5)
            ticks = [
                k * step
                for k in range(math.floor(self.low / step), math.ceil(self.high / step) + 1)
                if k > 0 or not self.log
            ]
        first, last = sorted((self.start, self.end))
        return [tick for tick in ticks if first - 0.01 <= self.at(tick) <= last + 0.01]


def draw(lines: Mapping[str, Line], title: str, x: str, y: str, *, log: bool = False, log_x: bool = False) -> str:
    """An <svg> of curves name -> (xs, ys) over axes labelled x and y, logarithmic if log_x, log.

    Values that cannot be shown (not finite, or not positive on a logarithmic axis) leave a gap in
    their curve. Long curves are thinned such that every peak stays. ValueError: xs and ys of
    different lengths.
    """
    runs = {name: _runs(zip(xs, ys, strict=True), log_x, log) for name, (xs, ys) in lines.items()}
    points = [point for parts in runs.values() for part in parts for point in part]
    body = (
        _plot(runs, points, x, y, log_x, log)
        if points
        else f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">no values to show</text>'
    )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_text(title)}">{body}</svg>'


def style(k: int) -> str:
    """The classes of curve k: six colours s0 to s5; the seventh curve begins again, dashed."""
    return f"s{k % 6} again" if k >= 6 else f"s{k}"


def number(value: float) -> str:
    """A number as people write it, to four digits: 0.25, −12000, 3×10⁻⁷."""
    if value and not 1e-4 < abs(value) < 1e6:
        mantissa, exponent = f"{value:.3e}".split("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        mantissa = mantissa.rstrip("0").rstrip(".").replace("-", "−")
        return {"1": "", "−1": "−"}.get(mantissa, mantissa + "×") + f"10{power}"
    decimals = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def _plot(
    runs: Mapping[str, list[list[Point]]],
    points: list[Point],
    x: str,
    y: str,
    log_x: bool,
    log_y: bool,
) -> str:
    across = _axis([point[0] for point in points], LEFT, RIGHT, log_x, margin=0.0)
    up = _axis([point[1] for point in points], BOTTOM, TOP, log_y, margin=0.05)
    parts = [_grid(across, up)]
    for k, (name, pieces) in enumerate(runs.items()):
        parts += [_curve(name, piece, style(k), across, up) for piece in pieces]
    middle = (TOP + BOTTOM) / 2
    parts.append(
        f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{_text(x)}</text>'
        f'<text x="14" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 14 {middle})">{_text(y)}</text>'
    )
    return "".join(parts)


def _grid(across: Axis, up: Axis) -> str:
    marks = [f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>']
    for tick in up.ticks():
        at = up.at(tick)
        marks.append(
            f'<path class="grid" d="M{LEFT} {at:.1f}H{RIGHT}"/>'
            f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{number(tick)}</text>'
        )
    for tick in across.ticks():
        at = across.at(tick)
        marks.append(
            f'<path class="axis" d="M{at:.1f} {BOTTOM}v5"/>'
            f'<text x="{at:.1f}" y="{BOTTOM + 19}" text-anchor="middle">{number(tick)}</text>'
        )
    return "".join(reversed(marks))


def _curve(name: str, points: list[Point], colour: str, across: Axis, up: Axis) -> str:
    """One unbroken piece of a curve; points to hover over say their values."""
    kept = _thin(points, 800)
    path = "L".join(f"{across.at(a):.1f} {up.at(b):.1f}" for a, b in kept)
    step = math.ceil(len(kept) / 120)
    spots = "".join(
        f'<circle class="point" cx="{across.at(a):.1f}" cy="{up.at(b):.1f}" r="5">'
        f"<title>{_text(name)}: {number(b)} at {number(a)}</title></circle>"
        for a, b in kept[::step]
    )
    start = kept[0]
    dot = (
        f'<circle class="dot" cx="{across.at(start[0]):.1f}" cy="{up.at(start[1]):.1f}" r="2.5"/>'
        if len(kept) == 1
        else ""
    )
    return f'<g class="{colour}"><path class="curve" d="M{path}"/>{dot}{spots}</g>'


def _runs(points: Iterable[Point], log_x: bool, log_y: bool) -> list[list[Point]]:
    """Split a curve at the values that cannot be shown."""
    runs: list[list[Point]] = [[]]
    for a, b in points:
        if math.isfinite(a) and math.isfinite(b) and (a > 0 or not log_x) and (b > 0 or not log_y):
            runs[-1].append((float(a), float(b)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _thin(points: list[Point], most: int) -> list[Point]:
    """At most about `most` points: the lowest and highest of every bucket, in their order."""
    if len(points) <= most:
        return points
    size = math.ceil(2 * len(points) / most)
    kept = []
    for first in range(0, len(points), size):
        bucket = range(first, min(first + size, len(points)))
        extremes = {f(bucket, key=lambda k: points[k][1]) for f in (min, max)}
        kept += [points[k] for k in sorted(extremes)]
    return kept


def _axis(values: list[float], start: float, end: float, log: bool, margin: float) -> Axis:
    low, high = min(values), max(values)
    if log:
        factor = (high / low) ** margin if high > low else 2.0
        return Axis(low / factor, high * factor, start, end, log)
    pad = margin * (high - low) if high > low else abs(low) / 2 or 1.0
    return Axis(low - pad, high + pad, start, end, log)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * 0.999)


def _text(text: str) -> str:
    """Escaped, and without the control characters that no XML may hold."""
    return escape("".join(c if c.isprintable() else " " for c in text))
