"""Energies in few bytes: what is rounded, what is not, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from conftest import seeded
from safetensors.torch import load_file, save_file
from tiny import amortised, data_of, encoder

import energies
from energies import Energy, Funnel
from energies.compact import UNIT, Compact, packed, unpacked
from energies.saving import save_module

SHAPES = data_of("voxels", 24, (1, 16, 16, 16))
BF16, LEVELS = 2.0**-8, 31  # the largest share that bfloat16 rounds away


def of(energy: Energy, folder: Path, compact: Compact | None) -> tuple[Energy, int]:
    save_module(energy, folder, compact)
    return energies.load(folder), (folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize("levels", [None, LEVELS])
@pytest.mark.parametrize("make", [amortised, encoder])
def test_weights_come_back_in_float32_as_near_as_is_told_and_all_else_as_it_was(make, levels, tmp_path):
    energy = make(SHAPES)
    again, size = of(energy, tmp_path, Compact(levels))
    assert size < of(energy, tmp_path / "whole", None)[1] * 0.7
    weights = dict(again.named_parameters())
    for name, weight in energy.named_parameters():
        found = weights[name]
        assert (found.dtype == torch.float32 and not torch.equal(found, weight)) or not weight.any()
        if levels is None or weight.ndim < 2:
            assert ((found - weight).abs() <= BF16 * weight.abs()).all()
        else:
            unit = weight.flatten(1).abs().amax(1).view(-1, *[1] * (weight.ndim - 1)) / levels
            assert ((found - weight).abs() <= 0.501 * unit).all()
    others = dict(again.named_buffers())
    for name, buffer in energy.named_buffers():
        assert others[name].dtype == buffer.dtype and torch.equal(others[name], buffer)


def test_what_is_compact_is_saved_whole_again(tmp_path):
    again, _ = of(encoder(SHAPES), tmp_path / "few", Compact())
    once_more, _ = of(again, tmp_path / "whole", None)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), once_more.parameters(), strict=True))


def test_numbers_of_other_kinds_are_left_alone():
    tensors = {
        "double": torch.rand(4, 4, dtype=torch.float64), "mean": torch.rand(4, 4), "count": torch.arange(9000),
        "mask": torch.rand(90, 90) > 0.95, "clip": torch.rand(9, 9).expand(90, 9, 9).clone(),
        "few": torch.arange(9, dtype=torch.uint8), "empty": torch.zeros(0, 3),
        "many": torch.randint(256, (70, 70), dtype=torch.uint8, generator=seeded(0)),
    }  # fmt: skip
    stored, told = packed(tensors, {"double", "count", "empty"}, Compact(7))
    assert told.keys() == {"mask", "clip", "empty"}, "and noise of 8 bits is left as it is"
    again = unpacked(stored, json.loads(json.dumps(told)))
    assert again.keys() == tensors.keys()
    assert all(again[k].dtype == t.dtype and torch.equal(again[k], t) for k, t in tensors.items())


def test_rows_of_zeros_and_of_tiny_numbers_come_back_finite():
    weight = torch.stack([torch.zeros(5), torch.full((5,), 1e-42), torch.linspace(-3, 3, 5)])
    stored, told = packed({"w": weight}, {"w"}, Compact(127))
    assert (stored["w" + UNIT] > 0).all()
    torch.testing.assert_close(unpacked(stored, told)["w"], weight, rtol=0, atol=0.012)


@pytest.mark.parametrize("levels", [0, 128, -3])
def test_levels_that_do_not_fit_are_refused(levels):
    with pytest.raises(ValueError, match="levels must be 1 to 127"):
        Compact(levels)


def rewritten(folder: Path, tensors: dict[str, torch.Tensor], told: object) -> None:
    save_file(tensors, folder / "model.safetensors")
    content = json.loads((folder / "energy.json").read_text())
    content.pop("own_sha256", None)
    content |= {"compact": told, "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()}
    (folder / "energy.json").write_text(json.dumps(content))


@pytest.mark.slow
def test_what_does_not_fit_what_is_told_is_refused_in_one_line(tmp_path):
    energy = amortised(SHAPES)
    save_module(energy, tmp_path, Compact(LEVELS))
    right = load_file(tmp_path / "model.safetensors")
    told = json.loads((tmp_path / "energy.json").read_text())["compact"]
    row = next(name for name, how in told.items() if how["as"] == "rows")
    data = "reference.data"
    wrong = [
        (right, [], "is no map"),
        (right, told | {"more": {"as": "bfloat16"}}, "names more, which is missing"),
        (right, told | {row: {"as": "bfloat16"}}, "is not stored as compact tells"),
        (right, told | {row: "rows"}, "is not stored as compact tells"),
        (right, told | {data: told[data] | {"shape": [18, -4096]}}, "is not stored as compact tells"),
        (right, told | {data: told[data] | {"kind": "int64"}}, "is not stored as compact tells"),
        (right, told | {data: told[data] | {"shape": [17, 4096]}}, "holds more numbers"),
        (right, told | {data: told[data] | {"kind": "float32"}}, "holds fewer numbers"),
        (right | {data: right[data].flip(0)}, told, "cannot be inflated"),
        (right | {row + UNIT: right[row + UNIT][:-1].clone()}, told, "units are not one a row"),
        ({k: t for k, t in right.items() if k != row + UNIT}, told, "is not stored as compact tells"),
        (right, {k: how for k, how in told.items() if k != row}, "of another"),
    ]
    for tensors, how, words in wrong:
        rewritten(tmp_path, tensors, how)
        with pytest.raises(ValueError, match=words) as error:
            energies.load(tmp_path)
        assert "\n" not in str(error.value)
    rewritten(tmp_path, right, told)
    assert isinstance(energies.load(tmp_path), type(energy))


def test_an_energy_without_weights_is_stored_compact_too(tmp_path):
    x = torch.ones(2, 3)
    again, _ = of(Funnel(3.0), tmp_path, Compact(3))
    assert torch.equal(again(x), Funnel(3.0)(x))
