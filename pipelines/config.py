"""Configuration as dataclasses: a pipeline file and the command line, typed, checked, written back.

A scalar keeps its text until the type of its field gives it a meaning, so files and the command
line share one rule: `1e-4` is a number where a number is expected, `no` and `5` stay text where
text is expected, and what fits no type is an error in one line that names the field as it is
written on the command line.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pipelines import trees
from pipelines.trees import ConfigError, Scalar, Tree, at, show, snake, unknown

__all__ = ["Config", "ConfigError", "build", "dump", "load", "plain"]


@dataclass(frozen=True)
class Config:
    """A resolved configuration: the settings of the run and its stages, all of them dataclasses; and the modality whose
    stages they are, None for stages of one's own."""

    settings: Any
    stages: tuple[Any, ...]
    modality: str | None = None


def load(text: str | bytes, name: str, *, stage: Any, settings: type, overrides: Iterable[str] = ()) -> Config:
    """The configuration that a pipeline file and the command line make together.

    Args:
        text: the YAML of the pipeline: `stages:` and settings of the run.
        name: what to call that file in errors.
        stage: the union of the stage classes, `Load | Hide | ...`.
        settings: the dataclass of the run's settings.
        overrides: `stage.field=value` and `setting=value`; they win over the file. `field=value` is short for the field
            of the only stage that has one of that name.

    Raises:
        ConfigError: anything unknown, ambiguous, of the wrong type, given twice, or refused by its dataclass.
    """
    overrides = list(overrides)
    run, entries, modality = trees.split(trees.parse(text, name), name)
    problem = trees.no_stage(name, modality, trees.imports(run, overrides))
    classes = [pick(members(stage), key, problem) for key, _ in entries]
    tags = trees.labels([snake(cls.__name__) for cls in classes])
    chain = dict(zip(tags, classes, strict=True))
    for tag in chain:
        if tag in _hints(settings):
            raise ConfigError(f"{name}: the stage '{tag}' is called like a setting of the run; rename its class")
    kinds = _hints(settings) | chain
    for key in run:
        if key not in _hints(settings):
            unknown(f"{name}: unknown setting", key, list(_hints(settings)))
    whole = run | {tag: body for tag, (_, body) in zip(tags, entries, strict=True)}
    given = [(_address(path, kinds, chain), value) for path, value in map(trees.override, overrides)]
    whole = _override(whole, kinds, given)
    if "imports" in whole:  # of one module as a rule, which needs no brackets
        whole["imports"] = trees.listed(whole["imports"], "imports")
    return Config(
        build({key: body for key, body in whole.items() if key not in tags}, settings, ""),
        tuple(build(whole[tag], kinds[tag], tag) for tag in tags),
        modality,
    )


def dump(config: Config) -> str:
    """The YAML of a configuration with all its fields; `load` reads the same from it."""
    stages = [{snake(type(stage).__name__): plain(stage, type(stage))} for stage in config.stages]
    document = {} if config.modality is None else {"modality": config.modality}
    document |= plain(config.settings, type(config.settings)) | {"stages": stages}
    return trees.write(document)


# ---------------------------------------------------------------------------------------- overrides


def _address(path: list[str], kinds: dict[str, Any], stages: dict[str, type]) -> list[str]:
    """The path from the stage on, which may be left out where only one of them has such a field."""
    head = path[0]
    if head in kinds:
        return path
    repeated = {snake(cls.__name__) for cls in stages.values()}  # a stage that comes twice is addressed by its number
    tags = [tag for tag, cls in stages.items() if head in _hints(cls) and head not in repeated]
    if not tags:
        unknown("unknown stage" if path[1:] else "unknown setting", head, list(kinds))
    if len(tags) > 1:
        candidates = " or ".join(".".join([tag, *path]) for tag in tags)
        raise ConfigError(f"'{head}' is a field of several stages; did you mean {candidates}?")
    return [*tags, *path]


def _override(whole: dict[str, Tree], kinds: dict[str, Any], given: list[tuple[list[str], Scalar]]) -> dict[str, Tree]:
    for (head, *rest), value in given:
        whole = whole | {head: _place(whole.get(head, {}), kinds[head], rest, value, head)}
    kept = set(map(id, trees.leaves(whole)))
    for path, value in given:
        if id(value) not in kept:
            raise ConfigError(f"{'.'.join(path)} is contradicted by a later setting; give one of them")
    return whole


class _Additions(dict[str, Tree]):
    """What the command line states where the file states nothing; the keys of a map add to its default."""


