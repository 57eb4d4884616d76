"""Coarse samples: refined with their block means held, and those kept that hold together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import amortised, data_of, encoder, known, of_details, run_in
from torch.nn import functional as F

from data.errors import InputError
from energies import Schedule
from energies.matching import MomentMatching
from pipelines.stages.refine import Refine
from pipelines.stages.select import Select

FEW = Schedule(3, 6.0, 0.2, 1, 0.4)


def coarse(modality: str, energy: Any, factor: int = 2) -> dict[str, Any]:
    """Samples of block means, of which three are to be refined."""
    data = data_of(modality)
    pool = F.avg_pool3d if modality == "voxels" else F.avg_pool2d
    soft = 0.9 * pool(data.x("validation")[:3], factor)
    decided = soft if modality != "voxels" else torch.where(soft > 0, 1.0, -1.0)
    values = {"data": data, "samples": decided, "energy": energy(data), "generator": FEW}
    return values | {"soft": soft if modality == "voxels" else None}


@pytest.mark.parametrize("energy", [encoder, amortised, lambda data: of_details()])
def test_block_means_of_samples_are_held(energy: Any, tmp_path: Any) -> None:
    values = coarse("voxels", energy)
    stage = Refine(remask=0, mean=MomentMatching(levels=2, chains=1))
    given = stage(known(stage, values), run_in(tmp_path))
    assert given["samples"].shape == (3, 1, 8, 8, 8) and (given["samples"].abs() == 1).all()
    assert (F.avg_pool3d(given["soft"], 2) - values["soft"]).abs().max() < 1e-5


def test_pictures_are_refined_by_the_same_stage(tmp_path: Any) -> None:
    values = coarse("images", encoder)
    stage = Refine(mean=MomentMatching(levels=2, chains=1))
    given = stage(known(stage, values), run_in(tmp_path))
    assert given["soft"] is None and given["samples"].shape == (3, 1, 8, 8)
    assert (F.avg_pool2d(given["samples"], 2) - values["samples"]).abs().max() < 1e-5


def test_what_is_of_the_size_of_the_energy_stays_but_for_remasking(tmp_path: Any) -> None:
    values = coarse("voxels", amortised, 1)
    same, other = (Refine(remask=k)(known(Refine, values), run_in(tmp_path)) for k in (0, 1))
    assert torch.equal(same["soft"], values["soft"]) and not torch.equal(other["soft"], values["soft"])


def test_what_cannot_be_refined_is_told(tmp_path: Any) -> None:
    values = coarse("voxels", encoder)
    with pytest.raises(InputError, match=r"refine\.factor=4: asks for 16x16x16, the energy is of 8x8x8"):
        Refine(factor=4)(values, run_in(tmp_path))
    with pytest.raises(InputError, match="refines no means of 3x3x3"):
        Refine()(values | {"soft": torch.zeros(2, 1, 3, 3, 3)}, run_in(tmp_path))
    for stage in (Refine(), Select()):
        with pytest.raises(InputError, match="for samples that were made"):
            stage.check({"targets": values["samples"]})
    bad: list[dict[str, Any]] = [{"factor": 1}, {"remask": -1}]
    for settings in bad:
        with pytest.raises(ValueError, match=next(iter(settings))):
            Refine(**settings)


def test_shapes_that_fall_apart_are_rejected_and_the_closest_stays_where_all_do(tmp_path: Any) -> None:
    whole, apart, closer = (torch.zeros(1, 8, 8, 8) for _ in range(3))
    whole[0, :4], apart[0, 0], apart[0, 4], closer[0, :4], closer[0, 6, :2] = 1, 1, 1, 1, 1
    empty, data = torch.zeros_like(whole), data_of("voxels")
    for shapes, kept, found in (
        ([apart, whole, closer], [1], 1),
        ([apart, closer, empty], [1], 0),
        ([whole] * 2, [0, 1], 2),
    ):
        samples, numbers = torch.stack(shapes) * 2 - 1, torch.arange(len(shapes))
        values = {"data": data, "samples": samples, "soft": samples / 2, "sample_labels": numbers}
        given = Select()(values, run_in(tmp_path))
        assert torch.equal(given["samples"], samples[kept]) and torch.equal(given["soft"], samples[kept] / 2)
        assert given["sample_labels"].tolist() == kept
        assert given["selection"] == {"made": len(shapes), "whole": found, "kept": len(kept), "standing": found}
    without = Select()({"data": data, "samples": samples}, run_in(tmp_path))
    assert without["soft"] is None and without["sample_labels"] is None
    pictures = data_of("images")
    leaning = torch.zeros_like(whole)
    leaning[0, 0, 0], leaning[0, :, 0, 7] = 1, 1  # a post with a long arm
    samples = torch.stack([leaning, whole]) * 2 - 1
    given = Select(standing=True)({"data": data, "samples": samples}, run_in(tmp_path))
    assert torch.equal(given["samples"], samples[1:])
    assert given["selection"] == {"made": 2, "whole": 2, "kept": 1, "standing": 1}
    with pytest.raises(InputError, match="pictures hold together is no question"):
        Select()({"data": pictures, "samples": pictures.x()}, run_in(tmp_path))
    with pytest.raises(ValueError, match="whole must lie in"):
        Select(whole=2.0)
