"""Whether composed x are what was asked for, beside simpler ways to ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.errors import InputError
from data.scenes import scenes
from energies import Energy, Schedule
from energies.algebra import Composite
from energies.diagnostics import Monitor
from energies.samplers.state import normal
from pipelines.composition import expression
from pipelines.composition.composing import Composer, given, labels_of
from pipelines.composition.expression import Expert, Node, Weighted
from pipelines.examples import Examples, Part
from pipelines.measures import floors, tables
from pipelines.measures.attributes import Attributes, Data, is_scene
from pipelines.measures.judge import share_of
from pipelines.measures.solids import WHOLE
from pipelines.modalities.base import Modality
from pipelines.results import load_energy
from pipelines.sampling.chains import sample_chains
from pipelines.sampling.generation import generate, share
from pipelines.stage import Run

JUDGED_BY = 6000  # scenes that the classifiers learn from
JUDGED_FOR = 500  # steps
MOST = 200  # x of data and of noise whose shares stand beside


def evaluate(
    values: Mapping[str, Any], modality: Modality, rivals: int, cells: int, run: Run
) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    """Of `samples` of a `composition`: what was found, lines that say it, and `grid` and `verdicts` to show.

    On every process.

    Args:
        values: data, source, energy, generator, composition, samples.
        modality: of the data.
        rivals: samples of each of the simpler ways to ask; 0: none.
        cells: samples of every label of the first expert with every label of the second, in a grid; 0: no grid.
        run: gives randomness, processes, and the experts in its folder.
    """
    data, composition, samples = values["data"], values["composition"], values["samples"]
    if (rivals or cells) and not isinstance(values["energy"], Composite):
        raise InputError("evaluate.rivals and evaluate.cells are for samples that no other energy refined")
    node = expression.parse(composition["expr"])
    found: dict[str, Any] = {"expr": composition["expr"]}
    asked = set(expression.names(node)) & set(data.attributes)
    if not asked:
        lines = [f"{len(samples)} samples; the {modality.noun} have no labels to judge them by."]
        verdicts = torch.ones(len(samples), dtype=torch.bool)
        return found | {"classifiers": {}, "asked": {"num": len(samples)}}, lines, {"grid": None, "verdicts": verdicts}
    judge = run.on_main(lambda: modality.attributes(data, values["source"], expression.names(node), run))
    found["classifiers"] = judge.accuracy
    found["asked"], verdicts = judge.judged(node, samples)
    whole = run.on_main(lambda: modality.wholeness(samples))
    if whole is not None:
        found["asked"]["hold_and_in_one_part"] = share_of(verdicts & (whole >= WHOLE))
    made = _rivals(node, values, rivals, run) if rivals else {}
    found["rivals"] = {name: judge.judged(node, modality.made(x, values["energy"]))[0] for name, x in made.items()}
    found["bounds"] = {name: judge.judged(node, x)[0] for name, x in _beside(node, judge, data, run).items()}
    found["refused"] = _refusal(found["bounds"])
    grid = grid_of(values, modality, judge, cells, run) if cells else None
    if grid is not None:
        found["grid"] = {key: value for key, value in grid.items() if key != "samples"}
    return found, summary(found), {"grid": grid, "verdicts": verdicts}


def summary(found: Mapping[str, Any]) -> list[str]:
    """The numbers as lines of text."""
    rows = {"composed": found["asked"]} | found["rivals"] | found.get("bounds", {})
    rows = {name: {kind: v for kind, v in row.items() if kind != "num"} for name, row in rows.items()}
    lines = [f"share of {found['asked']['num']} samples that are what was asked for", *tables.table(rows)]
    if not any("." in name for name in found["asked"]):
        lines.append("(nothing was asked for that the classifiers tell, so all hold)")
    if found.get("refused") is not None:
        lines.append(f"warning: {found['refused']}")
    accuracy = ", ".join(f"{name} {share:.3f}" for name, share in found["classifiers"].items())
    lines.append(f"accuracy of the classifiers, which were learned apart: {accuracy}")
    return lines


def _beside(node: Node, judge: Attributes, data: Examples, run: Run) -> dict[str, Tensor]:
    """What the shares of samples stand between: data to judge by that are all that was asked for, where some are, and
    as many x of noise as there are data to judge by."""
    x, labels = _labelled(data, "validation", MOST)
    rows = judge.holds(node, labels, len(x))
    found = {"data": x[rows]} if bool(rows.any()) else {}
    return found | {"noise": floors.noise(x, len(x), run.generator("noise"))}


def _refusal(bounds: Mapping[str, Mapping[str, float]]) -> str | None:
    """Why the classifiers judge nothing: they find noise to be what was asked for as often as data that are."""
    if "data" not in bounds or bounds["noise"]["all_hold"] < bounds["data"]["all_hold"]:
        return None
    return "the classifiers find noise to be what was asked for as often as data that are: they tell nothing"


# ----------------------------------------------------------------------------------- classifiers


def attributes(
    data: Examples, asked: Collection[str], run: Run, most: int | None = None, learned: Examples | None = None,
    steps: int | None = None,
) -> Attributes:  # fmt: skip
    """Classifiers of the labels that are asked for.

    Args:
        data: judged by its validation part.
        asked: names of attributes.
        run: gives randomness.
        most: examples of each part, at most; None: all.
        learned: what they are learned from, its train part; None: the data.
        steps: of learning; None: as suits the examples.
    """
    classes = {name: own["classes"] for name, own in data.attributes.items() if name in asked}
    judged = _labelled(data, "validation", most)
    return Attributes.fit(classes, _labelled(learned or data, "train", most), judged, run, steps)


def attributes_of_scenes(data: Examples, run: Run) -> Attributes:
    """Of all that scenes have, learned from scenes of all combinations; they tell a valid scene, too."""
    classes = {name: own["classes"] for name, own in data.attributes.items()}
    side, seed = data.shape[-1], run.seed + 1_000
    learned, judged = scenes(JUDGED_BY, side, seed), scenes(JUDGED_BY // 6, side, seed, start=JUDGED_BY)
    return Attributes.fit(classes, learned, judged, run, JUDGED_FOR, of_scenes=True)


def _labelled(data: Examples, part: Part, most: int | None) -> Data:
    first = slice(most)
    return data.x(part, first), {name: own[part][first] for name, own in data.attributes.items()}


# ----------------------------------------------------------------------------- simpler ways to ask


def _rivals(node: Node, values: Mapping[str, Any], num: int, run: Run) -> dict[str, Tensor]:
    """Samples of the same energy without Langevin steps, and of the plain sum of the experts' energies."""
    generator = values["generator"]
    if not isinstance(generator, Schedule):
        return {}
    composer = composer_of(values["composition"], run)
    plain = Composer(composer.experts, 1.0, ())
    without = replace(generator, steps=0)
    ways: dict[str, Energy | None] = {
        "without_langevin_steps": values["energy"].to(run.accelerator.device),
        "sum_of_energies": _plain_sum(plain, node),
    }
    return {
        name: generate(energy, without, num, None, run, name) for name, energy in ways.items() if energy is not None
    }


