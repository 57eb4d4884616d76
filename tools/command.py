"""Runs of the command line, each in a process of its own; what is finished is not done again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def metrics_of(pipeline: str, settings: Sequence[str], out: Path) -> dict[str, Any]:
    """What a run in a folder found: its metrics.json."""
    call([pipeline, *settings, f"out={out}"])
    return json.loads((out / "metrics.json").read_text())


def call(words: Sequence[str]) -> None:
    """`python -m pipelines.run` with these words; CalledProcessError: it failed, and has said why."""
    subprocess.run([sys.executable, "-m", "pipelines.run", *words], check=True, stdout=subprocess.DEVNULL)
