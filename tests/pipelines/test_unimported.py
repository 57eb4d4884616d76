"""A value that a dataclass refuses is told before anything is imported, in the line that the imported class has."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipelines import config, run, schema
from pipelines.modalities import NAMES
from pipelines.source import Source
from pipelines.trees import ConfigError, Scalar, snake
from pipelines.unimported import Unimported, UnknownError

VALUES = {
    int: ("-1", "0", "1", "2", "3", "100000"),
    float: ("-1", "0", ".5", "1", "1.5"),
    str: ("zoo:nonsense", "nowhere/x"),
    bool: ("true", "false"),
}


def _settings(kind: schema.Expression, depth: int = 0) -> Iterator[tuple[list[str], str]]:
    """Paths and values of a field and of the fields below it."""
    for member in kind.members():
        if isinstance(member, schema.Class) and depth < 3:
            name = [snake(member.name)] if sum(isinstance(m, schema.Class) for m in kind.members()) > 1 else []
            for field in member.fields.values():
                yield from (([*name, field.name, *path], v) for path, v in _settings(field.kind, depth + 1))
        elif isinstance(member, schema.Choice):
            yield from (([], str(value)) for value in member.values)
        elif isinstance(member, schema.Sequence):
            count = 2 if member.is_open else len(member.kinds)
            yield from (([], str([number] * count)) for number in (-1, 0, 2, 0.5))
        elif isinstance(member, type):
            yield from (([], value) for value in VALUES.get(member, ()))


def _refusal(made: config.Made, find: Callable[[schema.Class], Any]) -> str | None:
    try:
        config._make(made, find)
    except ConfigError as error:
        return str(error)
    return None


def _stages() -> dict[tuple[str, str], schema.Class]:
    source = Source(run.ROOT)
    stages = (cls for name in NAMES for cls in schema.classes(source, f"pipelines.modalities.{name}", "Stage").values())
    return {(cls.module.name, cls.name): cls for cls in stages}


def test_every_setting_is_refused_in_the_same_line_before_its_class_is_imported():
    found, modules = Counter(), Unimported(Source(run.ROOT))
    for cls in _stages().values():
        importlib.import_module(cls.module.name)
        for field in cls.fields.values():
            for path, value in _settings(field.kind):
                try:
                    made = config._check_fields({}, cls, "stage", [([field.name, *path], Scalar(value))])
                except ConfigError:
                    continue  # of another type
                early, late = _refusal(made, modules.cls), _refusal(made, schema.Class.imported)
                assert early == late, f"{cls.name}.{field.name} {path} {value}"
                found[early is None] += 1
    assert min(found.values()) > 400


@pytest.mark.parametrize(
    "words",
    [["image_synthesis", "load.size=1"], ["voxel_recovery", "learn.energy.amortised.rank=-1"]],
    ids=lambda words: words[0],
)
def test_the_command_refuses_a_value_without_torch(words):
    code = (
        f"import sys; from pipelines.run import main; print(main({words}), {{'torch', 'numpy'}} & sys.modules.keys())"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=run.ROOT, capture_output=True, text=True)
    assert told.stdout == "2 set()\n"
    assert told.stderr.startswith(f"error: {words[1].partition('=')[0]} must ")


MINE = """
import math
import torch
from data.errors import InputError
MOST = 4
def root(): return math.sqrt(MOST)
class Net(torch.nn.Module):
    least = root()
    @torch.no_grad()
    def grown(self): return self.least
    def width(self): return self.least + 1
class Loop:
    again = Loop
"""


def test_what_needs_no_library_is_worked_out_and_the_rest_is_unknown(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.py").write_text(MINE)
    modules = Unimported(Source(tmp_path, run.ROOT))
    net = modules.thing("data.mine", "Net")
    assert net().width() == 3
    assert issubclass(modules.thing("data.mine", "InputError"), ValueError)
    unknown = [
        lambda: bool(net().grown()),
        lambda: modules.thing("data.mine", "torch").float32 == 3,
        lambda: isinstance(3, modules.thing("data.mine", "torch").Tensor | None),
        lambda: f"{modules.thing('data.mine', 'torch').float32}",
        lambda: modules.thing("data.mine", "nothing"),
    ]
    for ask in unknown:
        with pytest.raises(UnknownError):
            ask()
    with pytest.raises(NameError):
        modules.thing("data.mine", "Loop")


def test_a_class_of_ones_own_is_not_made_before_it_is_imported(tmp_path):
    (tmp_path / "mine.py").write_text("from dataclasses import dataclass\n@dataclass\nclass Own: ...\n")
    source = Source(tmp_path)
    with pytest.raises(UnknownError):
        Unimported(source).cls(schema.classes(source, "mine", "Own")["own"])
