"""Configuration as text: strict YAML and `stage.field=value`, read to trees of text scalars.

Nothing here knows the dataclasses that a configuration fills; `pipelines/config.py` gives the scalars their types.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import yaml

OURS = ("data", "energies", "pipelines")
"""The packages of this program."""


class ConfigError(ValueError):
    """A setting is wrong. The message is one line: which field, what was got, what was expected."""


@dataclass(frozen=True)
class Scalar:
    """One value as it was written."""

    text: str
    quoted: bool = False

    @property
    def is_null(self) -> bool:
        return not self.quoted and self.text in ("", "~", "null")


Tree: TypeAlias = "Scalar | list[Tree] | dict[str, Tree]"

INT = r"[-+]?[0-9]{1,18}"  # what surely fits 64 bits
FLOAT = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"  # 1e-4 too, which YAML 1.1 takes for text


# ------------------------------------------------------------------------------------ text to trees


def parse(text: str | bytes, name: str) -> Tree:
    """The tree of a YAML document called `name`.

    Raises:
        ConfigError: bad syntax, a key given twice, anchors, aliases, tags, over 30 levels.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            _refuse(event, depth)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return Scalar("") if node is None else _tree(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{name}{where}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not YAML text: {' '.join(str(error).split())}") from None


def _refuse(event: yaml.Event, depth: int) -> None:
    """The parts of YAML that copy, build objects, or nest without end."""
    problem = None
    if getattr(event, "anchor", None) is not None:  # an alias has one, too
        problem = "anchors and aliases (& and *) are not allowed; write it out, or quote it"
    elif getattr(event, "tag", None) is not None:
        problem = "tags (!) are not allowed; leave it out, or quote it"
    elif depth > 30:
        problem = "nested too deeply"
    if problem:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _tree(node: yaml.Node) -> Tree:
    if isinstance(node, yaml.ScalarNode):
        return Scalar(node.value, quoted=node.style is not None)
    if isinstance(node, yaml.SequenceNode):
        return [_tree(child) for child in node.value]
    mapping: dict[str, Tree] = {}
    for key, child in node.value:
        problem = None
        if not isinstance(key, yaml.ScalarNode):
            problem = "a key must be a word"
        elif key.value in mapping:
            problem = f"'{key.value}' is given twice"
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        mapping[key.value] = _tree(child)
    return mapping


def override(argument: str) -> tuple[list[str], Scalar]:
    """The path and the value of one `stage.field=value`."""
    path, equals, text = argument.partition("=")
    if not equals or not path:
        raise ConfigError(f"'{argument}' is no setting; one is written stage.field=value")
    return path.split("."), Scalar(text)


def flow(value: Scalar, where: str) -> Tree:
    """A list or map written on the command line (`[a, b]`, `{a: 1}`), where one may stand."""
    return parse(value.text, where) if not value.quoted and value.text[:1] in ("[", "{") else value


def expanded(value: Scalar, where: str) -> Scalar:
    """A value that is written as a path from ~ or $VARIABLE on, with the folder that is meant.

    ConfigError: the folder is not known; a character that no file, name or text can have.
    """
    if wrong := re.search("[\0\ud800-\udfff]", value.text):
        what = "a NUL character" if wrong[0] == "\0" else "a character that is not UTF-8"
        raise ConfigError(f"{where}: got {show(value)}, which has {what}; rename the file, or leave it out")
    first = re.match(r"~[\w.-]*(?=/)|(\$\w+|\$\{\w+\})(?=/|$)", value.text)  # ~shape.circle is an expression
    if first is None or value.is_null:
        return value
    folder = os.path.expandvars(os.path.expanduser(first[0]))
    if folder == first[0]:
        raise ConfigError(f"{where}: got {show(value)}, but there is no {first[0]}; write the whole path")
    return Scalar(folder + value.text[first.end() :], quoted=True)


# ----------------------------------------------------------------------------------- pipeline files


def modalities() -> list[str]:
    """The packages in pipelines/modalities, each with the stages of its modality."""
    return sorted(file.parent.name for file in Path(__file__).parent.glob("modalities/*/__init__.py"))


def split(tree: Tree, name: str) -> tuple[dict[str, Tree], list[tuple[str, Tree]], str | None]:
    """The settings of the run, the stages as (name, body), and the modality, in the tree of a pipeline file."""
    stages = tree.get("stages") if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or not isinstance(stages, list) or not stages:
        raise ConfigError(f"{name}: expected 'stages:' with a list of stages such as '- load: {{}}'")
    entries: list[tuple[str, Tree]] = []
    for entry in stages:
        if isinstance(entry, Scalar) and not entry.is_null:  # `- export` is short for `- export: {}`
            entries.append((entry.text, {}))
            continue
        if not isinstance(entry, dict) or len(entry) != 1:
            raise ConfigError(f"{name}: got {show(entry)}, expected one stage such as '- load: {{}}'")
        entries += entry.items()
    modality = tree.get("modality")
    if modality is not None and not (isinstance(modality, Scalar) and modality.text in modalities()):
        raise ConfigError(f"{name}: modality must be {' or '.join(modalities())}, got {show(modality)}")
    settings = {key: body for key, body in tree.items() if key not in ("modality", "stages")}
    return settings, entries, modality.text if isinstance(modality, Scalar) else None


def imports(settings: dict[str, Tree], overrides: Iterable[str]) -> tuple[str, ...]:
    """The modules that a pipeline imports, by their dotted names: those of the command line, else those of its file.

    Args:
        settings: of the run, as the file states them.
        overrides: the settings of the command line; only `imports=...` is looked at.
    """
    given = [value for path, value in map(override, overrides) if path == ["imports"]]
    if len(given) > 1:
        raise ConfigError("imports is contradicted by a later setting; give one of them")
    node = flow(given[0], "imports") if given else settings.get("imports", [])
    names: dict[str, None] = {}
    for name in node if isinstance(node, list) else [node]:  # of one module as a rule, which needs no brackets
        word = name.text if isinstance(name, Scalar) and not name.is_null else ""
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", word) or word.endswith(".py"):
            raise ConfigError(f"imports: got {show(name)}, expected the name of a module: my_parts for my_parts.py")
        if word.partition(".")[0] in (*OURS, "__main__"):
            raise ConfigError(f"imports: '{word}' is a part of this program; give your own module another name")
        names[word] = None
    return tuple(names)


def labels(names: Sequence[str]) -> list[str]:
    """How the stages are addressed: by name, or by number and name (`04_hide`) where a name comes twice."""
    return [name if names.count(name) == 1 else f"{number:02d}_{name}" for number, name in enumerate(names, 1)]


def flat(tree: Tree, name: str, num_stages: int | None = None) -> dict[str, Any]:
    """Every setting in a pipeline file by its address, in order; the stages themselves as `stage 1`, `stage 2`...

    `num_stages` cuts the pipeline after so many stages.
    """
    settings, entries, _ = split(tree, name)
    found = dict(_flat(settings, ""))
    tags = labels([key for key, _ in entries])
    for number, ((key, body), tag) in enumerate(zip(entries[:num_stages], tags, strict=False), 1):
        found[f"stage {number}"] = key
        found |= _flat(body, tag)
    return found


def _flat(node: Tree, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, child in node.items():
            yield from _flat(child, at(where, key))
    elif isinstance(node, Scalar):
        yield where, natural(node)
    else:
        children = node if isinstance(node, list) else []
        yield where, [value for child in children for _, value in _flat(child, "")]


def natural(node: Scalar) -> bool | int | float | str | None:
    """What a scalar means where no type is asked for."""
    if node.quoted:
        return node.text
    if node.is_null or node.text in ("true", "false"):
        return {"true": True, "false": False}.get(node.text)
    if re.fullmatch(INT, node.text):
        return int(node.text)
    return float(node.text) if re.fullmatch(FLOAT, node.text) else node.text


# ------------------------------------------------------------------------------------ trees to text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = '"' if re.search("[\n\r\x85\u2028\u2029]", data) else None  # folded, YAML loses some of these
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)
for _pattern, _tag in ((INT, "int"), (FLOAT, "float")):  # quote text that `config` reads as a number
    _regexp = re.compile(rf"^({_pattern})$")
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _regexp, list("-+.0123456789"))


def write(document: dict[str, Any]) -> str:
    """The YAML of maps, lists and scalars."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)


def show(node: Tree) -> str:
    """A tree in a few words, for messages."""
    if isinstance(node, Scalar):
        return "nothing" if node.text == "" and not node.quoted else f"'{node.text}'"
    items = map(show, node) if isinstance(node, list) else (f"{k}: {show(v)}" for k, v in node.items())
    text = ", ".join(items)
    text = text if len(text) < 60 else f"{text[:57]}..."
    return f"[{text}]" if isinstance(node, list) else f"{{{text}}}"


# ---------------------------------------------------------------------------------------- messages


def snake(name: str) -> str:
    """`ScoreMatching` -> `score_matching`, `MLE` -> `mle`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def at(where: str, name: str) -> str:
    """The address of a field inside `where`."""
    return f"{where}.{name}" if where else name


def unknown(problem: str, got: str, known: Sequence[str]) -> NoReturn:
    """Raises the ConfigError for a name that is none of the known ones."""
    close = difflib.get_close_matches(got, known, n=1) or [k for k in known if k.endswith(f".{got}")]
    rest = f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}"
    raise ConfigError(f"{problem} '{got}'; {rest}")
