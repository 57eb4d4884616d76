"""How good recovered x are, beside simple methods on the same measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from data.errors import InputError
from data.words import counted
from energies import Hidden, Observation
from pipelines.examples import Examples
from pipelines.measures import held_out, tables
from pipelines.measures.baselines import name_of
from pipelines.measures.certainty import within
from pipelines.measures.likeness import likeness, warning_of
from pipelines.modalities.base import Modality
from pipelines.results import log_of
from pipelines.sampling.gate import Gate
from pipelines.sampling.posterior import WAYS
from pipelines.side_by_side import side_by_side
from pipelines.stage import Run
from pipelines.windows import scoring
from pipelines.windows.restoration import Restoration

WORDS = WAYS | {"prior": "the same of the energy that recover.prior names"}
"""The ways that stand beside each other."""

Rival = tuple[str, Tensor] | None
"""Name and x of the best simple method."""


def evaluate(
    values: Mapping[str, Any], modality: Modality, baselines: bool | Sequence[str], run: Run
) -> tuple[dict[str, Any], list[str], Rival]:
    """Of `recovered` x: what was found, lines that say it, and the best simple method.

    Args:
        values: data, targets, measured, observation, truth_known, recovered, samples, sampling, ways; energy, held_out,
            spread and gate where there are some.
        modality: of the data.
        baselines: whether simple methods stand beside, or the names of some.
        run: gives randomness.
    """
    if values.get("damage") is not None:
        found = scoring.evaluated(values) | {"total_seconds": round(_seconds(run), 3)}
        return found, summary(found, modality), None
    observation, y, ways = values["observation"], values["measured"], values["ways"]
    gate: Gate | Restoration | None = values.get("gate")
    rivals, seconds = _rivals(values, modality, baselines, run)
    found: dict[str, Any] = {
        "observation": name_of(observation),
        "num": len(values["targets"]),
        "truth_known": values["truth_known"],
        "hidden_share": _hidden_share(observation),
        "way": next(iter(ways)),
        "seconds": {name: way["seconds"] for name, way in ways.items()},
        "total_seconds": round(_seconds(run), 3),
    }
    if isinstance(gate, Restoration):
        found["shrinkage"] = gate.shrinkage
    found["ways"] = {name: _numbers(way) for name, way in ways.items()}
    best = next(iter(rivals), None)
    if values["truth_known"]:
        found |= _scores(values, modality, rivals, seconds)
        best = found.get("best_baseline")
    else:
        judged = _on_held_out(values, modality, list(rivals), run)
        found["held_out"] = judged
        if judged is not None and rivals:
            best = max(rivals, key=lambda name: judged["rivals"][name][modality.score_name])
    if len(y) == 1 and "energy" in values:
        found["likeness"] = likeness(values["energy"], observation, y, values["data"], modality, run)
    rival = None if best is None else (best, rivals[best])
    return found, summary(found, modality), rival


def summary(found: Mapping[str, Any], modality: Modality) -> list[str]:
    """The numbers as lines of text."""
    unlike = warning_of(found.get("likeness"), modality)
    warnings = [] if unlike is None else [unlike]
    if not found["truth_known"]:
        return warnings + of_own(found, modality)
    lines = tables.table(compared(found))
    told = ", ".join(f"{name} in {seconds:.1f} s" for name, seconds in found["seconds"].items())
    mixed = ", mixed with the initial estimate as held-out pixels say" if "initial_estimate" in found else ""
    told += f"; {found['total_seconds']:.0f} s in all"
    lines.append(f"the recovery is {found['way']}: {said(found['way'])}{mixed} ({told})")
    return warnings + lines + gains(found, modality)


def said(way: str) -> str:
    """A way to recover, in words."""
    return WORDS.get(way, "a simple method, without the energy")


def of_own(found: Mapping[str, Any], modality: Modality) -> list[str]:
    """Lines on x whose truth is unknown, scored on seen elements that were held out."""
    first = f"{counted(found['num'], modality.noun)}; the truth is unknown, so nothing is scored"
    judged = found["held_out"]
    if judged is None:
        return [f"{first}: of what is seen nothing can be held out, to tell whether a simple method is better"]
    lines = [f"{first} but {counted(judged['elements'], 'elements')} that are seen and were held out"]
    lines += tables.table(on_held_out(judged))
    return [*lines, verdict(judged, modality)] if judged["rivals"] else lines


def on_held_out(judged: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Scores by name, on seen elements that were held out."""
    first = {"by the energy": judged["energy"]} | {"initial estimate": judged.get("initial_estimate")}
    return {name: row for name, row in (first | judged["rivals"]).items() if row is not None}


