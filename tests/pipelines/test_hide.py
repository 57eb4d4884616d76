"""What is hidden of pictures and clips, and what is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import seeded

from data import images, masks, video
from data.errors import InputError
from energies import Average, Blur, Grey, Hidden, Noisy
from pipelines.examples import Examples, to_levels
from pipelines.modalities import modality_of, views
from pipelines.modalities.images import Hide as HidePictures
from pipelines.modalities.video import Hide as HideClips
from pipelines.stage import Run

SOURCE = {"name": "made", "fps": 10.0, "start": 0, "stride": 1, "crop": True}
SHAPES = {"images": (3, 8, 12), "video": (3, 6, 8, 12)}


def examples(modality: str, *shape: int, num: int = 9) -> Examples:
    x = to_levels(torch.rand(num, *(shape or SHAPES[modality]), generator=seeded()) * 2 - 1)
    return Examples(modality, tuple(x.shape[1:]), x[:2], x[2:])


def clip(*size: int) -> Examples:
    x = torch.rand(1, 3, *(size or (8, 10, 12)), generator=seeded(1)) * 2 - 1
    return Examples("video", tuple(x.shape[1:]), x, x[:0])


def hidden(data: Examples, folder: Path, **settings: Any) -> dict[str, Any]:
    stage = (HidePictures if data.modality == "images" else HideClips)(**settings)
    return stage({"data": data, "source": SOURCE}, Run(folder, folder))


# ------------------------------------------------------------------------------- sets of either


@pytest.mark.parametrize("modality", SHAPES)
@pytest.mark.parametrize("settings", [{}, {"pixels": 0.3}, {"box": 3}])
def test_what_is_seen_is_exact_and_nothing_else_is_told(modality, settings, tmp_path):
    data = examples(modality)
    values = hidden(data, tmp_path, **settings)
    mask, truth = values["observation"].mask, data.x("validation")
    assert torch.equal(values["targets"], truth) and values["truth_known"] is True
    assert mask.shape == (7, 1, *data.shape[1:]) and len(mask.unique(dim=0)) > 1, "each has its own"
    assert torch.equal(values["measured"], torch.where(mask, 0.0, truth))


@pytest.mark.parametrize("modality", SHAPES)
def test_pixels_hide_their_share_and_a_box_is_a_square_in_all_frames(modality, tmp_path):
    data = examples(modality)
    scattered = hidden(data, tmp_path, pixels=0.3)["observation"].mask
    assert abs(float(scattered.float().mean()) - 0.3) < 5 * (0.21 / scattered.numel()) ** 0.5
    for one in hidden(data, tmp_path, box=3)["observation"].mask:
        frames = one.flatten(0, -3)  # of a picture, one
        assert torch.equal(frames, frames[:1].expand_as(frames))
        assert int(frames[0].any(1).sum()) == int(frames[0].any(0).sum()) == 3 and int(frames[0].sum()) == 9


@pytest.mark.parametrize("modality", SHAPES)
@pytest.mark.parametrize("factor", [2, 4])
def test_only_the_means_of_blocks_are_seen(modality, factor, tmp_path):
    data = examples(modality)
    values = hidden(data, tmp_path, average=factor, num=3)
    blocks = data.x("validation")[:3].unflatten(-1, (-1, factor)).unflatten(-3, (-1, factor)).mean((-1, -3))
    torch.testing.assert_close(values["measured"], blocks)
    assert values["observation"] == Average((1,) * (len(data.shape) - 3) + (factor, factor)), "frames are not averaged"


@pytest.mark.parametrize("modality", SHAPES)
def test_colours_are_taken_and_blurs_and_noise_added(modality, tmp_path):
    data = examples(modality, *SHAPES[modality], num=40)
    truth = data.x("validation")
    grey = hidden(data, tmp_path, grey=True, num=38)
    weights = torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(grey["measured"][:, 0], torch.einsum("c,bc...->b...", weights, truth))
    for settings, observation, noise in (
        ({"blur": 1.0}, Noisy(Blur(1.0), 0.02), 0.02),
        ({"blur": 1.0, "noise": 0.1}, Noisy(Blur(1.0), 0.1), 0.1),
        ({"grey": True, "noise": 0.2}, Noisy(Grey(), 0.2), 0.2),
    ):
        values = hidden(data, tmp_path, num=38, **settings)
        assert values["observation"] == observation
        off = values["measured"] - observation.observe(truth)
        assert abs(float(off.std()) / noise - 1) < 5 / (2 * off.numel()) ** 0.5
    whole = hidden(data, tmp_path, noise=0.3, num=38)
    off = whole["measured"] - truth
    assert (
        abs(float(off.std()) / 0.3 - 1) < 5 / (2 * off.numel()) ** 0.5 and not whole["observation"].operator.mask.any()
    )
    some = hidden(data, tmp_path, noise=0.3, pixels=0.4, num=38)["observation"]
    assert some.operator.mask.shape[0] == 38 and some.operator.mask.any()


@pytest.mark.parametrize("modality", SHAPES)
def test_what_cannot_be_hidden_is_refused(modality, tmp_path):
    noun = modality_of(modality).noun
    for shape, settings, words in (
        ((3, 8, 8), {"box": 8}, "hide.box=8 leaves nothing of 8x8 pixels"),
        ((1, 8, 8), {"grey": True}, f"hide.grey needs {noun} in colour; set load.channels=3"),
        ((3, 10, 8), {"average": 4}, f"hide.average=4 does not divide the 8x10 pixels of the {noun}"),
        ((3, 8, 8), {"pixels": 0.0001}, "hide"),
        ((3, 8, 8), {"pixels": 0.9999}, "hide"),
    ):
        shape = shape if modality == "images" else (shape[0], 4, *shape[1:])
        with pytest.raises(InputError, match=words) as told:
            hidden(examples(modality, *shape), tmp_path, **settings)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("stage", [HidePictures, HideClips])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"average": 2, "grey": True}, "average and grey cannot be combined"),
        ({"blur": 1, "box": 3}, "box and blur cannot be combined"),
        ({"blur": -1}, "blur must lie above 0"),
        ({"noise": 0}, "noise must lie above 0"),
        ({"pixels": 1.0}, "pixels must lie between 0 and 1"),
        ({"box": 0}, "box must be 1 or more"),
        ({"average": 1}, "average must be 2 or more"),
        ({"num": 0}, "num must be 1 or more"),
        ({"mask": "none.png"}, "mask"),
    ],
)
def test_settings_that_cannot_be_are_refused(stage, settings, words):
    with pytest.raises(ValueError, match=words):
        stage(**settings)


# ---------------------------------------------------------------------------- pictures of one's own


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """Pictures of one's own: damaged, with its mask, and masks of one colour."""
    folder = tmp_path_factory.mktemp("own")
    images.write(folder / "own.png", torch.rand(1, 8, 8, generator=seeded(2)) * 2 - 1)
    mask = -torch.ones(1, 8, 8)
    mask[:, 2:5, 3:7] = 1
    images.write(folder / "mask.png", mask)
    images.write(folder / "black.png", -torch.ones(1, 8, 8))
    images.write(folder / "white.png", torch.ones(1, 8, 8))
    images.write(folder / "wide.png", torch.ones(1, 8, 12))
    images.write(folder / "small.png", images.read(folder / "own.png", 4, channels=1))
    return folder


