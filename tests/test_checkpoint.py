"""Laws of what is kept on disk: whole or not at all, and never read damaged."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest
import torch

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
    assert checkpoint.load(tmp_path / "c") is None


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
    assert os.listdir(tmp_path) == ["c"]


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


def test_values_come_back(tmp_path):
    values = {
        "clip": torch.randn(2, 3),
        "fills": {"a": torch.ones(1), "b": [torch.zeros(2), 5]},
        "n": {"tensor": "x"},
    }
    checkpoint.save_values(tmp_path, values | {"none": None, "names": ("a", "b")})
    loaded = checkpoint.load_values(tmp_path)
    assert loaded is not None
    torch.testing.assert_close(loaded["clip"], values["clip"], rtol=0, atol=0)
    torch.testing.assert_close(loaded["fills"]["b"][0], torch.zeros(2))
    assert (loaded["fills"]["b"][1], loaded["n"], loaded["none"], loaded["names"]) == (
        5,
        {"tensor": "x"},
        None,
        ["a", "b"],
    )


class ToyEnergy(torch.nn.Linear):
    def save_pretrained(self, folder: Path) -> None:
        Path(folder).mkdir()
        torch.save(self.state_dict(), Path(folder) / "weights.pt")


def test_an_energy_is_saved_with_save_pretrained_and_its_damage_noticed(tmp_path):
    checkpoint.save_values(tmp_path, {"energy": ToyEnergy(2, 1), "n": 1})
    assert checkpoint.verify(tmp_path)
    checkpoint.save_values(tmp_path, {"energy": ToyEnergy(2, 1), "n": 2})  # replaces the first
    assert checkpoint.verify(tmp_path)
    (tmp_path / "energy" / "weights.pt").write_bytes(b"x")
    assert checkpoint.load_values(tmp_path) is None
