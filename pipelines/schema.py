"""The settings of dataclasses, read from their source: fields with types, defaults and docstrings.

The configuration and `--help` read the same, so both know all settings of a pipeline before anything slow is imported.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, TypeAlias

from pipelines.source import Definition, Module, Source
from pipelines.trees import snake


def classes(source: Source, module: str, name: str) -> dict[str, Class]:
    """The dataclasses of a union, or the one dataclass, that a module names, by their names in snake_case."""
    found = source.module(module)
    members = Expression(found, ast.Name(name)).members() if found else ()
    return {snake(cls.name): cls for cls in members if isinstance(cls, Class)}


def own_stages(modules: Iterable[Module]) -> list[Class]:
    """The stages in modules of one's own: those of the union `Stage` where a module has one, as that of a modality,
    else the public classes with needs, gives and a call."""
    found: dict[tuple[str, str], Class] = {}
    for own in modules:
        union = own.find("Stage")
        if isinstance(union, Definition) and isinstance(union.node, ast.expr):
            members = Expression(union.module, union.node).members()
            found |= {(cls.module.name, cls.name): cls for cls in members if isinstance(cls, Class)}
            continue
        for module, node in ((thing.module, thing.node) for thing in own.own()):
            if isinstance(node, ast.ClassDef) and node.name[0] != "_":
                found[module.name, node.name] = Class(module, node)
    return [cls for cls in found.values() if all(map(cls.states, ("needs", "gives", "__call__")))]


# -------------------------------------------------------------------------------------------- types


@dataclass(frozen=True)
class Choice:
    """Literal[...]."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Sequence:
    """A tuple or a list: the kinds of its items, or, where it `is_open`, the one kind of any number of them."""

    made: type
    kinds: tuple[Expression, ...]
    is_open: bool


@dataclass(frozen=True)
class Map:
    """dict[str, ...]."""

    values: Expression


Kind: TypeAlias = "Class | Choice | Sequence | Map | type | Expression"
"""One type of a union. An Expression is a type that no text can mean, such as Callable."""

_WORDS = {int: "whole number", float: "number", bool: "true | false", str: "text", Path: "path", NoneType: "null"}
_SCALARS = {"int": int, "float": float, "bool": bool, "str": str, "Path": Path}


@dataclass(frozen=True)
class Expression:
    """An expression, a type or a default, and the module whose names it uses."""

    module: Module
    node: ast.expr

    def at(self, node: ast.expr) -> Expression:
        return Expression(self.module, node)

    def resolve(self) -> Class | Expression | None:
        """What a name stands for; None for what is defined elsewhere, such as `int`, and for what is no name."""
        found = self.module.find(ast.unparse(self.node)) if isinstance(self.node, ast.Name | ast.Attribute) else None
        if not isinstance(found, Definition):
            return None
        module, node = found.module, found.node
        return Class(module, node) if isinstance(node, ast.ClassDef) else Expression(module, node)

    def members(self) -> Iterator[Kind]:
        """The types of a union, through aliases, or the one type."""
        node = self.node
        if isinstance(node, ast.Constant) and isinstance(node.value, str):  # a type in quotes
            yield from self.at(ast.parse(node.value, mode="eval").body).members()
        elif isinstance(node, ast.Constant) and node.value is None:
            yield NoneType
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            yield from self.at(node.left).members()
            yield from self.at(node.right).members()
        elif isinstance(node, ast.Subscript):
            yield self._generic(node)
        elif isinstance(found := self.resolve(), Expression):
            yield from found.members()
        else:
            yield found if found and found.is_dataclass else _SCALARS.get(_last_name(node), self)

    def _generic(self, node: ast.Subscript) -> Kind:
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        kinds = tuple(self.at(part) for part in parts if ast.unparse(part) != "...")
        match _last_name(node.value):
            case "Literal":
                return Choice(tuple(map(ast.literal_eval, parts)))
            case "list":
                return Sequence(list, kinds, True)
            case "tuple":
                return Sequence(tuple, kinds, len(kinds) < len(parts))
            case "dict":
                return Map(kinds[1])
        return self

    def type_text(self) -> str:
        """A type as its values are written: `number | null`, `[text, ...]`, `{NAME: text, ...}`, names of a union."""
        return " | ".join(dict.fromkeys(map(_kind_text, self.members())))

    def value_text(self) -> str:
        """A default as it is written in YAML."""
        node = self.node
        if isinstance(node, ast.Constant):
            return {"None": "null", "True": "true", "False": "false", "''": "''"}.get(repr(node.value), str(node.value))
        if isinstance(node, ast.Tuple):
            return f"[{', '.join(self.at(child).value_text() for child in node.elts)}]"
        found = self.resolve()
        return found.value_text() if isinstance(found, Expression) else ast.unparse(node)

    def constructed(self) -> tuple[Class, dict[str, Expression]] | None:
        """For the default `Langevin(steps=20)`: the class, and the fields that it states."""
        if isinstance(found := self.resolve(), Expression):
            return found.constructed()
        cls = self.at(self.node.func).resolve() if isinstance(self.node, ast.Call) else None
        if not isinstance(self.node, ast.Call) or not isinstance(cls, Class):
            return None
        stated = {name: self.at(arg) for name, arg in zip(cls.fields, self.node.args, strict=False)}
        return cls, stated | {option.arg: self.at(option.value) for option in self.node.keywords if option.arg}


