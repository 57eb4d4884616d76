"""Values as JSON and tensors, and back: `describe` and `restore` are inverse to each other.

A description names classes and functions as `energies.addresses` tells. Reading one imports nothing: it looks only at
what the program has imported. `energies.saving` writes descriptions and tensors to files.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import FunctionType
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from energies.addresses import address, find

S = TypeVar("S", bound="Stored")
T = TypeVar("T")


class Stored:
    """Base of modules that can be stored: it remembers the arguments of its constructor. Name it before `nn.Module`.

    A subclass overrides `arguments` where they change after construction, and `state` and `restore` for what is bound
    later, such as a label or a noise level. Weights are stored besides.
    """

    former_weights: ClassVar[dict[str, str]] = {}
    """Names that weights of its own have in files of earlier versions, and their names now."""

    def __new__(cls: type[S], *args: Any, **kwargs: Any) -> S:
        # Not super().__new__: that of huggingface_hub's mixin would keep the arguments once more, for config.json.
        made = object.__new__(cls)
        try:
            bound = _signature(cls).bind(*args, **kwargs)
        except TypeError:
            return made  # __init__ tells better what is wrong; and a copy is given all it needs after this
        bound.apply_defaults()
        # Not setattr, which nn.Module allows only after its __init__.
        made.__dict__["_arguments"] = dict(bound.arguments)
        return made

    @property
    def arguments(self) -> dict[str, Any]:
        """What the constructor is called with to make this again, defaults included."""
        return dict(self.__dict__["_arguments"])

    def state(self) -> dict[str, Any]:
        """What was bound after construction: anything that `describe` takes."""
        return {}

    def restore(self: S, state: dict[str, Any]) -> S:
        """This, or a copy, with a state that is not empty bound again. ValueError: it cannot be."""
        raise ValueError(f"{type(self).__name__} has nothing to bind, got {', '.join(state)}")


# -------------------------------------------------------------------------------------- describing


def describe(value: Any, tensors: dict[str, Tensor], name: str = "") -> Any:
    """The JSON-able description of a value.

    Args:
        value: None, bool, int, finite float, str, tensor, list, tuple, map with text keys, frozen dataclass, `Stored`
            module, function or class that is defined in a module; and these inside of each other.
        tensors: the tensors of the value are put here, weights of modules among them.
        name: of the value, in messages; the names of its tensors begin with it.

    Raises:
        TypeError: something cannot be stored; the line says what, where, and how to mend it.
        ValueError: a float is not finite.
    """
    return _describe(value, tensors, name, {})


def _describe(value: Any, tensors: dict[str, Tensor], name: str, places: dict[int, str]) -> Any:
    """`places`: of modules whose weights are stored as part of another's, by id, how the names of those begin."""
    if isinstance(value, Tensor):
        return {"tensor": _put(tensors, name or "value", value)}
    if isinstance(value, nn.Module):
        return _describe_module(value, tensors, name, places)
    if isinstance(value, FunctionType | type):
        return {"function": address(value, _where(name))}
    if isinstance(value, list):
        return {"list": [_describe(v, tensors, _join(name, i), places) for i, v in enumerate(value)]}
    if type(value) in (tuple, torch.Size):
        return {"tuple": [_describe(v, tensors, _join(name, i), places) for i, v in enumerate(value)]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"map": {str(k): _describe(v, tensors, _join(name, k), places) for k, v in value.items()}}
    if is_dataclass(value) and _frozen(type(value)):
        inner = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        inner = {k: _describe(v, tensors, _join(name, k), places) for k, v in inner.items()}
        return {"dataclass": address(type(value), _where(name)), "fields": inner}
    return _describe_plain(value, name)


