"""What judges a recovery whose truth is unknown: copies of its mask, simple methods beside it, and what was learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import seeded
from tiny import amortised, data_of, encoder, filled, known, run_in
from torch import Tensor

from data.errors import InputError
from data.words import counted
from energies import Average, Hidden, Noisy, Schedule
from energies.matching import MomentMatching
from pipelines.examples import Examples, to_bits, to_levels
from pipelines.measures import floors, held_out, judge, synthesis
from pipelines.measures.likeness import likeness, warning_of
from pipelines.measures.recovery import verdict
from pipelines.modalities import modality_of
from pipelines.report import Report, products
from pipelines.stages.evaluate import Evaluate
from pipelines.stages.recover import Recover

SIDE = 16
AXES = ((8, 1, 1), (1, 8, 1), (1, 1, 8))


def box(low: tuple[int, ...], high: tuple[int, ...], side: int = SIDE) -> Tensor:
    """bool [1, *size]."""
    hidden = torch.zeros(1, *[side] * len(low), dtype=torch.bool)
    hidden[(0, *(slice(a, b) for a, b in zip(low, high, strict=True)))] = True
    return hidden


# --------------------------------------------------------------------------------- copies of masks


def test_a_copy_of_a_mask_is_the_mask_moved_to_what_is_seen() -> None:
    hidden = box((2, 3), (6, 8))
    found = held_out.copies(hidden, torch.rand(1, SIDE, SIDE, generator=seeded(0)), 4, seeded(1))
    assert len(found) == 4 and len({tuple(copy.nonzero()[0].tolist()) for copy in found}) == 4
    for copy in found:
        assert not (copy & hidden).any() and copy.sum() == hidden.sum()
        _, y, x = copy.nonzero().T
        assert (y.max() - y.min() + 1, x.max() - x.min() + 1) == (4, 5), "as it is: not mirrored, not over the border"


@pytest.mark.parametrize("hidden", [box((0, 0), (16, 8)), torch.rand(1, 16, 16, generator=seeded(2)) < 0.7])
def test_half_of_what_is_seen_stays_seen(hidden: Tensor) -> None:
    found = held_out.copies(hidden, torch.rand(1, 16, 16, generator=seeded(0)), 4, seeded(1))
    assert found
    for copy in found:
        assert not (copy & hidden).any() and 0 < copy.sum() <= 0.5 * (~hidden).sum()


def test_of_a_shape_not_only_emptiness_is_held_out() -> None:
    """A small body in a large void: nine of ten copies would hold nothing of it."""
    solid = -torch.ones(1, 16, 16, 16)
    solid[:, 10:14, 10:14, 10:14] = 1
    found = held_out.copies(box((0, 0, 0), (5, 5, 5)), solid, 3, seeded(3))
    assert all(len(solid[copy].unique()) == 2 for copy in found)


def test_nothing_is_held_out_of_means_and_of_nothing(tmp_path: Path) -> None:
    run, y = run_in(tmp_path), torch.rand(1, 1, 8, 8, generator=seeded(0))
    assert held_out.trial(Average((2, 2)), y, (1, 16, 16), run) is None
    assert held_out.trial(Hidden(torch.zeros(1, 1, 8, 8, dtype=torch.bool)), y, (1, 8, 8), run) is None
    assert held_out.copies(torch.ones(1, 8, 8, dtype=torch.bool), y[0], 4, seeded(0)) == []
    noisy = held_out.trial(Noisy(Hidden(box((0, 0), (3, 3), 8)[None]), 0.2), y, (1, 8, 8), run)
    assert noisy is not None and isinstance(noisy.seen.observation, Noisy) and noisy.seen.observation.noise == 0.2


@pytest.mark.slow
def test_what_lies_behind_the_mask_counts_for_nothing(tmp_path: Path) -> None:
    """The table is the same whatever is hidden, and nothing that is held out is told."""
    data, run = data_of("images", shape=(1, SIDE, SIDE)), run_in(tmp_path)
    modality, mask = modality_of("images"), box((4, 4), (9, 9))[None]
    truth = data.x("validation", slice(1))
    tables = []
    for behind in (0.9, -0.9):
        trial = held_out.trial(Hidden(mask), torch.where(mask, behind, truth), data.shape, run)
        assert trial is not None and not trial.seen.y[trial.where].any()
        tables.append(held_out.scores(trial, torch.zeros_like(trial.truth), data, modality, run))
    assert tables[0] == tables[1] and tables[0]["copies"] == held_out.COPIES
    names = {"biharmonic", "nearest", "blur", "total_variation", "nearest_training", "mean"}
    assert set(tables[0]["rivals"]) == names and tables[0]["gain"] < 0


# ------------------------------------------------------------------------------------ the recovery


def recovered(modality: str, x: Tensor, mask: Tensor, folder: Path, **settings: Any) -> dict[str, Any]:
    """What recover and evaluate say of an x of a person's own, by an energy that has learned nothing."""
    data = data_of(modality, shape=tuple(x.shape[1:]))
    observation, run = Hidden(mask), run_in(folder)
    values: dict[str, Any] = {
        "data": data, "source": {}, "targets": x, "measured": observation.observe(x), "observation": observation,
        "truth_known": False, "energy": amortised(data), "generator": Schedule(3, 4.0, 0.2, 1, 0.4),
    }  # fmt: skip
    stage = Recover(samples=0, mean=MomentMatching(levels=2, chains=1), **settings)
    values |= stage(known(stage, values), run)
    return values | Evaluate()(known(Evaluate(), values), run)


