"""The energy that a run leaves behind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


def save_energy(energy: Any, root: Path) -> None:
    """root/energy, replaced as a whole."""
    fresh = root / ".energy.new"
    shutil.rmtree(fresh, ignore_errors=True)
    energy.save_pretrained(fresh)
    shutil.rmtree(root / "energy", ignore_errors=True)
    fresh.rename(root / "energy")
