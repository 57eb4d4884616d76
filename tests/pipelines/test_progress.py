"""Progress: what is told of it where there is no terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pipelines import progress
from pipelines.pipeline import Run
from pipelines.progress import Progress, clock


@pytest.fixture
def seconds(monkeypatch) -> list[float]:
    """The time, which a test moves on."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def run_in(folder: Path) -> Run:
    (folder / "02_learn").mkdir(parents=True)
    return Run(folder, folder / "02_learn", shown=Progress())


def test_a_line_every_ten_seconds_tells_how_much_time_is_left(tmp_path, seconds, capsys):
    run = run_in(tmp_path)
    seen = []
    for step in run.progress(range(100), label="learning"):
        seen.append(step)
        seconds[0] += 4.0
    assert seen == list(range(100))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "[02_learn] learning: 3 of 100, 6 min 28 s left",
        "[02_learn] learning: 6 of 100, 6 min 16 s left",
    ]
    assert len(lines) == 33 and lines[-1] == "[02_learn] learning: 99 of 100, 4 s left"
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(log) == 33
    first = {name: value for name, value in log[0].items() if name != "time"}
    assert first == {
        "stage": "02_learn", "event": "progress", "label": "learning", "done": 3, "total": 100, "seconds_left": 388.0,
    }  # fmt: skip


def test_what_takes_less_than_ten_seconds_is_silent_and_many_such_in_a_row_are_not(tmp_path, seconds, capsys):
    run = run_in(tmp_path)

    def work(label: str) -> str:
        for _ in run.progress(iter(range(9)), 9, label):
            seconds[0] += 1.0
        return capsys.readouterr().err

    assert work("first") == "" and not (tmp_path / "log.jsonl").exists()
    assert work("second") == "[02_learn] second: 1 of 9, 8 s left\n"


def test_a_loop_inside_of_another_is_a_part_of_it(tmp_path, seconds, capsys):
    run = run_in(tmp_path)
    for _ in run.progress(range(4), label="batches"):
        for _ in run.progress(range(20), label="steps"):
            seconds[0] += 1.0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 80 // 10 - 1
    assert lines[0] == "[02_learn] batches: 0 of 4, steps: 10 of 20, 1 min 10 s left"
    assert lines[-1] == "[02_learn] batches: 3 of 4, steps: 10 of 20, 10 s left"
    assert lines[1] == "[02_learn] batches: 1 of 4, 1 min 0 s left"


def test_one_batch_alone_is_not_counted_and_a_loop_that_was_left_does_not_count(tmp_path, seconds, capsys):
    run = run_in(tmp_path)
    with pytest.raises(ValueError):  # noqa: PT012
        for _ in run.progress(range(3), label="failed"):
            raise ValueError
    for _ in run.progress(range(1), label="batches"):
        for _ in run.progress(range(11), label="steps"):
            seconds[0] += 1.0
    assert capsys.readouterr().err == "[02_learn] steps: 10 of 11, 1 s left\n"


def test_without_a_total_it_tells_how_much_is_done(tmp_path, seconds, capsys):
    for _ in run_in(tmp_path).progress(iter(range(12)), label="reading"):
        seconds[0] += 1.0
    assert capsys.readouterr().err == "[02_learn] reading: 10\n"


def test_a_terminal_gets_a_bar_and_no_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    assert list(run_in(tmp_path).progress(range(5), label="learning")) == [0, 1, 2, 3, 4]
    assert "learning: " in capsys.readouterr().err and not (tmp_path / "log.jsonl").exists()


def test_silence_is_broken_while_a_stage_works(monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.05)
    with Progress().alive("01_load"):
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 4 and lines[0] == "[01_load] 0 s so far"
    time.sleep(0.1)
    assert not capsys.readouterr().err, "it is over"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (599, "9 min 59 s"),
        (600, "10 min"),
        (3599, "60 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_times_are_told_as_people_read_them(seconds, words):
    assert clock(seconds) == words


@pytest.mark.slow
def test_a_loop_whose_pieces_are_long_is_told_and_not_only_how_long_it_lasts(monkeypatch, capsys):
    """The line that tells of silence comes first, and must not silence that of the loop."""
    monkeypatch.setattr(progress, "EVERY", 0.2)
    watched, told = progress.Progress(), []
    with watched.alive("03_learn"):
        for _ in watched.over(range(5), 5, "learning", "03_learn", lambda **record: told.append(record)):
            time.sleep(0.25)
    lines = capsys.readouterr().err.splitlines()
    assert told and any("learning: " in line and "left" in line for line in lines)
