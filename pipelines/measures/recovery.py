"""How good recovered x are, beside simple methods on the same measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import NormalDist
from typing import Any

from torch import Tensor

from data.errors import InputError
from energies import Hidden, Observation
from pipelines.measures import tables
from pipelines.measures.baselines import name_of
from pipelines.modalities.base import Modality
from pipelines.results import log_of
from pipelines.sampling.gate import Gate
from pipelines.sampling.posterior import WAYS
from pipelines.stage import Run

BAND = 0.9  # probability of the band that is held to the truth

WORDS = WAYS | {"prior": "the same of the energy that recover.prior names"}
"""The ways that stand beside each other."""

Rival = tuple[str, Tensor] | None
"""Name and x of the best simple method."""


def evaluate(
    values: Mapping[str, Any], modality: Modality, baselines: bool | Sequence[str], run: Run
) -> tuple[dict[str, Any], list[str], Rival]:
    """Of `recovered` x: what was found, lines that say it, and the best simple method.

    Args:
        values: data, targets, measured, observation, truth_known, recovered, samples, sampling, ways; spread and gate
            where there are some.
        modality: of the data.
        baselines: whether simple methods stand beside, or the names of some.
        run: gives randomness.
    """
    observation, y, ways = values["observation"], values["measured"], values["ways"]
    gate: Gate | None = values.get("gate")
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
    if gate is not None:
        found |= {"stacking": gate.stacking, "shrinkage": gate.shrinkage}
    found["ways"] = {name: {k: v for k, v in way.items() if k != "mean"} for name, way in ways.items()}
    best = next(iter(rivals), None)
    if values["truth_known"]:
        found |= _scores(values, modality, rivals, seconds)
        best = found.get("best_baseline")
    elif rivals and gate is not None:
        best = _best_on_held_out(values["data"], observation, y, modality, gate, list(rivals), run)
    rival = None if best is None else (best, rivals[best])
    return found, summary(found, modality), rival


def summary(found: Mapping[str, Any], modality: Modality) -> list[str]:
    """The numbers as lines of text."""
    ways = found["ways"]
    if not found["truth_known"]:
        line = f"{found['num']} {modality.noun}; the truth is unknown, so nothing is scored."
        held_out = ways[found["way"]].get("held_out")
        if held_out is not None:
            line += (
                f" On held-out seen pixels: initial estimate {held_out['initial_estimate']:.2f} dB, recovery "
                f"{held_out['recovery']:.2f} dB."
            )
        return [line]
    lines = tables.table(compared(found))
    told = ", ".join(f"{name} in {seconds:.1f} s" for name, seconds in found["seconds"].items())
    mixed = ", mixed with the initial estimate as held-out pixels say" if "initial_estimate" in found else ""
    told += f"; {found['total_seconds']:.0f} s with learning"
    lines.append(f"the recovery is {found['way']}: {WORDS[found['way']]}{mixed} ({told})")
    return lines + gains(found, modality)


def compared(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Scores by name, of a recovery whose truth is known, and of what stands beside it."""
    ways = found["ways"]
    scored = {"recovery": found["recovery"], "one sample": found["one_sample"]}
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
    half_width = NormalDist().inv_cdf((1 + BAND) / 2) * spread.double()
    inside = (truth.double() - mean.double()).abs() <= half_width
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
    found["one_sample"] = score(samples[:: values["sampling"]["chains"]]) if len(samples) else None
    found["ways"] = {
        name: {k: v for k, v in way.items() if k != "mean"} | score(decided(way["mean"]))
        for name, way in values["ways"].items()
    }
    key, name = gain_key(modality), modality.score_name
    if rivals:
        found["baselines"] = {name: score(x) | {"seconds": seconds[name]} for name, x in rivals.items()}
        best = max(rivals, key=lambda rival: found["baselines"][rival][name])
        found |= {"best_baseline": best, key: found["recovery"][name] - found["baselines"][best][name]}
    if values.get("gate") is not None:
        found["initial_estimate"] = score(values["gate"].estimate)
        found[f"initial_estimate_{key}"] = found["recovery"][name] - found["initial_estimate"][name]
    if values.get("spread") is not None:
        found["coverage_90"] = coverage(values["recovered"], values["spread"], truth, where)
    return found


def _rivals(
    values: Mapping[str, Any], modality: Modality, names: bool | Sequence[str], run: Run
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What simple methods recover, those of some names or all, and the seconds that each took."""
    if names is False or names == ():
        return {}, {}
    streams = partial(run.generator, "baseline")
    methods = _asked(modality.baselines(values["data"], values["observation"], values["measured"], streams), names)
    found: dict[str, Tensor] = {}
    seconds: dict[str, float] = {}
    for name in run.progress(list(methods), len(methods), "baselines"):
        begin = time.monotonic()
        found[name] = methods[name]()
        seconds[name] = round(time.monotonic() - begin, 3)
    return found, seconds


def _asked(
    methods: Mapping[str, Callable[[], Tensor]], names: bool | Sequence[str]
) -> Mapping[str, Callable[[], Tensor]]:
    if isinstance(names, bool):
        return methods
    for name in names:
        if name not in methods:
            raise InputError(f"evaluate.baselines: there is no {name} here; there are {', '.join(methods)}")
    return {name: methods[name] for name in names}


def _best_on_held_out(
    data: Any, observation: Observation, y: Tensor, modality: Modality, gate: Gate, names: Sequence[str], run: Run
) -> str:
    """The simple method that is best on held-out seen pixels, where the truth of the others is unknown."""
    assert isinstance(observation, Hidden)
    less = Hidden(observation.mask | gate.held_out)
    methods = modality.baselines(data, less, less.observe(y), partial(run.generator, "baseline"))
    return max(names, key=lambda name: modality.score(methods[name](), y, gate.held_out)[modality.score_name])


def _hidden_share(observation: Observation) -> float | None:
    """Share of the elements that are hidden; None where it is not elements that are."""
    inner = observation.noiseless
    return round(float(inner.mask.float().mean()), 4) if isinstance(inner, Hidden) else None


def _seconds(run: Run) -> float:
    """Time that learning, composing and recovery took, over all the commands that worked on this run."""
    stages = ("learn", "compose", "recover")
    return sum(r["seconds"] for r in log_of(run.root) if r.get("event") == "finished" and r["stage"].endswith(stages))
