"""The names of classes and functions in a file, `module:name`, and what they stand for among what is imported.

A public class or function of ours, which a package exports, is named by that package, so a saved energy loads wherever
its file has moved to, also one that names the file. Everything else is named by its module. Reading a name imports
nothing: it looks only at what the program has imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

ROOT = __name__.partition(".")[0]

FORMER = {"Subspace": "ProbabilisticPCA", "Unmasking": "MaskedSampling"}
"""Public names that have changed, as files of earlier versions hold them, and what they are now."""


def address(found: Any, name: str) -> str:
    """`module:name` of a class or function. TypeError: it is not to be found there again.

    Args:
        found: a class or function.
        name: of the value, in messages.
    """
    what, module, own = "class" if isinstance(found, type) else "function", found.__module__, found.__qualname__
    if (what == "function" and "." in own) or _look_up(module, own) is not found:
        known = "a lambda" if found.__name__ == "<lambda>" else f"the {what} {module}.{own}"
        raise TypeError(f"{name}: {known} is not found again by its name: define it as a {what} in a module")
    package, exported = public().get(own, (module, None))
    return f"{package if exported is found else module}:{own}"


def find(text: Any, fits: Callable[[Any], bool], what: str, name: str) -> Any:
    """The class or function that `module:name` stands for.

    Args:
        text: the address.
        fits: whether what is found is of the kind that is wanted.
        what: this kind, in messages.
        name: of the value, in messages.

    Raises:
        ValueError: it is not imported, or not what is wanted.
    """
    if not isinstance(text, str) or text.count(":") != 1:
        raise ValueError(f"{name} names a {what} by {text!r}, expected module:name")
    module, own = text.split(":")
    found = _look_up(module, own)
    if fits(found) and (found.__module__, found.__qualname__) == (module, own):
        return found
    if _ours(module):
        exported = public().get(FORMER.get(own, own), (module, None))[1]
        if fits(exported):
            return exported
    if module == "__main__" and found is None:
        raise ValueError(f"{name} is of the {what} {own} of another program: define it in a module and save it again")
    if sys.modules.get(module) is None:
        raise ValueError(
            f"{name} is of the {what} {module}.{own}, which this program has not imported: add imports={module}"
        )
    raise ValueError(f"{name} is of {module}.{own}, which is no {what} defined there")


def public() -> dict[str, tuple[str, Any]]:
    """By name what our packages export of their own, as far as they are imported, and the outermost that does."""
    packages = [name for name, module in sys.modules.items() if _ours(name) and hasattr(module, "__path__")]
    found: dict[str, tuple[str, Any]] = {}
    for package in sorted(packages, key=lambda name: (name.count("."), name)):
        exported = vars(sys.modules[package])
        for name in exported.get("__all__", ()):
            value = exported.get(name)
            if _ours(getattr(value, "__module__", "")) and getattr(value, "__qualname__", None) == name:
                found.setdefault(name, (package, value))
    return found


def _ours(module: str) -> bool:
    return module == ROOT or module.startswith(f"{ROOT}.")


def _look_up(module: str, name: str) -> Any:
    """What an imported module defines under a name, None without."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        if not isinstance(found, ModuleType | type):
            return None
        found = vars(found).get(part)  # not getattr: that of a lazy module would import
    return found
