"""Say how good recovered pictures are, beside simple methods on the same input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines import metrics as measure
from pipelines.pipeline import Run
from pipelines.stages.images.hide import observation_of
from pipelines.stages.images.load import to_float
from pipelines.stages.results import save_metrics

MOST = 20_000  # pictures among which the nearest is looked for


@dataclass(frozen=True)
class EvaluateRecovery:
    """Score recovered pictures beside baselines, into metrics.json: on the hidden pixels, or all where none is seen."""

    needs: ClassVar[tuple[str, ...]] = (
        "images", "targets", "measured", "observation", "truth_known", "recovered", "samples",
    )  # fmt: skip
    gives: ClassVar[tuple[str, ...]] = ("metrics", "rivals", "summary")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        kind, y, targets = values["observation"], values["measured"], values["targets"]
        rivals = baselines(to_float(values["images"]["train"][:MOST]), kind, y)
        found: dict[str, Any] = {"observation": kind["kind"], "num": len(y), "truth_known": values["truth_known"]}
        shown, summary = next(iter(rivals)), f"{len(y)} pictures; the truth is unknown, so nothing is scored."
        if values["truth_known"]:
            where = kind["mask"] if kind["kind"] == "hidden" else torch.ones_like(targets[:, :1], dtype=torch.bool)
            samples = values["samples"]
            found["recovery"] = score(values["recovered"], targets, where)
            found["one_sample"] = score(samples, targets[: len(samples)], where[: len(samples)])
            found["baselines"] = {name: score(x, targets, where) for name, x in rivals.items()}
            shown = max(rivals, key=lambda name: found["baselines"][name]["psnr"])
            found["best_baseline"] = shown
            found["gain_db"] = found["recovery"]["psnr"] - found["baselines"][shown]["psnr"]
            summary = _summary(found)
        save_metrics(found, run.root)
        return {"metrics": found, "rivals": {"name": shown, "pictures": rivals[shown]}, "summary": summary}


def score(x: Tensor, truth: Tensor, where: Tensor) -> dict[str, float]:
    """PSNR, MAE and SSIM on the pixels where [B, 1, H, W] of all pictures [B, C, H, W] together."""
    estimate, known = (v.expand(-1, 3, -1, -1).movedim(0, 1) for v in (x, truth))
    return measure.score(estimate, known, where[:, 0])


def baselines(train: Tensor, kind: dict[str, Any], y: Tensor) -> dict[str, Tensor]:
    """What needs no learning, [B, C, H, W] each, with what is seen put back."""
    observation = observation_of(kind)
    if kind["kind"] == "hidden":
        seen = (~kind["mask"]).float().expand_as(y).flatten(1)
        distance = seen @ train.flatten(1).square().T - 2 * (y.flatten(1) * seen) @ train.flatten(1).T
    else:
        distance = torch.cdist(y.flatten(1), observation.observe(train).flatten(1))
    found = {"nearest_training": train[distance.argmin(1)], "mean": train.mean(0).expand(len(y), -1, -1, -1)}
    if kind["kind"] == "hidden":
        found["biharmonic"] = torch.stack([_biharmonic(x, m) for x, m in zip(y, kind["mask"], strict=True)])
    elif kind["kind"] == "average":
        size = [side * kind["factor"] for side in y.shape[2:]]
        found["bicubic"] = F.interpolate(y, size, mode="bicubic", align_corners=False)
    else:
        found["grey"] = y.expand(-1, 3, -1, -1)
    return {name: observation.project(x, y).clamp(-1, 1) for name, x in found.items()}


def _biharmonic(y: Tensor, hidden: Tensor) -> Tensor:
    """The smoothest picture through the seen pixels (Damelin & Hoang 2018; scikit-image)."""
    from skimage.restoration import inpaint_biharmonic

    parts = [inpaint_biharmonic(channel.double().numpy(), hidden[0].numpy()) for channel in y]
    return torch.stack([torch.from_numpy(part) for part in parts]).float()


def _summary(found: dict[str, Any]) -> str:
    rows = {"recovery": found["recovery"], "one sample": found["one_sample"]} | found["baselines"]
    lines = [f"{'':20}{'PSNR':>8}{'MAE':>8}{'SSIM':>8}"]
    lines += [f"{n.replace('_', ' '):20}{s['psnr']:8.2f}{s['mae']:8.2f}{s['ssim']:8.3f}" for n, s in rows.items()]
    verb = "better" if found["gain_db"] >= 0 else "WORSE"
    lines.append(
        f"{abs(found['gain_db']):.2f} dB {verb} than the best baseline ({found['best_baseline'].replace('_', ' ')})"
    )
    return "\n".join(lines)
