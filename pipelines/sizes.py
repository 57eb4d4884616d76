"""What decides how much a stage takes: its sizes, and what is learned and how. For log.jsonl and the forecast."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from energies import Chain, Hidden, Schedule, Stepwise
from energies.matching import MomentMatching
from pipelines import trees
from pipelines.learning.dataset import num_levels
from pipelines.learning.settings import Amortised
from pipelines.sampling.posterior import STEPS

if TYPE_CHECKING:
    from pipelines.stage import Stage

KINDS = "modality", "way", "energy", "loss", "windows", "curve"
"""What is learned from what, and how; whether windows are sampled, and quality is judged by sampling steps."""
COUNTS = "steps", "batch", "num", "samples", "chains", "pairs", "futures", "sweeps", "limit"
"""Settings of stages that count here."""
PUBLISHED = 1e4  # work of a published network on a place, about
WINDOW = 64  # places a side of what a texture is sampled by
ONE_PASS = 0.05  # of what a mean takes by moment matching, that one by an amortised energy takes


def sizes(stage: Stage, values: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes and kinds of a stage that decide what it takes, as far as they are known; {} of one of a person's own.

    values: those that it is handed or gives, as far as they are known.
    """
    if not type(stage).__module__.startswith("pipelines.") or not is_dataclass(stage):
        return {}
    name, data = trees.snake(type(stage).__name__), values.get("data")
    settings = {each.name: getattr(stage, each.name) for each in fields(stage)}
    found = {name: settings[name] for name in COUNTS if settings.get(name) is not None}
    generator = settings.get("generator") or values.get("generator")
    found |= _levels(generator, STEPS if name == "recover" else 0)
    if name == "compose":
        found["energy"] = "composed"
    if name == "evaluate":
        found["curve"] = bool(settings["curve"])
    if name == "hide":
        found["given"] = found.pop("num")
    if isinstance(mean := settings.get("mean"), MomentMatching):
        found["mean"] = mean.gradients / MomentMatching().gradients
    if data is not None:
        found |= {"modality": data.modality, "x": _places(stage, name, values)}
        found["way"] = "set" if not data.single else "damaged" if "observation" in values else "single"
        if name == "load":
            found["count"] = len(data.train) + len(data.validation)
        if name == "synthesize":
            found |= {"num": stage.number(data), "windows": stage.windows is not None}  # type: ignore[attr-defined]
        with suppress(InputError):  # only an energy that was learned before will do
            if hasattr(stage, "planned"):
                found |= _of_recipe(stage.planned(values), data, found["x"])  # type: ignore[attr-defined]
        if settings.get("further") is not None:
            found["steps"] = settings["further"]
    return found


def _places(stage: Any, name: str, values: Mapping[str, Any]) -> float:
    """Places of one x, as the stage has it; of a damaged clip, those that are hidden of it."""
    data, observation = values["data"], values.get("observation")
    sides = data.shape[1:]
    if data.single and name in ("learn", "recover", "evaluate") and observation is not None:
        if values.get("damage") is not None:
            return values["damage"].share * math.prod(sides)
        if isinstance(observation.noiseless, Hidden):
            return float(observation.noiseless.mask.float().mean()) * math.prod(sides)
    if data.single and name == "synthesize":
        return math.prod(stage.sides(data)) * (WINDOW / (stage.windows or WINDOW)) ** len(sides)
    size = getattr(stage, "size", None)
    share = size / max(sides) if isinstance(size, int) and name != "load" else 1.0
    return math.prod(sides) * share ** len(sides)


def joined(before: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes of a stage and of those before it."""
    facts = {**before, **found}
    means = facts.get("given", 1) * (facts.get("mean", 1) if facts.get("energy") != "amortised" else ONE_PASS)
    return facts | {"paths": means + facts.get("samples", 0) * facts.get("chains", 1)}


def _levels(generator: Any, steps: int) -> dict[str, int]:
    """About so many gradients of the energy a sample takes, with `steps` at each level where the schedule has none; {}:
    it is not known how it is made."""
    if isinstance(generator, Chain):
        return {"levels": generator.steps}
    if isinstance(generator, Schedule | Stepwise):
        return {"levels": generator.levels * (1 + (generator.steps or steps))}
    return {}


def _of_recipe(recipe: Any, data: Any, whole: float) -> dict[str, Any]:
    """Of a recipe for learning; a step of it may take crops of the whole."""
    energy = getattr(recipe, "energy", recipe)  # that of a joint energy is its encoder's
    objective = getattr(recipe.objective, "generative", recipe.objective)
    crops = data.single or getattr(energy, "rank", None) == 0
    sides = recipe.sides(data.shape[1:]) if crops else ()
    share = (whole / math.prod(data.shape[1:])) ** (1 / len(data.shape[1:]))
    crop = math.prod(map(min, sides, data.shape[1:])) if crops else whole
    return {
        "steps": recipe.steps,
        "batch": recipe.batch,
        "x": crop,
        "whole": whole,
        "network": _network(energy, sides or [side * share for side in data.shape[1:]]),
        "energy": trees.snake(type(energy).__name__),
        "loss": trees.snake(type(objective).__name__),
        "objective": 1 + getattr(objective, "steps", 0),
    }


def _network(settings: Any, sides: Sequence[float]) -> float:
    """What a place of x takes in a network, in units of its own: squares of widths, at their resolutions."""
    widths, depths = getattr(settings, "widths", None), getattr(settings, "depths", None)
    if widths and depths:
        num = len(widths) if isinstance(settings, Amortised) else num_levels((1, *map(round, sides)), widths)
        return sum((1 + depths[k]) * widths[k] ** 2 / 4**k for k in range(num))
    if hidden := getattr(settings, "hidden", None):
        return sum(hidden)
    width, depth = getattr(settings, "width", None), getattr(settings, "depth", None) or 1
    return PUBLISHED if width is None else width**2 * depth
