"""Fill in what is hidden from the learned energy, with its uncertainty."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from energies import Conditioned, Context, Energy, GenerativeConvNet, Hidden, Refiner
from energies.diagnostics import Monitor, saturation
from energies.fill import trust
from energies.refiner import geometric
from energies.samplers import Langevin
from energies.samplers.state import normal
from energies.sampling import anneal, sample
from pipelines import metrics
from pipelines.chains import findings, sample_chains
from pipelines.pipeline import Run

LEVEL = 0.9  # of the uncertainty that is calibrated


@dataclass(frozen=True)
class Annealing:
    """Langevin steps and predictors through falling noise levels."""

    levels: int = 6
    """Number of noise levels."""

    high: float = 2.0
    """The first one, in units of the fill's expected error."""

    low: float = 0.1
    """The last one."""

    steps: int = 1
    """Langevin steps a level."""

    step_size: float = 0.5
    """Of those, in units of the level."""

    def __post_init__(self) -> None:
        if self.levels < 1 or not self.high >= self.low > 0:
            raise ValueError(f"levels must be 1 or more and high >= low > 0, got {self}")
        if self.steps < 0 or not self.step_size > 0:
            raise ValueError(f"steps must not be negative and step_size must be positive, got {self}")


@dataclass(frozen=True)
class Recover:
    """Sample what is hidden given what is seen: the mean, single samples and a standard deviation for every value.

    A guard chosen on held-out seen pixels mixes the result with the first fill, so that on those it is no worse.
    """

    needs: ClassVar[tuple[str, ...]] = ("damaged", "hidden", "fill", "energy", "context", "guard")
    gives: ClassVar[tuple[str, ...]] = ("recovered", "samples", "std", "recovery_info")
    distributed: ClassVar[bool] = True

    chains: int = 4
    """Posterior chains; they are shared among the processes."""

    annealing: Annealing = Annealing()
    """How the energy refine is sampled."""

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

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        begin = time.monotonic()
        energy: Energy = values["energy"].to(run.accelerator.device)
        context = Context(**values["context"])
        guard = dict(values["guard"])
        held_out, first = guard.pop("held_out")[0, 0], guard.pop("first")[0]
        trust_reference = guard.pop("trust")
        judge = Context(**guard)
        seen, fill = values["damaged"], values["fill"]

        monitor = self._monitor(energy, seen)
        judged, judged_samples = self._posterior(energy, judge, run, "guard", Monitor())
        mean, samples = self._posterior(energy, context, run, "recover", monitor)
        # The energy's reference has earned its share of trust; now what its network adds to that.
        guarded = first + trust_reference * (judge.fill[0] - first)
        trust_network = trust([seen - guarded], [judged - judge.fill[0]], [held_out])
        guarded = guarded + trust_network * (judged - judge.fill[0])
        recovered = fill + trust_reference * (context.fill[0] - fill) + trust_network * (mean - context.fill[0])
        recovered = torch.where(values["hidden"], recovered.clamp(-1, 1), seen)
        samples = torch.where(values["hidden"], samples + (recovered - mean), seen).clamp(-1, 1)

        judged_std = _spread(judged_samples - judged, judge, guarded - judged)
        stretch = _stretch(guarded, judged_std, seen, held_out)
        std = stretch * _spread(samples - recovered, context, recovered - mean) * values["hidden"]
        info = {
            "trust_reference": trust_reference,
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
        run.log(event="guard", **info["held_out"], trust_reference=trust_reference, trust_network=trust_network)
        return {"recovered": recovered, "samples": samples, "std": std, "recovery_info": info}

    def _posterior(
        self, energy: Energy, context: Context, run: Run, purpose: str, monitor: Monitor
    ) -> tuple[Tensor, Tensor]:
        """Mean [C, T, H, W] and samples [chains, C, T, H, W], on the CPU, the same on every process."""
        device = run.accelerator.device
        here = Context(**{name: tensor.to(device) for name, tensor in context.tensors().items()})

        def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
            return self._sample(energy, here, streams, monitor, run)

        samples = sample_chains(run, self.chains, here.fill.numel(), purpose, monitor, draw)
        if not isinstance(energy, Refiner):
            return samples.mean(0), samples
        with run.accelerator.autocast(), torch.no_grad():
            return energy.given(here).mean()[0].cpu(), samples

    def _sample(
        self, energy: Energy, context: Context, streams: list[torch.Generator], monitor: Monitor, run: Run
    ) -> Tensor:
        if isinstance(energy, Refiner):
            a = self.annealing
            bound = energy.given(context)
            with run.accelerator.autocast():
                start = bound.mean()
            start = start.expand(len(streams), -1, -1, -1, -1)
            x = start + a.high * bound.scale * context.hidden * normal(start, streams)
            levels = geometric(a.high, a.low, a.levels)
            seen = Hidden(context.hidden)
            *_, (_, x) = anneal(
                bound,
                levels,
                x,
                streams,
                steps=a.steps,
                step_size=a.step_size,
                observation=seen,
                monitor=monitor,
                compute=run.compute,
            )
            return x
        assert isinstance(energy, GenerativeConvNet)
        posterior = Conditioned(energy, Hidden(context.hidden), context.fill)
        x = context.fill.expand(len(streams), -1, -1, -1, -1)
        langevin = Langevin(self.step_size, self.noise)
        for state, info in sample(langevin, posterior, x, self.steps, streams, compute=run.compute):
            monitor.update(state, info)
            x = state.x
        return x

    def _monitor(self, energy: Energy, seen: Tensor) -> Monitor:
        noise = 1.0 if isinstance(energy, Refiner) else self.noise
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
