"""One clip, and many: the right frames, and every video on one side."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

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


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("procedural", "journey"), ("procedural:waves", "waves")])
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
        ({"size": "9" * 5000}, "size must be a number of pixels or HEIGHTxWIDTH"),
        ({"start": -1}, "start must be 0 or more"),
        ({"stride": 0}, "stride 1 or more"),
        ({"label": "kind"}, "label=kind is for clips"),
        ({"fps": 12.0}, "fps=12 is for a folder of frames or of clips; video=procedural is made"),
        ({"clips": "moving", "video": "a.mp4"}, "video=a.mp4 cannot be combined with clips=moving"),
        ({"clips": "moving", "size": 8}, "size of clips must be 12 to 64"),
        ({"clips": "moving", "size": "12x16"}, "size of clips must be 12 to 64"),
        ({"clips": "moving", "size": 16}, "frames=null is for one video"),
        ({"clips": "moving", "count": 19}, "count must be 20 or more"),
        ({"clips": "moving", "validation": 1.0}, "validation must lie"),
        ({"clips": "moving", "stride": 2, "size": 16}, "start and stride are for files"),
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_clips_of_other_rates_are_resampled_to_one_and_told(own, tmp_path):
    """A shape that moves 1 pixel in 1/12 s moves so still, whatever the rate of its file."""
    folder = tmp_path / "clips"
    shutil.copytree(own, folder)
    ramp = torch.linspace(-1, 1, 18)[None, :, None, None].expand(3, 18, 16, 16)
    video.write(folder / "along" / "fast.mkv", ramp, 24.0)
    video.write(
        folder / "upright" / "uneven.m4v.mkv", ramp[:, :9], 12.0, times=[0, 0.1, *(k / 12 + 0.1 for k in range(1, 9))]
    )
    (folder / "@eaDir").mkdir()
    shutil.copy(folder / "along" / "fast.mkv", folder / "@eaDir" / "fast.mkv")
    with pytest.warns(UserWarning, match=r"2 of 14 clips are not of 12 frames a second, such as fast.mkv \(24\)"):
        values = given(tmp_path, clips=str(folder), size=16, frames=4)
    assert values["source"]["fps"] == pytest.approx(12)
    x = torch.cat([values["data"].train, values["data"].validation]).float()
    assert len(x) == 28, "none of a hidden folder"
    steps = x.diff(dim=2).mean((1, 2, 3, 4))
    assert int(torch.isclose(steps, torch.tensor(2 * 255 / 17), atol=0.5).sum()) == 2, (
        "every second frame of the fast one"
    )
    with pytest.warns(UserWarning, match="of 14 clips are not of 24 frames a second"):
        fast = given(tmp_path, clips=str(folder), size=16, frames=4, fps=24.0)
    assert fast["source"]["fps"] == 24 and len(fast["data"].train) > 2 * len(values["data"].train) - 10


def test_every_ending_of_a_video_counts_and_others_are_told(own, tmp_path):
    folder = tmp_path / "clips"
    shutil.copytree(own, folder)
    (folder / "along" / "0.mp4").rename(folder / "along" / "0.m4v")
    (folder / "along" / "notes.txt").write_text("no clip")
    (folder / "upright" / "link.mp4").symlink_to(own / "upright" / next(iter((own / "upright").iterdir())).name)
    with pytest.warns(UserWarning, match=r"1 file that is not clips is left out \(1 .txt\)"):
        data = given(tmp_path, clips=str(folder), size=16, frames=4)["data"]
    assert len(data.train) + len(data.validation) == 26


def test_a_folder_of_numbered_frames_is_one_clip(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(1, 13):
        Image.new("RGB", (20, 16), (20 * number, 0, 0)).save(folder / f"{number}.png")
    with pytest.warns(UserWarning, match="its frames are taken to be 25 a second; load.fps tells another rate"):
        given(tmp_path, video=str(folder), size=16, frames=None)
    values = given(tmp_path, video=str(folder), size=16, frames=None, start=2, fps=10.0)
    assert ((values["data"].x()[0, 0, :, 0, 0] + 1) * 127.5).round().tolist() == [20 * k for k in range(3, 13)]
    assert values["source"]["times"] == pytest.approx([k / 10 for k in range(2, 13)]) and values["source"]["fps"] == 10
    with pytest.raises(ValueError, match="fps must be above 0"):
        Load(video=str(folder), fps=0.0)


def test_the_source_tells_the_time_of_every_frame(tmp_path):
    times = [0.0, 0.1, 0.2, 0.25, 0.3, 1.3, 1.35]
    video.write(tmp_path / "a.mkv", torch.rand(3, 6, 16, 16), 5.0, times=times)
    source = given(tmp_path, video=str(tmp_path / "a.mkv"), size=16, frames=None)["source"]
    assert source["times"] == pytest.approx(times, abs=2e-3) and source["whole"]
    part = given(tmp_path, video=str(tmp_path / "a.mkv"), size=16, frames=4, start=1)["source"]
    assert part["times"] == pytest.approx(times[1:6], abs=2e-3) and not part["whole"]
