"""Dataclasses read from source code without importing it: fields, defaults, unions, docstrings."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from pipelines.trees import ConfigError, snake


def find_modules(names: Sequence[str], folder: Path) -> dict[str, Path]:
    """The files of modules by their dotted names, for one's own parts; from here on they can be imported.

    Nothing is imported. Modules are looked for on sys.path, in the current folder and in `folder`, that of the
    pipeline's file.

    Raises:
        ConfigError: there is no such module.
    """
    if not names:
        return {}
    folders = dict.fromkeys([os.getcwd(), str(folder.resolve())])
    sys.path += [name for name in folders if name not in sys.path]  # last: they hide nothing that is installed
    importlib.invalidate_caches()
    found = {name: _file_of(name) for name in names}
    for name, file in found.items():
        if file is None:
            raise ConfigError(
                f"imports: there is no module '{name}' in {', in '.join(folders)}, nor elsewhere on sys.path; "
                "run the command in the module's folder, or name that folder in PYTHONPATH"
            )
    return {name: file for name, file in found.items() if file}


def _file_of(name: str) -> Path | None:
    """The file of a module, found as `import` does, but without the import of the packages around it."""
    parts = name.split(".")
    spec = importlib.util.find_spec(parts[0])
    for depth in range(2, len(parts) + 1):
        inside = spec.submodule_search_locations if spec else None
        spec = PathFinder.find_spec(".".join(parts[:depth]), inside) if inside else None
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


class Source:
    """Python modules in some folders, parsed when asked for.

    Args:
        folders: where packages are looked for, in this order.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = list(folders)
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """The module of a dotted name, or None where it is in none of the folders."""
        if name not in self._modules:
            paths = (f / Path(*name.split(".")) for f in self._folders)
            files = [
                file for path in paths for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()
            ]
            self._modules[name] = Module(self, name, files[0]) if files else None
        return self._modules[name]

    def own(self, files: dict[str, Path]) -> list[Class]:
        """The stages of one's own in modules whose files are given."""
        for name, file in files.items():
            self._folders.append(file.parents[name.count(".") + (file.name == "__init__.py")])
        modules = filter(None, map(self.module, files))
        classes = {(cls.module.name, cls.name): cls for module in modules for cls in module.own() if cls.is_stage}
        return list(classes.values())

    def members(self, module: str, name: str) -> dict[str, Class]:
        """The dataclasses of a union (or the one dataclass) that a module names, by their
        snake_case names.
        """
        found = self.module(module)
        target = found.find(name) if found else None
        classes = target.members() if isinstance(target, Expression) else [target]
        return {snake(cls.name): cls for cls in classes if isinstance(cls, Class)}


class Module:
    """One parsed file."""

    def __init__(self, source: Source, name: str, file: Path) -> None:
        self.source = source
        self.package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        self.name = name
        self._names: dict[str, ast.stmt] = {}
        try:
            self._collect(ast.parse(file.read_bytes(), str(file)).body)
        except SyntaxError as error:  # of a module of one's own
            raise ConfigError(f"imports: {file}, line {error.lineno}: {error.msg}; mend it there") from error

    def _collect(self, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                self._names[node.name] = node
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self._names |= {target.id: node for target in targets if isinstance(target, ast.Name)}
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                self._names |= {(alias.asname or alias.name.partition(".")[0]): node for alias in node.names}
            elif isinstance(node, ast.If):  # if TYPE_CHECKING:
                self._collect(node.body)

    def own(self) -> Iterator[Class]:
        """The classes that are defined in this module, and those of modules below it that it takes up."""
        top = self.name.partition(".")[0]
        for name, node in self._names.items():
            if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] != top:
                continue  # of another package: it need not be read
            found = self.find(name)
            if isinstance(found, Class) and f"{found.module.name}.".startswith(f"{self.name}."):
                yield found

    def find(self, name: str) -> Class | Expression | Module | None:
        """What a name stands for here: a class, the expression assigned to it, or a module."""
        node = self._names.get(name)
        if isinstance(node, ast.ClassDef):
            return Class(self, node)
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            return Expression(self, node.value) if node.value else None
        if isinstance(node, ast.ImportFrom):
            parents = self.package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
            module = self.source.module(origin)
            inside = module.find(original) if module and module is not self else None
            return inside or self.source.module(f"{origin}.{original}")
        if isinstance(node, ast.Import):
            alias = next(a for a in node.names if (a.asname or a.name.partition(".")[0]) == name)
            return self.source.module(alias.name if alias.asname else name)
        return None


