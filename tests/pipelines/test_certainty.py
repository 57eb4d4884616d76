"""How sure a classifier is, how right, and how easily fooled: calibration, detection and attacks."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from conftest import seeded
from sklearn.metrics import accuracy_score, roc_auc_score, roc_curve
from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import InputError
from energies import JointEnergy, NoisyClassifier
from pipelines.measures.certainty import calibration, detection
from pipelines.measures.classes import probabilities
from pipelines.modalities.images.strangers import made, windows
from pipelines.stage import Run
from pipelines.stages import score as scoring
from pipelines.stages.attack import accuracy, pgd

# ----------------------------------------------------------------------------------------- calibration


def test_the_calibration_error_of_a_few_answers_is_known():
    """Sure by 0.92, 0.92, 0.6, 0.6, 0.6, 1: one of two is right, two of three, and the last."""
    sure = torch.tensor([0.92, 0.92, 0.6, 0.6, 0.6, 1.0], dtype=torch.float64)
    found = calibration(torch.stack([sure, 1 - sure], 1), torch.tensor([0, 1, 0, 0, 1, 0]))
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["ece"] == pytest.approx((abs(1 - 1.84) + abs(2 - 1.8)) / 6)
    assert found["bins"]["confidence"] == pytest.approx([0.6, 0.92, 1.0]), "of fifteen bins, 0.92 and 1 are in two"
    assert found["bins"]["accuracy"] == pytest.approx([2 / 3, 1 / 2, 1.0])
    assert found["bins"]["share"] == pytest.approx([3 / 6, 2 / 6, 1 / 6])


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_is_that_of_scikit_learn_and_the_bins_add_up(seed):
    logits = 2 * torch.randn(500, 7, generator=seeded(seed))
    labels = torch.randint(7, (500,), generator=seeded(seed + 10))
    labels = torch.where(torch.rand(500, generator=seeded(seed)) < 0.4, logits.argmax(1), labels)
    found = calibration(logits.softmax(1), labels)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    share, right, sure = (torch.tensor(found["bins"][name]) for name in ("share", "accuracy", "confidence"))
    assert share.sum() == pytest.approx(1) and (share * right).sum() == pytest.approx(found["accuracy"])
    assert (share * (right - sure).abs()).sum() == pytest.approx(found["ece"])
    place = (sure * 15).long()
    assert torch.equal(place, place.unique()), "a bin each, in order"


def test_probabilities_that_are_true_are_calibrated_and_bold_ones_are_not():
    num = 20_000
    p = (2 * torch.randn(num, 5, generator=seeded(0))).softmax(1)
    labels = torch.multinomial(p, 1, generator=seeded(1))[:, 0]
    # The error of a bin of n is at most sqrt(n) / 2 on average, and by Cauchy all fifteen sqrt(15 num) / 2.
    assert calibration(p, labels)["ece"] < (15 / num) ** 0.5 / 2
    for power in (3.0, 0.3):
        bold = p**power / (p**power).sum(1, keepdim=True)
        found = calibration(bold, labels)
        assert found["ece"] > 0.1 and found["accuracy"] == calibration(p, labels)["accuracy"]
    assert calibration(F.one_hot(labels, 5).float(), labels)["ece"] == 0
    assert calibration(F.one_hot((labels + 1) % 5, 5).float(), labels)["ece"] == 1


# ------------------------------------------------------------------------------------------- detection


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "m"), [(300, 200), (40, 20), (21, 333), (50, 7)])
def test_detection_is_that_of_scikit_learn(n, m, ties):
    inside, outside = torch.randn(n, generator=seeded(0)), torch.randn(m, generator=seeded(1)) + 0.8
    if ties:
        inside, outside = inside.round(), outside.round()
    found = detection(inside, outside)
    truth, scores = torch.cat([torch.zeros(n), torch.ones(m)]), torch.cat([inside, outside])
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
    passed, known, _ = roc_curve(1 - truth, -scores, drop_intermediate=False)
    least, most = (passed[(known >= min(share, 1) - 1e-12).argmax()] for share in (0.95, 0.95 + 1.5 / n))
    assert least <= found["fpr95"] <= most, "of what is outside, where 95 % of the inside pass, give or take one"


def test_the_false_positives_are_counted_where_exactly_95_percent_pass():
    inside, outside = torch.arange(20.0), torch.cat([torch.full((3,), 18.5), torch.full((7,), 17.5)])
    assert detection(inside, outside)["fpr95"] == pytest.approx(0.7), "19 of 20 lie up to 18"


def test_detection_at_its_ends():
    low, high = torch.linspace(0, 1, 30), torch.linspace(2, 3, 50)
    assert detection(low, high) == {"auroc": 1.0, "fpr95": 0.0}
    assert detection(high, low) == {"auroc": 0.0, "fpr95": 1.0}
    assert detection(torch.ones(30), torch.ones(50)) == {"auroc": 0.5, "fpr95": 1.0}
    # Energies are large and nearly the same: what float32 tells apart is told apart.
    assert detection(1e4 + low, 1e4 + high)["auroc"] == 1


# --------------------------------------------------------------------------------------------- attacks

BALLS = [("linf", 0.1), ("linf", 0.6), ("l2", 0.5), ("l2", 3.0)]
balls = pytest.mark.parametrize(("norm", "size"), BALLS)


def test_what_a_sure_classifier_doubts_is_still_told_apart():
    """The chance of any other label, where the likeliest one's rounds to 1."""
    logits = torch.tensor([[30.0, 0.0, -99.0], [60.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    wanted = torch.tensor([-30.0, math.log(2) - 60, math.log(2 / 3)])
    torch.testing.assert_close(scoring._doubts(logits), wanted)


def test_margins_forget_what_all_classes_share_and_scores_are_standard_over_the_reference(tmp_path):
    logits = torch.tensor([[2.0, 0.0, 1.0], [7.0, 5.0, 6.0]])
    found = scoring._margins(logits)
    assert found[0] == pytest.approx(1 - math.log(math.e**2 + 1 + math.e)) and found[1] == pytest.approx(
        float(found[0])
    )
    torch.testing.assert_close(scoring._energies(logits), -logits.logsumexp(1))
    energy, run = JointEnergy(classifier(), 4), Run(tmp_path, tmp_path)
    reference, x = torch.rand(60, 1, 6, 6, generator=seeded(1)), torch.rand(9, 1, 6, 6, generator=seeded(2))
    for of in (scoring._margins, scoring._energies):
        logits = scoring.Logits({"own": energy}, run)
        score = scoring._summed(of, partial(logits, "own"), (0.5,), reference)
        assert abs(score(reference).mean()) < 1e-4 and score(reference).std() == pytest.approx(1, abs=1e-4)
        own = of(energy.logits(reference)).detach()
        torch.testing.assert_close(
            score(x), (of(energy.logits(x)).detach() - own.mean()) / own.std(), rtol=1e-2, atol=1e-3
        )


class Leveled(NoisyClassifier):
    """Logits that depend on the noise level alone."""

    mean, spread = torch.zeros(1, 2, 2), 1.0

    def __init__(self, level: float = 1.0) -> None:
        super().__init__()
        self.level = level

    def at(self, noise: float) -> Leveled:
        return Leveled(noise)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([self.level, 0.0]).expand(len(x), 2)


def test_classes_of_a_family_are_the_mean_of_those_at_its_levels(tmp_path):
    found = probabilities(JointEnergy(Leveled(), 2), torch.zeros(3, 1, 2, 2), (1.0, 3.0), Run(tmp_path, tmp_path))
    sure = (1 / (1 + math.exp(-1)) + 1 / (1 + math.exp(-3))) / 2
    torch.testing.assert_close(found, torch.tensor([[sure, 1 - sure]]).expand(3, 2))


def classifier() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 36, 4))


@pytest.fixture
def pictures() -> Tensor:
    """Some of their pixels are black and white already."""
    return (torch.randn(12, 1, 6, 6, generator=seeded(0)) * 0.8).clamp(-1, 1)


def length(change: Tensor, norm: str) -> Tensor:
    return change.flatten(1).abs().amax(1) if norm == "linf" else change.flatten(1).norm(dim=1)


@balls
@pytest.mark.parametrize("steps", [1, 10])
def test_an_attack_stays_in_its_ball_and_within_the_range_and_raises_the_loss(norm, size, steps, pictures):
    logits, labels = classifier(), torch.arange(12) % 4
    moved = pgd(logits, pictures, labels, norm, size, steps, seeded(1))
    reach = length(moved - pictures, norm)
    assert (reach <= size * (1 + 1e-5)).all() and moved.abs().max() <= 1 + 1e-6 and not moved.requires_grad
    before, after = (F.cross_entropy(logits(x), labels, reduction="none") for x in (pictures, moved))
    assert (after > before).all(), "every picture is worse off"
    if steps == 10:
        assert (reach > 0.5 * size).all(), "it uses what it may"
    assert all(p.grad is None for p in logits.parameters()), "nothing is learned from it"


@balls
def test_an_attack_on_a_linear_classifier_is_the_best_there_is(norm, size):
    """Of two classes the loss rises with one direction w: by size sign(w), or size w / |w|."""
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    x, labels = 0.3 * torch.rand(10, 1, 6, 6, generator=seeded(0)) - 0.15, torch.arange(10) % 2
    w = linear[1].weight.detach()
    slope = torch.stack([w[1 - label] - w[label] for label in labels]).view_as(x)
    best = slope.sign() if norm == "linf" else slope / slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    best = (x + size * best).clamp(-1, 1)
    found = pgd(linear, x, labels, norm, size, 40, seeded(2))
    exact, risen = (F.cross_entropy(linear(v), labels, reduction="none") for v in (best, found))
    start = F.cross_entropy(linear(x), labels, reduction="none")
    assert ((risen - start) > 0.97 * (exact - start)).all(), "it steps to and fro about the best"
    assert (exact > risen - 1e-5).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_larger_ball_costs_more_and_none_nothing(norm, pictures):
    logits, energy = classifier(), JointEnergy(classifier(), 4)
    labels = logits(pictures).argmax(1)
    assert torch.equal(pgd(logits, pictures, labels, norm, 0.0, 5, seeded(0)), pictures)
    fooled = [pgd(logits, pictures, labels, norm, size, 10, seeded(0)) for size in (0.0, 0.01, 2.0)]
    shares = [accuracy(energy, x, labels, torch.device("cpu")) for x in fooled]
    assert shares[1] == pytest.approx(accuracy_score(labels, logits(fooled[1]).argmax(1)))
    assert shares[0] == 1 and shares == sorted(shares, reverse=True) and shares[2] < 0.3
    first, same, other = (pgd(logits, pictures, labels, norm, 0.3, 2, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other), "from a random start"


# ------------------------------------------------------------------------------------- what is outside


@pytest.mark.parametrize("channels", [1, 3])
def test_windows_are_parts_of_the_photograph_and_differ(channels):
    photograph = torch.arange(channels * 20 * 30.0).view(channels, 20, 30)
    found = windows(photograph, 8, 6, 15)
    assert found.shape == (15, channels, 8, 6)
    corners = found[:, 0, 0, 0].long()
    assert len(corners.unique()) == 15, "each is another"
    for window, corner in zip(found, corners.tolist(), strict=True):
        y, left = divmod(corner, 30)
        assert torch.equal(window, photograph[:, y : y + 8, left : left + 6])
    down, across = corners // 30, corners % 30
    assert (down.min(), down.max()) == (0, 12) and across.min() < 4 and across.max() > 20, "from all over it"
    assert torch.equal(windows(photograph, 20, 30, 2), photograph.expand(2, -1, -1, -1))


@pytest.mark.parametrize(("height", "width"), [(21, 6), (8, 31)])
def test_a_photograph_that_is_too_small_is_refused(height, width):
    with pytest.raises(InputError, match=f"must have {width}x{height} pixels or more"):
        windows(torch.zeros(1, 20, 30), height, width, 3)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 10, 16), (1, 8, 140)], ids=str)
def test_what_is_made_to_be_outside_is_like_the_pictures_but_none_of_them(shape):
    x = torch.rand(20, *shape, generator=seeded(0)) * 2 - 1
    found = made(x, seeded(1))
    assert found.keys() == {"rotated", "mirrored", "blank", "noise", "bricks"}
    for name, pictures in found.items():
        assert pictures.shape == x.shape and pictures.abs().max() <= 1, name
        assert not torch.equal(pictures, x) and len(pictures.unique(dim=0)) == 20, name
    assert torch.equal(found["mirrored"].flip(3), x)
    turns = 3 if shape[1] == shape[2] else 2
    assert torch.equal(found["rotated"].rot90(turns, (2, 3)), x)
    assert (found["blank"].flatten(1).std(1) == 0).all()
    again = made(x, seeded(1))
    assert all(torch.equal(again[name], pictures) for name, pictures in found.items())
