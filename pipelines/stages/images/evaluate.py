"""Say how good new pictures are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from pipelines.generation import generate
from pipelines.measures import judge
from pipelines.pipeline import Run
from pipelines.stages.images.load import to_float
from pipelines.results import save_metrics

FACTORS = (0.25, 0.5, 1.0, 2.0)  # of the sampling steps, for the curve
LONG = 10.0
FEWEST = 4  # pictures that a collection can be judged from


@dataclass(frozen=True)
class EvaluateSynthesis:
    """Compare new pictures with those to judge by, in the features of a classifier that is learned for it, and see what
    more or many more sampling steps make of them; into metrics.json."""

    needs: ClassVar[tuple[str, ...]] = (
        "images",
        "energy",
        "generator",
        "guidance",
        "samples",
        "sample_labels",
        "sampling",
    )
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary", "shown")
    distributed: ClassVar[bool] = True

    curve: int = 128
    """Pictures for each point of the curve of quality against sampling steps; 0: no curve, and no long chains."""

    long: bool = True
    """Also take ten times the steps, from noise and from data."""

    def __post_init__(self) -> None:
        if self.curve < 0 or 0 < self.curve < 32:
            raise ValueError(f"curve must be 0, or 32 or more, got {self.curve}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        images, samples, labels = values["images"], values["samples"], values["sample_labels"]
        train, validation = to_float(images["train"]), to_float(images["validation"])
        fewest = min(len(samples), len(validation))
        if fewest < FEWEST:
            raise InputError(
                f"evaluate_synthesis needs {FEWEST} samples and as many pictures to judge by; raise synthesize.num, "
                f"load.count or load.validation (there are {len(samples)} and {len(validation)})"
            )
        by = run.on_main(lambda: judge_of(images, run))
        real = by.features(validation)
        found: dict[str, Any] = {"num": len(samples), "validation": len(validation)}
        num = min(len(samples), len(train))
        rng = run.generator("evaluate")
        noise = torch.rand(num, *samples.shape[1:], generator=rng) * 2 - 1
        rows = torch.randperm(len(train), generator=rng)[:num]
        collections = {"samples": samples, "training_pictures": train[rows], "noise": noise}
        features = {name: by.features(x) for name, x in collections.items()}
        found |= {name: judge.compare(f, real) for name, f in features.items()}
        known = by.features(train)
        found["samples"]["nearest_training"] = _nearest(features["samples"], known)
        found["training_pictures"]["nearest_training"] = _nearest(real, known)  # of pictures not learned
        if isinstance(by, judge.Classifier):
            truth = images["validation_labels"]
            labelled = truth >= 0
            found["classifier_accuracy"] = judge.share_of(
                by.probabilities(validation).argmax(1)[labelled] == truth[labelled]
            )
            if labels is not None:
                found["of_their_class"] = judge.share_of(by.probabilities(samples).argmax(1) == labels)
        shown = {"samples": samples[:100]}
        if self.curve:
            curve, long = self._curve(values, by, real, run)
            found["curve"] = curve
            for name, x in long.items():
                found[name] = judge.compare(by.features(x), real)
                shown[name] = x[:20]
            if self.long:
                found["long_run_ratio"] = None  # where chains diverged
                at_once = [point["frechet"] for point in curve if point["factor"] == 1]
                if at_once and "ten_times_the_steps" in found:
                    found["long_run_ratio"] = found["ten_times_the_steps"]["frechet"] / max(at_once[0], 1e-9)
        found["sampling"] = values["sampling"]["summary"]
        if run.is_main:
            save_metrics(found, run.root)
        lines = [_summary(found), *(f"chains: {line}" for line in values["sampling"]["lines"])]
        return {"metrics": found, "summary": "\n".join(lines), "shown": shown}

    def _curve(self, values: dict[str, Any], by: Any, real: Tensor, run: Run) -> tuple[list[dict[str, float]], Any]:
        energy, generator = values["energy"].to(run.accelerator.device).eval(), values["generator"]
        labels = None if values["sample_labels"] is None else values["sample_labels"].repeat(self.curve)[: self.curve]

        def sampled(factor: float, purpose: str, labels: Tensor | None, start: Tensor | None = None) -> Tensor | None:
            longer = generator.longer(factor)
            try:
                return generate(
                    energy, longer, self.curve, labels, run, purpose, guidance=values["guidance"], start=start
                )
            except InputError as error:  # chains that diverge are a finding, too
                run.log(event="diverged", purpose=purpose, reason=str(error))
                return None

        points = []
        for factor in FACTORS:
            x = sampled(factor, f"{factor:g} times the steps", labels)
            if x is not None:
                points.append({"factor": factor} | judge.compare(by.features(x), real))
        if not self.long:
            return points, {}
        rows = torch.arange(self.curve) % len(real)
        data = to_float(values["images"]["validation"][rows])
        kept = values["images"].get("validation_labels")
        theirs = None if labels is None or kept is None else kept[rows]
        long = {
            "ten_times_the_steps": sampled(LONG, "ten times the steps", labels),
            "long_from_data": sampled(LONG, "long chains from data", theirs, data),
        }
        return points, {name: x for name, x in long.items() if x is not None}


def judge_of(images: dict[str, Any], run: Run) -> judge.Classifier | judge.Components:
    """A classifier of the pictures, where at least two classes are labelled; else their principal components."""
    labels = images.get("train_labels")
    if labels is None or len(labels[labels >= 0].unique()) < 2:
        return judge.Components.fit(to_float(images["train"][: judge.MOST]))
    known = labels >= 0
    x, labels = to_float(images["train"][known]), labels[known]
    return judge.Classifier.fit(x, [labels], [len(images["classes"])], run.generator("judge"), run)


def _nearest(features: Tensor, train: Tensor) -> float:
    """Median distance to the nearest picture that was learned from."""
    return float(torch.cat([torch.cdist(part, train).amin(1) for part in features.split(256)]).median())


def _summary(found: dict[str, Any]) -> str:
    rows = {name.replace("_", " "): found[name] for name in ("samples", "training_pictures", "noise")}
    rows |= {f"{p['factor']:g} times the steps": p for p in found.get("curve", [])}
    rows |= {n.replace("_", " "): found[n] for n in ("ten_times_the_steps", "long_from_data") if n in found}
    lines = [f"{'':24}{'Frechet':>10}{'precision':>10}{'recall':>10}"]
    lines += [f"{n:24}{r['frechet']:10.2f}{r['precision']:10.3f}{r['recall']:10.3f}" for n, r in rows.items()]
    if "of_their_class" in found:
        lines.append(f"{found['of_their_class']:.1%} of the samples are judged to be of their class")
    return "\n".join(lines)
