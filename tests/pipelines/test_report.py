"""The report: escaped, offline, well formed and written whole or not at all."""

import base64
import io
import math
import os
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from data import images
from pipelines.report import Report, curves
from pipelines.report.reporting import long_chains

NASTY = "<script>alert('1')</script> & \"quotes\" \x00"
RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def full_report() -> Report:
    report = Report(NASTY)
    report.heading(NASTY)
    report.text(NASTY)
    report.table([NASTY, "PSNR"], [[NASTY, 31.234], ["fill", None]], best={"PSNR": "max"})
    report.image(RGB, NASTY)
    report.video(b"mp4", NASTY)
    report.curves({NASTY: ([1, 2, 3], [0.1, 10, 3])}, NASTY, NASTY, NASTY, log=True)
    report.details(NASTY, NASTY)
    return report


class Outline(HTMLParser):
    """Opens and closes every tag, and collects what is loaded from where."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, document: str):
        super().__init__()
        self.open, self.tags, self.sources = [], [], []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def drawing(report: Report) -> ElementTree.Element:
    found = re.search(r"<svg.*?</svg>", report.html(), re.DOTALL)
    assert found
    return ElementTree.fromstring(found[0])


def test_everything_is_escaped_and_closed():
    document = full_report().html()
    outline = Outline(document)
    assert outline.open == []
    drawing(full_report())  # parses as XML
    assert outline.tags.count("script") == 1  # our own
    assert document.count("&lt;script&gt;") >= 14 and '"quotes"' not in document


def test_nothing_is_loaded_from_elsewhere():
    report = full_report()
    document = report.html()
    assert not re.search(r"https?:|//[a-z]|@import|url\(", document, re.IGNORECASE)
    assert all(source.startswith("data:") for source in Outline(document).sources)
    assert "default-src 'none'" in document


def test_pictures_and_players_come_back_from_the_file():
    document = full_report().html()
    png = re.search(r"data:image/png;base64,([^\"]+)", document)
    mp4 = re.search(r"data:video/mp4;base64,([^\"]+)", document)
    assert png and mp4
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(png[1]))))
    assert (decoded == RGB).all()
    assert base64.b64decode(mp4[1]) == b"mp4"
    assert 'width="192" height="144"' in document  # tiny: enlarged 24 times


def test_a_table_sets_the_best_in_bold_and_numbers_alike():
    report = Report("r")
    rows = [["a", 31.2345, 3.0], ["b", 9.5, 1.0], ["c", 31.2349, None], ["d", math.nan, 2.0]]
    report.table(["method", "PSNR", "MAE"], rows, best={"PSNR": "max", "MAE": "min"})
    cells = re.findall(r"<td[^>]*>(.*?)</td>", report.html())
    assert cells == [
        *("a", "<b>31.23</b>", "3"),
        *("b", "9.50", "<b>1</b>"),
        *("c", "<b>31.23</b>", "–"),  # reads the same as a, so it is as good
        *("d", "nan", "2"),
    ]
    with pytest.raises(ValueError, match="cells in every row"):
        report.table(["a"], [[1, 2]])
    with pytest.raises(ValueError, match="no column"):
        report.table(["a"], [[1]], best={"b": "max"})


@pytest.mark.parametrize(
    ("found", "words"),
    [({}, None), ({"long_run_ratio": None}, "Long chains diverged"), ({"long_run_ratio": 1.234}, "is 1.23 times")],
    ids=["switched off", "diverged", "made"],
)
def test_long_chains_that_diverged_are_told_from_those_that_were_switched_off(found, words):
    report = Report("r")
    long_chains(report, found)
    paragraphs = re.findall("<p>(.*?)</p>", report.html())
    assert paragraphs == [] if words is None else words in paragraphs[0]


def test_curves_are_well_formed_and_drawn_to_scale():
    report = Report("r")
    report.curves({"l & m": ([0, 1, 2, 4], [0.0, 1.0, 0.5, 1.0])}, "t", "x", "y")
    svg = drawing(report)
    (path,) = (p for p in svg.iter("path") if p.get("class") == "curve")
    points = np.array(re.findall(r"([\d.]+) ([\d.]+)", path.get("d", "")), float)
    assert points[0, 0] == curves.LEFT and points[-1, 0] == curves.RIGHT
    assert points[1, 0] == pytest.approx(curves.LEFT + (curves.RIGHT - curves.LEFT) / 4, abs=0.1)
    assert points[1, 1] == points[3, 1] < points[2, 1] < points[0, 1]  # y grows upwards
    assert points[2, 1] == pytest.approx(points[:2, 1].mean(), abs=0.1)
    assert [t.text for t in svg.iter("title")][1] == "l & m: 1 at 1"


def test_values_that_cannot_be_shown_leave_a_gap():
    xs = list(range(7))
    ys = [1.0, 2.0, math.nan, 4.0, -1.0, math.inf, 3.0]
    for log, pieces in ((False, 3), (True, 3)):
        report = Report("r")
        report.curves({"a": (xs, ys)}, "t", "x", "y", log=log)
        drawn = [p for p in drawing(report).iter("path") if p.get("class") == "curve"]
        assert len(drawn) == pieces
    report = Report("r")
    report.curves({"a": ([], []), "b": ([1], [math.nan])}, "t", "x", "y")
    assert "no values to show" in report.html()
    with pytest.raises(ValueError, match="zip"):
        report.curves({"a": ([1, 2], [1])}, "t", "x", "y")


def test_long_curves_keep_their_peaks():
    points = [(float(k), 1.0) for k in range(50_000)]
    points[12_345] = (12_345.0, 7.0)
    kept = curves._thin(points, 800)
    assert len(kept) <= 800 and (12_345.0, 7.0) in kept and kept == sorted(kept)
    assert kept[0] == points[0]


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-30, 70, False, [-20, 0, 20, 40, 60]),
        (0.5, 2000, True, [1, 10, 100, 1000]),
        (1, 20, True, [1, 2, 5, 10, 20]),
        (1.1, 1.7, True, [1.2, 1.4, 1.6]),
    ],
)
def test_ticks_are_round(low, high, log, ticks):
    axis = curves.Axis(low, high, 0, 100, log)
    assert axis.ticks() == pytest.approx(ticks)


@pytest.mark.parametrize("values", [[5.0], [0.0], [-3.0, -3.0], [1e-300, 2e-300], [1e12, 1e12 + 1]])
def test_any_range_can_be_drawn(values):
    for log in (False, True):
        svg = curves.draw({"a": (values, values)}, "t", "x", "y", log=log, log_x=log)
        ElementTree.fromstring(svg)
        assert "nan" not in svg and "inf" not in svg


def test_numbers_read_well():
    values = [0, 0.25, 1000, -12000, 3e-7, 1e6, -1e-9, 0.30000000000000004]
    texts = ["0", "0.25", "1000", "−12000", "3×10⁻⁷", "10⁶", "−10⁻⁹", "0.3"]
    assert [curves.number(value) for value in values] == texts


@pytest.mark.parametrize("name", ["report.html", "sheet.png"])
def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch, name):
    path = tmp_path / name
    report = full_report()
    report.text("bad file name: \udcff")

    def write():
        report.write(path) if name.endswith("html") else images.write(path, RGB)

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    write()
    before = path.read_bytes()
    assert os.listdir(tmp_path) == [name]
    report.text("more")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write()
    assert path.read_bytes() == before and os.listdir(tmp_path) == [name]


def test_png_round_trip_and_refusals(tmp_path):
    images.write(tmp_path / "a.png", RGB[:, ::-1])
    assert (np.asarray(Image.open(tmp_path / "a.png")) == RGB[:, ::-1]).all()
    for bad in (RGB.astype(float), RGB[..., 0], RGB[:0]):
        with pytest.raises(ValueError, match="expected uint8"):
            images.encode_png(bad)


def test_text_has_ink_and_one_height():
    short, long = images.draw_text("i", 15), images.draw_text("gap,\nlong (y)", 15)
    assert short.shape[0] == long.shape[0] and short.shape[1] < long.shape[1]
    assert long.max() > 200 and (long[0] == 0).all()
    assert images.draw_text("", 15).max() == 0
