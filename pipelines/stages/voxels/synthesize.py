"""Make new shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import Chain, ConditionalEnergy, Energy, Schedule
from energies.diagnostics import Monitor
from energies.family import is_noisy
from energies.samplers.masked import MaskedSampling
from energies.sampling import LevelSampler
from pipelines.chains import findings
from pipelines.generation import asked_labels, check_label, generate, guidance_of
from pipelines.pipeline import Run
from pipelines.settings import check_sampler
from pipelines.stages.voxels.grids import likeliest
from pipelines.stages.voxels.sampling import of_details, sampled


@dataclass(frozen=True)
class Synthesize:
    """Sample new shapes from the energy; they may be refined further by `super_resolve`."""

    needs: ClassVar[tuple[str, ...]] = ("shapes", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("coarse", "measured", "fields", "solids", "sampling")
    distributed: ClassVar[bool] = True

    num: int = 64
    """Number of shapes."""

    unmasking: MaskedSampling = MaskedSampling()
    """How our default is sampled: some voxels at a time, given those before."""

    polish: int = 6
    """How often in the end most of such a sample is forgotten and expected again: specks go, and gaps close."""

    generator: Schedule | Chain | None = None
    """How any other energy is sampled, and our default in place of unmasking: schedule or, of clean x, chain; null: as
    it suits what was learned or composed."""

    sampler: LevelSampler | None = None
    """What takes the steps of a chain, or those at every level of a schedule: mala, hmc, underdamped, random_walk,
    parallel_tempering; its step size is in units of x, or of the level. null: langevin."""

    warm_up: int = 0
    """Steps that first adapt the step size of mala, hmc or random_walk; 50 or more, or 0."""

    label: str | None = None
    """Of an encoder learned by class: the name of one, each, to take turns, or any; null: each where it was."""

    guidance: float | None = None
    """How much the class counts there: above 1, samples are surer to be of it and less varied; null: 1.5."""

    def __post_init__(self) -> None:
        if self.num < 1 or self.polish < 0:
            raise ValueError(f"num must be 1 or more and polish not negative, got {self.num} and {self.polish}")
        check_sampler(self.sampler, self.warm_up)

    def check(self, values: dict[str, Any]) -> None:
        check_label(self.label, values.get("shapes"))

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy = values["energy"].to(run.accelerator.device).eval()
        if of_details(energy):
            raise InputError("synthesize: an energy of details knows nothing whole; set learn.energy.shapes.rank")
        generator = self.generator or values["generator"]
        masked = isinstance(energy, ConditionalEnergy) and self.generator is None
        monitor = Monitor(temperature=generator.noise**2 if isinstance(generator, Chain) else 1.0)
        labels = asked_labels(self.label, self.guidance, energy, values["shapes"]["classes"], self.num)
        if masked and self.sampler is not None:
            raise InputError("synthesize.sampler: this energy is sampled by unmasking; give synthesize.generator, too")
        if masked:
            nothing = torch.zeros(self.num, *energy.event_shape)
            hidden = torch.ones_like(nothing, dtype=torch.bool)
            fields = sampled(energy, nothing, hidden, self.unmasking, self.polish, run, "synthesize").clamp(-1, 1)
        else:
            fields = generate(
                _free(energy), generator, self.num, labels, run, "synthesize",
                guidance=guidance_of(self.guidance, energy, labels), sampler=self.sampler, warm_up=self.warm_up,
                monitor=monitor,
            )  # fmt: skip
        solids = likeliest(fields) if is_noisy(energy) else fields > 0
        return {
            "coarse": fields,
            "measured": fields if is_noisy(energy) and not masked else _emptied(fields, solids),
            "fields": fields.half(),
            "solids": solids,
            "sampling": findings(monitor),
        }


def _free(energy: Energy) -> Energy:
    """The energy of shapes of which nothing is seen."""
    return energy.free() if isinstance(energy, ConditionalEnergy) else energy


def _emptied(fields: Tensor, solids: Tensor) -> Tensor:
    """What is not solid is empty, also when it is refined. Down the noise levels comes what may be a mean of blocks."""
    return torch.where(solids, fields, -1.0)
