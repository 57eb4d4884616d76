"""Warnings of readers, kept for the report."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def told() -> Iterator[list[str]]:
    """The texts of what is warned of inside, known at its end; the warnings are then passed on to the terminal."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    notes += list(dict.fromkeys(str(warning.message) for warning in caught))
