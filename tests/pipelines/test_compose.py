"""Composition as a pipeline: expressions to energies by hand, and tiny runs from the command line to pictures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from conftest import Family, seeded
from torch import Tensor

import energies
from data.scenes import MISFIT, combinations, held_out, misfit, scenes
from energies import AnyOf, EncoderEnergy, Energy, FunctionEnergy, Hidden, Schedule, WeightedSum, any_of
from energies import family as families
from energies.diagnostics import Monitor
from energies.matching import MomentMatching
from energies.sampling import anneal
from pipelines import checkpoint, making, run
from pipelines.composition import balancing, experts, expression
from pipelines.composition.composing import Composer, priors
from pipelines.examples import Examples
from pipelines.learning.settings import Encoder
from pipelines.measures import attributes, composition
from pipelines.measures.attributes import Attributes, is_scene
from pipelines.measures.judge import Classifier
from pipelines.modalities.voxels import modality as voxels
from pipelines.pipeline import Pipeline
from pipelines.sampling import posterior
from pipelines.sampling.generation import generate
from pipelines.stage import Run
from pipelines.stages import compose
from pipelines.stages.compose import Compose
from pipelines.stages.learn import Learn
from pipelines.stages.recover import Recover
from pipelines.trees import ConfigError
from tests.tiny import known

SHAPES, COLOURS, SIZES = ("circle", "square", "triangle", "cross"), ("red", "green", "blue"), ("small", "big")
LEVEL, STRENGTH = 0.7, 1.5
TINY = [
    "load.count=80", "load.size=12", "compose.energy.widths=[4, 6]", "compose.energy.depths=[1, 1]", "compose.steps=2",
    "compose.generator.levels=3", "compose.generator.steps=1", "compose.balance=6", "evaluate.rivals=4",
    "evaluate.cells=1", "compute=float32",
]  # fmt: skip
TINY_VOXELS = [
    "load.count=60", "load.size=16", "compose.size=8", "compose.energy.widths=[4, 6]", "compose.energy.depths=[1, 1]",
    "compose.steps=2", "compose.generator.levels=3", "compose.balance=4", "synthesize.num=3",
    "synthesize.generator.schedule.levels=3", "synthesize.generator.schedule.steps=1",
    "learn.energy.amortised.widths=[8]", "learn.energy.amortised.depths=[1]", "learn.energy.amortised.rank=0",
    "learn.steps=2", "learn.batch=2", "refine.remask=1", "export.views=2", "export.limit=2", "compute=float32",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick_judge():
    """Classifiers of less learning: what is tested is not how well they judge."""
    modules = (composition, voxels)
    before = [(module, module.JUDGED_BY, module.JUDGED_FOR) for module in modules]
    for module in modules:
        module.JUDGED_BY, module.JUDGED_FOR = 120, 4
    yield
    for module, by, steps in before:
        module.JUDGED_BY, module.JUDGED_FOR = by, steps


def values_of(folder: Path) -> dict:
    values = checkpoint.load_values(folder)
    assert values is not None
    return values


def metrics_of(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


def refusal(capsys, *arguments: str) -> str:
    """The one line that a run ends with."""
    capsys.readouterr()
    assert run.main(list(arguments)) == 2
    said = ("[", "running on", "this takes")
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(said)]
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


# ------------------------------------------------------------------------------- expressions to energies


def expert(classes: tuple[str, ...], seed: int, shape: tuple[int, ...] = (3, 4, 4), noisy: bool = True) -> Energy:
    """Not learned, but its labels matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        energy = EncoderEnergy(shape, (4,), (1,), num_classes=len(classes), noisy=noisy)
    with torch.no_grad():
        for level in energy.levels:
            level.weigh.weight *= 30  # type: ignore[union-attr, operator]
        energy.mean.copy_(0.1 * torch.randn(shape, generator=seeded(seed)))
    energy.classes = classes
    return energy.eval()


S, C, Z, FLAT = expert(SHAPES, 1), expert(COLOURS, 2), expert(SIZES, 3), FunctionEnergy("contrast")
PLAIN = expert((), 4)
X = torch.randn(6, 3, 4, 4, generator=seeded(0))


def at(energy: Energy, label: str | None = None) -> Tensor:
    return (energy if label is None else energy.given(label)).at(LEVEL)(X).detach()  # type: ignore[operator]


def ratio(energy: Energy, label: str) -> Tensor:
    return at(energy, label) - at(energy)


def either(*parts: Tensor) -> Tensor:
    return -torch.stack(parts).neg().exp().mean(0).log()


def composer(prior: tuple[str, ...] | None = None, **experts: Energy) -> Composer:
    experts = experts or {"shape": S, "colour": C}
    return Composer(experts, STRENGTH, priors(experts) if prior is None else prior)


def is_made(text: str, wanted: Tensor, by: Composer | None = None) -> None:
    found = (by or composer()).compose(expression.parse(text)).at(LEVEL)(X).detach()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=2e-4)


BOTH = (at(S) + at(C)) / 2
CIRCLE, RED = STRENGTH * ratio(S, "circle"), STRENGTH * ratio(C, "red")
OTHER_SHAPES = either(*(STRENGTH * ratio(S, label) for label in SHAPES[1:]))
OTHER_COLOURS = either(*(STRENGTH * ratio(C, label) for label in COLOURS[1:]))


def test_labels_of_the_experts_matter():
    """Else the laws below would hold of anything."""
    for found in (CIRCLE, RED, OTHER_SHAPES, OTHER_COLOURS, ratio(Z, "big"), at(S) - at(C)):
        assert found.abs().min() > 1e-3 and found.std() > 0.05


@pytest.mark.slow
def test_what_labels_say_is_added_to_one_prior():
    """p(x) counts once, however many experts there are; a bare expert says nothing that the prior has not said."""
    is_made("shape.circle + colour.red", BOTH + CIRCLE + RED)
    is_made("2 * shape.circle - 0.5 * colour.red", BOTH + 2 * CIRCLE - 0.5 * RED)
    is_made("shape.circle + shape.circle", BOTH + 2 * CIRCLE)
    is_made("shape + colour", BOTH)
    is_made("shape.circle", at(S) + CIRCLE, composer(shape=S))


def test_what_is_subtracted_pushes_away():
    three = composer(shape=S, colour=C, size=Z)
    prior = (at(S) + at(C) + at(Z)) / 3
    is_made("shape.circle + colour.red - 0.5 * size.big", prior + CIRCLE + RED - 0.75 * ratio(Z, "big"), three)


