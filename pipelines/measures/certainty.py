"""How sure a classifier is, and how right: calibration, and telling what does not belong."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

BINS = 15


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