def _place(node: Tree, kind: Any, path: Sequence[str], value: Scalar, where: str) -> Tree:
    """`node` with the value at `path`; naming another member of a union replaces the one that was
    there.
    """
    if not path:
        return value
    classes, maps = _classes(kind), _containers(kind, dict)
    if not classes and not maps:
        raise ConfigError(f"{where}.{'.'.join(path)}: {where} is {_describe(kind)} and has no fields")
    head, *rest = path
    if len(classes) > 1:
        cls = pick(classes, head, f"{where}: unknown name")
        key = snake(cls.__name__)
        chosen = _choice(trees.flow(node, where))
        same = [body for k, body in chosen.items() if pick(classes, k, f"{where}: unknown name") is cls]
        return {key: _place(same[0] if same else {}, cls, rest, value, at(where, key))}
    hints = _hints(classes[0]) if classes else {head: get_args(maps[0])[1]}  # a map has any key
    if head not in hints:
        unknown("unknown field", at(where, head), [at(where, name) for name in hints])
    stated = _stated(node, kind, where)
    placed = _place(stated.get(head, _Additions()), hints[head], rest, value, at(where, head))
    return type(stated)({**stated, head: placed})


# ---------------------------------------------------------------------------------- trees to values


def build(node: Tree, kind: Any, where: str, default: Any = None) -> Any:
    """The value that a tree means for a field of type `kind`, which is called `where` in errors.

    A map that states only some fields of a dataclass keeps the others of `default`, if that is one
    of the same class; so do keys that the command line adds to a map.
    """
    options = members(kind)
    if types.NoneType in options and isinstance(node, Scalar) and node.is_null:
        return None
    classes = _classes(kind)
    if len(classes) == 1:
        return _build_fields(node, classes[0], where, default)
    if classes:
        choice = _choice(trees.flow(node, where))
        if len(choice) != 1:
            raise ConfigError(f"{where}: got {show(node)}, expected {_describe(kind)}")
        [(key, body)] = choice.items()
        cls = pick(classes, key, f"{where}: unknown name")
        return _build_fields(body, cls, at(where, snake(cls.__name__)), default)
    if (sequences := _containers(kind, list, tuple)) and isinstance(found := trees.flow(node, where), list):
        return _build_sequence(found, sequences[0], where)
    if (maps := _containers(kind, dict)) and isinstance(found := trees.flow(node, where), dict):
        return _build_map(found, maps[0], where, default)
    if isinstance(node, Scalar):
        if float in options and _is_infinite(node):
            raise ConfigError(f"{where}: got {node.text}, expected a finite number")
        for option in (bool, int, float, *options):  # the narrowest first: 5 is a number where it may be one
            if option in options and (value := _scalar(node, option)) is not None:
                return value
    raise ConfigError(f"{where}: got {show(node)}, expected {_describe(kind)}")


def _scalar(node: Scalar, option: Any) -> Any:
    """The value of a scalar as one type, or None where it has none."""
    if option in (str, Path):
        return None if node.is_null else option(node.text)
    if get_origin(option) is Literal:
        choices = get_args(option)
        return next((c for c in choices if c in (node.text, _scalar(node, type(c)))), None)
    if node.quoted:
        return None
    if option is bool:
        return {"true": True, "false": False}.get(node.text)
    if option is int and re.fullmatch(trees.INT, node.text):
        return int(node.text)
    if option is float and re.fullmatch(trees.FLOAT, node.text):
        return float(node.text)
    return None


def _is_infinite(node: Scalar) -> bool:
    """Whether the text is nan, inf, or a number too large for a float."""
    if re.fullmatch(trees.FLOAT, node.text):
        return not node.quoted and math.isinf(float(node.text))
    return not node.quoted and node.text.lower().lstrip("+-.") in ("nan", "inf", "infinity")


def _build_sequence(nodes: list[Tree], kind: Any, where: str) -> Any:
    kinds = get_args(kind)
    if get_origin(kind) is list or kinds[1:] == (Ellipsis,):
        kinds = kinds[:1] * len(nodes)
    if len(kinds) != len(nodes):
        raise ConfigError(f"{where}: got {show(nodes)}, expected {_describe(kind)}")
    pairs = enumerate(zip(nodes, kinds, strict=True))
    values = [build(child, k, f"{where}[{i}]") for i, (child, k) in pairs]
    return values if get_origin(kind) is list else tuple(values)


def _build_map(node: dict[str, Tree], kind: Any, where: str, default: Any) -> dict[str, Any]:
    for key in node:
        if not _is_key(key):
            raise ConfigError(f"{where}: got the key {key!r}, expected a word of letters, digits and _")
    values = {key: build(child, get_args(kind)[1], at(where, key)) for key, child in node.items()}
    return default | values if isinstance(node, _Additions) and isinstance(default, dict) else values