def test_a_damaged_picture_is_unknown_where_its_mask_is_white(own, tmp_path):
    data, picture = examples("images", 1, 8, 8), images.read(own / "own.png", channels=1)
    values = hidden(data, tmp_path, image=str(own / "own.png"), mask=str(own / "mask.png"), dilate=0)
    where = images.read(own / "mask.png", channels=1) > 0
    assert int(where.sum()) == 12 and torch.equal(values["observation"].mask, where[None])
    assert torch.equal(values["measured"][0], torch.where(where, 0.0, picture)) and values["truth_known"] is False


def test_a_small_picture_of_ones_own_is_what_is_seen(own, tmp_path):
    values = hidden(examples("images", 1, 8, 8), tmp_path, image=str(own / "small.png"), average=2)
    assert torch.equal(values["measured"][0], images.read(own / "small.png", channels=1))
    assert values["truth_known"] is False and values["targets"].shape == (1, 1, 8, 8)


def test_a_whole_picture_of_ones_own_is_hidden_in_part_and_known(own, tmp_path):
    values = hidden(examples("images", 1, 8, 8), tmp_path, image=str(own / "own.png"), box=4)
    assert values["truth_known"] is True and int(values["observation"].mask.sum()) == 16
    assert torch.equal(values["targets"][0], images.read(own / "own.png", channels=1))


