"""Every command and every Python snippet of the README and of docs/ is one that works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from energies import EncoderEnergy
from pipelines import run
from pipelines.measures import judge
from pipelines.pipeline import Pipeline

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").glob("*.md")) if p.name != "lab-notes.md")]
PIPELINES = {file.stem for file in (ROOT / "configs").glob("*.yaml")}
FOLDERS = ("photos", "videos", "runs", "folder")
SLOW = ("Pipeline(",)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


def commands(page: Path) -> list[list[str]]:
    """Arguments of every command of a page: in blocks of the shell, and in the cells of tables."""
    text = page.read_text()
    found = [
        line.partition(" #")[0] for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()
    ]
    found = [line.rpartition("python -m pipelines.run ")[2] for line in found if "python -m pipelines.run " in line]
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    found += [code.removeprefix("python -m pipelines.run ") for code in re.findall(r"`([^`]+)`", prose)]
    parsed = [shlex.split(command) for command in found if command.count("'") % 2 == 0 and command.count('"') % 2 == 0]
    return [words for words in parsed if words and words[0] in PIPELINES]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with every file that a page names, of no content."""
    monkeypatch.chdir(tmp_path)
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_that_the_program_takes(page, files, monkeypatch, capsys):
    monkeypatch.setattr(Pipeline, "run", lambda self, *settings: {})
    for words in commands(page):
        if "..." in words or "NAME" in words:
            continue
        for word in words[1:]:
            path = Path(word.partition("=")[2].strip())
            if path.suffix and not path.is_absolute() and len(path.parts) == 1:
                path.touch()
        assert run.main(words) == 0, f"{page.name}: {shlex.join(words)}: {capsys.readouterr().err}"


def test_pages_have_commands():
    assert len(commands(ROOT / "README.md")) > 25


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_snippet_runs(page, files):
    """Each in a folder with runs of tiny energies, those of a page one after another."""
    for name in ("image_synthesis", "shape", "colour"):
        torch.manual_seed(0)
        energy = EncoderEnergy((3, 24, 24), (4, 4), (1, 1), num_classes=5)
        energy.classes = ("circle", "red", "cross", "square", "small")
        energy.save_pretrained(files / "runs" / name / "energy")
    names = {"classifier": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 24, 10))}
    for snippet in blocks(page, "python"):
        if not any(word in snippet for word in SLOW):
            exec(compile(snippet, str(page), "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_pipeline_in_python_runs(page, files, monkeypatch):
    monkeypatch.setattr(judge, "STEPS", 4)  # how well it judges is told elsewhere
    for snippet in blocks(page, "python"):
        if any(word in snippet for word in SLOW):
            exec(compile(snippet, str(page), "exec"), {})


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 160
