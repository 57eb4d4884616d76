"""Help texts: all stages and settings of a pipeline, with what they mean, before anything slow is imported."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines import trees
from pipelines.config import Stages
from pipelines.schema import Class, Expression, Field, Map
from pipelines.trees import Scalar, Tree, at, snake, unknown

WIDTH, COLUMN = 100, 52

USAGE = """\
python -m pipelines.run NAME [stage.field=value ...] [out=DIR] [seed=N] [compute=bfloat16]
python -m pipelines.run NAME --help    all stages and fields of a pipeline
python -m pipelines.run --list         all pipelines
python -m pipelines.run --store        results in runs/ that other runs take; --store clear: none takes them any more

NAME is one of the pipelines, or the path of a YAML file like those in configs/.
Stages of your own, in my_parts.py, stand in such a file once it imports them: imports: [my_parts].
The same command again continues an interrupted run."""

SETTINGS = """\
settings
  stage.field=value         such as load.size=32; a list is written [a, b]; null is nothing
  stage.field=name          one of a | b by its name, with its own defaults
  stage.field.name.f=value  the same with another value of its field f
  02_stage.field=value      where a pipeline has a stage twice, its number tells which is meant
  field=value               short for stage.field=value, where only one stage of the pipeline has a
                            field of that name; where several have, a message lists them"""

EXIT_CODES = """\
exit codes
  0    done
  2    a setting, an input file or the disk is at fault; one line on stderr tells
  130  interrupted; the same command continues. 143 and 129: stopped by SIGTERM and SIGHUP, likewise"""


def summaries(configs: Path) -> str:
    """One line a pipeline: its name and what it does."""
    files = sorted(configs.glob("*.yaml"))
    width = max((len(file.stem) for file in files), default=0)
    return "\n".join(f"{file.stem:{width}}  {description(file.read_text())}" for file in files)


def description(text: str) -> str:
    """The comment at the top of a pipeline file."""
    lines = text.splitlines()
    comment = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.lstrip("# ") for line in lines[:comment])


def overview(configs: Path, settings: Class) -> str:
    """The help of the command itself; `settings` are those of a run."""
    pipelines = "pipelines\n" + textwrap.indent(summaries(configs), "  ")
    return "\n\n".join([USAGE, SETTINGS, pipelines, _run({}, settings, "NAME"), EXIT_CODES])


def pipeline(file: Path, stated: dict[str, Tree], stages: Stages, settings: Class) -> str:
    """The help of one pipeline: all its stages with type, default and meaning of every field.

    Args:
        file: the YAML of the pipeline.
        stated: what it states for the run, which is shown as the defaults.
        stages: those of the file.
        settings: the dataclass of the run's settings.
    """
    name = file.stem if file.parent.name == "configs" else str(file)
    parts = [
        f"{file.stem}: {description(file.read_text())}\n\n  python -m pipelines.run {name} out=runs/mine seed=3",
        _run(stated, settings, file.stem),
    ]
    for tag, (cls, body) in stages.items():
        parts.append("\n".join([_wrap(cls.meaning, f"{tag}: ", "    "), *_fields(_Stated(cls, body, {}), tag, "  ")]))
    return "\n\n".join([*parts, SETTINGS, EXIT_CODES])


def _run(stated: dict[str, Tree], settings: Class, name: str) -> str:
    whole = _Stated(settings, {"out": Scalar(f"runs/{name}")} | stated, {})
    return "\n".join(["run", *_fields(whole, "", "  ")])


@dataclass(frozen=True)
class _Stated:
    """A dataclass, with what the pipeline's file and the default of the field it stands in state for it."""

    cls: Class
    tree: Tree
    defaults: Mapping[str, Expression]

    def of(self, field: Field) -> tuple[Tree | None, Expression | None]:
        """What the file states for a field, and its default."""
        tree = self.tree.get(field.name) if isinstance(self.tree, dict) else None
        return tree, self.defaults.get(field.name, field.default)


def _fields(stated: _Stated, where: str, indent: str, outer: tuple[str, ...] = ()) -> Iterator[str]:
    """The lines of all fields of a dataclass that is addressed as `where`; `outer` are the classes around it."""
    for field in stated.cls.fields.values():
        address = at(where, field.name)
        tree, default = stated.of(field)
        kinds = list(field.kind.members())
        classes = {snake(kind.name): kind for kind in kinds if isinstance(kind, Class)}
        if not classes:
            yield from _entry(indent, f"{address}={_value(tree, default)}", field)
            for values in (kind.values for kind in kinds if isinstance(kind, Map)):
                entry = Field("NAME", values, None, "One entry; the others stay.")
                yield from _entry(f"{indent}  ", f"{address}.{entry.name}=...", entry)
            continue
        chosen, body, constructed = _chosen(classes, tree, default, address)
        is_one = len(classes) == 1
        yield from _entry(indent, address if is_one and chosen else f"{address}={chosen or 'null'}", field)
        for name, cls in classes.items():
            place = address if is_one else at(address, name)
            if not is_one:
                yield _wrap(cls.meaning, f"{indent}  {place}: ", f"{indent}      ")
            if cls.name not in outer:  # an energy made of energies: once is enough
                inner = _Stated(cls, body, constructed) if name == chosen else _Stated(cls, {}, {})
                yield from _fields(inner, place, f"{indent}    ", (*outer, cls.name))


def _chosen(
    classes: dict[str, Class], tree: Tree | None, default: Expression | None, address: str
) -> tuple[str | None, Tree, Mapping[str, Expression]]:
    """Which member of a union holds where nothing else is said, with what the file and the default state for it."""
    made = default.constructed() if default else None
    name = snake(made[0].name) if made else None
    body: Tree = {}
    if isinstance(tree, Scalar):
        name = None if tree.is_null else tree.text
    elif isinstance(tree, dict) and len(classes) == 1:
        [name], body = classes, tree
    elif isinstance(tree, dict) and len(tree) == 1:
        [(name, body)] = tree.items()
    if name is not None and name not in classes:
        unknown(f"{address}: unknown name", name, list(classes))
    return name, body, made[1] if made and name == snake(made[0].name) else {}


def _value(tree: Tree | None, default: Expression | None) -> str:
    if tree is None:
        return default.value_text() if default else "..."
    if isinstance(tree, list):
        return f"[{', '.join(_value(child, None) for child in tree)}]"
    if isinstance(tree, dict):
        return f"{{{', '.join(f'{key}: {_value(child, None)}' for key, child in tree.items())}}}"
    return "null" if tree.is_null else trees.show(tree).strip("'")


def _entry(indent: str, setting: str, field: Field) -> Iterator[str]:
    """Two lines or more: the setting and its type, then its meaning."""
    yield _wrap(f"{setting:{COLUMN - len(indent) - 1}} {field.kind.type_text()}", indent, f"{indent}        ")
    if field.meaning:
        yield _wrap(field.meaning, f"{indent}    ", f"{indent}    ")


def _wrap(text: str, first: str, rest: str) -> str:
    wrapped = textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return wrapped or first.rstrip(": ")
