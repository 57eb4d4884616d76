"""How sure an answer is, and how right: bands of values, calibration of classes, telling what does not belong."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

BINS = 15
BAND = 0.9
"""Probability of the central Gaussian band that is calibrated on held-out values, and held to the truth."""
WIDTH = NormalDist().inv_cdf((1 + BAND) / 2)
"""Half its width, in standard deviations."""


def stretch(ratio: Tensor) -> float:
    """Factor of standard deviations that makes the band hold its share of held-out values, by the ratio [n] of their
    absolute errors to these deviations: the quantile of split conformal prediction, which a finite number does not
    flatter."""
    ratio = ratio.double().flatten()
    rank = min(len(ratio), int(BAND * (len(ratio) + 1)) + 1)
    return float(ratio.kthvalue(rank).values) / WIDTH


def within(mean: Tensor, spread: Tensor, truth: Tensor) -> Tensor:
    """Where the truth lies in the band around means with standard deviations `spread`: bool."""
    return (truth.double() - mean.double()).abs() <= WIDTH * spread.double()


def calibration(probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    """Accuracy, expected calibration error (Guo et al. 2017) over BINS equal bins, and the bins for a diagram.

    probabilities: [n, classes]; labels: [n].
    """
    sure, guess = probabilities.max(1)
    right = (guess == labels).double()
    place = (sure * BINS).long().clamp(0, BINS - 1)
    count = torch.bincount(place, minlength=BINS).double()
    hit = torch.bincount(place, right, BINS)
    confidence = torch.bincount(place, sure.double(), BINS)
    filled = count > 0
    return {
        "accuracy": float(right.mean()),
        "ece": float((hit - confidence).abs().sum() / len(labels)),
        "bins": {
            "confidence": (confidence[filled] / count[filled]).tolist(),
            "accuracy": (hit[filled] / count[filled]).tolist(),
            "share": (count[filled] / len(labels)).tolist(),
        },
    }


def detection(inside: Tensor, outside: Tensor) -> dict[str, float]:
    """How well a score, higher outside, tells two collections [n] and [m] apart.

    `auroc`: probability that one from outside scores above one from inside, ties count half (Mann & Whitney 1947).
    `fpr95`: share of the outside that passes where 95 % of the inside do (Liu et al. 2020).
    """
    from sklearn.metrics import roc_auc_score

    is_outside = torch.arange(len(inside) + len(outside)) >= len(inside)
    auroc = roc_auc_score(is_outside.numpy(), torch.cat([inside, outside]).double().cpu().numpy())
    threshold = inside.double().sort().values[math.ceil(0.95 * len(inside)) - 1]
    return {"auroc": float(auroc), "fpr95": float((outside.double() <= threshold).double().mean())}
