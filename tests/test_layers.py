"""The layers: who may import what, read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from pipelines.modalities import NAMES

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "energies": {"data", "pipelines", "accelerate", "av", "PIL", "trimesh", "datasets"},
    "data": {"energies", "pipelines", "accelerate"},
    "pipelines": {"av", "PIL", "trimesh", "datasets"},
}


def imported(code: str) -> set[str]:
    """The top-level packages that code imports, also inside functions and by import_module."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            found |= {
                arg.value.partition(".")[0]
                for arg in node.args
                if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            }
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_layers(package):
    files = sorted((ROOT / package).rglob("*.py"))
    wrong = {str(f.relative_to(ROOT)): bad for f in files if (bad := imported(f.read_text()) & FORBIDDEN[package])}
    assert files and not wrong


def test_a_forbidden_import_is_seen_wherever_it_stands():
    assert imported("def f():\n    from av.video import x\n    importlib.import_module('PIL.Image')\nimport a.b") == {
        "av",
        "PIL",
        "a",
    }


# ------------------------------------------------------------------------- inside of pipelines

MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for package in FORBIDDEN
    for file in sorted((ROOT / package).rglob("*.py"))
}
"""Files of the program by the names of their modules."""
STAGES = [name for name in MODULES if name.startswith("pipelines.stages.")]
PARTS_OF_MODALITIES = [name for name in MODULES if name.startswith("pipelines.modalities.")]


def modules_of(code: str, known: Collection[str], everywhere: bool = True) -> set[str]:
    """The modules, of those known, that code imports: also inside functions, or only as it is imported itself."""
    found = set()
    for node in _nodes(ast.parse(code), everywhere):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {node.module} if inside - set(known) else set()
            found |= inside & set(known)
    return found & set(known)


def _nodes(tree: ast.AST, everywhere: bool) -> Iterator[ast.AST]:
    """All below a tree; or but what stands in functions, and what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        is_checked = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if everywhere or not (is_checked or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            yield node
            yield from _nodes(node, everywhere)


def cycle(imports: Mapping[str, Collection[str]]) -> list[str]:
    """Names of modules that import each other in a circle; []: none do."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        found = next(filter(None, (visit(other, [*path, name]) for other in sorted(imports.get(name, ())))), [])
        done.add(name)
        return found

    return next(filter(None, (visit(name, []) for name in sorted(imports))), [])


def with_packages(name: str, modules: Collection[str]) -> set[str]:
    """Modules, and the packages that they lie in, which are imported first; but for those that `name` lies in too."""
    found = set(modules)
    for module in modules:
        parts = module.split(".")
        found |= {".".join(parts[:k]) for k in range(1, len(parts))}
    return {module for module in found if not f"{name}.".startswith(f"{module}.")}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_knows_no_modality_by_name(name):
    found = modules_of(MODULES[name].read_text(), MODULES)
    allowed = {"pipelines.modalities", "pipelines.modalities.base"}
    assert not {module for module in found if module.startswith("pipelines.modalities")} - allowed


def test_only_the_union_of_a_modality_knows_stages():
    unions = {f"pipelines.modalities.{name}" for name in NAMES}
    found = {name: modules_of(MODULES[name].read_text(), MODULES) for name in PARTS_OF_MODALITIES}
    knowing = {name for name, modules in found.items() if any(m.startswith("pipelines.stages") for m in modules)}
    assert knowing == unions


def test_what_every_modality_shares_knows_none_by_name():
    shared = {name for name in MODULES if name.startswith("pipelines.")} - set(PARTS_OF_MODALITIES)
    shared |= {"pipelines.modalities.base", "pipelines.modalities.views"}
    kinds = tuple(f"pipelines.modalities.{name}" for name in NAMES)
    wrong = {name: own for name in shared if (own := _of(modules_of(MODULES[name].read_text(), MODULES), kinds))}
    assert not wrong


def _of(modules: Collection[str], kinds: tuple[str, ...]) -> set[str]:
    return {module for module in modules if module.startswith(kinds)}


def test_no_modules_import_each_other():
    """As they are imported; what stands inside a function is imported later."""
    imports = {
        name: with_packages(name, modules_of(file.read_text(), MODULES, everywhere=False))
        for name, file in MODULES.items()
    }
    assert len(imports) > 100 and imports["pipelines.stages.learn"] > {"pipelines.examples", "energies"}
    assert cycle(imports) == []


def test_a_cycle_is_found_and_a_diamond_is_none():
    assert cycle({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}) == []
    assert cycle({"a": ["b"], "b": ["c"], "c": ["d"], "d": ["b"]}) == ["b", "c", "d", "b"]
    assert cycle({"a": ["a"]}) == ["a", "a"]


def test_imports_are_read_where_they_stand():
    code = (
        "import p.a\nfrom p import b, x\nif TYPE_CHECKING:\n    from p.c import y\n"
        "class K:\n    import p.e\n    def f(self):\n        from p.d import z\n"
    )
    known = {"p", "p.a", "p.b", "p.c", "p.d", "p.e", "p.g"}
    assert modules_of(code, known) == known - {"p.g"}
    assert modules_of(code, known, everywhere=False) == {"p", "p.a", "p.b", "p.e"}
    assert with_packages("p.q.r", {"p.a", "p.q.s", "o.t"}) == {"p.a", "p.q.s", "o", "o.t"}
