"""Laws of what is stored: everything comes back as it was, and nothing that is wrong comes back."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
import math
import sys
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import energies.objectives
from energies.references import ProbabilisticPCA
from energies.samplers import HMC, MaskedSampling
from energies.saving import Stored, describe, load_module, restore, save_module

ME = __name__


@dataclass(frozen=True)
class Point:
    x: float
    y: Any = None
    sum: float = field(init=False, default=0.0)

    @dataclass(frozen=True)
    class Inner:
        shape: tuple[int, ...] = (1, 2)


@dataclass
class Loose:
    x: int = 1


@dataclass(frozen=True, eq=False)
class Seen:
    y: Tensor


Named = namedtuple("Named", "a b")


def score(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


class Net(Stored, nn.Module):
    def __init__(self, width: int, depth: int = 2, *, score: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.register_buffer("count", torch.zeros(2, dtype=torch.int64))
        self.score = score

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).tanh()
        return (self.score or score)(x)


class Bound(Stored, nn.Module):
    """A module to which a label is bound, by a copy."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 1)
        self.label: Any = None

    def given(self, label: Any) -> Bound:
        other = copy.copy(self)
        other.__dict__["label"] = label
        return other

    def state(self) -> dict[str, Any]:
        return {} if self.label is None else {"label": self.label}

    def restore(self, state: dict[str, Any]) -> Bound:
        return self.given(**state)


class Sum(Stored, nn.Module):
    """A composition, with a tensor for an argument that is no buffer, and work done on its parts as it is made."""

    def __init__(self, parts: Sequence[nn.Module], shift: Tensor, *rest: Tensor, **options: Any) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.shift, self.rest, self.options = shift, rest, options
        self.size = sum(float(p.detach().square().sum()) for part in parts for p in part.parameters())

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([part(x + self.shift) for part in self.parts]).sum(0)


class Scaled(Stored, nn.Module):
    """It keeps a copy of its part, not the part: both have weights of their own."""

    def __init__(self, part: nn.Module, scale: Tensor) -> None:
        super().__init__()
        self.part, self.first = copy.deepcopy(part), [part]
        self.register_buffer("scale", scale)


class Hub(Stored, nn.Module, PyTorchModelHubMixin):
    def __init__(self, width: int, names: Sequence[str] = ("a",)) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 1)

    def _save_pretrained(self, save_directory: Path) -> None:
        save_module(self, save_directory)


class Parts(nn.Module):
    """It cannot be stored."""


class Extra(Stored, nn.Module):
    def get_extra_state(self) -> dict[str, int]:
        return {"a": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        return type(a) is type(b) and same(vars(a), vars(b))
    if isinstance(a, nn.Module):
        return type(a) is type(b) and same(dict(a.state_dict()), dict(b.state_dict()))  # type: ignore[attr-defined]
    return type(a) is type(b) and a == b


class OneLine(Exception):
    """A ValueError was raised, of one line."""


@contextlib.contextmanager
def one_line():
    try:
        yield
    except ValueError as error:
        raise (AssertionError(error) if "\n" in str(error) else OneLine) from error


def round_trip(value: Any, name: str = "") -> Any:
    tensors: dict[str, Tensor] = {}
    description = json.loads(json.dumps(describe(value, tensors, name), allow_nan=False))
    return restore(description, {key: tensor.clone() for key, tensor in tensors.items()})


# -------------------------------------------------------------------------------------------------- values

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
arrays = st.builds(
    lambda values, dtype: torch.tensor(values).to(dtype),
    st.lists(st.integers(0, 9), max_size=3),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]),
)
values = st.recursive(
    plain | arrays | st.sampled_from([score, Point, Net]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(alphabet="a/~", max_size=3), inner, max_size=4)
        | st.builds(Point, st.floats(-1, 1), inner)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(values)
def test_every_value_comes_back_as_it_was(value):
    assert same(round_trip(value), value)


@settings(max_examples=80, deadline=None)
@given(
    st.recursive(
        plain | st.just(float("nan")),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "tensor",
                        "list",
                        "tuple",
                        "map",
                        "dataclass",
                        "fields",
                        "module",
                        "arguments",
                        "state",
                        "function",
                    ]
                ),
                inner,
                max_size=4,
            )
            | st.fixed_dictionaries(
                {"dataclass": st.sampled_from([f"{ME}:Point", f"{ME}:Loose", "os:path"]), "fields": inner}
            )
            | st.fixed_dictionaries(
                {"module": st.just(f"{ME}:Net"), "arguments": inner, "state": inner, "weights": inner}
            )
        ),
        max_leaves=8,
    )
)
def test_whatever_a_description_says_it_is_read_or_refused_in_a_line(description):
    with contextlib.suppress(OneLine), one_line():
        restore(description, {"a": torch.ones(2)})


