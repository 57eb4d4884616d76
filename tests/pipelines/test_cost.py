"""What a run will take: told before it takes it, by what stages were measured to take."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from energies import Hidden, Schedule
from energies.hub import ZOO
from pipelines import cost, memory
from pipelines.config import ConfigError
from pipelines.cost import WORK, Measured, Work, estimate, measured, most_like
from pipelines.examples import Examples
from pipelines.learning.settings import Amortised, Encoder
from pipelines.making import ANOTHER
from pipelines.modalities import images
from pipelines.pipeline import Pipeline, Run
from pipelines.sizes import KINDS, joined, sizes
from pipelines.stages.learn import Learn
from pipelines.stages.recover import Recover
from pipelines.stages.synthesize import Synthesize
from pipelines.trees import snake

DATA = Examples("images", (1, 8, 8), torch.zeros(40, 1, 8, 8), torch.zeros(20, 1, 8, 8))
CONFIGS = Path(__file__).parents[2] / "configs"


def seconds_of(line: str) -> int:
    """Of the text of a forecast."""
    words = re.findall(r"(\d+) (h|min|s)\b", line.partition(",")[0])
    return sum(int(number) * {"h": 3600, "min": 60, "s": 1}[unit] for number, unit in words)


def told(*stages: Any, data: Examples = DATA, taken: tuple[str | None, ...] = ()) -> int:
    """Seconds that these take together."""
    taken = taken or (None,) * len(stages)
    works = [Work(stage, {"data": data}, how) for stage, how in zip(stages, taken, strict=True)]
    return seconds_of(estimate(works, "image_synthesis", Run(Path("/"), Path("/"), compute="float32")))


# ------------------------------------------------------------------------------------------- sizes


def test_sizes_are_those_that_a_stage_will_have():
    learn = Learn(steps=7, batch=5, energy=Encoder((8, 16), (1, 3)))
    found = sizes(learn, {"data": DATA})
    assert found == {
        "modality": "images", "way": "set", "energy": "encoder", "loss": "score_matching", "objective": 1,
        "x": 64, "whole": 64, "steps": 7, "batch": 5, "network": 2 * 8**2 + 4 * 16**2 / 4,
    }  # fmt: skip
    smaller = sizes(replace(learn, size=4), {"data": DATA})
    assert (smaller["x"], smaller["network"]) == (16, 2 * 8**2), "there is no place for the second level"
    further = Learn(pretrained="zoo:digits", further=3)
    assert sizes(further, {"data": DATA})["steps"] == 3, "it goes on for so many"
    assert sizes(Learn(energy=Amortised()), {"data": DATA})["energy"] == "amortised"
    assert sizes(Synthesize(generator=Schedule(levels=5, steps=3)), {"data": DATA})["levels"] == 20
    assert sizes(Synthesize(), {"data": DATA, "generator": Schedule(levels=6)})["levels"] == 6
    assert sizes(Recover(), {"data": DATA})["mean"] == 1 and sizes(Synthesize(num=3), {})["num"] == 3


def test_of_a_photograph_crops_are_learned_and_of_a_clip_what_is_hidden_is_recovered():
    photograph = replace(DATA, shape=(3, 96, 72), train=torch.zeros(1, 3, 96, 72), validation=DATA.validation[:0])
    found = sizes(Learn(crop=(64,)), {"data": photograph})
    assert (found["way"], found["x"], found["whole"]) == ("single", 64 * 64, 96 * 72)
    assert sizes(Synthesize(height=20, width=30), {"data": photograph})["x"] == 20 * 30
    mask = torch.zeros(1, 1, 4, 8, 8, dtype=torch.bool)
    mask[..., :2] = True
    x = torch.zeros(1, 3, 4, 8, 8)
    clip = Examples("video", (3, 4, 8, 8), x, x[:0])
    found = sizes(Recover(), {"data": clip, "observation": Hidden(mask), "measured": x})
    assert (found["way"], found["x"]) == ("damaged", 4 * 8 * 2)


def test_of_what_only_an_energy_that_was_learned_before_will_do_there_is_no_recipe():
    x = torch.zeros(1, 1, 8, 8)
    values = {"data": replace(DATA, train=x, validation=x[:0]), "observation": Hidden(x.bool()), "measured": x}
    assert sizes(Learn(pretrained="zoo:digits"), values) == {"modality": "images", "x": 0.0, "way": "damaged"}


def test_a_stage_of_ones_own_has_none():
    assert sizes(Sample(), {"data": DATA}) == {}  # type: ignore[arg-type]
    assert told(Sample()) == 0


# ---------------------------------------------------------------------------------------- the law


def test_what_is_twice_as_large_takes_twice_as_long_where_it_is_large():
    usual = {"num": 1000, "x": 10**6, "levels": 18, "network": 1000}
    one = Measured("p", "synthesize", False, 3.0, 0.0, 1e6, 2e6, usual)
    assert one.forecast({}) == one.forecast(usual) == (3.0, 1e6, 2e6)
    seconds, held, kept = one.forecast({"num": 2000, "levels": 36})
    assert (seconds, kept) == (pytest.approx(12, rel=1e-3), 4e6)
    assert held == 1e6 + cost.COPIES * 10**9, "as many chains go on at once, but what is made is kept"
    little = replace(one, sizes=usual | {"num": 1, "x": 10})
    assert little.forecast({"num": 2})[0] == pytest.approx(3.0, rel=1e-3), "a step takes what its layers take"


def test_learning_is_its_steps_and_what_comes_before_them():
    usual = {"whole": 10**6, "x": 10**6, "batch": 100, "network": 1000}
    one = Measured("p", "learn", True, 5.0, 0.25, 1e12, 2e6, usual)
    assert one.forecast({"steps": 100}) == (5 + 25, 1e12, 2e6)
    seconds, held, kept = one.forecast({"steps": 10, "batch": 200, "network": 4000, "whole": 10**7})
    assert seconds == pytest.approx(50 + 2.5 * 8, rel=1e-2) and kept == 8e6
    assert held == pytest.approx(4e12, rel=1e-3) and held > 4e12, "its weights, too"


def test_means_and_samples_are_counted_by_what_they_take():
    seen = joined({}, {"given": 64})
    assert joined(seen, {"samples": 8, "mean": 2})["paths"] == 64 * 2 + 8
    assert joined(seen, {"samples": 8, "chains": 4, "mean": 2})["paths"] == 64 * 2 + 8 * 4
    assert joined(seen | {"energy": "amortised"}, {"samples": 8})["paths"] < 8 + 5


def test_it_takes_what_the_stage_most_like_it_took():
    for kinds, pipeline in (
        ({"modality": "images", "way": "set", "energy": "encoder", "loss": "score_matching"}, "image_synthesis"),
        ({"modality": "images", "way": "set", "energy": "amortised", "loss": "denoising"}, "image_recovery"),
        ({"modality": "video", "way": "set", "energy": "encoder", "loss": "score_matching"}, "clip_recovery"),
        ({"modality": "video", "way": "damaged", "energy": "amortised", "loss": "denoising"}, "video_recovery"),
    ):
        found = most_like("ones_own", "learn", True, {"x": 64} | kinds)
        assert found is not None and {name: found.sizes[name] for name in KINDS[:4]} == kinds
        assert found == most_like(pipeline, "learn", True, {"x": 64} | kinds)
    assert most_like("image_synthesis", "dream", False, {"x": 64, "modality": "images"}) is None
    assert most_like("text_prediction", "attack", False, {"x": 64, "modality": "text"}) is None, "of no other modality"


def seconds(*stages: Any, data: Examples) -> float:
    """What the last of these takes on the machine that was measured, so that what else works here does not count."""
    facts = dict[str, Any]()
    for stage in stages:
        facts = joined(facts, sizes(stage, {"data": data}))
    name = snake(type(stages[-1]).__name__)
    known = most_like("image_synthesis", name, name == "learn", facts)
    assert known is not None
    return known.forecast(facts)[0]


def test_steps_batch_widths_and_samples_count():
    large = replace(DATA, shape=(3, 64, 64))
    learn = Learn(steps=4000, batch=32, energy=Encoder((32, 64), (1, 1)), pretrained="none")
    wider = replace(learn, energy=Encoder((96, 192), (1, 1)))
    usual = seconds(learn, data=large)
    assert seconds(replace(learn, steps=40_000), data=large) == pytest.approx(10 * usual, rel=0.2)
    assert seconds(replace(learn, batch=320), data=large) == pytest.approx(10 * usual, rel=0.2)
    assert seconds(wider, data=large) == pytest.approx(9 * usual, rel=0.2)
    few, many = (seconds(learn, Synthesize(num=num), data=large) for num in (1000, 4000))
    assert many == pytest.approx(4 * few, rel=0.2)


def test_what_is_taken_takes_next_to_nothing():
    assert told(Learn(), taken=(ANOTHER,)) == 0
    assert told(Learn(), taken=(ZOO,)) <= 2 < 30 < told(Learn())
    assert told(Learn(pretrained="zoo:digits")) <= 2 < told(Learn(pretrained="zoo:digits", further=3000))


def test_every_stage_of_every_pipeline_was_measured():
    known = {(each.sizes["modality"], each.stage) for each in measured()[1]}
    for file in CONFIGS.glob("*.yaml"):
        stages = re.findall(r"^  - (\w+):", file.read_text(), re.MULTILINE)
        [modality] = re.findall(r"^modality: (\w+)", file.read_text(), re.MULTILINE)
        assert {(modality, stage) for stage in stages if stage in WORK} <= known, file.stem
    assert all(each.seconds >= 0 and each.sizes["x"] >= 1 and (each.step > 0) == each.anew for each in measured()[1])


def test_a_forecast_far_beyond_the_machine_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "machine", lambda: int(8e9))
    for stages in (
        [Learn(batch=10**6)],
        [Synthesize(num=10**7)],
        [Learn(energy=Encoder((4000, 8000), (1, 1)))],
        [Recover(chains=10**7)],
    ):
        with pytest.raises(ConfigError, match=r"this takes about .* of memory, there are 8\.0 GB; lower batch, chains"):
            told(*stages)
    large = replace(DATA, shape=(3, 4096, 4096))
    with pytest.raises(ConfigError, match="this takes about"):
        told(Learn(), data=large)


# ----------------------------------------------------------------------------------------- telling


@dataclass(frozen=True)
class Sample:
    needs: ClassVar[tuple[str, ...]] = ("data",)
    gives: ClassVar[tuple[str, ...]] = ("samples",)
    distributed: ClassVar[bool] = True

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        return {"samples": 2}


@pytest.mark.slow
def test_it_is_told_once_before_what_takes_long_and_of_what_is_left_to_do(tmp_path, capsys):
    stages = [images.Load(), Sample(), Sample()]
    start = time.process_time()
    Pipeline(stages).run(tmp_path)
    assert time.process_time() - start < 5
    lines = [line for line in capsys.readouterr().err.splitlines() if "so far" not in line]
    [number] = [number for number, line in enumerate(lines) if line.startswith("this takes about ")]
    assert lines[number - 1].endswith("01_load") and lines[number + 1].endswith("02_sample")
    assert re.fullmatch(r"this takes about \d+ s, [\d.]+ [MG]B of memory and \d+ MB of disk", lines[number])
    (tmp_path / "03_sample" / "manifest.json").unlink()
    Pipeline(stages).run(tmp_path)
    assert "this takes about 0 s, " in capsys.readouterr().err
    Pipeline(stages).run(tmp_path)
    assert "this takes" not in capsys.readouterr().err


@pytest.mark.slow
def test_it_comes_at_once():
    told(Learn())
    start = time.perf_counter()
    told(Learn(), Synthesize())
    assert time.perf_counter() - start < 1  # .15 s where nothing else runs
