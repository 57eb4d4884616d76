"""Text as bytes: files of one's own, or the source of Python's own library, which every machine has."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.errors import InputError
from data.files import listing

SUFFIXES = (".txt", ".md", ".rst", ".py", ".c", ".h", ".csv", ".tsv", ".json", ".xml", ".html", ".tex", ".log", ".srt")
MOST = 2**28  # bytes of a file
SYMBOLS = 256
APART = ("antigravity.py", "this.py")  # neither is a program


def library() -> list[bytes]:
    """The modules at the top of Python's library, each the bytes of its source, sorted by name.

    InputError: this Python comes without the source of its library.
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in root.glob("*.py") if path.name not in APART and not path.name.startswith("_sys"))
    if not files:
        raise InputError(f"{root}: holds no source of Python's library; give a text file, or a folder of some")
    return [path.read_bytes() for path in files]


def english() -> bytes:
    """English text that every machine has: the help topics of Python. Empty: this Python has none."""
    path = Path(sysconfig.get_path("stdlib")) / "pydoc_data" / "topics.py"
    return path.read_bytes() if path.is_file() else b""


def read(path: Path) -> list[bytes]:
    """The bytes of a file, or of every text of a folder, in the order of their names.

    InputError: there is none, or one is empty or too large.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    files = [path]
    if path.is_dir():
        found = listing(path, SUFFIXES, "texts")
        found.tell()
        files = found.files
    if not files:
        raise InputError(f"{path}: holds no text; known are {', '.join(SUFFIXES)}")
    for file in files:
        if file.stat().st_size > MOST:
            raise InputError(f"{file}: has {file.stat().st_size} bytes, at most {MOST} are read; cut it into parts")
    texts = [content for file in files if (content := file.read_bytes())]
    if not texts:
        raise InputError(f"{path}: is empty")
    return texts


def windows(texts: Sequence[bytes], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of `length` bytes one after the other, uint8 [n, length], and of which text each is, int64 [n]. The rest
    of a text is left out."""
    pieces, origin = [np.zeros((0, length), np.uint8)], [np.zeros(0, np.int64)]
    for number, text in enumerate(texts):
        whole = np.frombuffer(text, np.uint8)
        pieces.append(whole[: len(whole) // length * length].reshape(-1, length))
        origin.append(np.full(len(pieces[-1]), number, np.int64))
    return np.concatenate(pieces), np.concatenate(origin)


def one_hot(symbols: np.ndarray) -> np.ndarray:
    """bool [n, 256, T] of symbols uint8 [n, T]."""
    return symbols[:, None] == np.arange(SYMBOLS, dtype=np.uint8)[None, :, None]


def printed(symbols: np.ndarray) -> str:
    """Symbols uint8 [T] as text; what is no UTF-8 is marked."""
    return symbols.tobytes().decode("utf-8", errors="replace")
