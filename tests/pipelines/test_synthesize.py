"""New x of any energy: of a class, by masks, of one photograph or clip of any size; and coarse ones, refined and
selected."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import seeded
from tiny import amortised, data_of, encoder, filled, known, of_details, run_in, single

from data.errors import InputError
from energies import Chain, ClipReference, ConditionalEnergy, EncoderEnergy, GenerativeConvNet, Schedule
from energies.samplers import MALA
from energies.samplers.masked import MaskedSampling
from pipelines.examples import Examples
from pipelines.learning.single import scene
from pipelines.stages.synthesize import Synthesize, cut, over_windows

FEW = Schedule(3, 6.0, 0.2, 1, 0.4)


def values_of(data: Any, energy: Any, generator: Any = FEW) -> dict[str, Any]:
    return {"data": data, "energy": energy, "generator": generator}


def texture(channels: int = 1) -> dict[str, Any]:
    """A photograph of 32 pixels a side, and an energy of its crops of 16."""
    data = single("images", (channels, 32, 32))
    pixel = EncoderEnergy([channels, 1, 1], (4, 8), (1, 1))
    pixel.centre(data.x()[0].flatten(1).T[:, :, None, None])
    return values_of(data, filled(pixel.resized((16, 16))))


def clip() -> dict[str, Any]:
    """A clip of 6 frames, and the energy of its scene."""
    data = single("video", (3, 6, 8, 8))
    reference = ClipReference.of(scene(data.x()[0], 6))
    return values_of(data, filled(ConditionalEnergy(reference, 3, (4,), (1,)), size=0.02))


@pytest.mark.parametrize("modality", ["images", "video", "voxels"])
def test_samples_are_x_and_the_first_do_not_depend_on_how_many_there_are(modality: str, tmp_path: Any) -> None:
    data = data_of(modality)
    values = values_of(data, encoder(data))
    few, many = (Synthesize(num=num)(known(Synthesize, values), run_in(tmp_path)) for num in (2, 5))
    assert many["samples"].shape == (5, *data.shape) and many["samples"].abs().max() <= 1
    assert not torch.equal(many["samples"][0], many["samples"][1])
    name = "samples" if few["soft"] is None else "soft"
    torch.testing.assert_close(many[name][:2], few[name])
    assert many["generator"] == FEW and many["sample_labels"] is None and many["guidance"] == 1
    if modality == "voxels":
        assert (many["samples"].abs() == 1).all() and many["soft"].unique().numel() > 2
    else:
        assert many["soft"] is None


@pytest.mark.parametrize("label", ["each", "any"])
def test_a_label_that_is_a_word_of_ours_too_is_refused(label: str) -> None:
    names = ("each", "any", "cat")
    data = data_of("images", classes=names, train_labels=torch.arange(18) % 3, validation_labels=torch.arange(6) % 3)
    Synthesize(label="cat").check({"data": data})
    with pytest.raises(InputError, match=f"synthesize.label={label}: a class is called so, too"):
        Synthesize(label=label).check({"data": data})


@pytest.mark.slow
def test_labels_take_turns_and_guidance_insists_on_them(tmp_path: Any) -> None:
    labels = {"classes": ("a", "b"), "train_labels": torch.arange(18) % 2, "validation_labels": torch.arange(6) % 2}
    data = data_of("images", **labels)
    values = values_of(data, encoder(data, ("a", "b")))
    given = Synthesize(num=4)(values, run_in(tmp_path))
    assert given["sample_labels"].tolist() == [0, 1, 0, 1] and given["guidance"] == 1.5
    one, less = (Synthesize(num=4, label="b", guidance=g)(values, run_in(tmp_path)) for g in (2.0, 0.5))
    assert one["sample_labels"].tolist() == [1] * 4 and not torch.equal(one["samples"], less["samples"])
    with pytest.raises(InputError, match="the classes are a, b"):
        Synthesize(label="c").check(values)


@pytest.mark.slow
def test_shapes_of_an_amortised_energy_are_sampled_by_masks_and_by_levels_where_that_is_asked(tmp_path: Any) -> None:
    data = data_of("voxels")
    values = values_of(data, amortised(data))
    masked, more = (
        Synthesize(num=3, masked=MaskedSampling(sweeps=0), remask=remask)(values, run_in(tmp_path)) for remask in (0, 2)
    )
    levels = Synthesize(num=3, generator=FEW)(values, run_in(tmp_path))
    for given in (masked, more, levels):
        assert (given["samples"].abs() == 1).all() and given["soft"].abs().max() <= 1
    assert not torch.equal(masked["soft"], more["soft"]) and not torch.equal(masked["soft"], levels["soft"])
    with pytest.raises(InputError, match=r"synthesize\.sampler"):
        Synthesize(num=1, sampler=MALA())(values, run_in(tmp_path))


@pytest.mark.slow
def test_a_photograph_becomes_a_picture_of_any_size(tmp_path: Any) -> None:
    given = Synthesize(height=37, margin=8)(texture(), run_in(tmp_path))
    assert given["samples"].shape == (1, 1, 37, 64), "twice the width of the photograph"
    assert given["soft"] is None and given["samples"].abs().max() <= 1
    windows = Synthesize(num=2, height=30, width=32, windows=8)(texture(3), run_in(tmp_path))
    assert windows["samples"].shape == (2, 3, 30, 32)
    published = values_of(texture()["data"], GenerativeConvNet("image", [1, 16, 16]), Chain(2, 0.01))
    assert Synthesize(height=20, width=36, margin=0)(published, run_in(tmp_path))["samples"].shape == (1, 1, 20, 36)


def test_a_clip_goes_on_for_as_long_as_one_likes(tmp_path: Any) -> None:
    given = Synthesize(num=2, frames=9)(clip(), run_in(tmp_path))
    assert given["samples"].shape == (2, 3, 9, 8, 8) and not torch.equal(*given["samples"])
    assert Synthesize()(clip(), run_in(tmp_path))["samples"].shape == (3, 3, 6, 8, 8)


def test_the_margin_is_cut_off_and_nothing_else() -> None:
    x = torch.arange(2 * 5 * 10 * 12.0).view(1, 2, 5, 10, 12)
    assert torch.equal(cut(x, (4, 6, 8), 2), x[:, :, :4, 2:8, 2:10])
    assert torch.equal(cut(x, (5, 10, 11), 0), x[..., :11])


def test_a_product_over_windows_goes_on_at_its_edge() -> None:
    energy = texture()["energy"]
    whole = over_windows(energy, (30, 48), 8)
    assert whole.event_shape == (1, 32, 48), "a little more than asked for"
    x = torch.randn(1, 1, 32, 48, generator=seeded(1))
    found = [float(whole.at(0.5)(x.roll(shift, (2, 3))).detach()) for shift in ((0, 0), (8, 16), (24, 40))]
    assert found == pytest.approx([found[0]] * 3, rel=1e-4), "no window is the first or the last"
    for size, stride, words in (
        ((30, 48), 5, "does not divide windows of 16x16"),
        ((30, 48), 16, "that overlap"),
        ((12, 48), 8, "16x16, larger than the 12x48"),
    ):
        with pytest.raises(ValueError, match=words):
            over_windows(energy, size, stride)


def test_what_cannot_be_made_is_told(tmp_path: Any) -> None:
    pictures, shapes = data_of("images"), data_of("voxels")
    context = clip()["energy"].reference.free(1)
    hidden = context.hidden.clone()
    hidden[..., 0] = False
    damaged = ConditionalEnergy(ClipReference.of(type(context)(*context.tensors()[:2], hidden, context.others)), 3)
    one = clip()["data"]
    for stage, values, words in (
        (Synthesize(frames=8), values_of(pictures, encoder(pictures)), r"synthesize\.frames is for the energy of one"),
        (Synthesize(windows=8), values_of(pictures, encoder(pictures)), r"synthesize\.windows is for"),
        (Synthesize(frames=8), texture(), r"synthesize\.frames is for the energy of a clip"),
        (Synthesize(height=16), clip(), r"synthesize\.frames, \.height and \.width: "),
        (Synthesize(windows=5), texture(), r"synthesize\.windows: does not divide"),
        (Synthesize(), values_of(shapes, of_details()), "knows nothing whole"),
        (Synthesize(), values_of(one, damaged), "one damaged clip"),
        (Synthesize(label="a"), values_of(pictures, encoder(pictures)), "has no classes"),
        (Synthesize(guidance=2.0), values_of(pictures, encoder(pictures)), "needs a class"),
    ):
        with pytest.raises(InputError, match=words):
            stage(values, run_in(tmp_path))


@pytest.mark.parametrize(
    "settings",
    [
        {"num": 0}, {"guidance": -1.0}, {"remask": -1}, {"frames": 1}, {"height": 4}, {"width": 5000}, {"margin": -1},
        {"windows": 2}, {"windows": 8, "margin": 4}, {"warm_up": 60},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Synthesize(**settings)


def test_samples_of_a_long_clip_are_64_frames_where_nothing_is_said():
    clip = torch.zeros(1, 3, 250, 8, 8)
    data = Examples("video", tuple(clip.shape[1:]), clip, clip[:0])
    assert Synthesize().sides(data) == (64, 8, 8) and Synthesize(frames=125).sides(data) == (125, 8, 8)
