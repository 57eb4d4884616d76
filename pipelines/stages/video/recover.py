"""Fill in what is hidden from the learned energy, with its uncertainty."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from data.errors import InputError
from energies import Context, Energy, Schedule
from energies.classical.stacking import shrinkage
from energies.diagnostics import Monitor, saturation
from energies.family import is_noisy
from energies.matching import MomentMatching
from energies.samplers import Langevin
from energies.sampling import LevelSampler
from pipelines.chains import findings
from pipelines.measures import metrics
from pipelines.pipeline import Run
from pipelines.results import weights_of
from pipelines.settings import check_sampler
from pipelines.stages.video.learn import Guard
from pipelines.stages.video.posterior import Posterior, Sampling, recovered, told
from pipelines.stages.video.scene import prior

LEVEL = 0.9  # of the uncertainty that is calibrated


@dataclass(frozen=True)
class Recover:
    """Recover what is hidden given what is seen: the mean, single samples and a standard deviation for every value.

    The mean of an energy that was learned for this clip is amortised, one pass of a network, and its levels are a
    conditional energy for samples; any other energy is conditioned on what is seen, level by level. A guard chosen on
    held-out seen pixels mixes the mean with the first fill, so that on those it is no worse.
    """

    needs: ClassVar[tuple[str, ...]] = ("damaged", "hidden", "observation", "fill", "energy", "context", "guard")
    gives: ClassVar[tuple[str, ...]] = ("recovered", "samples", "std", "ways", "recovery_info")
    distributed: ClassVar[bool] = True

    chains: int = 4
    """Posterior chains; they are shared among the processes."""

    schedule: Schedule = Schedule(6, 2.0, 0.1, 1, 0.5, spacing="geometric", predictor="euler")
    """How an energy that is told what is seen is sampled: noise levels in units of its reference's expected error."""

    conditioned: Schedule = Schedule(24, 8.0, 0.06, 1, 0.35, spacing="geometric", predictor="euler")
    """How an energy that learned to make clips is sampled given what is seen."""

    sampler: LevelSampler | None = None
    """Of the steps at each noise level; null: Langevin."""

    warm_up: int = 0
    """Steps at each level that first adapt the sampler: 50 or more, or 0."""

    mean: MomentMatching = MomentMatching()
    """How the mean of an energy that is conditioned is found: more chains and corrections are better and slower."""

    prior: str | None = None
    """Folder of a run, or of its energy, that learned to make such clips, as those of video_synthesis: it recovers the
    clip too, by conditioning, and is shown beside. One that was learned from these very frames knows what is hidden of
    them: to compare, learn it from others, as with load.start."""

    steps: int = 60
    """Langevin steps of a published ConvNet, at the step size and noise it learned with."""

    step_size: float = 0.01
    """Langevin step size of a published ConvNet."""

    noise: float = 0.1
    """Factor of the noise of a published ConvNet."""

    def __post_init__(self) -> None:
        if self.chains < 2:
            raise ValueError(f"chains must be 2 or more, got {self.chains}: their spread is the uncertainty")
        if self.steps < 1 or not self.step_size > 0 or not self.noise >= 0:
            raise ValueError(
                "steps must be 1 or more, step_size positive and noise not negative, "
                f"got {self.steps}, {self.step_size} and {self.noise}"
            )
        check_sampler(self.sampler, self.warm_up)

    def files(self) -> tuple[str, ...]:
        return weights_of(self.prior)

    def check(self, values: dict[str, Any]) -> None:
        if self.prior is not None and "damaged" in values and "energy" not in values:
            prior(Path(self.prior), values["damaged"].shape, "recover.prior")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        other = None if self.prior is None else prior(Path(self.prior), values["damaged"].shape, "recover.prior")
        found, info = self._recovered(values["energy"], values, run, "")
        ways = {info["way"]: found.pop("way")}
        if other is not None:
            beside, told_of_it = self._recovered(other, values, run, "prior ")
            if told_of_it["way"] in ways:
                raise InputError(f"recover.prior={self.prior}: the learned energy is conditioned already; leave it out")
            ways[told_of_it["way"]] = beside.pop("way")
        return found | {"ways": ways, "recovery_info": info}

    def _recovered(
        self, energy: Energy, values: dict[str, Any], run: Run, purpose: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Recovered clip [C, T, H, W], samples [chains, C, T, H, W], std [C, T, H, W] and the energy's own mean; and
        how it went."""
        begin = time.monotonic()
        energy = energy.to(run.accelerator.device)
        context: Context = values["context"]
        guard: Guard = values["guard"]
        held_out, first, judge = guard.held_out, guard.first, guard.context
        seen, fill = values["damaged"], values["fill"]
        how, monitor = self._how(), self._monitor(energy, seen)

        def posterior(context: Context, name: str, monitor: Monitor) -> Posterior:
            at = told(energy, context, seen, run)
            return recovered(at, context.estimate[0], how, run, f"{purpose}{name}", monitor)

        judged = posterior(judge, "guard", Monitor())
        whole = posterior(context, "recover", monitor)
        # The energy's reference has earned its share of trust; now what its network adds to that.
        guarded = first + guard.trust * (judge.estimate[0] - first)
        trust_network = shrinkage([seen - guarded], [judged.mean - judge.estimate[0]], [held_out])
        guarded = guarded + trust_network * (judged.mean - judge.estimate[0])
        mean = fill + guard.trust * (context.estimate[0] - fill) + trust_network * (whole.mean - context.estimate[0])
        mean = torch.where(values["hidden"], mean.clamp(-1, 1), seen)
        samples = torch.where(values["hidden"], whole.samples + (mean - whole.mean), seen).clamp(-1, 1)

        judged_std = _spread(judged.samples - judged.mean, judge, guarded - judged.mean)
        stretch = _stretch(guarded, judged_std, seen, held_out)
        std = stretch * _spread(samples - mean, context, mean - whole.mean) * values["hidden"]
        info = {
            "way": whole.way,
            "trust_reference": guard.trust,
            "trust_network": trust_network,
            "stretch": stretch,
            "held_out": {
                "pixels": int(held_out.sum()),
                "fill": metrics.score(first, seen, held_out)["psnr"],
                "recovery": metrics.score(guarded, seen, held_out)["psnr"],
            },
            "seconds": time.monotonic() - begin,
            "sampling": findings(monitor),
        }
        trusts = {"trust_reference": guard.trust, "trust_network": trust_network}
        run.log(event="guard", way=whole.way, **info["held_out"], **trusts)
        own = torch.where(values["hidden"], whole.mean.clamp(-1, 1), seen)
        way = {"mean": own, "trust": trust_network, "seconds": whole.seconds}
        return {"recovered": mean, "samples": samples, "std": std, "way": way}, info

    def _how(self) -> Sampling:
        langevin = Langevin(self.step_size, self.noise)
        return Sampling(
            self.chains, self.mean, self.schedule, self.conditioned, langevin, self.steps, self.sampler, self.warm_up
        )

    def _monitor(self, energy: Energy, seen: Tensor) -> Monitor:
        noise = 1.0 if is_noisy(energy) else self.noise
        at_bounds = float(saturation(seen[None])[0])
        return Monitor(bounds=(-1, 1), saturated=(1 + at_bounds) / 2, temperature=noise**2)


def _spread(deviations: Tensor, context: Context, shift: Tensor) -> Tensor:
    """Standard deviation [C, T, H, W] of samples about the mean [N, C, T, H, W], before it is calibrated.

    A few chains tell little of a single value, so their variance is averaged over the colours and the 26 neighbours,
    and joined to what the fill's expected error says, and to what the guard took back.
    """
    hidden = context.hidden[0].float()
    variance = deviations.square().mean((0, 1), keepdim=True)[0]
    local = F.avg_pool3d(variance * hidden, 3, 1, 1) / F.avg_pool3d(hidden, 3, 1, 1).clamp(min=1e-6)
    total = local + (0.5 * context.scale[0]).square() + shift.square().mean(0, keepdim=True)
    return (total.sqrt() * hidden).expand(deviations.shape[1:])


def _stretch(mean: Tensor, std: Tensor, truth: Tensor, held_out: Tensor) -> float:
    """Factor that makes the central band of probability LEVEL hold that share of the held-out values."""
    ratio = ((truth - mean).abs() / std.clamp(min=1e-6))[:, held_out].double().flatten()
    rank = min(len(ratio), int(LEVEL * (len(ratio) + 1)) + 1)
    return float(ratio.kthvalue(rank).values) / NormalDist().inv_cdf((1 + LEVEL) / 2)
