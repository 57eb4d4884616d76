"""What every run leaves behind: whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

import energies
from energies import StudentT
from pipelines.results import log_of, save_energy
from pipelines.stage import Run


def test_lines_of_the_log_that_were_cut_off_are_left_out(tmp_path):
    run = Run(tmp_path, tmp_path / "01_load")
    run.log(step=1)
    with open(tmp_path / "log.jsonl", "ab") as file:
        file.write(b'{"stage": "01_load", "step": 2, "lo')
    run.log(step=3)
    with open(tmp_path / "log.jsonl", "ab") as file:
        file.write(b'\xff\x00\n7\n{"step": 4}\n{"stage": "01_lo')
    assert [record["step"] for record in log_of(tmp_path)] == [1, 3]
    assert log_of(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("fails", ["write_bytes", "write_text"])
def test_a_full_disk_leaves_the_energy_of_before_and_nothing_else(tmp_path, monkeypatch, fails):
    save_energy(StudentT(3.0), tmp_path)

    def full(*args: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, fails, full)
        with pytest.raises(OSError, match="No space left"):
            save_energy(StudentT(5.0), tmp_path)
    assert os.listdir(tmp_path) == ["energy"]
    x = torch.ones(2, 3)
    assert torch.equal(energies.load(tmp_path / "energy")(x), StudentT(3.0)(x))
    save_energy(StudentT(5.0), tmp_path)
    assert torch.equal(energies.load(tmp_path / "energy")(x), StudentT(5.0)(x)) and os.listdir(tmp_path) == ["energy"]
