"""Say whether composed pictures are what was asked for, beside simpler ways to ask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.scenes import scenes
from energies import Energy, Schedule
from energies.diagnostics import Monitor
from energies.samplers.state import normal
from pipelines import expression
from pipelines.chains import sample_chains
from pipelines.composing import Composer, given, labels_of
from pipelines.expression import Expert, Node, Weighted
from pipelines.generation import generate, share
from pipelines.measures.attributes import Attributes, Data, is_scene
from pipelines.measures.judge import share_of
from pipelines.pipeline import Run
from pipelines.stages.images.load import to_float
from pipelines.results import load_energy, save_metrics

JUDGED_BY = 6000  # scenes that the classifiers learn from
JUDGED_FOR = 500  # steps


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
        if not set(expression.names(node)) & set(values["images"]["attributes"]):
            return _unjudged(values, run)
        judge = run.on_main(lambda: judge_of(values["images"], values["source"]["name"], node, run))
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
        generator = values["generator"]
        if not self.baselines or not isinstance(generator, Schedule):
            return {}
        composer = composer_of(values["composition"], run)
        plain = Composer(composer.experts, 1.0, ())
        ways: dict[str, tuple[Energy | None, Schedule]] = {
            "without_langevin_steps": (values["energy"].to(run.accelerator.device), replace(generator, steps=0)),
            "sum_of_energies": (_plain_sum(plain, node), replace(generator, steps=0)),
        }
        return {
            name: generate(energy, way, self.baselines, None, run, name)
            for name, (energy, way) in ways.items()
            if energy is not None
        }


def judge_of(images: dict[str, Any], source: str, node: Node, run: Run) -> Attributes:
    """Learned from scenes of all combinations where the pictures are scenes, else from those to learn from."""
    known = {name: found["classes"] for name, found in images["attributes"].items()}
    asked = expression.names(node)
    of_scenes = source == "scenes" and images["train"].ndim == 4 and images["train"].shape[1] == 3
    classes = {name: names for name, names in known.items() if name in asked or of_scenes}
    if not of_scenes:
        return Attributes.fit(classes, _labelled(images, "train"), _labelled(images, "validation"), run)
    side = images["train"].shape[-1]
    learned = scenes(JUDGED_BY, side, run.seed + 1_000)
    judged = scenes(JUDGED_BY // 6, side, run.seed + 1_000, start=JUDGED_BY)
    return Attributes.fit(classes, learned, judged, run, JUDGED_FOR, of_scenes=True)


def _labelled(images: dict[str, Any], part: str) -> Data:
    return to_float(images[part]), {name: own[part] for name, own in images["attributes"].items()}


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
    known = {n: labels_of(expert) for n, expert in composer.experts.items()}
    names = [n for n, labels in known.items() if labels and set(labels) <= set(judge.classes.get(n, ()))][:2]
    generator = values["generator"]
    if not composer.prior or len(names) < 2 or not num or not isinstance(generator, Schedule):
        return None
    rows, columns = (known[name] for name in names)
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
    codes = [[judge.classes[name].index(label) for label in known[name]] for name in names]  # of those it knows
    asked = torch.stack([torch.tensor(code)[of] for code, of in zip(codes, chosen.T, strict=True)], 1)
    right = torch.stack([found[name] for name in names], 1) == asked
    own = [values["images"]["attributes"][name]["train"] for name in names]
    grid = {
        "names": names,
        "rows": rows,
        "columns": columns,
        "accuracy": right.all(1).view(*shape, num).float().mean(2).tolist(),
        "mean": share_of(right.all(1)),
        "learned": [[int(((own[0] == r) & (own[1] == c)).sum()) for c in codes[1]] for r in codes[0]],
        "samples": x.view(*shape, num, *x.shape[1:])[:, :, 0].flatten(0, 1),
    }
    return grid | ({"valid": share_of(is_scene(x, found))} if judge.of_scenes else {})


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


def _summary(found: dict[str, Any]) -> str:
    columns = [name for name in found["samples"] if name != "num"]
    lines = [f"{'':24}" + "".join(f"{name.replace('_', ' '):>{max(9, len(name) + 2)}}" for name in columns)]
    for name, row in {"composed": found["samples"], **found["baselines"]}.items():
        cells = "".join(f"{row[column]:{max(9, len(column) + 2)}.3f}" for column in columns)
        lines.append(f"{name.replace('_', ' '):24}{cells}")
    if not any("." in name for name in columns):
        lines.append("(nothing was asked for that the classifiers tell, so all hold)")
    lines.append("accuracy of the classifiers: " + ", ".join(f"{n} {a:.3f}" for n, a in found["classifiers"].items()))
    return "\n".join(lines)
