"""The contract of energies, held by every class of them: saving, binding, batches, levels, labels and dtypes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import energies
from energies import Conditioned, Energy, Family, FunctionEnergy, PredictiveEnergy, gradient
from energies.algebra import Composite, Expected, OfSameX
from energies.boltzmann import Latent, Machine
from energies.family import is_noisy
from energies.networks.causal import Causal
from energies.samplers.tempering import Tempered
from energies.symmetry import OfOne
from tests.cases import (
    CASES,
    COMPOSED,
    CONDITIONAL,
    GIVEN,
    LABELLED,
    LEVELS,
    NUM,
    PLAIN,
    at_levels,
    bindings,
    encoder,
    labels_of,
    ready,
    tilt,
    whole,
)

every = pytest.mark.parametrize("name", CASES)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-9) -> None:
    assert a.dtype == b.dtype == torch.float64
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@contextlib.contextmanager
def one_line(kind: type[Exception], words: str) -> Iterator[None]:
    """It raises that, in a line with those words."""
    with pytest.raises(kind, match=words) as caught:
        yield
    assert "\n" not in str(caught.value)


def test_every_class_of_energies_is_here() -> None:
    def below(kind: type) -> set[type]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    ours = {kind for kind in below(Energy) if kind.__module__.startswith("energies.")}
    bases = {Energy, Family, Composite, OfSameX, OfOne, Latent, Machine, PredictiveEnergy, Causal}
    inside = {Expected, Tempered}  # of a level of a sum, of replicas
    here = {type(module) for name in CASES for module in ready(name).modules()}
    assert {kind.__name__ for kind in ours - bases - inside - here} == set()
    assert {kind.__name__ for kind in bases & here} == set()


@every
def test_energies_are_finite_and_tell_x_from_x(name: str) -> None:
    for bound in bindings(ready(name)):
        e = bound(CASES[name].x())
        assert e.shape == (NUM,) and e.isfinite().all()
        assert len(e.unique()) == (2 if name == "ising" else NUM)


@every
def test_float64_stays(name: str) -> None:
    case, energy = CASES[name], ready(name)
    for bound in bindings(energy):
        e, slope = gradient(bound, case.x())
        assert e.dtype == slope.dtype == torch.float64
    if isinstance(energy, Family) and energy.noisy:
        assert energy.at(0.8).denoise(case.x()).dtype == torch.float64
        assert energy.start(case.x(), 3.0).dtype == torch.float64


@every
def test_saved_and_loaded_it_is_the_same(name: str, tmp_path: Path) -> None:
    case, energy = CASES[name], whole(name)
    energy.save_pretrained(tmp_path)
    again = energies.load(tmp_path)
    assert type(again) is type(energy) and not again.training
    assert labels_of(again) == labels_of(energy)
    x = case.x()
    for a, b in zip(bindings(ready(name)), bindings(ready(name, energy=again)), strict=True):
        torch.testing.assert_close(a(x), b(x), rtol=0, atol=0)
    if isinstance(energy, Family):
        assert isinstance(again, Family)
        assert (again.classes, again.label, again.level) == (energy.classes, None, None)


def _cast(tensor: Tensor) -> Tensor:
    return tensor.double() if not tensor.is_floating_point() else tensor.int()


SPOILED = {
    "missing": (lambda tensors, key: tensors.pop(key), "lacks|which is missing|no .* can be made"),
    "renamed": (lambda tensors, key: tensors.update(renamed=tensors.pop(key)), "lacks|which is missing|can be made"),
    "extra": (lambda tensors, key: tensors.update({f"{key}_more": torch.ones(2)}), "has no place for|is not used"),
    "misshapen": (lambda tensors, key: tensors.update({key: tensors[key][None]}), "of another shape|can be made"),
    "cast": (lambda tensors, key: tensors.update({key: _cast(tensors[key])}), "of another kind|can be made"),
    "nan": (lambda tensors, key: tensors.update({key: tensors[key] * math.nan}), "not finite"),
}


@pytest.mark.slow
@every
def test_weights_that_do_not_fit_are_refused_whichever_they_are(name: str, tmp_path: Path) -> None:
    whole(name).save_pretrained(tmp_path)
    weights, content = tmp_path / "model.safetensors", json.loads((tmp_path / "energy.json").read_text())
    right = load_file(weights)
    few = ("missing", "cast") if weights.stat().st_size > 1e6 else SPOILED
    for key in dict.fromkeys([*right][:1] + [*right][-1:]):
        for what, (spoil, words) in SPOILED.items():
            if what not in few or (what == "nan" and not right[key].is_floating_point()):
                continue
            tensors = dict(right)
            spoil(tensors, key)
            save_file(tensors, weights)
            found = {k: v for k, v in content.items() if k != "own_sha256"}
            found["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
            (tmp_path / "energy.json").write_text(json.dumps(found))
            with one_line(ValueError, words):
                energies.load(tmp_path)


@pytest.mark.parametrize("name", [*LABELLED, *CONDITIONAL, *COMPOSED, *PLAIN])
def test_a_saved_energy_loads_wherever_the_file_of_its_class_has_moved_to(name: str, tmp_path: Path) -> None:
    energy, x = whole(name), CASES[name].x()
    energy.save_pretrained(tmp_path)
    written = (tmp_path / "energy.json").read_text()
    named = set(re.findall(r'"(energies[\w.]*):\w+"', written))
    assert named and all(hasattr(sys.modules[module], "__path__") for module in named)  # packages, not files
    written = re.sub(r',\s*"own_sha256": "\w+"', "", written)  # as files of before there was one
    (tmp_path / "energy.json").write_text(re.sub(r'"energies[\w.]*:', '"energies.where_it_once_lay:', written))
    again = energies.load(tmp_path)
    assert type(again) is type(energy)
    for a, b in zip(bindings(ready(name)), bindings(ready(name, energy=again)), strict=True):
        torch.testing.assert_close(a(x), b(x), rtol=0, atol=0)


BINDABLE = [
    name
    for name, case in CASES.items()
    if name not in (*PLAIN, *GIVEN, "conditional local") and (labels_of(whole(name)) or is_noisy(whole(name)))
]


@pytest.mark.parametrize("name", BINDABLE)
def test_it_is_saved_with_the_label_and_level_that_are_bound(name: str, tmp_path: Path) -> None:
    x = CASES[name].x()
    for number, bound in enumerate(bindings(whole(name))):
        folder = tmp_path / str(number)
        if any(isinstance(module, Expected) for module in bound.modules()):
            with one_line(TypeError, "save the composition unbound"):
                bound.save_pretrained(folder)
            continue
        bound.save_pretrained(folder)
        again = energies.load(folder)
        assert isinstance(bound, Family) and isinstance(again, Family)
        assert (again.level, again.label) == (bound.level, bound.label)
        torch.testing.assert_close(again(x), bound(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", [*GIVEN, "conditional local"])
def test_a_conditioned_energy_is_not_saved(name: str, tmp_path: Path) -> None:
    for energy in (ready(name), at_levels(ready(name))):
        with one_line(TypeError, "is not saved"):
            energy.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


@every
def test_bound_copies_share_weights_and_leave_the_original_alone(name: str) -> None:
    case, energy = CASES[name], ready(name)
    weights = {id(weight) for weight in energy.parameters()}
    before = [bound(case.x()) for bound in bindings(energy)]
    attributes = dict(energy.__dict__)
    copies = bindings(energy)
    assert all({id(weight) for weight in bound.parameters()} == weights for bound in copies)
    if isinstance(energy, Family):
        assert energy.label is None and energy.level is None
    assert dict(energy.__dict__) == attributes and bindings(energy)[0].__dict__.keys() == copies[0].__dict__.keys()
    for a, bound in zip(before, bindings(energy), strict=True):
        torch.testing.assert_close(a, bound(case.x()), rtol=0, atol=0)


BOTH = [name for name in CASES if labels_of(ready(name)) and is_noisy(ready(name))]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("label", [0, 2, None])
def test_labels_and_levels_are_bound_in_any_order(name: str, label: int | None) -> None:
    energy, x = ready(name), CASES[name].x()
    assert isinstance(energy, Family)
    one, other = energy.given(label).at(0.8), energy.at(0.8).given(label)
    close(one(x), other(x))
    close(one.denoise(x), other.denoise(x))


@pytest.mark.parametrize("name", [name for name in CASES if labels_of(ready(name))])
def test_a_label_says_something_and_none_takes_it_back(name: str) -> None:
    energy, x = ready(name), CASES[name].x()
    assert isinstance(energy, Family)
    of_any = at_levels(energy)(x)
    assert ((at_levels(energy.given(0))(x) - at_levels(energy.given(1))(x)).abs() > 1e-6).all()
    for back in (energy.given(1).given(None), energy.given(1).given(-1), energy.given(torch.tensor([-1, -1, -1]))):
        close(at_levels(back)(x), of_any)


@pytest.mark.parametrize("name", [name for name in CASES if labels_of(ready(name))])
def test_labels_may_differ_within_a_batch(name: str) -> None:
    energy, x = ready(name), CASES[name].x()
    assert isinstance(energy, Family)
    together = at_levels(energy.given(torch.tensor([1, 0, -1])))(x)
    for k, label in enumerate((1, 0, None)):
        close(together[k], at_levels(energy.given(label))(x)[k])


@every
def test_a_batch_of_one_is_that_sample_in_a_batch_of_many(name: str) -> None:
    x = CASES[name].x()
    tolerance = 1e-5 if "told" in name else 1e-9  # what a data set is remembered by is in float32
    together = [gradient(bound, x) for bound in bindings(ready(name))]
    for k in range(NUM):
        alone = bindings(ready(name, slice(k, k + 1)))
        for (e, slope), bound in zip(together, alone, strict=True):
            e_alone, slope_alone = gradient(bound, x[k : k + 1])
            close(e_alone[0], e[k], tolerance)
            close(slope_alone[0], slope[k], tolerance)


NOISY = [name for name in CASES if is_noisy(ready(name))]


@pytest.mark.parametrize("name", NOISY)
def test_levels_may_differ_within_a_batch(name: str) -> None:
    energy, x, levels = ready(name), CASES[name].x(), torch.tensor([0.3, 1.7, 0.8], dtype=torch.float64)
    assert isinstance(energy, Family)
    together = energy.at(levels)
    e, slope = gradient(together, x)
    clean = together.denoise(x)
    for k in range(NUM):
        one = energy.at(float(levels[k]))
        e_one, slope_one = gradient(one, x)
        close(e[k], e_one[k])
        close(slope[k], slope_one[k])
        close(clean[k], one.denoise(x)[k])


@pytest.mark.parametrize("name", NOISY)
def test_the_expected_clean_x_is_tweedies(name: str) -> None:
    energy, x = ready(name), CASES[name].x()
    assert isinstance(energy, Family)
    scale = 1.0 if energy.scale is None else energy.scale.double()
    for level in LEVELS:
        bound, leaf = energy.at(level), x.clone().requires_grad_()
        slope = bound.tangent(torch.autograd.grad(bound(leaf).sum(), leaf)[0])
        expected = x - (level * scale) ** 2 * slope
        if isinstance(energy, Conditioned) and energy.observation.holds:
            expected = energy.observation.project(expected, energy.y, energy.scale)
        close(bound.denoise(x), expected)
        close(bound.denoise(x, slope=slope), expected)
        assert (expected - x).abs().amax() > 1e-3
        assert bound.denoise(x, create_graph=True).requires_grad


@pytest.mark.parametrize("name", NOISY)
def test_without_a_level_it_asks_for_one(name: str) -> None:
    energy = ready(name)
    # The parts of a sum may be of clean x: that it is asked of all is said by the first that is not.
    with one_line(RuntimeError, "needs a noise level"):
        energy(CASES[name].x())


@every
def test_it_tells_of_which_x_it_is(name: str) -> None:
    case, energy = CASES[name], ready(name)
    for bound in bindings(energy):
        assert bound.fits(case.shape)
        if name in (
            *LABELLED,
            *CONDITIONAL,
            *COMPOSED,
            *GIVEN,
            "gaussian",
            "mixture of gaussians",
            "funnel",
            "student",
            "bounded",
            "convnet st",
            "convnet object",
            "ising",
            "rbm",
            "rbm gaussian",
            "dbm",
            "helmholtz",
            "rbm units",
            "subspace",
            "frames",
            "frames feed-forward",
            "symbols",
        ):
            assert type(bound.event_shape) is tuple and bound.event_shape == case.shape
            assert not bound.fits((*case.shape[:-1], 99)) and not bound.fits(case.shape[1:])
        else:
            with one_line(RuntimeError, "of any shape"):
                assert bound.event_shape


@every
def test_mean_spread_scale_and_origin_are_typed(name: str) -> None:
    case, energy = CASES[name], ready(name)
    for bound in [energy, *bindings(energy)]:
        origin = bound.origin
        assert isinstance(origin, float | Tensor)
        assert isinstance(origin, float) or origin.broadcast_to(NUM, *case.shape).isfinite().all()
        if not isinstance(bound, Family) or not is_noisy(energy):
            continue
        assert isinstance(bound.mean, Tensor) and bound.mean.broadcast_to(NUM, *case.shape).isfinite().all()
        assert type(bound.spread) is float and 0 < bound.spread < math.inf
        if bound.scale is not None:
            assert isinstance(bound.scale, Tensor) and (bound.scale.broadcast_to(NUM, *case.shape) > 0).all()
        assert isinstance(origin, Tensor) and torch.equal(origin, bound.mean)


@pytest.mark.parametrize("name", NOISY)
def test_chains_start_around_the_mean_with_the_noise_of_the_level(name: str) -> None:
    energy = ready(name)
    assert isinstance(energy, Family)
    noise = CASES[name].x(3)
    centre, far = energy.start(torch.zeros_like(noise), 4.0), energy.start(noise, 4.0)
    assert far.shape == centre.shape == noise.shape
    scale = torch.ones(()) if energy.scale is None else energy.scale
    moved = (far - centre) / (4 * scale)
    free = moved != 0  # what is seen of a conditional energy's x holds no noise
    close(moved, noise * free)
    assert free.double().mean() > 0.2
    if not isinstance(energy, Conditioned):
        close(centre, energy.mean.to(centre).expand_as(centre), 1e-6)


@pytest.mark.parametrize("name", [name for name in CASES if not is_noisy(ready(name))])
def test_an_energy_of_clean_x_knows_no_levels(name: str) -> None:
    energy = ready(name)
    if isinstance(energy, Family):
        with one_line(RuntimeError, "levels"):
            energy.at(0.5)


@every
def test_unknown_labels_are_refused(name: str) -> None:
    energy = ready(name)
    if not isinstance(energy, Family):
        return
    for label in (energy.num_classes, torch.tensor([0, energy.num_classes, 0]), "no such"):
        with one_line(ValueError, "label"):
            energy.given(label)
    if energy.classes:
        x = CASES[name].x()
        close(at_levels(energy.given("one"))(x), at_levels(energy.given(1))(x))


@pytest.mark.parametrize("name", [name for name in LABELLED if is_noisy(whole(name))])
def test_a_sum_at_a_level_is_the_sum_of_its_parts_there(name: str) -> None:
    a, x = whole(name), CASES[name].x()
    b = encoder(CASES[name].shape, classes=2).double()
    assert isinstance(a, Family)
    labels = [None, *range(a.num_classes)][:2]
    for label in labels:
        for level in (0.3, torch.tensor([0.3, 1.7, 0.8], dtype=torch.float64)):
            composed = (0.7 * a.given(label) - 0.2 * b.given(1)).at(level)
            parts = 0.7 * a.at(level).given(label)(x) - 0.2 * b.given(1).at(level)(x)
            close(composed(x), parts)


CLEAN = [name for name in (*LABELLED, *PLAIN) if not is_noisy(whole(name)) and name != "bounded"]


@pytest.mark.parametrize("name", CLEAN)
def test_a_sum_of_clean_energies_is_the_sum(name: str, tmp_path: Path) -> None:
    case, a = CASES[name], whole(name)
    b = FunctionEnergy(tilt)
    composed, x = 0.7 * a - 0.2 * b, case.x()
    close(composed(x), 0.7 * a(x) - 0.2 * b(x))
    composed.save_pretrained(tmp_path)
    close(energies.load(tmp_path)(x), composed(x), 0)


@pytest.mark.parametrize("name", [name for name in LABELLED if labels_of(whole(name))])
def test_guidance_goes_from_any_label_to_the_one_and_beyond(name: str) -> None:
    energy, x, label = whole(name), CASES[name].x(), torch.tensor([0, 1, 2])
    assert isinstance(energy, Family)
    free, given = at_levels(energy)(x), at_levels(energy.given(label))(x)
    for weight in (0.0, 1.0, 2.5):
        close(at_levels(energy.guided(label, weight))(x), free + weight * (given - free))