def test_other_kinds_of_values_come_back():
    found = round_trip({"p": Point.Inner((3,)), "size": torch.ones(2, 3).shape, "seen": [Seen(torch.ones(2))]})
    assert (
        found["p"] == Point.Inner((3,)) and found["size"] == (2, 3) and torch.equal(found["seen"][0].y, torch.ones(2))
    )
    number = describe(torch.ones(1).double().numpy()[0], {})
    assert type(number) is float  # numpy's is one


def local() -> type:
    class Local:
        pass

    return Local


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda x: x, "a lambda .*define it as a function in a module"),
        (local(), "class .*Local .*define it as a class in a module"),
        (Net.forward, "define it as a function in a module"),
        (Loose(), r"Loose, a dataclass that can change: declare it @dataclass\(frozen=True\)"),
        (Parts(), "module Parts.*derive it from energies.Stored, which remembers the arguments of its constructor"),
        (Extra(), "keeps _extra_state"),
        ({1: 2}, "keys that are not text"),
        (Named(1, 2), "named tuple Named"),
        (Path("x"), "is a .*Path, which cannot be stored: give"),
        (range(3), "is a range, which cannot be stored"),
        (torch.relu, "which cannot be stored"),
        (torch.float32, "is a dtype, which cannot be stored"),
    ],
)
def test_what_cannot_be_stored_is_told_with_its_place_and_the_way_out(value, message):
    with pytest.raises(TypeError, match=f"^a/1/y.*{message}") as caught:
        describe({"a": [0, Point(1.0, value)]}, {})
    assert "\n" not in str(caught.value)


def test_another_under_the_same_name_is_refused(monkeypatch):
    point = Point(1.0)
    monkeypatch.setattr(sys.modules[ME], "Point", Point.Inner)
    with pytest.raises(TypeError, match=r"class .*Point is not found again by its name"):
        describe(point, {})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_floats_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match=r"^a/0 is -?(nan|inf); only finite"):
        describe({"a": [value]}, {})
    with pytest.raises(ValueError, match=r"^the value/0 is not described"):
        restore({"list": [value]}, {})


# ---------------------------------------------------------------------------------------- nothing is imported


@pytest.mark.parametrize("kind", ["dataclass", "module", "function"])
def test_nothing_is_imported(tmp_path, monkeypatch, kind):
    (tmp_path / "own_module_of_mine.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    rest = {"dataclass": {"fields": {}}, "module": {"arguments": {}, "state": {}, "weights": ""}, "function": {}}[kind]
    with pytest.raises(ValueError, match=r"own_module_of_mine.Own, .*not imported: add imports=own_module_of_mine$"):
        restore({kind: "own_module_of_mine:Own", **rest}, {})
    assert "own_module_of_mine" not in sys.modules


def test_a_lazy_module_imports_nothing(monkeypatch):
    module = type(sys)("lazy_of_mine")
    module.__getattr__ = lambda name: pytest.fail("it was asked")  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_of_mine", module)
    with pytest.raises(ValueError, match=r"lazy_of_mine.f, which is no function defined there"):
        restore({"function": "lazy_of_mine:f"}, {})


@pytest.mark.parametrize(
    "description",
    [
        {"function": "os:path.join"},  # of another module than it says
        {"function": f"{ME}:torch"},
        {"function": f"{ME}:nn.Linear"},
        {"function": f"{ME}:Net.forward"},
        {"function": "builtins:eval"},
        {"function": "torch"},
        {"function": "a:b:c"},
        {"function": 3},
        {"function": "__main__:not_there"},
        {"dataclass": f"{ME}:Loose", "fields": {}},
        {"dataclass": f"{ME}:score", "fields": {}},
        {"dataclass": f"{ME}:Point", "fields": {"z": 1}},
        {"dataclass": f"{ME}:Point", "fields": {}},
        {"dataclass": f"{ME}:Point", "fields": []},
        {"dataclass": f"{ME}:Point"},
        {"module": f"{ME}:Parts", "arguments": {}, "state": {}, "weights": ""},
        {"module": f"{ME}:Net", "arguments": {"height": 3}, "state": {}, "weights": ""},
        {"module": f"{ME}:Net", "arguments": {}, "state": {}, "weights": ""},
        {"module": f"{ME}:Net", "arguments": {"width": -1}, "state": {}, "weights": ""},
        {"module": f"{ME}:Net", "arguments": {"width": 3}, "state": {"label": 1}, "weights": ""},
        {"module": f"{ME}:Net", "arguments": {"width": 3}, "state": {}, "weights": 0},
        {"module": f"{ME}:Net", "arguments": {"width": 3}, "state": {}},
        {"tensor": "a"},
        {"tensor": ["a"]},
        {"list": {}},
        {"list": [], "map": {}},
        {"object": 1},
        {},
        [],
        {"map": 1},
        (1, 2),
    ],
)
def test_what_is_no_description_is_refused_in_a_line(description):
    with pytest.raises(ValueError, match=r"^inner") as caught:
        restore(description, {}, "inner")
    assert "\n" not in str(caught.value)


def test_too_deep_a_description_is_refused():
    description: Any = 1
    for _ in range(20_000):
        description = {"list": [description]}
    with pytest.raises(ValueError, match="nested too deeply"):
        restore(description, {})


# ------------------------------------------------------------------------------------------ files that move


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("energies.encoder:EncoderEnergy", energies.EncoderEnergy),  # as versions before the move wrote them
        ("energies.convnet:GenerativeConvNet", energies.GenerativeConvNet),
        ("energies.residual:ResidualEnergy", energies.ResidualEnergy),
        ("energies.composition:WeightedSum", energies.WeightedSum),
        ("energies.composition:AnyOf", energies.AnyOf),
        ("energies.composition:any_of", energies.any_of),
        ("energies.conditional:ConditionalEnergy", energies.ConditionalEnergy),
        ("energies.references.dataset:DataReference", energies.DataReference),
        ("energies.subspace:Subspace", ProbabilisticPCA),
        ("energies.unmasking:Unmasking", MaskedSampling),
        ("energies:EncoderEnergy", energies.EncoderEnergy),
        ("energies.samplers:HMC", HMC),
    ],
)
def test_a_public_name_is_found_wherever_its_file_lies(address, wanted):
    assert restore({"function": address}, {}) is wanted