def ramp(side: int = SIDE) -> Tensor:
    """A smooth picture, which a thin plate continues."""
    return torch.linspace(-0.9, 0.9, side).expand(1, 1, side, side) * torch.linspace(0.2, 1, side)[:, None]


@pytest.mark.slow
def test_a_picture_that_a_simple_method_fills_better_is_filled_by_it_and_says_so(tmp_path: Path) -> None:
    x, mask = ramp(), box((4, 4), (9, 9))[None]
    values = recovered("images", x, mask, tmp_path)
    found, way = values["metrics"], next(iter(values["ways"]))
    assert found["held_out"]["best"] == found["held_out"]["result"] == way != "amortised" and found["way"] == way
    assert (values["recovered"] - x).abs().max() < 0.1 < (values["ways"]["amortised"]["mean"] - x).abs().max()
    summary = values["summary"]
    assert f"the result is that of {way.replace('_', ' ')} (recover.fall_back=false gives the energy's)" in summary
    assert all(name in summary for name in ("by the energy", "biharmonic", "nearest", "total variation", "blur"))
    assert "1 picture; the truth is unknown" in summary
    rows = products.recovery_rows(values, modality_of("images"))
    assert torch.equal(rows["by the energy"], values["ways"]["amortised"]["mean"])
    report = Report("own")
    products.recovery(report, values, modality_of("images"))
    assert "WORSE than" in report.html() and "by the energy" in report.html()


@pytest.mark.slow
def test_what_the_energy_makes_is_kept_where_that_is_asked_for_and_the_rival_is_told(tmp_path: Path) -> None:
    values = recovered("images", ramp(), box((4, 4), (9, 9))[None], tmp_path, fall_back=False)
    assert next(iter(values["ways"])) == "amortised" and values["metrics"]["held_out"]["result"] == "energy"
    assert "WORSE than" in values["summary"] and "the result is the energy's all the same" in values["summary"]


@pytest.mark.slow
def test_a_shape_of_ones_own_is_judged_as_well(tmp_path: Path) -> None:
    solid = torch.where(torch.arange(8) < 5, 1.0, -1.0).expand(1, 1, 8, 8, 8).contiguous()
    values = recovered("voxels", solid, box((2, 2, 2), (5, 5, 6), 8)[None], tmp_path)
    found = values["metrics"]["held_out"]
    assert {"nearest_shape", "blurred_visible"} <= set(found["rivals"]) and 0 <= found["energy"]["iou"] <= 1
    assert values["recovered"].shape == solid.shape and "1 shape; the truth is unknown" in values["summary"]


@pytest.mark.parametrize(("gain", "words"), [(1.25, "the energy is 1.25 dB better"), (-0.5, "is 0.50 dB WORSE")])
def test_the_verdict_is_in_the_unit_of_the_score(gain: float, words: str) -> None:
    judged = {"gain": gain, "best": "total_variation", "result": "energy"}
    told = verdict(judged, modality_of("images"))
    assert words in told and "total variation" in told and told.startswith("warning") == (gain < 0)


# -------------------------------------------------------------------------- unlike what was learned


