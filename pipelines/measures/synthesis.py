"""How near new x are to those to judge by, which were not learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from data.errors import InputError
from energies import ConditionalEnergy
from pipelines.examples import Examples, block_means
from pipelines.measures import floors, judge, metrics, solids, tables
from pipelines.modalities.base import Modality
from pipelines.sampling.generation import generate
from pipelines.stage import Run

FACTORS = (0.25, 0.5, 1.0, 2.0)  # of the sampling steps, for the curve
LONG = 10.0
FEWEST = 4  # pictures that a collection can be judged from
LEAST = 10  # examples that a judge is learned from
FLOORS = ("real", "noise", "averages", "random_phase_noise", "tiled_photograph")
"""Rows that say how good numbers of samples can be, and how bad."""
TOLD = 0.7  # share of noise and data that are told apart, at least
DIFFERENCES = ("horizontal", "vertical", "temporal")

Numbers = dict[str, float]


class Comparison(Protocol):
    """What compares new x with those to judge by, in numbers by name.

    Attributes:
        distance: the number that is 0 where there is no difference; None: there is none.
    """

    distance: ClassVar[str | None]

    def __call__(self, x: Tensor) -> Numbers:
        """Numbers of x [n, *shape]."""
        ...

    def beside(self, samples: Tensor, labels: Tensor | None, rng: torch.Generator) -> dict[str, Any]:
        """Numbers of `samples`, and the same of `real` x; what else tells how good samples are."""
        ...


@dataclass(frozen=True, eq=False)
class OfPictures:
    """By Frechet distance, precision and recall, in the features of a classifier that is learned for it: it tells
    classes, where there are labels, and data from noise and averages.

    Attributes:
        data: the pictures.
        by: gives features.
        real: features of the pictures to judge by.
    """

    distance: ClassVar[str | None] = "frechet"

    data: Examples
    by: judge.Classifier
    real: Tensor

    @classmethod
    def fit(cls, data: Examples, run: Run) -> OfPictures:
        """With a classifier of the pictures to learn from."""
        by = judge.Classifier.of_data(
            data.x("train"), data.train_labels, len(data.classes), run.generator("judge"), run
        )
        return cls(data, by, by.features(data.x("validation")))

    def __call__(self, x: Tensor) -> Numbers:
        return judge.compare(self.by.features(x), self.real)

    def beside(self, samples: Tensor, labels: Tensor | None, rng: torch.Generator) -> dict[str, Any]:
        """Of samples, pictures that were learned from, noise and averages of pictures; the distances in features to the
        nearest picture that was learned from; how right the classifier is, on pictures that it has not learned; whether
        it finds the samples to be of their class. Of few samples, or beside few pictures, none of it: `refused`."""
        if min(len(samples), len(self.real)) < FEWEST:
            there = f"{len(samples)} and {len(self.real)} are there"
            needed = f"{FEWEST} samples and {FEWEST} pictures to judge by are needed, {there}"
            return {"refused": f"{needed}; raise synthesize.num, load.count or load.validation"}
        train = self.data.x("train")
        num = min(len(samples), len(train))
        noise = floors.noise(train, num, rng)
        rows = torch.randperm(len(train), generator=rng)[:num]
        features = {name: self.by.features(x) for name, x in (("samples", samples), ("real", train[rows]))}
        found: dict[str, Any] = {name: judge.compare(f, self.real) for name, f in features.items()}
        found["noise"] = self(noise)
        found["averages"] = self(floors.averages(train, num, rng))
        known = self.by.features(train)
        found["samples"]["nearest_training"] = _nearest(features["samples"], known)
        found["real"]["nearest_training"] = _nearest(self.real, known)  # of pictures not learned
        found["refused"] = floors.refusal(found, "precision", "precision")
        found["judge_tells_data"] = self._tells_data(rng)
        if len(self.by.num_classes) > 1:
            x, truth = self.data.known("validation")
            found["classifier_accuracy"] = judge.share_of(self.by.probabilities(x, 1).argmax(1) == truth)
            if labels is not None:
                found["of_their_class"] = judge.share_of(self.by.probabilities(samples, 1).argmax(1) == labels)
        return found

    def _tells_data(self, rng: torch.Generator) -> float:
        """Accuracy of telling pictures to judge by from as many that are none."""
        x = self.data.x("validation", slice(judge.TOGETHER))
        num = -(-len(x) // len(floors.PICTURES))
        others = torch.cat([make(x, num, rng) for make in floors.PICTURES.values()])
        is_data = [self.by.probabilities(part).argmax(1) == 0 for part in (x, others)]
        return (judge.share_of(is_data[0]) + judge.share_of(~is_data[1])) / 2


@dataclass(frozen=True, eq=False)
class OfShapes:
    """As collections of solids (`solids.collection`), at the size of the samples.

    Attributes:
        data: the shapes; their size is a multiple of that of the samples.
    """

    distance: ClassVar[str | None] = None

    data: Examples

    def __call__(self, x: Tensor) -> Numbers:
        return solids.collection(x > 0, *self._parts(x.shape[-1]))

    def beside(self, samples: Tensor, labels: Tensor | None, rng: torch.Generator) -> dict[str, Any]:
        """Of samples, and of as many real ones: what the best samples could reach; of noise and of averages."""
        train, validation = self._parts(samples.shape[-1])
        num = min(len(samples), len(validation), len(train) // 2)
        real = solids.collection(train[-num:], train[:-num], validation)
        found: dict[str, Any] = {"samples": solids.collection(samples > 0, train, validation), "real": real}
        x = train.float() * 2 - 1
        for name, make in (("noise", floors.noise), ("averages", floors.averages)):
            found[name] = solids.collection(make(x, num, rng) > 0, train, validation)
        found["refused"] = self._refusal(found)
        return found

    def _refusal(self, found: dict[str, Any]) -> str | None:
        """Noise must be told from shapes, which half of all shapes are not told from each other."""
        share = found["noise"]["two_sample"]
        if share >= TOLD:
            return None
        return f"of noise and data {share:.2f} are told apart by the nearest other one: it tells nothing of the samples"

    def _parts(self, size: int) -> tuple[Tensor, Tensor]:
        """Solids to learn from and to judge by, of so many voxels a side."""
        side = self.data.shape[-1]
        if side % size:
            raise InputError(f"evaluate: shapes of {side} voxels a side are no match for samples of {size}")
        train, validation = (block_means(self.data.x(part), size) > 0 for part in ("train", "validation"))
        return train, validation


@dataclass(frozen=True, eq=False)
class OfClips:
    """By how much neighbouring pixels and frames differ: too much is grain or flicker, too little blur or freezing.

    Attributes:
        data: the clips.
    """

    distance: ClassVar[str | None] = None

    data: Examples

    def __call__(self, x: Tensor) -> Numbers:
        """Mean absolute difference of neighbours in clips [n, C, T, H, W], 0-255: of pixels, and of frames in time."""
        found = [metrics.statistics(clip.expand(3, -1, -1, -1)) for clip in x]
        return {name: fmean(v for each in found if isinstance(v := each[name], float)) for name in DIFFERENCES}

    def beside(self, samples: Tensor, labels: Tensor | None, rng: torch.Generator) -> dict[str, Any]:
        """Of samples, and of the clips to judge by; of noise, and of averages of clips. They say what samples are like,
        and do not judge: none is refused."""
        real = self.data.x("validation")
        num = min(len(samples), FEWEST)
        averages, noise = floors.averages(real, num, rng), floors.noise(real, num, rng)
        found = {"samples": samples, "real": real, "noise": noise, "averages": averages}
        return {name: self(x) for name, x in found.items()}


def check(data: Examples) -> None:
    """InputError: there are too few examples to learn a judge from: it would take noise for data."""
    if not data.single and len(data.train) < LEAST:
        raise InputError(
            f"evaluate needs {LEAST} examples to learn from, to judge by them; there are {len(data.train)}: set "
            "load.count or load.validation"
        )


def evaluate(
    values: Mapping[str, Any], modality: Modality, curve: int, long: bool, run: Run
) -> tuple[dict[str, Any], list[str], dict[str, Tensor]]:
    """Of `samples`, made and not recovered: what was found, lines that say it, and x to show by name.

    On every process.

    Args:
        values: data, samples, sample_labels where there are classes; for a curve energy, generator and guidance.
        modality: of the data.
        curve: samples for each point of the curve of quality against sampling steps; 0: no curve.
        long: with a curve, also ten times the steps, from noise and from data.
        run: gives randomness and processes.
    """
    data, samples, labels = values["data"], values["samples"], values.get("sample_labels")
    compare = run.on_main(lambda: modality.comparison(data, run))
    assert compare is not None
    found: dict[str, Any] = {"num": len(samples), "validation": len(data.validation)}
    found |= run.on_main(lambda: compare.beside(samples, labels, run.generator("evaluate")))
    shown = {"samples": samples[:100]}
    if curve and "samples" in found:  # there are enough to compare
        points, more = _curve(values, modality, compare, curve, long, run)
        found["curve"] = points
        for name, x in more.items():
            found[name] = compare(x)
            shown[name] = x[:20]
        if long and compare.distance is not None:
            found["long_run_ratio"] = _ratio(found, compare.distance)
    return found, summary(found), shown


def summary(found: Mapping[str, Any]) -> list[str]:
    """The numbers as lines of text."""
    longer = {name: found[name] for name in ("ten_times_the_steps", "long_from_data") if name in found}
    rows = {name: _shown(row) for name, row in found.items() if isinstance(row, dict) and name not in longer}
    rows |= {f"{p['factor']:g} times the steps": _shown(p) for p in found.get("curve", [])} | longer
    if refused(found):
        rows = {name: row for name, row in rows.items() if name in FLOORS}
    return [*(tables.table(rows) if rows else []), *told(found)]


def refused(found: Mapping[str, Any]) -> bool:
    """Whether the numbers do not judge the samples."""
    return found.get("refused") is not None


def told(found: Mapping[str, Any]) -> list[str]:
    """What else is said of the samples, and how good what judges them is."""
    lines = [f"warning: not judged: {found['refused']}"] if refused(found) else []
    if "of_their_class" in found:
        lines.append(f"{found['of_their_class']:.1%} of the samples are judged to be of their class")
    if "judge_tells_data" in found:
        right = f"it tells data from noise and averages in {found['judge_tells_data']:.1%} of cases"
        if "classifier_accuracy" in found:
            right += f", and their classes in {found['classifier_accuracy']:.1%}"
        lines.append(f"the judge's own accuracy, on pictures that it has not learned: {right}")
    return lines


def _shown(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name not in ("factor", "nearest_training")}


def _curve(
    values: Mapping[str, Any], modality: Modality, compare: Comparison, num: int, long: bool, run: Run
) -> tuple[list[Numbers], dict[str, Tensor]]:
    """Points of quality against sampling steps, and what long chains gave. Chains that diverge give none."""
    energy, generator, data = values["energy"].to(run.accelerator.device).eval(), values["generator"], values["data"]
    labels = values.get("sample_labels")
    labels = None if labels is None else labels.repeat(num)[:num]
    whole = energy.free() if isinstance(energy, ConditionalEnergy) else energy

    def sampled(factor: float, purpose: str, labels: Tensor | None, start: Tensor | None = None) -> Tensor | None:
        longer, guidance = generator.longer(factor), values.get("guidance", 1.0)
        try:
            x = generate(whole, longer, num, labels, run, purpose, guidance=guidance, start=start)
        except InputError as error:  # chains that diverge are a finding, too
            run.log(event="diverged", purpose=purpose, reason=str(error))
            return None
        return modality.made(x, energy)

    points: list[Numbers] = []
    for factor in FACTORS:
        x = sampled(factor, f"{factor:g} times the steps", labels)
        if x is not None:
            points.append({"factor": factor} | compare(x))
    if not long:
        return points, {}
    rows = torch.arange(num) % len(data.validation)
    kept = data.validation_labels
    theirs = None if labels is None or kept is None else kept[rows]
    more = {
        "ten_times_the_steps": sampled(LONG, "ten times the steps", labels),
        "long_from_data": sampled(LONG, "long chains from data", theirs, data.x("validation", rows)),
    }
    return points, {name: x for name, x in more.items() if x is not None}


def _ratio(found: Mapping[str, Any], distance: str) -> float | None:
    """The distance after ten times the steps over that after one; None where chains diverged."""
    at_once = [point for point in found["curve"] if point["factor"] == 1]
    if not at_once or "ten_times_the_steps" not in found:
        return None
    return found["ten_times_the_steps"][distance] / max(at_once[0][distance], 1e-9)


def _nearest(features: Tensor, train: Tensor) -> float:
    """Median distance to the nearest picture that was learned from."""
    return float(torch.cat([torch.cdist(part, train).amin(1) for part in features.split(256)]).median())
