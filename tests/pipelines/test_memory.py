"""Settings that ask for more memory than there is are refused before anything is done."""

from __future__ import annotations

import pytest
import torch

from energies import Schedule
from pipelines import memory
from pipelines.config import ConfigError
from pipelines.learning.settings import Amortised, Encoder, Residual
from pipelines.modalities import images, video, voxels
from pipelines.pipeline import Pipeline
from pipelines.stages.learn import Learn
from pipelines.stages.recover import Recover
from pipelines.stages.synthesize import Synthesize

LOAD = images.Load()


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([LOAD, Learn(batch=10**6), Synthesize(num=10**9)], r"synthesize\.num=1000000000 takes 256\.0 GB of memory or"),
        ([LOAD, Learn(batch=10**8)], r"learn\.batch=100000000 takes 25\.6 GB of memory or more, there are 8\.0 GB$"),
        ([LOAD, Learn(energy=Encoder((10**5, 10**5), (1, 1)))], r"learn\.energy\.encoder\.widths=\[100000, 100000\]"),
        ([LOAD, Learn(energy=Amortised((8, 10**4, 10**5), (1, 1, 1)))], r"learn\.energy\.amortised\.widths="),
        ([LOAD, Learn(energy=Residual(10**5))], r"learn\.energy\.residual\.width=100000 takes"),
        ([LOAD, Learn(), Synthesize(generator=Schedule(levels=10**9))], r"synthesize\.generator\.schedule\.levels="),
        ([video.Load(clips="moving", size=16, frames=8, count=10**9)], r"load\.count=1000000000 takes"),
        ([voxels.Load(size=64), Recover(chains=10**6)], r"recover\.chains=1000000 takes more|recover\.chains="),
    ],
)
def test_a_setting_that_takes_more_than_there_is_is_named(stages, words, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "machine", lambda: int(8e9))
    with pytest.raises(ConfigError, match=words):
        memory.check(stages)


def test_what_may_be_fewer_is_let_pass_and_nothing_is_done_before(tmp_path, monkeypatch):
    memory.check([images.Load(count=10**9), Learn(references=2048), Synthesize(num=256)])  # digits: at most as many
    monkeypatch.setattr(memory, "machine", lambda: 10**5)
    with pytest.raises(ConfigError, match=r"synthesize\.num=10000 takes 3 MB of memory or more, there are 1 MB"):
        Pipeline([LOAD, Learn(), Synthesize(num=10**4)]).run(tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_memory_that_was_not_enough_is_told_in_a_line():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    told = memory.problem(caught.value)
    assert told is not None and told.startswith("not enough memory: more than a million GB more were asked for; lower")
    assert memory.problem(MemoryError()) == "not enough memory: lower batch, chains, samples, num, size or widths"
    assert memory.problem(RuntimeError("shapes")) is None and memory.problem(OSError("tried to allocate 3 GB")) is None
