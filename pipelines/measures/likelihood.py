"""How likely data are by an energy, in nats and bits, with the bracket that its log Z is known to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from energies import Energy
from energies.annealed_importance import Bracket, annealed, annealed_log_z, enumerated
from energies.boltzmann import Helmholtz, Layers, Machine
from energies.boltzmann.dbm import ROUNDS
from energies.boltzmann.trajectory import ladder_log_z
from energies.gaussian_importance import Base, gaussian_log_z
from pipelines.stage import Run

NARROW = 1.0  # nats: wider brackets of log Z do not speak of one value
SHADES = 127.5  # levels of grey in a unit of x
PARTICLES = 500  # samples of a recognition network that a likelihood is estimated by
FEW = 8  # x whose energies are taken at once, each with so many particles
TOGETHER = 256  # x whose energies are taken at once


@dataclass(frozen=True)
class Annealing:
    """How log Z is bracketed.

    Attributes:
        runs: chains each way.
        steps: inverse temperatures, or shares of the energy.
        settle: steps of the ends of forward runs before reverse ones start there; of a Boltzmann machine, sweeps of a
            ladder of temperatures that begins at these ends.
        leapfrog: steps of a trajectory of HMC, for continuous x.
    """

    runs: int
    steps: int
    settle: int
    leapfrog: int = 5


def of_machine(machine: Machine, parts: Mapping[str, Tensor], how: Annealing, run: Run) -> dict[str, Any]:
    """Likelihoods of x [n, *event] of parts by a machine: each [low, high] in nats and bits an element."""
    rng = run.generator("likelihood", device=machine.unit.device)
    bracket = enumerated(machine) or annealed_log_z(machine, rng, runs=how.runs, steps=how.steps, settle=how.settle)
    rounded = {name: machine.rounded(x.to(machine.unit)) for name, x in parts.items()}
    found = _told(machine, rounded, bracket, 0.0)
    found["by"] = "enumeration" if bracket.exact else "annealing"
    if machine.num_past:
        found["curve"] = _curve(machine, rounded, bracket, how, run)
        found["ladder"] = _ladder(machine, how, run)
    return found


def of_helmholtz(machine: Helmholtz, parts: Mapping[str, Tensor]) -> dict[str, Any]:
    """Likewise of a Helmholtz machine, whose log Z is 0: from below alone, by samples of its recognition network."""
    machine = machine.with_particles(PARTICLES)
    means = {name: mean_energy(machine, machine.rounded(x.to(machine.unit)), FEW) for name, x in parts.items()}
    sizes = {name: x[0].numel() for name, x in parts.items()}
    return {
        "by": "importance sampling",
        "particles": PARTICLES,
        "closed": True,
        "nats": {name: [-mean, None] for name, mean in means.items()},
        "bits": {name: [None, mean / math.log(2) / sizes[name]] for name, mean in means.items()},
    }


def of_energy(
    energy: Energy, parts: Mapping[str, Tensor], reference: Tensor, bound: float | None, noise: float, how: Annealing,
    run: Run,
) -> dict[str, Any]:  # fmt: skip
    """Likewise of an energy of continuous x, annealed from a Gaussian of the mean and spread of a reference.

    Args:
        energy: of clean x, or bound to a noise level.
        parts: x with levels of grey.
        reference: x to take the base from.
        bound: of x; None: it has none.
        noise: standard deviation of Gaussian noise that the energy's x holds; 0: a grey level is spread evenly instead.
        how: settings.
        run: gives randomness.
    """
    rng, device = run.generator("likelihood", device=run.accelerator.device), run.accelerator.device

    def spread(x: Tensor) -> Tensor:
        x = x.to(device)
        if noise:
            return x + noise * torch.randn(x.shape, generator=rng, device=device)
        x = x + (torch.rand(x.shape, generator=rng, device=device) - 0.5) / SHADES
        return x if bound is None else x.clamp(-bound, bound)

    base = Base.of(spread(reference), bound)
    bracket = gaussian_log_z(
        energy, base, rng, runs=how.runs, steps=how.steps, leapfrog=how.leapfrog, settle=how.settle
    )
    found = _told(energy, {name: spread(x) for name, x in parts.items()}, bracket, 0.0 if noise else math.log2(SHADES))
    return found | {"by": "annealing", "noise": noise}


def _told(energy: Energy, parts: Mapping[str, Tensor], bracket: Bracket, shade: float) -> dict[str, Any]:
    """`shade`: bits an element that the density of x counts beside those of a level of grey."""
    low, high = bracket.bounds
    found: dict[str, Any] = {
        "log_z": {
            "low": bracket.low, "high": bracket.high, "low_error": bracket.low_error,
            "high_error": bracket.high_error, "low_ess": bracket.low_ess, "high_ess": bracket.high_ess,
            "fresh": bracket.fresh,
        },
        "closed": bracket.closed(NARROW),
        "nats": {},
        "bits": {},
    }  # fmt: skip
    for name, x in parts.items():
        means = mean_energy(energy, x)
        nats = [-means - high, -means - low]
        found["nats"][name] = nats
        found["bits"][name] = [shade - end / math.log(2) / x[0].numel() for end in nats[::-1]]
    return {key: _finite(value) for key, value in found.items()}


def _finite(value: Any) -> Any:
    """JSON has no numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@torch.no_grad()
