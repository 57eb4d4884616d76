"""How collections are compared, by features of a judge."""

from __future__ import annotations

import pytest
import torch
from conftest import seeded
from tiny import data_of

from energies import EncoderEnergy
from pipelines.measures import judge
from pipelines.measures.solids import likeliest
from pipelines.measures.synthesis import OfPictures
from pipelines.modalities import modality_of


def test_the_frechet_distance_of_gaussians_is_known() -> None:
    a = torch.randn(4000, 3, generator=seeded(0))
    assert judge.frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert judge.frechet(a, a + torch.tensor([1.0, 0.0, 2.0])) == pytest.approx(5, abs=1e-4)
    wider = float(4 * a.double().T.cov().trace() + (2 * a.mean(0)).square().sum())
    assert judge.frechet(a, 3 * a) == pytest.approx(wider, rel=1e-4)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=seeded(1))).Q
    b = torch.randn(4000, 3, generator=seeded(2)) * torch.tensor([1.0, 2.0, 3.0])
    assert judge.frechet(a @ turn, b @ turn) == pytest.approx(judge.frechet(a, b), rel=1e-4)


def test_precision_falls_with_strangers_and_recall_with_what_is_missing() -> None:
    real = torch.randn(400, 2, generator=seeded(0))
    real[200:] += 20
    half = torch.randn(400, 2, generator=seeded(1))  # all of them near to the first half
    precision, recall = judge.precision_recall(half, real)
    assert precision > 0.9 and recall == pytest.approx(0.5, abs=0.05)
    precision, recall = judge.precision_recall(real, half)
    assert precision == pytest.approx(0.5, abs=0.05) and recall > 0.9


def test_pictures_to_judge_by_are_as_far_from_those_to_learn_from_as_new_ones_may_be() -> None:
    """A copy of what was learned from is at 0, and what is real but was not learned from is not."""
    data = data_of("images")
    torch.manual_seed(0)
    by = judge.Classifier(1, 6).eval()
    compare = OfPictures(data, by, by.features(data.x("validation")))
    found = compare.beside(data.x("train", slice(6)), None, seeded(0))
    assert found["samples"]["nearest_training"] == pytest.approx(0, abs=0.01)
    apart = torch.cdist(by.features(data.x("validation")), by.features(data.x())).amin(1).median()
    assert found["real"]["nearest_training"] == pytest.approx(float(apart)) and apart > 0.01


def test_samples_of_noisy_energies_are_near_to_means_and_become_the_likeliest_solids() -> None:
    soft = torch.full((1, 1, 8, 8, 8), -0.4)
    soft[:, :, :2] = -0.2  # as all are below 0, none would be set by their signs
    made = modality_of("voxels").made(soft, EncoderEnergy((1, 8, 8, 8), (4,), (1,)))
    assert torch.equal(made > 0, likeliest(soft)) and (made[:, :, :2] == 1).all()
