"""Say whether composed pictures are what was asked for, beside simpler ways to ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.scenes import MISFIT, misfit, scenes
from energies import Energy
from energies.diagnostics import Monitor
from energies.generators import Annealed, from_description
from energies.samplers.state import normal
from pipelines import expression
from pipelines.chains import sample_chains
from pipelines.composing import Composer, given, labels_of
from pipelines.expression import AnyOf, Expert, Node, Not, Weighted, show
from pipelines.generation import generate, share
from pipelines.pipeline import Run
from pipelines.stages.images.judge import Classifier
from pipelines.stages.images.load import to_float
from pipelines.stages.results import load_energy, save_metrics

JUDGED_BY = 6000  # scenes that the classifiers learn from
JUDGED_FOR = 500  # steps
Labels = Mapping[str, Tensor]


@dataclass(frozen=True)
class EvaluateComposition:
    """Let classifiers, learned apart, say whether each sample is all that was asked for, into metrics.json; of scenes
    also whether it is valid, exactly one well-formed object. Beside it the same energy without Langevin steps, and the
    plain sum of the experts' energies."""

    needs: ClassVar[tuple[str, ...]] = ("images", "source", "energy", "generator", "composition", "samples", "sampling")
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary", "grid", "verdicts")
    distributed: ClassVar[bool] = True

    baselines: int = 64
    """Samples of each of the simpler ways; 0: none."""

    cells: int = 8
    """Samples of every label of the first expert with every label of the second, in a grid; 0: no grid."""

    def __post_init__(self) -> None:
        if self.baselines < 0 or self.cells < 0:
            raise ValueError(f"baselines and cells must not be negative, got {self.baselines} and {self.cells}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        composition = values["composition"]
        node = expression.parse(composition["expr"])
        if not {leaf.name for leaf in expression.experts(node)} & set(values["images"]["attributes"]):
            return _unjudged(values, run)
        judge = run.on_main(lambda: Attributes.fit(values["images"], values["source"]["name"], node, run))
        found: dict[str, Any] = {"expr": composition["expr"], "classifiers": judge.accuracy}
        found["samples"], verdicts = judge.judged(node, values["samples"])
        rivals = {name: judge.judged(node, x)[0] for name, x in self._rivals(node, values, run).items()}
        found["baselines"] = rivals
        grid = grid_of(values, judge, self.cells, run)
        if grid is not None:
            found["grid"] = {key: value for key, value in grid.items() if key != "samples"}
        found["sampling"] = values["sampling"]["summary"]
        run.on_main(lambda: save_metrics(found, run.root))
        return {"metrics": found, "summary": _summary(found), "grid": grid, "verdicts": verdicts}

    def _rivals(self, node: Node, values: dict[str, Any], run: Run) -> dict[str, Tensor]:
        generator = from_description(values["generator"])
        if not self.baselines or not isinstance(generator, Annealed):
            return {}
        composer = composer_of(values["composition"], run)
        plain = Composer(composer.experts, 1.0, ())
        ways: dict[str, tuple[Energy | None, Annealed]] = {
            "without_langevin_steps": (values["energy"].to(run.accelerator.device), replace(generator, steps=0)),
            "sum_of_energies": (_plain_sum(plain, node), replace(generator, steps=0)),
        }
        return {
            name: generate(energy, way, self.baselines, None, run, name)
            for name, (energy, way) in ways.items()
            if energy is not None
        }


@dataclass(frozen=True)
class Attributes:
    """What tells the attributes of pictures.

    Attributes:
        classes: names of the labels, by attribute.
        model: of them all.
        accuracy: by attribute, on pictures that it has not learned.
        of_scenes: whether a sample can also be valid or not.
    """

    classes: dict[str, list[str]]
    model: Classifier
    accuracy: dict[str, float]
    of_scenes: bool

    @classmethod
    def fit(cls, images: dict[str, Any], source: str, node: Node, run: Run) -> Attributes:
        """Learned from scenes of all combinations where the pictures are scenes, else from those to learn from."""
        known = {name: found["classes"] for name, found in images["attributes"].items()}
        asked = {leaf.name for leaf in expression.experts(node)}
        of_scenes = source == "scenes" and images["train"].ndim == 4 and images["train"].shape[1] == 3
        names = [name for name in known if name in asked or of_scenes]
        if of_scenes:
            side = images["train"].shape[-1]
            x, labels = scenes(JUDGED_BY, side, run.seed + 1_000)
            test, truth = scenes(JUDGED_BY // 6, side, run.seed + 1_000, start=JUDGED_BY)
        else:
            x, test = to_float(images["train"]), to_float(images["validation"])
            labels = {name: images["attributes"][name]["train"] for name in names}
            truth = {name: images["attributes"][name]["validation"] for name in names}
        model = Classifier.fit(
            _flat(x), [labels[name] for name in names], [len(known[name]) for name in names], run.generator("judge"),
            run, JUDGED_FOR if of_scenes else None,
        )  # fmt: skip
        judge = cls({name: known[name] for name in names}, model, {}, of_scenes)
        right = {name: _share((found == truth[name])[truth[name] >= 0]) for name, found in judge.labels(test).items()}
        return replace(judge, accuracy=right)

    def labels(self, x: Tensor) -> dict[str, Tensor]:
        """What the classifiers find in x [n, C, H, W] or [n, C, T, H, W], [n] each."""
        x = _flat(x)
        return {name: self.model.probabilities(x, kind).argmax(1) for kind, name in enumerate(self.classes)}

    def judged(self, node: Node, x: Tensor) -> tuple[dict[str, Any], Tensor]:
        """Shares of x that are all that was asked for, each concept of it, and valid; and which are all of it, [n]."""
        labels = self.labels(x)
        holds = self.holds(node, labels, len(x))
        found: dict[str, Any] = {"num": len(x), "all_hold": _share(holds)}
        for leaf, wanted in _concepts(node):
            if self._told(leaf):
                name = show(leaf) if wanted else f"not {show(leaf)}"
                found[name] = _share(self.holds(leaf, labels, len(x)) == wanted)
        if self.of_scenes:
            valid = is_scene(x, labels)
            found |= {"valid": _share(valid), "hold_and_valid": _share(valid & holds)}
        return found, holds

    def holds(self, node: Node, labels: Labels, num: int) -> Tensor:
        """Which samples are what a node asks for, bool [num]; what no classifier tells holds."""
        if isinstance(node, Expert):
            if not self._told(node):
                return torch.ones(num, dtype=torch.bool)
            return labels[node.name] == self.classes[node.name].index(str(node.label))
        if isinstance(node, Not):
            return ~self.holds(node.part, labels, num)
        if isinstance(node, Weighted):
            asked = [(weight, part) for weight, part in node.terms if weight and self._told(part)]
            parts = [self.holds(part, labels, num) == (weight > 0) for weight, part in asked]
            return torch.stack(parts).all(0) if parts else torch.ones(num, dtype=torch.bool)
        assert isinstance(node, AnyOf)
        return torch.stack([self.holds(part, labels, num) for part in node.parts]).any(0)

    def _told(self, node: Node) -> bool:
        return any(leaf.label in self.classes.get(leaf.name, ()) for leaf in expression.experts(node))


def _concepts(node: Node, wanted: bool = True) -> list[tuple[Expert, bool]]:
    """The labels of an expression, and whether each is asked for or ruled out."""
    if isinstance(node, Expert):
        return [(node, wanted)]
    if isinstance(node, Not):
        return _concepts(node.part, not wanted)
    if isinstance(node, Weighted):
        return [found for weight, part in node.terms for found in _concepts(part, wanted == (weight >= 0))]
    return [found for part in node.parts for found in _concepts(part, wanted)]


def _flat(x: Tensor) -> Tensor:
    """Pictures as they are, of clips [n, C, T, H, W] the frames as channels: [n, C T, H, W]."""
    return x.flatten(1, -3)


def is_scene(x: Tensor, labels: Labels) -> Tensor:
    """Whether pictures x [n, 3, H, W] are a scene of these labels, bool [n]; a blank one, near to all, is none."""
    varies = (x - x.mean((2, 3), keepdim=True)).square().mean((1, 2, 3)).sqrt()
    left = misfit(x, labels)
    return (left <= MISFIT) & (left < varies / 2) & (varies > MISFIT / 2)


def _unjudged(values: dict[str, Any], run: Run) -> dict[str, Any]:
    """What is given where the pictures have labels of no name in the expression."""
    samples = values["samples"]
    found: dict[str, Any] = {"expr": values["composition"]["expr"], "classifiers": {}, "baselines": {}}
    found |= {"samples": {"num": len(samples)}, "sampling": values["sampling"]["summary"]}
    run.on_main(lambda: save_metrics(found, run.root))
    summary = f"{len(samples)} samples; the pictures have no labels to judge them by."
    return {"metrics": found, "summary": summary, "grid": None, "verdicts": torch.ones(len(samples), dtype=torch.bool)}


def composer_of(composition: dict[str, Any], run: Run) -> Composer:
    """What made a composition, with its experts read again; its mixtures are not balanced."""
    experts = {name: load_energy(run.root / "experts" / name, "compose.experts") for name in composition["experts"]}
    device = run.accelerator.device
    return Composer(
        {name: energy.to(device).eval() for name, energy in experts.items()},
        composition["strength"],
        tuple(composition["prior"]),
    )


def grid_of(values: dict[str, Any], judge: Attributes, num: int, run: Run) -> dict[str, Any] | None:
    """How often both hold, of every label of the first expert with every label of the second, `num` samples each.

    None where there are no two experts with classes that are judged.
    """
    composer = composer_of(values["composition"], run)
    names = [n for n, expert in composer.experts.items() if labels_of(expert) == judge.classes.get(n)][:2]
    generator = from_description(values["generator"])
    if not composer.prior or len(names) < 2 or not num or not isinstance(generator, Annealed):
        return None
    rows, columns = (judge.classes[name] for name in names)
    shape, event = (len(rows), len(columns)), composer.product({}).event_shape
    chosen = torch.cartesian_prod(torch.arange(shape[0]), torch.arange(shape[1])).repeat_interleave(num, 0)
    device = run.accelerator.device

    def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        energy = composer.product({name: chosen[chains, k].to(device) for k, name in enumerate(names)})
        noise = normal(torch.empty(len(chains), *event, device=device), streams)
        *_, x = generator.generate(energy, noise, streams, compute=run.compute)
        return x

    x = sample_chains(run, len(chosen), share(event), "grid", Monitor(), draw)
    found = judge.labels(x)
    right = torch.stack([found[name] for name in names], 1) == chosen
    own = [values["images"]["attributes"][name]["train"] for name in names]
    grid = {
        "names": names,
        "rows": rows,
        "columns": columns,
        "accuracy": right.all(1).view(*shape, num).float().mean(2).tolist(),
        "mean": _share(right.all(1)),
        "learned": [[int(((own[0] == r) & (own[1] == c)).sum()) for c in range(shape[1])] for r in range(shape[0])],
        "samples": x.view(*shape, num, *x.shape[1:])[:, :, 0].flatten(0, 1),
    }
    return grid | ({"valid": _share(is_scene(x, found))} if judge.of_scenes else {})


def _plain_sum(composer: Composer, node: Node) -> Energy | None:
    """E(x, label) of all experts added up as they are, p(x) as often as there are experts; None: it is no such sum."""
    if not isinstance(node, Weighted):
        return None
    total: Energy | None = None
    for weight, part in node.terms:
        if not isinstance(part, Expert) or part.label is None:
            return None
        term = weight * given(composer.expert(part), part.label)
        total = term if total is None else total + term
    return total


def _share(mask: Tensor) -> float:
    return float(mask.float().mean())


def _summary(found: dict[str, Any]) -> str:
    columns = [name for name in found["samples"] if name != "num"]
    lines = [f"{'':24}" + "".join(f"{name.replace('_', ' '):>{max(9, len(name) + 2)}}" for name in columns)]
    for name, row in {"composed": found["samples"], **found["baselines"]}.items():
        cells = "".join(f"{row[column]:{max(9, len(column) + 2)}.3f}" for column in columns)
        lines.append(f"{name.replace('_', ' '):24}{cells}")
    lines.append("accuracy of the classifiers: " + ", ".join(f"{n} {a:.3f}" for n, a in found["classifiers"].items()))
    return "\n".join(lines)
