"""Clips of moving shapes: each goes where its labels say."""

from __future__ import annotations

import pytest
import torch

from data import moving
from data.errors import InputError
from data.scenes import COLOURS


def test_a_clip_is_the_same_whatever_is_made_with_it():
    x, labels = moving.clips(40, 14, 5, seed=3)
    part, own = moving.clips(7, 14, 5, seed=3, start=20)
    assert x.shape == (40, 3, 5, 14, 14) and torch.equal(x[20:27], part)
    assert all(torch.equal(labels[name][20:27], own[name]) for name in moving.ATTRIBUTES)
    assert not torch.equal(moving.clips(40, 14, 5, seed=4)[0], x) and x.abs().max() <= 1


def test_an_object_goes_where_its_label_says_in_the_colour_it_says():
    x, labels = moving.clips(200, 24, 6, seed=0)
    bright = x - x[:, :, :, :1, :1]  # less the background
    mass = bright.abs().sum(1)
    axis = torch.arange(24.0)
    across, down = ((mass.sum(dim) * axis).sum(2) / mass.sum((2, 3)) for dim in (2, 3))
    way = torch.stack([across[:, -1] - across[:, 0], down[:, -1] - down[:, 0]], 1)
    ahead = (way * moving.HEADINGS[labels["motion"]]).sum(1)
    aside = (way * moving.HEADINGS[labels["motion"]].flip(1)).sum(1)
    assert (ahead - 2 * moving.REACH * 24).abs().max() < 0.5 and aside.abs().max() < 0.2
    steps = across.diff(dim=1) + down.diff(dim=1)
    assert (steps - steps[:, :1]).abs().max() < 0.2, "it goes at one speed"
    hue = (x.flatten(2).amax(2) + 1) / 2  # an object's channel where it is brightest
    guess = torch.cdist(hue, COLOURS).argmin(1)
    assert (guess == labels["colour"]).float().mean() > 0.9
    filled = (mass[:, 0] > mass[:, 0].flatten(1).amax(1)[:, None, None] / 2).sum((1, 2))
    assert filled[labels["shape"] == 0].min() > filled[labels["shape"] == 1].max(), "a circle is fuller than a cross"
    for name, values in moving.ATTRIBUTES.items():
        assert len(labels[name].unique()) == len(values)


@pytest.mark.parametrize("bad", [{"num": 0}, {"side": 11}, {"frames": 1}, {"seed": -1}, {"start": -1}])
def test_clips_that_cannot_be_made_are_refused(bad):
    with pytest.raises(InputError, match=r"must be|too small"):
        moving.clips(**{"num": 2, **bad})
