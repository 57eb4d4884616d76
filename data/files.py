"""Files that appear whole or not at all; and which files of a folder are read: one rule for every reader.

found = listing(Path("photos"), SUFFIXES, "pictures")   # found.files, found.labels, found.classes
found.tell()                                            # one warning line: what was left out, and why
"""

import os
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from data.errors import InputError

HIDDEN = ("__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "lost+found")
"""Names, in lower case, that systems leave behind; and every name that begins with a character of MARKS."""
MARKS = (".", "@", "#", "~$")
SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "valid": ("valid", "validation", "val"),
}
"""What a folder of a split may be called, in lower case."""


def publish(path: Path, data: bytes) -> None:
    """Put the bytes at `path` at once: whoever looks sees the old file or the whole new one. OSError: full disk."""
    with appearing(path) as file:
        file.write(data)


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """A file to write; at the end it is put at `path` at once, and after an error it is gone."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def natural(path: Path) -> tuple[tuple[int, str], ...]:
    """A key that sorts names by the numbers in them: frame2 before frame10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of a person's: .x, @eaDir, __MACOSX, Thumbs.db."""
    return name.startswith(MARKS) or name.lower() in HIDDEN


@dataclass(frozen=True)
class Listing:
    """The files of a folder that are read, and what of it is not.

    Attributes:
        root: the folder, or that of the split in it.
        files: sorted by their path.
        noun: what they are, for messages: pictures, clips, shapes.
        beside: files of names that were asked for, wherever they lie, as lists of labels.
        others: how many files are of no kind that is read, by their ending.
        notes: what else was left out or decided, each a clause.
    """

    root: Path
    files: list[Path]
    noun: str
    beside: list[Path] = field(default_factory=list)
    others: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """The names of the class folders, sorted: the first folder on the way to each file."""
        return sorted({first for first in self._firsts() if first is not None})

    @property
    def labels(self) -> list[int | None]:
        """The class of every file; None where it lies beside the class folders."""
        index = {name: number for number, name in enumerate(self.classes)}
        return [None if first is None else index[first] for first in self._firsts()]

    def left_out(self) -> str:
        """What was left out and decided, in one line; empty: nothing."""
        num = sum(self.others.values())
        kinds = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in sorted(self.others.items())[:6])
        count = f"{num} file{'s that are' if num != 1 else ' that is'} not {self.noun} {'are' if num != 1 else 'is'}"
        return "; ".join([*[f"{count} left out ({kinds})"] * bool(num), *self.notes])

    def tell(self) -> None:
        """Warn once of what was left out and decided, if anything was."""
        if line := self.left_out():
            warnings.warn(f"{self.root}: {line}", stacklevel=2)

    def _firsts(self) -> list[str | None]:
        parts = [path.relative_to(self.root).parts for path in self.files]
        return [part[0] if len(part) > 1 else None for part in parts]


def listing(
    root: Path, suffixes: Collection[str], noun: str, split: str | None = None, beside: Collection[str] = ()
) -> Listing:
    """The files below a folder whose ending, in lower case, is one of `suffixes`; deeper ones too.

    Hidden files and folders are left out. Symbolic links are followed; a folder that is reached twice is read once, at
    its own place. A folder that holds only folders called train, test and valid (or training, val, validation) is
    split: `split` is read, or train if None. Beside others such a folder is a class. Files of the names `beside` are
    given apart, as lists of labels that the reader reads.
    InputError: no such split; splits, but no train and none asked for.
    """
    walk = _Walk(root)
    found = sorted(walk.files())
    apart = [path for path in found if path.name in beside]
    found = [path for path in found if path.name not in beside]
    wanted = [path for path in found if path.suffix.lower() in suffixes]
    others = [path for path in found if path.suffix.lower() not in suffixes]
    inner, notes = _split(root, wanted, split, noun)
    if inner != root:
        wanted, others = ([path for path in some if path.is_relative_to(inner)] for some in (wanted, others))
    hidden = [path for path in walk.hidden if path.suffix.lower() in suffixes or path.is_dir()]
    return Listing(
        inner,
        wanted,
        noun,
        apart,
        Counter(path.suffix.lower() for path in others),
        (*notes, *_empty(inner, wanted, noun), *walk.notes(hidden)),
    )