def test_the_prior_is_that_of_the_expert_chosen():
    is_made("shape.circle + colour.red", at(C) + CIRCLE + RED, composer(("colour",)))
    is_made("shape.circle + colour", at(S) + CIRCLE + at(C), composer(("shape",)))


def test_an_expert_without_labels_is_added_as_it_is():
    """A score of clean x at what is expected of it, with the mean and spread of the first family."""
    first = composer(shape=S, colour=C).compose(expression.parse("shape.circle"))
    shrunk = first.mean + (X - first.mean) * first.spread**2 / (first.spread**2 + LEVEL**2)
    three = composer(shape=S, flat=FLAT, plain=PLAIN)
    assert three.prior == ("shape",)
    wanted = at(S) + CIRCLE + 0.3 * FLAT(shrunk) - 2 * at(PLAIN)
    is_made("shape.circle + 0.3 * flat - 2 * plain", wanted, three)


def test_labels_without_names_go_by_their_numbers():
    unnamed = nameless_shapes()
    is_made("shape.0 + colour.red", BOTH + CIRCLE + RED, composer(shape=unnamed, colour=C))
    is_made("not shape.0", at(S) + OTHER_SHAPES, composer(shape=unnamed))


def nameless_shapes() -> Energy:
    energy = expert(SHAPES, 1)
    energy.classes = ()
    return energy


def test_either_is_the_mixture_of_what_its_parts_add():
    is_made("shape.circle | colour.red", BOTH + either(CIRCLE, RED))
    is_made("2 * (shape.circle | colour.red - shape.cross)", BOTH + 2 * either(CIRCLE, RED - 1.5 * ratio(S, "cross")))


def test_not_is_any_of_the_other_labels():
    is_made("not shape.circle", BOTH + OTHER_SHAPES)
    is_made("not shape.circle + colour.red", BOTH + OTHER_SHAPES + RED)
    two = composer(size=Z)
    is_made("not size.big", at(Z) + STRENGTH * ratio(Z, "small"), two)


@pytest.mark.parametrize(
    "text",
    ["not (shape.circle | shape.square)", "not shape.circle + not shape.square", "not (shape.square | shape.circle)"],
)
def test_not_of_two_labels_is_any_of_the_labels_that_are_left(text):
    left = either(STRENGTH * ratio(S, "triangle"), STRENGTH * ratio(S, "cross"))
    is_made(text, BOTH + left)
    is_made(f"{text} + colour.red", BOTH + left + RED)
    is_made("not (shape.circle | colour.red | shape.square)", BOTH + left + OTHER_COLOURS)


def test_what_is_ruled_out_twice_is_ruled_out_once():
    once = BOTH + either(OTHER_SHAPES, OTHER_COLOURS)
    is_made("not (shape.circle + colour.red)", once)
    is_made("not (shape.circle + colour.red) + not (shape.circle + colour.red)", once)
    with pytest.raises(ConfigError, match="'not shape' has no meaning"):
        composer(shape=S).compose(expression.parse("not shape + not shape"))


def test_nothing_is_left_of_not_all_labels():
    with pytest.raises(ConfigError, match=r"'not \(colour.red \| colour.green \| colour.blue\)' leaves nothing"):
        composer(colour=C).compose(expression.parse("not (colour.red | colour.green | colour.blue)"))


def test_not_goes_through_sums_and_mixtures():
    """De Morgan's laws."""
    is_made("not (shape.circle | colour.red)", BOTH + OTHER_SHAPES + OTHER_COLOURS)
    is_made("not (shape.circle + colour.red)", BOTH + either(OTHER_SHAPES, OTHER_COLOURS))
    is_made("not (not shape.circle + colour.red)", BOTH + either(CIRCLE, OTHER_COLOURS))
    is_made("not (shape.circle + colour.red | colour.green)", BOTH + either(OTHER_SHAPES, OTHER_COLOURS) + either(
        STRENGTH * ratio(C, "red"), STRENGTH * ratio(C, "blue")
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not flat", "'not flat' has no meaning"),
        ("shape.circle + not (flat + colour.red)", "'not flat' has no meaning"),
        ("not (2 * shape.circle)", "has no meaning"),
        ("not (shape.circle - colour.red)", "'not (shape.circle - colour.red)' has no meaning"),
        ("not shape", "'not shape' has no meaning"),
        ("form.circle", "unknown expert 'form'; known: shape, colour, flat, both"),
        ("shap.circle", "did you mean shape?"),
        ("shape.oval", "shape.oval: unknown label 'oval'; known: circle, square, triangle, cross"),
        ("shape.circl", "did you mean circle?"),
        ("flat.red", "the expert flat was not learned by class"),
        ("both.red", "the expert both is a composition: its experts are in RUN/experts"),
        ("shape | colour.red", "'shape' beside '|' asks for nothing"),
        ("0 * flat", "adds up to nothing"),
        ("shape.circle - shape.circle", "adds up to nothing"),
        ("shape.circle - shape.circle + colour", "adds up to nothing"),
        ("(shape.circle | colour.red) - (shape.circle | colour.red)", "adds up to nothing"),
    ],
)
def test_what_has_no_meaning_is_said_in_words(text, words):
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        composer(shape=S, colour=C, flat=FLAT, both=S + C).compose(expression.parse(text))
    assert "\n" not in str(caught.value)


def test_mixtures_that_are_written_alike_and_weigh_their_parts_otherwise_are_not_one():
    """The first holds that a colour is wrong half of the time, the second two thirds."""
    either_wrong = either(OTHER_SHAPES, OTHER_COLOURS)
    flat = either(
        *(STRENGTH * ratio(S, label) for label in SHAPES[1:]), *(STRENGTH * ratio(C, label) for label in COLOURS[1:])
    )
    text = "shape.square | shape.triangle | shape.cross | colour.green | colour.blue"
    is_made(f"not (shape.circle + colour.red) + ({text})", BOTH + either_wrong + flat)


def test_one_combination_a_sample_is_what_each_is_alone():
    rows = torch.arange(6) % 4, torch.arange(6) % 3
    found = composer().product({"shape": rows[0], "colour": rows[1]}).at(LEVEL)(X)
    for k, (shape, colour) in enumerate(zip(*rows, strict=True)):
        node = expression.parse(f"shape.{SHAPES[shape]} + colour.{COLOURS[colour]}")
        alone = composer().compose(node).at(LEVEL)(X[k : k + 1])
        torch.testing.assert_close(found[k : k + 1], alone, rtol=1e-5, atol=2e-4)


