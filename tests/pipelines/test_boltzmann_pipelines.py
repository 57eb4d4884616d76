"""Boltzmann machines in pipelines: learned, resumed bit for bit, sampled, bracketed; and what they refuse in a line."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import InputError
from energies import DBM, RBM, Average, FunctionEnergy, Hidden, Noisy
from energies.boltzmann import GibbsChain
from energies.objectives import ContrastiveDivergence
from pipelines.examples import Examples
from pipelines.learning.settings import Boltzmann, Weights
from pipelines.sampling.generation import generate
from pipelines.stages.learn import Learn
from pipelines.stages.likelihood import Likelihood
from tests.tiny import data_of, encoder, known, run_in

SMALL = Boltzmann((6,))
HOW = ContrastiveDivergence(sampling_steps=5, rungs=3, kept=2)


def labelled(num: int = 40) -> Examples:
    data = data_of("images", num, (1, 4, 4))
    labels = torch.arange(num) % 2
    return replace(data, classes=("a", "b"), train_labels=labels[: len(data.train)],
                   validation_labels=labels[len(data.train) :])  # fmt: skip


def learned(folder: Path, stage: Learn, data: Examples, **values: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)  # of first weights, as a pipeline does
    return stage(known(stage, {"data": data, **values}), run_in(folder))


@pytest.mark.slow
def test_it_learns_samples_and_tells_its_likelihood(tmp_path: Path) -> None:
    data, stage = labelled(), Learn(energy=SMALL, objective=HOW, steps=40, batch=16, chains=16)
    given = learned(tmp_path, stage, data)
    machine, generator = given["energy"], given["generator"]
    assert isinstance(machine, RBM) and machine.classes == ("a", "b") and generator == GibbsChain(5)
    assert machine.num_past == 2 and [round(float(p), 2) for p in machine.progress] == [0.68, 0.35]
    x = generate(machine, generator, 4, torch.tensor([0, 1, 0, 1]), run_in(tmp_path), "synthesize")
    assert x.shape == (4, 1, 4, 4) and x.abs().eq(1).all()
    (tmp_path / "config.yaml").write_text("")
    values = {"data": data, "energy": machine, "metrics": {"before": 1}, "summary": "so far"}
    told = Likelihood(num=20, runs=8, steps=10, settle=2, sweeps=3)
    found = told(known(told, values), run_in(tmp_path))
    own = found["metrics"]["likelihood"]
    machine.requires_grad_(False)
    log_z = float((-machine(_every(16))).logsumexp(0))
    for part, kept in (("train", data.x("train", slice(20))), ("validation", data.x("validation"))):
        right = float((-machine(machine.rounded(kept))).mean()) - log_z
        assert own["nats"][part] == pytest.approx([right, right], abs=1e-3)
        assert own["bits"][part][0] == pytest.approx(-right / math.log(2) / 16, abs=1e-4)
    assert own["by"] == "enumeration" and found["metrics"]["before"] == 1 and found["summary"].startswith("so far\n")
    assert [round(p["progress"], 2) for p in own["curve"]] == [0.35, 0.68, 1.0]
    assert own["ladder"]["log_z"] == pytest.approx(log_z, abs=0.5)
    assert json.loads((tmp_path / "metrics.json").read_text()) == found["metrics"]
    assert all((tmp_path / name).exists() for name in ("likelihood.html", "filters.png", "chains.png"))


def _every(num: int) -> torch.Tensor:
    bits = torch.arange(2**num)[:, None] >> torch.arange(num) & 1
    return (2.0 * bits - 1).view(-1, 1, 4, 4)


class Stop(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("chains", ["data", "persistent", "tempered", "trajectory"])
def test_learning_goes_on_bit_for_bit_with_chains_and_ladder(chains: Any, tmp_path: Path) -> None:
    how = replace(HOW, chains=chains)
    stage = Learn(energy=SMALL, objective=how, steps=8, batch=8, chains=6, learning_rate=0.3, conditional=False,
                  optimizer=Weights(checkpoint_every=4))  # fmt: skip
    whole = learned(tmp_path / "whole", stage, labelled())["energy"].state_dict()
    (tmp_path / "cut").mkdir()
    run = run_in(tmp_path / "cut")
    log, count = run.log, [0]

    def stop(**record: Any) -> None:
        count[0] += "step" in record
        if count[0] == 7:
            raise Stop
        log(**record)

    run.log = stop  # type: ignore[method-assign]
    torch.manual_seed(0)
    with pytest.raises(Stop):
        stage(known(stage, {"data": labelled()}), run)
    again = learned(tmp_path / "cut", stage, labelled())["energy"].state_dict()
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    assert float(whole["remembered"]) == (0 if chains == "trajectory" else 2)


def test_a_deep_one_is_learned_layer_by_layer_and_then_together(tmp_path: Path) -> None:
    stage = Learn(energy=Boltzmann((6, 4), pretraining=3), objective=HOW, steps=4, batch=8, chains=8)
    machine = learned(tmp_path, stage, labelled())["energy"]
    assert isinstance(machine, DBM) and machine.sizes == [16, 6, 4] and machine.num_classes == 0
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    stages = [record["stage"] for record in log if "step" in record]
    assert {name: stages.count(name) for name in stages} == {"layer_1": 3, "layer_2": 3, ".": 4}
    alone = learned(tmp_path / "alone", replace(stage, energy=Boltzmann((6, 4), pretraining=0)), labelled())["energy"]
    assert not torch.equal(alone.weights[0], machine.weights[0])


def test_one_that_was_learned_before_is_sampled_by_sweeps(tmp_path: Path) -> None:
    RBM((1, 4, 4), 3).save_pretrained(tmp_path / "energy")
    stage = Learn(pretrained=str(tmp_path))
    assert learned(tmp_path, stage, labelled())["generator"] == GibbsChain(1000)


@pytest.mark.parametrize("pretrained", [False, True])
def test_measurements_that_it_cannot_take_are_refused_before_learning(pretrained: bool, tmp_path: Path) -> None:
    RBM((1, 4, 4), 3).save_pretrained(tmp_path / "energy")
    stage = Learn(pretrained=str(tmp_path)) if pretrained else Learn(energy=SMALL)
    hidden = Hidden(torch.ones(1, 4, 4, dtype=torch.bool))
    for observation in (hidden, Noisy(hidden, 0.1)):
        stage.check({"data": labelled(), "observation": observation})
    with pytest.raises(InputError, match="hide pixels"):
        stage.check({"data": labelled(), "observation": Average((2, 2))})


def test_settings_that_do_not_fit_are_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only those with one hidden layer learn classes"):
        Learn(energy=Boltzmann((3, 2)), conditional=True).check({"data": labelled()})
    for wrong in ({"hidden": ()}, {"hidden": (3, 0)}, {"pretraining": -1}):
        with pytest.raises(ValueError, match="must"):
            Boltzmann(**wrong)
    for wrong in ({"steps": 0}, {"rungs": 1}, {"recentre": 2.0}, {"kept": -1}):
        with pytest.raises(ValueError, match="must"):
            ContrastiveDivergence(**wrong)
    for wrong in ({"runs": 3}, {"steps": 0}, {"level": 0.0}, {"settle": -1}):
        with pytest.raises(ValueError, match="must"):
            Likelihood(**wrong)
    data = labelled()
    with pytest.raises(InputError, match="many noise levels"):
        Likelihood(level=0.2).check({"data": data, "energy": FunctionEnergy("mirror")})
    with pytest.raises(InputError, match="nothing to judge by"):
        Likelihood().check({"data": replace(data, validation=data.validation[:0])})


@pytest.mark.slow
def test_any_energy_has_its_bracket(tmp_path: Path) -> None:
    """Of many noise levels at one of them, and one that is too wide is said to be."""
    data = data_of("images", 24, (1, 4, 4))
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "log.jsonl").write_text("")
    stage = Likelihood(num=6, runs=4, steps=8, settle=2, leapfrog=2, level=0.5)
    found = stage({"data": data, "energy": encoder(data)}, run_in(tmp_path))
    own = found["metrics"]["likelihood"]
    low, high = own["nats"]["validation"]
    assert math.isfinite(low) and low <= high and own["noise"] == 0.5
    assert own["closed"] or "too wide to say" in found["summary"]
