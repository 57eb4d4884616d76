"""Say how good recovered pictures are, beside simple methods on the same input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from energies import Average, Blur, Grey, Hidden, Noisy
from energies.observation import Observation
from pipelines.measures import metrics as measure
from pipelines.pipeline import Run
from pipelines.stages.images.load import to_float
from pipelines.stages.posterior import WAYS
from pipelines.results import save_metrics

MOST = 20_000  # pictures among which the nearest is looked for


@dataclass(frozen=True)
class EvaluateRecovery:
    """Score recovered pictures beside baselines, into metrics.json: on the hidden pixels, or all where none is seen."""

    needs: ClassVar[tuple[str, ...]] = (
        "images", "targets", "measured", "observation", "truth_known", "recovered", "samples", "ways",
        "sampling",
    )  # fmt: skip
    gives: ClassVar[tuple[str, ...]] = ("metrics", "rivals", "summary")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        observation, y, targets = values["observation"], values["measured"], values["targets"]
        rivals = baselines(to_float(values["images"]["train"][:MOST]), observation, y)
        ways = values["ways"]
        found: dict[str, Any] = {
            "observation": name_of(observation),
            "num": len(y),
            "truth_known": values["truth_known"],
            "way": next(iter(ways)),
            "seconds": {name: way["seconds"] for name, way in ways.items()},
        }
        shown, summary = next(iter(rivals)), f"{len(y)} pictures; the truth is unknown, so nothing is scored."
        if values["truth_known"]:
            where = hidden_of(observation, targets)
            samples = values["samples"]
            found["recovery"] = score(values["recovered"], targets, where)
            found["one_sample"] = score(samples, targets[: len(samples)], where[: len(samples)])
            if len(ways) > 1:
                found["ways"] = {name: score(way["mean"], targets, where) for name, way in ways.items()}
            found["baselines"] = {name: score(x, targets, where) for name, x in rivals.items()}
            shown = max(rivals, key=lambda name: found["baselines"][name]["psnr"])
            found["best_baseline"] = shown
            found["gain_db"] = found["recovery"]["psnr"] - found["baselines"][shown]["psnr"]
            summary = _summary(found)
        found["sampling"] = values["sampling"]["summary"]
        summary = "\n".join([summary, *(f"chains: {line}" for line in values["sampling"]["lines"])])
        save_metrics(found, run.root)
        return {"metrics": found, "rivals": {"name": shown, "pictures": rivals[shown]}, "summary": summary}


def score(x: Tensor, truth: Tensor, where: Tensor) -> dict[str, float]:
    """PSNR, MAE and SSIM on the pixels where [B, 1, *size] of all pictures, or frames of clips, [B, C, *size]."""
    estimate, known = (v.expand(len(v), 3, *v.shape[2:]).movedim(0, 1).flatten(1, -3) for v in (x, truth))
    return measure.score(estimate, known, where[:, 0].flatten(0, -3))


def name_of(observation: Observation) -> str:
    """Its name, in metrics.json: hidden, average, grey, blur or noise, with "noisy " before it."""
    if not isinstance(observation, Noisy):
        return type(observation).__name__.lower()
    inner = observation.operator
    whole = isinstance(inner, Hidden) and not bool(inner.mask.any())
    return "noise" if whole else f"noisy {name_of(inner)}"


def hidden_of(observation: Observation, x: Tensor) -> Tensor:
    """Elements [B, 1, *size] that are scored: those that are hidden, or all where none is seen as it is."""
    if isinstance(observation, Hidden):
        return observation.mask.expand_as(x[:, :1])
    return torch.ones_like(x[:, :1], dtype=torch.bool)


def baselines(train: Tensor, observation: Observation, y: Tensor) -> dict[str, Tensor]:
    """What needs no learning, [B, C, *size] each, with what is seen exactly put back."""
    noise = observation.noise if isinstance(observation, Noisy) else 0.0
    inner = observation.operator if isinstance(observation, Noisy) else observation
    if isinstance(inner, Hidden):
        seen = (~inner.mask).float().expand_as(y).flatten(1)
        distance = seen @ train.flatten(1).square().T - 2 * (y.flatten(1) * seen) @ train.flatten(1).T
    else:
        distance = torch.cdist(y.flatten(1), inner.observe(train).flatten(1))
    found = {"nearest_training": train[distance.argmin(1)], "mean": train.mean(0).expand(len(y), *train.shape[1:])}
    if isinstance(inner, Hidden) and bool(inner.mask.any()):
        masks = inner.mask.expand(len(y), *inner.mask.shape[1:])
        found["biharmonic"] = torch.stack([_biharmonic(x, m) for x, m in zip(y, masks, strict=True)])
    elif isinstance(inner, Average):
        size = [side * factor for side, factor in zip(y.shape[2:], inner.factor, strict=True)]
        flat = y.ndim == 4
        found["bicubic" if flat else "trilinear"] = (
            F.interpolate(y, size, mode="bicubic", align_corners=False)
            if flat
            else F.interpolate(y, size, mode="trilinear")
        )
    elif isinstance(inner, Grey):
        found["grey"] = y.expand(-1, 3, *y.shape[2:])
    else:
        found["as_it_is"] = y
    if noise or isinstance(inner, Blur):
        # Least squares towards the mean picture with the variance of a pixel: Wiener's filter without correlations.
        mean, variance = train.mean(0, keepdim=True), float((train - train.mean(0)).square().mean())
        gain = inner.solve(y - inner.observe(mean), noise**2 / variance + 1e-4)
        found["wiener"] = mean + inner.adjoint(gain)
        rows = y.flatten(0, 1) if isinstance(inner, Hidden | Blur) else None
        if rows is not None and not (isinstance(inner, Hidden) and bool(inner.mask.any())):
            found["total_variation"] = torch.stack([_total_variation(x, noise) for x in rows]).view_as(y)
    if not observation.holds:
        return {name: x.clamp(-1, 1) for name, x in found.items()}
    return {name: observation.project(x, y).clamp(-1, 1) for name, x in found.items()}


def _biharmonic(y: Tensor, hidden: Tensor) -> Tensor:
    """The smoothest picture through the seen pixels (Damelin & Hoang 2018; scikit-image)."""
    from skimage.restoration import inpaint_biharmonic

    parts = [inpaint_biharmonic(channel.double().numpy(), hidden[0].numpy()) for channel in y]
    return torch.stack([torch.from_numpy(part) for part in parts]).float()


def _total_variation(x: Tensor, noise: float) -> Tensor:
    """x [*size] with its noise taken away (Chambolle 2004; scikit-image), the weight that suits the noise."""
    from skimage.restoration import denoise_tv_chambolle

    return torch.from_numpy(denoise_tv_chambolle(x.double().numpy(), weight=max(noise, 1e-3))).float()


def _summary(found: dict[str, Any]) -> str:
    rows = {"recovery": found["recovery"], "one sample": found["one_sample"]}
    rows |= found.get("ways", {}) | found["baselines"]
    lines = [f"{'':20}{'PSNR':>8}{'MAE':>8}{'SSIM':>8}"]
    lines += [f"{n.replace('_', ' '):20}{s['psnr']:8.2f}{s['mae']:8.2f}{s['ssim']:8.3f}" for n, s in rows.items()]
    verb = "better" if found["gain_db"] >= 0 else "WORSE"
    seconds = ", ".join(f"{name} in {seconds:.1f} s" for name, seconds in found["seconds"].items())
    lines.append(f"the recovery is {found['way']}: {WAYS[found['way']]} ({seconds})")
    lines.append(
        f"{abs(found['gain_db']):.2f} dB {verb} than the best baseline ({found['best_baseline'].replace('_', ' ')})"
    )
    return "\n".join(lines)