def _describe_plain(value: Any, name: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{_where(name)} is {value}; only finite numbers can be stored")
    for plain in (int, float, str):
        if isinstance(value, plain) and not isinstance(value, Enum):
            return plain(value)  # numpy's float64 is a float, too
    kind, where = type(value).__name__, _where(name)
    if is_dataclass(value):
        raise TypeError(f"{where} is a {kind}, a dataclass that can change: declare it @dataclass(frozen=True)")
    if isinstance(value, dict):
        raise TypeError(f"{where} is a map with keys that are not text: make them str")
    if isinstance(value, tuple):
        raise TypeError(
            f"{where} is a named tuple {kind}, which would come back as a tuple: make it a frozen dataclass"
        )
    raise TypeError(
        f"{where} is a {kind}, which cannot be stored: "
        "give a number, text, tensor, list, tuple, map, frozen dataclass, energies.Stored or function of a module"
    )


def _describe_module(module: nn.Module, tensors: dict[str, Tensor], name: str, places: dict[int, str]) -> Any:
    if not isinstance(module, Stored):
        raise TypeError(
            f"{_where(name)} is the module {type(module).__name__}, which cannot be stored: "
            "derive it from energies.Stored, which remembers the arguments of its constructor"
        )
    own = address(type(module), _where(name))
    prefix = places.get(id(module))
    if prefix is None:
        prefix = f"{name}/" if name else ""
        for key, tensor in _weights(module, _where(name)).items():
            _put(tensors, prefix + key, tensor)
        places = {id(inner): f"{prefix}{key}." if key else prefix for key, inner in module.named_modules()}
    parts = {}
    for what, values in (("arguments", module.arguments), ("state", module.state())):
        at = _join(name, what)
        parts[what] = {k: _describe(v, tensors, _join(at, k), places) for k, v in values.items()}
    return {"module": own, **parts, "weights": prefix}


def _weights(module: nn.Module, where: str) -> dict[str, Tensor]:
    """The parameters and persistent buffers. TypeError: it keeps something else among them."""
    found = module.state_dict(keep_vars=True)
    for key, value in found.items():
        if not isinstance(value, Tensor):
            kind = type(module).__name__
            raise TypeError(f"{where}: {kind} keeps {key}, no tensor, among its weights: keep it in `state`")
    return found


def _put(tensors: dict[str, Tensor], key: str, tensor: Tensor) -> str:
    if key in tensors:
        raise ValueError(f"two tensors are named {key}: rename one")
    tensors[key] = tensor.detach()
    return key


def _join(name: str, key: str | int) -> str:
    """The name of an item; `~` and `/` in its key are written as in a JSON pointer (RFC 6901), so names are unique."""
    part = str(key).replace("~", "~0").replace("/", "~1") or "~"
    return f"{name}/{part}" if name else part


def _where(name: str) -> str:
    return name or "the value"


# ------------------------------------------------------------------------------- classes, functions


def _frozen(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


def _stored_module(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Stored) and issubclass(kind, nn.Module)


def _function(found: Any) -> bool:
    return isinstance(found, type) or (isinstance(found, FunctionType) and "." not in found.__qualname__)


@cache
def _signature(kind: type) -> inspect.Signature:
    """Of the constructor, without self."""
    signature = inspect.signature(kind.__init__)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


# ---------------------------------------------------------------------------------------- restoring


def restore(description: Any, tensors: dict[str, Tensor], name: str = "") -> Any:
    """The value of a description, on the CPU. It imports nothing and leaves torch's global generator as it is.

    Args:
        description, tensors: what `describe` gave.
        name: of the value, in messages.

    Raises:
        ValueError: it is no description, a class is not imported or takes other arguments, or weights do not fit.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # modules draw first weights
        try:
            return _Reader(tensors).read(description, _where(name))
        except RecursionError:
            raise ValueError(f"{_where(name)} is nested too deeply") from None


KEYS = {
    "tensor": {"tensor"},
    "list": {"list"},
    "tuple": {"tuple"},
    "map": {"map"},
    "function": {"function"},
    "dataclass": {"dataclass", "fields"},
    "module": {"module", "arguments", "state", "weights"},
}
"""The keys of each kind of description."""


class _Reader:
    """Reads descriptions, and remembers which tensors it took, and modules: what is described alike is one."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.used: set[str] = set()
        self.modules: dict[str, nn.Module] = {}

    def read(self, found: Any, name: str) -> Any:
        if found is None or isinstance(found, bool | int | str) or (isinstance(found, float) and math.isfinite(found)):
            return found
        if isinstance(found, dict):
            for kind, keys in KEYS.items():
                if found.keys() == keys:
                    return self._described(kind, found, name)
        raise ValueError(f"{name} is not described: {found!r:.200}")

    def _described(self, kind: str, found: dict[str, Any], name: str) -> Any:
        inner = found[kind]
        if kind == "tensor":
            return self._tensor(inner, name)
        if kind == "function":
            return find(inner, _function, "function", name)
        if kind == "map":
            return self._map(inner, name)
        if kind == "dataclass":
            cls, settings = find(inner, _frozen, "frozen dataclass", name), self._map(found["fields"], name)
            return _make(lambda: cls(**settings), cls, name)
        if kind == "module":
            return self._module(found, name)
        if not isinstance(inner, list):
            raise ValueError(f"{name} is no {kind}: {inner!r:.200}")
        items = [self.read(item, _join(name, i)) for i, item in enumerate(inner)]
        return items if kind == "list" else tuple(items)

    def _map(self, found: Any, name: str) -> dict[str, Any]:
        if not isinstance(found, dict):
            raise ValueError(f"{name} is no map: {found!r:.200}")
        return {key: self.read(value, _join(name, key)) for key, value in found.items()}

    def _tensor(self, key: Any, name: str) -> Tensor:
        if not isinstance(key, str) or key not in self.tensors:
            raise ValueError(f"{name} is the tensor {key!r}, which is missing")
        self.used.add(key)
        return self.tensors[key].detach()  # a module may make it a buffer, and fill that

    def _module(self, found: dict[str, Any], name: str) -> nn.Module:
        key = json.dumps(found, sort_keys=True)
        if key not in self.modules:
            self.modules[key] = self._made(found, name)
        return self.modules[key]

    def _made(self, found: dict[str, Any], name: str) -> nn.Module:
        cls = find(found["module"], _stored_module, "class", name)
        arguments = self._map(found["arguments"], _join(name, "arguments"))
        state = self._map(found["state"], _join(name, "state"))
        made = _make(lambda: _construct(cls, arguments), cls, name)
        if state:
            made = _make(lambda: made.restore(state), cls, name)
        self._fill(made, found["weights"], name)
        return made.eval()

    def _fill(self, module: nn.Module, prefix: Any, name: str) -> None:
        """Read the weights of a module. ValueError: they do not fit."""
        if not isinstance(prefix, str):
            raise ValueError(f"{name} names its weights by {prefix!r}, expected text")
        wanted = _make(lambda: _weights(module, name), type(module), name)
        names = _names(module, [key.removeprefix(prefix) for key in self.tensors if key.startswith(prefix)])
        stored = {now: self.tensors[prefix + key] for key, now in names.items()}
        taken = {now for key, now in names.items() if prefix + key in self.used}
        both = [key for key in wanted if key in stored]
        wrong = [
            *_told("lacks", [key for key in wanted if key not in stored]),
            *_told("has no place for", [key for key in stored if key not in wanted and key not in taken]),
            *_told("has of another shape", [shown for key in both if (shown := _misshapen(key, stored, wanted))]),
            *_told("has of another kind", [shown for key in both if (shown := _unlike(key, stored, wanted))]),
        ]
        if wrong:
            raise ValueError(f"{name}, a {type(module).__name__}, {'; it '.join(wrong)}")
        self.used |= {prefix + key for key, now in names.items() if now in wanted}
        for key, target in wanted.items():
            target.data = torch.empty_like(stored[key])  # of the stored kind, such as float64
        _make(lambda: module.load_state_dict({key: stored[key] for key in wanted}), type(module), name)


def _names(module: nn.Module, keys: list[str]) -> dict[str, str]:
    """What weights of a module that are stored under these keys are called now."""
    former = {}
    for place, inner in module.named_modules():
        if isinstance(inner, Stored):
            former |= {_dotted(place, old): _dotted(place, new) for old, new in inner.former_weights.items()}
    return {key: former.get(key, key) for key in keys}


def _dotted(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _make(make: Callable[[], T], kind: type, name: str) -> T:
    """What `make` makes; whatever it raises becomes a ValueError of one line, as it is made of what a file says."""
    try:
        return make()
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{name}: no {kind.__name__} can be made of what is stored ({message})") from error


def _construct(kind: type[T], arguments: dict[str, Any]) -> T:
    signature = _signature(kind)
    if unknown := arguments.keys() - signature.parameters.keys():
        raise TypeError(f"the constructor takes no {min(unknown)}")
    bound = signature.bind_partial()
    bound.arguments.update(arguments)
    return kind(*bound.args, **bound.kwargs)


def _told(what: str, which: list[str]) -> list[str]:
    """No line, or one of the first tensor of those that do not fit, and how many there are."""
    more = f" and {len(which) - 1} more" if len(which) > 1 else ""
    return [f"{what} {which[0]}{more}"] if which else []


def _misshapen(key: str, stored: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    got, expected = list(stored[key].shape), list(wanted[key].shape)
    return "" if got == expected else f"{key} ({got}, expected {expected})"


def _unlike(key: str, stored: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    got, expected = _kind(stored[key]), _kind(wanted[key])
    return "" if got == expected else f"{key} ({got}, expected {expected})"


def _kind(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    return "float" if tensor.is_floating_point() else "complex" if tensor.is_complex() else "integer"