@pytest.mark.parametrize(
    "address",
    [
        "energies.addresses:sys",  # a module
        "energies.gone:Stacker",  # public nowhere
        "energies.gone:describe",  # of ours, yet exported by no package
        "energies.gone:annotations",
        "energies.gone:torch",
        "energies_of_mine:Energy",  # not of our package
        "energiesx.encoder:EncoderEnergy",
        "other.energies:EncoderEnergy",
    ],
)
def test_only_what_our_packages_export_is_found_elsewhere(address):
    with pytest.raises(OneLine), one_line():
        restore({"function": address}, {})


def test_no_two_public_things_share_a_name():
    found: dict[str, Any] = {}
    for package in (energies, energies.objectives, energies.references, energies.samplers):
        for name in package.__all__:
            assert found.setdefault(name, getattr(package, name)) is getattr(package, name)


def test_what_is_of_another_module_is_named_by_it():
    assert describe(Net, {}) == {"function": f"{ME}:Net"}
    assert describe(HMC, {}) == {"function": "energies.samplers:HMC"}
    assert describe(energies.Hidden, {}) == {"function": "energies:Hidden"}


# ------------------------------------------------------------------------------------------------- modules


def test_the_arguments_are_remembered_and_copied():
    net = Net(3, score=score)
    expected = {"width": 3, "depth": 2, "score": score}
    assert net.arguments == copy.copy(net).arguments == copy.deepcopy(net).arguments == expected
    whole = Sum([net], torch.ones(1), torch.zeros(1), a=1)
    twin = copy.deepcopy(whole)
    assert twin.arguments["parts"][0] is twin.parts[0]
    with pytest.raises(TypeError, match=r"Net.__init__.*width"):
        Net()  # type: ignore[call-arg]


