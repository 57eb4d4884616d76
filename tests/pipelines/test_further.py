"""`learn.further`: learning goes on from the weights of an energy that was learned before, on what is loaded."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import seeded
from tiny import data_of, encoder, filled, of_details, run_in, single

from data.errors import InputError
from energies import (
    ConditionalEnergy,
    DataReference,
    EncoderEnergy,
    Energy,
    GenerativeConvNet,
    Hidden,
    ResidualEnergy,
    hub,
)
from energies.objectives import EnergyMatching, MaximumLikelihood
from pipelines import results
from pipelines import settings as checks
from pipelines.learning.settings import Amortised
from pipelines.stages.compose import Compose
from pipelines.stages.learn import Learn
from pipelines.stages.learn_joint import LearnJoint
from pipelines.stages.recover import Recover

DATA = data_of("images", 40)
VOXELS = data_of("voxels", 24, (1, 16, 16, 16))
SHORT = MaximumLikelihood(steps=1, step_size=0.05, sampling_steps=3)


def saved(energy: Energy, folder: Path) -> str:
    energy.save_pretrained(folder / "energy")
    return str(folder)


def told() -> ConditionalEnergy:
    """Amortised, around a reference of other data than these."""
    reference = DataReference((1, 8, 8), 9, 3, 0.5, False, ("hidden",))
    reference.fit(data_of("images", 12).x())
    return filled(ConditionalEnergy(reference, 1, (4, 6), (1, 1), (2, 2)))


def weights(energy: Energy) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in energy.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("energy", "data", "settings"),
    [
        (encoder(DATA), DATA, {}),
        (EncoderEnergy((1, 8, 8), (4,), (1,), noisy=False), DATA, {"objective": EnergyMatching()}),
        (ResidualEnergy((1, 8, 8), 4), DATA, {"objective": SHORT}),
        (GenerativeConvNet("object", [1, 8, 8]), DATA, {"objective": SHORT}),
        (told(), DATA, {}),
        (of_details(), VOXELS, {"crop": (8,), "tasks": ("voxels",)}),
        (encoder(single("images", (3, 8, 8))).resized((8, 8)), single("images", (3, 16, 16)), {"crop": (8,)}),
    ],
    ids=["noisy", "clean", "residual", "conv_net", "amortised", "details", "of one photograph"],
)
def test_it_starts_from_the_weights_that_it_is_given(energy, data, settings, tmp_path):
    source = saved(energy, tmp_path / "run")
    own: dict[str, Any] = {"batch": 2, "chains": 4, "learning_rate": 1e-9, "folds": 2} | settings
    stage = Learn(source, further=1, **own)
    stage.check({"data": data})
    learned = stage({"data": data}, run_in(tmp_path))["energy"]
    assert type(learned) is type(energy)
    torch.testing.assert_close(weights(learned), weights(energy), rtol=0, atol=1e-6)
    assert '"step": 0' in (tmp_path / "log.jsonl").read_text()


def test_its_rate_is_a_tenth_where_none_is_said(tmp_path):
    source, usual = saved(encoder(DATA), tmp_path), Learn().planned({"data": DATA})
    for said, rate in ((None, 0.1 * usual.learning_rate), (0.3, 0.3)):
        recipe = Learn(source, further=60, steps=7, learning_rate=said)._recipe({"data": DATA}, encoder(DATA))
        assert recipe is not None and (recipe.steps, recipe.learning_rate) == (60, pytest.approx(rate))


@pytest.mark.slow
def test_on_other_data_it_comes_to_denoise_better(tmp_path):
    bright = replace(DATA, train=(DATA.train // 4 + 160).to(DATA.train.dtype))
    before = encoder(DATA)
    stage = Learn(saved(before, tmp_path / "run"), further=40, batch=16, learning_rate=0.1)
    after = stage({"data": bright}, run_in(tmp_path))["energy"]
    x = bright.x()
    seen = x + 0.5 * torch.randn(x.shape, generator=seeded(0))
    errors = [float((energy.at(0.5).denoise(seen) - x).square().mean()) for energy in (before, after)]
    assert errors[1] < 0.5 * errors[0], errors


def test_an_amortised_energy_is_told_of_the_new_data(tmp_path):
    source = saved(told(), tmp_path / "run")
    asked = Amortised(remembered=25)
    stage = Learn(source, further=1, learning_rate=1e-9, batch=2, energy=asked, tasks=("pixels", "average"))
    reference = stage({"data": DATA}, run_in(tmp_path))["energy"].reference
    assert reference.kinds == ("hidden", "average") and (reference.rank, len(reference.data)) == (3, 25)
    x = (reference.data / 127.5 - 1).view(-1, 1, 8, 8)
    torch.testing.assert_close(x, DATA.x()[:25], rtol=0, atol=1e-2)


def test_classes_are_learned_further_where_the_energy_knows_them(tmp_path):
    labels = torch.arange(30) % 2
    data = replace(DATA, classes=("a", "b"), train_labels=labels, validation_labels=labels[:10])
    for name, energy in (("by_class", encoder(data, ("a", "b"))), ("plain", encoder(data))):
        source = saved(energy, tmp_path / name)
        learned = Learn(source, further=1, batch=2)({"data": data}, run_in(tmp_path / name))["energy"]
        assert (learned.classes, learned.num_classes) == (energy.classes, energy.num_classes)


def test_what_cannot_learn_further_is_refused_in_one_line(tmp_path):
    small = saved(EncoderEnergy((1, 4, 4), (4,), (1,)), tmp_path / "small")
    clean = saved(EncoderEnergy((1, 8, 8), (4,), (1,), noisy=False), tmp_path / "clean")
    other = saved(encoder(DATA) + encoder(DATA), tmp_path / "other")
    noisy = saved(encoder(DATA), tmp_path / "noisy")
    photograph, hidden = single("images", (1, 8, 8)), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    damaged = {"data": photograph, "observation": Hidden(hidden), "measured": photograph.x()}
    for source, settings, values, words in (
        (small, {}, {"data": DATA}, "is an energy of 1x4x4, the pictures are 1x8x8"),
        (clean, {}, {"data": DATA}, "is one of clean x; set the objective"),
        (noisy, {"objective": EnergyMatching()}, {"data": DATA}, "is one of many noise levels"),
        (noisy, {"energy": Amortised()}, {"data": DATA}, "the energy of learn.pretrained is encoder"),
        (other, {}, {"data": DATA}, "the energy is a WeightedSum; only encoder or amortised"),
        (noisy, {}, damaged, "of a damaged clip an energy is learned anew"),
    ):
        with pytest.raises(InputError, match=words) as told:
            Learn(source, further=3, **settings).check(values)
        assert "\n" not in str(told.value)
    varied = encoder(DATA)
    stage = Learn(saved(varied, tmp_path / "whole"), further=3, crop=(4,))
    with pytest.raises(InputError, match="it was not learned from crops"):
        stage({"data": photograph}, run_in(tmp_path))


@pytest.mark.parametrize("settings", [{"further": 3}, {"pretrained": "none", "further": 3}])
def test_further_without_an_energy_is_refused(settings):
    with pytest.raises(ValueError, match=r"further is .* set pretrained"):
        Learn(**settings)


@pytest.mark.parametrize(
    ("stage", "settings", "field"),
    [
        (Learn, {"pretrained": "zoo:nobody"}, "pretrained"),
        (LearnJoint, {"pretrained": "zoo:nobody"}, "pretrained"),
        (Recover, {"prior": "zoo:nobody"}, "prior"),
        (Compose, {"experts": {"colour": "zoo:nobody"}}, "experts.colour"),
    ],
)
def test_an_entry_that_the_zoo_lacks_is_told_before_anything_is_loaded(stage, settings, field):
    with pytest.raises(ValueError, match=rf"^{field}=zoo:nobody: there is no 'nobody' in the zoo; there are "):
        stage(**settings)


def test_an_energy_of_the_zoo_is_taken_wherever_one_is_asked_for(tmp_path, monkeypatch):
    entry = tmp_path / "nobody"
    encoder(DATA).save_pretrained(entry)
    (entry / "card.json").write_text("{}")
    monkeypatch.setattr(hub, "located", partial(hub.located, root=tmp_path))
    for module in (results, checks):
        monkeypatch.setattr(module, "located", hub.located)
    for stage in (Learn("zoo:nobody"), Recover(prior="zoo:nobody"), Compose("a", {"a": "zoo:nobody"})):
        assert stage.files() == (str(entry),)
    taken = Learn("zoo:nobody")({"data": DATA}, run_in(tmp_path))["energy"]
    assert torch.equal(weights(taken), weights(encoder(DATA)))
    assert LearnJoint(pretrained="zoo:nobody").files() == (str(entry / "energy"), str(entry / "plain"))


def test_none_means_to_learn_anew(tmp_path, monkeypatch):
    assert LearnJoint(pretrained="none").files() == Compose("a", {"a": "none"}).files() == ()
    monkeypatch.chdir(tmp_path)
    stage = Learn("none", steps=1, batch=2, energy=None)
    assert stage.files() == () and stage.planned({"data": DATA}) == Learn(steps=1, batch=2).planned({"data": DATA})
    stage({"data": DATA}, run_in(tmp_path))
    assert '"step": 0' in (tmp_path / "log.jsonl").read_text()
