"""How good the recovery of a clip is that is read frame by frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from pipelines.measures.metrics import PSNR_CAP, ssim_map
from pipelines.windows.damage import Damage
from pipelines.windows.film import levels
from pipelines.windows.footage import Footage

AROUND = 6  # pixels beside what is hidden that similarity looks at
BAND = 0.9


def scores(footage: Footage, damage: Damage, made: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """PSNR in dB, mean absolute error of 0 to 255 and SSIM of values [C, N] by name, on what is hidden; as
    `measures.metrics.score`, the mean of frames that are cut to what is hidden."""
    totals = {name: torch.zeros(3, dtype=torch.double) for name in made}
    for t, frame in enumerate(footage.frames()):
        mask = damage.mask(t)
        if not mask.any():
            continue
        truth = levels(frame)
        rows, columns = (axis.nonzero()[:, 0] for axis in (mask.any(1), mask.any(0)))
        cut = (
            slice(None),
            slice(max(0, int(rows[0]) - AROUND), int(rows[-1]) + AROUND + 1),
            slice(max(0, int(columns[0]) - AROUND), int(columns[-1]) + AROUND + 1),
        )
        for name, values in made.items():
            error = (damage.pasted(truth, t, values) - truth)[:, mask].double()
            similar = ssim_map(damage.pasted(truth, t, values)[cut], truth[cut])[:, mask[cut[1:]]]
            totals[name] += torch.stack([error.square().sum(), error.abs().sum(), similar.sum()])
    num = 3 * damage.num
    found = {name: (total / num).tolist() for name, total in totals.items()}
    return {
        name: {"psnr": min(PSNR_CAP, -10 * math.log10(max(square, 1e-12) / 4)), "mae": 127.5 * mean, "ssim": similar}
        for name, (square, mean, similar) in found.items()
    }


def truth_of(footage: Footage, damage: Damage) -> Tensor:
    """What is hidden, float [C, N]."""
    parts = [levels(frame)[:, damage.mask(t)] for t, frame in enumerate(footage.frames()) if damage.mask(t).any()]
    return torch.cat(parts, 1)


def coverage(footage: Footage, damage: Damage, mean: Tensor, spread: Tensor) -> float:
    """Share of the hidden values in the central band of probability 90 % around means [C, N], of deviations [1, N]."""
    half_width = NormalDist().inv_cdf((1 + BAND) / 2) * spread.float()
    inside = (truth_of(footage, damage) - mean.float()).abs() <= half_width
    return float(inside.float().mean())


def evaluated(values: Mapping[str, Any]) -> dict[str, Any]:
    """What `recovered` values [C, N] of a clip are like, for metrics.json."""
    footage: Footage = values["footage"]
    damage: Damage = values["damage"]
    (name, way), *_ = values["ways"].items()
    found: dict[str, Any] = {
        "observation": "hidden", "num": 1, "truth_known": values["truth_known"],
        "hidden_share": round(damage.share, 6), "way": name, "seconds": {name: way["seconds"]},
        "shrinkage": values["gate"].shrinkage, "one_sample": None,
    }  # fmt: skip
    told = {kind: value for kind, value in way.items() if not isinstance(value, Tensor)}
    if not values["truth_known"]:
        ours = way["held_out"]
        judged = {"elements": ours["pixels"], "energy": {"psnr": ours["recovery"]}, "rivals": {}, "result": "energy"}
        return found | {
            "ways": {name: told}, "held_out": judged | {"initial_estimate": {"psnr": ours["initial_estimate"]}},
        }  # fmt: skip
    rows = scores(footage, damage, {"recovery": values["recovered"], "initial_estimate": way["estimate"]})
    covered = coverage(footage, damage, values["recovered"], values["spread"])
    gain = rows["recovery"]["psnr"] - rows["initial_estimate"]["psnr"]
    return found | rows | {
        "ways": {name: told | rows["recovery"]}, "initial_estimate_gain_db": gain, "coverage_90": covered,
    }  # fmt: skip
