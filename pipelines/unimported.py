"""Classes made of their source alone: a value that they refuse is told before anything slow is imported.

A module is here the `Names` that it defines: each class, function and constant is made of its source when it is first
asked for. A library's, such as torch, is `Absent`: it can be named, and nothing can be worked out with it.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any, ClassVar, NoReturn  # noqa: F401  ClassVar: dataclasses look for it where a class is made

from pipelines.schema import Class
from pipelines.source import Module, Source
from pipelines.trees import OURS


class UnknownError(Exception):
    """It takes an import to know this."""


class Absent:
    """Something of a library that is not imported, and whatever is made of it."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __getattr__(self, name: str) -> Absent:
        if name.startswith("__"):  # Python asks whether it has some protocol
            raise AttributeError(name)
        return Absent()

    def _made(self, *_: Any, **__: Any) -> Absent:
        return Absent()

    def _unknown(self, *_: Any) -> NoReturn:
        raise UnknownError

    def __mro_entries__(self, _: tuple[Any, ...]) -> tuple[type, ...]:
        return ()  # a class that derives from it is made without it

    __getitem__ = __call__ = __or__ = __ror__ = _made
    __bool__ = __len__ = __iter__ = __eq__ = __repr__ = __format__ = __instancecheck__ = _unknown  # type: ignore
    __hash__ = object.__hash__  # dataclasses take what has none for a list


class Unimported:
    """Modules of this program by what their source says.

    Args:
        source: where they are.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._names: dict[str, Names] = {}

    def cls(self, cls: Class) -> Any:
        """A class of this program. UnknownError: it is one of the person's own, which may do what it likes."""
        if cls.module.name.partition(".")[0] not in OURS:
            raise UnknownError
        return self.thing(cls.module.name, cls.name)

    def names(self, name: str) -> Names | None:
        """Those of a module; None: there is no such module."""
        module = self._source.module(name)
        if module is not None and name not in self._names:
            self._names[name] = Names(module, self)
        return self._names.get(name)

    def thing(self, module: str, name: str | None) -> Any:
        """What a module calls by a name, or one below it of that name; None: the module itself.

        UnknownError: the module calls nothing so.
        """
        if module.partition(".")[0] not in OURS:
            return Absent()
        if name is None:
            return _Module(module, self)
        names = self.names(module)
        if names is not None and (name in names or names.defines(name)):
            return names[name]
        if self.names(f"{module}.{name}") is None:
            raise UnknownError
        return _Module(f"{module}.{name}", self)


class _Module:
    """A module of this program, as an import gives it."""

    def __init__(self, name: str, modules: Unimported) -> None:
        self._name, self._modules = name, modules

    def __getattr__(self, name: str) -> Any:
        return self._modules.thing(self._name, name)


class Names(dict[str, Any]):
    """What a module defines by its names; the global names of all that is made of it."""

    def __init__(self, module: Module, modules: Unimported) -> None:
        super().__init__(__builtins__=builtins, __name__=__name__, __file__=str(module.file))
        self._module, self._modules = module, modules
        self._begun: set[str] = set()

    def defines(self, name: str) -> bool:
        """Whether it can be made, and is not being made."""
        return name not in self._begun and self._module.statement(name) is not None

    def __missing__(self, name: str) -> Any:
        node = self._module.statement(name)
        if node is None or name in self._begun:
            raise KeyError(name)  # one of Python's own, or a circle
        self._begun.add(name)
        if isinstance(node, ast.Import | ast.ImportFrom):
            self[name] = self._imported(*self._module.origin(node, name))
            return self[name]
        code = compile(ast.Module([node], []), str(self._module.file), "exec")  # without annotations, as this module
        for used in _at_once(code):
            if used not in self and self.defines(used):
                self.__missing__(used)
        exec(code, self)
        return self[name]

    def _imported(self, module: str, name: str | None) -> Any:
        if module.partition(".")[0] not in sys.stdlib_module_names:
            return self._modules.thing(module, name)
        found = importlib.import_module(module)
        return found if name is None else getattr(found, name)


def _at_once(code: CodeType) -> Iterator[str]:
    """Names that code asks for as it runs, bodies of classes included: there Python does not ask `__missing__`."""
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, CodeType) and not part.co_flags & inspect.CO_OPTIMIZED:  # no function
            yield from _at_once(part)
