"""A mutant: one piece of the text of one module, replaced."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Mutant:
    """One break: in a module, `old` becomes `new`, where it first stands; some of the `tests` must fail.

    Attributes:
        module: its name with dots.
        what: what is broken, in words.
        old, new: the text.
        tests: those that should notice, the fastest ones, as pytest names them.
        survives: why none can notice it; None: one must.
    """

    module: str
    what: str
    old: str
    new: str
    tests: tuple[str, ...]
    survives: str | None = None

    @property
    def name(self) -> str:
        return f"{self.module}: {self.what}"

    @property
    def path(self) -> Path:
        return ROOT / (self.module.replace(".", "/") + ".py")

    def text(self) -> str:
        """The module's text with its break. ValueError: there is nothing to break."""
        text = self.path.read_text()
        if self.old not in text:
            raise ValueError(f"{self.module}: the text of '{self.what}' is not there any more: {self.old}")
        return text.replace(self.old, self.new, 1)


def of(file: str, *tests: str) -> tuple[str, ...]:
    """Tests of tests/**/test_FILE.py, without test_ before their names."""
    (path,) = (ROOT / "tests").rglob(f"test_{file}.py")
    return tuple(f"{path.relative_to(ROOT).as_posix()}::test_{test}" for test in tests)