def verdict(judged: Mapping[str, Any], modality: Modality) -> str:
    """Whether the energy or a simple method is better on held-out elements, and whose x is given."""
    gain, unit, name = judged["gain"], modality.score_unit, tables.words(judged["best"])
    amount = f"{abs(gain):.2f}{unit}" if unit else f"{abs(gain):.3f}"
    if gain >= 0:
        return f"there the energy is {amount} better than the best simple method ({name})"
    if judged["result"] == "energy":
        return f"warning: there the energy is {amount} WORSE than {name}; the result is the energy's all the same"
    return (
        f"warning: there the energy is {amount} WORSE than {name}: the result is that of {name} "
        "(recover.fall_back=false gives the energy's)"
    )


def compared(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Scores by name, of a recovery whose truth is known, and of what stands beside it."""
    ways = found["ways"]
    one, num = found["one_sample"], found["num"]
    few = "" if one is None or one["num"] == num else f" (first {one['num']} of {num})"
    scored = {"recovery": found["recovery"], f"one sample{few}": one}
    scored |= {f"by this energy, {name}": way for name, way in ways.items() if len(ways) > 1 or "shrinkage" in way}
    scored |= {"initial estimate": found.get("initial_estimate")} | found.get("baselines", {})
    return {name: {kind: row[kind] for kind in found["recovery"]} for name, row in scored.items() if row is not None}


def gains(found: Mapping[str, Any], modality: Modality) -> list[str]:
    """How much better it is than the best simple method, or WORSE."""
    key, unit, lines = gain_key(modality), modality.score_unit, []
    if "best_baseline" in found:
        gain = found[key]
        amount = f"{abs(gain):.2f}{unit}" if unit else f"{abs(gain):.3f}"
        verb, name = "better" if gain >= 0 else "WORSE", tables.words(found["best_baseline"])
        lines.append(f"{amount} {verb} than the best baseline ({name})")
    for kind, value in found.get("visible", {}).get("recovery", {}).items():
        other = found["visible"][found["best_baseline"]][kind]
        lines.append(f"{tables.words(kind)} {value:.3f}, of that baseline {other:.3f}: 0 is invisible")
    if "initial_estimate" in found:
        gain = found[f"initial_estimate_{key}"]
        lines.append(f"{gain:+.2f}{unit} against the initial estimate")
    if "coverage_90" in found:
        lines.append(f"{found['coverage_90']:.0%} of the hidden values lie in the 90 % band")
    return lines


def gain_key(modality: Modality) -> str:
    """In metrics.json, what is gained over the best simple method: gain_db, gain_iou."""
    return f"gain_{modality.score_unit.strip().lower() or modality.score_name}"


def coverage(mean: Tensor, spread: Tensor, truth: Tensor, where: Tensor) -> float:
    """Share of the true values where bool [n, 1, *size] in the central Gaussian band of probability 90 % around means
    [n, C, *size] with standard deviations `spread`; less is overconfident, more is timid."""
    inside = within(mean, spread, truth)
    return float(inside[where.expand_as(inside)].double().mean())


def _scores(
    values: Mapping[str, Any], modality: Modality, rivals: Mapping[str, Tensor], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Everything that is told by the truth."""
    observation, y, truth = values["observation"], values["measured"], values["targets"].float()
    if values["recovered"].shape != truth.shape:
        raise InputError(
            f"evaluate: recovered are {modality.noun} of {list(values['recovered'].shape[1:])}, the true ones are "
            f"{list(truth.shape[1:])}; recover once more, with an energy of their size"
        )
    where = modality.scored(observation, truth)

    def decided(mean: Tensor) -> Tensor:
        return modality.decided(mean.float(), observation, y)

    def score(x: Tensor) -> dict[str, float]:
        return modality.score(x.float(), truth[: len(x)], where[: len(x)])

    samples = values["samples"]
    found: dict[str, Any] = {"recovery": score(decided(values["recovered"]))}
    first = samples[:: values["sampling"]["chains"]]
    found["one_sample"] = score(first) | {"num": len(first)} if len(first) else None
    found["ways"] = {name: _numbers(way) | score(decided(way["mean"])) for name, way in values["ways"].items()}
    key, name = gain_key(modality), modality.score_name
    if rivals:
        found["baselines"] = {name: score(x) | {"seconds": seconds[name]} for name, x in rivals.items()}
        best = max(rivals, key=lambda rival: found["baselines"][rival][name])
        found |= {"best_baseline": best, key: found["recovery"][name] - found["baselines"][best][name]}
        shown = {"recovery": decided(values["recovered"]), best: rivals[best].float()}
        visible = modality.visible(shown, truth, where)
        found |= {"visible": visible} if visible.get("recovery") else {}
    initial = _initial_estimate(values)
    if initial is not None:
        found["initial_estimate"] = score(initial)
        found[f"initial_estimate_{key}"] = found["recovery"][name] - found["initial_estimate"][name]
    if values.get("spread") is not None:
        found["coverage_90"] = coverage(values["recovered"], values["spread"], truth, where)
    return found


def _initial_estimate(values: Mapping[str, Any]) -> Tensor | None:
    """Of one damaged clip, by classical methods alone."""
    gate = values.get("gate")
    return gate.context.estimate if isinstance(gate, Gate) else next(iter(values["ways"].values())).get("estimate")


def _numbers(way: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a way, without its tensors."""
    return {name: value for name, value in way.items() if not isinstance(value, Tensor)}


def _rivals(
    values: Mapping[str, Any], modality: Modality, names: bool | Sequence[str], run: Run
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What simple methods recover, those of some names or all, and the seconds of a core that each took."""
    if names is False or names == ():
        return {}, {}
    every = held_out.methods_of(values["observation"], values["measured"], values["data"], modality, run)
    methods = _asked(every, names)

    def timed(name: str) -> tuple[Tensor, float]:
        begin = time.thread_time()
        return methods[name](), round(time.thread_time() - begin, 3)

    found = dict(zip(methods, run.progress(side_by_side(timed, methods), len(methods), "baselines"), strict=True))
    return {name: x for name, (x, _) in found.items()}, {name: seconds for name, (_, seconds) in found.items()}


def _asked(
    methods: Mapping[str, Callable[[], Tensor]], names: bool | Sequence[str]
) -> Mapping[str, Callable[[], Tensor]]:
    if isinstance(names, bool):
        return methods
    for name in names:
        if name not in methods:
            raise InputError(f"evaluate.baselines: there is no {name} here; there are {', '.join(methods)}")
    return {name: methods[name] for name in names}


def _on_held_out(
    values: Mapping[str, Any], modality: Modality, names: Sequence[str], run: Run
) -> dict[str, Any] | None:
    """What seen elements that were held out say, where the truth of the others is unknown: what `recover` found, or
    simple methods of these names beside what passed a gate; None: nothing could be held out."""
    gate: Gate | Restoration | None = values.get("gate")
    if gate is None:
        return values.get("held_out")
    observation, y = values["observation"], values["measured"]
    assert isinstance(observation, Hidden)
    parts = list(gate.judged_parts(observation.mask.expand_as(y[:, :1]), y))
    rivals = {
        name: _pooled([_by_simple(name, *part, values["data"], modality, run) for part in parts]) for name in names
    }
    ours, key = next(iter(values["ways"].values()))["held_out"], modality.score_name
    found: dict[str, Any] = {"elements": ours["pixels"], "energy": {key: ours["recovery"]}, "rivals": rivals}
    found |= {"initial_estimate": {key: ours["initial_estimate"]}, "result": "energy"}
    if rivals:
        best = max(rivals, key=lambda name: rivals[name][key])
        found |= {"best": best, "gain": ours["recovery"] - rivals[best][key]}
    return found


def _by_simple(
    name: str, hidden: Tensor, part: Tensor, aside: Tensor, data: Examples, modality: Modality, run: Run
) -> tuple[int, dict[str, float]]:
    """How many elements of a part are held out, and how good a simple method is there."""
    less = Hidden(hidden | aside)
    made = held_out.methods_of(less, less.observe(part), data, modality, run)[name]()
    return int(aside.sum()), modality.score(made, part, aside)


def _pooled(scores: Sequence[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """Means over parts by their elements; PSNR from the mean squared error."""
    total = sum(num for num, _ in scores)

    def mean(kind: str) -> float:
        if kind == "psnr":
            return -10 * math.log10(sum(num * 10 ** (-score[kind] / 10) for num, score in scores) / total)
        return sum(num * score[kind] for num, score in scores) / total

    return {kind: mean(kind) for kind in scores[0][1]}


def _hidden_share(observation: Observation) -> float | None:
    """Share of the elements that are hidden; None where it is not elements that are."""
    inner = observation.noiseless
    return round(float(inner.mask.float().mean()), 4) if isinstance(inner, Hidden) else None


def _seconds(run: Run) -> float:
    """Time that learning, composing and recovery took, over all the commands that worked on this run."""
    stages = ("learn", "compose", "recover")
    return sum(r["seconds"] for r in log_of(run.root) if r.get("event") == "finished" and r["stage"].endswith(stages))
