"""Tell what does not belong by its energy."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import images, textures
from data.errors import InputError
from energies import JointEnergy, gradient
from energies.compute import prepared
from pipelines import checkpoint
from pipelines.measures.certainty import detection
from pipelines.pipeline import Run
from pipelines.report import Report
from pipelines.report.reporting import details
from pipelines.stages.images.load import to_float
from pipelines.stages.joint import leveled, logits_of, probabilities
from pipelines.results import save_energy, save_metrics
from pipelines.settings import check_there

TOGETHER = 250  # pictures scored at once
MARGIN = 2.0  # what the margin counts beside the energy
BINS = 40  # of the histograms


@dataclass(frozen=True)
class Score:
    """Score pictures by E(x), by the margin by which it lies below the mean energy of a class, by both, by the length
    of its gradient and by the largest class probability: those kept to judge by against what is not of their kind; into
    metrics.json and the report. Your own are listed by energy."""

    needs: ClassVar[tuple[str, ...]] = ("images", "energy", "plain")
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
    """Further folders, files or data sets of pictures that are not of the kind."""

    num: int = 1000
    """Pictures of each kind, at most."""

    input: str | None = None
    """A folder of pictures of your own, to be listed by energy in scores.csv and the report."""

    def __post_init__(self) -> None:
        levels = (self.level, *self.levels, *self.margins)
        if not self.levels or not self.margins or min(levels) <= 0 or self.num < 20:
            raise ValueError("level, levels and margins must be positive, num 20 or more")
        check_there(input=self.input)

    def files(self) -> tuple[str, ...]:
        return tuple(file for file in (*self.outliers, self.input) if file and Path(file).is_file())

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        inside = to_float(values["images"]["validation"][: self.num])
        reference = to_float(values["images"]["train"][: self.num])
        kinds = made(inside, run.generator("outliers"))
        for number, name in enumerate(self.outliers, 1):
            kinds[f"{number}: {Path(name).name}"] = self._read(name, inside)
        joint, plain = values["energy"], values["plain"]
        energy = _summed(_energies, joint, self.levels, reference, run)
        rules = {
            "joint: energy": energy,
            "joint: margin": _summed(_margins, joint, self.margins, reference, run),
            "joint: gradient": lambda x: self._slope(joint, x, run),
            "joint: largest probability": lambda x: 1 - probabilities(joint, x, [self.level], run).amax(1),
            "plain: energy": _summed(_energies, plain, self.levels, reference, run),
            "plain: margin": _summed(_margins, plain, self.margins, reference, run),
            "plain: largest probability": lambda x: 1 - probabilities(plain, x, [self.level], run).amax(1),
        }
        scores = {rule: {name: of(x) for name, x in ({"inside": inside} | kinds).items()} for rule, of in rules.items()}
        parts = zip(scores["joint: energy"].items(), scores["joint: margin"].values(), strict=True)
        scores["joint: energy and margin"] = {name: e + MARGIN * m for (name, e), m in parts}
        found: dict[str, Any] = {"num": len(inside)}
        found["detection"] = {
            rule: {name: detection(by["inside"], by[name]) for name in kinds} for rule, by in sorted(scores.items())
        }
        report = Report("What does not belong")
        report.text(
            f"How well scores tell {len(inside)} known pictures from others. auroc: the chance that an outlier scores "
            "higher than a known picture (1 is best, .5 a guess); fpr95: the share of outliers that pass where 95 % of "
            "the known ones do (0 is best). Joint: the network that also generates; plain: by cross-entropy alone."
        )
        for key in ("auroc", "fpr95"):
            rows = [[name, *(by[name][key] for by in found["detection"].values())] for name in kinds]
            report.table([key, *found["detection"]], rows)
        energies = scores["joint: energy"]
        report.curves({name: _histogram(v, energies) for name, v in energies.items()}, "energy", "energy", "share")
        save_metrics(found, run.root)
        save_energy(joint, run.root)
        save_energy(plain, run.root, "plain")
        left_out: list[str] = []
        if self.input is not None:
            margin = rules["joint: margin"]
            left_out = self._list(energy, margin, energies["inside"], inside, run, report)
        details(report, run, None)
        report.write(run.root / "report.html")
        words = [f"{len(left_out)} files of score.input are left out: {left_out[0]}"] if left_out else []
        return {"metrics": found, "summary": "\n".join([_summary(found), *words])}

    def _read(self, name: str, like: Tensor) -> Tensor:
        """Pictures of a source, at most num, as large and as colourful as those; of one photograph, windows."""
        channels, height, width = like.shape[1:]
        if Path(name).is_file() and Path(name).suffix.lower() in (".png", ".jpg", ".jpeg"):
            return windows(images.read(name, channels=channels), height, width, self.num)
        dataset: Any = images.open_dataset(name, (height, width), channels)
        return images.batch(dataset, range(min(self.num, len(dataset))))[0]

    def _slope(self, energy: JointEnergy, x: Tensor, run: Run) -> Tensor:
        energy = prepared(leveled(energy, self.level).to(run.accelerator.device).eval())
        parts = [
            gradient(energy, part.to(run.accelerator.device))[1].flatten(1).norm(dim=1) for part in x.split(TOGETHER)
        ]
        return torch.cat(parts).cpu()

    def _list(
        self, energy: Callable[[Tensor], Tensor], margin: Callable[[Tensor], Tensor], known: Tensor, inside: Tensor,
        run: Run, report: Report,
    ) -> list[str]:  # fmt: skip
        """Files of the user's, those of most energy first, with the share of known pictures that have less, and with
        energy and margin together; gives what was left out, and why."""
        assert self.input is not None
        folder = Path(self.input)
        files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else [folder]
        x, names, left_out, channels = [], [], [], inside.shape[1]
        for path in files:
            try:
                x.append(images.read(path, (inside.shape[2], inside.shape[3]), channels))
                names.append(str(path))
            except InputError as error:
                left_out.append(str(error))
                run.log(event="left out", reason=str(error))
        if not x:
            raise InputError(f"score.input={self.input}: holds no pictures; give a folder with png or jpg files")
        energies = energy(torch.stack(x))
        both = energies + MARGIN * margin(torch.stack(x))
        order = energies.argsort(descending=True).tolist()
        rows = [
            [names[k], float(energies[k]), float((known < energies[k]).float().mean()), float(both[k])] for k in order
        ]
        columns = ["file", "energy", "share of known pictures below", "energy and margin"]
        text = io.StringIO()
        csv.writer(text).writerows([columns, *rows])
        checkpoint.write_file(run.root / "scores.csv", text.getvalue().encode())
        report.table(columns, rows[:200])
        if left_out:
            report.text("Left out: " + "; ".join(left_out[:20]))
        return left_out


def made(x: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
    """What is not of the kind of pictures x [n, C, H, W], made of them or from the seed."""
    channels, height, width = x.shape[1:]
    texture = textures.texture("bricks", max(128, 2 * height, 2 * width), int(torch.randint(10**6, (), generator=rng)))
    if channels == 1:
        texture = texture.mean(0, keepdim=True)
    return {
        "rotated": x.rot90(1, (2, 3)) if height == width else x.rot90(2, (2, 3)),
        "mirrored": x.flip(3),
        "blank": (torch.rand(len(x), 1, 1, 1, generator=rng) * 2 - 1).expand_as(x).contiguous(),
        "noise": torch.rand(x.shape, generator=rng) * 2 - 1,
        "bricks": windows(texture, height, width, len(x)),
    }


def windows(photograph: Tensor, height: int, width: int, num: int) -> Tensor:
    """`num` windows of a photograph [C, H, W], evenly spread over it; InputError: it is too small."""
    down, across = photograph.shape[1] - height, photograph.shape[2] - width
    if down < 0 or across < 0:
        raise InputError(f"a photograph must have {width}x{height} pixels or more, to cut windows from it")
    at = torch.arange(num) * 0.6180339887  # low discrepancy in one axis, even in the other
    return torch.stack(
        [
            photograph[:, y : y + height, left : left + width]
            for k in range(num)
            for y, left in [(int(k / num * (down + 1)), int(float(at[k] % 1) * (across + 1)))]
        ]
    )


def _summed(
    of: Callable[[Tensor], Tensor], energy: JointEnergy, levels: Sequence[float], reference: Tensor, run: Run
) -> Callable[[Tensor], Tensor]:
    """A score of x [n, *shape]: what `of` makes of the logits, added up over noise levels, each of mean 0 and spread 1
    over the reference, as their sum is."""
    members = [energy.at(level) for level in levels] if energy.noisy else [energy]
    parts = [_standardised(partial(_score, of, member, run), reference) for member in members]
    return _standardised(lambda x: torch.stack([part(x) for part in parts]).sum(0), reference)


def _standardised(score: Callable[[Tensor], Tensor], reference: Tensor) -> Callable[[Tensor], Tensor]:
    own = score(reference)
    mean, spread = own.mean(), own.std().clamp(min=1e-6)
    return lambda x: (score(x) - mean) / spread


def _score(of: Callable[[Tensor], Tensor], energy: JointEnergy, run: Run, x: Tensor) -> Tensor:
    return of(logits_of(energy, x, run))


def _energies(logits: Tensor) -> Tensor:
    """E(x) [n] of logits -E(x, y) [n, classes]."""
    return -logits.logsumexp(1)


def _margins(logits: Tensor) -> Tensor:
    """E(x) less the mean of E(x, y) over y: what all classes share, the strokes say, is gone from it."""
    return logits.mean(1) - logits.logsumexp(1)


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
