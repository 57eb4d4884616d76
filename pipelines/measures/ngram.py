"""A law of each byte given the four before: counts of all lengths, each backing off to the shorter one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ORDER = 5
SYMBOLS = 256


@dataclass(frozen=True, eq=False)
class NGram:
    """Interpolated counts (Witten & Bell 1991, method C): P(c | h) = (n(h c) + t(h) P(c | h')) / (n(h) + t(h)), h' one
    byte shorter than h, t(h) how many different bytes follow h; in the end all bytes are alike.

    Attributes:
        grams: codes of k + 1 bytes that occur, sorted, and how often, for k = 0, 1, ...
        pasts: codes of the k bytes before, sorted, how often, and by how many different bytes they are followed.
    """

    grams: list[tuple[np.ndarray, np.ndarray]]
    pasts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]

    @classmethod
    def fit(cls, symbols: np.ndarray, order: int = ORDER) -> NGram:
        """Of symbols uint8 [n, T]."""
        grams, pasts = [], []
        for k in range(order):
            codes, counts = np.unique(_codes(symbols, k + 1), return_counts=True)
            past, inverse, kinds = np.unique(codes >> np.uint64(8), return_inverse=True, return_counts=True)
            total = np.zeros(len(past), np.int64)
            np.add.at(total, inverse, counts)
            grams.append((codes, counts))
            pasts.append((past, total, kinds))
        return cls(grams, pasts)

    def bits(self, symbols: np.ndarray, first: int = 0) -> np.ndarray:
        """Minus the binary logarithm of P of each byte of symbols uint8 [n, T] from place `first` on, given those
        before in its row."""
        chance = np.full((len(symbols), symbols.shape[1]), 1 / SYMBOLS)
        for k, ((codes, counts), (past, total, kinds)) in enumerate(zip(self.grams, self.pasts, strict=True)):
            if k >= symbols.shape[1]:
                break
            here = _codes(symbols, k + 1)
            n = _looked_up(here, codes, counts)
            before = here >> np.uint64(8)
            of, different = _looked_up(before, past, total), _looked_up(before, past, kinds)
            shorter = chance[:, k:]
            chance[:, k:] = np.where(of > 0, (n + different * shorter) / np.maximum(of + different, 1), shorter)
        return -np.log2(chance[:, first:])


def _codes(symbols: np.ndarray, length: int) -> np.ndarray:
    """uint64 [n, T - length + 1]: `length` bytes as one number, the last one lowest."""
    num = symbols.shape[1] - length + 1
    code = np.zeros((len(symbols), max(num, 0)), np.uint64)
    for k in range(length):
        code = (code << np.uint64(8)) | symbols[:, k : k + max(num, 0)].astype(np.uint64)
    return code


def _looked_up(codes: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values of codes, 0 where they are not known."""
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[place] == codes, values[place], 0)
