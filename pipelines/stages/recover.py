"""Recover x from what is seen of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import Chain, ConditionalEnergy, Energy, Schedule
from energies.diagnostics import Monitor, saturation
from energies.family import is_noisy
from energies.generators import Generator
from energies.matching import MomentMatching
from energies.samplers.masked import MaskedSampling
from energies.sampling import LevelSampler
from pipelines.examples import Examples
from pipelines.learning.recipe import Way
from pipelines.learning.single import is_scene, of_size, pretrained_single
from pipelines.measures import held_out
from pipelines.modalities import modality_of
from pipelines.results import pretrained, weights_of
from pipelines.sampling.chains import findings
from pipelines.sampling.gate import Gate, Gated, gated, of_damaged, sampled
from pipelines.sampling.generation import CONDITIONAL
from pipelines.sampling.posterior import (
    Expected,
    Sampling,
    Seen,
    at_size_of,
    drawn,
    expected,
    of_means,
    posterior_schedule,
)
from pipelines.settings import check_energy, check_sampler
from pipelines.stage import Run
from pipelines.windows.damage import Damage
from pipelines.windows.plan import Plan
from pipelines.windows.restoration import Restoration, context_of, pasted, restore, restored_whole

CHAINS = 4  # of a clip that passes a gate, where nothing is said


@dataclass(frozen=True)
class Recover:
    """Expect x given what is seen of it, which is kept exactly, and sample other ways that it may be.

    An energy that was learned for recovery was told what is seen: its mean is an amortised posterior mean. Any other is
    conditioned: what is seen is held at every noise level. An energy of smaller x recovers averages of blocks as far as
    its size, and a further `recover` goes on from there. The recovery of one damaged clip is mixed with its initial
    estimate as far as seen pixels that were held out speak for it.
    """

    needs: ClassVar[tuple[str, ...]] = ("data", "measured", "observation", "energy", "generator")
    takes: ClassVar[tuple[str, ...]] = ("gate", "recovered", "samples", "truth_known", "damage", "footage")
    gives: ClassVar[tuple[str, ...]] = ("recovered", "samples", "spread", "ways", "sampling", "held_out")
    distributed: ClassVar[bool] = True
    stored: ClassVar[bool] = True

    samples: int = 8
    """How many x, from the first, samples are drawn of as well; 0: of none."""

    chains: int | None = None
    """Samples of each of these; null: 1; of one damaged clip none where the energy is amortised, whose uncertainty is
    known without, else 4, whose spread it is."""

    mean: MomentMatching = MomentMatching()
    """How the mean of an energy that is conditioned is found: more chains and corrections are better and slower."""

    prior: str | None = None
    """Folder of a run, or of its energy, that learned to synthesise such x, zoo:NAME, or user/name of the hub: it
    recovers them too, by conditioning, and is shown beside. One that was learned from these very x knows what is hidden
    of them."""

    generator: Schedule | Chain | None = None
    """How samples are drawn: schedule or, of an energy of clean x, chain; null: as it suits the energy, with steps of
    the sampler at every level, and by masks where an amortised energy is of x of two values."""

    sampler: LevelSampler | None = None
    """What takes these steps, its step size in units of the level: mala, hmc, underdamped, random_walk,
    parallel_tempering; null: langevin."""

    warm_up: int = 0
    """Steps at every level that first adapt the step size of mala, hmc or random_walk; 50 or more, or 0."""

    masked: MaskedSampling = MaskedSampling(sweeps=2)
    """How an amortised energy of x of two values is sampled where elements are hidden: some at a time, given those
    before."""

    fall_back: bool = True
    """Of x of your own, whose truth is unknown: where a simple method predicts seen elements that are held out better
    than the energy does, give what that method makes, and say so; false: give what the energy makes, and say so."""

    remask: int = 4
    """How often in the end most of such a sample is forgotten and expected again: specks go, and gaps close."""

    def __post_init__(self) -> None:
        if self.samples < 0 or self.remask < 0:
            raise ValueError(f"samples and remask must not be negative, got {self.samples} and {self.remask}")
        if self.chains is not None and self.chains < 1:
            raise ValueError(f"chains must be 1 or more, got {self.chains}")
        check_sampler(self.sampler, self.warm_up)
        check_energy(prior=self.prior)

    def files(self) -> tuple[str, ...]:
        return weights_of(self.prior, "recover.prior")

    def check(self, values: dict[str, Any]) -> None:
        if "data" not in values:
            return
        self._prior(values["data"])
        if {"energy", "measured", "observation"} <= values.keys() and not values["data"].single:
            self._seen(values["energy"], values)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data: Examples = values["data"]
        other = self._prior(data)
        energy = values["energy"].to(run.accelerator.device).eval()
        if other is not None:
            other = other.to(run.accelerator.device).eval()
        if values.get("damage") is not None:
            return self._of_footage(energy, values, run)
        recovered = {Gate: self._by_gate, Restoration: self._by_windows}.get(type(values.get("gate")), self._each)
        return recovered(energy, values["generator"], other, values, run)

    def _each(
        self, energy: Energy, generator: Generator, other: Energy | None, values: dict[str, Any], run: Run
    ) -> dict[str, Any]:
        """Of many x, each by itself."""
        data: Examples = values["data"]
        modality = modality_of(data.modality)
        seen, drawn_of = self._seen(energy, values)
        symmetric = modality.mean_of_symmetric(seen.observation)
        how = self._how(self.generator or posterior_schedule(generator))
        monitor = Monitor(temperature=_temperature(how.generator))
        first = expected(energy, seen, how, run, symmetric)
        found = None if values.get("truth_known", True) else self._held_out(energy, seen, how, symmetric, data, run)
        samples = drawn(energy, drawn_of, self.chains or 1, how, run, monitor)
        if seen.shape == data.shape:
            given = Seen(values["observation"], values["measured"], seen.num, seen.shape)
            samples = _decided(samples, given, self.chains or 1, data.modality)
        ways = {first.way: _way(first)}
        if other is not None:
            given = at_size_of(other, values["observation"], values["measured"].float(), data.shape)
            how = self._how(posterior_schedule(_suited(other, data, "data")))
            second = expected(other, given, how, run, symmetric)
            ways[second.way if second.way not in ways else "prior"] = _way(second)
        if found is not None and found["result"] != "energy":
            ways = self._simple(found["result"], values, run) | ways
        return {
            "recovered": next(iter(ways.values()))["mean"],
            "samples": samples,
            "spread": None,
            "ways": ways,
            "sampling": findings(monitor) | {"chains": self.chains or 1},
            "held_out": found,
        }

    def _held_out(
        self, energy: Energy, seen: Seen, how: Sampling, symmetric: tuple[int, ...], data: Examples, run: Run
    ) -> dict[str, Any] | None:
        """What seen elements that are held out say of the energy and of simple methods, and whose x is the `result`:
        the energy's, or a simple method's by its name; None: nothing can be held out."""
        trial = held_out.trial(seen.observation, seen.y, seen.shape, run)
        if trial is None or seen.shape != data.shape:
            return None
        mean = expected(energy, trial.seen, how, run, symmetric).mean
        found = run.on_main(lambda: held_out.scores(trial, mean, data, modality_of(data.modality), run))
        worse = found["gain"] < 0 and self.fall_back
        return found | {"result": found["best"] if worse else "energy"}

    def _simple(self, name: str, values: dict[str, Any], run: Run) -> dict[str, Any]:
        """What a simple method makes of what is measured, as a way to recover."""
        data, begin = values["data"], time.monotonic()
        methods = held_out.methods_of(
            values["observation"], values["measured"].float(), data, modality_of(data.modality), run
        )
        mean = run.on_main(methods[name])
        return {name: {"mean": mean, "seconds": round(time.monotonic() - begin, 3)}}

    def _seen(self, energy: Energy, values: dict[str, Any]) -> tuple[Seen, Seen]:
        """What is seen of all x, and of those that are sampled: what is measured; or, block by block, what an earlier
        `recover` left smaller than the data, and the samples that it drew."""
        data: Examples = values["data"]
        coarse: Tensor | None = values.get("recovered")
        if coarse is None or tuple(coarse.shape[1:]) == data.shape:
            seen = at_size_of(energy, values["observation"], values["measured"].float(), data.shape)
            return seen, seen.rows(range(min(self.samples, seen.num)))
        shape = data.shape if energy._event_shape is None else energy.event_shape
        earlier = values["samples"][: self.samples]
        return of_means(coarse, shape), of_means(earlier, shape)

    def _by_gate(
        self, energy: Energy, generator: Generator, other: Energy | None, values: dict[str, Any], run: Run
    ) -> dict[str, Any]:
        """Of one damaged clip."""
        gate: Gate = values["gate"]
        chains = self.chains or CHAINS
        if chains < 2:
            raise InputError(f"recover.chains must be 2 or more, got {chains}: their spread is the uncertainty")
        y = values["measured"].float()

        def by(energy: Energy, generator: Generator, purpose: str, monitor: Monitor) -> Gated:
            return gated(energy, gate, y, chains, self._how(generator), run, purpose, monitor)

        generator = self.generator or posterior_schedule(generator)
        at_bounds = float(saturation(y)[0])
        monitor = Monitor(bounds=(-1, 1), saturated=(1 + at_bounds) / 2, temperature=_temperature(generator))
        found = by(energy, generator, "", monitor)
        ways = {found.way: found.found}
        if other is not None:
            second = by(other, posterior_schedule(_suited(other, values["data"], "damaged")), "prior ", Monitor())
            ways[second.way if second.way not in ways else "prior"] = second.found
        return {
            "recovered": found.mean,
            "samples": found.samples,
            "spread": found.spread,
            "ways": ways,
            "sampling": findings(monitor) | {"chains": chains},
            "held_out": None,
        }

    def _by_windows(
        self, energy: Energy, generator: Generator, other: Energy | None, values: dict[str, Any], run: Run
    ) -> dict[str, Any]:
        """Of one damaged clip, whose estimates are stacked window by window."""
        assert isinstance(energy, ConditionalEnergy)
        gate: Restoration = values["gate"]
        y, begin = values["measured"][0].float(), time.monotonic()
        hidden = values["observation"].noiseless.mask.expand(1, 1, *y.shape[1:])[0, 0]
        is_told = of_damaged(energy) and energy.reference.takes(values["observation"].noiseless)
        if is_told:
            found = restored_whole(energy, gate, hidden, run)
        else:
            found = restore(energy, gate, partial(y.unbind, 1), Damage.whole(hidden), Plan(), run)
        way = {"mean": pasted(y, hidden, found.mean)[None], "seconds": round(time.monotonic() - begin, 3)}
        way |= gate.told() | {"estimate": pasted(y, hidden, found.estimate)[None]}
        ways = {"amortised": way}
        monitor, chains = Monitor(bounds=(-1, 1)), self.chains or 0
        samples = way["mean"][:0]
        if chains:
            how = self._how(self.generator or posterior_schedule(generator))
            seen = torch.where(hidden, 0.0, y)
            context = energy.reference.free(1) if is_told else context_of(gate, seen, hidden)
            samples = sampled(energy, context, y[None], chains, how, run, "recover", monitor).samples
            samples = torch.where(hidden, samples + (way["mean"] - samples.mean(0)), y).clamp(-1, 1)
        if other is not None:
            given = Seen(values["observation"], y[None], 1, values["data"].shape)
            how = self._how(posterior_schedule(_suited(other, values["data"], "damaged")))
            second = expected(other, given, how, run, ())
            ways[second.way if second.way not in ways else "prior"] = _way(second)
        return {
            "recovered": way["mean"],
            "samples": samples,
            "spread": pasted(torch.zeros_like(y[:1]), hidden, found.spread).expand(1, *y.shape).clone(),
            "ways": ways,
            "sampling": findings(monitor) | {"chains": max(1, chains)},
            "held_out": None,
        }

    def _of_footage(self, energy: Energy, values: dict[str, Any], run: Run) -> dict[str, Any]:
        """Of a clip that is read frame by frame: values of what is hidden of it, [C, N]."""
        assert isinstance(energy, ConditionalEnergy)
        if self.chains or self.prior:
            raise InputError("recover: a clip that large is neither sampled nor shown a prior; set load.size")
        gate, begin = values["gate"], time.monotonic()
        found = restore(energy, gate, values["footage"].frames, values["damage"], Plan(), run)
        way = {"mean": found.mean.half(), "seconds": round(time.monotonic() - begin, 3)} | gate.told()
        return {
            "recovered": way["mean"], "samples": found.mean[:0], "spread": found.spread.half(),
            "ways": {"amortised": way | {"estimate": found.estimate.half()}},
            "sampling": findings(Monitor()) | {"chains": 1}, "held_out": None,
        }  # fmt: skip

    def _how(self, generator: Generator) -> Sampling:
        masked = self.masked if self.generator is None else None
        return Sampling(generator, self.sampler, self.warm_up, self.mean, masked, self.remask)

    def _prior(self, data: Examples) -> Energy | None:
        if self.prior is None:
            return None
        noun = modality_of(data.modality).noun
        if not data.single:
            return pretrained(self.prior, data.shape, "recover.prior", noun)
        energy = pretrained_single(self.prior, data.shape, noun.removesuffix("s"), "recover.prior")
        return of_size(energy, data.shape[1:])


def _suited(energy: Energy, data: Examples, way: Way) -> Generator:
    """How an energy that was learned elsewhere is sampled."""
    if isinstance(energy, ConditionalEnergy) and not is_scene(energy):
        return CONDITIONAL
    return modality_of(data.modality).recipes().elsewhere(way, is_noisy(energy))


def _temperature(generator: Generator) -> float:
    return generator.noise**2 if isinstance(generator, Chain) else 1.0


def _way(found: Expected) -> dict[str, Any]:
    return {"mean": found.mean, "seconds": round(found.seconds, 3)}


def _decided(samples: Tensor, seen: Seen, each: int, modality: str) -> Tensor:
    """The x that samples [n each, *shape] of the first n x speak for, in the light of what is seen of these."""
    rows = [k // each for k in range(len(samples))]
    if not rows:
        return samples
    given = seen.rows(rows)
    return modality_of(modality).drawn(samples, given.observation, given.y)
