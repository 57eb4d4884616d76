"""The report of a run: one HTML file that opens offline, on paper and on a phone.

Pictures and players are embedded, curves are drawn as SVG, and a content security policy forbids
every connection. Whatever is passed as text is escaped.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Literal

import numpy as np

from data import images
from data.files import publish
from pipelines.report import curves as chart

Cell = str | float | None


class Report:
    """Collects sections in the order of the calls; `write` makes the file.

    report = Report("Video recovery")
    report.text("Half of the pixels were hidden.")
    report.table(["method", "PSNR"], [["recovery", 31.2], ["fill", 29.8]], best={"PSNR": "max"})
    report.write("report.html")
    """

    def __init__(self, title: str):
        self.title = title
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        """Start a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def text(self, paragraph: str) -> None:
        self._parts.append(f"<p>{escape(paragraph)}</p>")

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        best: Mapping[str, Literal["min", "max"]] | None = None,
    ) -> None:
        """A table; numbers of a column share their decimals (four digits for the largest).

        None is a dash. best: column -> "min" or "max", the value of that column to set in bold.
        Rows shorter or longer than the header, or an unknown column in `best`: ValueError.
        """
        best = best or {}
        if not best.keys() <= set(header):
            raise ValueError(f"no column for best={sorted(best)} in {list(header)}")
        columns = [_column(cells, best.get(name)) for name, cells in _columns(header, rows)]
        head = "".join(
            f'<th scope="col"{_right(numeric)}>{escape(name)}</th>'
            for name, (_, numeric) in zip(header, columns, strict=True)
        )
        body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in zip(*(cells for cells, _ in columns), strict=True))
        self._parts.append(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def image(self, picture: np.ndarray | bytes, caption: str) -> None:
        """A captioned picture, uint8 [H, W, 3] or the bytes of a PNG; a tiny one is enlarged."""
        png = picture if isinstance(picture, bytes) else images.encode_png(picture)
        width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # PNG's IHDR
        scale = math.ceil(192 / max(width, height))
        image = (
            f'<img src="{_embed("image/png", png)}" alt="{escape(caption)}" '
            f'width="{scale * width}" height="{scale * height}" '
            f'style="--width:{scale * width}px"{" class=tiny" if scale > 1 else ""}>'
        )
        self._parts.append(_figure(image, caption, "picture"))

    def video(self, clip: Path | str | bytes, caption: str) -> None:
        """A captioned, looping player of an mp4 file, by path or as bytes; small ones line up."""
        mp4 = clip if isinstance(clip, bytes) else Path(clip).read_bytes()
        player = (
            f'<video controls loop muted autoplay playsinline aria-label="{escape(caption)}" '
            f'src="{_embed("video/mp4", mp4)}"></video>'
        )
        self._parts.append(_figure(player, caption, "player"))

    def shape(self, vertices: np.ndarray, faces: np.ndarray, caption: str) -> None:
        """A captioned mesh to turn with the mouse: float vertices [V, 3], z up, and int faces [F, 3], outward."""
        low, high = vertices.min(0), vertices.max(0)
        placed = ((vertices - (low + high) / 2) / max(float((high - low).max()), 1e-9)).astype("<f4")
        viewer = (
            f'<canvas class="shape" width="640" height="640" tabindex="0" role="img" aria-label="{escape(caption)}" '
            f'data-vertices="{base64.b64encode(placed.tobytes()).decode()}" '
            f'data-faces="{base64.b64encode(faces.astype("<u4").tobytes()).decode()}"></canvas>'
        )
        self._parts.append(_figure(viewer, caption, "player"))

    def preformatted(self, text: str) -> None:
        """Text whose columns line up, shown as it is."""
        self._parts.append(f"<pre>{escape(text)}</pre>")

    def curves(
        self,
        lines: Mapping[str, chart.Line],
        title: str,
        x: str,
        y: str,
        log: bool = False,
        log_x: bool = False,
    ) -> None:
        """Curves name -> (xs, ys) over shared axes labelled x and y; see `chart.draw`."""
        legend = "".join(
            f'<span><i class="swatch {chart.style(k)}"></i>{escape(name)}</span>' for k, name in enumerate(lines)
        )
        drawing = chart.draw(lines, title, x, y, log=log, log_x=log_x)
        self._parts.append(
            f'<figure class="chart"><figcaption><b>{escape(title)}</b></figcaption>'
            f'<div class="legend">{legend}</div><div class="scroll">{drawing}</div></figure>'
        )

    def details(self, summary: str, preformatted: str) -> None:
        """A line that unfolds to text shown as it is: a configuration, a log."""
        self._parts.append(f"<details><summary>{escape(summary)}</summary><pre>{escape(preformatted)}</pre></details>")

    def html(self) -> str:
        """The whole document."""
        return _PAGE.format(
            title=escape(self.title), style=_STYLE, body="\n".join(self._parts), script=_SCRIPT + _VIEWER
        )

    def write(self, path: str | Path) -> None:
        """Write the file, whole or not at all. OSError where the disk refuses."""
        path = Path(path)
        # A file name that is no valid unicode may be in the text: it must not cost the report.
        document = self.html().encode("utf-8", "replace")
        publish(path, document)


def _columns(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[tuple[str, list[Cell]]]:
    if any(len(row) != len(header) for row in rows):
        raise ValueError(f"expected {len(header)} cells in every row, as in {list(header)}")
    return [(name, [row[k] for row in rows]) for k, name in enumerate(header)]


def _column(cells: list[Cell], best: Literal["min", "max"] | None) -> tuple[list[str], bool]:
    """The <td> of one column, and whether it is one of numbers (set flush right)."""
    numbers = [cell for cell in cells if isinstance(cell, int | float) and math.isfinite(cell)]
    numeric = bool(numbers) or all(cell is None for cell in cells)
    largest = max((abs(number) for number in numbers), default=0)
    whole = all(float(number).is_integer() for number in numbers)
    decimals = 0 if whole or not largest else min(6, max(0, 3 - math.floor(math.log10(largest))))
    texts = [_cell(cell, decimals) for cell in cells]
    # Compared as shown: two that read the same are equally good.
    shown = [round(number, decimals) for number in numbers]
    winner = (max if best == "max" else min)(shown) if best and shown else None
    tagged = []
    for cell, text in zip(cells, texts, strict=True):
        won = winner is not None and isinstance(cell, int | float) and round(cell, decimals) == winner
        tagged.append(f"<td{_right(numeric)}>{f'<b>{text}</b>' if won else text}</td>")
    return tagged, numeric


def _cell(cell: Cell, decimals: int) -> str:
    if cell is None:
        return "–"
    return escape(cell) if isinstance(cell, str) else f"{cell:.{decimals}f}".replace("-", "−")


def _right(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _embed(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _figure(content: str, caption: str, kind: str) -> str:
    return (
        f'<figure class="{kind}"><div class="scroll">{content}</div><figcaption>{escape(caption)}</figcaption></figure>'
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header><h1>{title}</h1><button id="players" hidden>Pause all</button></header>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""

_STYLE = """
:root { --page: #fff; --ink: #1c1e22; --soft: #646a73; --line: #e1e3e7; --block: #f5f6f7;
  --s0: #2563c9; --s1: #d0542c; --s2: #23875c; --s3: #8a4fb5; --s4: #b07c00; --s5: #5c6570; }
@media (prefers-color-scheme: dark) { :root { --page: #15171b; --ink: #e2e4e8; --soft: #979da7;
  --line: #31353c; --block: #1e2126; --s0: #74a7ff; --s1: #ff9066; --s2: #5bc999; --s3: #c79bec;
  --s4: #e5ba4d; --s5: #a9b1bc; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
header { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: baseline;
  justify-content: space-between; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; overflow-wrap: anywhere;
  border-top: 1px solid var(--line); }
p { max-width: 44rem; margin: .75rem 0; white-space: pre-line; overflow-wrap: anywhere; }
button { font: inherit; font-size: .875rem; color: var(--soft); background: none; cursor: pointer;
  border: 1px solid var(--line); border-radius: 4px; padding: .2rem .7rem; }
button:hover, button:focus-visible { color: var(--ink); border-color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .9375rem;
  font-variant-numeric: tabular-nums; }
th { font-weight: 500; color: var(--soft); text-align: left; vertical-align: bottom; }
th, td { padding: .35rem 1.5rem .35rem 0; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: .25rem; }
tbody tr:hover { background: var(--block); }
.number { text-align: right; }
figure { margin: 1.25rem 0; break-inside: avoid; }
figcaption { font-size: .875rem; color: var(--soft); margin-top: .4rem; overflow-wrap: anywhere; }
.picture img { display: block; max-width: 100%; height: auto; min-width: min(var(--width), 40rem); }
.tiny { image-rendering: pixelated; }
.player { display: inline-block; max-width: 100%; margin-right: 1rem; vertical-align: top; }
.player video { display: block; max-width: 100%; min-width: 12rem; background: var(--block); }
.player figcaption { max-width: 44rem; }
.shape { display: block; width: 20rem; max-width: 100%; height: auto; cursor: grab; touch-action: none; }
.chart { max-width: 44rem; }
.chart figcaption b { color: var(--ink); font-weight: 600; }
.chart svg { display: block; width: 100%; min-width: 30rem; height: auto; font-size: 12px; }
.chart text { fill: var(--soft); }
.grid { stroke: var(--line); }
.axis { stroke: var(--soft); fill: none; }
.curve { fill: none; stroke-width: 1.75; stroke-linejoin: round; stroke-linecap: round; }
.point { opacity: 0; stroke-width: 0; pointer-events: all; }
.point:hover { opacity: 1; }
.s0 { --c: var(--s0); } .s1 { --c: var(--s1); } .s2 { --c: var(--s2); } .s3 { --c: var(--s3); }
.s4 { --c: var(--s4); } .s5 { --c: var(--s5); }
.again .curve { stroke-dasharray: 5 5; }
.curve { stroke: var(--c); } .point { fill: var(--c); } .dot { fill: var(--c); }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; font-size: .875rem; color: var(--soft);
  margin: .25rem 0 .4rem; }
.swatch { display: inline-block; width: 1.1rem; height: 3px; border-radius: 2px;
  background: var(--c); vertical-align: .25em; margin-right: .4rem; print-color-adjust: exact; }
.swatch.again { background: repeating-linear-gradient(90deg, var(--c) 0 4px, transparent 4px 7px); }
details { margin: 1rem 0; border-top: 1px solid var(--line); padding-top: .6rem; }
summary { cursor: pointer; color: var(--soft); overflow-wrap: anywhere; }
pre { overflow-x: auto; background: var(--block); padding: .9rem 1rem; border-radius: 4px;
  font: .8125rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
@media (max-width: 40rem) { main { padding: 1.25rem 1rem 3rem; } h1 { font-size: 1.4rem; }
  .player { margin-right: .5rem; } }
@media print { button { display: none; } main { max-width: none; padding: 0; }
  body { font-size: 11pt; } h2 { break-after: avoid; } .scroll { overflow: visible; }
  pre { white-space: pre-wrap; } .picture img, .chart svg { min-width: 0; } }
"""

_SCRIPT = """
const players = [...document.querySelectorAll("video")];
const button = document.getElementById("players");
let playing = true;
function set(play) {
  playing = play;
  button.textContent = play ? "Pause all" : "Play all";
  players.forEach(v => play ? v.play().catch(() => {}) : v.pause());
}
button.hidden = players.length === 0;
button.onclick = () => set(!playing);
if (players.length && matchMedia("(prefers-reduced-motion: reduce)").matches) {
  players.forEach(v => v.autoplay = false);
  set(false);
}
"""

_VIEWER = """
for (const canvas of document.querySelectorAll("canvas.shape")) {
  const bytes = name => Uint8Array.from(atob(canvas.dataset[name]), c => c.charCodeAt(0)).buffer;
  const points = new Float32Array(bytes("vertices")), faces = new Uint32Array(bytes("faces"));
  const count = faces.length / 3, pen = canvas.getContext("2d"), side = canvas.width;
  const turned = new Float32Array(points.length), depth = new Float32Array(count);
  const order = Uint32Array.from({length: count}, (_, k) => k);
  let azimuth = 0.6, elevation = 0.4, last = null, spinning = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  function draw() {
    const ca = Math.cos(azimuth), sa = Math.sin(azimuth), ce = Math.cos(elevation), se = Math.sin(elevation);
    for (let k = 0; k < points.length; k += 3) {
      const x = ca * points[k] + sa * points[k + 1], y = ca * points[k + 1] - sa * points[k], z = points[k + 2];
      turned[k] = x; turned[k + 1] = ce * z + se * y; turned[k + 2] = ce * y - se * z;  // right, up, away
    }
    for (let f = 0; f < count; f++)
      depth[f] = turned[3 * faces[3 * f] + 2] + turned[3 * faces[3 * f + 1] + 2] + turned[3 * faces[3 * f + 2] + 2];
    order.sort((a, b) => depth[b] - depth[a]);
    pen.clearRect(0, 0, side, side);
    for (const f of order) {
      const [a, b, c] = [3 * faces[3 * f], 3 * faces[3 * f + 1], 3 * faces[3 * f + 2]];
      const ux = turned[b] - turned[a], uy = turned[b + 1] - turned[a + 1], uz = turned[b + 2] - turned[a + 2];
      const vx = turned[c] - turned[a], vy = turned[c + 1] - turned[a + 1], vz = turned[c + 2] - turned[a + 2];
      const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
      if (nz <= 0) continue;  // away is third: the axes are left-handed, and so is this normal
      const light = Math.max(0, (0.4 * nx - 0.7 * ny + 0.6 * nz) / Math.hypot(nx, ny, nz));
      const shade = 0.35 + 0.65 * light;
      pen.fillStyle = pen.strokeStyle = `rgb(${219 * shade}, ${158 * shade}, ${107 * shade})`;
      pen.beginPath();
      for (const p of [a, b, c]) pen.lineTo(side * (0.5 + 0.62 * turned[p]), side * (0.5 - 0.62 * turned[p + 1]));
      pen.closePath(); pen.fill(); pen.stroke();
    }
  }
  function spin() { if (spinning) { azimuth += 0.01; draw(); requestAnimationFrame(spin); } }
  function turn(dx, dy) {
    spinning = false; azimuth -= dx; elevation = Math.max(-1.5, Math.min(1.5, elevation + dy)); draw();
  }
  canvas.onpointerdown = event => { last = event; canvas.setPointerCapture(event.pointerId); };
  canvas.onpointermove = event => {
    if (last) { turn((event.clientX - last.clientX) / 100, (event.clientY - last.clientY) / 100); last = event; }
  };
  canvas.onpointerup = canvas.onpointercancel = () => { last = null; };
  canvas.onkeydown = event => {
    const move = {ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1]}[event.key];
    if (move) { turn(...move); event.preventDefault(); }
  };
  draw(); spin();
}
"""
