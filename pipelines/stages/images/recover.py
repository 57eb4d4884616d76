"""Recover pictures from what is seen of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from energies import Chain, Energy, Schedule
from energies.diagnostics import Monitor
from energies.generators import Generator
from energies.matching import MomentMatching
from energies.sampling import LevelSampler
from pipelines.chains import findings
from pipelines.generation import suited
from pipelines.pipeline import Run
from pipelines.stages.posterior import Recovered, Sampling, posterior_schedule, recover
from pipelines.results import pretrained, weights_of
from pipelines.settings import check_sampler


@dataclass(frozen=True)
class Recover:
    """Expect the pictures given what is seen of them, which is kept exactly, and sample other ways they may be.

    An energy that was learned for recovery was told what is seen: its mean is an amortised posterior mean, its samples
    are those of a conditional energy. Any other is conditioned: what is seen is held at every noise level.
    """

    needs: ClassVar[tuple[str, ...]] = ("measured", "observation", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("recovered", "samples", "sampling", "ways")
    distributed: ClassVar[bool] = True

    samples: int = 8
    """Pictures, from the first, of which a sample is drawn as well."""

    mean: MomentMatching = MomentMatching()
    """How the mean of an energy that is conditioned is found: more chains and corrections are better and slower."""

    prior: str | None = None
    """Folder of a run, or of its energy, that learned to synthesise such pictures: it recovers them too, by
    conditioning, and is shown beside."""

    generator: Schedule | Chain | None = None
    """How samples are drawn: schedule or, of an energy of clean x, chain; null: as it suits the energy, with steps of
    the sampler at every level."""

    sampler: LevelSampler | None = None
    """What takes these steps, its step size in units of the level: mala, hmc, underdamped, random_walk,
    parallel_tempering; null: langevin."""

    warm_up: int = 0
    """Steps at every level that first adapt the step size of mala, hmc or random_walk; 50 or more, or 0."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples must be 1 or more, got {self.samples}")
        check_sampler(self.sampler, self.warm_up)

    def files(self) -> tuple[str, ...]:
        return weights_of(self.prior)

    def check(self, values: dict[str, Any]) -> None:
        if self.prior is not None and "measured" in values and "energy" not in values:
            pretrained(Path(self.prior), values["images"]["train"].shape[1:], "recover.prior")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        monitor = Monitor(temperature=1.0)
        generator = self.generator or posterior_schedule(values["generator"])
        first = self._by(values["energy"], generator, values, run, monitor)
        ways = {first.way: _way(first)}
        if self.prior is not None:
            energy = pretrained(Path(self.prior), first.mean.shape[1:], "recover.prior")
            generator = posterior_schedule(suited(energy, Schedule()))
            second = self._by(energy, generator, values, run, Monitor())
            ways[second.way if second.way not in ways else "prior"] = _way(second)
        return {"recovered": first.mean, "samples": first.samples, "sampling": findings(monitor), "ways": ways}

    def _by(
        self, energy: Energy, generator: Generator, values: dict[str, Any], run: Run, monitor: Monitor
    ) -> Recovered:
        y: Tensor = values["measured"]
        how = Sampling(generator, self.sampler, self.warm_up, self.mean)
        energy = energy.to(run.accelerator.device).eval()
        return recover(energy, values["observation"], y, len(y), self.samples, how, run, monitor)


def _way(found: Recovered) -> dict[str, Any]:
    return {"mean": found.mean, "seconds": round(found.seconds["mean"], 3)}
