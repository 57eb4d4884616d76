"""Maximum likelihood of Boltzmann machines, whose chains move by block Gibbs sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from energies.boltzmann.chain import GibbsChain
from energies.boltzmann.ladder import by_temperature, packed, sweep, unpacked
from energies.boltzmann.layers import Layers, Units
from energies.boltzmann.machine import Machine
from energies.buffer import ReplayBuffer
from energies.energy import Energy
from energies.objectives.batch import Batch, Metrics, labelled
from energies.samplers.state import Rng

Start = Literal["data", "persistent", "tempered", "trajectory"]
LEAST = 0.25  # share of exchanges with the last rung of a trajectory below which the machine becomes one itself
MANY = 32  # rows from which on products in a short number format are worth rounding the weights for
REMEMBERED = 0.98  # decay of the mean of that share


@dataclass(frozen=True)
class ContrastiveDivergence:
    """Maximum likelihood of a Boltzmann machine: raise the chances of data, lower those of its chains.

    The gradient is the centred one, which does not change where zeros and ones are swapped (Melchior et al. 2016).
    """

    steps: int = 1
    """Gibbs sweeps of every chain between two updates."""

    chains: Start = "persistent"
    """data: they start at the data of each step (CD-k, Hinton 2002). persistent: they go on from step to step (Tieleman
    2008). tempered: and exchange places with replicas at lower inverse temperatures (Desjardins et al. 2010).
    trajectory: and with replicas of the machine as it was earlier in its learning (Bereux et al. 2024)."""

    rungs: int = 8
    """Replicas of a tempered chain, itself included; earlier machines of a trajectory, at most."""

    kept: int = 6
    """Machines of its past, but for a trajectory's, that the machine keeps, evenly in steps: `likelihood` tells how
    good they were. They are saved with it."""

    recentre: float = 0.02
    """How far the offsets of hidden units go towards their means in a step, at first; it falls to 0."""

    decay: float = 0.0
    """Of the squared weights in the loss."""

    sampling_steps: int = 1000
    """Gibbs sweeps from noise to a sample when the machine is learned."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.sampling_steps < 1 or self.rungs < 2 or self.kept < 0:
            raise ValueError("steps and sampling_steps must be 1 or more, rungs 2 or more, kept must not be negative")
        if not 0 <= self.recentre <= 1 or not self.decay >= 0:
            raise ValueError("recentre must be a share, decay must not be negative")

    def generator(self) -> GibbsChain:
        """How a machine that was learned so makes samples."""
        return GibbsChain(self.sampling_steps)

    def places(self) -> int:
        """For earlier machines, that the machine has to have."""
        return self.rungs if self.chains == "trajectory" else self.kept

    @torch.no_grad()
    def buffer(self, machine: Machine, num: int, rng: torch.Generator) -> ReplayBuffer | None:
        """Exact samples of the machine's base, for `num` chains on every rung; None: chains start at data."""
        if self.chains == "data":
            return None
        base, rungs = by_temperature(machine.layers(), 2)[1], self._num_rungs()
        return ReplayBuffer(packed([base.base_units(num, rng) for _ in range(rungs)]))

    def _num_rungs(self) -> int:
        return {"persistent": 1, "tempered": self.rungs, "trajectory": self.rungs + 2}[self.chains]

    def _ladder(self, machine: Machine, layers: Layers) -> list[Layers]:
        """The machine first. Of a trajectory, places that are free yet stand for the base."""
        if self.chains == "trajectory":
            base = by_temperature(layers, 2)[1]
            past = machine.past()
            return [layers, *past, *[base] * (self.rungs + 1 - len(past))]
        return by_temperature(layers, self._num_rungs())

    def __call__(self, energy: Energy, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Metrics]:
        """TypeError: the energy is no layered machine."""
        if not isinstance(energy, Machine):
            raise TypeError(f"{type(energy).__name__} is no Boltzmann machine: learn it by another objective")
        device = batch.x.device.type
        pays = torch.is_autocast_enabled(device) and batch.share.total >= MANY
        short = torch.get_autocast_dtype(device) if pays else None
        with torch.autocast(device, enabled=False):  # but for products: those of layers would lose their offsets
            return self._loss(energy, batch, rng, short)

    def _loss(
        self, energy: Machine, batch: Batch, rng: torch.Generator, short: torch.dtype | None
    ) -> tuple[Tensor, Metrics]:  # fmt: skip
        share = batch.share
        with torch.no_grad():
            layers, metrics = energy.layers().cast(short), dict[str, float]()
            data = labelled(energy, batch.label).expected(batch.x, share.stream(rng), layers)
            if batch.chains is None:
                chains = self._from_data(layers, data, share.stream(rng))
            else:
                chains, metrics = self._moved(energy, layers, batch, rng)  # all of them, the same on every process
            slopes = energy.contrast(data, chains, short)
            means = [share.add(s.mean(0) * share.weight) for s in data.layers[1:]]
            energy.recentre(means, self.recentre * (1 - batch.progress))
            num = energy.num_past + 1
            if self.chains != "trajectory" and num <= len(energy.memory) and batch.progress >= num / (self.kept + 1):
                energy.remember(batch.progress)
        parameters = dict(energy.named_parameters())
        terms = [parameters[name].flatten().dot(slope.flatten()) for name, slope in slopes.items()]
        loss = torch.stack(terms).sum()
        metrics["energy_gap"] = float(loss.detach()) / data.layers[0].shape[1]
        if self.decay:
            weights = [weight.square().sum() for name, weight in parameters.items() if "weight" in name]
            loss = loss + self.decay * torch.stack(weights).sum()
        return loss, metrics

    def _from_data(self, layers: Layers, data: Units, rng: Rng) -> Units:
        units = data
        for _ in range(self.steps):
            units = layers.sweep(units, rng)
        return layers.odd_means(units)

    def _moved(
        self, machine: Machine, layers: Layers, batch: Batch, rng: torch.Generator
    ) -> tuple[Units, Metrics]:  # fmt: skip
        """Chains of the machine, moved on and put back, and how often they exchanged places."""
        assert batch.chains is not None
        buffer = batch.chains
        rungs = self._ladder(machine, layers)
        states = unpacked(buffer.x, machine.sizes, machine.num_classes, len(rungs))
        shares: list[Tensor] = []
        for step in range(self.steps):
            states, exchanged = sweep(rungs, states, rng, (int(buffer.age[0]) * self.steps + step) % 2)
            shares.append(exchanged)
        buffer.x.copy_(packed(states))
        buffer.age += 1
        metrics: Metrics = {}
        if len(rungs) > 1:
            known = torch.stack(shares).nanmean((0, 2))
            metrics["exchanged"] = float(known.nanmean())
            if self.chains == "trajectory" and not math.isnan(latest := float(known[0])):
                self._extend(machine, buffer, latest, batch.progress)
        return layers.odd_means(states[0]), metrics

    def _extend(self, machine: Machine, buffer: ReplayBuffer, share: float, progress: float) -> None:
        """Where exchanges with the last rung have become rare, the machine as it is becomes a rung of its own."""
        machine.exchanged.lerp_(torch.as_tensor(share).to(machine.exchanged), 1 - REMEMBERED)
        num = machine.num_past
        if machine.exchanged < LEAST and num < self.rungs:
            machine.remember(progress)
            num_chains = len(buffer) // self._num_rungs()
            buffer.x[num_chains:] = buffer.x[:-num_chains].clone()
            machine.exchanged.fill_(1.0)
