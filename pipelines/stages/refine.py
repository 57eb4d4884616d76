"""Refine coarse samples to a larger size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from data.errors import InputError
from energies import Energy
from energies.matching import MomentMatching
from pipelines.examples import Examples
from pipelines.modalities import modality_of
from pipelines.sampling.masked import of_details, of_two_values, remasked
from pipelines.sampling.posterior import Sampling, expected, of_means, posterior_schedule
from pipelines.stage import Run


@dataclass(frozen=True)
class Refine:
    """Expect the x whose block means the samples are, by an energy of larger x. It is for samples that were made; what
    is measured is refined by `recover`.

    An energy that was learned for recovery is told of the block means: its expectation is an amortised posterior mean.
    Any other is conditioned on them at every noise level.
    """

    needs: ClassVar[tuple[str, ...]] = ("data", "samples", "energy", "generator")
    takes: ClassVar[tuple[str, ...]] = ("soft", "targets")
    gives: ClassVar[tuple[str, ...]] = ("samples", "soft")
    distributed: ClassVar[bool] = True
    stored: ClassVar[bool] = True

    factor: int | None = None
    """How much finer; null: up to the size of the energy or, of one of details, which has none, of the data."""

    remask: int = 2
    """How often in the end most of a sample is forgotten and expected again, by an amortised energy of x of two values:
    specks go, and gaps close."""

    mean: MomentMatching = MomentMatching()
    """How the mean of an energy that is conditioned is found: more chains and corrections are better and slower."""

    def __post_init__(self) -> None:
        if self.factor is not None and self.factor < 2:
            raise ValueError(f"factor must be 2 or more, got {self.factor}")
        if self.remask < 0:
            raise ValueError(f"remask must not be negative, got {self.remask}")

    def check(self, values: dict[str, Any]) -> None:
        if "targets" in values:
            raise InputError("refine is for samples that were made; what is measured is refined by a further recover")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        self.check(values)
        data: Examples = values["data"]
        energy = values["energy"].to(run.accelerator.device).eval()
        coarse: Tensor = values["samples"] if values.get("soft") is None else values["soft"]
        shape = self._shape(energy, tuple(coarse.shape[1:]), data.shape)
        soft, modality = coarse.float(), modality_of(data.modality)
        if shape != tuple(coarse.shape[1:]):
            seen = of_means(soft, shape)
            how = Sampling(posterior_schedule(values["generator"]), mean=self.mean)
            soft = expected(energy, seen, how, run, modality.mean_of_symmetric(seen.observation)).mean
        if of_two_values(energy):
            soft = remasked(energy, soft, self.remask, run)
        samples = modality.made(soft, energy)
        return {"samples": samples, "soft": None if samples is soft else soft}

    def _shape(self, energy: Energy, coarse: tuple[int, ...], data: tuple[int, ...]) -> tuple[int, ...]:
        """Of what is refined. InputError: the energy is not of x so fine."""
        own = data if energy._event_shape is None else energy.event_shape
        if self.factor is None:
            return own
        asked = (coarse[0], *(side * self.factor for side in coarse[1:]))
        if asked != own and not of_details(energy):
            wanted, found = ("x".join(map(str, shape[1:])) for shape in (asked, own))
            raise InputError(f"refine.factor={self.factor}: asks for {wanted}, the energy is of {found}; leave it out")
        return asked
