"""What every run leaves behind: its energy and its numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pipelines import checkpoint


def check_there(**paths: str | None) -> None:
    """ValueError, naming the field, unless what is given exists: better before learning than after."""
    for field, path in paths.items():
        if path is not None and not Path(path).exists():
            raise ValueError(f"{field}={path}: no such file or folder")


def save_energy(energy: Any, root: Path, name: str = "energy") -> None:
    """root/name, replaced as a whole."""
    fresh = root / f".{name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    energy.save_pretrained(fresh)
    shutil.rmtree(root / name, ignore_errors=True)
    fresh.rename(root / name)


def save_metrics(found: dict[str, Any], root: Path) -> None:
    """root/metrics.json."""
    checkpoint.write_file(root / "metrics.json", json.dumps(found, indent=2, allow_nan=False).encode())