@pytest.mark.parametrize("modality", SHAPES)
def test_what_lies_around_an_own_mask_is_hidden_too_and_its_share_is_told(modality, own, tmp_path):
    images.write(tmp_path / "mask.png", images.read(own / "mask.png", channels=3))
    images.write(tmp_path / "turned.png", -images.read(own / "mask.png", channels=3))
    if modality == "images":
        data, given = examples("images", 1, 8, 8), {"image": str(own / "own.png")}
    else:
        data, given = clip(6, 8, 8), {}
    painted = images.read(own / "mask.png", channels=1)[0] > 0

    def mask(name: str = "mask.png", **settings: Any) -> torch.Tensor:
        found = hidden(data, tmp_path, mask=str(tmp_path / name), **given, **settings)
        return found["observation"].mask[0].flatten(0, -3)[0]

    def grown(pixels: int) -> torch.Tensor:
        return masks.dilated(painted, pixels)

    assert (
        torch.equal(mask(dilate=0), painted) and torch.equal(mask(), grown(1)) and torch.equal(mask(dilate=2), grown(2))
    )
    assert torch.equal(mask("turned.png", invert=True), grown(1))
    record = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert record["event"] == "hidden" and record["share"] == 12 / 64 and record["dilated"] == 30 / 64
    what = "picture" if modality == "images" else "clip"
    with pytest.warns(UserWarning, match=rf"81% of the {what} is hidden; if it is white where .* set hide.invert=true"):
        mask("turned.png", dilate=0)
    box = hidden(data, tmp_path, **given, box=2)["observation"].mask.flatten(0, -3)[0]
    assert int(box.sum()) == 4, "made ones stay as they are"
    wide = hidden(data, tmp_path, **given, box=2, dilate=1)["observation"].mask.flatten(0, -3)[0]
    assert torch.equal(wide, masks.dilated(box, 1))
    for settings, words in (({"invert": True}, "invert needs mask"), ({"dilate": 65}, "dilate must be 0 to 64")):
        with pytest.raises(ValueError, match=words):
            hidden(data, tmp_path, **given, **settings)
    with pytest.raises(InputError, match=f"hide.dilate=8: leaves nothing of the {what}"):
        mask(dilate=8)


def test_own_files_that_do_not_suit_are_refused(own, tmp_path):
    image, data = str(own / "own.png"), examples("images", 1, 8, 8)
    for settings, words in (
        ({"average": 2}, "of 8x8 pixels; with hide.average=2 it must be 4x4"),
        ({"mask": str(own / "wide.png")}, "of 12x8 pixels, the picture of 8x8"),
        ({"mask": str(own / "black.png")}, "is black everywhere.* must be white where"),
        ({"mask": str(own / "white.png")}, "is white everywhere.* must be white where"),
    ):
        with pytest.raises(InputError, match=words):
            hidden(data, tmp_path, image=image, **settings)
    with pytest.raises(ValueError, match="mask needs image"):
        HidePictures(mask=str(own / "mask.png"))
    with pytest.raises(ValueError, match="no such file"):
        HidePictures(image=str(own / "none.png"))
    photograph = Examples("images", (1, 64, 64), torch.zeros(1, 1, 64, 64), torch.zeros(0, 1, 64, 64))
    with pytest.raises(InputError, match="a photograph of a texture is not recovered"):
        hidden(photograph, tmp_path)