def composer_of(composition: Mapping[str, Any], run: Run) -> Composer:
    """What made a composition, with its experts read again; its mixtures are not balanced."""
    folder: Path = run.root / "experts"
    experts = {name: load_energy(folder / name, "compose.experts") for name in composition["experts"]}
    device = run.accelerator.device
    return Composer(
        {name: energy.to(device).eval() for name, energy in experts.items()},
        composition["strength"],
        tuple(composition["prior"]),
    )


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


# ------------------------------------------------------------------------------------------ grid


def grid_of(
    values: Mapping[str, Any], modality: Modality, judge: Attributes, num: int, run: Run
) -> dict[str, Any] | None:
    """How often both hold, of every label of the first expert with every label of the second, `num` samples each.

    None where there are no two experts with classes that are judged.
    """
    composer = composer_of(values["composition"], run)
    known = {n: labels_of(expert) for n, expert in composer.experts.items()}
    names = [n for n, labels in known.items() if labels and set(labels) <= set(judge.classes.get(n, ()))][:2]
    generator = values["generator"]
    if not composer.prior or len(names) < 2 or not isinstance(generator, Schedule):
        return None
    rows, columns = (known[name] for name in names)
    shape = (len(rows), len(columns))
    chosen = torch.cartesian_prod(torch.arange(shape[0]), torch.arange(shape[1])).repeat_interleave(num, 0)
    x = modality.made(_of_cells(composer, names, chosen, generator, run), values["energy"])
    found = judge.labels(x)
    codes = [[judge.classes[name].index(label) for label in known[name]] for name in names]  # of those it knows
    asked = torch.stack([torch.tensor(code)[of] for code, of in zip(codes, chosen.T, strict=True)], 1)
    right = torch.stack([found[name] for name in names], 1) == asked
    own = [values["data"].attributes[name]["train"] for name in names]
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


def _of_cells(composer: Composer, names: list[str], chosen: Tensor, generator: Schedule, run: Run) -> Tensor:
    """Samples of the product of two experts, each sample of the labels `chosen` [n, 2]."""
    device, event = run.accelerator.device, composer.product({}).event_shape

    def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        energy = composer.product({name: chosen[chains, k].to(device) for k, name in enumerate(names)})
        noise = normal(torch.empty(len(chains), *event, device=device), streams)
        *_, x = generator.generate(energy, noise, streams, compute=run.compute)
        return x

    return sample_chains(run, len(chosen), share(event), "grid", Monitor(), draw)
