"""Lint, format, types, broken lines, tests: what must hold before a change is kept. Stops at the first failure.

Of the broken lines every twelfth is tried, in under a minute; python tools/mutate.py tries all of them, in some five.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = (
    ("-m", "ruff", "check"),
    ("-m", "ruff", "format", "--check"),
    ("-m", "pyright", "--pythonpath", sys.executable),
    ("tools/mutate.py", "--quick"),
    ("-m", "pytest", "-n", "auto", "--dist", "loadfile"),
)


def main() -> int:
    """The exit status of the first check that fails; 0: all hold."""
    for check in CHECKS:
        name = " ".join(word for word in check if word not in ("-m", "--pythonpath", sys.executable))
        print(f"== {name}", flush=True)
        status = subprocess.run([sys.executable, *check], cwd=ROOT).returncode
        if status:
            print(f"{name} failed", file=sys.stderr)
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