# -------------------------------------------------------------------------------------- one clip


@pytest.mark.parametrize(
    "settings", [{"frames": 2}, {"frames": "3:5"}, {"region": "6x5 moving"}, {"region": "5x6", "pixels": 0.2}]
)
def test_every_made_mask_of_a_clip(settings, tmp_path):
    values = hidden(clip(), tmp_path, **settings)
    mask = values["observation"].mask
    assert mask.shape == (1, 1, 8, 10, 12) and values["targets"].shape == (1, 3, 8, 10, 12)
    assert torch.equal(values["measured"], torch.where(mask, 0.0, values["targets"]))
    frames = mask[0, 0]
    if "frames" in settings:
        assert frames.flatten(1).all(1).sum() == 2 and not frames[[0, -1]].any()
        assert settings["frames"] == 2 or frames[3:5].all()
    elif "pixels" in settings:
        assert (frames.flatten(1).sum(1) > 30).all() and frames.float().mean() < 0.6
    else:
        assert (frames.flatten(1).sum(1) == 30).all() and len(frames.unique(dim=0)) > 1, "it wanders"


def test_every_second_frame_is_seen_from_the_first_on(tmp_path):
    for data in (clip(), examples("video", 3, 7, 8, 8)):
        mask = hidden(data, tmp_path, every=2)["observation"].mask
        seen = ~mask.flatten(3).any(3)
        assert torch.equal(seen[0, 0], torch.arange(data.shape[1]) % 2 == 0) and mask.flatten(3).all(3).sum() > 0


def test_masks_add_up(tmp_path):
    data = examples("video")
    both = hidden(data, tmp_path, every=3, box=4)["observation"].mask
    assert both[:, :, [1, 2, 4, 5]].all()
    assert both[:, :, [0, 3]].flatten(3).sum(3).eq(16).all()


def test_frames_are_scattered_between_the_first_and_the_last_of_each_clip(tmp_path):
    mask = hidden(examples("video"), tmp_path, frames=3)["observation"].mask.flatten(3).all(3)
    assert mask.sum(2).eq(3).all() and not mask[:, :, [0, -1]].any() and len(mask.unique(dim=0)) > 1


