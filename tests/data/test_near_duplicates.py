"""Near-twins stay together."""

from __future__ import annotations

import numpy as np

from data import furniture, grids, near_duplicates


def shapes() -> np.ndarray:
    pieces = [furniture.make("chair", seed=0, index=k, size=16)[0] for k in range(20)]
    near = pieces[3].copy()
    near[tuple(np.argwhere(near)[0])] = False
    lopsided = pieces[5].copy()
    lopsided[:8] = False
    return np.stack([*pieces, near, lopsided, lopsided[::-1]])


def test_twins_and_mirror_images_share_a_group():
    numbers = near_duplicates.groups(grids.pack(shapes()), 16)
    assert numbers[3] == numbers[20] and numbers[21] == numbers[22]
    assert numbers[0] != numbers[21]


def test_no_near_twin_is_on_both_sides_of_a_split():
    solid = shapes()
    train, held_out = near_duplicates.split(grids.pack(solid), 16, 0.3, np.random.default_rng(0))
    assert not set(train) & set(held_out) and len(held_out) >= 3
    for k in held_out:
        for j in train:
            for other in (solid[j], solid[j][::-1]):
                assert (solid[k] & other).sum() <= 0.9 * (solid[k] | other).sum()
