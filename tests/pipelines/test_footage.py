"""A clip that is too large to be held is read, recovered, scored and written frame by frame, as one that is held."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from data import procedural, video
from pipelines import run
from pipelines.measures import metrics
from pipelines.modalities.video import load
from pipelines.stage import Run
from pipelines.windows import scoring
from pipelines.windows.damage import Damage
from pipelines.windows.footage import Footage, opened

SETTINGS = (
    "hide.region=8x8 moving", "learn.steps=4", "learn.energy.amortised.widths=[8, 8]",
    "learn.energy.amortised.depths=[1, 1]", "evaluate.baselines=false", "compute=float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A clip without loss, whose frames last longer and longer."""
    path = tmp_path_factory.mktemp("clips") / "clip.mkv"
    clip = procedural.video("journey", frames=12, size=(24, 32), seed=3)
    times = [k * (k + 1) / 50 for k in range(13)]
    video.write(path, clip, 12.0, times=times, lossless=True)
    return path


def levels_of(x: Tensor) -> Tensor:
    return ((x + 1) * 127.5).round()


@pytest.fixture(scope="module")
def footage(file):
    return opened(Footage(str(file), video.Cut(), None, True))


@pytest.mark.slow
def test_it_tells_its_shape_and_times_and_gives_the_frames_of_the_file(file, footage):
    whole = video.read_timed(file)
    assert footage.shape == tuple(whole.clip.shape)
    assert footage.times[:-1] == whole.times and footage.whole and not footage.even
    frames = torch.stack(list(footage.frames()), 1)
    assert frames.dtype == torch.uint8
    assert torch.equal(frames.float(), levels_of(whole.clip))


@pytest.mark.slow
def test_its_scores_are_those_of_a_clip_that_is_held(file, footage):
    clip, rng = video.read(file)[0], torch.Generator().manual_seed(0)
    hidden = torch.zeros(12, 24, 32, dtype=torch.bool)
    hidden[2:9, 7:15, 9:20] = torch.rand(7, 8, 11, generator=rng) < 0.7
    other = torch.where(hidden, clip + 0.2 * torch.randn(clip.shape, generator=rng), clip)
    spread = torch.full((1, int(hidden.sum())), 0.2)
    made = {"recovery": other[:, hidden]}
    rows, covered = scoring.scores(footage, Damage.whole(hidden), made, spread)
    assert rows["recovery"] == pytest.approx(metrics.score(other, clip, hidden), rel=1e-5)
    assert covered == pytest.approx(0.9, abs=4 * (0.09 / (3 * int(hidden.sum()))) ** 0.5)


@pytest.mark.slow
def test_what_was_not_hidden_is_written_bit_for_bit_with_its_times(file, footage, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "HELD", 100)
    out = tmp_path / "run"
    assert run.main(["video_recovery", f"load.video={file}", *SETTINGS, f"out={out}"]) == 0
    written = video.read_timed(out / "recovered.mkv")
    assert torch.tensor(written.times) == pytest.approx(torch.tensor(footage.times[:-1]), abs=1e-3)
    damage = hidden_of(footage, tmp_path)
    frames = torch.stack(list(footage.frames()), 1)
    kept = ~torch.stack([damage.mask(t) for t in range(12)])
    assert torch.equal(levels_of(written.clip)[:, kept], frames.float()[:, kept])
    assert not torch.equal(levels_of(written.clip), frames.float())
    assert (out / "contact_sheet.png").stat().st_size and (out / "recovered.mp4").stat().st_size


def hidden_of(footage: Footage, folder: Any) -> Damage:
    """What these settings hide."""
    from pipelines.modalities.video import Hide

    hidden = Hide(region="8x8 moving")._made(torch.Size(footage.shape[1:]), Run(folder, folder).generator("hide"))
    return Damage.whole(hidden)


@pytest.mark.slow
def test_what_needs_the_whole_clip_is_told(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(load, "HELD", 100)
    for settings, words in (
        (["video_synthesis", "load.size=null", "load.frames=null"], "is only recovered, window by window"),
        (["video_recovery", "hide.grey=true"], "too many for it; set load.size"),
    ):
        assert run.main([*settings, f"load.video={file}", f"out={tmp_path / settings[0]}"]) == 2
        assert words in capsys.readouterr().err
