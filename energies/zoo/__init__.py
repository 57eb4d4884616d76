"""Energies that come with the package, learned of its embedded data: `energies.load("zoo:NAME")`.

An entry is a folder: its energy, as `save_pretrained` writes it but in few bytes (`energies.compact`), and its card,
card.json: how it was learned, and what it was measured to do. The cards are the truth of what there is.
`tools/make_zoo.py` makes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from energies.saving import DESCRIPTION

ROOT = Path(__file__).resolve().parent
CARD = "card.json"


def names(root: Path = ROOT) -> list[str]:
    """The entries of a zoo."""
    return sorted(path.parent.name for path in root.glob(f"*/{CARD}"))


def card(name: str, root: Path = ROOT) -> dict[str, Any]:
    """What is known of an entry. ValueError: there is no such entry, or its card is damaged."""
    return _read(_entry(name, root) / CARD)


def standing_in(asked: str, root: Path = ROOT) -> str | None:
    """The entry that takes the place of what a stage of that digest would learn (pipelines/store.py); None: none.

    ValueError: a card is damaged.
    """
    return next((name for name in names(root) if asked in _read(root / name / CARD)["asked"]), None)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("asked"), list):
        raise ValueError(f"{file} is damaged; install the package again")
    return found


def folder(name: str, root: Path = ROOT) -> Path:
    """The folder of an entry's energy: the entry's own, or energy/ in it where it holds several.

    ValueError: there is no such entry; the line tells which there are.
    """
    entry = _entry(name, root)
    return entry if (entry / DESCRIPTION).is_file() else entry / "energy"


def _entry(name: str, root: Path) -> Path:
    known = names(root)
    if name not in known:
        raise ValueError(f"there is no {name!r:.80} in the zoo; there are {', '.join(known) or 'none'}")
    return root / name