def test_an_own_mask_is_cut_as_the_clip_was(tmp_path):
    mask = np.zeros((10, 12, 3), np.uint8)
    mask[4:9, 5:12] = 255
    images.write(tmp_path / "mask.png", mask)
    values = hidden(clip(), tmp_path, mask=str(tmp_path / "mask.png"), dilate=0)
    where = values["observation"].mask[0, 0]
    assert where[:, 4:9, 5:12].all() and where.sum() == 8 * 5 * 7 and values["truth_known"] is False
    film = -torch.ones(3, 11, 10, 12)
    film[:, 2, :4] = 1
    video.write(tmp_path / "mask.mkv", film, 10.0, lossless=True)
    later = HideClips(mask=str(tmp_path / "mask.mkv"))(
        {"data": clip(), "source": SOURCE | {"start": 1}}, Run(tmp_path, tmp_path)
    )
    assert later["observation"].mask[0, 0].flatten(1).any(1).nonzero().flatten().tolist() == [1]
    with pytest.raises(InputError, match=r"its white frames are 2 to 2: set load.start=2"):
        HideClips(mask=str(tmp_path / "mask.mkv"))(
            {"data": clip(), "source": SOURCE | {"start": 3}}, Run(tmp_path, tmp_path)
        )
    with pytest.raises(InputError, match=r"hide.mask is for one clip"):
        hidden(examples("video"), tmp_path, mask=str(tmp_path / "mask.png"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"region": "20x20"}, "hide.region=20x20 does not fit into 10x12"),
        ({"frames": "6:12"}, "does not lie within the 8 frames"),
        ({"frames": 7}, "leaves fewer than 2 of the 8 frames"),
        ({"pixels": 0.98}, "98% is hidden: too little is left to learn from; hide less"),
        ({"frames": "0:7"}, "too little is left"),
    ],
)
def test_clips_of_which_too_much_would_be_hidden_are_refused(settings, words, tmp_path):
    with pytest.raises(InputError, match=words):
        hidden(clip(), tmp_path, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"frames": 0}, "frames must be 1 or more"),
        ({"frames": "3-5"}, "frames must be a number, FIRST:END"),
        ({"frames": "5:5"}, "frames=5:5 is empty"),
        ({"frames": f"1:{'9' * 5000}"}, "frames must be a number, FIRST:END"),
        ({"region": "big"}, "region must be HEIGHTxWIDTH"),
        ({"region": f"8x{'9' * 20}"}, "region must be HEIGHTxWIDTH"),
        ({"region": "0x8"}, "region must be HEIGHTxWIDTH"),
        ({"every": 1}, "every must be 2 or more"),
        ({"mask": "m.png", "pixels": 0.5}, "mask cannot be combined with pixels"),
        ({"frames": 2, "average": 2}, "frames and average cannot be combined"),
        ({"every": 2, "grey": True}, "every and grey cannot be combined"),
    ],
)
def test_settings_of_clips_that_cannot_be_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        HideClips(**settings)


# --------------------------------------------------------------------------- lessons, and showing


@pytest.mark.parametrize("modality", SHAPES)
def test_the_tasks_of_an_amortised_energy_see_what_hide_would(modality):
    shape = SHAPES[modality]
    x = torch.rand(4, *shape, generator=seeded(3)) * 2 - 1
    tasks = modality_of(modality).tasks(shape, ())
    expected = {"pixels", "box", "average2", "average4", "grey", "blur", "noise"}
    assert set(tasks) == expected | ({"frames"} if modality == "video" else set())
    for name, task in tasks.items():
        observation, y = task.observe(x, seeded(4))
        again = task.observe(x, seeded(4))
        assert torch.equal(y, again[1])
        if observation.exact:
            torch.testing.assert_close(observation.observe(x), y)
        if isinstance(observation, Hidden):
            share = observation.mask.flatten(1).float().mean(1)
            assert observation.mask.shape == (4, 1, *shape[1:]) and ((share > 0) & (share < 1)).all(), name
    some = modality_of(modality).tasks((1, *shape[1:]), ("grey", "average", "box"))
    assert list(some) == ["box", "average2", "average4"], "grey x have no colours to lose"


@pytest.mark.parametrize("modality", SHAPES)
def test_what_is_seen_is_shown_at_full_size_and_hidden_elements_in_one_colour(modality, tmp_path):
    data = examples(modality)
    by = modality_of(modality)
    values = hidden(data, tmp_path, pixels=0.4)
    shown, mask = by.seen(values["observation"], values["measured"]), values["observation"].mask
    assert shown.shape == values["targets"].shape
    where = mask.expand_as(shown)
    assert torch.equal(shown[~where], values["targets"][~where])
    colours = torch.stack([shown[:, k][mask[:, 0]] for k in range(3)], 1)
    assert len(colours.unique(dim=0)) == 1
    coarse = hidden(data, tmp_path, average=2)
    blocks = by.seen(coarse["observation"], coarse["measured"])
    torch.testing.assert_close(coarse["observation"].observe(blocks), coarse["measured"])
    grey = hidden(data, tmp_path, grey=True)
    assert by.seen(grey["observation"], grey["measured"]).shape == values["targets"].shape


def test_frames_between_are_all_but_those_that_are_seen():
    assert views.between((7, 2, 2), 3)[0, :, 0, 0].tolist() == [False, True, True, False, True, True, False]
