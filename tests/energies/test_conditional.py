"""The conditional energy of shapes: what it is told is held, and it comes back from disk the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import energies
from data import furniture
from energies import (
    AmortisedPosterior,
    Average,
    ClipReference,
    ConditionalEnergy,
    Conditioned,
    Context,
    DataReference,
    Hidden,
    LocalReference,
    Stacked,
)
from energies.references.dataset import DataEstimator


@pytest.fixture(scope="module")
def shapes() -> Tensor:
    pieces = [furniture.make("table", seed=1, index=k, size=16)[0] for k in range(24)]
    return torch.from_numpy(np.stack(pieces))[:, None].float() * 2 - 1


@pytest.fixture(scope="module")
def energy(shapes) -> ConditionalEnergy:
    torch.manual_seed(0)
    reference = DataReference([1, 16, 16, 16], 20, rank=30)
    reference.fit(shapes[:20])
    made = ConditionalEnergy(reference, 1, (8, 12), (1, 1), (2, 2, 2))
    with torch.no_grad():
        made.net.skip.weight.normal_(0, 0.1)
    return made


def test_seen_voxels_are_kept_and_hidden_ones_expected(energy, shapes):
    x = shapes[20:]
    hidden = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    mean = energy.posterior(Hidden(hidden), torch.where(hidden, 9.0, x)).posterior_mean()
    assert torch.equal(mean[~hidden], x[~hidden])
    assert not torch.equal(mean[hidden], x[hidden])


def test_what_lies_where_it_is_hidden_does_not_matter(energy, shapes):
    x = shapes[20:]
    hidden = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    means = [energy.posterior(Hidden(hidden), torch.where(hidden, value, x)).posterior_mean() for value in (0.0, 9.0)]
    assert torch.equal(*means)


def test_a_shape_of_the_data_is_recovered_from_a_part(shapes):
    estimator = DataEstimator(shapes, rank=100, noise=0.05)
    hidden = torch.zeros(4, 1, 16, 16, 16, dtype=torch.bool)
    hidden[:, :, :8] = True
    estimate = estimator.context(Hidden(hidden), torch.where(hidden, 0.0, shapes[:4])).estimate
    assert ((estimate > 0) == (shapes[:4] > 0)).float().mean() > 0.995


def test_the_estimator_knows_mirror_images_too(shapes):
    estimator = DataEstimator(shapes, rank=30)
    hidden = torch.rand(4, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.5
    y = torch.where(hidden, 0.0, shapes[:4])
    estimate = estimator.context(Hidden(hidden), y).estimate
    mirrored = estimator.context(Hidden(hidden.flip(2)), y.flip(2)).estimate
    assert torch.allclose(estimate, mirrored.flip(2), atol=1e-3)


def test_at_any_level_the_network_is_given_x_of_one_size(tmp_path):
    """A network that answers a v makes the energy |z|^2 / (1 + tau^2) (1/2 - a / tau), in closed form."""
    a, m, s = 0.3, 0.2, 0.1
    picture = torch.full((1, 1, 4, 8, 8), m)
    whole = torch.ones_like(picture)
    reference = ClipReference.of(Context(picture, s * whole, whole.bool(), picture[:, None][:, :0]))
    made = ConditionalEnergy(reference, 1, (4,), (1,), at_any_level=True)
    with torch.no_grad():
        for weights in made.net.parameters():
            weights.zero_()
        made.net.skip.weight[0, 0] = a
    made.save_pretrained(tmp_path)
    found = energies.load(tmp_path)
    assert isinstance(found, ConditionalEnergy) and torch.equal(found.free().posterior_mean(), picture)
    z = torch.randn(1, 1, 4, 8, 8)
    for tau in (0.1, 1.0, 50.0):
        x = m + s * z * (1 + tau**2) ** 0.5
        torch.testing.assert_close(found.at(tau)(x), (z.square().sum() * (0.5 - a / tau))[None])
        wanted = m + s * z * (1 + 2 * a * tau) / (1 + tau**2) ** 0.5
        torch.testing.assert_close(found.at(tau).denoise(x), wanted, rtol=1e-4, atol=1e-4)


def test_details_take_grids_of_any_size(shapes):
    torch.manual_seed(0)
    made = ConditionalEnergy(LocalReference(), 1, (8,), (1,), (2, 2, 2))
    y = Average((2, 2, 2)).observe(shapes[:2])
    assert made.posterior(Average((2, 2, 2)), y).posterior_mean().shape == (2, 1, 16, 16, 16)
    assert made.posterior(Average((4, 4, 4)), y).posterior_mean().shape == (2, 1, 32, 32, 32)
    assert isinstance(LocalReference().context(Average((2, 2, 2)), y).estimate, Tensor)
    with pytest.raises(RuntimeError, match="knows no whole x"):
        made.free()


def test_saved_and_loaded_it_is_the_same(energy, shapes, tmp_path):
    energy.save_pretrained(tmp_path)
    again = energies.load(tmp_path)
    assert torch.equal(again.at(0.5)(shapes[:3]), energy.at(0.5)(shapes[:3]))
    assert torch.equal(again.reference.data, energy.reference.data)
    assert (again.reference.estimator.x[:20] - shapes[:20]).abs().max() < 1e-6


def test_what_it_is_not_told_of_is_held_all_the_same(energy, shapes):
    both = Stacked((Average((2, 2, 2)), Hidden(torch.zeros(1, 1, 16, 16, 16, dtype=torch.bool))))
    posterior = energy.posterior(both, both.observe(shapes[20:22]))
    assert isinstance(posterior, Conditioned) and not isinstance(posterior, AmortisedPosterior)
    x = posterior.at(0.5).denoise(torch.zeros(2, 1, 16, 16, 16))
    torch.testing.assert_close(x, shapes[20:22], rtol=0, atol=1e-4)


def test_features_tell_shapes_apart_and_do_not_depend_on_the_batch(energy, shapes):
    network = energy.free().at(0.5)
    both = network.features(shapes[:4])
    assert torch.allclose(both[2:], network.features(shapes[2:4]), atol=1e-5)
    assert (both[0] - both[1]).abs().max() > 1e-3
