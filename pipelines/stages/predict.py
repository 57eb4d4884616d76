"""Predict by descent: what comes next, or what is under noise; and say what more steps and the energy are worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import FrameEnergy, PredictiveEnergy
from energies.networks.causal import Causal, continued
from energies.prediction import settled
from pipelines.examples import Examples
from pipelines.learning import prediction as learning
from pipelines.measures import prediction
from pipelines.modalities import modality_of
from pipelines.results import save_metrics
from pipelines.settings import check_there
from pipelines.stage import Run

LEARNED, OTHER = "as learned", "elsewhere"
TWICE = 2.0  # the noise that it was not learned with, in units of what it was


@dataclass(frozen=True)
class Predict:
    """Go on from the first frames or bytes of x that were not learned from, several ways, the best by its own energy;
    or take noise away. Quality by the number of steps of descent, for x as learned and for others; what the energy says
    of the error; simple methods beside it: into metrics.json."""

    needs: ClassVar[tuple[str, ...]] = ("data", "energy")
    takes: ClassVar[tuple[str, ...]] = ("source",)
    gives: ClassVar[tuple[str, ...]] = ("prediction", "metrics", "summary")

    frames: int = 8
    """Frames, or bytes, to go on by."""

    past: int | None = None
    """First frames, or bytes, that are given. null: half of those of x, or of your own."""

    futures: int = 8
    """Ways to go on from each, and candidates of which the energy takes the best."""

    steps: int | None = None
    """Steps of descent for each. null: as many as were learned with."""

    thinking: int = 4
    """The curve of quality by steps goes up to so many times the steps learned with."""

    num: int = 64
    """Examples to judge by, at most."""

    shown: int = 4
    """Of them, those that are gone on from."""

    input: str | None = None
    """A file of your own, or a folder, to go on from, or to take noise from as it is."""

    def __post_init__(self) -> None:
        for name in ("frames", "past", "futures", "steps", "thinking", "num", "shown"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        check_there(input=self.input)

    def files(self) -> tuple[str, ...]:
        return (self.input,) if self.input else ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        data: Examples = values["data"]
        energy, modality = values["energy"], modality_of(data.modality)
        if not isinstance(energy, PredictiveEnergy):
            raise InputError("predict needs an energy that predicts: set learn.energy=transformer")
        if data.single and not isinstance(energy, FrameEnergy):
            raise InputError(f"predict needs several {modality.noun}, some of them to judge by")
        data = learning.windows(data) if data.single else data
        energy = energy.cpu().eval()
        x = data.x("validation", slice(self.num))
        tried = prediction.trial(energy, x, energy.level, run.generator("known"))
        found: dict[str, Any] = {
            "unit": energy.unit, "steps": energy.steps, "num": len(x), "candidates": self.futures,
            "thinking": self._curves(energy, data, tried, run),
            "judge": prediction.judged(energy, tried, self.futures, run.generator("candidates")),
        }  # fmt: skip
        predictors = modality.predictors(data, x, tried.known, energy.level)
        found["rivals"] = {name: quality() for name, quality in predictors.items()}
        made = self._continued(energy, data, x, values, run) if isinstance(energy, Causal) else self._cleaned(
            energy, tried, data, values
        )  # fmt: skip
        found |= made.pop("numbers")
        save_metrics(found, run.root)
        return {"prediction": made, "metrics": found, "summary": "\n".join(prediction.summary(found))}

    def _curves(self, energy: PredictiveEnergy, data: Examples, tried: prediction.Trial, run: Run) -> dict[str, Any]:
        """Of x as learned, and of others: of another kind, or with twice the noise."""
        modality, steps, other = modality_of(data.modality), self.thinking * energy.steps, tried.x
        if isinstance(energy, Causal):
            other = modality.strangers(other, run.generator("strangers"))[modality.stranger]
        trials = {
            LEARNED: tried,
            OTHER: prediction.trial(energy, other, TWICE * energy.level, run.generator("known", OTHER)),
        }
        return {name: prediction.curve(energy, tried, steps, run.generator("start")) for name, tried in trials.items()}

    def _continued(self, energy: Causal, data: Examples, x: Tensor, values: dict[str, Any], run: Run) -> dict[str, Any]:
        """Futures, of those of least energy, and how good they are where the truth is known."""
        modality = modality_of(data.modality)
        own = self._own(data, values)
        whole = x if own is None else own
        length = whole.shape[2]
        past = self.past or max(1, length // 2)
        if past >= length and own is None:
            raise InputError(f"predict.past={past} leaves nothing of {length} to judge by; give less")
        known = whole[:, :, :past]
        known = known if own is None and energy.unit == "dB" else known[: self.shown]
        futures, energies = [], []
        for number in range(self.futures):
            made, e = continued(energy, known, self.frames, run.generator("future", number), self.steps)
            futures.append(made)
            energies.append(e.sum(1))
        every, e = torch.stack(futures, 1), torch.stack(energies, 1)  # [n, futures, ...], [n, futures]
        best = every[torch.arange(len(every)), e.argmin(1)]
        numbers: dict[str, Any] = {"energies": e[: self.shown].tolist()}
        truth = whole[: len(known), :, past : past + self.frames]
        if energy.unit == "dB" and truth.shape[2]:
            num = truth.shape[2]
            ways = {"least_energy": best[:, :, past : past + num], "one": every[:, 0, :, past : past + num]}
            ways |= {name: of()[:, :, :num] for name, of in modality.forecasts(data, known, num).items()}
            numbers["forecast"] = {name: prediction.by_position(way, truth) for name, way in ways.items()}
        return {
            "numbers": numbers, "known": known[: self.shown], "predicted": best[: self.shown],
            "truth": whole[: self.shown, :, : past + self.frames], "futures": every[0],
        }  # fmt: skip

    def _cleaned(
        self, energy: PredictiveEnergy, tried: prediction.Trial, data: Examples, values: dict[str, Any]
    ) -> dict[str, Any]:
        own = self._own(data, values)
        known, truth = (tried.known[: self.shown], tried.x[: self.shown]) if own is None else (own, own)
        z, _ = settled(energy, known, torch.zeros_like(known), self.steps or energy.steps)
        predicted = energy.estimate(known, z).clamp(-1, 1)
        return {"numbers": {}, "known": known, "predicted": predicted, "truth": truth, "futures": predicted}

    def _own(self, data: Examples, values: dict[str, Any]) -> Tensor | None:
        """x of a person's own."""
        if self.input is None:
            return None
        modality = modality_of(data.modality)
        return modality.read(str(Path(self.input)), data.shape, self.shown, values.get("source", {}))
