"""Checks of settings that several stages have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from energies.hub import ZOO, is_elsewhere, located
from energies.samplers import HMC, MALA, RandomWalk
from energies.sampling import LevelSampler


def check_network(widths: Sequence[int], depths: Sequence[int], least: int = 1) -> None:
    """ValueError unless a network's levels have as many widths as depths, positive and `least` or more."""
    if not widths or len(widths) != len(depths) or min(widths) < 1 or min(depths) < least:
        words = f"widths and depths must be as many, widths positive, depths {least} or more"
        raise ValueError(f"{words}; got {widths} and {depths}")


def check_sampler(sampler: LevelSampler | None, warm_up: int) -> None:
    """ValueError unless the warm-up is one that the sampler can have: of 50 steps or more, of one that accepts."""
    if warm_up and (warm_up < 50 or not isinstance(sampler, MALA | HMC | RandomWalk)):
        raise ValueError(f"warm_up must be 0, or 50 or more with the sampler mala, hmc or random_walk; got {warm_up}")


def check_energy(**sources: str | None) -> None:
    """ValueError, naming the field, for an energy that is not in the zoo, or in no folder; the hub is asked later."""
    for field, source in sources.items():
        if source is None or not is_elsewhere(source):
            check_there(**{field: source})
        elif source.startswith(ZOO):
            check_zoo(**{field: source})


def check_zoo(**sources: str | None) -> None:
    """ValueError, naming the field, for an energy that would be of the zoo, and is not: it needs no files to tell."""
    for field, source in sources.items():
        if source is not None and source.startswith(ZOO):
            try:
                located(source)
            except ValueError as error:
                raise ValueError(f"{field}={source}: {error}") from None


def check_there(**paths: str | None) -> None:
    """ValueError, naming the field, unless what is given exists: better before learning than after."""
    for field, path in paths.items():
        if path is not None and not Path(path).exists():
            raise ValueError(f"{field}={path}: no such file or folder")