def test_mixtures_are_balanced_by_samples_of_their_parts_beside_the_prior():
    told: list[Tensor] = []

    def balance(mixture: AnyOf, wholes: list[WeightedSum], whole_of: Callable[[AnyOf], WeightedSum] | None) -> AnyOf:
        assert whole_of is not None
        told.extend(whole.at(LEVEL)(X).detach() for whole in [*wholes, whole_of(mixture)])
        return AnyOf(mixture.parts, [0.0, 3.0])

    by = Composer({"shape": S, "colour": C}, STRENGTH, ("shape", "colour"), balance)
    is_made(
        "(shape.circle | colour.red) - 0.5 * shape.cross", BOTH + either(CIRCLE, RED - 3) - 0.75 * ratio(S, "cross"), by
    )
    for found, wanted in zip(told, (BOTH + CIRCLE, BOTH + RED, BOTH + either(CIRCLE, RED)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=2e-4)


@pytest.mark.slow
def test_parts_that_do_not_overlap_are_balanced_by_how_deep_they_lie_beside_the_prior(tmp_path):
    """The second lies four times as far from the middle of the prior."""
    prior, parts = Family([0.0, 0.0], 2.0), [Family([1.5, 0.0], 0.1), Family([-6.0, 0.0], 0.1)]
    wholes = [WeightedSum([prior, part], [1.0, 1.0]) for part in parts]
    balance = balancing.balancing(100, Compose().generator, Run(tmp_path, tmp_path))
    found = balance(any_of(*parts), wholes, None)
    assert found.levels is not None
    for offsets, level in zip(found.offsets, found.levels, strict=True):
        log_z = torch.tensor([_log_z(prior, part, level) for part in parts])
        if level < 0.5:  # above, the tails of 100 samples meet, and tell it worse
            assert (offsets + log_z).diff().abs() < 0.7, (
                f"at level {level}, where it is {log_z.diff().abs().item():.1f}"
            )


def _log_z(f: Family, g: Family, level: float) -> float:
    """Of the product of two Gaussians of the plane at a noise level, in closed form."""
    a, b = f.spread**2 + level**2, g.spread**2 + level**2
    return math.log(2 * math.pi * a * b / (a + b)) - float((f.mean - g.mean).square().sum()) / (2 * (a + b))


def test_a_mixture_that_is_the_whole_expression_has_the_prior_in_every_part():
    asked: list[tuple[int, object]] = []

    def balance(mixture: AnyOf, wholes: list[WeightedSum], whole_of: Callable[[AnyOf], WeightedSum] | None) -> AnyOf:
        asked.append((len(wholes), whole_of))
        return AnyOf(mixture.parts, [1.0, -2.0, 0.5][: len(wholes)])

    by = Composer({"shape": S, "colour": C}, STRENGTH, ("shape", "colour"), balance)
    energy = by.compose(expression.parse("shape.circle | colour.red"))
    assert isinstance(energy, AnyOf) and energy.offsets.tolist() == [1.0, -2.0]
    wanted = either(BOTH + CIRCLE - 1, BOTH + RED + 2)
    torch.testing.assert_close(energy.at(LEVEL)(X).detach(), wanted, rtol=1e-5, atol=2e-4)
    others = by.compose(expression.parse("not not not shape.circle"))
    assert isinstance(others, AnyOf) and len(others.parts) == 3
    assert asked == [(2, None), (3, None)], "no mixture is sampled as a whole"


@pytest.mark.slow
def test_samples_of_a_mixture_are_of_its_parts_in_turns(tmp_path):
    parts = [expert((), seed) for seed in (4, 5, 6)]
    made, way, here = AnyOf(parts, [9.0, 0.0, -9.0]), Schedule(3, 2.0, 0.1, 1), Run(tmp_path, tmp_path)
    x = generate(made, way, 8, None, here, "new")
    alone = [
        generate(part, way, num, None, here, f"new {k}")
        for k, part, num in zip(range(3), parts, (3, 3, 2), strict=True)
    ]
    for k in range(8):
        torch.testing.assert_close(x[k], alone[k % 3][k // 3])
    torch.testing.assert_close(generate(made, way, 2, None, here, "new"), x[:2])
    assert (x[0] - x[3]).abs().max() > 0.1, "each from noise of its own"
    start = x[:2].clone()
    whole = generate(made, way, 2, None, here, "new", start=start)
    assert whole.shape == start.shape, "chains that go on are of the whole"


@pytest.mark.slow
def test_brightness_is_an_expert_that_darkens_and_subtracted_brightens():
    means = []
    for sign in "+-":
        energy = composer(shape=S, bright=FunctionEnergy("brightness")).compose(
            expression.parse(f"shape.circle {sign} bright")
        )
        noise = torch.randn(40, 3, 4, 4, generator=seeded(1))
        *_, x = Schedule(8, 3.0, 0.05, 4).generate(energy, noise, seeded(2))
        means.append(x.mean((1, 2, 3)))
    assert means[0].max() < means[1].min(), "by 2 s^2 = 0.5 on average"


# --------------------------------------------------------------------------------------------- judging


def judge() -> Attributes:
    return Attributes({"shape": list(SHAPES), "colour": list(COLOURS)}, Classifier(3, 4, 3).eval(), {}, True)


@pytest.mark.parametrize(
    ("text", "wanted"),  # of a red circle, a green circle, a red cross, a blue square
    [
        ("shape.circle", [1, 1, 0, 0]),
        ("shape.circle + colour.red", [1, 0, 0, 0]),
        ("0.3 * shape.circle + 2 * colour.red", [1, 0, 0, 0]),
        ("shape.circle - 0.5 * colour.red", [0, 1, 0, 0]),
        ("-shape.circle", [0, 0, 1, 1]),
        ("shape.circle | colour.red", [1, 1, 1, 0]),
        ("not shape.circle", [0, 0, 1, 1]),
        ("not (shape.circle + colour.red)", [0, 1, 1, 1]),
        ("not (shape.circle | colour.red)", [0, 0, 0, 1]),
        ("colour.red - (shape.cross | shape.square)", [1, 0, 0, 0]),
        ("shape.square | shape.circle + colour.green", [0, 1, 0, 1]),
        ("bright", [1, 1, 1, 1]),  # which no classifier tells
        ("shape", [1, 1, 1, 1]),
        ("shape.circle + bright", [1, 1, 0, 0]),
        ("shape.circle - bright", [1, 1, 0, 0]),
        ("shape.circle + 0 * colour.red", [1, 1, 0, 0]),
        ("kind.7 + colour.red", [1, 0, 1, 0]),
        ("shape.oval + colour.red", [1, 0, 1, 0]),  # of an expert that knows other labels than the data
        ("-shape.oval + colour.red", [1, 0, 1, 0]),
        ("not shape.oval", [1, 1, 1, 1]),
        ("not (shape.oval | colour.red)", [0, 1, 0, 1]),
        ("not not (shape.oval | colour.red)", [1, 1, 1, 1]),
        ("colour.red - (shape.cross | shape.oval)", [1, 0, 0, 0]),
        ("colour.red - (shape.oval + shape.cross)", [1, 0, 0, 0]),
    ],
)
def test_what_holds_of_an_expression(text, wanted):
    labels = {"shape": torch.tensor([0, 0, 3, 1]), "colour": torch.tensor([0, 1, 0, 2])}
    found = judge().holds(expression.parse(text), labels, 4)
    assert found.dtype == torch.bool and found.int().tolist() == wanted


@pytest.mark.slow
def test_scenes_are_valid_and_what_is_no_single_object_is_not():
    for side in (12, 24):
        x, labels = scenes(60, side, 3)
        assert is_scene(x, labels).all() and misfit(x, labels).max() < MISFIT
        others = {name: column.roll(1) for name, column in labels.items()}
        differ = torch.stack([others[name] != labels[name] for name in ("shape", "size", "place")]).any(0)
        assert is_scene(x, others)[differ].float().mean() < 0.2, "coarse small objects are alike"
        dark = torch.full((60, 3, side, side), -0.7)
        assert not is_scene(dark, labels).any(), "blank"
        for noise in (0.01, 0.06, 0.5):
            assert not is_scene(dark + noise * torch.randn(dark.shape, generator=seeded(0)), labels).any()
        apart = labels["place"] != others["place"]
        two = torch.maximum(x, x.roll(1, 0))[apart]
        for of in (labels, others):
            assert not is_scene(two, {name: column[apart] for name, column in of.items()}).any(), "two objects"


# ------------------------------------------------------------------------------------------------ runs


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """Experts of shapes and colours, composed."""
    out = tmp_path_factory.mktemp("runs") / "learned"
    arguments = [*TINY, "load.held_out=0.5", "synthesize.num=6", "seed=1", f"out={out}"]
    assert run.main(["compose", *arguments]) == 0
    return out


EXPR = "shape.circle + (colour.red | not shape.cross) - 0.1 * bright"


@pytest.fixture(scope="module")
def given(learned, tmp_path_factory) -> Path:
    """The same experts, composed anew."""
    out = tmp_path_factory.mktemp("runs") / "given"
    experts = [f"experts.{name}={learned / 'experts' / name}" for name in ("shape", "colour")]
    arguments = [
        *TINY, *experts, "experts.bright=score:brightness", f"expr={EXPR}", "num=4", "load.count=30",
        "rivals=0", "cells=0", f"out={out}",
    ]  # fmt: skip
    arguments = [a for a in arguments if a not in ("load.count=80", *TINY[-3:-1])]
    assert run.main(["compose", *arguments]) == 0
    return out


def same_energy(folder: Path, wanted: Energy, level: float) -> Energy:
    """The energy that is saved there, which is that energy."""
    found = energies.load(folder)
    x = torch.randn(3, *found.event_shape, generator=seeded(0))
    torch.testing.assert_close(found.at(level)(x), wanted.at(level)(x), rtol=1e-4, atol=1e-2)  # type: ignore[operator]
    return found


@pytest.mark.slow
def test_a_run_learns_experts_and_writes_what_they_make_together(learned):
    found = metrics_of(learned)
    assert found.keys() == {"expr", "classifiers", "asked", "rivals", "bounds", "refused", "grid", "sampling"}
    columns = {"num", "all_hold", "shape.circle", "colour.red", "valid", "hold_and_valid"}
    assert found["asked"].keys() == columns and found["asked"]["num"] == 6
    assert set(found["rivals"]) == {"without_langevin_steps", "sum_of_energies"}
    assert all(row.keys() == columns and row["num"] == 4 for row in found["rivals"].values())
    assert set(found["classifiers"]) == {"shape", "colour", "size", "place"}
    assert len(list((learned / "samples").glob("*.png"))) == 6
    for name in ("samples.png", "grid.png", "report.html", "config.yaml", "log.jsonl"):
        assert (learned / name).stat().st_size > 0
    page = (learned / "report.html").read_text()
    assert "shape.circle + colour.red: strength 2" in page and "data:image" in page and "http://" not in page
    samples = values_of(learned / "03_synthesize")["samples"]
    assert samples.shape == (6, 3, 12, 12) and samples.isfinite().all() and samples.abs().max() <= 1


@pytest.mark.slow
def test_each_expert_is_learned_of_its_own_labels_and_the_energy_is_their_sum(learned):
    s, c = (energies.load(learned / "experts" / name) for name in ("shape", "colour"))
    assert s.classes == SHAPES and c.classes == (*COLOURS, "yellow", "magenta")
    x = values_of(learned / "01_load")["data"].x()
    for energy in (s, c):
        torch.testing.assert_close(energy.mean, x.mean(0))
    by = Composer({"shape": s, "colour": c}, 2.0, ("shape", "colour"))
    same_energy(learned / "energy", by.compose(expression.parse("shape.circle + colour.red")), 0.4)


@pytest.mark.slow
def test_an_expert_is_what_is_learned_of_its_labels_alone(learned, tmp_path):
    data: Examples = values_of(learned / "01_load")["data"]
    own = data.attributes["colour"]
    only = Examples("images", data.shape, data.train, data.validation, tuple(own["classes"]), own["train"])
    (tmp_path / "a").mkdir()
    here = Run(tmp_path, tmp_path / "a", 1, "float32")
    small = Encoder((4, 6), (1, 1))
    Compose(expr="colour.red", steps=2, energy=small)({"data": data}, here)
    found = energies.load(tmp_path / "experts/colour").state_dict()
    learn = Learn(energy=small, steps=2, references=Compose().references, conditional=True)
    alone = making.part(learn, {"data": only}, here.part("alone"))["energy"].state_dict()
    assert all(torch.equal(found[key], alone[key]) for key in alone)


def test_nothing_is_left_of_not_the_only_label():
    with pytest.raises(ConfigError, match=r"'not shape.circle' leaves nothing"):
        composer(shape=expert(("circle",), 1)).compose(expression.parse("not shape.circle"))


def test_a_class_that_nothing_shows_is_no_class_to_learn():
    own = {"classes": ["none", "some", "odd"], "train": torch.tensor([1, -1, 1, 2]), "validation": torch.tensor([0, 2])}
    found = experts.seen(own)
    assert found["classes"] == ["some", "odd"]
    assert found["train"].tolist() == [0, -1, 0, 1] and found["validation"].tolist() == [-1, 1]


def test_a_label_that_nothing_shows_cannot_be_asked_for(tmp_path, capsys):
    """Furniture always has legs of some kind, so that there is no example of legs.none, and `not` leaves it out."""
    line = refusal(capsys, "voxel_compose", *TINY_VOXELS, "expr=legs.none", f"out={tmp_path}")
    assert "legs.none: unknown label 'none'" in line and "panel" in line
    assert learns_nothing(tmp_path)


def test_an_expert_of_one_label_is_refused_before_another_is_learned(tmp_path, capsys):
    """Lamps have no arms."""
    arguments = [*TINY_VOXELS, "load.voxels=procedural:lamps", "expr=legs.pedestal + arms.none", f"out={tmp_path}"]
    assert "arms: all to learn from is none" in refusal(capsys, "voxel_compose", *arguments)
    assert learns_nothing(tmp_path)


@pytest.mark.slow
def test_a_grid_of_every_pair_marks_those_that_were_not_learned(learned):
    grid = metrics_of(learned)["grid"]
    labels = values_of(learned / "01_load")["data"].attributes
    pairs = set(zip(labels["shape"]["train"].tolist(), labels["colour"]["train"].tolist(), strict=True))
    assert grid["names"] == ["shape", "colour"] and grid["rows"] == list(SHAPES) and len(grid["columns"]) == 5
    counts = torch.tensor(grid["learned"])
    assert counts.shape == (4, 5) and int(counts.sum()) == len(labels["shape"]["train"])
    assert {tuple(pair) for pair in counts.nonzero().tolist()} == pairs and len(pairs) < 20
    page = (learned / "report.html").read_text()
    assert page.count("(unseen)") == 20 - len(pairs)


@pytest.mark.slow
def test_a_grid_is_of_the_labels_that_an_expert_knows(learned, tmp_path, monkeypatch):
    """Of two of four shapes here, in an order of its own."""
    expert(("cross", "circle"), 5, (3, 12, 12)).save_pretrained(tmp_path / "shape")
    crosses_then_circles = torch.tensor([3, 0]).repeat_interleave(5)

    def labels(self: Attributes, x: Tensor) -> dict[str, Tensor]:
        shape = crosses_then_circles if len(x) == 10 else torch.zeros(len(x), dtype=torch.long)
        return {
            name: torch.arange(len(x)) % 5 if name == "colour" else shape % len(self.classes[name])
            for name in self.classes
        }

    monkeypatch.setattr(Attributes, "labels", labels)
    experts = [f"experts.shape={tmp_path / 'shape'}", f"experts.colour={learned / 'experts' / 'colour'}"]
    arguments = [*TINY, "load.held_out=0.5", "seed=1", *experts, "expr=shape.cross + colour.red", "num=3"]
    assert run.main(["compose", *arguments, f"out={tmp_path / 'out'}"]) == 0
    grid, whole = metrics_of(tmp_path / "out")["grid"], metrics_of(learned)["grid"]["learned"]
    assert grid["rows"] == ["cross", "circle"] and grid["learned"] == [whole[3], whole[0]]
    assert grid["accuracy"] == [[1.0] * 5] * 2


@pytest.mark.slow
def test_experts_that_are_given_are_not_learned_again(learned, given):
    for name in ("shape", "colour"):
        old, new = (energies.load(out / "experts" / name).state_dict() for out in (learned, given))
        assert all(torch.equal(old[key], new[key]) for key in old)
    assert {path.name for path in (given / "experts").iterdir()} == {"shape", "colour", "bright"}
    assert sorted(path.name for path in (given / "02_compose").iterdir() if path.is_dir()) == ["energy"]
    assert sorted(path.name for path in (learned / "02_compose").iterdir() if path.is_dir()) == [
        "colour", "energy", "shape"
    ]  # fmt: skip
    found = metrics_of(given)
    assert found["asked"]["num"] == 4 and found["rivals"] == {} and "grid" not in found
    assert not (given / "grid.png").exists() and "Every pair" not in (given / "report.html").read_text()


@pytest.mark.slow
def test_a_mixture_is_saved_as_balanced_at_every_level(given):
    s, c = (energies.load(given / "experts" / name) for name in ("shape", "colour"))
    bright = energies.load(given / "experts" / "bright")
    by = Composer({"shape": s, "colour": c, "bright": bright}, 2.0, ("shape", "colour"))
    energy = energies.load(given / "energy")
    [mixture] = [part for part in energy.parts if isinstance(part, AnyOf)]
    assert mixture.levels is not None and mixture.offsets.shape == (2, 2) and len(mixture.parts) == 2
    inner = [part for _, part in mixture.parts[1].terms if isinstance(part, AnyOf)]  # type: ignore[union-attr]
    assert len(inner) == 1 and len(inner[0].parts) == 3
    for offsets in (mixture.offsets, inner[0].offsets):
        assert offsets.isfinite().all() and (offsets.std(1) > 1e-4).all()
    # The same but for the offsets, as composed by hand.
    with torch.no_grad():
        mixture.offsets.zero_()
        inner[0].offsets.zero_()
    wanted = by.compose(expression.parse(EXPR))
    x = torch.randn(3, 3, 12, 12, generator=seeded(0))
    torch.testing.assert_close(energy.at(0.4)(x), wanted.at(0.4)(x), rtol=1e-4, atol=1e-2)


@pytest.mark.slow
def test_what_is_held_out_is_not_seen(learned):
    data: Examples = values_of(learned / "01_load")["data"]
    out = {tuple(scene.values()) for scene in held_out(0.5)}
    assert len(out) == len(combinations()) // 2
    assert list(data.attributes) == ["shape", "colour", "size", "place"]
    for part in ("train", "validation"):
        columns = [[own["classes"][k] for k in own[part].tolist()] for own in data.attributes.values()]
        assert {len(column) for column in columns} == {len(data.x(part))}
        assert not out & set(zip(*columns, strict=True)), part
        labels = {name: own[part] for name, own in data.attributes.items()}
        assert is_scene(data.x(part), labels).all(), "labels are those of their pictures"
    assert 25 < len(data.train) < 55, "about half of 80, less a tenth"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("shape.circle + not colour.red", ["shape.circle", "not colour.red"]),
        ("not (shape.circle | colour.red)", ["not shape.circle", "not colour.red"]),
        ("shape.circle - 0.5 * (colour.red - size.big)", ["shape.circle", "not colour.red", "size.big"]),
        ("not (shape.circle - not colour.red)", ["not shape.circle", "not colour.red"]),
    ],
)
def test_concepts_are_told_as_they_were_asked_for(text, wanted):
    found = attributes._concepts(expression.parse(text))
    assert [("" if asked else "not ") + expression.show(leaf) for leaf, asked in found] == wanted


@pytest.mark.slow
def test_a_composition_is_walked_from_one_of_its_samples_to_another(learned, tmp_path):
    experts = [f"experts.{name}={learned / 'experts' / name}" for name in ("shape", "colour")]
    rest = [a for a in TINY if not a.startswith("evaluate")]
    arguments = [*rest, *experts, "synthesize.num=4", "pairs=2", "interpolate.steps=4", f"out={tmp_path}"]
    assert run.main(["compose_interpolation", *arguments]) == 0
    samples, paths = values_of(tmp_path / "03_synthesize")["samples"], values_of(tmp_path / "04_interpolate")["paths"]
    assert paths.shape == (2, 4, 3, 12, 12) and paths.isfinite().all()
    torch.testing.assert_close(paths[:, [0, -1]], samples.clamp(-1, 1).unflatten(0, (2, 2)))
    assert (tmp_path / "contact_sheet.png").exists()


# ------------------------------------------------------------------------------------------- inpainting


@pytest.mark.slow
def test_a_run_fills_holes_under_a_composed_prior(learned, tmp_path):
    arguments = [*TINY[:-3], "compute=float32", f"experts.colour={learned / 'experts' / 'colour'}", "hide.box=6"]
    assert run.main(["compose_recovery", *arguments, "hide.num=4", f"out={tmp_path}"]) == 0
    hide, filled = (values_of(tmp_path / name) for name in ("03_hide", "04_recover"))
    hidden = hide["observation"].mask.expand_as(hide["targets"])
    assert torch.equal(filled["samples"][~hidden], hide["targets"][~hidden]), "bit by bit"
    assert (filled["samples"] != hide["targets"])[hidden].float().mean() > 0.9
    assert filled["samples"].abs().max() <= 1
    assert metrics_of(tmp_path)["asked"]["num"] == 4 and (tmp_path / "report.html").stat().st_size > 0


def inpainted(folder: Path, num: int, seed: int = 0, y: float = 0.3, way: Schedule | None = None) -> Tensor:
    measured = torch.full((4, 3, 4, 4), y) * torch.linspace(-1, 1, 4).view(4, 1, 1, 1)
    mask = torch.zeros(4, 1, 4, 4, dtype=torch.bool)
    mask[:, :, 1:3, 1:] = True
    values = {
        "measured": torch.where(mask, 0.0, measured)[:num],
        "observation": Hidden(mask[:num]),
        "energy": composer().compose(expression.parse("shape.circle + colour.red")),
        "generator": way or Schedule(4, 3.0, 0.05, 2),
        "targets": measured[:num],
        "data": Examples("images", (3, 4, 4), measured, measured[:0]),
    }
    stage = Recover(samples=num, mean=MomentMatching(2, chains=1))
    found = stage(known(stage, values), Run(folder, folder, seed, "float32"))["samples"]
    assert torch.equal(torch.where(mask[:num], 0.0, found), values["measured"])
    return torch.where(mask[:num], found, 0.0)


def test_holes_and_balancing_take_the_steps_that_samples_take(tmp_path, monkeypatch):
    """And balancing at the same levels, but holes at all."""
    asked, way = [], Schedule(3, 2.0, 0.1, 2, 0.3, 0.7)

    def told(family, schedule, *arguments, **settings):
        asked.append(schedule)
        return anneal(family, schedule, *arguments, **settings)

    for module in (balancing, posterior):
        monkeypatch.setattr(module, "anneal", told)
    parts = [Family([0.0, 0.0], 1.0), Family([1.0, 0.0], 1.0)]
    balancing.balancing(2, way, Run(tmp_path, tmp_path))(
        any_of(*parts), [WeightedSum([part], [1.0]) for part in parts], None
    )
    inpainted(tmp_path, 1, way=way)
    assert asked == [way, way, replace(way, down_to=0.0)], "holes are told what is seen at all"


@pytest.mark.parametrize(
    ("name", "strength", "down_to"), [("compose", 2.0, 0.5), ("video_compose", 1.5, 0.0), ("voxel_compose", 1.5, 0.0)]
)
def test_compositions_are_sampled_as_each_modality_was_measured(name, strength, down_to, monkeypatch):
    made = []
    monkeypatch.setattr(Pipeline, "run", lambda self, *settings: made.extend(self.stages))
    assert run.main([name]) == 0
    [stage] = [stage for stage in made if isinstance(stage, Compose)]
    assert stage.strength == strength and stage.generator.down_to == down_to


@pytest.mark.slow
def test_a_hole_is_filled_by_the_seed_and_not_by_who_else_is_there(tmp_path):
    found = inpainted(tmp_path, 4)
    assert torch.equal(found, inpainted(tmp_path, 4))
    assert not torch.allclose(found, inpainted(tmp_path, 4, seed=1), atol=0.1)
    torch.testing.assert_close(found[:2], inpainted(tmp_path, 2), rtol=0, atol=1e-4)
    assert not torch.allclose(found, inpainted(tmp_path, 4, y=-0.9), atol=0.01), "what is seen matters"
    assert len({tuple(row.tolist()) for row in found.flatten(1)}) == 4


@pytest.mark.slow
def test_an_energy_of_clean_x_fills_holes_by_its_chains_alone(tmp_path, capsys):
    file = tmp_path / "fill.yaml"
    file.write_text(
        """
modality: images
stages:
  - load: {images: scenes, count: 40, size: 12}
  - learn: {conditional: false}
  - hide: {box: 6, num: 4}
  - recover: {samples: 4}
"""
    )
    expert((), 0, (3, 12, 12), noisy=False).save_pretrained(tmp_path / "clean")
    clean = [f"learn.pretrained={tmp_path / 'clean'}", "learn.objective.maximum_likelihood={sampling_steps: 3}"]
    assert "many noise levels" in refusal(
        capsys, str(file), f"learn.pretrained={noisy_expert(tmp_path)}", "recover.generator.chain={}",
        f"out={tmp_path / 'b'}",
    )  # fmt: skip
    assert run.main([str(file), *clean, f"out={tmp_path / 'c'}"]) == 0
    hide, found = (values_of(tmp_path / "c" / name) for name in ("03_hide", "04_recover"))
    seen = ~hide["observation"].mask.expand_as(hide["targets"])
    assert torch.equal(found["samples"][seen], hide["targets"][seen])


def noisy_expert(folder: Path) -> Path:
    expert((), 0, (3, 12, 12)).save_pretrained(folder / "noisy")
    return folder / "noisy"


class GaussianFamily(families.Family):
    """N(mean, covariance) with noise of the level in units of `scale`."""

    noisy = True

    def __init__(self, mean: Tensor, covariance: Tensor, scale: Tensor) -> None:
        super().__init__()
        self._mean, self.covariance, self._scale = mean, covariance, scale
        self.event_shape = mean.shape

    @property
    def mean(self) -> Tensor:
        return self._mean

    @property
    def scale(self) -> Tensor:
        return self._scale

    def forward(self, x: Tensor) -> Tensor:
        z = x - self.mean
        precision = torch.linalg.inv(self.covariance + (self.level * self.scale) ** 2 * torch.eye(2))
        return ((z @ precision) * z).sum(1) / 2


class Ends(Monitor):
    """States after the Langevin steps of each level."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.count, self.kept = steps, 0, []

    def update(self, state, info, **_) -> None:
        self.count += 1
        if self.count % self.steps == 0:
            self.kept.append(state.x)


def conditioned() -> tuple[list[float], list[Tensor], Tensor, Tensor]:
    """(levels, x there, the noise of what is seen, the ends) of a family whose first element is seen to be SEEN."""
    family = GaussianFamily(MEAN, COVARIANCE, torch.tensor(2.0))
    schedule, rng = Schedule(16, 2.0, 0.015, 60, 0.4), seeded(0)
    noise = torch.randn(CHAINS, 2, generator=rng)
    posterior = family.posterior(Hidden(torch.tensor([False, True])), torch.tensor([SEEN, 0.0]))
    monitor, levels = Ends(schedule.steps), schedule.noise_levels()
    *_, (_, x) = anneal(posterior, schedule, posterior.start(noise, levels[0]), rng, monitor=monitor)
    return levels, monitor.kept, noise, x


CHAINS, SEEN = 3000, 2.5
MEAN, COVARIANCE = torch.tensor([0.5, -0.5]), torch.tensor([[1.0, 0.95], [0.95, 1.2]])


@pytest.mark.slow
def test_what_is_seen_conditions_a_family_that_was_not_told_of_it():
    """In the end, and at each level where chains forget: there what is seen is as noisy as the rest."""
    levels, kept, noise, x = conditioned()
    assert (x[:, 0] == SEEN).all()
    mean, std = -0.5 + 0.95 * (SEEN - 0.5), math.sqrt(1.2 - 0.95**2)
    # On top of the sample's error what Langevin steps of this size leave, and chains that are slow at low levels.
    assert abs(x[:, 1].mean() - mean) < 0.05 + 5 * std / math.sqrt(CHAINS)
    assert abs(x[:, 1].std() / std - 1) < 0.05 + 5 / math.sqrt(2 * CHAINS)
    for level, at_level in zip(levels, kept, strict=True):
        sigma = 2 * level
        torch.testing.assert_close(at_level[:, 0], SEEN + sigma * noise[:, 0])
        if not 0.5 < sigma < 3:
            continue
        slope = 0.95 / (1 + sigma**2)
        left = at_level[:, 1] - (-0.5 + slope * (at_level[:, 0] - 0.5))  # of the hidden given the noisy seen
        width = math.sqrt(1.2 + sigma**2 - 0.95 * slope)
        assert abs(left.mean()) < 0.05 + 5 * width / math.sqrt(CHAINS)
        assert abs(left.std() / width - 1) < 0.04 + 5 / math.sqrt(2 * CHAINS)
        assert abs((left * noise[:, 0]).mean()) < 0.05 + 5 * width / math.sqrt(CHAINS)


# ----------------------------------------------------------------------------------------------- shapes


@pytest.mark.slow
def test_shapes_are_composed_refined_and_written_as_meshes(tmp_path):
    expr = "expr=kind.table + drawers.some - 0.5 * legs.splayed"
    assert run.main(["voxel_compose", *TINY_VOXELS, expr, f"out={tmp_path}"]) == 0
    assert values_of(tmp_path / "03_synthesize")["samples"].shape == (3, 1, 8, 8, 8)
    assert {path.name for path in (tmp_path / "experts").iterdir()} == {"kind", "drawers", "legs"}
    experts = {name: energies.load(tmp_path / "experts" / name) for name in ("kind", "drawers", "legs")}
    by = Composer(experts, 1.5, tuple(experts)).compose(expression.parse(expr.removeprefix("expr=")))
    same_energy(tmp_path / "02_compose" / "energy", by, 0.4)
    files = sorted((tmp_path / "shapes").glob("*.stl"))
    assert len(files) == 2
    found = metrics_of(tmp_path)
    assert set(found["classifiers"]) == {"kind", "drawers", "legs"}
    assert {"all_hold", "kind.table", "drawers.some", "not legs.splayed"} < set(found["asked"])
    assert found["asked"]["hold_and_in_one_part"] <= found["asked"]["all_hold"]
    for file in files:
        mesh = trimesh.load_mesh(file)
        assert mesh.is_watertight and mesh.volume > 0
    assert (tmp_path / "report.html").stat().st_size > 0


def test_coarse_shapes_must_divide_the_shapes(tmp_path, capsys):
    line = refusal(capsys, "voxel_compose", "load.count=60", "load.size=16", "compose.size=12", f"out={tmp_path}")
    assert "compose.size=12 does not divide the 16 elements" in line and not (tmp_path / "experts").exists()


# --------------------------------------------------------------------------------------------- refusals


def learns_nothing(out: Path) -> bool:
    """Neither an expert nor a folder of the learning of one."""
    return not (out / "experts").exists() and not [path for path in out.glob("02_compose/*") if path.is_dir()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["expr=shape.circle + + colour.red"], "unexpected '+' at character 16"),
        (["expr=shape.circle +"], "at character 15"),
        (["expr="], "expr"),
        (["compose.strength=0"], "strength must be positive"),
        (["compose.balance=-1"], "balance must not be negative"),
        (["compose.references=-1"], "references must not be negative"),
        (["load.held_out=0.9"], "held_out must lie in [0, 0.5]"),
        (["load.held_out=-0.1"], "held_out must lie in [0, 0.5]"),
        (["load.images=digits", "load.held_out=0.1"], "be 0 but for scenes"),
        (["evaluate.rivals=-1"], "must not be negative"),
        (["export.limit=-1"], "limit must not be negative"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_before_anything_starts(arguments, words, tmp_path, capsys):
    out = tmp_path / "out"
    assert words in refusal(capsys, "compose", "load.count=40", "load.size=12", *arguments, f"out={out}")
    assert not list(out.glob("0*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["expr=shape.oval"], "shape.oval: unknown label 'oval'; known: circle, square"),
        (["expr=shape.circl"], "did you mean circle?"),
        (["expr=form.circle"], "is called 'form'; known: shape, colour, size, place"),
        (["expr=shape.circle + glow"], "no label of the data is called 'glow'"),
        (["experts.shape=NONE"], "no such folder"),
        (["experts.shape=EMPTY"], "holds no energy"),
        (["experts.shape=OTHER"], "is of 3x4x4, what is loaded of 3x12x12"),
        (["expr=shape.circle + bright", "experts.bright=score:glow"], "unknown score 'glow'; known: brightness"),
        (["expr=bright", "experts.bright=score:brightness"], "none of them was learned at many noise levels"),
        (["expr=bright.red", "experts.bright=score:brightness"], "bright was not learned by class"),
        (["prior=form"], "compose.prior: no expert with classes and noise levels 'form'; known: shape, colour"),
        (["expr=shape.circle - bright", "experts.bright=score:brightness", "prior=bright"], "compose.prior"),
        (["expr=shape.circle - not bright", "experts.bright=score:brightness"], "'not bright' has no meaning"),
        (["expr=shape | colour.red"], "asks for nothing"),
        (["expr=shape.circle + shape.cross"], "nothing"),
    ],
    ids=str,
)
def test_what_cannot_be_composed_is_refused_before_anything_is_learned(arguments, words, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    expert(SHAPES, 0).save_pretrained(tmp_path / "other")
    folders = {"NONE": "none", "EMPTY": "empty", "OTHER": "other"}
    for name, folder in folders.items():
        arguments = [argument.replace(name, str(tmp_path / folder)) for argument in arguments]
    out = tmp_path / "out"
    line = refusal(capsys, "compose", "load.count=20", "load.size=12", "compose.steps=1", *arguments, f"out={out}")
    assert words in line and learns_nothing(out)


@pytest.mark.slow
def test_an_expert_that_names_its_labels_otherwise_is_composed_and_not_judged(learned, tmp_path):
    """By numbers, for one: no classifier tells those, and none of the pairs can be."""
    energy = energies.load(learned / "experts" / "shape")
    energy.classes = ()
    energy.save_pretrained(tmp_path / "shape")
    experts = [f"experts.shape={tmp_path / 'shape'}", f"experts.colour={learned / 'experts' / 'colour'}"]
    arguments = [*TINY, *experts, "expr=shape.0 + colour.red", "num=3", f"out={tmp_path / 'out'}"]
    assert run.main(["compose", *arguments]) == 0
    found = metrics_of(tmp_path / "out")
    assert "colour.red" in found["asked"] and "shape.0" not in found["asked"] and "grid" not in found
    assert found["asked"]["all_hold"] == found["asked"]["colour.red"]
    assert np.isfinite(found["asked"]["valid"])
    told, untold = (
        "\n".join(composition.summary(found)),
        found | {"asked": {"num": 3, "all_hold": 1.0}, "rivals": {}},
    )
    assert "nothing was asked" not in told and "nothing was asked" in "\n".join(composition.summary(untold))


@pytest.mark.slow
def test_experts_are_there_for_another_run_before_mixtures_are_balanced(tmp_path, monkeypatch):
    """Which takes long, and may be stopped."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compose, "balancing", stopped)
    out = tmp_path / "out"
    assert run.main(["compose", *TINY, "expr=shape.circle + not colour.red", f"out={out}"]) == 130
    assert [energies.load(out / "experts" / n).classes[0] for n in ("shape", "colour")] == ["circle", "red"]
    assert not (out / "composed").exists()


def test_an_expert_learned_in_part_is_kept_when_a_later_setting_changes(tmp_path):
    """The checkpoints of experts lie a folder deeper than those of other stages."""
    from pipelines import run_folder

    stage = tmp_path / "02_compose"
    (stage / "shape" / "checkpoint").mkdir(parents=True)
    (stage / run_folder.BEGUN).write_text("{}")
    (tmp_path / run_folder.CONFIG).write_text("stages:\n- load: {}\n- compose: {}\n- synthesize: {num: 64}\n")
    run_folder._make_way(tmp_path, "stages:\n- load: {}\n- compose: {}\n- synthesize: {num: 32}\n")
    assert (stage / "shape" / "checkpoint").is_dir()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("compose.expr=shape.circle + (light | shape.cross)", "nothing tells how much it counts"),
    ],
)
def test_experts_that_cannot_count_are_told_before_anything_is_learned(setting, words, capsys, tmp_path):
    arguments = ["load.count=60", setting, f"out={tmp_path / 'run'}"]
    if "light" in setting:
        arguments.append("compose.experts.light=score:brightness")
    assert run.main(["compose", *arguments]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
