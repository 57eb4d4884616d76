"""Read text as bytes, and set some of the files aside to judge by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from data import text
from data.errors import InputError
from pipelines.examples import FEWEST, Examples, check_learnable
from pipelines.stage import Run

SHORTEST = 8  # bytes of a piece
TOGETHER = 256  # pieces whose bits are set at once


@dataclass(frozen=True)
class Load:
    """Read text, cut it into pieces of one length, and part them into those to learn from and those to judge by."""

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("data", "source")

    text: str = "python"
    """A text file, or a folder of some (txt, md, rst, py, c, csv, json, html ...); or python, the source of Python's
    own library (a folder of that name is ./python)."""

    length: int = 64
    """Bytes of a piece."""

    count: int | None = 16_000
    """Pieces to take, at most, at random. null: all."""

    validation: float = 0.1
    """Share to judge by: whole files, or the end of a single one."""

    def __post_init__(self) -> None:
        if self.length < SHORTEST:
            raise ValueError(f"length must be {SHORTEST} bytes or more, got {self.length}")
        if self.count is not None and self.count < FEWEST:
            raise ValueError(f"count must be {FEWEST} or more, got {self.count}")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation must lie between 0 and 1, got {self.validation}")

    def files(self) -> tuple[str, ...]:
        return () if self.text == "python" else (self.text,)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        texts = text.library() if self.text == "python" else text.read(Path(self.text))
        pieces, origin = text.windows(texts, self.length)
        if len(pieces) < FEWEST:
            raise InputError(
                f"load.text={self.text}: holds {len(pieces)} pieces of {self.length} bytes; at least {FEWEST} are "
                "needed: give more text, or a smaller load.length"
            )
        aside = self._aside(origin)
        parts = [self._taken(pieces[rows], number) for number, rows in enumerate((~aside, aside))]
        run.log(event="loaded", train=len(parts[0]), validation=len(parts[1]), shape=[text.SYMBOLS, self.length])
        train, validation = (torch.from_numpy(_packed(part)) for part in parts)
        data = Examples("text", (text.SYMBOLS, self.length), train, validation)
        check_learnable(data, f"load.text={self.text}", "pieces")
        return {"data": data, "source": {"name": self.text}}

    def _aside(self, origin: np.ndarray) -> np.ndarray:
        """bool [n]: what is to judge by. Always the same split, a file on one side; the smallest one, where those that
        are drawn hold more than the share."""
        files, sizes = np.unique(origin, return_counts=True)
        num = max(1, math.floor(len(origin) * self.validation))
        if len(files) == 1:
            return np.arange(len(origin)) >= len(origin) - num
        order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).numpy()
        within = np.cumsum(sizes[order]) <= num
        return np.isin(origin, files[order[within]] if within.any() else files[sizes.argmin()])

    def _taken(self, pieces: np.ndarray, part: int) -> np.ndarray:
        """At random, as many as count says, or of those to judge by as many as their share of it."""
        if self.count is None:
            return pieces
        num = max(1, round(self.count * (self.validation if part else 1 - self.validation)))
        rows = torch.randperm(len(pieces), generator=torch.Generator().manual_seed(0))[:num]
        return pieces[rows.numpy()]


def _packed(pieces: np.ndarray) -> np.ndarray:
    """Bits uint8 [n, 32 T] of bytes uint8 [n, T], a symbol a bit, as `Examples` keeps them."""
    bits = text.SYMBOLS * pieces.shape[1]
    parts = np.array_split(pieces, -(-len(pieces) // TOGETHER))
    return np.concatenate([np.packbits(text.one_hot(rows).reshape(len(rows), bits), axis=1) for rows in parts])
