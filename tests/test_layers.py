"""The layers: who may import what, read from the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

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
