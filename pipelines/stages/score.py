"""Tell what does not belong by its energy."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from data.words import counted
from energies import JointEnergy, gradient
from energies.compute import prepared
from pipelines import checkpoint
from pipelines.examples import Examples
from pipelines.measures.certainty import detection
from pipelines.measures.classes import leveled, logits_of
from pipelines.modalities import modality_of
from pipelines.modalities.base import Modality
from pipelines.report import Report
from pipelines.report.reporting import publish
from pipelines.settings import check_there
from pipelines.stage import Run

TOGETHER = 250  # x scored at once, at most
NUMBERS = 2**22  # of x scored at once, at most
MARGIN = 2.0  # what the margin counts beside the energy
BINS = 40  # of the histograms

Rule = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Score:
    """Score x by E(x), by the margin by which it lies below the mean energy of a class, by both, by the length of its
    gradient and by the largest class probability: those kept to judge by against what is not of their kind; into
    metrics.json and the report. Your own are listed by energy."""

    needs: ClassVar[tuple[str, ...]] = ("data", "energy", "plain")
    takes: ClassVar[tuple[str, ...]] = ("source",)
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary")

    level: float = 0.7
    """Noise level of the largest probability and of the gradient, in units of x, where the energy is a family over
    levels."""

    levels: tuple[float, ...] = (0.7, 1.0, 1.5)
    """Noise levels whose energies are added up, each in units of its spread over what was learned from; of no matter
    where the energy is of clean x."""

    margins: tuple[float, ...] = (0.15, 0.25, 0.4, 0.7, 1.0)
    """Those whose margins are."""

    outliers: tuple[str, ...] = ()
    """Further folders, files or data sets of what is not of the kind."""

    num: int = 1000
    """Examples of each kind, at most."""

    input: str | None = None
    """A folder with files of your own, or one file, to be listed by energy in scores.csv and the report."""

    def __post_init__(self) -> None:
        levels = (self.level, *self.levels, *self.margins)
        if not self.levels or not self.margins or min(levels) <= 0 or self.num < 20:
            raise ValueError("level, levels and margins must be positive, num 20 or more")
        check_there(input=self.input)

    def files(self) -> tuple[str, ...]:
        return tuple(file for file in (*self.outliers, self.input) if file)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data: Examples = values["data"]
        modality, source = modality_of(data.modality), values.get("source", {})
        inside, reference = data.x("validation", slice(self.num)), data.x("train", slice(self.num))
        kinds = modality.strangers(inside, run.generator("outliers"))
        for number, name in enumerate(self.outliers, 1):
            kinds[f"{number}: {Path(name).name}"] = modality.read(name, data.shape, self.num, source)
        logits = Logits({"joint": values["energy"], "plain": values["plain"]}, run)
        every = [reference, inside, *kinds.values()]
        levels = sorted({self.level, *self.levels, *self.margins})
        todo = [
            (which, level, x)
            for which, energy in logits.energies.items()
            for level, x in product(levels if energy.noisy else levels[:1], every)
        ]
        for which, level, x in run.progress(todo, len(todo), "classifying"):
            logits(which, level, x)
        rules = self._rules(logits, reference, run)
        scores = {rule: {name: of(x) for name, x in ({"inside": inside} | kinds).items()} for rule, of in rules.items()}
        parts = zip(scores["joint: energy"].items(), scores["joint: margin"].values(), strict=True)
        scores["joint: energy and margin"] = {name: e + MARGIN * m for (name, e), m in parts}
        found: dict[str, Any] = {"num": len(inside)}
        found["detection"] = {
            rule: {name: detection(by["inside"], by[name]) for name in kinds} for rule, by in sorted(scores.items())
        }
        energies = scores["joint: energy"]
        report, left_out = _report(found, energies, modality.noun), []
        if self.input is not None:
            known = energies["inside"]
            left_out = self._list(rules, known, modality, data.shape, source, run, report)
        publish(report, found, {name: values[name] for name in ("energy", "plain")}, run)
        words = []
        if left_out:
            words = [f"{counted(len(left_out), 'files')} of score.input left out: {left_out[0]}"]
        return {"metrics": found, "summary": "\n".join([_summary(found), *words])}

    def _rules(self, logits: Logits, reference: Tensor, run: Run) -> dict[str, Rule]:
        """Scores of x, higher for what does not belong, by name."""
        joint = logits.energies["joint"]
        return {
            "joint: energy": _summed(_energies, partial(logits, "joint"), self.levels, reference),
            "joint: margin": _summed(_margins, partial(logits, "joint"), self.margins, reference),
            "joint: gradient": lambda x: self._slope(joint, x, run),
            "joint: largest probability": lambda x: _doubts(logits("joint", self.level, x)),
            "plain: energy": _summed(_energies, partial(logits, "plain"), self.levels, reference),
            "plain: margin": _summed(_margins, partial(logits, "plain"), self.margins, reference),
            "plain: largest probability": lambda x: _doubts(logits("plain", self.level, x)),
        }

    def _slope(self, energy: JointEnergy, x: Tensor, run: Run) -> Tensor:
        energy = prepared(leveled(energy, self.level).to(run.accelerator.device).eval())
        num = max(1, min(TOGETHER, NUMBERS // x[0].numel()))
        slopes = []
        for part in run.progress(x.split(num), label="gradients"):
            slopes.append(gradient(energy, part.to(run.accelerator.device))[1].flatten(1).norm(dim=1))
        return torch.cat(slopes).cpu()

    def _list(
        self, rules: Mapping[str, Rule], known: Tensor, modality: Modality, shape: Sequence[int],
        source: Mapping[str, Any], run: Run, report: Report,
    ) -> list[str]:  # fmt: skip
        """Files of the user's, those of most energy first, with the share of known examples that have less, and with
        energy and margin together; gives what was left out, and why."""
        assert self.input is not None
        folder = Path(self.input)
        files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else [folder]
        x, names, left_out = [], [], []
        for path in files:
            try:
                x.append(modality.read(str(path), shape, 1, source)[0])
                names.append(str(path))
            except InputError as error:
                left_out.append(str(error))
                run.log(event="left out", reason=str(error))
        if not x:
            raise InputError(f"score.input={self.input}: holds no {modality.noun}; {left_out[0] if left_out else ''}")
        own = torch.stack(x)
        energies = rules["joint: energy"](own)
        both = energies + MARGIN * rules["joint: margin"](own)
        order = energies.argsort(descending=True).tolist()
        rows = [
            [names[k], float(energies[k]), float((known < energies[k]).float().mean()), float(both[k])] for k in order
        ]
        columns = ["file", "energy", f"share of known {modality.noun} below", "energy and margin"]
        text = io.StringIO()
        csv.writer(text).writerows([columns, *rows])
        checkpoint.write_file(run.root / "scores.csv", text.getvalue().encode())
        report.table(columns, rows[:200])
        if left_out:
            report.text("Left out: " + "; ".join(left_out[:20]))
        return left_out


def _report(found: dict[str, Any], energies: dict[str, Tensor], noun: str) -> Report:
    report = Report("What does not belong")
    report.text(
        f"How well scores tell {found['num']} known {noun} from others. auroc: the chance that an outlier scores "
        f"higher than one of the known {noun} (1 is best, .5 a guess); fpr95: the share of outliers that pass where "
        "95 % of the known ones do (0 is best). Joint: the network that also generates; plain: by cross-entropy alone."
    )
    kinds = [name for name in energies if name != "inside"]
    for key in ("auroc", "fpr95"):
        rows = [[name, *(by[name][key] for by in found["detection"].values())] for name in kinds]
        report.table([key, *found["detection"]], rows)
    report.curves({name: _histogram(v, energies) for name, v in energies.items()}, "energy", "energy", "share")
    return report


class Logits:
    """Logits of x by the name of an energy and the noise level, each taken once.

    Args:
        energies: by name.
        run: gives the device.
    """

    def __init__(self, energies: Mapping[str, JointEnergy], run: Run) -> None:
        self.energies, self.run = energies, run
        self.known: dict[tuple[str, float | None, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, which: str, level: float, x: Tensor) -> Tensor:
        """[n, classes] of x [n, *shape]; of an energy of clean x the level is of no matter."""
        energy = self.energies[which]
        key = which, level if energy.noisy else None, id(x)
        if key not in self.known:
            self.known[key] = x, logits_of(leveled(energy, level), x, self.run)  # x is kept, or its id might return
        return self.known[key][1]


def _summed(of: Rule, logits: Callable[[float, Tensor], Tensor], levels: Sequence[float], reference: Tensor) -> Rule:
    """A score of x [n, *shape]: what `of` makes of the logits, added up over noise levels, each of mean 0 and spread 1
    over the reference, as their sum is."""

    def parts(x: Tensor) -> Tensor:
        return torch.stack([of(logits(level, x)) for level in levels])

    own = parts(reference)
    centre, scale = own.mean(1, keepdim=True), own.std(1, keepdim=True).clamp(min=1e-6)
    total = ((own - centre) / scale).sum(0)
    mean, spread = total.mean(), total.std().clamp(min=1e-6)
    return lambda x: (((parts(x) - centre) / scale).sum(0) - mean) / spread


def _energies(logits: Tensor) -> Tensor:
    """E(x) [n] of logits -E(x, y) [n, classes]."""
    return -logits.logsumexp(1)


def _margins(logits: Tensor) -> Tensor:
    """E(x) less the mean of E(x, y) over y: what all classes share, the strokes say, is gone from it."""
    return logits.mean(1) - logits.logsumexp(1)


def _doubts(logits: Tensor) -> Tensor:
    """Log of the chance [n] of any label but the likeliest: 1 less that one's would be 0 of all x that are sure."""
    others = logits.double().sort(1).values[:, :-1]
    return (others.logsumexp(1) - logits.double().logsumexp(1)).float()


def _histogram(values: Tensor, every: dict[str, Tensor]) -> tuple[list[float], list[float]]:
    low, high = (float(torch.cat(list(every.values())).quantile(q)) for q in (0.0, 0.95))
    edges = torch.linspace(low, max(high, low + 1e-6), BINS + 1)
    counts = torch.histc(values.float(), BINS, float(edges[0]), float(edges[-1])) / len(values)
    return ((edges[1:] + edges[:-1]) / 2).tolist(), counts.tolist()


def _summary(found: dict[str, Any]) -> str:
    rules = list(found["detection"])
    kinds = list(found["detection"][rules[0]])
    lines = [f"{'AUROC':30}" + "".join(f"{name[:11]:>12}" for name in kinds)]
    lines += [
        f"{rule:30}" + "".join(f"{by[k]['auroc']:12.3f}" for k in kinds) for rule, by in found["detection"].items()
    ]
    return "\n".join(lines)
