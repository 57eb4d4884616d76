"""One clip, and many: the right frames, and every video on one side."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from data import moving, procedural, video
from data.errors import InputError
from pipelines.modalities.video import Load
from pipelines.stage import Run


def given(folder: Path, seed: int = 0, **settings: Any) -> dict[str, Any]:
    return Load(**settings)({}, Run(folder, folder, seed))


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """Two classes of videos, each long enough for several clips."""
    folder = tmp_path_factory.mktemp("own")
    x, labels = moving.clips(12, 16, 9, seed=1)
    for number, clip in enumerate(x):
        kind = folder / ("along" if labels["motion"][number] < 2 else "upright")
        kind.mkdir(exist_ok=True)
        video.write(kind / f"{number}.mp4", clip, 12.0)
    return folder


# -------------------------------------------------------------------------------------- one clip


@pytest.mark.parametrize(("name", "kind"), [("procedural", "cloth"), ("procedural:waves", "waves")])
def test_a_made_clip_starts_and_strides_as_a_file_does(name, kind, tmp_path):
    values = given(tmp_path, 5, video=name, size="12x16", frames=5, start=2, stride=3)
    whole = procedural.video(kind, frames=15, size=(12, 16), seed=5)
    assert values["data"].single and values["data"].shape == (3, 5, 12, 16) and values["data"].modality == "video"
    assert torch.equal(values["data"].x()[0], whole[:, 2::3])
    video.write(tmp_path / "a.mkv", whole, 30.0, lossless=True)
    read = given(tmp_path, video=str(tmp_path / "a.mkv"), size=None, frames=5, start=2, stride=3)
    assert (read["data"].x()[0] - whole[:, 2::3]).abs().max() < 1.01 / 127.5
    assert read["source"]["fps"] == pytest.approx(10), "every third frame"
    assert (read["source"]["start"], read["source"]["stride"], read["source"]["crop"]) == (2, 3, True)


def test_too_short_and_too_small_clips_are_refused(tmp_path):
    video.write(tmp_path / "a.mkv", torch.zeros(3, 5, 16, 6), 10.0, lossless=True)
    name = str(tmp_path / "a.mkv")
    with pytest.raises(InputError, match=r"5 frames of 16x6 pixels; at least 4 of 8x8 are needed \(set load.size"):
        given(tmp_path, video=name, size=None, frames=None)
    with pytest.raises(InputError, match="gives 3 frames"):
        given(tmp_path, video=name, size=16, frames=None, start=2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"frames": 2}, "frames must be 4 or more"),
        ({"size": 4}, "size must be 8 pixels or more"),
        ({"size": "big"}, "size must be a number of pixels or HEIGHTxWIDTH"),
        ({"start": -1}, "start must be 0 or more"),
        ({"stride": 0}, "stride 1 or more"),
        ({"label": "kind"}, "label=kind is for clips"),
        ({"clips": "moving", "video": "a.mp4"}, "video=a.mp4 cannot be combined with clips=moving"),
        ({"clips": "moving", "size": 8}, "size of clips must be 12 to 64"),
        ({"clips": "moving", "size": "12x16"}, "size of clips must be 12 to 64"),
        ({"clips": "moving", "frames": None}, "frames=null is for one video"),
        ({"clips": "moving", "count": 19}, "count must be 20 or more"),
        ({"clips": "moving", "validation": 1.0}, "validation must lie"),
        ({"clips": "moving", "stride": 2}, "start and stride are for files"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Load(**settings)


# ----------------------------------------------------------------------------------- many clips


def test_moving_shapes_have_every_label(tmp_path):
    data = given(tmp_path, 4, clips="moving", size=12, frames=4, count=80)["data"]
    x, labels = moving.clips(80, 12, 4, seed=4)
    assert not data.single and data.shape == (3, 4, 12, 12) and len(data.validation) == 8
    assert list(data.attributes) == list(moving.ATTRIBUTES)
    levels = ((x + 1) * 127.5).round().to(torch.uint8)
    for k, clip in enumerate(data.validation):
        row = int((levels == clip).flatten(1).all(1).nonzero()[0, 0])
        assert all(int(data.attributes[name]["validation"][k]) == int(own[row]) for name, own in labels.items())


def test_videos_in_folders_by_class_are_cut_into_clips(own, tmp_path):
    values = given(tmp_path, clips=str(own), size=16, frames=4)
    assert values["source"]["fps"] == pytest.approx(12.0), "as they are exported again"
    data = values["data"]
    assert len(data.train) + len(data.validation) == 24 and data.shape == (3, 4, 16, 16)
    kind = data.attributes["kind"]
    assert kind["classes"] == ["along", "upright"] and len(kind["train"]) == len(data.train)
    files = len(list((own / "upright").iterdir()))
    assert int(kind["train"].sum() + kind["validation"].sum()) == 2 * files
    later = given(tmp_path, clips=str(own), size=16, frames=4, start=1)["data"]
    assert torch.equal(later.train[:, :, :3], data.train[:, :, 1:]), "each video from its second frame on"


def test_videos_that_are_too_short_count_for_nothing(tmp_path):
    """Neither when some are set aside, whichever those are, nor for the rate."""
    clips = moving.clips(24, 16, 4, seed=2)[0]
    for number, clip in enumerate(clips):
        kind = tmp_path / "videos" / ("odd" if number % 2 else "even")
        kind.mkdir(parents=True, exist_ok=True)
        for short in range(2):
            video.write(kind / f"{number}_{short}.mp4", clip[:, :3], 30.0)
        video.write(kind / f"{number}_long.mp4", clip, 12.0)
    values = given(tmp_path, clips=str(tmp_path / "videos"), size=16, frames=4)
    assert len(values["data"].validation) == 2 and len(values["data"].train) == 22
    assert values["source"]["fps"] == pytest.approx(12.0)


def test_a_video_is_on_one_side_and_a_class_without_clips_is_told(own, tmp_path):
    x, _ = moving.clips(4, 16, 5, seed=2)
    (tmp_path / "short" / "short").mkdir(parents=True)
    for kind in ("along", "upright"):
        shutil.copytree(own / kind, tmp_path / "short" / kind)
    video.write(tmp_path / "short" / "short" / "0.mp4", x[0, :, :3], 8.0)
    with pytest.raises(InputError, match="to learn kind short from"):
        given(tmp_path, clips=str(tmp_path / "short"), size=16, frames=4)
    data = given(tmp_path, clips=str(own), size=16, frames=4, validation=0.3)["data"]
    assert len(data.validation) == 6, "three videos of two clips each"
    first, second = data.validation[::2].float(), data.validation[1::2].float()
    other = data.train.float().mean((2, 3, 4))
    for a, b in zip(first.mean((2, 3, 4)), second.mean((2, 3, 4)), strict=True):
        assert (a - b).norm() < (a - other).norm(dim=1).amax()


def test_folders_without_enough_clips_are_told(own, tmp_path):
    with pytest.raises(InputError, match="holds 12 clips of 9 frames"):
        given(tmp_path, clips=str(own), size=16, frames=9)
    with pytest.raises(InputError, match=r"load.clips=.*no such folder"):
        given(tmp_path, clips=str(tmp_path / "nowhere"), size=16, frames=4)
    (tmp_path / "one" / "kind").mkdir(parents=True)
    with pytest.raises(InputError, match="needs two folders or more"):
        given(tmp_path, clips=str(tmp_path / "one"), size=16, frames=4)
