"""The zoo: what the package brings is whole and as its cards tell; and the tool that makes an entry."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny import data_of, encoder

import energies
from energies import Energy, zoo
from energies.hub import located
from pipelines import run, store
from pipelines.modalities.images import Learn, Load
from pipelines.modalities.images.modality import MODALITY
from pipelines.pipeline import Pipeline
from pipelines.stage import Run
from pipelines.store import Given

ROOT = Path(__file__).resolve().parent.parent
EACH, ALL = 3_000_000, 20_000_000  # bytes
METRICS: dict[str, Any] = {"samples": {"frechet": 1.5}, "real": {"frechet": 1.0}, "asked": {"all_hold": 1.0, "num": 4}}


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("make_zoo")


def check(name: str, root: Path) -> int:
    """Whether an entry is what its card tells; the bytes of its energies."""
    card, entry = zoo.card(name, root), root / name
    assert card["name"] == name and (entry / "card.md").read_text().startswith(f"# {name}\n")
    for file, told in card["files"].items():
        content = (entry / file).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (told["bytes"], told["sha256"]), file
    there = {path.relative_to(entry).as_posix() for path in entry.rglob("*") if path.is_file()}
    assert there == card["files"].keys() | {"card.json", "card.md"}
    metrics = json.loads((entry / "metrics.json").read_text())
    assert card["numbers"] and all(metrics[key] == value for key, value in card["numbers"].items())
    records = [json.loads(line) for line in gzip.decompress((entry / "log.jsonl.gz").read_bytes()).splitlines()]
    assert card["steps"] == 1 + max(record["step"] for record in records if "step" in record)
    parts = sorted(path.parent for path in entry.rglob("energy.json"))
    found = [energies.load(part) for part in parts]
    assert card["parameters"] == sum(p.numel() for energy in found for p in energy.parameters())
    assert all(list(energy.event_shape) == card["event_shape"] for energy in found)
    assert isinstance(energies.load(located(f"zoo:{name}", root)), Energy)
    size = sum(told["bytes"] for file, told in card["files"].items() if file.endswith(".safetensors"))
    assert size <= EACH
    return size


@pytest.mark.slow
def test_the_entries_of_the_package_are_whole_and_small(tool):
    assert sum(check(name, zoo.ROOT) for name in zoo.names()) <= ALL
    assert set(zoo.names()) <= tool.ENTRIES.keys()
    for name in zoo.names():
        assert (zoo.ROOT / name / "card.md").read_text() == tool.text_of(zoo.card(name))


@pytest.mark.slow
def test_every_entry_is_found_by_what_the_pipelines_ask_for(tool):
    """A new setting of `load` or `learn`, or another value in a pipeline's file: python -m tools.make_zoo --cards."""
    for name in zoo.names():
        card, entry = zoo.card(name), tool.ENTRIES[name]
        assert card["serves"] == list(entry.serves)
        assert card["asked"] == [tool.key(place) for place in entry.serves], name


def test_what_the_zoo_holds_is_not_learned(tmp_path, capsys):
    stages = [Load(), Learn()]
    values = Pipeline(stages).run(tmp_path / "taken")
    assert "02_learn: taken from zoo:digits" in capsys.readouterr().err
    taken, brought = values["energy"].state_dict(), energies.load("zoo:digits").state_dict()
    assert taken.keys() == brought.keys() and all(torch.equal(taken[key], brought[key]) for key in taken)
    assert values["generator"] == Learn(steps=1)._generator(values["energy"], None, "data", MODALITY.recipes())
    Pipeline(stages).run(tmp_path / "taken")
    assert "02_learn: done before" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("learn", "settings"), [(Learn(steps=1), {}), (Learn(steps=1, pretrained="none"), {}), (None, {"seed": 1})]
)
def test_another_question_has_another_answer(learn, settings, tmp_path):
    """Of another seed the digits are split otherwise."""
    run, load = Run(tmp_path, tmp_path, **settings), Load()
    loaded = store.wanted(load, (), {}, {"inputs": {}}, run)
    asked = store.wanted(learn or Learn(), ("data",), {"data": Given(loaded.asked, traced=True)}, {"inputs": {}}, run)
    assert zoo.standing_in(asked.asked) is None


def learned(folder: Path, energy: Energy, place: str, stage: str) -> Path:
    """A run that has learned an energy."""
    energy.save_pretrained(folder / place)
    load = {"load": {"images": None, "label": "label"}}
    config = {"modality": "images", "seed": 3, "stages": [load, {"learn": {"steps": 3}}]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    steps = [{"stage": stage, "time": 10.0 * k + (7200 if k > 1 else 0), "step": k, "loss": 0.5} for k in range(4)]
    others = [{"stage": "01_load", "time": 0.0, "event": "finished", "seconds": 1.0}]
    (folder / "log.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in others + steps))
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "place", "stage"),
    [
        ("digits", "02_learn/energy", "02_learn"),
        ("scenes_colour", "experts/colour", "02_compose/colour"),
        ("furniture_16", "02_learn/energy", "02_learn"),
    ],
)
def test_an_entry_is_made_of_a_run_and_is_what_its_card_tells(name, place, stage, tool, tmp_path):
    energy = encoder(data_of("images"), ("a", "b"))
    source, root = learned(tmp_path / "run", energy, place, stage), tmp_path / "zoo"
    words = ["--from", str(source), "--measured", str(source), "--out", str(tmp_path / "out"), "--zoo", str(root)]
    tool.main([name, *words])
    assert 0 < check(name, root) < 0.8 * (source / place / "model.safetensors").stat().st_size
    card = zoo.card(name, root)
    assert (card["steps"], card["hours"], card["seed"], card["classes"]) == (4, round(20 / 3600, 2), 3, ["a", "b"])
    x = torch.zeros(2, 1, 8, 8)
    torch.testing.assert_close(energies.load(root / name).at(0.5)(x), energy.at(0.5)(x), rtol=0.05, atol=0.05)
    before = (root / name / "card.json").read_bytes()
    tool.main([name, *words])
    assert (root / name / "card.json").read_bytes() == before, "made again of the same run it is the same"
    text = (root / name / "card.md").read_text()
    exec(text.partition("```python\n")[2].partition("```")[0].replace(f'"zoo:{name}"', repr(str(root / name))))


def test_every_entry_is_learned_and_measured_by_commands_that_the_program_takes(tool, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Pipeline, "run", lambda self, *settings: {})
    runs = {entry.learn for entry in tool.ENTRIES.values()}
    assert len(runs) < len(tool.ENTRIES), "experts that are learned together share a run"
    measures = {}  # one of a pipeline: experts of a composition differ in their label alone
    for entry in tool.ENTRIES.values():
        pipeline, *settings = entry.measure or (entry.serves[0].partition("/")[0],)
        measures[pipeline] = (pipeline, *settings, f"{entry.taken}=somewhere")
    for words in (*runs, *measures.values()):
        assert run.main([*words, "out=runs/x"]) == 0, words


def test_an_unknown_entry_is_told(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(["digit"])
    assert "there is no entry digit; there are digits" in capsys.readouterr().err
