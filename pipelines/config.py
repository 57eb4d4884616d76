"""Configuration as dataclasses: a pipeline file and the command line, typed, checked, written back.

A scalar keeps its text until the type of its field gives it a meaning, so files and the command line share one rule:
`1e-4` is a number where a number is expected, `no` and `5` stay text where text is expected, and what fits no type is
an error in one line that names the field as it is written on the command line.

Fields and their types are read from the source code, so that a mistake is told before anything slow is imported; so is
what a dataclass of this program refuses.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, Union, get_args, get_origin, get_type_hints

from pipelines import trees
from pipelines.schema import Choice, Class, Expression, Map, Sequence
from pipelines.source import Source
from pipelines.trees import ConfigError, Scalar, Tree, at, show, snake, unknown
from pipelines.unimported import Unimported

__all__ = ["Config", "ConfigError", "Plan", "Stages", "dump", "plain", "plan", "stages_of"]

Stages: TypeAlias = "dict[str, tuple[Class, Tree]]"
"""By the name that the command line gives it, the class of a stage and what the file states for it."""

_Given: TypeAlias = "list[tuple[list[str], Scalar]]"  # settings of the command line: the path from here on, the value


@dataclass(frozen=True)
class Config:
    """A resolved configuration: the settings of the run and its stages, all of them dataclasses; and the modality whose
    stages they are, None for stages of one's own."""

    settings: Any
    stages: tuple[Any, ...]
    modality: str | None = None


@dataclass(frozen=True)
class Made:
    """A dataclass that is still to be made of these fields; `where` it is, for errors."""

    cls: Class
    fields: dict[str, Any]
    where: str


@dataclass(frozen=True)
class Plan:
    """A configuration of which all names and types are right, before anything is imported."""

    settings: Made
    stages: tuple[Made, ...]
    modality: str | None

    def make(self) -> Config:
        """The configuration; its modules have to be imported. ConfigError: what a dataclass refuses."""
        stages = tuple(_make(stage, Class.imported) for stage in self.stages)
        return Config(_make(self.settings, Class.imported), stages, self.modality)

    def check(self, source: Source) -> None:
        """ConfigError: what a dataclass refuses, where its source alone tells so, and nothing need be imported."""
        modules = Unimported(source)
        for made in (self.settings, *self.stages):
            try:
                _make(made, modules.cls)
            except ConfigError:
                raise
            except Exception:  # whatever comes of a library that is absent: `make` will tell
                continue


def stages_of(entries: Iterable[tuple[str, Tree]], known: Mapping[str, Class], problem: str) -> Stages:
    """The stages that a file asks for.

    Args:
        entries: names and bodies, as the file has them.
        known: the stages there are.
        problem: what to tell where a name is none of them.
    """
    entries = list(entries)
    for key, _ in entries:
        if key not in known:
            unknown(problem, key, list(known))
    tags = trees.labels([key for key, _ in entries])
    return {tag: (known[key], body) for tag, (key, body) in zip(tags, entries, strict=True)}


def plan(
    name: str,
    stated: dict[str, Tree],
    stages: Stages,
    settings: Class,
    overrides: Iterable[str] = (),
    modality: str | None = None,
) -> Plan:
    """The configuration that a pipeline file and the command line make together.

    Args:
        name: of the file, for errors.
        stated: what the file states for the run.
        stages: those of the file.
        settings: the dataclass of the run's settings.
        overrides: `stage.field=value` and `setting=value`; they win over the file. `field=value` is short for the field
            of the only stage that has one of that name.
        modality: of the stages.

    Raises:
        ConfigError: anything unknown, ambiguous, of the wrong type, or given twice.
    """
    for key in stated:
        if key not in settings.fields:
            unknown(f"{name}: unknown setting", key, list(settings.fields))
    for tag in stages:
        if tag in settings.fields:
            raise ConfigError(f"{name}: the stage '{tag}' is called like a setting of the run; rename its class")
    classes = {tag: cls for tag, (cls, _) in stages.items()}
    given = [(_address(path, settings, classes), value) for path, value in map(trees.override, overrides)]
    below = _below(given)
    run = [(path, value) for path, value in given if path[0] not in stages]
    return Plan(
        _check_fields(stated, settings, "", run),
        tuple(_check_fields(body, cls, tag, below.get(tag, [])) for tag, (cls, body) in stages.items()),
        modality,
    )