def files_below(folder: Path) -> list[Path]:
    """All files below a folder by the same rule, sorted: none that is hidden, links followed, no folder twice."""
    return sorted(_Walk(folder).files())


def _split(root: Path, files: list[Path], split: str | None, noun: str) -> tuple[Path, list[str]]:
    """The folder of the split that is read, or the root itself; and what there is to tell."""
    parts = [path.relative_to(root).parts for path in files]
    firsts = sorted({part[0] for part in parts if len(part) > 1})
    named = {name: key for name in firsts for key, names in SPLITS.items() if name.lower() in names}
    if split is not None:
        wanted = next((key for key, names in SPLITS.items() if split.lower() in names), split)
        chosen = [name for name in firsts if name == split] or [name for name in firsts if named.get(name) == wanted]
        if not chosen and (root / split).is_dir():
            chosen = [split]  # without files
        if not chosen:
            raise InputError(f"{root}: has no folder {split!r}; give a split that is there, or none")
        return root / chosen[0], []
    if not named:
        return root, []
    if len(named) < len(firsts) or any(len(part) == 1 for part in parts):
        return root, [f"the folder {next(iter(named))} is taken for a class, as it is not alone; see split"]
    if "train" not in named.values():
        raise InputError(f"{root}: holds {' and '.join(named)} but no train; say which is read, as split={firsts[0]}")
    return root / next(name for name, key in named.items() if key == "train"), []


def _empty(root: Path, files: list[Path], noun: str) -> list[str]:
    """The class folders without a file that is read, where others have some."""
    used = {path.relative_to(root).parts[0] for path in files if path.parent != root}
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not is_hidden(path.name))
    missing = [name for name in folders if name not in used]
    return [f"the folder {missing[0]} holds no {noun}"] if used and missing else []


class _Walk:
    """The files below a folder that are not hidden, each once, and what was passed by on the way."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hidden: list[Path] = []
        self.passed: Counter[str] = Counter()
        self._seen: set[tuple[int, int]] = set()

    def files(self) -> Iterator[Path]:
        """Real folders first, then those that links lead to: so that a folder counts at its own place."""
        self.hidden.clear()
        self.passed.clear()
        self._seen.clear()
        links = [self.root]
        while links:
            links.sort()
            folder = links.pop(0)
            if folder != self.root and self._leads_back(folder):
                self.passed["link to a folder that is read already"] += 1
            else:
                yield from self._below(folder, links)

    def notes(self, hidden: Collection[Path]) -> list[str]:
        told = []
        if hidden:
            first = min(hidden)
            number = "1 hidden one is" if len(hidden) == 1 else f"{len(hidden)} hidden ones are"
            told.append(f"{number} left out, such as {first.name}")
        for what, count in sorted(self.passed.items()):
            first, _, rest = what.partition(" ")
            told.append(f"{count} {what} is left out" if count == 1 else f"{count} {first}s {rest} are left out")
        return told

    def _below(self, folder: Path, links: list[Path]) -> Iterator[Path]:
        for here, folders, names in os.walk(folder, onerror=self._closed):
            self._seen.add(_identity(here))
            inner = [Path(here, name) for name in folders]
            self.hidden += [path for path in inner if is_hidden(path.name)]
            inner = [path for path in inner if not is_hidden(path.name)]
            links += [path for path in inner if path.is_symlink()]
            folders[:] = [path.name for path in inner if not path.is_symlink() and _identity(path) not in self._seen]
            for path in (Path(here, name) for name in names):
                if is_hidden(path.name):
                    self.hidden.append(path)
                elif path.is_file():
                    yield path
                else:
                    self.passed["link without a target" if path.is_symlink() else "special file"] += 1

    def _leads_back(self, link: Path) -> bool:
        target = link.resolve()
        around = any(place.resolve().is_relative_to(target) for place in (self.root, link.parent))
        return around or _identity(target) in self._seen

    def _closed(self, error: OSError) -> None:
        self.passed["folder that cannot be opened"] += 1


def _identity(path: str | Path) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino
