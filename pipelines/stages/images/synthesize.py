"""Make new pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from energies import Chain, Schedule, Stepwise
from energies.diagnostics import Monitor, saturation
from energies.sampling import LevelSampler
from pipelines.chains import findings
from pipelines.generation import asked_labels, check_label, generate, guidance_of
from pipelines.pipeline import Run
from pipelines.stages.images.load import to_float
from pipelines.settings import check_sampler


@dataclass(frozen=True)
class Synthesize:
    """Sample new pictures from the energy, of a class where it was learned by class."""

    needs: ClassVar[tuple[str, ...]] = ("images", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("samples", "sample_labels", "generator", "guidance", "sampling")
    distributed: ClassVar[bool] = True

    num: int = 256
    """Number of pictures."""

    label: str | None = None
    """Of an energy learned by class: the name of one, each, to take turns, or any; null: each where it was."""

    guidance: float | None = None
    """How much the class counts: above 1, samples are surer to be of it and less varied, at twice the time; null: 1.5
    where a class is asked for of an energy of many noise levels, else 1."""

    generator: Schedule | Chain | Stepwise | None = None
    """How they are sampled: schedule, chain or stepwise; null: as it suits the objective that was learned by."""

    sampler: LevelSampler | None = None
    """What takes the steps of a chain, or those at every level of a schedule: mala, hmc, underdamped, random_walk,
    parallel_tempering; its step size is in units of x, or of the level. null: langevin."""

    warm_up: int = 0
    """Steps that first adapt the step size of mala, hmc or random_walk; 50 or more, or 0."""

    def __post_init__(self) -> None:
        if self.num < 1 or not (self.guidance is None or self.guidance >= 0):
            raise ValueError(f"num must be 1 or more and guidance not negative, got {self.num} and {self.guidance}")
        check_sampler(self.sampler, self.warm_up)

    def check(self, values: dict[str, Any]) -> None:
        check_label(self.label, values.get("images"))

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        energy = values["energy"].to(run.accelerator.device).eval()
        generator = self.generator or values["generator"]
        labels = asked_labels(self.label, self.guidance, energy, values["images"]["classes"], self.num)
        data = to_float(values["images"]["validation"])
        temperature = generator.noise**2 if isinstance(generator, Chain) else 1.0
        saturated = (1 + float(saturation(data).mean())) / 2
        monitor = Monitor(bounds=(-1, 1), saturated=saturated, temperature=temperature)
        guidance = guidance_of(self.guidance, energy, labels)
        samples = generate(
            energy, generator, self.num, labels, run, "synthesize", guidance=guidance, sampler=self.sampler,
            warm_up=self.warm_up, monitor=monitor,
        )  # fmt: skip
        return {
            "samples": samples,
            "sample_labels": labels,
            "generator": generator,
            "guidance": guidance,
            "sampling": findings(monitor),
        }
