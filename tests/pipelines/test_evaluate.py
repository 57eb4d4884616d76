"""One stage judges what was recovered, made or composed: its numbers against closed forms, in every modality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import seeded

from data import moving
from data.errors import InputError
from energies import Average, Hidden, Noisy
from pipelines.composition import expression
from pipelines.examples import Examples, to_bits, to_levels
from pipelines.measures import recovery, synthesis, tables
from pipelines.modalities import modality_of
from pipelines.report import Report, products
from pipelines.stage import Run
from pipelines.stages.evaluate import Evaluate

SAMPLING = {"summary": {"kind": "annealed"}, "lines": [], "curves": {}, "chains": 1}
SHAPES = {"images": (3, 8, 8), "video": (3, 4, 8, 8), "voxels": (1, 8, 8, 8)}


def examples(modality: str, num: int = 24, judged: int = 8, labels: bool = False) -> Examples:
    x = torch.rand(num + judged, *SHAPES[modality], generator=seeded(0))
    stored = to_bits(x < 0.4) if modality == "voxels" else to_levels(x * 2 - 1)
    data = Examples(modality, SHAPES[modality], stored[:num], stored[num:])
    if not labels:
        return data
    kinds = torch.arange(num + judged) % 2
    own = {"classes": ["a", "b"], "train": kinds[:num], "validation": kinds[num:]}
    return Examples(
        modality, data.shape, data.train, data.validation, ("a", "b"), kinds[:num], kinds[num:], {"kind": own}
    )


def recovered(modality: str, observation: Any, change: float = 0.1, seed: int = 1) -> dict[str, Any]:
    """Values as `recover` leaves them: the truth, moved where nothing is seen."""
    data = examples(modality)
    truth = data.x("validation", slice(3))
    y = observation.sample(truth, seeded(seed))
    moved = observation.project(truth * (1 - change), y) if observation.holds else truth * (1 - change)
    return {
        "data": data, "source": {"name": "made"}, "targets": truth.to(torch.int8 if modality == "voxels" else truth),
        "measured": y, "observation": observation, "truth_known": True, "recovered": moved,
        "samples": modality_of(modality).drawn(moved[:2], observation.rows(slice(2), truth.ndim), y[:2]),
        "spread": None, "ways": {"amortised": {"mean": moved, "seconds": 1.5}}, "sampling": SAMPLING,
    }  # fmt: skip


def mask_of(modality: str, num: int = 3) -> Hidden:
    return Hidden(torch.rand(num, 1, *SHAPES[modality][1:], generator=seeded(2)) < 0.5)


def judged(values: dict[str, Any], folder: Path, **settings) -> dict[str, Any]:
    given = Evaluate(**settings)(values, Run(folder, folder))
    assert set(given) == set(Evaluate.gives)
    assert given["metrics"] == json.loads((folder / "metrics.json").read_text())
    return given


# -------------------------------------------------------------------------------------- recovery


@pytest.mark.slow
@pytest.mark.parametrize("modality", SHAPES)
def test_every_recovery_has_the_same_numbers_whatever_the_modality(modality, tmp_path):
    found = judged(recovered(modality, mask_of(modality)), tmp_path)["metrics"]
    gain = "gain_iou" if modality == "voxels" else "gain_db"
    common = {
        "observation", "num", "truth_known", "hidden_share", "way", "seconds", "total_seconds", "ways", "recovery",
        "one_sample", "baselines", "best_baseline", "sampling",
    }  # fmt: skip
    assert set(found) == common | {gain}
    assert found["observation"] == "hidden" and found["num"] == 3 and found["way"] == "amortised"
    assert found["hidden_share"] == pytest.approx(0.5, abs=0.1) and found["seconds"] == {"amortised": 1.5}
    name = modality_of(modality).score_name
    best = max(row[name] for row in found["baselines"].values())
    assert found["baselines"][found["best_baseline"]][name] == best
    assert found[gain] == pytest.approx(found["recovery"][name] - best)
    assert found["ways"]["amortised"][name] == found["recovery"][name]


@pytest.mark.parametrize("observation", [Average((2, 2)), Noisy(mask_of("images"), 0.1), Noisy(Average((2, 2)), 0.1)])
def test_any_observation_is_judged(observation, tmp_path):
    found = judged(recovered("images", observation), tmp_path)["metrics"]
    assert found["observation"] == {"Average": "average"}.get(type(observation).__name__, found["observation"])
    assert found["recovery"]["psnr"] > 10 and found["baselines"]


@pytest.mark.parametrize("observation", [Average((2, 2, 2)), Noisy(mask_of("voxels"), 0.3)])
def test_shapes_are_scored_as_solids(observation, tmp_path):
    values = recovered("voxels", observation)
    given = judged(values, tmp_path)
    found, truth = given["metrics"], values["targets"] > 0
    if observation.exact:
        assert found["recovery"] == {"iou": 1.0, "voxel_error": 0.0}  # its highest voxels are the true ones
    wrong = values | {"recovered": -values["recovered"]}
    worse = judged(wrong, tmp_path)
    solid = modality_of("voxels").decided(wrong["recovered"], observation, wrong["measured"]) > 0
    both, either = (solid & truth).flatten(1).sum(1), (solid | truth).flatten(1).sum(1)
    assert worse["metrics"]["recovery"]["iou"] == pytest.approx(float((both / either).mean()))
    assert "WORSE than the best baseline" in worse["summary"] and worse["metrics"]["gain_iou"] < 0
    assert given["rivals"]["x"].dtype == torch.int8  # a byte a voxel


@pytest.mark.slow
def test_a_perfect_recovery_is_better_and_a_bad_one_is_told(tmp_path):
    good = judged(recovered("images", mask_of("images"), change=0.0), tmp_path)
    assert good["metrics"]["recovery"]["psnr"] == 100 and "dB better than the best baseline" in good["summary"]
    bad = judged(recovered("images", mask_of("images"), change=3.0), tmp_path)
    assert bad["metrics"]["gain_db"] < 0 and "dB WORSE than the best baseline" in bad["summary"]


@pytest.mark.slow
def test_only_hidden_elements_count(tmp_path):
    values = recovered("images", mask_of("images"))
    spoiled = torch.where(values["observation"].mask, values["recovered"], 1.0)  # what is seen is not recovered
    found = judged(values | {"recovered": spoiled}, tmp_path)["metrics"]
    again = judged(values, tmp_path)["metrics"]
    assert found["recovery"]["psnr"] == again["recovery"]["psnr"]


@pytest.mark.slow
def test_samples_of_each_x_are_scored_against_the_right_one(tmp_path):
    values = recovered("images", mask_of("images"), change=0.0)
    samples = values["targets"][[0, 0, 1, 1]]
    samples = torch.stack([samples[0], -samples[1], samples[2], -samples[3]])  # the first of each is right
    two = values | {"samples": samples, "sampling": SAMPLING | {"chains": 2}}
    assert judged(two, tmp_path)["metrics"]["one_sample"]["psnr"] == 100
    none = values | {"samples": samples[:0]}
    assert judged(none, tmp_path)["metrics"]["one_sample"] is None


def test_baselines_can_be_chosen_or_left_out(tmp_path):
    values = recovered("images", mask_of("images"))
    found = judged(values, tmp_path, baselines=("mean",))["metrics"]
    assert list(found["baselines"]) == ["mean"] and found["best_baseline"] == "mean"
    without = judged(values, tmp_path, baselines=False)
    assert "baselines" not in without["metrics"] and "gain_db" not in without["metrics"] and without["rivals"] is None
    with pytest.raises(InputError, match=r"evaluate.baselines: there is no magic here; there are nearest_training"):
        judged(values, tmp_path, baselines=("magic",))


def test_an_unknown_truth_is_not_scored(tmp_path):
    given = judged(recovered("images", mask_of("images")) | {"truth_known": False}, tmp_path)
    assert not {"recovery", "baselines", "one_sample"} & set(given["metrics"])
    assert "3 pictures; the truth is unknown" in given["summary"] and given["rivals"] is not None


def test_two_ways_stand_beside_each_other(tmp_path):
    values = recovered("images", mask_of("images"))
    ways = values["ways"] | {"conditioned": {"mean": values["targets"], "seconds": 2.0}}
    given = judged(values | {"ways": ways}, tmp_path)
    assert given["metrics"]["ways"]["conditioned"]["psnr"] == 100
    assert "by this energy, conditioned" in given["summary"] and "conditioned in 2.0 s" in given["summary"]


@pytest.mark.parametrize("modality", SHAPES)
def test_the_band_holds_nine_of_ten_values_where_the_spread_is_right(modality):
    shape = (40, *SHAPES[modality])
    mean, unit = (torch.randn(shape, generator=seeded(k)) for k in (3, 4))
    spread = 0.1 + torch.rand(shape, generator=seeded(5))
    where = torch.rand(40, 1, *shape[2:], generator=seeded(6)) < 0.5
    truth = torch.where(where, mean + spread * unit, mean + 100)  # what is seen must not count
    error = 5 * (0.9 * 0.1 / (int(where.sum()) * shape[1])) ** 0.5
    assert recovery.coverage(mean, spread, truth, where) == pytest.approx(0.9, abs=error)
    assert recovery.coverage(mean, spread / 2, truth, where) < 0.7


def test_a_recovery_of_another_size_is_told(tmp_path):
    values = recovered("images", mask_of("images"))
    with pytest.raises(InputError, match=r"recovered are pictures of \[3, 4, 4\], the true ones are \[3, 8, 8\]"):
        judged(values | {"recovered": values["recovered"][..., ::2, ::2]}, tmp_path)


# ------------------------------------------------------------------------------------- synthesis


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modality", "numbers"),
    [
        ("images", {"frechet", "precision", "recall", "nearest_training"}),
        ("video", {"horizontal", "vertical", "temporal"}),
        ("voxels", {"in_one_part", "two_sample", "coverage", "distance_to_training", "filled"}),
    ],
)
def test_new_x_are_compared_with_real_ones(modality, numbers, tmp_path):
    data = examples(modality)
    samples = data.x("train", slice(8))
    given = judged({"data": data, "samples": samples, "sampling": SAMPLING}, tmp_path)
    found = given["metrics"]
    assert numbers <= set(found["samples"]) and set(found["samples"]) == set(found["real"])
    assert found["num"] == 8 and found["validation"] == 8 and torch.equal(given["shown"]["samples"], samples)
    assert "long_run_ratio" not in found  # no long chains were asked for


@pytest.mark.slow
def test_what_was_learned_from_is_no_new_shape_and_noise_is_no_picture(tmp_path):
    data = examples("voxels")
    found = judged({"data": data, "samples": data.x("train", slice(8))}, tmp_path)["metrics"]
    assert found["samples"]["distance_to_training"] == 0 and found["real"]["distance_to_training"] > 0.3
    torch.manual_seed(0)
    smooth = torch.linspace(-1, 1, 8).expand(160, 3, 8, 8) * torch.rand(160, 1, 1, 1, generator=seeded(4))
    data = Examples("images", (3, 8, 8), to_levels(smooth[:120]), to_levels(smooth[120:]))
    found = judged({"data": data, "samples": data.x("train", slice(40))}, tmp_path)["metrics"]
    assert found["noise"]["frechet"] > 3 * found["samples"]["frechet"] and found["noise"]["precision"] == 0


def test_samples_smaller_than_the_shapes_are_compared_at_their_size(tmp_path):
    data = examples("voxels")
    small = torch.ones(4, 1, 4, 4, 4)
    assert judged({"data": data, "samples": small}, tmp_path)["metrics"]["samples"]["filled"] == 1
    with pytest.raises(InputError, match="shapes of 8 voxels a side are no match for samples of 3"):
        judged({"data": data, "samples": small[..., :3, :3, :3]}, tmp_path)


@pytest.mark.slow
def test_too_few_pictures_are_told(tmp_path):
    data = examples("images")
    values = {"data": data, "samples": data.x("train", slice(3)), "energy": None, "generator": None}
    given = judged(values, tmp_path, curve=32)
    words = "4 samples and 4 pictures to judge by are needed, 3 and 8 are there; raise synthesize.num"
    assert given["summary"].startswith(f"warning: not judged: {words}") and "samples" not in given["metrics"]
    report = Report("few")
    products.synthesis(report, values | given, modality_of("images"), "Numbers.")
    report.write(tmp_path / "report.html")
    assert words in (tmp_path / "report.html").read_text()


def test_a_selection_is_told(tmp_path):
    data = examples("voxels")
    values = {"data": data, "samples": data.x("train", slice(3)), "selection": {"made": 9, "whole": 2, "kept": 3}}
    given = judged(values, tmp_path)
    assert given["metrics"]["selection"]["kept"] == 3
    assert "made 9 shapes; 2 were whole; 3 are kept and judged" in given["summary"]


def test_neighbouring_frames_of_a_clip_that_stands_still_do_not_differ():
    data = examples("video")
    still = data.x("train", slice(2))[:, :, :1].expand(-1, -1, 4, -1, -1)
    numbers = synthesis.OfClips(data)(still)
    assert numbers["temporal"] == 0 and numbers["horizontal"] == pytest.approx(255 / 3, rel=0.2)


# ----------------------------------------------------------------------------------- composition


@pytest.mark.parametrize("modality", SHAPES)
def test_composed_x_are_judged_by_classifiers(modality, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.measures.judge.STEPS", 3)
    data = examples(modality, labels=True)
    composition = {"expr": "kind.a", "prior": [], "strength": 1.0, "experts": []}
    values = {
        "data": data, "source": {"name": "made"}, "samples": data.x("train", slice(6)), "composition": composition,
        "energy": None,
    }  # fmt: skip
    given = judged(values, tmp_path)
    found = given["metrics"]
    assert found["expr"] == "kind.a" and set(found["classifiers"]) == {"kind"} and found["rivals"] == {}
    assert given["verdicts"].shape == (6,) and found["asked"]["all_hold"] == float(given["verdicts"].float().mean())
    assert ("hold_and_in_one_part" in found["asked"]) == (modality == "voxels")
    assert ("real" in found) == (modality != "images")  # only of pictures it would have to be learned
    unknown = judged(values | {"composition": composition | {"expr": "colour.red"}}, tmp_path)
    assert unknown["metrics"]["asked"] == {"num": 6} and unknown["verdicts"].all()
    assert "have no labels to judge them by" in unknown["summary"]


@pytest.mark.slow
def test_what_moves_is_told_by_the_judge(tmp_path):
    x, labels = moving.clips(600, 12, 4, seed=0)
    given = {
        name: {"classes": list(moving.ATTRIBUTES[name]), "train": own[:500], "validation": own[500:]}
        for name, own in labels.items()
    }
    data = Examples("video", tuple(x.shape[1:]), to_levels(x[:500]), to_levels(x[500:]), attributes=given)
    node = expression.parse("motion.up + colour.red")
    judge = modality_of("video").attributes(data, {"name": "moving"}, expression.names(node), Run(tmp_path, tmp_path))
    assert set(judge.classes) == {"motion", "colour"} and not judge.of_scenes
    assert min(judge.accuracy.values()) > 0.9
    found, holds = judge.judged(node, x)
    truth = (labels["motion"] == 2) & (labels["colour"] == 0)
    assert (holds == truth).float().mean() > 0.95 and found["num"] == 600


def test_simpler_ways_to_ask_are_of_the_composition_itself(tmp_path):
    data = examples("images", labels=True)
    values = {"data": data, "samples": data.x("train", slice(6)), "composition": {"expr": "kind.a"}, "energy": None}
    with pytest.raises(InputError, match="samples that no other energy refined"):
        judged(values, tmp_path, rivals=4)


# ------------------------------------------------------------------------------------- the stage


def test_nothing_to_judge_is_told(tmp_path):
    with pytest.raises(InputError, match="evaluate: nothing was recovered"):
        judged({"data": examples("images")}, tmp_path)


@pytest.mark.parametrize(("settings", "told"), [({"curve": 5}, "curve must be 0, or 32"), ({"rivals": -1}, "rivals")])
def test_bad_settings_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Evaluate(**settings)


def test_tables_stand_numbers_below_each_other_where_they_are_many():
    few = tables.table({"recovery": {"psnr": 30.0, "ssim": 0.9}, "one sample": {"psnr": 27.125, "ssim": None}})
    assert few[0].split() == ["PSNR", "SSIM"] and few[2].split() == ["one", "sample", "27.12", "-"] and len(few) == 3
    many = tables.table({"a": dict.fromkeys("pqrst", 1.0), "b": dict.fromkeys("pqrst", 2.0)})
    assert many[0].split() == ["a", "b"] and many[1].split() == ["p", "1.000", "2.000"]
    told = tables.table({"a": {"iou": 1.0}})
    assert told[-1] == "(IoU: voxels set in both over those set in either, 1 is best)"
