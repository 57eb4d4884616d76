"""Files that appear whole or not at all."""

import os
from pathlib import Path


def publish(path: Path, data: bytes) -> None:
    """Put the bytes at `path` at once: whoever looks sees the old file or the whole new one. OSError: full disk."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