@dataclass(frozen=True)
class Expression:
    """An expression and the module whose names it uses."""

    module: Module
    node: ast.expr

    def at(self, node: ast.expr) -> Expression:
        return Expression(self.module, node)

    def resolve(self) -> Class | Expression | Module | None:
        """What a name or a dotted name stands for; None for what is defined elsewhere, such as
        `int`.
        """
        if isinstance(self.node, ast.Name):
            return self.module.find(self.node.id)
        if isinstance(self.node, ast.Attribute):
            owner = self.at(self.node.value).resolve()
            if isinstance(owner, Module):
                return owner.find(self.node.attr) or self.module.source.module(f"{owner.name}.{self.node.attr}")
        return None

    def members(self) -> Iterator[Class | Expression]:
        """The types of a union, through aliases; a dataclass as Class."""
        node = self.node
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from self.at(ast.parse(node.value, mode="eval").body).members()
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            yield from self.at(node.left).members()
            yield from self.at(node.right).members()
        elif isinstance(node, ast.Subscript) and _last_name(node.value) in ("Union", "Optional"):
            for part in node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]:
                yield from self.at(part).members()
            if _last_name(node.value) == "Optional":
                yield self.at(ast.Constant(None))
        else:
            found = self.resolve()
            if isinstance(found, Expression):
                yield from found.members()
            else:
                yield found if isinstance(found, Class) and found.is_dataclass else self

    def map_values(self) -> Expression | None:
        """The type of the values where one of the types is a map, `dict[str, float]`."""
        for member in self.members():
            node = member.node
            if isinstance(member, Expression) and isinstance(node, ast.Subscript) and _last_name(node.value) == "dict":
                return member.at(node.slice.elts[1]) if isinstance(node.slice, ast.Tuple) else None
        return None

    def type_text(self) -> str:
        """A type as a person writes the value: `int | null`, `a | b`, `[int, ...]`, `{NAME: int, ...}`."""
        return " | ".join(dict.fromkeys(_type_text(member) for member in self.members()))

    def value_text(self) -> str:
        """A default as it is written in YAML."""
        node = self.node
        if isinstance(node, ast.Constant):
            return {"None": "null", "True": "true", "False": "false", "''": "''"}.get(repr(node.value), str(node.value))
        if isinstance(node, (ast.Tuple, ast.List)):
            return f"[{', '.join(self.at(child).value_text() for child in node.elts)}]"
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return f"{{{', '.join(f'{self.at(k).value_text()}: {self.at(v).value_text()}' for k, v in pairs if k)}}}"
        if isinstance(node, ast.Call) and _last_name(node.func) == "Path" and node.args:
            return self.at(node.args[0]).value_text()
        found = self.resolve()
        return found.value_text() if isinstance(found, Expression) else ast.unparse(node)

    def constructed(self) -> tuple[Class, dict[str, Expression]] | None:
        """For the default `Langevin(steps=20)`: the class, and the fields that it states."""
        found = self.resolve()
        if isinstance(found, Expression):
            return found.constructed()
        cls = self.at(self.node.func).resolve() if isinstance(self.node, ast.Call) else None
        if not isinstance(self.node, ast.Call) or not isinstance(cls, Class):
            return None
        stated = {f.name: self.at(arg) for f, arg in zip(cls.fields, self.node.args, strict=False)}
        return cls, stated | {k.arg: self.at(k.value) for k in self.node.keywords if k.arg}


@dataclass(frozen=True)
class Field:
    """A setting of a dataclass."""

    name: str
    kind: Expression
    default: Expression | None
    meaning: str


