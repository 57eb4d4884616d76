"""Where the classes of a person's own come from: their modules, and what the files of these held when first asked.

What is in memory comes from a file as it was at first, whatever became of the file: so answers are kept.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from pipelines import trees


@functools.cache
def origin(cls: type) -> tuple[str, ...]:
    """The module of a class of one's own, and a digest of its file and of the files beside it that it imports.

    Nothing for our classes. The program that is run has no digest: who writes a pipeline in Python changes it for many
    reasons.
    """
    name = cls.__module__
    if name.partition(".")[0] in trees.OURS:
        return ()
    return (name, *_digest(sys.modules[name]))


def of_parts(imports: Iterable[str]) -> tuple[str, ...]:
    """Likewise of the modules that a run imports, of those that hold no stages, but parts that any stage may use."""
    modules = [sys.modules[name] for name in imports if name in sys.modules]
    return tuple(text for module in modules if not _has_stages(module) for text in (module.__name__, *_digest(module)))


def _has_stages(module: ModuleType) -> bool:
    values = vars(module).values()
    return any(isinstance(value, type) and hasattr(value, "needs") and hasattr(value, "gives") for value in values)


@functools.cache
def _digest(module: ModuleType) -> tuple[str, ...]:
    name, file = module.__name__, _file(module.__name__)
    if file is None:
        return ()
    digest = hashlib.sha256(file.read_bytes())
    others = sorted(_beside(name, set()) - {name})
    if not others:  # as it was before other files counted, so that such runs go on
        return (digest.hexdigest(),)
    for other in others:
        digest.update((_file(other) or file).read_bytes())
    return (digest.hexdigest(),)


def _beside(name: str, found: set[str]) -> set[str]:
    """The imported modules below the folder that holds a module's package which it needs, itself among them."""
    file = _file(name)
    if file is None or name in found:
        return found
    found.add(name)
    depth = name.count(".") + (file.name == "__init__.py")
    for other in _imports(name, file):
        own = _file(other)
        if own and other.partition(".")[0] not in trees.OURS and own.is_relative_to(file.parents[depth]):
            _beside(other, found)
    return found


def _imports(name: str, file: Path) -> Iterator[str]:
    """The names of all that a module may import, wherever in it that stands."""
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _file(name: str) -> Path | None:
    """The source of a module that is imported; None: there is none, or it is the program that is run."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if name == "__main__" or spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None
    return Path(spec.origin).resolve() if spec.origin.endswith(".py") else None
