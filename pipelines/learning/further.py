"""Further learning: from the weights of an energy that was learned before, on what is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from data.errors import InputError
from energies import ConditionalEnergy, EncoderEnergy, Energy, Family, GenerativeConvNet, ResidualEnergy
from energies.family import is_noisy
from energies.objectives import Denoising, RecoveryLikelihood, ScoreMatching
from energies.references import DataReference, LocalReference
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import Amortised, ConvNet, Encoder, Network, Residual, typed
from pipelines.learning.single import of_size

SLOWER = 0.1  # of a recipe's learning rate, where none is said: the weights are near what they shall be
KINDS: dict[type[Energy], type[Encoder | Amortised | Residual | ConvNet]] = {
    EncoderEnergy: Encoder, ConditionalEnergy: Amortised, ResidualEnergy: Residual, GenerativeConvNet: ConvNet,
}  # fmt: skip


def network(ready: Energy, asked: Network | None) -> Network:
    """The settings of a network like that of an energy. InputError: it does not learn further, or another is asked for.

    What is asked for beside the network, how many data an amortised one remembers, stays.
    """
    kind = KINDS.get(type(ready))
    if kind is None:
        names = " or ".join(map(typed, KINDS.values()))
        raise InputError(f"learn.further: the energy is a {type(ready).__name__}; only {names} learn further")
    if asked is not None and type(asked) is not kind:
        raise InputError(
            f"learn.energy={typed(type(asked))}: the energy of learn.pretrained is {typed(kind)}; leave it out"
        )
    own: dict[str, Any] = ready.arguments
    known = ready.reference if isinstance(ready, ConditionalEnergy) else None
    if isinstance(known, DataReference):
        own |= {"rank": known.rank, "noise": known.noise}
    elif isinstance(known, LocalReference):
        own |= {"rank": 0}
    said = {field.name: own[field.name] for field in fields(kind) if field.name in own}
    return replace(asked or kind(), **{k: tuple(v) if isinstance(v, list | tuple) else v for k, v in said.items()})


def adapted(recipe: Recipe, ready: Energy, by_class: bool, slower: bool) -> Recipe:
    """A recipe for the network of an energy, as that learns further.

    Args:
        recipe: of such a network.
        ready: the energy.
        by_class: whether there are classes to learn.
        slower: take a tenth of the learning rate of the recipe.

    InputError: the energy was learned by another kind of objective, or by classes that are not there.
    """
    noisy = is_noisy(ready)
    if noisy != isinstance(recipe.objective, ScoreMatching | RecoveryLikelihood | Denoising):
        raise InputError(
            f"learn.objective={typed(type(recipe.objective))}: the energy of learn.pretrained is one "
            f"{'of many noise levels' if noisy else 'of clean x'}; set the objective that it was learned by"
        )
    if isinstance(ready, Family) and ready.num_classes and not by_class:
        raise InputError(f"learn.further: the energy knows {ready.num_classes} classes, and the data have none")
    stride = tuple(ready.arguments["stride"]) if isinstance(ready, ConditionalEnergy) else recipe.stride
    return replace(recipe, stride=stride, learning_rate=recipe.learning_rate * (SLOWER if slower else 1.0))


def check_crops(ready: Energy, sides: Sequence[int]) -> None:
    """InputError if an energy is not one of crops with these sides."""
    try:
        if not isinstance(ready, ConditionalEnergy):
            of_size(ready, sides)
    except ValueError as error:
        raise InputError(f"learn.further: {error}; it was not learned from crops") from None


def begun(fresh: Energy, ready: Energy | None) -> Energy:
    """The energy that learns: a fresh one, or one with the weights of another that learned before.

    An amortised energy keeps the reference of the fresh one, which is fitted to what is loaded: it tells the network
    of these data. Any other keeps its own mean and spread, in units of which its network sees x.
    """
    if ready is None:
        return fresh
    if isinstance(fresh, ConditionalEnergy):
        assert isinstance(ready, ConditionalEnergy)
        fresh.net.load_state_dict(ready.net.state_dict())
        return fresh
    return of_size(ready, fresh.event_shape[1:]).train()
