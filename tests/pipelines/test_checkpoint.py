"""Laws of what is kept on disk: whole or not at all, and never read damaged."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import InputError
from energies import Hidden, StudentT
from pipelines import checkpoint


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    whole = torch.randn(6, 5)
    tensors = {
        "view": whole[::2].T,
        "same storage": whole[1:],
        "bf16": torch.ones(3, dtype=torch.bfloat16),
        "mask": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(float("nan")),
        "rng": torch.Generator().get_state(),
    }
    checkpoint.save(tmp_path / "c", tensors, {"step": 3, "best": float("inf")})
    loaded = checkpoint.load(tmp_path / "c")
    assert loaded is not None
    assert loaded[1] == {"step": 3, "best": float("inf")} and loaded[0].keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[0][name].dtype == tensor.dtype
        torch.testing.assert_close(loaded[0][name], tensor, rtol=0, atol=0, equal_nan=True)
    assert os.listdir(tmp_path) == ["c"]


@pytest.mark.parametrize("file", ["tensors.safetensors", "meta.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_none(tmp_path, file, damage):
    checkpoint.save(tmp_path / "c", {"x": torch.ones(4)}, {"step": 1})
    path = tmp_path / "c" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content if damage == "flip" else content[:-1])
    if damage == "remove":
        path.unlink()
    with pytest.warns(UserWarning, match="c is damaged; there is no other, so this begins anew"):
        assert checkpoint.load(tmp_path / "c") is None


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_of_two_checkpoints_the_one_before_a_damaged_one_is_used_and_told(tmp_path, damage):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path / "c", {"x": torch.full((4,), float(step))}, {"step": step})
    path = tmp_path / "c" / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content if damage == "flip" else content[:-1])
    if damage == "remove":
        path.unlink()
    with pytest.warns(UserWarning, match="c is damaged; c_before is used"):
        loaded = checkpoint.load(tmp_path / "c")
    assert loaded is not None and loaded[1] == {"step": 2} and loaded[0]["x"].tolist() == [2] * 4
    checkpoint.save(tmp_path / "c", {}, {"step": 4})
    loaded = checkpoint.load(tmp_path / "c")
    assert loaded is not None and loaded[1] == {"step": 4}
    if damage != "flip":  # one that is cut does not take the place of the whole one
        assert json.loads((tmp_path / "c_before" / "meta.json").read_bytes()) == {"step": 2}


def test_what_kills_left_is_cleared_and_a_whole_checkpoint_takes_its_place(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path / "checkpoint", {}, {"step": step})
    (tmp_path / "checkpoint").rename(tmp_path / ".checkpoint.new")  # killed between the two renames
    (tmp_path / ".values.new").mkdir()
    (tmp_path / ".values.new" / "values.json").write_text("{")
    for name in (".meta.json.new", ".report.html.123.part", ".model.safetensors.link", ".mine"):
        (tmp_path / name).write_text("x")
    checkpoint.tidy(tmp_path.glob(".*"))
    assert sorted(os.listdir(tmp_path)) == [".mine", "checkpoint", "checkpoint_before"]
    loaded = checkpoint.load(tmp_path / "checkpoint")
    assert loaded is not None and loaded[1] == {"step": 2}


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.load(tmp_path / "c") is None


def steps_of_save(monkeypatch, fail_at: int, error: BaseException) -> None:
    """Let the fail_at-th call that changes the disk fail."""
    count = iter(range(10**6))

    def failing(original):
        def call(*args, **kwargs):
            if next(count) == fail_at:
                raise error
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(Path, "rename", failing(Path.rename))
    monkeypatch.setattr(Path, "replace", failing(Path.replace))


@pytest.mark.parametrize("fail_at", range(18))
def test_an_interruption_anywhere_leaves_the_old_or_the_new(tmp_path, monkeypatch, fail_at):
    checkpoint.save(tmp_path / "c", {"x": torch.zeros(2)}, {"step": 1})
    with monkeypatch.context() as patch:
        steps_of_save(patch, fail_at, KeyboardInterrupt())
        with contextlib.suppress(KeyboardInterrupt):
            checkpoint.save(tmp_path / "c", {"x": torch.ones(2)}, {"step": 2})
    loaded = checkpoint.load(tmp_path / "c")
    assert loaded is not None and loaded[1]["step"] == loaded[0]["x"][0] + 1
    checkpoint.save(tmp_path / "c", {}, {"step": 3})
    assert checkpoint.load(tmp_path / "c") == ({}, {"step": 3})
    assert sorted(os.listdir(tmp_path)) == ["c", "c_before"]


@pytest.mark.parametrize("fail_at", range(10))
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, fail_at):
    full = OSError(errno.ENOSPC, "No space left on device")
    checkpoint.save(tmp_path / "c", {"x": torch.zeros(2)}, {"step": 1})
    (tmp_path / "s").mkdir()
    before = tree(tmp_path)
    steps_of_save(monkeypatch, fail_at, full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path / "c", {"x": torch.ones(2)}, {"step": 2})
    assert tree(tmp_path) == before
    steps_of_save(monkeypatch, fail_at, full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save_values(tmp_path / "s", {"x": torch.ones(2), "n": 1})
    assert tree(tmp_path) == before


@dataclass(frozen=True)
class Observed:
    y: Any
    shape: tuple[int, ...] = (1, 2)


@dataclass
class Loose:
    y: int = 1


def test_values_come_back(tmp_path):
    values = {
        "clip": torch.randn(2, 3),
        "fills": {"a": torch.ones(1), "b": [torch.zeros(2), 5]},
        "a/b": torch.ones(3),
        "a": {"b": torch.zeros(3)},
        "n": {"tensor": "x"},
        "pair": (torch.ones(2), [Observed(torch.arange(3))], {"k": (Hidden(torch.tensor([[True, False]])),)}),
    }
    checkpoint.save_values(tmp_path, values | {"none": None, "names": ("a", "b"), "observed": Observed(Observed(1.5))})
    loaded = checkpoint.load_values(tmp_path)
    assert loaded is not None
    torch.testing.assert_close(loaded["clip"], values["clip"], rtol=0, atol=0)
    torch.testing.assert_close(loaded["fills"]["b"][0], torch.zeros(2))
    assert torch.equal(loaded["a/b"], torch.ones(3)) and torch.equal(loaded["a"]["b"], torch.zeros(3))
    assert (loaded["fills"]["b"][1], loaded["n"], loaded["none"]) == (5, {"tensor": "x"}, None)
    assert loaded["names"] == ("a", "b") and loaded["observed"] == Observed(Observed(1.5))
    ones, [observed], inner = loaded["pair"]
    assert torch.equal(ones, torch.ones(2)) and type(loaded["pair"]) is tuple
    assert type(observed) is Observed and torch.equal(observed.y, torch.arange(3)) and observed.shape == (1, 2)
    assert type(inner["k"][0]) is Hidden and torch.equal(inner["k"][0].mask, torch.tensor([[True, False]]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Observed(lambda x: x), "^cannot be stored: named/0/y: a lambda .*define it as a function in a module"),
        (Loose(), r"named/0 is a Loose.*declare it @dataclass\(frozen=True\)"),
        (torch.nn.Linear(1, 1), "named/0 is the module Linear.*derive it from energies.Stored"),
        (float("nan"), "named/0 is nan; only finite numbers"),
    ],
)
def test_a_value_that_cannot_be_stored_is_named_and_nothing_is_left(tmp_path, value, message):
    with pytest.raises(InputError, match=message):
        checkpoint.save_values(tmp_path, {"x": torch.ones(2), "named": [value]})
    assert tree(tmp_path) == {}


def test_values_of_an_earlier_version_are_refused(tmp_path):
    checkpoint.save_values(tmp_path, {"n": 1})
    content = json.dumps({"values": {"n": 1}, "energies": []}).encode()
    (tmp_path / "values.json").write_bytes(content)
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    manifest["values.json"] = checkpoint.signature(tmp_path / "values.json")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="was written by another version; choose another folder"):
        checkpoint.load_values(tmp_path)


def test_values_of_a_class_that_is_not_imported_are_refused(tmp_path, monkeypatch):
    checkpoint.save_values(tmp_path, {"observed": Observed(1)})
    monkeypatch.delitem(sys.modules, __name__)
    with pytest.raises(InputError, match=f"values/observed is of .*{__name__}.Observed, .*add imports={__name__}$"):
        checkpoint.load_values(tmp_path)


def test_an_energy_is_saved_in_a_folder_of_its_own_and_its_damage_noticed(tmp_path):
    energy = StudentT(2, 3)
    checkpoint.save_values(tmp_path, {"energy": energy, "n": 1})
    checkpoint.save_values(tmp_path, {"energy": energy, "n": 2})  # replaces the first
    loaded, x = checkpoint.load_values(tmp_path), torch.randn(3, 2)
    assert loaded is not None and loaded["n"] == 2 and torch.equal(loaded["energy"](x), energy(x))
    (tmp_path / "energy" / "model.safetensors").write_bytes(b"x")
    assert checkpoint.load_values(tmp_path) is None
