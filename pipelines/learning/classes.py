"""The classes that an energy learns, and those that one has learned."""

from __future__ import annotations

from data.errors import InputError
from energies import Energy, Family
from pipelines.examples import Examples
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import Boltzmann, Encoder, Residual
from pipelines.modalities import modality_of


def learned(data: Examples, recipe: Recipe, asked: bool | None, ready: Energy | None = None) -> bool:
    """Whether labels are learned, by a `ready` energy where it knows classes.

    Args:
        data: what is learned from.
        recipe: how.
        asked: learn.conditional; None: where there are labels.
        ready: an energy that learns further.

    InputError: there are no labels, or none of a class.
    """
    if ready is not None and not (isinstance(ready, Family) and ready.num_classes):
        return False
    noun, able = modality_of(data.modality).noun, isinstance(recipe.energy, Encoder | Residual | Boltzmann)
    if asked and not able:
        raise InputError("learn.conditional is for the energies encoder and residual, and for boltzmann")
    if isinstance(recipe.energy, Boltzmann) and recipe.energy.hidden and len(recipe.energy.hidden) > 1:
        if asked:
            raise InputError("learn.conditional: of Boltzmann machines only those with one hidden layer learn classes")
        return False
    labels, classes = data.train_labels, data.classes
    if asked and (labels is None or len(classes) < 2):
        raise InputError(f"learn.conditional needs {noun} with labels: put them into folders by class")
    by_class = asked is not False and able and labels is not None and len(classes) > 1
    missing = [name for k, name in enumerate(classes) if by_class and not (labels == k).any()]
    if missing:
        raise InputError(
            f"learn: no {noun} of the class {missing[0]} are loaded to learn from; load more, or set "
            "learn.conditional=false"
        )
    return by_class


def check(energy: Energy, data: Examples, asked: bool | None, source: str) -> None:
    """InputError: the classes that an energy was learned by are not those of the data, or of `asked` (see `learned`).

    source: what learn.pretrained names.
    """
    known = list(energy.classes) if isinstance(energy, Family) else []
    noun = modality_of(data.modality).noun
    if known and known != list(data.classes):
        raise InputError(
            f"learn.pretrained={source}: was learned by the classes {', '.join(known)}; the {noun} have "
            f"{', '.join(data.classes) or 'none'}"
        )
    if asked is not None and asked != bool(known):
        raise InputError(
            f"learn.pretrained={source}: was {'' if known else 'not '}learned by class, and "
            f"learn.conditional is {str(asked).lower()}"
        )
