"""Samples of an energy that was learned from data, of a class where it knows classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from data.errors import InputError
from energies import Energy, Family, Schedule
from energies.algebra import AnyOf
from energies.boltzmann import GibbsChain
from energies.diagnostics import Monitor
from energies.family import is_noisy
from energies.generators import Chain, Generator, Stepwise
from energies.samplers.state import normal
from energies.sampling import LevelSampler
from energies.schedule import RETURN
from pipelines.examples import Examples
from pipelines.sampling.chains import TOGETHER, sample_chains
from pipelines.stage import Run

GUIDANCE = 1.5  # of samples of a class, where nothing else is said
CONDITIONAL = Schedule(16, 4.0, 0.08, 1, 0.35, spacing="geometric", predictor="euler")
"""How a conditional energy is sampled, in units of the expected error of its initial estimate."""


def asked_labels(
    label: str | None, guidance: float | None, energy: Energy, classes: Sequence[str], num: int
) -> Tensor | None:
    """Labels [num] that `synthesize.label` and `.guidance` ask for; None: of any. InputError: there are none."""
    known = energy.num_classes if isinstance(energy, Family) else 0
    if guidance not in (None, 1) and (not known or label == "any"):
        raise InputError("synthesize.guidance needs a class: an energy learned by class, and label not any")
    if label == "any" or (label is None and not known):
        return None
    if not known:
        raise InputError(f"synthesize.label={label}: the energy was not learned by class; set learn.conditional=true")
    if label in (None, "each"):
        return torch.arange(num) % known
    return torch.full((num,), list(classes).index(label))


def check_label(label: str | None, data: Examples) -> None:
    """InputError if `synthesize.label` is none of the classes of the data, or has two meanings."""
    if label in ("each", "any") and label in data.classes:
        raise InputError(f"synthesize.label={label}: a class is called so, too; give that class another name")
    if label in (None, "each", "any") or label in data.classes:
        return
    classes = ", ".join(data.classes)
    known = f"the classes are {classes}, each and any" if classes else "what is loaded has no classes"
    raise InputError(f"synthesize.label={label}: {known}")


def guidance_of(guidance: float | None, energy: Energy, labels: Tensor | None) -> float:
    """How much the class counts, where nothing is said."""
    if guidance is None:
        return GUIDANCE if labels is not None and is_noisy(energy) else 1.0
    return guidance


def check_suits(generator: Generator, energy: Energy, purpose: str) -> None:
    """InputError: the generator does not suit the energy, which is of many noise levels, or of clean x."""
    noisy = is_noisy(energy)
    if noisy == isinstance(generator, Chain):
        kind = "many noise levels; take schedule or stepwise" if noisy else "clean x; take chain"
        raise InputError(f"the generator does not suit the energy, which is of {kind} ({purpose})")


def generate(
    energy: Energy, generator: Generator, num: int, labels: Tensor | None, run: Run, purpose: str, *,
    guidance: float = 1.0, sampler: LevelSampler | None = None, warm_up: int = 0, monitor: Monitor | None = None,
    start: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Samples [num, *event] in [-1, 1] on the CPU; sample k has a stream of its own.

    Those of a mixture, whose parts count alike, are drawn part by part in turns: exact, where a chain that had to cross
    from part to part would not be. The monitor sees the first part's chains.

    sampler: in place of the generator's Langevin steps, adapted by `warm_up` steps; it takes one at each level of a
        schedule that has none.
    start: x [num, *event] that long chains go on from, in place of noise.
    """
    if isinstance(generator, Schedule) and sampler is not None and not generator.steps:
        generator = replace(generator, steps=1)
    device = run.accelerator.device
    check_suits(generator, energy, purpose)
    if isinstance(generator, GibbsChain) and (sampler is not None or (labels is not None and guidance != 1)):
        raise InputError("a Boltzmann machine is sampled by block Gibbs: leave the sampler and guidance out")
    if start is None and (parts := _alternatives(energy)):
        samples = torch.empty(num, *energy.event_shape)
        for k, part in enumerate(parts[:num]):
            own, watched = len(range(k, num, len(parts))), None if k else monitor  # one run of chains, no more
            samples[k :: len(parts)] = generate(
                part, generator, own, None, run, f"{purpose} {k}", sampler=sampler, warm_up=warm_up, monitor=watched
            )
        return samples

    def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        bound: Any = energy
        if labels is not None:
            assert isinstance(energy, Family)
            bound = energy.guided(labels[chains].to(device), guidance)
        how: Any = {"compute": run.compute}
        if isinstance(generator, Stepwise):
            if sampler is not None:
                raise InputError("sampler: stepwise sampling has Langevin steps of its own; leave the sampler out")
        else:
            how |= {"sampler": sampler, "warm_up": warm_up}
        if start is not None:
            steps = generator.continued(bound, start[chains].to(device), streams, **how)
        else:
            noise = normal(torch.empty(len(chains), *energy.event_shape, device=device), streams)
            steps = generator.generate(bound, noise, streams, monitor=monitor, **how)
        *_, x = run.progress(steps, num_steps(generator, start is not None), "steps")
        return x

    return sample_chains(run, num, share(energy.event_shape), purpose, monitor or Monitor(), draw)


def num_steps(generator: Generator, continued: bool = False) -> int:
    """How often a generator yields x, from noise or as it continues from x."""
    if isinstance(generator, Chain):
        return generator.steps + generator.calm + 1
    if isinstance(generator, Stepwise):
        return (min(3, generator.levels) - 1 if continued else generator.levels - 1) * generator.steps + 1
    below = sum(level < RETURN for level in generator.noise_levels())
    return generator.levels + below + 1 if continued else generator.levels


def _alternatives(energy: Energy) -> list[Energy]:
    """The parts of a mixture."""
    return energy.parts if isinstance(energy, AnyOf) else []


def share(event: Sequence[int]) -> int:
    """Numbers that a sample counts for, so that some hundred are drawn at once, and of large x four: the network holds
    many more."""
    return min(32 * math.prod(event), TOGETHER // 4)
