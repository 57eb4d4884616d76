"""How good the recovery of a clip is that is read frame by frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipelines.measures.certainty import within
from pipelines.measures.metrics import psnr, ssim_map
from pipelines.windows.damage import Damage
from pipelines.windows.film import levels
from pipelines.windows.footage import Footage

AROUND = 6  # pixels beside what is hidden that similarity looks at


def scores(
    footage: Footage, damage: Damage, made: Mapping[str, Tensor], spread: Tensor
) -> tuple[dict[str, dict[str, float]], float]:
    """What is hidden against the truth, for which the clip is read once.

    Args:
        footage: the whole clip.
        damage: what is hidden of it.
        made: values [C, N] by name, the first of which have standard deviations `spread` [1, N].

    Returns:
        PSNR in dB, mean absolute error of 0 to 255 and SSIM of each, as of `measures.metrics.score`; and the share of
        the true values in the 90 % band around the first.
    """
    totals = {name: torch.zeros(3, dtype=torch.double) for name in made}
    inside, first = 0, next(iter(made.values()))
    for t, frame in enumerate(footage.frames()):
        mask = damage.mask(t)
        if not mask.any():
            continue
        truth = levels(frame)
        cut = _around(mask)
        for name, values in made.items():
            x = damage.pasted(truth, t, values)
            error = (x - truth)[:, mask].double()
            similar = ssim_map(x[cut], truth[cut])[:, mask[cut[1:]]]
            totals[name] += torch.stack([error.square().sum(), error.abs().sum(), similar.sum()])
        own = damage.numbers_of(t)
        inside += int(within(first[:, own], spread[:, own], truth[:, mask]).sum())
    num = len(first) * damage.num
    means = {name: (total / num).tolist() for name, total in totals.items()}
    rows = {
        name: {"psnr": psnr(square), "mae": 127.5 * error, "ssim": similar}
        for name, (square, error, similar) in means.items()
    }
    return rows, inside / num


def _around(mask: Tensor) -> tuple[slice, slice, slice]:
    """The part of a frame [C, H, W] that similarity looks at where bool [H, W]."""
    ends = [axis.nonzero()[:, 0] for axis in (mask.any(1), mask.any(0))]
    rows, columns = (slice(max(0, int(at[0]) - AROUND), int(at[-1]) + AROUND + 1) for at in ends)
    return slice(None), rows, columns


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
    made = {"recovery": values["recovered"], "initial_estimate": way["estimate"]}
    rows, covered = scores(footage, damage, made, values["spread"])
    gain = rows["recovery"]["psnr"] - rows["initial_estimate"]["psnr"]
    return found | rows | {
        "ways": {name: told | rows["recovery"]}, "initial_estimate_gain_db": gain, "coverage_90": covered,
    }  # fmt: skip
