"""Balances the mixtures of a composition by samples: of each part, and of the whole that a mixture is part of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from energies import Schedule
from energies.algebra import AnyOf, WeightedSum
from energies.mbar import balanced, tuned
from energies.samplers.state import normal
from energies.sampling import anneal
from pipelines.composition.composing import Balance
from pipelines.pipeline import Run


def balancing(num: int, generator: Schedule, run: Run) -> Balance:
    """By samples of each part, as noisy as they come by at each level, and then, where the mixture is sampled as part
    of a sum, by some of that sum, which are to come from every part alike. Every process draws the same ones.

    Args:
        num: samples of each part.
        generator: how the whole is sampled; without Langevin steps where samples have none.
        run: gives randomness and devices.
    """
    device, levels = run.accelerator.device, generator.noise_levels()

    def visited(number: int, whole: WeightedSum) -> dict[float, Tensor]:
        streams = [run.generator("balance", number, chain, device=device) for chain in range(num)]
        noise = normal(torch.empty(num, *whole.event_shape, device=device), streams)
        chains = anneal(whole, generator, whole.start(noise, levels[0]), streams, compute=run.compute)
        return {level: x for level, x in run.progress(chains, len(levels), "balancing") if level}

    def balance(mixture: AnyOf, wholes: list[WeightedSum], whole_of: Callable[[AnyOf], WeightedSum] | None) -> AnyOf:
        found = [visited(number, whole) for number, whole in enumerate(wholes)]
        # By what was sampled: where few samples overlap, what parts add to the prior does not tell their depth.
        counted = balanced(AnyOf(wholes), {level: [samples[level] for samples in found] for level in found[0]})
        mixture = AnyOf(mixture.parts, counted.offsets.tolist(), counted.levels)
        if whole_of is None:
            return mixture

        def draw(mixture: AnyOf, number: int) -> tuple[float | None, Tensor]:
            samples = visited(len(wholes) + number, whole_of(mixture))
            return min(samples), samples[min(samples)]

        return tuned(mixture, draw)

    return balance