def mean_energy(energy: Energy, x: Tensor, together: int = TOGETHER) -> float:
    """Mean of E(x) over x [n, *event]."""
    return float(torch.cat([energy(part) for part in x.split(together)]).double().mean())


@torch.no_grad()
def _curve(
    machine: Machine, parts: Mapping[str, Tensor], bracket: Bracket, how: Annealing, run: Run
) -> list[dict[str, Any]]:  # fmt: skip
    """Likelihoods by the machine at times of its learning, the first one first, and by itself."""
    found = []
    for number, layers in enumerate(reversed(machine.past())):
        rng = run.generator("past", number, device=machine.unit.device)
        own = annealed(layers, rng, runs=how.runs, steps=how.steps, settle=how.settle, rungs=1)
        own = own.moved(machine.log_volume)
        nats = {name: _of_layers(layers, machine.units_of(x)) for name, x in parts.items()}
        found.append({"progress": float(machine.progress[machine.num_past - 1 - number]), **_point(nats, own)})
    nats = {name: -mean_energy(machine, x) for name, x in parts.items()}
    return [*found, {"progress": 1.0, **_point(nats, bracket)}]


def _point(nats: Mapping[str, float], bracket: Bracket) -> dict[str, Any]:
    low, high = bracket.bounds
    return {"closed": bracket.closed(NARROW), "nats": {name: [own - high, own - low] for name, own in nats.items()}}


def _of_layers(layers: Layers, v: Tensor) -> float:
    """Mean of -F(v), whatever the label, or its variational bound where there are several hidden layers."""
    parts = v.split(TOGETHER)
    if layers.labels is None:
        values = [-layers.bound(layers.mean_field(part, ROUNDS)) for part in parts]
    else:
        values = [(-layers.class_energies(part)).logsumexp(1) for part in parts]
    return float(torch.cat(values).double().mean())


@torch.no_grad()
def _ladder(machine: Machine, how: Annealing, run: Run) -> dict[str, Any]:
    """log Z by chains of the machine and of its past that exchange places, down to the base, of which it is known."""
    layers = machine.layers()
    rungs = [layers, *machine.past(), replace(layers, beta=0.0)]
    rng = run.generator("trajectory", device=machine.unit.device)
    found, errors, exchanged = ladder_log_z(rungs, rng, chains=how.runs, sweeps=max(50, how.steps // 5))
    return {
        "log_z": float(found[0]) + machine.log_volume,
        "error": float(errors[0]),
        "least_exchanged": float(exchanged.min()),
    }