@pytest.mark.parametrize("modality", ["images", "voxels"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_what_is_unlike_anything_learned_is_told_and_what_is_like_it_is_not(
    modality: str, share: float, tmp_path: Path
) -> None:
    data, run = (data_of("images", num=160) if modality == "images" else boxes(160)), run_in(tmp_path)
    mask = Hidden(torch.rand(1, 1, *data.shape[1:], generator=seeded(1)) < share)
    noise = (torch.rand(1, *data.shape, generator=seeded(2)) < 0.5).float() * 2 - 1
    energy, of = filled(encoder(data), size=0.0), modality_of(modality)  # a Gaussian about the mean
    strange = likeness(energy, mask, mask.observe(noise), data, of, run)
    assert strange is not None and strange["unlike"] and strange["distance"]["below"] == 1
    assert strange["energy"] is not None and strange["energy"]["below"] > 0.9
    told = warning_of(strange, of)
    assert told is not None and f"than all of 40 {of.noun}" in told
    for x in data.x("validation", slice(8)):
        found = likeness(energy, mask, mask.observe(x[None]), data, of, run)
        assert found is not None and not found["unlike"] and warning_of(found, of) is None


def test_means_of_blocks_are_compared_as_means_and_few_examples_with_nothing(tmp_path: Path) -> None:
    data, run, means = data_of("images", num=160), run_in(tmp_path), Average((2, 2))
    checks = torch.ones(1, 1, 4, 4)
    checks[..., ::2, 1::2] = checks[..., 1::2, ::2] = -1
    found = likeness(encoder(data), means, checks, data, modality_of("images"), run)
    assert found is not None and found["distance"]["below"] == 1 and found["distance"]["of"] == 40
    assert likeness(encoder(data), means, checks, data_of("images", 12), modality_of("images"), run) is None


def boxes(num: int) -> Examples:
    """Shapes, of which a quarter is to judge by: solid boxes in a corner."""
    sizes = torch.randint(3, 8, (num, 3), generator=seeded(4))
    x, y, z = ((torch.arange(8) < size[:, None]).view(num, *sides) for size, sides in zip(sizes.T, AXES, strict=True))
    stored = to_bits((x & y & z)[:, None])
    return Examples("voxels", (1, 8, 8, 8), stored[: -num // 4], stored[-num // 4 :])


# ------------------------------------------------------------------------------- floors of scores


@pytest.mark.parametrize("make", floors.PICTURES.values())
def test_what_no_picture_may_be_taken_for_has_the_shape_of_pictures(make: Any) -> None:
    x = data_of("images", shape=(3, 9, 8)).x()
    made = make(x, 5, seeded(0))
    assert made.shape == (5, 3, 9, 8) and made.abs().max() <= 1 and made.flatten(1).std(1).min() > 0
    assert torch.equal(made, make(x, 5, seeded(0)))


def test_noise_and_averages_of_shapes_are_as_full_as_they() -> None:
    x = data_of("voxels").x()
    for make in (floors.noise, floors.averages):
        made = make(x, 64, seeded(0))
        assert set(made.unique().tolist()) == {-1.0, 1.0}
        assert float((made > 0).float().mean()) == pytest.approx(float((x > 0).float().mean()), abs=0.02)


def test_phases_keep_the_spectrum_and_shuffling_the_values() -> None:
    x = 0.1 * data_of("images", num=8, shape=(1, 8, 8)).x("train", slice(1))
    turned = floors.random_phase(x, 3, seeded(0))
    torch.testing.assert_close(*(torch.fft.fft2(v).abs()[..., 1:4, 1:4] for v in (turned, x.expand(3, -1, -1, -1))))
    for one in floors.shuffled(x, 3, seeded(0)):
        assert torch.equal(one.flatten().sort().values, x.flatten().sort().values) and not torch.equal(one, x[0])


def test_numbers_that_noise_passes_judge_nothing() -> None:
    rows = {"samples": {"precision": 0.7}, "real": {"precision": 0.88}, "averages": {"precision": 0.1}}
    good = floors.refusal(rows | {"noise": {"precision": 0.02}}, "precision", "precision")
    assert good is None
    bad = rows | {"noise": {"precision": 0.84}}
    bad |= {"refused": floors.refusal(bad, "precision", "precision")}
    assert bad["refused"] == "precision is 0.84 of noise where it is 0.88 of data: it tells nothing"
    lines = synthesis.summary(bad)
    assert "samples" not in "".join(line.split(" ")[0] for line in lines) and "not judged: precision" in lines[-1]
    assert any(line.startswith("samples") for line in synthesis.summary(rows))


@pytest.mark.slow
def test_a_judge_tells_noise_and_averages_of_pictures_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In features of classes alone noise lay among the data."""
    monkeypatch.setattr(judge, "STEPS", 60)
    torch.manual_seed(0)
    x, labels = blobs(240)
    data = Examples("images", (1, 8, 8), to_levels(x[:160]), to_levels(x[160:]), ("a", "b"), labels[:160], labels[160:])
    compare = synthesis.OfPictures.fit(data, run_in(tmp_path))
    found = compare.beside(data.x("train", slice(40)), labels[:40], seeded(0))
    assert found["refused"] is None and found["real"]["precision"] > 0.6
    assert found["noise"]["precision"] < 0.1 and found["averages"]["precision"] < 0.3 * found["real"]["precision"]
    assert found["judge_tells_data"] > 0.8 and found["classifier_accuracy"] > 0.9
    assert "the judge's own accuracy" in synthesis.summary({"num": 40} | found)[-1]


def blobs(num: int) -> tuple[Tensor, Tensor]:
    """Pictures [num, 1, 8, 8] of a bright spot, above or below, and which."""
    labels = torch.arange(num) % 2
    at = torch.rand(num, 2, generator=seeded(3)) * torch.tensor([2.0, 5.0]) + 1
    at[:, 0] += 3 * labels
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    apart = (y - at[:, 0, None, None]).square() + (x - at[:, 1, None, None]).square()
    return (2 * (-apart / 2).exp() - 1)[:, None], labels


def test_too_few_examples_are_told_before_anything_is_sampled() -> None:
    few = data_of("images", num=12)
    with pytest.raises(InputError, match="needs 10 examples to learn from, to judge by them; there are 9"):
        Evaluate().check({"data": few, "energy": encoder(few)})
    Evaluate().check({"data": few, "energy": encoder(few), "observation": Average((2, 2))})


@pytest.mark.parametrize(("num", "words"), [(1, "1 picture"), (0, "0 pictures"), (3, "3 pictures")])
def test_one_is_no_plural(num: int, words: str) -> None:
    assert counted(num, "pictures") == words
