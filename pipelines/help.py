"""Help texts, made from the syntax trees of the stages, so that nothing heavy is imported."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines import trees
from pipelines.source import Class, Expression, Field, Source, find_modules
from pipelines.trees import Scalar, Tree, at, snake, unknown

WIDTH = 100

USAGE = """\
python -m pipelines.run NAME [stage.field=value ...] [out=DIR] [seed=N] [compute=bfloat16]
python -m pipelines.run NAME --help    all stages and fields of a pipeline
python -m pipelines.run --list         all pipelines

NAME is one of the pipelines, or the path of a YAML file like those in configs/.
Stages of your own, in my_parts.py, stand in such a file once it imports them: imports: [my_parts].
The same command again continues an interrupted run.
The stage may be left out where only one has such a field: size=32 for load.size=32."""

EXIT_CODES = """\
exit codes
  0    done
  2    a setting, an input file or the disk is at fault; one line on stderr tells
  130  interrupted; the same command continues"""


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


def overview(configs: Path, source: Source) -> str:
    """The help of the command itself."""
    pipelines = "pipelines\n" + textwrap.indent(summaries(configs), "  ")
    return "\n\n".join([USAGE, pipelines, _run_settings(source, {}, "NAME"), EXIT_CODES])


def pipeline(file: Path, source: Source, stages: str | None, overrides: Sequence[str] = ()) -> str:
    """The help of one pipeline: all its stages with type, default and meaning of every field.

    Args:
        file: the YAML of the pipeline, whose values are shown as the defaults.
        source: where the code is.
        stages: the module that holds the union `Stage` of all stages; None: that of the file's modality.
        overrides: the settings of the command line; only `imports=...` is looked at.
    """
    text = file.read_text()
    settings, entries, modality = trees.split(trees.parse(text, file.name), file.name)
    imports = trees.imports(settings, overrides)
    if imports:
        settings["imports"] = list(map(Scalar, imports))
    known = _known(source, stages or trees.stages_of(modality, imports), find_modules(imports, file.parent))
    parts = [
        f"{file.stem}: {description(text)}\n\n{_example(file)}",
        _run_settings(source, settings, file.stem),
    ]
    names = [_member(known, key, trees.no_stage(file.name, modality, imports)) for key, _ in entries]
    for name, tag, (_, body) in zip(names, trees.labels(names), entries, strict=True):
        title = _wrap(known[name].meaning, f"{tag}: ", "    ")
        parts.append("\n".join([title, *_fields(_Stated(known[name], body, {}), tag, "  ")]))
    return "\n\n".join([*parts, EXIT_CODES])


def _known(source: Source, stages: str | None, files: dict[str, Path]) -> dict[str, Class]:
    """The stages of a modality and those of one's own, by their snake_case names."""
    ours = source.members(stages, "Stage") if stages else {}
    own = source.own(files)
    trees.refuse_clashes((cls.module.name, cls.name) for cls in [*ours.values(), *own])
    return ours | {snake(cls.name): cls for cls in own}


def _example(file: Path) -> str:
    name = file.stem if file.parent.name == "configs" else str(file)
    return f"  python -m pipelines.run {name} out=runs/mine seed=3"


def _run_settings(source: Source, stated: dict[str, Tree], name: str) -> str:
    settings = source.members("pipelines.pipeline", "RunSettings")["run_settings"]
    lines = _fields(_Stated(settings, {"out": Scalar(f"runs/{name}")} | stated, {}), "", "  ")
    return "\n".join(["run", *lines])


@dataclass(frozen=True)
class _Stated:
    """A dataclass, with what the pipeline's file and the default of the field it stands in state
    for it.
    """

    cls: Class
    tree: Tree
    defaults: Mapping[str, Expression]

    def tree_of(self, field: Field) -> Tree | None:
        return self.tree.get(field.name) if isinstance(self.tree, dict) else None

    def default_of(self, field: Field) -> Expression | None:
        return self.defaults.get(field.name, field.default)


def _fields(stated: _Stated, where: str, indent: str, outer: tuple[str, ...] = ()) -> Iterator[str]:
    """The lines of all fields of a dataclass that is addressed as `where`; `outer` are the classes
    around it.
    """
    for field in stated.cls.fields:
        address = at(where, field.name)
        tree, default = stated.tree_of(field), stated.default_of(field)
        classes = {snake(member.name): member for member in field.kind.members() if isinstance(member, Class)}
        if not classes:
            yield from _entry(indent, f"{address}={_value(tree, default)}", field)
            if values := field.kind.map_values():
                added = Field("NAME", values, None, "One entry; the others stay.")
                yield from _entry(f"{indent}  ", f"{address}.{added.name}=...", added)
            continue
        chosen, body, constructed = _chosen(classes, tree, default, address)
        yield from _entry(
            indent,
            address if len(classes) == 1 and chosen else f"{address}={chosen or 'null'}",
            field,
        )
        for name, cls in classes.items():
            inner = _Stated(cls, body if name == chosen else {}, constructed if name == chosen else {})
            place = address if len(classes) == 1 else at(address, name)
            if len(classes) > 1:
                yield _wrap(cls.meaning, f"{indent}  {place}: ", f"{indent}      ")
            if cls.name not in outer:  # an energy made of energies: once is enough
                yield from _fields(inner, place, f"{indent}    ", (*outer, cls.name))


def _chosen(
    classes: dict[str, Class], tree: Tree | None, default: Expression | None, address: str
) -> tuple[str | None, Tree, Mapping[str, Expression]]:
    """Which member of a union holds where nothing else is said, with what the file and the default
    state for it.
    """
    made = default.constructed() if default else None
    name = snake(made[0].name) if made else None
    body: Tree = {}
    if isinstance(tree, Scalar):
        name = None if tree.is_null else _member(classes, tree.text, f"{address}: unknown name")
    elif isinstance(tree, dict) and len(classes) == 1:
        [name], body = classes, tree
    elif isinstance(tree, dict) and len(tree) == 1:
        [(key, body)] = tree.items()
        name = _member(classes, key, f"{address}: unknown name")
    return name, body, made[1] if made and name == snake(made[0].name) else {}


def _member(classes: dict[str, Class], key: str, problem: str) -> str:
    for name in classes:
        if name.replace("_", "") == key.replace("_", ""):
            return name
    unknown(problem, key, list(classes))


def _value(tree: Tree | None, default: Expression | None) -> str:
    if tree is None:
        return default.value_text() if default else "..."
    if isinstance(tree, list):
        return f"[{', '.join(_value(child, None) for child in tree)}]"
    if isinstance(tree, dict):
        return f"{{{', '.join(f'{key}: {_value(child, None)}' for key, child in tree.items())}}}"
    return "null" if isinstance(tree, Scalar) and tree.is_null else trees.show(tree).strip("'")


def _entry(indent: str, setting: str, field: Field) -> Iterator[str]:
    """Two lines or more: the setting and its type, then its meaning."""
    kind = field.kind.type_text()
    head = f"{indent}{setting}"
    column = 52
    if len(head) < column and column + len(kind) <= WIDTH:
        yield f"{head:{column}}{kind}"
    else:
        yield _wrap(setting, indent, f"{indent}    ")
        yield _wrap(
            kind,
            " " * min(column, WIDTH - len(kind)) if len(kind) < WIDTH - 8 else f"{indent}    ",
            f"{indent}    ",
        )
    if field.meaning:
        yield _wrap(field.meaning, f"{indent}    ", f"{indent}    ")


def _wrap(text: str, first: str, rest: str) -> str:
    wrapped = textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapped or first.rstrip(": ")
