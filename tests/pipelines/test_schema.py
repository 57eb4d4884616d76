"""Which fields of a class are settings, and what text means for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipelines import config, schema
from pipelines.source import Source
from pipelines.trees import Scalar


@dataclass(frozen=True)
class Base:
    steps: int = 3
    """How many."""


@dataclass(frozen=True)
class Stage(Base):
    needs: ClassVar[tuple[str, ...]] = ()
    quick: bool = True


FOUND = schema.classes(Source(Path(__file__).parents[__name__.count(".")]), __name__, "Stage")["stage"]


def test_inherited_fields_are_settings_and_needs_are_none() -> None:
    assert list(FOUND.fields) == ["steps", "quick"] and FOUND.fields["steps"].meaning == "How many."


def test_false_is_false() -> None:
    for text, value in (("true", True), ("false", False)):
        assert config.check(Scalar(text), FOUND.fields["quick"].kind, "stage.quick", []) is value