def _kind_text(kind: Kind) -> str:
    if isinstance(kind, Class):
        return snake(kind.name)
    if isinstance(kind, Choice):
        return " | ".join(map(str, kind.values))
    if isinstance(kind, Sequence):
        return f"[{', '.join([*(item.type_text() for item in kind.kinds), *['...'] * kind.is_open])}]"
    if isinstance(kind, Map):
        return f"{{NAME: {kind.values.type_text()}, ...}}"
    return ast.unparse(kind.node) if isinstance(kind, Expression) else _WORDS[kind]


# -------------------------------------------------------------------------------------- dataclasses


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
        names = (d.func if isinstance(d, ast.Call) else d for d in self.node.decorator_list)
        return any(_last_name(name) == "dataclass" for name in names)

    @property
    def is_frozen(self) -> bool:
        """Whether the class itself, not only one that it derives from, is a frozen dataclass."""
        options = [option for d in self.node.decorator_list if isinstance(d, ast.Call) for option in d.keywords]
        return self.is_dataclass and any((o.arg, ast.unparse(o.value)) == ("frozen", "True") for o in options)

    @property
    def meaning(self) -> str:
        """The first paragraph of the docstring."""
        return inspect.cleandoc(ast.get_docstring(self.node) or "").partition("\n\n")[0]

    @property
    def bases(self) -> list[Class]:
        """The classes that it derives from, of those whose source is known."""
        found = (Expression(self.module, base).resolve() for base in self.node.bases)
        return [base for base in found if isinstance(base, Class)]

    def states(self, name: str) -> bool:
        """Whether the class, or one that it derives from, defines a name."""
        stated: set[str] = set()
        for node in self.node.body:
            if isinstance(node, ast.FunctionDef):
                stated.add(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                stated |= set(map(_last_name, node.targets if isinstance(node, ast.Assign) else [node.target]))
        return name in stated or any(base.states(name) for base in self.bases)

    @property
    def fields(self) -> dict[str, Field]:
        """The fields that are settings by their names, those of dataclasses it derives from first."""
        found: dict[str, Field] = {}
        for base in self.bases:
            found |= base.fields if base.is_dataclass else {}
        for node, following in zip(self.node.body, [*self.node.body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _is_setting(node):
                default = Expression(self.module, _default(node.value)) if node.value else None
                kind = Expression(self.module, node.annotation)
                found[node.target.id] = Field(node.target.id, kind, default, _text(following))
        return found

    def imported(self) -> Any:
        """The class itself, of a module that has been imported."""
        return vars(sys.modules[self.module.name])[self.name]


def _is_setting(node: ast.AnnAssign) -> bool:
    names = {_last_name(part) for part in ast.walk(node.annotation)}
    options = node.value.keywords if isinstance(node.value, ast.Call) and _last_name(node.value.func) == "field" else []
    is_derived = any((option.arg, ast.unparse(option.value)) == ("init", "False") for option in options)
    return not is_derived and not {"ClassVar", "Tensor"} & names  # tensors are given in Python


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
    return ast.Dict([], []) if _last_name(factory) == "dict" else ast.Call(factory, [], [])


def _text(node: ast.stmt | None) -> str:
    value = node.value if isinstance(node, ast.Expr) else None
    return " ".join(value.value.split()) if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _last_name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
