"""What is decided of shapes, and what is as good as they are: parts of the modality against brute force."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from conftest import seeded
from torch.nn import functional as F

from data.errors import InputError
from energies import Average, FunctionEnergy, Hidden, Noisy
from pipelines.examples import Examples, to_bits
from pipelines.measures.solids import likeliest
from pipelines.modalities import modality_of
from pipelines.modalities.voxels.modality import top_of_blocks

VOXELS = modality_of("voxels")
SHAPE = (1, 8, 8, 8)


def solids(num: int, seed: int, share: float = 0.3) -> torch.Tensor:
    return torch.rand(num, *SHAPE, generator=seeded(seed)) < share


def signs(solid: torch.Tensor) -> torch.Tensor:
    return solid.float() * 2 - 1


def test_the_likeliest_solid_maximises_the_expected_overlap():
    field = torch.rand(1, 1, 2, 2, 2, generator=seeded(0)) * 2 - 1
    hidden = torch.tensor([True] * 6 + [False] * 2).view(1, 1, 2, 2, 2)
    p = (field[hidden] + 1) / 2

    def expected(chosen: torch.Tensor) -> float:  # the ratio of means that the rule goes by
        inside = p[chosen].sum()
        return float(inside / (chosen.sum() + p[~chosen].sum())) if chosen.any() else 0.0

    best = max(expected(torch.tensor(chosen)) for chosen in product([False, True], repeat=6))
    solid = likeliest(field, hidden)
    assert expected(solid[hidden]) == pytest.approx(best)
    assert torch.equal(solid[~hidden], field[~hidden] > 0)


def test_blocks_hold_as_many_voxels_as_was_measured_and_the_likeliest():
    truth = solids(3, 1)
    coarse = F.avg_pool3d(signs(truth), 4)
    field = torch.rand(3, *SHAPE, generator=seeded(2))
    solid = top_of_blocks(field, coarse)
    assert torch.equal(F.avg_pool3d(signs(solid), 4), coarse)
    block, inside = field[0, 0, :4, :4, :4], solid[0, 0, :4, :4, :4]
    assert block[inside].min() >= block[~inside].max()
    assert torch.equal(top_of_blocks(truth.float(), coarse), truth)


@pytest.mark.parametrize("way", ["decided", "drawn"])
def test_what_is_seen_exactly_stays(way):
    x, mean = signs(solids(3, 3)), torch.rand(3, *SHAPE, generator=seeded(4)) * 2 - 1
    decide = getattr(VOXELS, way)
    hidden = Hidden(torch.rand(3, *SHAPE, generator=seeded(5)) < 0.5)
    found = decide(hidden.project(mean, x), hidden, hidden.observe(x))
    assert set(found.unique().tolist()) == {-1.0, 1.0} and torch.equal(hidden.observe(found), hidden.observe(x))
    means = Average((2, 2, 2))
    assert torch.equal(means.observe(decide(mean, means, means.observe(x))), means.observe(x))


def test_a_mean_is_decided_on_where_it_is_not_known():
    mean = torch.full((1, *SHAPE), -0.4)
    mean[0, 0, 0] = -0.2  # the likeliest; as all are below 0, none would be set by their signs
    y = torch.full((1, *SHAPE), -1.0)
    hidden = torch.zeros(1, *SHAPE, dtype=torch.bool)
    hidden[0, 0, :2] = True
    decided = VOXELS.decided(mean, Hidden(hidden), y)
    assert (decided[0, 0, :2] == 1).all() and (decided[0, 0, 2:] == -1).all()
    everywhere = VOXELS.decided(mean, Noisy(Hidden(hidden), 0.5), y)
    assert torch.equal(everywhere > 0, likeliest(mean)) and not torch.equal(everywhere, decided)
    assert (VOXELS.drawn(mean, Hidden(hidden), y) == -1).all()  # a sample is no mean


def test_samples_of_clean_energies_are_cut_at_0():
    soft = torch.full((1, *SHAPE), -0.4)
    assert (VOXELS.made(soft, FunctionEnergy("contrast")) == -1).all()


def test_mirror_images_are_as_good():
    x = signs(solids(40, 6))
    varied = VOXELS.varied(x, seeded(0))
    mirrored = [torch.equal(a, b.flip(1)) for a, b in zip(varied, x, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(varied, x, strict=True)]
    assert all(one != other for one, other in zip(mirrored, same, strict=True)) and 5 < sum(mirrored) < 35


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), ["voxels", "half", "box", "average2", "average4"]),
        (("half", "average"), ["half", "average2", "average4"]),
        (("voxels",), ["voxels"]),
    ],
)
def test_tasks_are_seen_as_hide_has_them(names, found):
    tasks = VOXELS.tasks(SHAPE, names)
    assert list(tasks) == found
    x = signs(solids(2, 7))
    for name, task in tasks.items():
        observation, y = task.observe(x, seeded(1))
        assert isinstance(observation, Average if name.startswith("average") else Hidden)
        assert torch.equal(y, observation.observe(x))
    with pytest.raises(InputError, match="no task grey of shapes"):
        VOXELS.tasks(SHAPE, ["grey"])


def test_block_means_that_do_not_divide_are_not_learned():
    assert list(VOXELS.tasks((1, 6, 6, 6), ["average"])) == ["average2"]


@pytest.mark.parametrize(
    "observation",
    [
        Hidden(torch.rand(4, *SHAPE, generator=seeded(8)) < 0.5),
        Noisy(Hidden(torch.rand(4, *SHAPE, generator=seeded(8)) < 0.5), 0.3),
        Noisy(Hidden(torch.zeros(1, 1, 1, 1, 1, dtype=torch.bool)), 0.3),
        Average((2, 2, 2)),
        Noisy(Average((2, 2, 2)), 0.3),
    ],
)
def test_simple_methods_are_decided_and_hold_what_is_seen_and_score_where_it_is_not(observation):
    solid = solids(14, 9)
    data = Examples("voxels", SHAPE, to_bits(solid[:10]), to_bits(solid[10:]))
    truth = data.x("validation")
    y = observation.sample(truth, seeded(2))
    where = VOXELS.scored(observation, truth)
    exact_mask = isinstance(observation, Hidden)
    assert where.shape == (4, *SHAPE) and (where.all() or exact_mask)
    methods = VOXELS.baselines(data, observation, y, lambda name: seeded(0))
    for make in methods.values():
        x = make()
        assert x.shape == truth.shape and set(x.unique().tolist()) <= {-1.0, 1.0}
        if observation.exact:
            assert torch.equal(observation.observe(x), y)
        assert 0 <= VOXELS.score(x, truth, where)["iou"] <= 1
    seen = VOXELS.seen(observation, y)
    assert seen.shape == truth.shape
    if exact_mask:
        assert torch.equal(seen > 0, (truth > 0) & ~observation.mask)
    assert VOXELS.score(truth, truth, where) == {"iou": 1.0, "voxel_error": 0.0}


def test_specks_are_no_part_of_a_whole():
    solid = torch.zeros(3, *SHAPE, dtype=torch.bool)
    solid[:2, :, :4, :4, :4] = True
    solid[1, :, 6:, 6:, 6:] = True
    shares = VOXELS.wholeness(signs(solid))
    assert shares is not None and shares.tolist() == [1.0, pytest.approx(64 / 72), 0.0]


@pytest.mark.slow
def test_sheets_and_grids_are_pictures():
    x = signs(solids(3, 10))
    assert VOXELS.grid(x, 2).ndim == 3
    assert VOXELS.sheet({"one": x, "other": x[:1]}, 2).shape[2] == 3
