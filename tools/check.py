"""Lint, format, types, tests: what must hold before a change is kept. Stops at the first failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("pyright", "--pythonpath", sys.executable),
    ("pytest",),
)


def main() -> int:
    """The exit status of the first check that fails; 0: all hold."""
    for check in CHECKS:
        print(f"== {' '.join(check)}", flush=True)
        status = subprocess.run([sys.executable, "-m", *check], cwd=ROOT).returncode
        if status:
            print(f"{' '.join(check[:2])} failed", file=sys.stderr)
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
