"""The stage `learn`, of data sets: which energies, by which objectives, from what; and what it refuses at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import seeded

import energies
from data.errors import InputError
from energies import (
    Chain,
    ConditionalEnergy,
    DataReference,
    EncoderEnergy,
    GenerativeConvNet,
    LocalReference,
    ResidualEnergy,
    Schedule,
)
from energies.generators import Stepwise
from energies.objectives import (
    Denoising,
    EnergyMatching,
    MaximumLikelihood,
    RecoveryLikelihood,
    References,
    ScoreMatching,
)
from energies.observation import Observation
from pipelines.examples import Examples, to_bits, to_levels
from pipelines.learning import amortised, dataset, lessons
from pipelines.learning.settings import Amortised, ConvNet, Encoder, Residual, Weights
from pipelines.modalities import NAMES, modality_of
from pipelines.modalities.images import Hide, Load
from pipelines.pipeline import Pipeline
from pipelines.sampling.generation import CONDITIONAL
from pipelines.stage import Run
from pipelines.stages.learn import Learn
from pipelines.stages.recover import Recover
from pipelines.stages.synthesize import Synthesize

SMALL = Encoder((4, 4), (1, 1))
TOLD = Amortised((4, 4), (1, 1), 3, 20)
SHORT = MaximumLikelihood(steps=1, step_size=0.05, sampling_steps=3)
ENERGIES = {"encoder": SMALL, "amortised": TOLD, "residual": Residual(4), "conv_net": ConvNet()}
KINDS = {"encoder": EncoderEnergy, "amortised": ConditionalEnergy, "residual": ResidualEnergy,
         "conv_net": GenerativeConvNet}  # fmt: skip


def here(folder: Path) -> Run:
    return Run(folder, folder, compute="float32")


def pictures(num: int = 40, shape: Sequence[int] = (1, 8, 8), classes: int = 0) -> Examples:
    """Noise, brighter by class."""
    labels = torch.arange(num + 8) % max(classes, 1)
    x = 0.3 * torch.randn(num + 8, *shape, generator=seeded(0)) + labels.view(-1, *[1] * len(shape)) / 4
    levels = to_levels(x)
    data = Examples("images", tuple(shape), levels[8:], levels[:8])
    if not classes:
        return data
    return replace(
        data, classes=tuple("abcdefg"[:classes]), train_labels=labels[8:], validation_labels=labels[:8]
    )  # fmt: skip


def clips(num: int = 24) -> Examples:
    return replace(pictures(num, (3, 8, 8, 8)), modality="video")


def shapes(num: int = 30, side: int = 8) -> Examples:
    """Boxes."""
    x = torch.zeros(num + 8, 1, side, side, side, dtype=torch.bool)
    for solid, ends in zip(x, torch.randint(2, side, (num + 8, 3), generator=seeded(0)).tolist(), strict=True):
        solid[(0, *(slice(0, end) for end in ends))] = True
    return Examples("voxels", (1, side, side, side), to_bits(x[8:]), to_bits(x[:8]))


DATA = {"images": pictures(shape=(1, 16, 16)), "video": clips(), "voxels": shapes(side=16)}


def learned(data: Examples, folder: Path, **settings: Any) -> dict[str, Any]:
    own: dict[str, Any] = {"steps": 2, "batch": 4, "chains": 5} | settings
    return Learn(**own)({"data": data}, here(folder))


# ---------------------------------------------------------------------------- energies and objectives


@pytest.mark.slow
@pytest.mark.parametrize("modality", DATA)
@pytest.mark.parametrize("kind", ENERGIES)
def test_every_energy_is_learned_of_every_modality_by_what_suits_it(kind, modality, tmp_path):
    settings: dict[str, Any] = {"objective": SHORT} if kind in ("residual", "conv_net") else {}
    data = DATA[modality]
    given = learned(data, tmp_path, energy=ENERGIES[kind], **settings)
    energy = given["energy"]
    assert isinstance(energy, KINDS[kind]) and energy.fits(data.shape) and given["gate"] is None
    assert all(weight.isfinite().all() for weight in energy.parameters())
    steps = [line for line in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines()) if "step" in line]
    assert [line["step"] for line in steps] == [0, 1]


@pytest.mark.parametrize("modality", NAMES)
def test_what_is_not_said_is_as_suits_the_modality_and_all_of_it_is_said(modality):
    recipes = modality_of(modality).recipes()
    for way, known in recipes.ways.items():
        kinds = [type(recipe.energy) for recipe in known]
        assert Encoder in kinds, f"{way}: a person who types learn.energy=encoder gets settings that work"
        for recipe in known:
            assert recipe.training.steps > 0 and recipe.training.learning_rate > 0
            needed = ("widths", "depths") if isinstance(recipe.energy, Encoder | Amortised) else ()
            assert all(getattr(recipe.energy, name) for name in needed)
            if isinstance(recipe.energy, Amortised) and way == "data":
                assert recipe.energy.rank and recipe.energy.remembered and recipe.energy.noise and recipe.tasks
            assert way == "data" or recipe.crop or isinstance(recipe.energy, ConvNet)


@pytest.mark.parametrize(
    ("settings", "generator"),
    [
        ({"objective": ScoreMatching()}, Schedule()),
        ({"objective": RecoveryLikelihood(Stepwise(3, steps=1))}, Stepwise(3, steps=1)),
        ({"objective": EnergyMatching(steps=1, negatives=4)}, EnergyMatching(steps=1).generator()),
        ({"objective": SHORT}, SHORT.generator()),
        ({"energy": TOLD, "objective": Denoising()}, CONDITIONAL),
        ({"energy": TOLD}, CONDITIONAL),
    ],
    ids=["score", "recovery", "matching", "likelihood", "denoising", "as suits"],
)
def test_an_energy_comes_with_how_it_is_sampled(settings, generator, tmp_path):
    given = learned(pictures(), tmp_path, **{"energy": SMALL} | settings)
    assert given["generator"] == generator
    if "objective" in settings and isinstance(given["energy"], EncoderEnergy):
        assert given["energy"].noisy == (not isinstance(generator, Chain))


def test_an_objective_alone_says_which_energy():
    assert isinstance(Learn(objective=Denoising()).planned({"data": pictures()}).energy, Amortised)
    assert isinstance(Learn(objective=ScoreMatching()).planned({"data": shapes()}).energy, Encoder)


def test_shapes_are_sampled_from_higher_levels(tmp_path):
    assert learned(shapes(), tmp_path, energy=SMALL)["generator"] == Schedule(24, 20.0, 0.05)


def test_weights_are_found_as_suits_but_for_what_is_said():
    planned = Learn(energy=SMALL, optimizer=Weights(average=0.5)).planned({"data": pictures()})
    suited = Learn(energy=SMALL).planned({"data": pictures()})
    assert planned.optimizer == replace(suited.optimizer, average=0.5) and planned.learning_rate == 0.02
    adam = Learn(energy=SMALL, optimizer=Weights("adam")).planned({"data": pictures()})
    assert adam.learning_rate == pytest.approx(0.002), "a tenth of the rate of muon"
    said = Learn(energy=SMALL, optimizer=Weights("adam"), learning_rate=0.5, steps=7, batch=3)
    assert (said.planned({"data": pictures()}).training.learning_rate, said.steps, said.batch) == (0.5, 7, 3)


def test_the_same_settings_learn_the_same_energy_and_another_seed_another(tmp_path):
    def weights(seed: int, folder: Path) -> torch.Tensor:
        folder.mkdir()
        torch.manual_seed(0)
        run = Run(folder, folder, seed, "float32")
        energy = Learn(energy=SMALL, steps=3, batch=4)({"data": pictures()}, run)["energy"]
        return torch.cat([p.detach().flatten() for p in energy.parameters()])

    first, same, other = (weights(seed, tmp_path / name) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert torch.equal(first, same) and not torch.equal(first, other)


# ------------------------------------------------------------------------------------------- the size


@pytest.mark.parametrize("kind", ["encoder", "amortised"])
def test_data_are_averaged_down_to_the_size_of_the_energy(kind, tmp_path):
    energy = learned(shapes(side=16), tmp_path, energy=ENERGIES[kind], size=8)["energy"]
    assert energy.fits((1, 8, 8, 8))


def test_means_of_blocks_are_those_of_the_data():
    data = pictures(shape=(3, 8, 12))
    shape = dataset.shape_at(data, 6, "pictures")
    small = dataset.resized(data, shape)
    assert small.shape == shape == (3, 4, 6) and len(small.train) == 40 and len(small.validation) == 8
    torch.testing.assert_close(small.x("validation")[2, 1, 3, 4], data.x("validation")[2, 1, 6:8, 8:10].mean())
    assert dataset.resized(data, data.shape) is data
    with pytest.raises(InputError, match=r"learn.size=5 does not divide the sides 12x8 of the pictures"):
        dataset.shape_at(data, 5, "pictures")


def test_small_x_have_places_for_fewer_levels():
    widths = (8, 8, 8, 8)
    counts = {side: dataset.num_levels((1, side, side), widths) for side in (4, 8, 16, 30, 64)}
    assert counts == {4: 1, 8: 2, 16: 3, 30: 4, 64: 4}


# ------------------------------------------------------------------------------- labels and references


def told_by(objective: Any, data: Examples, folder: Path, **settings: Any) -> list[Any]:
    """The batches that an objective is given."""
    seen = []

    class Told(type(objective)):
        def __call__(self, energy, batch, rng):
            seen.append(batch)
            return super().__call__(energy, batch, rng)

    learned(data, folder, energy=SMALL, objective=Told(), **settings)
    return seen


def references_of(data: Examples, num: int, folder: Path) -> References | None:
    return told_by(ScoreMatching(), data, folder, references=num, steps=1)[0].references


@pytest.mark.parametrize("classes", [0, 3])
def test_references_are_of_the_pictures_and_their_labels_and_no_more_than_may_be(classes, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "MOST_REFERENCES", 20 * 3 * 64)
    levels = torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1).expand(50, 3, 8, 8).contiguous()
    data = Examples("images", (3, 8, 8), levels, levels[:2])
    if classes:
        data = replace(data, classes=("a", "b", "c"), train_labels=torch.arange(50) % 3)
    few, none, most = (references_of(data, num, tmp_path) for num in (12, 0, 40))
    assert none is None and few is not None and most is not None
    assert len(few.x) == 12 and len(most.x) == 20
    number = to_levels(most.x)[:, 0, 0, 0].long()
    assert number.unique().numel() > 5
    assert most.label is None if not classes else torch.equal(most.label, number % 3)


def test_references_have_the_law_of_what_has_no_label_in_learning():
    labels = torch.tensor([0, 1, -1, 2, -1])
    weights = dataset.weights_of_references(labels)
    torch.testing.assert_close(weights, torch.tensor([0.15, 0.15, 1, 0.15, 1]))
    assert dataset.weights_of_references(None) is None
    assert dataset.weights_of_references(labels[:2]) is None


def test_references_are_drawn_by_their_weights(tmp_path):
    labels = torch.where(torch.arange(2000) < 1000, -1, torch.arange(2000) % 7)
    levels = torch.zeros(2000, 1, 8, 8, dtype=torch.uint8)
    data = Examples("images", (1, 8, 8), levels, levels[:2], tuple("abcdefg"), labels)
    found = references_of(data, 4000, tmp_path)
    assert found is not None and found.label is not None
    counts = torch.bincount(found.label + 1, minlength=8)
    assert abs(counts[0] / 4000 - 1 / 1.15) < 0.03 and counts[1:].min() > 0.5 * 4000 * 0.15 / 1.15 / 7


@pytest.mark.slow
def test_classes_are_learned_where_there_are_labels_unless_they_are_not_wanted(tmp_path):
    data = pictures(classes=3)
    by_class, any_class = (learned(data, tmp_path, energy=SMALL, conditional=c)["energy"] for c in (None, False))
    assert by_class.classes == ("a", "b", "c") and by_class.num_classes == 3
    assert any_class.classes == () and any_class.num_classes == 0
    labels = torch.cat([batch.label for batch in told_by(ScoreMatching(), data, tmp_path, steps=8, batch=64)])
    assert abs(float((labels < 0).float().mean()) - 0.15) < 5 * (0.15 * 0.85 / 512) ** 0.5, "some are forgotten"
    assert all(batch.label is None for batch in told_by(ScoreMatching(), pictures(), tmp_path))


def test_a_class_without_examples_is_told_before_learning(tmp_path):
    data = replace(pictures(classes=2), classes=("left", "right", "middle"))
    with pytest.raises(InputError, match="no pictures of the class middle"):
        Learn(energy=SMALL).check({"data": data})
    assert learned(data, tmp_path, energy=SMALL, conditional=False)["energy"].num_classes == 0


def test_what_does_not_suit_the_energy_is_refused_before_it_learns(tmp_path):
    for number, (stages, words) in enumerate(
        (
            ([Learn(steps=1), Synthesize(generator=Chain(2))], "the generator does not suit the energy"),
            ([Learn(steps=1, conditional=False), Synthesize(guidance=2.0)], r"synthesize\.guidance needs a class"),
            ([Hide(box=4), Learn(steps=1, size=4), Recover()], "x is 1x8x8, the energy of 1x4x4"),
        )
    ):
        root = tmp_path / str(number)
        with pytest.raises(InputError, match=words):
            Pipeline([Load(), *stages]).run(root, store="off")
        assert not [*root.glob("*_learn")]


# ---------------------------------------------------------------------------------------------- chains


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encoder", "residual", "conv_net"])
def test_short_run_chains_start_in_sampling_as_they_did_in_learning(kind, tmp_path):
    """Else what was learned, where k steps from noise lead, is not what is sampled."""
    x = torch.linspace(-1, 1, 64).view(1, 1, 8, 8).expand(40, -1, -1, -1)
    data = Examples("images", (1, 8, 8), to_levels(x), to_levels(x[:2]))
    objective = MaximumLikelihood(steps=1, step_size=1e-6, restart=1)
    recipe = Learn(energy=ENERGIES[kind], objective=objective, chains=1000).planned({"data": data})
    built = dataset.built(recipe, data.shape, 0, data.x())
    buffer = dataset.chains_of(built, recipe, x[0], None, here(tmp_path))
    assert buffer is not None
    sampled, *_ = objective.generator().generate(built, torch.randn(1000, 1, 8, 8, generator=seeded(0)), seeded(1))
    for moment in (lambda x: x, torch.square):
        a, b = moment(sampled), moment(buffer.x)
        assert ((a.mean(0) - b.mean(0)).abs() < 6 * ((a.var(0) + b.var(0)) / 1000).sqrt()).all()


def test_chains_have_the_labels_and_the_start_of_their_objective(tmp_path):
    data, labels = pictures(), torch.arange(50) % 2
    recipe = Learn(energy=SMALL, objective=EnergyMatching(), chains=300).planned({"data": data})
    built = dataset.built(recipe, data.shape, 2, data.x())
    buffer = dataset.chains_of(built, recipe, data.x()[0], labels, here(tmp_path))
    assert buffer is not None and buffer.start.spread == 1.0 and len(buffer) == 300 and buffer.label is not None
    counts = torch.bincount(buffer.label + 1, minlength=3)
    assert 15 < int(counts[0]) < 80, "some have none"
    assert 80 < int(counts[2]) < 175
    without = Learn(energy=SMALL).planned({"data": data})
    assert dataset.chains_of(built, without, data.x()[0], labels, here(tmp_path)) is None


# ------------------------------------------------------------------------------------------- amortised


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modality", "tasks", "kinds"),
    [
        ("images", None, ("hidden", "average", "grey", "blur", "noise")),
        ("images", ("blur", "noise"), ("blur", "noise")),
        ("video", ("frames",), ("hidden",)),
        ("voxels", None, ("hidden", "average")),
    ],
)
def test_an_amortised_energy_is_told_of_the_tasks_that_it_learned(modality, tasks, kinds, tmp_path):
    given = learned(DATA[modality], tmp_path, energy=TOLD, tasks=tasks, steps=5)
    reference = given["energy"].reference
    assert isinstance(reference, DataReference) and reference.kinds == kinds
    assert len(reference.data) == 20 and reference.binary == (modality == "voxels")


class Told:
    """A task that keeps what it is shown, and a reference that keeps what it remembers."""

    def __init__(self) -> None:
        self.shown: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor, rng: torch.Generator) -> tuple[Observation, torch.Tensor]:
        self.shown.append(x)
        mask = torch.rand(len(x), 1, *x.shape[2:], generator=rng) < 0.5
        return energies.Hidden(mask), torch.where(mask, 0.0, x)


def test_no_x_is_seen_by_a_reference_that_remembers_it(tmp_path):
    x, task, remembered = torch.randn(30, 1, 4, 4, generator=seeded(0)), Told(), []

    class Kept(energies.references.DataEstimator):
        def __init__(self, x: torch.Tensor) -> None:
            super().__init__(x, 2, 0.3, binary=False)
            remembered.append(x)

        def context(self, observation, y):
            shown = task.shown[-1].flatten(1)
            assert not bool((torch.cdist(shown, self.x.flatten(1)) < 1e-6).any())
            return super().context(observation, y)

    steps = lessons.Lessons(x, 3, {"some": lessons.Task(1, task)}, Kept, 3, here(tmp_path), lambda x, rng: x)
    for step in range(40):
        context, batch = steps[step]
        assert len(batch.x) == 3 and torch.equal(context.hidden, batch.known)
    assert [len(part) for part in remembered] == [20, 20, 20] and len(task.shown) > 4


def test_a_lesson_depends_on_its_number_alone(tmp_path):
    x, task = torch.randn(30, 1, 4, 4, generator=seeded(0)), Told()

    def lesson(steps: list[int]) -> torch.Tensor:
        made = lessons.Lessons(x, 3, {"some": lessons.Task(1, task)}, None, 3, here(tmp_path), lambda x, rng: x)
        return [made[step][1].x for step in steps][-1]

    assert torch.equal(lesson([37]), lesson(list(range(38)))) and not torch.equal(lesson([37]), lesson([36]))


@pytest.mark.parametrize("side", [16, 20, 32, 50])
def test_crops_of_details_lie_within_the_grid_and_around_what_is_set(side):
    shape = torch.full((1, side, side, side), -1.0)
    shape[0, side // 2, 1, side - 2] = 1.0
    crop = amortised.crop(shape, (32, 32, 32), seeded(0))
    assert list(crop.shape) == [1, *[min(side, 32)] * 3] and (crop > 0).sum() == 1


def test_details_alone_are_learned_of_shapes_without_a_reference(tmp_path):
    energy = learned(shapes(side=16), tmp_path, energy=replace(TOLD, rank=0), crop=(8,))["energy"]
    assert isinstance(energy.reference, LocalReference) and energy.fits((1, 16, 16, 16)) and energy.fits((1, 8, 8, 8))


# ------------------------------------------------------------------------------------------ pretrained


def saved(energy: energies.Energy, folder: Path) -> str:
    energy.save_pretrained(folder / "energy")
    return str(folder)


@pytest.mark.parametrize("modality", DATA)
def test_an_energy_that_was_learned_before_is_taken_with_how_it_is_sampled(modality, tmp_path):
    data = DATA[modality]
    noisy = EncoderEnergy(data.shape, (4,), (1,))
    clean = EncoderEnergy(data.shape, (4,), (1,), noisy=False)
    recipes = modality_of(modality).recipes()
    given = Learn(saved(noisy, tmp_path / "noisy"))({"data": data}, here(tmp_path))
    assert given["generator"] == recipes.noisy.get("data", Schedule())
    assert torch.equal(next(given["energy"].parameters()), next(noisy.parameters()))
    folder = saved(clean, tmp_path / "clean")
    assert Learn(folder)({"data": data}, here(tmp_path))["generator"] == recipes.clean
    own = Learn(folder, objective=SHORT)({"data": data}, here(tmp_path))["generator"]
    assert own == SHORT.generator(), "of clean x, by the objective that is said"
    other = Learn(str(tmp_path / "noisy"), objective=SHORT)({"data": data}, here(tmp_path))["generator"]
    assert other == given["generator"], "whatever objective stands there"


def test_energies_of_other_x_or_classes_are_refused_in_one_line(tmp_path):
    data = pictures(classes=2)
    small = saved(EncoderEnergy((1, 4, 4), (4,), (1,)), tmp_path / "small")
    plain = saved(EncoderEnergy((1, 8, 8), (4,), (1,)), tmp_path / "plain")
    named = EncoderEnergy((1, 8, 8), (4,), (1,), num_classes=2)
    named.classes = ("b", "a")
    other = saved(named, tmp_path / "other")
    for settings, words in (
        ({"pretrained": small}, "is an energy of 1x4x4, the pictures are 1x8x8"),
        ({"pretrained": str(tmp_path / "none")}, "learn.pretrained="),
        ({"pretrained": other}, "was learned by the classes b, a; the pictures have a, b"),
        ({"pretrained": plain, "conditional": True}, "was not learned by class"),
    ):
        with pytest.raises(InputError, match=words) as told:
            Learn(**settings).check({"data": data})
        assert "\n" not in str(told.value)


def test_an_energy_that_remembers_what_is_to_be_judged_by_is_refused(tmp_path):
    data = pictures()
    folder = saved(learned(data, tmp_path, energy=TOLD)["energy"], tmp_path / "run")
    Learn(folder).check({"data": data})
    with pytest.raises(InputError, match="was learned from 8 of the 8 that are to be judged by"):
        Learn(folder).check({"data": replace(data, validation=data.train[:8])})


# -------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"energy": Residual(), "objective": ScoreMatching()}, "objective must be maximum_likelihood"),
        ({"energy": Amortised(), "objective": ScoreMatching()}, "objective must be denoising for the energy amortised"),
        ({"energy": Encoder(), "objective": Denoising()}, "objective must be score_matching or"),
        ({"energy": ConvNet(), "conditional": True}, "conditional is for the energies encoder and residual"),
        ({"references": -1}, "references must not be negative"),
        ({"references": 8, "objective": RecoveryLikelihood()}, "references must not be negative, and are for"),
        ({"steps": 0}, "steps must be positive"),
        ({"batch": 0}, "batch must be positive"),
        ({"chains": 0}, "chains must be positive"),
        ({"folds": 11}, "folds must be 2 to"),
        ({"held_out": 2}, "held_out must be 3"),
        ({"size": 2}, "size must be 4"),
        ({"crop": ()}, "crop must be 4"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Learn(**settings)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Encoder, {"widths": (4,), "depths": (1, 1)}),
        (Encoder, {"widths": ()}),
        (Amortised, {"widths": (4,), "depths": (0,)}),
        (Amortised, {"rank": -1}),
        (Amortised, {"remembered": 1}),
        (Amortised, {"noise": 0.0}),
        (Residual, {"width": 0}),
        (ConvNet, {"sigma": 0.0}),
        (Weights, {"average": 1.0}),
        (Weights, {"clip": 0.0}),
    ],
)
def test_settings_of_an_energy_out_of_range_are_refused(kind, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        kind(**settings)


@pytest.mark.parametrize(
    ("data", "settings", "words"),
    [
        ("images", {"energy": Encoder((4,))}, "learn: widths and depths must be as many"),
        ("images", {"size": 5}, "learn.size=5 does not divide"),
        ("images", {"tasks": ("box",)}, "learn.tasks does not serve the energy encoder of a set of pictures"),
        ("images", {"crop": (8,)}, "learn.crop does not serve"),
        ("images", {"conditional": True}, "learn.conditional needs pictures with labels"),
        ("images", {"energy": replace(TOLD, rank=0)}, "details alone are learned of shapes"),
        ("images", {"energy": TOLD, "references": 4}, "learn.references is for"),
        ("images", {"energy": ConvNet("st")}, "learn.energy.conv_net.preset=st: here it is object or image"),
        ("voxels", {"conditional": True}, "learn.conditional is for the energies"),
        ("voxels", {"energy": replace(TOLD, rank=0), "tasks": ("half",)}, "none of them suits shapes of 16x16x16"),
        ("voxels", {"folds": 10, "energy": Amortised(rank=10**7)}, "would take .* GiB; set fewer"),
    ],
)
def test_what_does_not_suit_the_data_is_refused_before_anything_is_learned(data, settings, words):
    with pytest.raises(InputError, match=words) as told:
        Learn(**settings).check({"data": DATA[data]})
    assert "\n" not in str(told.value)


def test_too_few_for_so_many_parts_are_told():
    with pytest.raises(InputError, match=r"learn.folds=10: 12 shapes are too few"):
        Learn(energy=TOLD, folds=10).check({"data": shapes(12)})
