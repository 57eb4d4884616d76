"""Fill in the hidden part of shapes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import Chain, Energy, Observation, Schedule
from energies.diagnostics import Monitor
from energies.generators import Generator
from energies.matching import MomentMatching
from energies.samplers.masked import MaskedSampling
from energies.sampling import LevelSampler
from pipelines.chains import findings
from pipelines.pipeline import Run
from pipelines.stages.posterior import Recovered, Sampling, posterior_schedule, recover
from pipelines.results import pretrained, weights_of
from pipelines.settings import check_sampler, check_there
from pipelines.stages.voxels.grids import check_side, likeliest
from pipelines.stages.voxels.learn import suited
from pipelines.stages.voxels.sampling import expected, is_told, sampled, way

SHORTER = 0.3  # chains of clean x given what is seen beside those from nothing: 90 steps beside 300, as published


@dataclass(frozen=True)
class Recover:
    """Expect what is hidden of shapes given what is seen, and sample other ways that they may go on.

    An energy that was learned for recovery was told what is seen: its expectation is an amortised posterior mean, and
    it is sampled some voxels at a time. Any other is conditioned at every noise level. The expectation becomes a solid
    by the highest expected intersection over union.
    """

    needs: ClassVar[tuple[str, ...]] = ("measured", "observation", "hidden", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("fields", "solids", "samples", "sampling", "ways")
    distributed: ClassVar[bool] = True

    samples: int = 8
    """Shapes, from the first, of which a sample is drawn as well."""

    unmasking: MaskedSampling = MaskedSampling(sweeps=2)
    """How an energy that is told what is seen is sampled."""

    polish: int = 4
    """How often in the end most of such a sample is forgotten and expected again: specks go, and gaps close."""

    prior: str | None = None
    """Folder of a run, or of its energy, that learned to synthesise such shapes: it recovers them too, by conditioning,
    and is shown beside."""

    mean: MomentMatching = MomentMatching()
    """How the mean of an energy that is conditioned is found: more chains and corrections are better and slower."""

    generator: Schedule | Chain | None = None
    """How an energy that is conditioned is sampled: schedule or, of clean x, chain; null: as it suits what was learned,
    with steps of the sampler at every level."""

    sampler: LevelSampler | None = None
    """What takes these steps, its step size in units of the level: mala, hmc, underdamped, random_walk,
    parallel_tempering; null: langevin."""

    warm_up: int = 0
    """Steps at every level that first adapt the step size of mala, hmc or random_walk; 50 or more, or 0."""

    def __post_init__(self) -> None:
        if self.samples < 1 or self.polish < 0:
            raise ValueError(f"samples must be 1 or more and polish not negative, got {self.samples}, {self.polish}")
        check_sampler(self.sampler, self.warm_up)
        check_there(prior=self.prior)

    def files(self) -> tuple[str, ...]:
        return weights_of(self.prior)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        hidden, y = values["hidden"], values["measured"].float()
        where = decided(hidden, values["observation"])
        generator = self.generator or _given_part(values["generator"])
        monitor = Monitor(temperature=generator.noise**2 if isinstance(generator, Chain) else 1.0)
        energy = values["energy"].to(run.accelerator.device).eval()
        check_side(energy, y.shape[-1], "recover")
        if is_told(energy, values["observation"], "recover"):
            if self.sampler is not None:
                raise InputError(
                    "recover.sampler: an energy that is told what is seen is sampled by unmasking; leave it out"
                )
            begin = time.monotonic()
            mean = expected(energy, values["observation"], y, run)
            seconds = time.monotonic() - begin
            first = slice(self.samples)
            samples = sampled(energy, y[first], hidden[first], self.unmasking, self.polish, run, "recover")
            mean, found = torch.where(hidden, mean.clamp(-1, 1), y), "amortised"
        else:
            recovered = self._conditioned(energy, generator, values, self.samples, run, monitor)
            mean, samples, found = recovered.mean.clamp(-1, 1), recovered.samples, recovered.way
            seconds = recovered.seconds["mean"]
        solids = likeliest(mean, where)
        ways = {found: way(solids, seconds)}
        if self.prior is not None:
            second = self._by_prior(self.prior, values, run)
            solids_too = likeliest(second.mean.clamp(-1, 1), where)
            ways["prior" if second.way in ways else second.way] = way(solids_too, second.seconds["mean"])
        return {
            "fields": mean.half(),
            "solids": solids,
            "samples": samples.half(),
            "sampling": findings(monitor),
            "ways": ways,
        }

    def _by_prior(self, folder: str, values: dict[str, Any], run: Run) -> Recovered:
        energy = pretrained(Path(folder), values["measured"].shape[1:], "recover.prior", "shapes")
        generator = _given_part(suited(energy))
        return self._conditioned(energy.to(run.accelerator.device).eval(), generator, values, 0, run, Monitor())

    def _conditioned(
        self, energy: Energy, generator: Generator, values: dict[str, Any], samples: int, run: Run, monitor: Monitor
    ) -> Recovered:
        y = values["measured"].float()
        how = Sampling(posterior_schedule(generator), self.sampler, self.warm_up, self.mean)
        return recover(energy, values["observation"], y, len(y), samples, how, run, monitor)


def decided(hidden: Tensor, observation: Observation) -> Tensor:
    """Voxels, bool [n, 1, N, N, N], that are to be found: what is hidden, or all where what is seen is noisy."""
    return hidden if observation.exact else torch.ones_like(hidden)


def _given_part(generator: Generator) -> Generator:
    return generator.longer(SHORTER) if isinstance(generator, Chain) else generator
