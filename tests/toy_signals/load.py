"""Read signals, or make them, and set some aside to judge by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from data.errors import InputError
from pipelines.examples import Examples
from pipelines.stage import Run

KINDS = ("sine", "square", "saw")


@dataclass(frozen=True)
class Load:
    """Read signals, or make them, and set some aside to judge by."""

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("data", "source")

    signals: str = "made"
    """A CSV file with a signal in [-1, 1] a line, or made: sines, square waves and saws of random period and phase."""

    length: int = 32
    """Samples of each signal that is made."""

    count: int = 400
    """Signals to make."""

    validation: float = 0.2
    """Share of the signals to judge by."""

    def __post_init__(self) -> None:
        if self.length < 8 or self.count < 10:
            raise ValueError(f"length must be 8 and count 10 or more, got {self.length} and {self.count}")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation must lie between 0 and 1, got {self.validation}")

    def files(self) -> tuple[str, ...]:
        return () if self.signals == "made" else (self.signals,)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        classes, labels = (), None
        if self.signals == "made":
            classes = KINDS
            x, labels = waves(self.count, self.length, run.generator("signals"))
        else:
            x = read(Path(self.signals))
        kept = len(x) - max(1, round(len(x) * self.validation))
        data = Examples(
            "signals", tuple(x.shape[1:]), x[:kept], x[kept:], classes,
            None if labels is None else labels[:kept], None if labels is None else labels[kept:],
        )  # fmt: skip
        return {"data": data, "source": {"name": self.signals}}


def waves(num: int, length: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Signals [num, 1, length], and the number [num] of the kind of each."""
    kind = torch.randint(len(KINDS), (num,), generator=rng)
    period, phase = (torch.rand(num, 1, generator=rng) for _ in range(2))
    turn = torch.arange(length) / (length * (0.4 + 0.4 * period)) + phase
    made = torch.stack([torch.sin(2 * math.pi * turn), 1 - 2 * (turn % 1).round(), 2 * (turn % 1) - 1])
    return 0.8 * made[kind, torch.arange(num)][:, None], kind


def read(file: Path) -> Tensor:
    """Signals [n, 1, T] of a CSV file. InputError: it holds none."""
    try:
        x = torch.from_numpy(np.loadtxt(file, delimiter=",", ndmin=2)).float()[:, None]
    except ValueError as error:
        raise InputError(f"{file}: {error}") from None
    if len(x) < 10 or x.shape[2] < 8 or not bool((x.abs() <= 1).all()):
        raise InputError(f"{file}: expected 10 lines or more of 8 numbers or more, all in [-1, 1]")
    return x
