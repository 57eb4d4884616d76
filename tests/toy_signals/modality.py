"""What signals are, to the stages that exist once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from energies import Average, Hidden
from energies.observation import Observation
from pipelines.examples import Examples
from pipelines.learning.lessons import Task
from pipelines.modalities import register
from pipelines.modalities.base import Modality
from pipelines.report import pictures
from pipelines.results import emptied
from pipelines.stage import Run

HEIGHT = 33  # pixels of a signal that is drawn


class Signals(Modality):
    """Signals [n, 1, T] in [-1, 1]."""

    name: ClassVar[str] = "signals"
    noun: ClassVar[str] = "signals"
    axes: ClassVar[int] = 1

    def tasks(self, shape: Sequence[int], names: Sequence[str]) -> dict[str, Task]:
        """None: amortised energies are of x of two or three axes."""
        return {}

    def score(self, x: Tensor, truth: Tensor, where: Tensor) -> dict[str, float]:
        """psnr in dB, of a range of 2, and mse."""
        mse = float((x - truth).square()[where.expand_as(x)].mean())
        return {"psnr": -10 * float(np.log10(max(mse, 1e-12) / 4)), "mse": mse}

    def scored(self, observation: Observation, x: Tensor) -> Tensor:
        return observation.mask if isinstance(observation, Hidden) else torch.ones_like(x, dtype=torch.bool)

    def baselines(
        self, data: Examples, observation: Observation, y: Tensor, rng: Callable[[str], torch.Generator]
    ) -> Mapping[str, Callable[[], Tensor]]:
        """The mean signal, held to what is seen, and straight lines through what is seen."""
        mean = data.x().mean(0).expand(len(y), *data.shape)
        return {"mean": lambda: observation.project(mean, y), "lines": lambda: lines(observation, y)}

    def comparison(self, data: Examples, run: Run, learn: bool = True) -> Spectra:
        """By the mean power of every frequency; nothing is learned."""
        return Spectra(data)

    def sheet(self, rows: Mapping[str, Tensor], num: int) -> np.ndarray:
        """A signal beside the other."""
        drawn = {label: drawn_as(x[:num]).expand(-1, 3, -1, -1).movedim(0, 1) for label, x in rows.items()}
        return pictures.contact_sheet(drawn, frames=min(num, max(len(x) for x in rows.values())))

    def grid(self, x: Tensor, columns: int) -> np.ndarray:
        return pictures.grid(drawn_as(x), columns)

    def write(self, x: Tensor, folder: Path, name: str, source: Mapping[str, Any]) -> None:
        """folder/NAME_000.csv, a signal a line, as `load` reads it."""
        emptied(folder, name)
        np.savetxt(folder / f"{name}_000.csv", x[:, 0].numpy(), "%.4f", ",")

    def seen(self, observation: Observation, y: Tensor) -> Tensor:
        """Means over their blocks; what is hidden is at the bottom."""
        inner = observation.noiseless
        if isinstance(inner, Average):
            return inner.repeat(y)
        return torch.where(inner.mask, -1.0, y) if isinstance(inner, Hidden) else y


@dataclass(frozen=True, eq=False)
class Spectra:
    """What compares new signals with those to judge by."""

    distance: ClassVar[str | None] = "spectral_distance"
    data: Examples

    def __call__(self, x: Tensor) -> dict[str, float]:
        apart = power(x) - power(self.data.x("validation"))
        return {"spectral_distance": float(apart.square().mean().sqrt())}

    def beside(self, samples: Tensor, labels: Tensor | None, rng: torch.Generator) -> dict[str, Any]:
        noise = torch.rand(samples.shape, generator=rng) * 2 - 1
        return {"samples": self(samples), "real": self(self.data.x()), "noise": self(noise)}


def power(x: Tensor) -> Tensor:
    """Mean amplitude of every frequency of x [n, 1, T]."""
    return torch.fft.rfft(x, norm="ortho").abs().mean((0, 1))


def lines(observation: Observation, y: Tensor) -> Tensor:
    """Straight lines from one sample that is seen to the next, or from one middle of a block to the next, [n, 1, T]."""
    inner = observation.noiseless
    if isinstance(inner, Average):
        size = y.shape[2] * inner.factor[0]
        return observation.project(torch.nn.functional.interpolate(y, size, mode="linear"), y)
    assert isinstance(inner, Hidden)
    place = np.arange(y.shape[2])
    seen = ~inner.mask.expand_as(y)[:, 0].numpy()
    rows = [np.interp(place, place[s], row[s]) for row, s in zip(y[:, 0].numpy(), seen, strict=True)]
    return torch.from_numpy(np.stack(rows)).float()[:, None]


def drawn_as(x: Tensor) -> Tensor:
    """Pictures [n, 1, HEIGHT, T] of signals [n, 1, T]: dark where they run."""
    level = torch.linspace(1, -1, HEIGHT)[:, None]
    return ((x.unsqueeze(2) - level).abs() * HEIGHT / 2 - 1).clamp(-1, 1)


MODALITY = register(Signals())