def dump(config: Config) -> str:
    """The YAML of a configuration with all its fields; the same is read from it."""
    stages = [{snake(type(stage).__name__): plain(stage, type(stage))} for stage in config.stages]
    document = {} if config.modality is None else {"modality": config.modality}
    document |= plain(config.settings, type(config.settings)) | {"stages": stages}
    return trees.write(document)


# ---------------------------------------------------------------------------------- trees to values


def _address(path: list[str], settings: Class, stages: dict[str, Class]) -> list[str]:
    """The path from the stage on, which may be left out where only one of them has such a field."""
    numbered = {f"{number:02d}_{snake(cls.name)}": tag for number, (tag, cls) in enumerate(stages.items(), 1)}
    head = numbered.get(path[0], path[0])  # the name of its folder, which the progress of a run shows
    if head in settings.fields or head in stages:
        return [head, *path[1:]]
    called = [[tag, *path[1:]] for tag, cls in stages.items() if snake(cls.name) == head]  # twice: once is in stages
    found = called or [[tag, *path] for tag, cls in stages.items() if head in cls.fields]
    if len(found) > 1:
        candidates = " or ".join(map(".".join, found))
        raise ConfigError(f"'{head}' is {'' if called else 'a field of '}several stages; did you mean {candidates}?")
    if found:
        return found[0]
    problem, known = "unknown stage" if path[1:] else "unknown setting", [*settings.fields, *stages]
    short = {field: f"{tag}.{field}" for tag, cls in stages.items() for field in cls.fields}
    if not difflib.get_close_matches(head, known) and (close := difflib.get_close_matches(head, short, n=1)):
        raise ConfigError(f"{problem} '{head}'; did you mean {short[close[0]]}?")
    unknown(problem, head, known)


def _below(given: _Given) -> dict[str, _Given]:
    """What is given by the first name of its path."""
    found: dict[str, _Given] = {}
    for (head, *rest), value in given:
        found.setdefault(head, []).append((rest, value))
    return found


def _contradicted(where: str) -> NoReturn:
    raise ConfigError(f"{where} is contradicted by a later setting; give one of them")


def _settled(node: Tree, where: str, given: _Given, is_text: bool = False) -> tuple[Tree, _Given]:
    """The tree, or the one value that the command line gives instead of it; and what it gives for parts of the tree."""
    whole = [value for path, value in given if not path]
    if whole and len(given) > 1:
        _contradicted(where)
    if whole:
        return whole[0] if is_text else trees.flow(whole[0], where), []
    return {} if given and isinstance(node, Scalar) and node.is_null else node, given


def check(node: Tree, kind: Expression, where: str, given: _Given) -> Any:
    """The value that a tree means for a field of a type, dataclasses as `Made`.

    Args:
        node: what the file states; {} where it states nothing.
        kind: the type.
        where: the address of the field.
        given: what the command line gives for the field, and for fields of it.
    """
    kinds = list(kind.members())
    classes = {snake(option.name): option for option in kinds if isinstance(option, Class)}
    container = next((option for option in kinds if isinstance(option, Map | Sequence)), None)
    if given and given[0][0] and not classes and not isinstance(container, Map):
        inner = ".".join([where, *given[0][0]])
        raise ConfigError(f"{inner}: {where} is {kind.type_text()} and has no fields")
    node, given = _settled(node, where, given, is_text=not classes and container is None)
    if types.NoneType in kinds and isinstance(node, Scalar) and node.is_null:
        return None
    if len(classes) == 1:
        return _check_fields(node, next(iter(classes.values())), where, given)
    if classes and (member := _check_union(node, classes, where, given)):
        return member
    if isinstance(container, Map) and isinstance(node, dict):
        return _check_map(node, container, where, given)
    if isinstance(container, Sequence) and isinstance(node, list):
        count = len(node) if container.is_open else len(container.kinds)
        if len(node) == count:
            parts = enumerate(zip(node, container.kinds * count, strict=False))
            return container.made(check(child, item, f"{where}[{i}]", []) for i, (child, item) in parts)
    if isinstance(node, Scalar):
        node = trees.expanded(node, where)
        for option in (bool, int, float, *kinds):  # the narrowest first: 5 is a number where it may be one
            if option in kinds and (value := _scalar(node, option)) is not None:
                return value
    raise ConfigError(f"{where}: got {show(node)}, expected {kind.type_text()}")