def _build_fields(node: Tree, cls: type, where: str, default: Any) -> Any:
    hints = _hints(cls)
    stated = _stated(node, cls, where)
    for name in stated:
        if name not in hints:
            unknown("unknown field", at(where, name), [at(where, other) for other in hints])
    start = default if type(default) is cls else None
    values = {}
    for name, child in stated.items():
        inner = _default(cls, name) if start is None else getattr(start, name)
        values[name] = build(child, hints[name], at(where, name), inner)
    try:
        return cls(**values) if start is None else dataclasses.replace(start, **values)
    except ValueError as error:  # the dataclass refuses its values
        message = " ".join(str(error).split())
        if re.split(r"\W", message)[0] in hints:
            raise ConfigError(at(where, message)) from error
        raise ConfigError(f"{where}: {message}" if where else message) from error


def _stated(node: Tree, kind: Any, where: str) -> dict[str, Tree]:
    """The fields that a tree states for a dataclass, or the keys for a map."""
    node = trees.flow(node, where)
    if isinstance(node, Scalar) and node.is_null:
        return {}
    if not isinstance(node, dict):
        names = ", ".join(name for cls in _classes(kind) for name in _hints(cls))
        expected = f"fields ({names}), such as {where}.field=value" if names else _describe(kind)
        raise ConfigError(f"{where}: got {show(node)}, expected {expected}")
    return node


def _choice(node: Tree) -> dict[str, Tree]:
    """The one-key map of a union; a bare name is short for that member with its defaults."""
    if isinstance(node, Scalar):
        return {} if node.is_null else {node.text: {}}
    return node if isinstance(node, dict) else {}


# ----------------------------------------------------------------------------------- values to text


def plain(value: Any, kind: Any) -> Any:
    """A value of a field of type `kind` in maps, lists and scalars, as YAML writes it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        for field in dataclasses.fields(value):
            if field.init and field.name not in hints and getattr(value, field.name) is not None:
                raise ConfigError(f"{snake(type(value).__name__)}.{field.name} is a tensor, which cannot be a setting")
        body = {name: plain(getattr(value, name), hint) for name, hint in hints.items()}
        return body if len(_classes(kind)) == 1 else {snake(type(value).__name__): body}
    if isinstance(value, (list, tuple)):
        sequences = _containers(kind, list, tuple)
        kinds = get_args(sequences[0]) if sequences else (str,)
        kinds = kinds[:1] * len(value) if Ellipsis in kinds or len(kinds) != len(value) else kinds
        return [plain(child, k) for child, k in zip(value, kinds, strict=True)]
    if isinstance(value, dict) and (maps := _containers(kind, dict)) and all(map(_is_key, value)):
        return {key: plain(child, get_args(maps[0])[1]) for key, child in value.items()}
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise ConfigError(f"{value!r} cannot be a setting; expected {_describe(kind)}")


# -------------------------------------------------------------------------------------------- types


def members(kind: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def pick(classes: Sequence[type], key: str, problem: str) -> type:
    """The class that a key names: `score_matching`; its underscores do not matter, `convnet` is ConvNet too."""
    for cls in classes:
        if cls.__name__.lower().replace("_", "") == key.replace("_", ""):
            return cls
    unknown(problem, key, [snake(cls.__name__) for cls in classes])


def _classes(kind: Any) -> list[type]:
    return [option for option in members(kind) if isinstance(option, type) and dataclasses.is_dataclass(option)]


def _containers(kind: Any, *origins: type) -> list[Any]:
    """The members that are, for example, `list[...]`."""
    return [option for option in members(kind) if get_origin(option) in origins]


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", key) is not None


def _hints(cls: type) -> dict[str, Any]:
    """The fields of a dataclass that are settings, with their types; tensors are none."""
    hints = get_type_hints(cls)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}
    return {name: hint for name, hint in fields.items() if not any(_is_tensor(option) for option in members(hint))}


def _is_tensor(kind: Any) -> bool:
    return isinstance(kind, type) and kind.__module__ == "torch" and kind.__name__ == "Tensor"


def _default(cls: type, name: str) -> Any:
    field = next(field for field in dataclasses.fields(cls) if field.name == name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _describe(kind: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    parts = []
    for option in members(kind):
        if get_origin(option) is Literal:
            parts.append(" or ".join(map(str, get_args(option))))
        elif get_origin(option) in (list, tuple):
            inner = ("..." if arg is Ellipsis else _describe(arg) for arg in get_args(option))
            parts.append(f"a list [{', '.join(inner)}]")
        elif get_origin(option) is dict:
            parts.append(f"a map {{NAME: {_describe(get_args(option)[1])}}}")
        elif isinstance(option, type) and dataclasses.is_dataclass(option):
            parts.append(snake(option.__name__))
        else:
            parts.append("null" if option is types.NoneType else words.get(option, str(option)))
    return " or ".join(dict.fromkeys(parts))
