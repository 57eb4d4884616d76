"""What text is, to the stages that exist once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from data import text
from data.errors import InputError
from data.files import publish
from energies import Hidden
from energies.observation import Observation
from pipelines.examples import Examples
from pipelines.learning.lessons import Task
from pipelines.measures.ngram import NGram
from pipelines.modalities.base import Modality
from pipelines.report import pictures
from pipelines.results import emptied
from pipelines.stage import Run

MOST = 50_000  # pieces that counts are made of
TOGETHER = 512  # pieces whose bits are read at once
HEIGHT = 4  # pixels of a row of bytes that is drawn


class Text(Modality):
    """Pieces of text [n, 256, T]: 1 where a byte has that value, else -1."""

    name: ClassVar[str] = "text"
    noun: ClassVar[str] = "texts"
    axes: ClassVar[int] = 1
    score_name: ClassVar[str] = "accuracy"
    score_unit: ClassVar[str] = ""
    stranger: ClassVar[str] = "english"

    def tasks(self, shape: Sequence[int], names: Sequence[str]) -> dict[str, Task]:
        """None: amortised energies are of x of two or three axes."""
        return {}

    def made(self, soft: Tensor, energy: Any) -> Tensor:
        """The likeliest symbols."""
        return encoded(symbols(soft))

    def score(self, x: Tensor, truth: Tensor, where: Tensor) -> dict[str, float]:
        """accuracy: the share of bytes that are right."""
        right = x.argmax(1) == truth.argmax(1)
        return {"accuracy": float(right[where[:, 0].expand_as(right)].float().mean())}

    def baselines(
        self, data: Examples, observation: Observation, y: Tensor, rng: Callable[[str], torch.Generator]
    ) -> Mapping[str, Callable[[], Tensor]]:
        """The commonest byte."""
        common = data.x("train", slice(MOST // 50)).mean((0, 2)).argmax()
        shape = (len(y), *data.shape)
        x = 2 * torch.nn.functional.one_hot(common, text.SYMBOLS).float()[:, None] - 1
        return {"commonest": lambda: observation.project(x.expand(shape), y)}

    def predictors(self, data: Examples, x: Tensor, known: Tensor, level: float) -> Mapping[str, Callable[[], float]]:
        """Bits a byte of counts of five bytes, of those that were learned from, and of single ones."""

        learned = stored(data)

        def bits(order: int) -> float:
            return float(NGram.fit(learned, order).bits(symbols(x), 1).mean())

        return {"five_gram": lambda: bits(5), "single_bytes": lambda: bits(1)}

    def comparison(self, data: Examples, run: Run, learn: bool = True) -> Counts:
        return Counts(NGram.fit(stored(data)), data)

    def strangers(self, x: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """English, the same bytes backwards and in another order, and bytes at random."""
        pieces, _ = text.windows([text.english()], x.shape[2])
        taken = torch.randperm(len(pieces), generator=rng)[: len(x)]
        order = torch.randperm(x.shape[2], generator=rng)
        noise = at_random(x, rng)
        backwards = x.flip(2)
        return {
            "english": encoded(pieces[taken.numpy()]) if len(taken) else backwards,
            "backwards": backwards,
            "shuffled": x[:, :, order],
            "noise": noise,
        }

    def read(self, name: str, shape: Sequence[int], num: int, source: Mapping[str, Any]) -> Tensor:
        """Pieces of a text file, or of a folder; of a text shorter than a piece all of it."""
        texts = text.read(Path(name))
        pieces, _ = text.windows(texts, min(shape[1], max(map(len, texts))))
        if not len(pieces):
            raise InputError(f"{name}: is empty")
        return encoded(pieces[:num])

    def sheet(self, rows: Mapping[str, Tensor], num: int) -> np.ndarray:
        """Bytes as shades, a piece beside the other."""
        shown = {label: drawn_as(x[:num]).expand(-1, 3, -1, -1).movedim(0, 1) for label, x in rows.items()}
        return pictures.contact_sheet(shown, frames=min(num, max(len(x) for x in rows.values())))

    def grid(self, x: Tensor, columns: int) -> np.ndarray:
        return pictures.grid(drawn_as(x), columns)

    def write(self, x: Tensor, folder: Path, name: str, source: Mapping[str, Any]) -> None:
        """folder/NAME_000.txt ..., the bytes."""
        emptied(folder, name)
        for number, row in enumerate(symbols(x)):
            publish(folder / f"{name}_{number:03d}.txt", row.tobytes())

    def seen(self, observation: Observation, y: Tensor) -> Tensor:
        inner = observation.noiseless
        return torch.where(inner.mask, -1.0, y) if isinstance(inner, Hidden) else y


@dataclass(frozen=True, eq=False)
class Counts:
    """Bits a byte that counts of five bytes give new texts, those to judge by, and bytes at random."""

    distance: ClassVar[str | None] = None
    counts: NGram
    data: Examples

    def __call__(self, x: Tensor) -> dict[str, float]:
        return {"bits_a_byte": float(self.counts.bits(symbols(x)).mean())}

    def beside(self, samples: Tensor, labels: Tensor | None, rng: torch.Generator) -> dict[str, Any]:
        real = self.data.x("validation", slice(len(samples)))
        return {"samples": self(samples), "real": self(real), "noise": self(at_random(samples, rng))}


def symbols(x: Tensor) -> np.ndarray:
    """The likeliest bytes uint8 [n, T] of x [n, 256, T]."""
    return x.argmax(1).to(torch.uint8).numpy()


def encoded(pieces: np.ndarray) -> Tensor:
    """x [n, 256, T] of bytes uint8 [n, T]."""
    return torch.from_numpy(text.one_hot(pieces)).float() * 2 - 1


def at_random(like: Tensor, rng: torch.Generator) -> Tensor:
    """As many pieces of bytes at random as there are in another [n, 256, T], as long."""
    pieces = torch.randint(text.SYMBOLS, (len(like), like.shape[2]), generator=rng)
    return encoded(pieces.numpy().astype(np.uint8))


def stored(data: Examples) -> np.ndarray:
    """Bytes uint8 [n, T] of what is learned from."""
    rows, bits = data.train[:MOST].numpy(), data.shape[0] * data.shape[1]
    parts = np.array_split(rows, -(-len(rows) // TOGETHER))
    return np.concatenate(
        [np.unpackbits(part, axis=1, count=bits).reshape(-1, *data.shape).argmax(1).astype(np.uint8) for part in parts]
    )


def drawn_as(x: Tensor) -> Tensor:
    """Pictures [n, 1, HEIGHT, T] of texts [n, 256, T]: the shade of a column is its byte, printable ones brightest."""
    byte = x.argmax(1).float()
    return (byte / 64 - 1).clamp(-1, 1)[:, None, None].expand(-1, 1, HEIGHT, -1)


MODALITY = Text()