def _check_fields(node: Tree, cls: Class, where: str, given: _Given) -> Made:
    node, given = _settled(node, where, given)
    fields, below = cls.fields, _below(given)
    if isinstance(node, Scalar) and node.is_null:
        node = {}
    if not isinstance(node, dict):
        expected = f"fields ({', '.join(fields)}), such as {where}.field=value"
        raise ConfigError(f"{where}: got {show(node)}, expected {expected}")
    for name in (*node, *below):
        if name not in fields:
            unknown("unknown field", at(where, name), [at(where, other) for other in fields])
    values = {
        name: check(node.get(name, {}), fields[name].kind, at(where, name), below.get(name, []))
        for name in dict.fromkeys([*node, *below])
    }
    return Made(cls, values, where)


def _check_union(node: Tree, classes: dict[str, Class], where: str, given: _Given) -> Made | None:
    """The member of a union that is stated, by a bare name or with fields; None where there is not one. A member that
    the command line names replaces another one of the file."""
    chosen = {node.text: {}} if isinstance(node, Scalar) and not node.is_null else node
    below = _below(given)
    if len(below) > 1:
        _contradicted(at(where, next(iter(below))))
    chosen = chosen if isinstance(chosen, dict) else {}
    chosen = {key: chosen.get(key, {}) for key in below or chosen}
    if len(chosen) != 1:
        return None
    [(key, body)] = chosen.items()
    if key not in classes:
        unknown(f"{where}: unknown name", key, list(classes))
    return _check_fields(body, classes[key], at(where, key), below.get(key, []))


def _check_map(node: dict[str, Tree], kind: Map, where: str, given: _Given) -> dict[str, Any]:
    below = _below(given)
    for key in (*node, *below):
        if not _is_key(key):
            raise ConfigError(f"{where}: got the key {key!r}, expected a word of letters, digits and _")
    keys = dict.fromkeys([*node, *below])
    return {key: check(node.get(key, {}), kind.values, at(where, key), below.get(key, [])) for key in keys}


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", key) is not None


def _scalar(node: Scalar, option: Any) -> Any:
    """The value of a scalar as one type, or None where it has none."""
    if option in (str, Path):
        return None if node.is_null else option(node.text)
    if isinstance(option, Choice):
        return next((c for c in option.values if c in (node.text, _scalar(node, type(c)))), None)
    if node.quoted:
        return None
    if option is bool:
        return {"true": True, "false": False}.get(node.text)
    if option is int and re.fullmatch(trees.INT, node.text):
        return int(node.text)
    if option is float and re.fullmatch(trees.FLOAT, node.text):
        return float(node.text) if math.isfinite(float(node.text)) else None
    return None


def _make(value: Any, find: Callable[[Class], Any], default: Any = None) -> Any:
    """The value itself. A dataclass of which only some fields are stated keeps the others of `default`, if that is one
    of the same class."""
    if isinstance(value, dict):
        return {key: _make(child, find) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_make(child, find) for child in value)
    if not isinstance(value, Made):
        return value
    cls = find(value.cls)
    start = default if type(default) is cls else None
    defaults = (_default(cls, name) if start is None else getattr(start, name) for name in value.fields)
    fields = {name: _make(child, find, d) for (name, child), d in zip(value.fields.items(), defaults, strict=True)}
    try:
        return cls(**fields) if start is None else dataclasses.replace(start, **fields)
    except ValueError as error:  # the dataclass refuses its values
        message = " ".join(str(error).split())
        if re.split(r"\W", message)[0] in value.cls.fields:
            raise ConfigError(at(value.where, message)) from error
        raise ConfigError(f"{value.where}: {message}" if value.where else message) from error


def _default(cls: type, name: str) -> Any:
    field = next(field for field in dataclasses.fields(cls) if field.name == name)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


# ----------------------------------------------------------------------------------- values to text


def plain(value: Any, kind: Any) -> Any:
    """A value of a field of type `kind` in maps, lists and scalars, as YAML writes it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        tensors = {name for name in fields if "torch.Tensor" in str(hints[name])}  # no settings, and None in a stage
        body = {name: plain(getattr(value, name), hints[name]) for name in fields if name not in tensors}
        if any(getattr(value, name) is not None for name in tensors):
            raise ConfigError(f"{type(value).__name__} cannot be a setting: it holds a tensor")
        members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
        return body if sum(map(dataclasses.is_dataclass, members)) == 1 else {snake(type(value).__name__): body}
    if isinstance(value, (list, tuple)):
        return [plain(child, None) for child in value]
    if isinstance(value, dict) and all(map(_is_key, value)):
        return {key: plain(child, None) for key, child in value.items()}
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise ConfigError(f"{value!r} cannot be a setting: no text in a configuration means it")
