"""A modality of one's own, `toy_signals` beside this file, goes through every stage that exists once."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import energies
from energies import EncoderEnergy, Hidden, gradient
from energies.sampling import sample
from pipelines import checkpoint, modalities, run, schema
from pipelines.modalities.base import Modality
from pipelines.source import Source
from tests.conftest import seeded

TESTS = Path(__file__).resolve().parent
TINY = ["load.count=60", "learn.steps=4", "learn.energy.encoder.widths=[4, 6]", "learn.energy.encoder.depths=[1, 1]"]
PATHS = {
    "synthesis": ["load", "learn", "synthesize", "evaluate", "export"],
    "recovery": ["load", "hide", "learn", "recover", "evaluate", "export"],
    "interpolation": ["load", "learn", "interpolate", "export"],
    "reconstruction": ["load", "learn", "reconstruct", "export"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a pipeline's file for each way."""
    folder = tmp_path_factory.mktemp("signals")
    for name, stages in PATHS.items():
        (folder / f"{name}.yaml").write_text(f"imports: [toy_signals]\nstages: [{', '.join(stages)}]\n")
    return folder


def called(folder: Path, name: str, *settings: str) -> Path:
    """The folder of a run, from the command line."""
    out = folder / f"{name}_{len(list(folder.iterdir()))}"
    assert run.main([str(folder / f"{name}.yaml"), *settings, "compute=float32", f"out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def synthesis(folder) -> Path:
    return called(folder, "synthesis", *TINY, "synthesize.num=6", "synthesize.generator.schedule.levels=4")


@pytest.mark.slow
def test_signals_are_made(synthesis):
    assert np.loadtxt(synthesis / "samples/sample_000.csv", delimiter=",").shape == (6, 32)
    found = json.loads((synthesis / "metrics.json").read_text())
    assert found["noise"]["spectral_distance"] > found["real"]["spectral_distance"] > 0
    assert (synthesis / "samples.png").is_file() and "Synthesis: signals" in (synthesis / "report.html").read_text()
    assert energies.load(synthesis / "energy").event_shape == (1, 32)


@pytest.mark.slow
def test_the_folder_of_a_run_continues_it(synthesis, folder, capsys):
    """Its config.yaml names the module that the stages come from."""
    assert run.main([str(synthesis / "config.yaml")]) == 0
    assert "finished by an earlier command" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["hide.samples=0.5", "hide.gap=8", "hide.average=4", "hide.noise=0.3"])
def test_the_energy_that_makes_signals_recovers_them(asked, synthesis, folder):
    settings = ["load.count=60", f"learn.pretrained={synthesis}", asked, "hide.num=3"]
    few = ["recover.generator.schedule.levels=4", "recover.samples=1", "recover.chains=1"]
    out = called(folder, "recovery", *settings, *few)
    hidden, recovered = (checkpoint.load_values(next(out.glob(f"*_{name}"))) for name in ("hide", "recover"))
    assert hidden is not None and recovered is not None
    observation, y, x = hidden["observation"], hidden["measured"], recovered["recovered"]
    assert x.shape == (3, 1, 32)
    if observation.exact:
        torch.testing.assert_close(observation.observe(x), y, atol=1e-5, rtol=0)
    where = observation.mask if isinstance(observation, Hidden) else torch.ones_like(x, dtype=torch.bool)
    found = json.loads((out / "metrics.json").read_text())
    mse = float((x - hidden["targets"]).square()[where.expand_as(x)].mean())
    assert found["recovery"]["mse"] == pytest.approx(mse, rel=1e-4)
    assert set(found["baselines"]) == {"mean", "lines"}
    assert len(np.loadtxt(out / "recovered/signal_000.csv", delimiter=",")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["interpolation", "reconstruction"])
def test_the_same_energy_serves_other_pipelines(name, synthesis, folder):
    few = {"interpolation": ["interpolate.pairs=1"], "reconstruction": ["reconstruct.num=2"]}[name]
    out = called(folder, name, "load.count=60", f"learn.pretrained={synthesis}", *few)
    assert (out / "contact_sheet.png").is_file() and (out / "metrics.json").is_file()


@pytest.mark.slow
def test_signals_of_a_file(folder, capsys):
    x = np.random.default_rng(0).uniform(-1, 1, (12, 16))
    np.savetxt(folder / "own.csv", x, delimiter=",")
    out = called(folder, "synthesis", *TINY[1:], f"load.signals={folder / 'own.csv'}", "synthesize.num=4",
                 "synthesize.generator.schedule.levels=3")  # fmt: skip
    data = checkpoint.load_values(out / "01_load")
    assert data is not None
    torch.testing.assert_close(data["data"].x()[:, 0].double(), torch.from_numpy(x[:10]), atol=1e-6, rtol=0)
    (folder / "bad.csv").write_text("1,2\n3,4\n")
    assert run.main([str(folder / "synthesis.yaml"), f"load.signals={folder / 'bad.csv'}", f"out={folder / 'b'}"]) == 2
    assert "bad.csv: expected 10 lines" in capsys.readouterr().err


@pytest.mark.slow
def test_help_shows_the_settings_of_a_modality_of_ones_own(folder, capsys):
    assert run.main([str(folder / "recovery.yaml"), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "hide.gap" in shown and "recover.samples" in shown and "export.limit" in shown


# ------------------------------------------------------------------------- what makes it possible


def test_a_modality_is_known_once_it_is_registered(monkeypatch):
    """And nothing is imported by a name that data have."""

    class Own(Modality):
        name = "own"

    Own.__abstractmethods__ = frozenset()
    monkeypatch.setattr(modalities, "_own", {})
    with pytest.raises(KeyError):
        modalities.modality_of("own")
    own = modalities.register(Own())  # type: ignore[abstract]
    assert modalities.modality_of("own") is own
    for name in modalities.NAMES:
        assert modalities.modality_of(name).name == name
        Own.name = name
        with pytest.raises(ValueError, match="name must not be"):
            modalities.register(own)
    before = set(sys.modules)
    with pytest.raises(KeyError):
        modalities.modality_of("images.strangers")
    assert set(sys.modules) == before


def test_stages_of_a_union_are_those_of_the_module(tmp_path):
    """With stages of ours among them, and without public dataclasses that are not."""
    stage = "@dataclass(frozen=True)\nclass {}:\n    needs = ()\n    gives = ()\n    def __call__(self): ...\n"
    (tmp_path / "parts.py").write_text(
        "from dataclasses import dataclass\nfrom pipelines.stages.recover import Recover\n"
        f"{stage.format('Load')}{stage.format('Other')}Stage = Load | Recover\n"
    )
    source = Source(run.ROOT)
    module = source.own("parts", [tmp_path])
    assert module is not None
    assert [cls.name for cls in schema.own_stages([module])] == ["Load", "Recover"]
    (tmp_path / "parts.py").write_text(f"from dataclasses import dataclass\n{stage.format('Load')}")
    module = Source(run.ROOT).own("parts", [tmp_path])
    assert module is not None
    assert [cls.name for cls in schema.own_stages([module])] == ["Load"]


@pytest.mark.parametrize("noisy", [True, False])
def test_the_gradient_of_an_encoder_in_one_dimension_is_that_of_its_energy(noisy):
    torch.manual_seed(0)
    energy = EncoderEnergy((2, 12), (4, 6), (1, 1), noisy=noisy).double()
    energy = energy.at(0.5) if noisy else energy
    x, way = (torch.randn(3, 2, 12, generator=seeded(k), dtype=torch.float64) for k in range(2))
    step = 1e-5
    slope = (energy(x + step * way) - energy(x - step * way)) / (2 * step)
    torch.testing.assert_close(slope, (gradient(energy, x)[1] * way).flatten(1).sum(1), atol=1e-6, rtol=1e-5)


def test_a_residual_energy_of_one_dimension_has_a_gradient_in_every_sample():
    torch.manual_seed(0)
    x = torch.randn(2, 1, 16, generator=seeded())
    _, slope = gradient(energies.ResidualEnergy((1, 16), 4), x)
    assert slope.shape == x.shape and bool((slope != 0).all())


# ------------------------------------------------------------------------------ docs/extending.md

PAGE = (TESTS.parent / "docs/extending.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """What the examples of the page define, as a module my_parts."""
    folder = tmp_path_factory.mktemp("page")
    torch.manual_seed(0)
    (folder / "my_parts.py").write_text("\n".join(blocks("python")))
    mine, _ = blocks("yaml")
    (folder / "mine.yaml").write_text(mine)
    sys.path.insert(0, str(folder))
    yield folder, importlib.import_module("my_parts")
    sys.path.remove(str(folder))


@pytest.mark.slow
def test_the_observation_of_the_page_is_held_exactly(own):
    _, parts = own
    torch.testing.assert_close(parts.seen, parts.y.expand(8, 2), atol=1e-5, rtol=0)
    x, y = torch.randn(3, 4, generator=seeded(0)), torch.randn(3, 2, generator=seeded(1))
    pairs = parts.Pairs()
    torch.testing.assert_close((pairs.observe(x) * y).sum(), (x * pairs.adjoint(y)).sum())


@pytest.mark.slow
def test_the_energy_of_the_page_is_stored_and_loaded(own, tmp_path):
    _, parts = own
    parts.both.save_pretrained(tmp_path)
    x = torch.randn(5, 3, generator=seeded())
    assert torch.equal(energies.load(tmp_path)(x), parts.both(x))
    torch.testing.assert_close(parts.both(x), 2.5 * x.square().sum(1) / 2)


@pytest.mark.slow
def test_the_sampler_of_the_page_keeps_the_law_and_measurements(own):
    _, parts = own
    num = parts.x.numel()
    assert abs(float(parts.x.mean())) < 5 * 0.5 / num**0.5
    assert float(parts.x.square().mean()) == pytest.approx(0.25, abs=5 * 0.25 * (2 / num) ** 0.5)
    y = torch.tensor([[1.0]])
    posterior = parts.Spring(4.0).posterior(parts.Pairs(), y)
    *_, (state, _) = sample(parts.Barker(0.8), posterior, torch.zeros(4000, 2), 60, seeded(1))
    x = state.x
    torch.testing.assert_close(x.sum(1), torch.ones(4000), atol=1e-4, rtol=0)
    assert float((x[:, 0] - 0.5).square().mean()) == pytest.approx(0.125, abs=5 * 0.125 * (2 / 4000) ** 0.5)


@pytest.mark.slow
def test_the_objective_of_the_page_finds_the_precision_of_data(own):
    _, parts = own
    assert parts.spring.stiffness.item() == pytest.approx(4.0, rel=0.1)


@pytest.mark.slow
def test_the_stage_of_the_page_runs_in_a_pipeline(own):
    folder, _ = own
    few = ["load.count=60", "learn.steps=1", "learn.conditional=false", "synthesize.num=2", "compute=float32"]
    tiny = [
        "learn.energy.encoder.widths=[4]",
        "learn.energy.encoder.depths=[1]",
        "synthesize.generator.schedule.levels=2",
    ]
    assert run.main([str(folder / "mine.yaml"), *few, *tiny, f"out={folder / 'run'}"]) == 0
    plain, brighter = (checkpoint.load_values(folder / "run" / name) for name in ("01_load", "02_brighten"))
    assert plain is not None and brighter is not None
    expected = (plain["data"].x() + 0.2).clamp(-1, 1)
    torch.testing.assert_close(brighter["data"].x(), expected, atol=1.01 / 255, rtol=0)


def test_the_pipeline_of_signals_of_the_page_is_the_one_that_is_tested():
    _, signals = blocks("yaml")
    assert signals.endswith(f"imports: [toy_signals]\nstages: [{', '.join(PATHS['recovery'])}]\n")


def test_a_modality_takes_about_as_many_lines_as_the_page_says():
    said = {name: int(lines) for name, lines in re.findall(r"^\| `(\w+\.py)` .* (\d+) \|$", PAGE, re.M)}
    found = {file.name: len(file.read_text().splitlines()) for file in (TESTS / "toy_signals").glob("*.py")}
    assert said.keys() == found.keys() and sum(found.values()) < 350
    assert all(abs(said[name] - found[name]) <= 5 for name in said), found
