"""A few hard days of tools/chaos.py; the tool itself tries all of them."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import pytest

import pipelines.modalities.images
import pipelines.modalities.video
import pipelines.modalities.voxels
import pipelines.pipeline  # noqa: F401  # all of it once, not in every fork

sys.path.append(str(Path(__file__).resolve().parent.parent / "tools"))

import chaos  # pyright: ignore
import chaos_inputs  # pyright: ignore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="cases are forks")


@pytest.mark.slow
def test_a_save_that_is_killed_leaves_the_old_or_the_new(tmp_path):
    [row] = chaos.saves(tmp_path, True, random.Random(0))
    assert row.wrong == [] and row.tried > 5


@pytest.mark.slow
def test_settings_that_may_be_anything_are_taken_or_refused_in_a_line(tmp_path):
    for words in chaos_inputs.bad_settings(8, 1):
        end = chaos.child(lambda words=words: chaos._main_without_running([*words, f"out={tmp_path / 'out'}"]))
        assert end.status == 0 or (end.status == 2 and len(end.lines) == 1), (words, end)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_learning_that_is_stopped_damaged_or_without_room_goes_on_to_the_same_bits(tmp_path):
    learner = chaos.Learner("maximum likelihood", tmp_path)
    assert learner.run("whole").status == 0
    whole = learner.learned("whole")
    end = learner.run("stopped", (0.5, signal.SIGTERM))
    assert end.status in (0, 143) and "Traceback" not in "".join(end.lines)
    assert learner.problem("stopped", whole, learner.run("stopped")) is None
    (tmp_path / "whole/02_learn/manifest.json").unlink()
    chaos._spoil(tmp_path / "whole/02_learn/checkpoint/tensors.safetensors", "flipped", random.Random(0))
    end = learner.run("whole")
    assert any("checkpoint is damaged; checkpoint_before is used" in line for line in end.lines), end.lines
    assert learner.problem("whole", whole, end) is None
