"""The report of a run: one HTML file that opens offline, on paper and on a phone.

Pictures and players are embedded, curves are drawn as SVG, and a content security policy forbids
every connection. `template.html` is the page; it escapes whatever is passed as text.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from data import images
from data.files import publish
from pipelines.report.curves import Line, draw, style

Cell: TypeAlias = "str | float | None"
Best: TypeAlias = Literal["min", "max"]

TEMPLATE = Path(__file__).with_name("template.html")
TINY = 192  # pixels: a picture whose larger side is smaller is enlarged


class Report:
    """Collects sections in the order of the calls; `write` makes the file.

    report = Report("Video recovery")
    report.text("Half of the pixels were hidden.")
    report.table(["method", "PSNR"], [["recovery", 31.2], ["mean", 29.8]], best={"PSNR": "max"})
    report.write("report.html")
    """

    def __init__(self, title: str):
        self.title = title
        self._parts: list[dict[str, Any]] = []

    def heading(self, text: str) -> None:
        """Start a section."""
        self._add("heading", text=text)

    def text(self, paragraph: str) -> None:
        self._add("text", text=paragraph)

    def preformatted(self, text: str) -> None:
        """Text whose columns line up, shown as it is."""
        self._add("preformatted", text=text)

    def details(self, summary: str, preformatted: str) -> None:
        """A line that unfolds to text shown as it is: a configuration, a log."""
        self._add("details", summary=summary, text=preformatted)

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[Cell]], best: Mapping[str, Best] | None = None
    ) -> None:
        """A table; numbers of a column share their decimals (four digits for the largest).

        None is a dash. best: column -> "min" or "max", the value of that column to set in bold.
        Rows shorter or longer than the header, or an unknown column in `best`: ValueError.
        """
        best = best or {}
        if not best.keys() <= set(header):
            raise ValueError(f"no column for best={sorted(best)} in {list(header)}")
        if any(len(row) != len(header) for row in rows):
            raise ValueError(f"expected {len(header)} cells in every row, as in {list(header)}")
        columns = [_column([row[k] for row in rows], best.get(name)) for k, name in enumerate(header)]
        heads = [
            {"name": name, "numeric": all(cell.numeric for cell in column)}
            for name, column in zip(header, columns, strict=True)
        ]
        self._add("table", columns=heads, rows=list(zip(*columns, strict=True)))

    def image(self, picture: np.ndarray | bytes, caption: str) -> None:
        """A captioned picture, uint8 [H, W, 3] or the bytes of a PNG; a tiny one is enlarged."""
        png = picture if isinstance(picture, bytes) else images.encode_png(picture)
        width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # PNG's IHDR
        scale = math.ceil(TINY / max(width, height))
        self._add(
            "image", caption=caption, source=_embed("image/png", png), width=scale * width, height=scale * height,
            tiny=scale > 1,
        )  # fmt: skip

    def video(self, clip: Path | str | bytes, caption: str) -> None:
        """A captioned, looping player of an mp4 file, by path or as bytes; small ones line up."""
        mp4 = clip if isinstance(clip, bytes) else Path(clip).read_bytes()
        self._add("video", caption=caption, source=_embed("video/mp4", mp4))

    def shape(self, vertices: np.ndarray, faces: np.ndarray, caption: str) -> None:
        """A captioned mesh to turn with the mouse: float vertices [V, 3], z up, and int faces [F, 3], outward."""
        low, high = vertices.min(0), vertices.max(0)
        placed = ((vertices - (low + high) / 2) / max(float((high - low).max()), 1e-9)).astype("<f4")
        self._add(
            "shape", caption=caption, vertices=_base64(placed.tobytes()), faces=_base64(faces.astype("<u4").tobytes())
        )

    def curves(
        self, lines: Mapping[str, Line], title: str, x: str, y: str, log: bool = False, log_x: bool = False
    ) -> None:
        """Curves name -> (xs, ys) over shared axes labelled x and y; see `curves.draw`."""
        legend = [{"name": name, "style": style(k)} for k, name in enumerate(lines)]
        drawing = draw(lines, title, x, y, log=log, log_x=log_x)
        self._add("curves", title=title, legend=legend, drawing=drawing)

    def html(self) -> str:
        """The whole document."""
        from jinja2 import Environment, StrictUndefined

        page = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
        return page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(title=self.title, parts=self._parts)

    def write(self, path: str | Path) -> None:
        """Write the file, whole or not at all. OSError where the disk refuses."""
        # A file name that is no valid unicode may be in the text: it must not cost the report.
        publish(Path(path), self.html().encode("utf-8", "replace"))

    def _add(self, kind: str, **values: Any) -> None:
        self._parts.append({"kind": kind, **values})


@dataclass(frozen=True)
class _Shown:
    """A cell as it is shown."""

    text: str
    numeric: bool
    best: bool


def _column(cells: list[Cell], best: Best | None) -> list[_Shown]:
    """The cells of one column as they are shown; one of numbers is set flush right."""
    numbers = [cell for cell in cells if isinstance(cell, int | float) and math.isfinite(cell)]
    numeric = bool(numbers) or all(cell is None for cell in cells)
    largest = max((abs(number) for number in numbers), default=0)
    whole = all(float(number).is_integer() for number in numbers)
    decimals = 0 if whole or not largest else min(6, max(0, 3 - math.floor(math.log10(largest))))
    # Compared as shown: two that read the same are equally good.
    shown = [round(number, decimals) for number in numbers]
    winner = (max if best == "max" else min)(shown) if best and shown else None
    return [
        _Shown(
            _text(cell, decimals),
            numeric,
            winner is not None and isinstance(cell, int | float) and round(cell, decimals) == winner,
        )
        for cell in cells
    ]


def _text(cell: Cell, decimals: int) -> str:
    if cell is None:
        return "–"
    return cell if isinstance(cell, str) else f"{cell:.{decimals}f}".replace("-", "−")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _embed(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{_base64(content)}"
