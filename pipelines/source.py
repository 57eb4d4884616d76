"""Python modules as syntax trees: what a name stands for in one, found without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from pipelines.trees import ConfigError


@dataclass(frozen=True)
class Definition:
    """A class, or the expression assigned to a name, and the module whose names it uses."""

    module: Module
    node: ast.ClassDef | ast.expr


Found: TypeAlias = "Definition | Module | None"


class Source:
    """Modules in some folders, parsed when asked for.

    Args:
        folders: where packages are looked for, in this order.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = list(folders)
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """The module of a dotted name, or None where it is in none of the folders."""
        if name not in self._modules:
            found = next(filter(None, (_file(folder, name) for folder in self._folders)), None)
            self._modules[name] = Module(self, name, found) if found else None
        return self._modules[name]

    def own(self, name: str, folders: Iterable[Path]) -> Module | None:
        """The module of a dotted name in other folders, or None; its neighbours are known from then on."""
        folder = next((folder for folder in folders if _file(folder, name)), None)
        self._folders += [folder] if folder else []
        return self.module(name) if folder else None


class Module:
    """One parsed file."""

    def __init__(self, source: Source, name: str, file: Path) -> None:
        self.name, self.file = name, file
        self._source = source
        self._package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        self._names: dict[str, ast.stmt] = {}
        try:
            tree = _parsed(file.read_bytes(), str(file))
        except SyntaxError as error:  # of a module of one's own
            raise ConfigError(f"imports: {file}, line {error.lineno}: {error.msg}; mend it there") from error
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                self._names[node.name] = node
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self._names |= {target.id: node for target in targets if isinstance(target, ast.Name)}
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                self._names |= {(alias.asname or alias.name.partition(".")[0]): node for alias in node.names}

    def own(self) -> Iterator[Definition]:
        """What is defined in this module, and in modules below it that it takes up."""
        top = self.name.partition(".")[0]
        for name, node in self._names.items():
            if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] != top:
                continue  # of another package: it need not be read
            found = self.find(name)
            if isinstance(found, Definition) and f"{found.module.name}.".startswith(f"{self.name}."):
                yield found

    def find(self, name: str) -> Found:
        """What a name, or a dotted name, stands for here; None for what is defined elsewhere, such as `int`."""
        name, _, rest = name.partition(".")
        node, found = self._names.get(name), None
        if isinstance(node, ast.ClassDef):
            found = Definition(self, node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            found = Definition(self, node.value) if node.value else None
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            origin, original = self.origin(node, name)
            module = self._source.module(origin)
            inside = module.find(original) if module and original and module is not self else None
            found = inside or self._source.module(f"{origin}.{original}" if original else origin)
        if not rest:
            return found
        return found.find(rest) or self._source.module(f"{found.name}.{rest}") if isinstance(found, Module) else None

    def statement(self, name: str) -> ast.stmt | None:
        """What gives a name its meaning at the top level of the module; None: nothing does."""
        return self._names.get(name)

    def origin(self, node: ast.Import | ast.ImportFrom, name: str) -> tuple[str, str | None]:
        """The module that an import takes a name from, and its name there; None where it is the module itself."""
        if isinstance(node, ast.Import):
            alias = next(a for a in node.names if (a.asname or a.name.partition(".")[0]) == name)
            return alias.name if alias.asname else name, None
        parents = self._package.split(".")
        base = parents[: len(parents) - node.level + 1] if node.level else []
        original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
        return ".".join([*base, *filter(None, [node.module])]), original


@lru_cache(maxsize=256)
def _parsed(content: bytes, file: str) -> ast.Module:
    """The tree of a file, which nobody changes: several commands of a process read the same files."""
    return ast.parse(content, file)


def _file(folder: Path, name: str) -> Path | None:
    """The file of a module in a folder that is on the path of imports."""
    path = folder.joinpath(*name.split("."))
    return next(filter(Path.is_file, (path / "__init__.py", path.with_suffix(".py"))), None)
