"""Curves hold no markup but their own."""

from __future__ import annotations

from pipelines.report.curves import draw

NASTY = '<script>alert("x")</script> & "quotes" \x00'


def test_labels_of_curves_are_escaped() -> None:
    found = draw({NASTY: ([1.0, 2.0], [3.0, 4.0])}, NASTY, NASTY, NASTY)
    assert "<script" not in found and "\x00" not in found and '"quotes"' not in found
    assert found.count("&lt;script&gt;") == 5, "the title, both axes, and the two points that tell their curve"
