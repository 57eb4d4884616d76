"""The estimates that a data set gives, against closed forms: which data are nearest, and what their neighbours tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import seeded
from scipy.ndimage import gaussian_filter
from torch import Tensor

from energies import AmortisedPosterior, Average, Blur, ConditionalEnergy, Grey, Hidden, Noisy, Observation
from energies.references import DataEstimator, DataReference, LocalReference
from energies.references.dataset import most_alike

PICTURES = torch.rand(30, 3, 6, 6, generator=seeded(0)) * 2 - 1
SHAPES = (torch.rand(30, 1, 4, 4, 4, generator=seeded(1)) - 0.5).sign()
LINEAR, WIDE, FIRST, MEAN = range(4)  # further estimates of hidden elements; of other measurements the second is plain


def mask(size: tuple[int, ...], num: int, seed: int = 2) -> Tensor:
    return torch.rand(num, 1, *size, generator=seeded(seed)) < 0.5


def test_where_elements_are_hidden_the_nearest_pictures_are_those_of_least_squares() -> None:
    y, hidden = PICTURES[:4] + 0.3 * torch.randn(4, 3, 6, 6, generator=seeded(3)), mask((6, 6), 4)
    context = DataEstimator(PICTURES, 5, 0.3, binary=False).context(Hidden(hidden), torch.where(hidden, 0.0, y))
    for k in range(4):
        distances = ((PICTURES - y[k]) * ~hidden[k]).square().sum((1, 2, 3))
        five = PICTURES[distances.argsort()[:5]]
        torch.testing.assert_close(context.others[k, FIRST], five[0])
        torch.testing.assert_close(context.others[k, MEAN], five.mean(0))


@pytest.mark.parametrize("observation", [Average((2, 2)), Grey(), Blur(1.0), Noisy(Blur(1.0), 0.1)])
def test_of_other_measurements_the_nearest_pictures_are_measured_the_most_alike(observation: Observation) -> None:
    y = observation.observe(PICTURES[:4] + 0.2 * torch.randn(4, 3, 6, 6, generator=seeded(4)))
    context = DataEstimator(PICTURES, 5, 0.3, binary=False).context(observation, y)
    for k in range(4):
        distances = (observation.observe(PICTURES) - y[k]).square().sum((1, 2, 3))
        five = PICTURES[distances.argsort()[:5]]
        torch.testing.assert_close(context.others[k, FIRST], five[0])
        torch.testing.assert_close(context.others[k, MEAN], five.mean(0))


def test_what_is_kept_of_one_measurement_does_not_serve_another() -> None:
    """Means and grey levels of the data are kept, each by itself."""
    kept = DataEstimator(PICTURES, 5, 0.3, binary=False)
    for observation in (Average((2, 2)), Grey(), Average((3, 3)), Average((2, 2))):
        y = observation.observe(PICTURES[:4])
        found, wanted = (e.context(observation, y) for e in (kept, DataEstimator(PICTURES, 5, 0.3, binary=False)))
        for ours, theirs in zip(found.tensors(), wanted.tensors(), strict=True):
            assert torch.equal(ours, theirs)


def test_shapes_are_as_alike_as_their_intersection_over_union_where_they_are_seen() -> None:
    y, seen = -SHAPES[:3].flip(2), ~mask((4, 4, 4), 3)
    order = most_alike(SHAPES, y, seen.float(), 30)
    for k in range(3):
        here, there = (y[k] > 0) & seen[k], (SHAPES > 0) & seen[k]
        ious = (here & there).sum((1, 2, 3, 4)) / (here | there).sum((1, 2, 3, 4))
        torch.testing.assert_close(ious[order[k]], ious.sort(descending=True).values)
        assert len(order[k].unique()) == 30


@pytest.mark.parametrize("binary", [False, True])
def test_what_the_components_miss_of_a_seen_element_goes_on_into_its_neighbours(binary: bool) -> None:
    """Of data that are all alike the expected x is their mean m; where y is m + d, a neighbour is m + d w / (w + 0.1),
    w the share of the Gaussian about it that is seen."""
    size = (8, 8, 8) if binary else (8, 8)
    m = -torch.ones(1, *size) if binary else torch.full((3, *size), -0.4)
    hidden = mask(size, 1)
    y = torch.where(hidden, 0.0, m + 0.3)
    context = DataEstimator(torch.stack([m, m]), 5, 0.6, binary).context(Hidden(hidden), y)
    for kind, width in ((None, 0.7), (WIDE, 1.5)):
        seen = (~hidden[0, 0]).numpy().astype(np.float64)
        w = torch.from_numpy(gaussian_filter(seen, width, mode="constant", truncate=4.0)).float()
        expected = (m + 0.3 * w / (w + 0.1)).expand(m.shape)
        found = context.estimate[0] if kind is None else context.others[0, kind]
        where = hidden[0].expand(m.shape)
        torch.testing.assert_close(found[where], expected[where], atol=1e-4, rtol=0)
    torch.testing.assert_close(context.others[0, LINEAR], m, atol=1e-4, rtol=0)
    assert torch.equal(context.estimate[~hidden.expand_as(y)], y[~hidden.expand_as(y)])


def test_the_scale_is_how_far_the_estimates_differ() -> None:
    y, hidden = PICTURES[:4], mask((6, 6), 4)
    context = DataEstimator(PICTURES, 5, 0.3, binary=False).context(Hidden(hidden), torch.where(hidden, 0.0, y))
    apart = (context.others - context.estimate[:, None]).square().mean((1, 2))
    torch.testing.assert_close(context.scale[:, 0] ** 2, apart + 0.1**2)


def test_details_do_not_see_what_is_hidden() -> None:
    hidden, y = mask((16, 16, 16), 2), torch.ones(2, 1, 16, 16, 16)
    contexts = [LocalReference().context(Hidden(hidden), torch.where(hidden, v, y)) for v in (0.0, torch.nan)]
    for one, other in zip(*(context.tensors() for context in contexts), strict=True):
        assert torch.equal(one, other)


def test_a_reference_of_shapes_shows_the_mirror_image_of_what_is_seen():
    rng = seeded(0)
    half = torch.where(torch.rand(12, 1, 8, 8, 4, generator=rng) < 0.4, 1.0, -1.0)
    shapes = torch.cat([half, half.flip(4)], 4)  # each its own mirror image in the last axis
    reference = DataReference((1, 8, 8, 8), 10, rank=4, mirrored=True)
    reference.fit(shapes[:10])
    hidden = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
    hidden[..., 4:] = True
    context = reference.context(Hidden(hidden), torch.where(hidden, 0.0, shapes[10:]))
    assert reference.num_others == context.others.shape[1] == reference.free(2).others.shape[1]
    assert torch.equal(context.others[:, -1], shapes[10:])
    measured = reference.context(Average((2, 2, 2)), Average((2, 2, 2)).observe(shapes[10:]))
    assert measured.others.shape[1] == reference.num_others


def test_of_noise_on_two_values_the_signs_beyond_doubt_are_seen_and_y_weighs_the_others() -> None:
    reference = DataReference((1, 4, 4, 4), len(SHAPES), rank=5)
    reference.fit(SHAPES)
    energy = ConditionalEnergy(reference, 1, (4,), (1,), (2, 2, 2))
    masked = torch.zeros(1, 1, 4, 4, 4, dtype=torch.bool)
    masked[..., 0] = True
    observation = Noisy(Hidden(masked), 0.5)
    y = observation.sample(SHAPES[:6], seeded(5))
    posterior = energy.posterior(observation, y)
    assert isinstance(posterior, AmortisedPosterior)
    # P(x = 1 | y) = 1 / (1 + exp(-2 y / noise^2)) where both values are as likely before
    wrong = torch.sigmoid(-2 * y.abs() / 0.25)
    hidden = masked | (wrong > 0.01)
    assert torch.equal(posterior.energy.context.hidden, hidden) and 0.3 < float(hidden.float().mean()) < 0.6
    mean, alone = posterior.posterior_mean(), posterior.energy.posterior_mean().clamp(-0.9999, 0.9999)
    assert torch.equal(mean[~hidden], y.sign()[~hidden])
    torch.testing.assert_close(mean[..., 0], alone[..., 0])  # of what was hidden y says nothing
    odds = (1 + alone) / (1 - alone) * torch.exp(2 * y / 0.25)
    doubtful = hidden & ~masked
    torch.testing.assert_close(mean[doubtful], ((odds - 1) / (odds + 1))[doubtful], atol=2e-3, rtol=0)
    assert not DataReference((3, 6, 6), 30, binary=False).takes(Noisy(Hidden(torch.zeros(1, 1, 1, 1) > 0), 0.5))
