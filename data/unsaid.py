"""What libraries write to standard error about a file: our own line tells it instead."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator

for library in ("tifffile", "PIL"):
    logging.getLogger(library).addHandler(logging.NullHandler())  # Python prints what nobody handles

_LOCK = threading.RLock()  # there is one standard error


@contextlib.contextmanager
def kept(name: str | None) -> Iterator[None]:
    """Keep back what C code, such as libtiff's, writes to standard error, but for lines of progress. Where nothing is
    raised, a warning tells that `name` was read though it is damaged, and how. None: do nothing."""
    if name is None or not _is_open(2):
        yield
        return
    with _LOCK, tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            lines = file.read().decode(errors="replace").splitlines()
            progress = [line for line in lines if line.startswith("[")]  # of another thread
            sys.stderr.write("".join(f"{line}\n" for line in progress))
    if about := [line for line in lines if line not in progress]:
        warnings.warn(f"{name}: is damaged, and part of it may be wrong ({about[0].rstrip('.')})", stacklevel=4)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
