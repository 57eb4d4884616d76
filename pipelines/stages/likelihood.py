"""Say how likely data are by an energy, as far as its log Z can be known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import images
from data.errors import InputError
from energies import Chain, ConditionalEnergy, Energy
from energies.boltzmann import GibbsChain, Helmholtz, Machine
from energies.family import is_noisy
from energies.samplers.state import normal
from pipelines.examples import Examples
from pipelines.learning import dataset
from pipelines.measures import likelihood
from pipelines.measures.likelihood import Annealing
from pipelines.modalities import modality_of
from pipelines.report import Report
from pipelines.report.reporting import publish
from pipelines.stage import Run

SHOWN = 10  # chains in a row of the sheet
FILTERS = 100  # hidden units whose weights are drawn, at most
LOWEST = 0.1  # noise level of an energy of many levels, where nothing is said


@dataclass(frozen=True)
class Likelihood:
    """Bracket log Z of the energy by annealed importance sampling both ways, and so the likelihood of what was learned
    from and of what was not, in nats and in bits an element; into metrics.json and likelihood.html.

    Of a Boltzmann machine log Z is exact where one side has up to 20 units; its learning is followed by the machines of
    its past, and its weights and chains are drawn. Any other energy is annealed from a Gaussian by HMC: where the ends
    of the bracket do not meet, it is too wide to say.
    """

    needs: ClassVar[tuple[str, ...]] = ("data", "energy")
    takes: ClassVar[tuple[str, ...]] = ("generator", "metrics", "summary")
    gives: ClassVar[tuple[str, ...]] = ("metrics", "summary")

    num: int = 1000
    """Examples of each part, at most."""

    runs: int | None = None
    """Annealed chains each way; null: 100 of a Boltzmann machine, else 16."""

    steps: int | None = None
    """Steps of each; more make the bracket narrower. null: 1000 of a Boltzmann machine, else 200."""

    settle: int = 100
    """Steps of the ends of forward runs before reverse ones start from them; of a Boltzmann machine, sweeps of a ladder
    of 16 temperatures: more make the upper end surer, and cost as much as 30 steps of annealing each."""

    leapfrog: int = 5
    """Of each step of HMC: gradients of the energy."""

    level: float | None = None
    """Noise level of an energy of many, in units of x: data with that noise are told. null: 0.1."""

    sweeps: int = 1000
    """Gibbs sweeps of a Boltzmann machine's chains that are drawn, from noise and from data."""

    def __post_init__(self) -> None:
        for name in ("num", "runs", "steps", "leapfrog", "sweeps", "level"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.settle < 0 or (self.runs is not None and self.runs < 4):
            raise ValueError(f"settle must not be negative and runs 4 or more, got {self.settle} and {self.runs}")

    def check(self, values: dict[str, Any]) -> None:
        if "data" in values and not len(values["data"].validation):
            raise InputError("likelihood: there is nothing to judge by; load a data set")
        if "energy" in values:
            self._check_energy(values["energy"])

    def _check_energy(self, energy: Energy) -> None:
        """InputError: it has no likelihood of x alone."""
        if isinstance(energy, ConditionalEnergy):
            raise InputError("likelihood: an amortised energy is of x given what is seen; take learn.energy=encoder")
        if self.level is not None and not is_noisy(energy):
            raise InputError("likelihood.level is for energies of many noise levels; leave it out")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data: Examples = values["data"]
        modality, energy = modality_of(data.modality), values["energy"].to(run.accelerator.device).eval()
        self._check_energy(energy)
        data = _at_size_of(energy, data)
        parts = {"train": data.x("train", slice(self.num)), "validation": data.x("validation", slice(self.num))}
        report = Report(f"Likelihood: {modality.noun}")
        is_machine = isinstance(energy, Machine)
        runs, steps = (100, 1000) if is_machine else (16, 200)
        how = Annealing(self.runs or runs, self.steps or steps, self.settle, self.leapfrog)
        if isinstance(energy, Machine):
            found = likelihood.of_machine(energy, parts, how, run)
        elif isinstance(energy, Helmholtz):
            found = likelihood.of_helmholtz(energy, parts)
        else:
            generator, noise = values.get("generator"), 0.0
            if is_noisy(energy):
                noise = self.level or LOWEST
                energy = energy.at(noise)
            bound = generator.bound if isinstance(generator, Chain) and not noise else None
            found = likelihood.of_energy(energy, parts, data.x("train", slice(5000)), bound, noise, how, run)
        lines = _lines(found, modality.noun)
        _report(report, found, lines)
        if isinstance(values["energy"], Machine | Helmholtz):
            self._drawn(report, values["energy"], data, run)
        metrics = {**values.get("metrics", {}), "likelihood": found}
        publish(report, metrics, {"energy": values["energy"]}, run, "likelihood.html")
        told = [values["summary"]] if values.get("summary") else []
        return {"metrics": metrics, "summary": "\n".join([*told, *lines])}

    def _drawn(self, report: Report, machine: Machine | Helmholtz, data: Examples, run: Run) -> None:
        """The weights of some hidden units, and chains from noise and from data beside each other."""
        modality, sweeps = modality_of(data.modality), GibbsChain(self.sweeps)
        with torch.no_grad():
            weights = (machine.down[0] if isinstance(machine, Helmholtz) else machine.weights[0].T)[:FILTERS]
            shown = (weights / weights.abs().amax(1, keepdim=True).clamp(min=1e-9)).view(-1, *machine.event_shape)
            filters = modality.grid(shown.cpu(), 10)
        known = machine.rounded(data.x("validation", slice(SHOWN)).to(machine.unit))
        streams = [run.generator("chains", k, device=machine.unit.device) for k in range(len(known))]
        noise = normal(known, streams)
        *_, from_noise = sweeps.generate(machine, noise, streams)
        *_, from_data = sweeps.continued(machine, known, streams)
        rows: dict[str, Tensor] = {"data": known, "from data": from_data, "from noise": from_noise}
        sheet = modality.sheet({name: x.cpu() for name, x in rows.items()}, SHOWN)
        for name, picture, words in (
            ("filters", filters, "weights of hidden units"),
            ("chains", sheet, f"data, and chains of {self.sweeps} Gibbs sweeps that began at them and at noise"),
        ):
            images.write(run.root / f"{name}.png", picture)
            report.image(picture, words)


def _at_size_of(energy: Energy, data: Examples) -> Examples:
    """Data averaged down to the size of the energy's x. InputError: it is of other x."""
    noun = modality_of(data.modality).noun
    if energy.fits(data.shape):
        return data
    shape = dataset.shape_at(data, max(energy.event_shape[1:]), noun)
    if shape != energy.event_shape:
        found, wanted = ("x".join(map(str, sides)) for sides in (energy.event_shape, data.shape))
        raise InputError(f"likelihood: the energy is of {found}, the {noun} are {wanted}; set load.size or learn.size")
    return dataset.resized(data, shape)


def _report(report: Report, found: dict[str, Any], lines: list[str]) -> None:
    """The numbers, and the curve of the machines of the past."""
    for line in lines:
        report.text(line)
    rows = [[name, *found["nats"][name], *found["bits"][name]] for name in found["nats"]]
    report.table(["part", "nats, low", "nats, high", "bits an element, low", "bits an element, high"], rows)
    points = found.get("curve")
    if points:
        share = [point["progress"] for point in points]
        curves = {
            f"{name}, {end}": (share, [point["nats"][name][k] for point in points])
            for name in found["nats"]
            for k, end in enumerate(("low", "high"))
        }
        report.curves(curves, "likelihood as it was learned", "share of the steps", "nats")


def _lines(found: dict[str, Any], noun: str) -> list[str]:
    """The numbers in words."""
    lines = [_of_log_z(found)]
    for name, nats in found["nats"].items():
        if found["closed"] and nats[0] is not None:
            bits = found["bits"][name]
            lines.append(f"{name} {noun}: {_between(nats, 2)} nats, {_between(bits, 4)} bits an element")
    if found.get("noise"):
        lines.append(f"of {noun} with noise of level {found['noise']}")
    if "ladder" in found:
        ladder = found["ladder"]
        lines.append(
            f"by the machines of its past log Z is {ladder['log_z']:.2f} +- {ladder['error']:.2f}; neighbours exchange "
            f"{ladder['least_exchanged']:.0%} of the time or more"
        )
    return lines


def _of_log_z(found: dict[str, Any]) -> str:
    if found["by"] == "enumeration":
        return "log Z is exact, by enumeration"
    if found["by"] == "importance sampling":
        return f"log Z is 0; chances of x are bounds from below, by {found['particles']} samples each"
    z = found["log_z"]
    ends = [f"{z[end]:.2f} +- {z[f'{end}_error']:.2f}" if z[end] is not None else "unknown" for end in ("low", "high")]
    told = f"log Z lies between {ends[0]} (forward) and {ends[1]} (reverse annealing)"
    if z["fresh"] is not None:
        told += f"; {z['fresh']:.0%} of the reverse runs began at chains that came up from exact samples"
    return told if found["closed"] else f"{told}: too wide to say"


def _between(ends: list[float | None], digits: int) -> str:
    """Both ends, or the one that is known."""
    low, high = ends
    if high is None:
        return f"at least {low:.{digits}f}"
    if low is None:
        return f"at most {high:.{digits}f}"
    return f"{low:.{digits}f} to {high:.{digits}f}"