@dataclass(frozen=True)
class Class:
    """A class and the module it is defined in."""

    module: Module
    node: ast.ClassDef

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def is_dataclass(self) -> bool:
        decorators = (d.func if isinstance(d, ast.Call) else d for d in self.node.decorator_list)
        return any(_last_name(decorator) == "dataclass" for decorator in decorators)

    @property
    def is_stage(self) -> bool:
        """Whether it is a public frozen dataclass with needs, gives and a call: a stage."""
        calls = [d for d in self.node.decorator_list if isinstance(d, ast.Call) and _last_name(d.func) == "dataclass"]
        options = [option for call in calls for option in call.keywords if option.arg == "frozen"]
        frozen = any(isinstance(option.value, ast.Constant) and option.value.value is True for option in options)
        return frozen and self.name[0] != "_" and all(map(self._states, ("needs", "gives", "__call__")))

    def _states(self, name: str) -> bool:
        """Whether the class, or one that it derives from, defines a name."""
        stated: set[str] = set()
        for node in self.node.body:
            if isinstance(node, ast.FunctionDef):
                stated.add(node.name)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value:
                stated |= set(map(_last_name, node.targets if isinstance(node, ast.Assign) else [node.target]))
        bases = [Expression(self.module, base).resolve() for base in self.node.bases]
        return name in stated or any(base._states(name) for base in bases if isinstance(base, Class))

    @property
    def meaning(self) -> str:
        """The first paragraph of the docstring."""
        return inspect.cleandoc(ast.get_docstring(self.node) or "").partition("\n\n")[0]

    @property
    def fields(self) -> list[Field]:
        """The fields that are settings, those of dataclasses it derives from first."""
        found: dict[str, Field] = {}
        for base in self.node.bases:
            parent = Expression(self.module, base).resolve()
            if isinstance(parent, Class) and parent.is_dataclass:
                found |= {f.name: f for f in parent.fields}
        for node, following in zip(self.node.body, [*self.node.body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _is_setting(node):
                default = Expression(self.module, _default(node.value)) if node.value else None
                kind = Expression(self.module, node.annotation)
                found[node.target.id] = Field(node.target.id, kind, default, _text(following))
        return list(found.values())


def _type_text(member: Class | Expression) -> str:
    if isinstance(member, Class):
        return snake(member.name)
    node = member.node
    if isinstance(node, ast.Constant):
        return "null" if node.value is None else "..."
    if isinstance(node, ast.Subscript):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if _last_name(node.value) == "Literal":
            return " | ".join(member.at(part).value_text() for part in parts)
        if values := member.map_values():
            return f"{{NAME: {values.type_text()}, ...}}"
        inner = [member.at(part).type_text() for part in parts]
        return f"[{', '.join(inner)}{', ...' if _last_name(node.value).lower() == 'list' else ''}]"
    return _last_name(node).lower() or ast.unparse(node)


def _is_setting(node: ast.AnnAssign) -> bool:
    kind = node.annotation.value if isinstance(node.annotation, ast.Subscript) else node.annotation
    text = kind.value if isinstance(kind, ast.Constant) else _last_name(kind)
    options = node.value.keywords if isinstance(node.value, ast.Call) and _last_name(node.value.func) == "field" else []
    derived = any(o.arg == "init" and isinstance(o.value, ast.Constant) and o.value.value is False for o in options)
    tensor = any(_last_name(part) == "Tensor" for part in ast.walk(node.annotation))
    return not derived and not tensor and not str(text).startswith(("ClassVar", "typing.ClassVar", "KW_ONLY"))


def _default(node: ast.expr) -> ast.expr:
    """The value of a default, also where it stands in `field(...)`."""
    if not (isinstance(node, ast.Call) and _last_name(node.func) == "field"):
        return node
    options = {option.arg: option.value for option in node.keywords}
    factory = options.get("default_factory")
    if factory is None:
        return options["default"]
    if isinstance(factory, ast.Lambda):
        return factory.body
    if isinstance(factory, ast.Name) and factory.id in ("list", "tuple"):
        return ast.List(elts=[])
    if isinstance(factory, ast.Name) and factory.id == "dict":
        return ast.Dict(keys=[], values=[])
    return ast.Call(func=factory, args=[], keywords=[])


def _text(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def _last_name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