def test_a_module_comes_back(tmp_path):
    net = Net(3, score=score)
    net.count += 2
    save_module(net, tmp_path / "net")
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["energy.json", "model.safetensors"]
    again = load_module(tmp_path / "net")
    x = torch.randn(4, 3)
    assert same(again, net) and torch.equal(again(x), net(x)) and not again.training
    assert isinstance(again, Net) and again.arguments == net.arguments
    save_module(again, tmp_path / "again")
    for name in ("energy.json", "model.safetensors"):
        assert (tmp_path / "net" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_composition_comes_back_and_what_is_shared_is_stored_once(tmp_path):
    net = Net(64)
    parts = [net, net, copy.copy(net), Bound(64).given((1, torch.ones(2)))]
    whole = Sum(parts, torch.full((64,), 0.5), torch.zeros(2), torch.ones(3), mode="a", inner={"p": Point(1.0)})
    save_module(whole, tmp_path)
    again = load_module(tmp_path)
    x = torch.randn(2, 64)
    assert isinstance(again, Sum) and same(again, whole)
    assert same(again.shift, whole.shift) and same(again.rest, whole.rest) and same(again.options, whole.options)
    assert same(again.parts[3].label, parts[3].label)
    torch.testing.assert_close(again.parts[0](x), net(x), rtol=0, atol=0)
    # Parts are whole before what is made of them.
    assert again.size == pytest.approx(whole.size, rel=1e-6)
    num = sum(p.numel() for p in net.parameters()) + 65 + 64 + 7
    assert num * 4 < (tmp_path / "model.safetensors").stat().st_size < num * 4 + 3000


def test_tied_weights_stay_tied(tmp_path):
    save_module(Tied(5), tmp_path)
    again = load_module(tmp_path)
    assert isinstance(again, Tied) and again.a.weight is again.b.weight
    assert list(load_file(tmp_path / "model.safetensors")) == ["a.weight"]


class Tied(Stored, nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.b.weight = self.a.weight


def test_a_part_that_is_copied_keeps_its_own_weights(tmp_path):
    shared = torch.ones(2)
    whole = Scaled(Net(2), shared)
    with torch.no_grad():
        whole.part.layers[0].weight.zero_()  # type: ignore[union-attr]
        whole.scale += 1
    pair = Sum([whole, Scaled(Net(2), torch.zeros(2))], torch.ones(1))
    save_module(pair, tmp_path)
    again = load_module(tmp_path)
    assert isinstance(again, Sum) and same(again, pair)
    assert same(again.parts[0].first[0], whole.first[0])


@pytest.mark.parametrize("name", ["", "value"])
def test_modules_and_tensors_inside_of_values_keep_apart_whatever_their_names(name):
    one, two, zeros = torch.ones(1), torch.ones(2), torch.zeros(3)
    value = {"a": [Net(2), Point(1.0, Net(3))], "": Net(2), "a/0": one, "~": two, "a~10": zeros, "arguments": Net(1)}
    assert same(round_trip(value, name), value)
    assert same(round_trip(one, name), one)


def test_views_of_one_tensor_come_back_as_they_were(tmp_path):
    base = torch.randn(4, 4)
    whole = Sum([Net(2), Bound(2)], base, base.T, base[:2], base.view(torch.int32))
    save_module(whole, tmp_path)
    again = load_module(tmp_path)
    assert isinstance(again, Sum) and same((again.shift, again.rest), (whole.shift, whole.rest))
    # Weights of parts are told by where they are in the whole, not named twice.
    content = json.loads((tmp_path / "energy.json").read_text())
    assert content["shared"] == {}
    assert [part["weights"] for part in content["energy"]["arguments"]["parts"]["list"]] == ["parts.0.", "parts.1."]


def test_the_number_format_is_kept(tmp_path):
    for dtype in (torch.float64, torch.bfloat16, torch.float32):
        net = Net(3).to(dtype)
        save_module(net, tmp_path)
        again = load_module(tmp_path)
        assert same(again, net) and isinstance(again.layers[0].weight, nn.Parameter)
    assert again.layers[0].weight.requires_grad


def test_loading_draws_nothing(tmp_path):
    save_module(Net(3), tmp_path)
    before = torch.get_rng_state()
    load_module(tmp_path)
    tensors: dict[str, Tensor] = {}
    description = describe([Net(3)], tensors)  # this draws
    middle = torch.get_rng_state()
    restore(description, tensors)
    assert not torch.equal(before, middle) and torch.equal(torch.get_rng_state(), middle)
    torch.set_rng_state(before)
    load_module(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_mixin_of_the_hub_works_and_writes_no_settings_of_its_own(tmp_path):
    Hub(3, ("b", "c")).save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "energy.json", "model.safetensors"]
    again = load_module(tmp_path)
    assert isinstance(again, Hub) and again.arguments == {"width": 3, "names": ("b", "c")}


# ------------------------------------------------------------------------------------------------ refusals


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Change the weights, and the checksum with them."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    edit(folder, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def edit(folder: Path, **changes: Any) -> None:
    """Change the description, without a checksum of its own."""
    content = json.loads((folder / "energy.json").read_text()) | {"own_sha256": ...} | changes
    content = {key: value for key, value in content.items() if value is not ...}
    (folder / "energy.json").write_text(json.dumps(content))


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    edit(folder, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def flipped(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def described(folder: Path, **changes: Any) -> None:
    edit(folder, energy=json.loads((folder / "energy.json").read_text())["energy"] | changes)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda f: rewrite(f, lambda t: t.pop("layers.0.bias")), "a Net, lacks layers.0.bias$"),
    "missing all": (lambda f: rewrite(f, lambda t: t.clear()), r"lacks count and 4 more$"),
    "extra": (lambda f: rewrite(f, lambda t: t.update(more=torch.ones(1))), "a Net, has no place for more$"),
    "renamed": (
        lambda f: rewrite(f, lambda t: t.update(renamed=t.pop("layers.1.weight"))),
        "lacks layers.1.weight; it has no place for renamed$",
    ),
    "misshapen": (
        lambda f: rewrite(f, lambda t: t.update({"layers.0.bias": torch.ones(4), "layers.1.bias": torch.ones(1)})),
        r"has of another shape layers.0.bias \(\[4\], expected \[3\]\) and 1 more$",
    ),
    "misshapen though broadcastable": (
        lambda f: rewrite(f, lambda t: t.update({"layers.0.bias": torch.ones(1, 3)})),
        r"layers.0.bias \(\[1, 3\], expected \[3\]\)$",
    ),
    "integers": (
        lambda f: rewrite(f, lambda t: t.update({"layers.0.bias": torch.ones(3, dtype=torch.int32)})),
        r"has of another kind layers.0.bias \(integer, expected float\)$",
    ),
    "floats": (
        lambda f: rewrite(f, lambda t: t.update(count=torch.ones(2))),
        r"has of another kind count \(float, expected integer\)$",
    ),
    "nan": (
        lambda f: rewrite(f, lambda t: t["layers.0.bias"].fill_(math.nan)),
        "numbers that are not finite are in layers.0.bias$",
    ),
    "inf": (
        lambda f: rewrite(f, lambda t: [t[name].fill_(math.inf) for name in ("layers.0.bias", "layers.1.bias")]),
        "not finite are in layers.[01].bias and 1 tensors? more$",
    ),
    "flipped": (flipped, "model.safetensors is damaged or of another energy: its SHA-256 is .*expected"),
    "truncated": (truncated, "model.safetensors is damaged"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing$"),
    "no JSON": (lambda f: (f / "energy.json").write_text('{"format": 2,'), "energy.json is damaged"),
    "no text": (lambda f: (f / "energy.json").write_bytes(b"\xff\xfe"), "energy.json is damaged"),
    "another digit": (
        lambda f: (f / "energy.json").write_text((f / "energy.json").read_text().replace('"width": 3', '"width": 4')),
        "energy.json is damaged or was edited: own_sha256 is not its SHA-256",
    ),
    "deep": (lambda f: (f / "energy.json").write_text("[" * 10**6), "energy.json is damaged"),
    "a list": (lambda f: (f / "energy.json").write_text("[]"), "energy.json holds no map"),
    "earlier": (
        lambda f: (f / "energy.json").write_text('{"energy": "EncoderEnergy"}'),
        r"was saved by an earlier version \(format 1\); learn it again, or load it with that version$",
    ),
    "later": (lambda f: edit(f, format=3), "is of format 3, expected 2$"),
    "lacking keys": (lambda f: edit(f, energy=..., sha256=...), "energy.json lacks energy, lacks sha256$"),
    "unknown keys": (lambda f: edit(f, more=1), "energy.json has the unknown key more$"),
    "no module": (lambda f: edit(f, energy={"list": []}), "describes no module as its energy"),
    "no map of names": (lambda f: edit(f, shared=[]), "has under shared no map"),
    "shared, missing": (lambda f: edit(f, shared={"a": "b"}), "a shares b, which is missing"),
    "no checksum": (lambda f: edit(f, sha256=None), "expected None"),
    "not imported": (
        lambda f: described(f, module="my_module:MyEnergy"),
        "energy is of the class my_module.MyEnergy, which this program has not imported: add imports=my_module$",
    ),
    "other arguments": (lambda f: described(f, arguments={"depth": 2}), "no Net can be made .*width"),
    "NaN argument": (lambda f: described(f, arguments={"width": math.nan}), "energy/arguments/width is not described"),
    "other weights": (lambda f: described(f, weights="other"), "lacks count and 4 more"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_whatever_is_wrong_with_a_saved_energy_is_told_in_a_line(tmp_path, name):
    spoil, message = REFUSED[name]
    save_module(Net(3), tmp_path)
    load_module(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        load_module(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ") and "\n" not in str(caught.value)


def test_no_energy_is_told(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match=r"holds no energy; that of a run is in RUN/energy, or in RUN/comp"):
            load_module(folder)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    net = Net(3)
    with torch.no_grad():
        net.layers[0].weight[0, 0] = math.nan  # type: ignore[index]
    with pytest.raises(ValueError, match=r"not finite are in layers.0.weight$"):
        save_module(net, tmp_path)
