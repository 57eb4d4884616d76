"""An energy, a classifier, an observation and a score of one's own: from stage to stage, stored, resumed, loaded."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch

import energies
from pipelines import checkpoint
from pipelines.run import main

PARTS = '''
"""Parts of a person's own."""
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from energies import Conditioned, Energy, FunctionEnergy, JointEnergy, Observation, Stored
from energies.samplers import Langevin
from energies.sampling import sample


class Springs(Energy):
    """Of x [B, D] whose neighbours are tied by springs."""

    def __init__(self, size: int, stiffness: float = 2.0) -> None:
        super().__init__()
        self.event_shape = (size,)
        self.stiffness = stiffness
        self.rest = nn.Parameter(torch.linspace(-1, 1, size))

    def forward(self, x):
        return self.stiffness * (x - self.rest).diff(dim=1).square().sum(1) / 2 + (x - self.rest).square().sum(1) / 2


class Tell(Stored, nn.Module):
    """A classifier of x [B, D]."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(size, classes)

    def forward(self, x):
        return self.layer(x)


@dataclass(frozen=True)
class EverySecond(Observation):
    """The sums of pairs of neighbours are seen."""

    weight: float = 1.0

    def observe(self, x):
        return self.weight * (x[:, ::2] + x[:, 1::2])

    def adjoint(self, y):
        return self.weight * y.repeat_interleave(2, 1)


def bumps(x):
    return x.cos().sum(1)


@dataclass(frozen=True)
class MakeParts:
    """Make them."""

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("springs", "joint", "whole", "observation", "seen")

    size: int = 6

    def __call__(self, values, run):
        springs, joint = Springs(self.size), JointEnergy(Tell(self.size, 3), 3, (self.size,))
        whole = springs + 0.1 * FunctionEnergy(bumps) + joint.given(1)
        return {"springs": springs, "joint": joint, "whole": whole, "observation": EverySecond(0.5),
                "seen": torch.ones(1, self.size // 2)}


@dataclass(frozen=True)
class Draw:
    """Sample the posterior."""

    needs: ClassVar[tuple[str, ...]] = ("whole", "observation", "seen")
    gives: ClassVar[tuple[str, ...]] = ("drawn",)

    steps: int = 4

    def __call__(self, values, run):
        posterior = values["whole"].posterior(values["observation"], values["seen"])
        rng = run.generator("draw")
        *_, (state, _) = sample(Langevin(0.3), posterior, torch.zeros(8, 6), self.steps, rng)
        return {"drawn": state.x}


@dataclass(frozen=True)
class Lose:
    """Give what cannot be stored."""

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("score",)

    def __call__(self, values, run):
        return {"score": FunctionEnergy(lambda x: x.sum(1))}
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_parts.py").write_text(PARTS)
    (tmp_path / "own.yaml").write_text("# Mine.\nimports: own_parts\nstages:\n  - make_parts\n  - draw: {}\n")
    yield tmp_path
    sys.modules.pop("own_parts", None)


@pytest.mark.slow
def test_parts_of_ones_own_go_from_stage_to_stage_are_resumed_and_loaded_again(folder, capsys):
    assert main(["own.yaml", "out=r"]) == 0
    first = checkpoint.load_values(folder / "r/02_draw")["drawn"]
    made = checkpoint.load_values(folder / "r/01_make_parts")
    assert type(made["observation"]).__name__ == "EverySecond" and made["observation"].weight == 0.5
    torch.testing.assert_close(made["observation"].observe(first), made["seen"].expand(8, -1), rtol=0, atol=1e-5)
    sys.modules.pop("own_parts")
    capsys.readouterr()
    assert main(["own.yaml", "out=r"]) == 0
    assert capsys.readouterr().err.count("done before") == 2
    (folder / "r/02_draw/manifest.json").unlink()
    sys.modules.pop("own_parts")
    assert main(["own.yaml", "out=r"]) == 0, "made by stored parts"
    assert torch.equal(checkpoint.load_values(folder / "r/02_draw")["drawn"], first)
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    whole, springs, joint = (energies.load(folder / "r/01_make_parts" / name) for name in ("whole", "springs", "joint"))
    score = sys.modules["own_parts"].bumps
    torch.testing.assert_close(whole(x), springs(x) + 0.1 * score(x) + joint.given(1)(x))


def test_what_a_file_names_is_never_imported_and_the_line_says_what_to_add(folder):
    assert main(["own.yaml", "out=r"]) == 0
    sys.modules.pop("own_parts")
    for name in ("springs", "joint", "whole"):
        with pytest.raises(ValueError, match="own_parts") as told:
            energies.load(folder / "r/01_make_parts" / name)
        assert "imports=own_parts" in str(told.value) and "\n" not in str(told.value)
    assert "own_parts" not in sys.modules
    importlib.import_module("own_parts")
    assert energies.load(folder / "r/01_make_parts/springs").stiffness == 2.0


def test_what_cannot_be_stored_is_told_in_one_line(folder, capsys):
    (folder / "lose.yaml").write_text("imports: own_parts\nstages:\n  - lose\n")
    assert main(["lose.yaml", "out=l"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and "score" in line and "lambda" in line
    assert not (folder / "l/01_lose/values.json").exists()
