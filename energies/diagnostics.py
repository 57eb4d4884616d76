"""Are the chains any good? R-hat and effective sample size, and a monitor that says in plain words what is wrong.

    monitor = Monitor(bounds=(-1, 1))
    for state, info in sample(sampler, energy, x, steps, rng):
        monitor.update(state, info)
    print(monitor.summary())

`r_hat`, `ess_bulk` and `ess_tail` are those of Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), "Rank-
normalization, folding, and localization", Bayesian Analysis 16 (2); their numbers are those of ArviZ 0.23. They take
draws [num_draws >= 4, num_chains, ...] and give float64 [...]: NaN where all draws are equal or one is not finite.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from energies.samplers.state import Info, State, rms
from energies.verdict import MIN_DRAWS, SHORT_RUN, Kind, Summary, verdict

MAX_DRAWS = 1024  # steps that a monitor keeps; even
MAX_CHAINS = 64  # chains that it computes R-hat and ESS from
PROJECTIONS = 8  # of x that it does this for


def r_hat(draws: Tensor) -> Tensor:
    """Rank-normalised split R-hat, the larger of bulk and folded: 1 where the halves of all chains have one law.

    inf where every chain stands still at a place of its own. A single chain is compared half with half.
    """
    draws = _checked(draws)
    split = _split(draws)
    middle = split.shape[0] * split.shape[1] // 2  # of an even number of draws
    median = _ordered(split)[..., middle - 1 : middle + 1].mean(-1)
    bulk, folded = _reduction(_z_scale(split)), _reduction(_z_scale((split - median).abs()))
    return torch.fmax(bulk, folded).masked_fill(_constant(draws), math.nan)  # two values fold to one: no R-hat there


def ess_bulk(draws: Tensor) -> Tensor:
    """Effective sample size of the centre of the law, in independent draws; antithetic chains have more than draws."""
    draws = _checked(draws)
    return _ess(_z_scale(_split(draws))).masked_fill(_constant(draws), math.nan)


def ess_tail(draws: Tensor) -> Tensor:
    """Effective sample size, in independent draws, of the 5 % or the 95 % quantile, whichever is known worse."""
    draws = _checked(draws)
    ordered = _ordered(draws)
    # Of x <= quantile the lower of the two draws around it decides: no interpolation is needed.
    below = (draws <= ordered[..., (ordered.shape[-1] - 1) * percent // 100] for percent in (5, 95))
    low, high = (_ess(_split(flags.double())) for flags in below)
    return torch.minimum(low, high).masked_fill(_constant(draws), math.nan)


def effective_temperature(step: float, noise: float) -> float:
    """Temperature noise^2 / (2 step) of what x <- x - step * dE/dx + noise * z samples, z standard normal.

    For Langevin step = step_size^2 / 2 and noise = step_size * noise. In the limit of small steps the stationary law is
    exp(-2 step E / noise^2) (Welling & Teh 2011): 1 is exp(-E), published settings for images are at 1e-6 ... 5e-5.
    """
    if not step > 0 or not noise >= 0:
        raise ValueError(f"step must be positive and noise not negative, got {step}, {noise}")
    return noise**2 / (2 * step)


def saturation(x: Tensor, low: float = -1.0, high: float = 1.0, tolerance: float = 1 / 255) -> Tensor:
    """Share of elements at a bound or beyond, x [B, *event] -> [B]; within half a level of 8 bits as it stands."""
    if not low < high or not 0 <= tolerance < (high - low) / 2:
        raise ValueError(f"bounds must rise and be more than twice the tolerance apart, got {low}, {high}, {tolerance}")
    return ((x <= low + tolerance) | (x >= high - tolerance)).reshape(len(x), -1).float().mean(1)


class Monitor:
    """Watches chains step by step in bounded memory, and waits for the device only in `trace` and `summary`.

    Of a step it keeps means over all chains and, of the first 64 chains, the energy and 8 random projections of x. When
    1024 steps are kept every other one is dropped, and from then on every second, fourth ... step is looked at.

    Steps that come with a noise level are of annealed chains: of them it tells the acceptance by level, not the mixing.

    Args:
        bounds: of x, to measure saturation; None: it has none.
        saturated: share of elements at the bounds above which chains are called so; set it above `saturation(data)`.
        temperature: of the sampler, see `effective_temperature`; None: unknown.
    """

    def __init__(
        self, *, bounds: tuple[float, float] | None = None, saturated: float = 0.5, temperature: float | None = None
    ) -> None:
        self.bounds, self.saturated, self.temperature = bounds, saturated, temperature
        self.num_steps = 0
        self._stride = 1  # kept are the steps 0, stride, 2 * stride ...
        self._means: list[dict[str, Tensor]] = []
        self._draws: list[Tensor] = []  # [chains, 1 + projections] each
        self._projections = self._previous = self._energy = torch.empty(0)
        self._levels: dict[float, tuple[Tensor | float, int]] = {}  # sum of the shares accepted, of how many steps

    def update(self, state: State, info: Info, *, level: float | None = None) -> None:
        """Look at a state (copied: the sampler may reuse its memory) and at what its sampler tells of the step.

        Of info, `accepted`, `energy_error`, `drift`, `noise` and `displacement` are used, [B] or None or not there; the
        last is measured where it is not told. level: of noise, where the law changes with it. ValueError: x has another
        shape than before.
        """
        x = state.x.detach().reshape(len(state.x), -1)
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if not self.num_steps:
            self._projections = torch.randn(x.shape[1], PROJECTIONS, generator=torch.Generator().manual_seed(0)).to(x)
            self._previous = torch.full_like(x, math.nan)
        if x.shape != self._previous.shape:
            raise ValueError(f"x is {tuple(x.shape)} and was {tuple(self._previous.shape)}: one monitor for one run")
        self._energy = state.energy.detach().clone()
        if self.num_steps % self._stride == 0:
            self._keep(x, info, level)
        if level is not None:
            total, num = self._levels.get(level, (0.0, 0))
            if (accepted := getattr(info, "accepted", None)) is not None:
                total, num = total + accepted.detach().to(x).mean(), num + 1
            self._levels[level] = total, num
        self.num_steps += 1
        if self.num_steps % self._stride == 0:
            self._previous.copy_(x)

    def _keep(self, x: Tensor, info: Info, level: float | None) -> None:
        means = {"energy": self._energy.mean(), "size": rms(x).mean(), "displacement": rms(x - self._previous).mean()}
        for name in ("accepted", "energy_error", "drift", "noise", "displacement"):
            if (told := getattr(info, name, None)) is not None:
                told = told.detach().to(x).abs()
                means[name] = told[told.isfinite()].mean() if name == "energy_error" else told.mean()
        if self.bounds is not None:
            means["saturation"] = saturation(x, *self.bounds).mean()
        if level is not None:
            means["level"] = torch.tensor(level, dtype=torch.float64)
        self._means.append(means)
        energy, projected = self._energy[:MAX_CHAINS, None].to(x), x[:MAX_CHAINS] @ self._projections
        self._draws.append(torch.cat([energy, projected], 1))
        if len(self._draws) == MAX_DRAWS:
            self._draws, self._means, self._stride = self._draws[::2], self._means[::2], 2 * self._stride

    def trace(self) -> dict[str, Tensor]:
        """Curves to draw, [T] each, of means over the chains at the kept steps.

        `step` (from 1), `energy`, `size` (root mean square of x), `displacement`, and what there is of `accepted`,
        `energy_error`, `drift`, `noise`, `saturation`, `level`; NaN at steps that do not tell. ValueError: none, before
        the first update.
        """
        if not self.num_steps:
            raise ValueError("nothing was seen yet: update first")
        some = {name: value for means in self._means for name, value in means.items()}
        curves = {
            name: torch.stack([means.get(name, torch.full_like(value, math.nan)) for means in self._means])
            for name, value in some.items()
        }
        curves = {name: curve.double().cpu() for name, curve in curves.items()}
        return {"step": torch.arange(len(self._means)) * self._stride + 1, **curves}

    def summary(self) -> Summary:
        """What is known so far. ValueError: nothing, before the first update."""
        curves, half = self.trace(), len(self._draws) // 2
        late = {name: curve[half:].nanmean().item() for name, curve in curves.items() if name != "step"}
        late = {name: value for name, value in late.items() if name != "accepted" or not math.isnan(value)}
        kind = self._kind(curves)
        worst = bulk = tail = math.nan
        if kind == "stationary" and len(self._draws) - half >= MIN_DRAWS:
            draws = torch.stack(self._draws[half:]).cpu()
            worst, bulk, tail = _largest(r_hat(draws)), -_largest(-ess_bulk(draws)), -_largest(-ess_tail(draws))
        drift, noise = (curves[name][half:].nanmean() if name in curves else None for name in ("drift", "noise"))
        levels = self._level_acceptance()
        if levels:
            proposals = sum(num for _, _, num in levels)
            late["accepted"] = sum(share * num for _, share, num in levels) / proposals
        if "saturation" in curves and "level" in curves:  # what is noisier is out of the bounds by its noise
            late["saturation"] = curves["saturation"][curves["level"] == -_largest(-curves["level"])].mean().item()
        found = Summary(
            kind=kind,
            num_steps=self.num_steps,
            num_chains=len(self._previous),
            acceptance=late.get("accepted"),
            level_acceptance=levels or None,
            energy_error=late.get("energy_error"),
            drift_noise_ratio=None if drift is None or noise is None else (drift / noise).item(),
            displacement=late["displacement"],
            effective_temperature=self.temperature,
            saturation=late.get("saturation"),
            r_hat=worst,
            ess_bulk=bulk,
            ess_tail=tail,
            energy_first=curves["energy"][0].item(),
            energy_last=self._energy.mean().item(),
        )
        return replace(found, verdict=verdict(found, self._exploding(curves), late["size"], self.saturated))

    def _level_acceptance(self) -> tuple[tuple[float, float, int], ...]:
        """Of every level where proposals were told: it, the share accepted, and their number."""
        return tuple(
            (float(level), float(total) / num, num * len(self._previous))
            for level, (total, num) in self._levels.items()
            if num
        )

    def _kind(self, curves: dict[str, Tensor]) -> Kind:
        if self._levels:
            return "annealed"
        cold = self.temperature is not None and self.temperature < SHORT_RUN
        return "short-run" if cold and "accepted" not in curves else "stationary"

    def _exploding(self, curves: dict[str, Tensor]) -> str | None:
        """What explodes, in words; None: nothing does."""
        energy, size = curves["energy"], curves["size"]
        if not torch.cat([energy, size, self._energy.cpu()]).isfinite().all():
            return "the energy or x is not finite"
        # As |x| does where E grows like its square; down noise levels energies change, too, and x only shrinks.
        if size[-1] > size[0] and _keeps_doubling((energy - energy[0]).abs().sqrt()):
            return "the energy keeps growing without bound"
        return None


def _keeps_doubling(values: Tensor) -> bool:
    """Whether values [T] >= 0 double by thirds of their second half; a constant velocity or random walk does not."""
    if len(values) < 12:
        return False
    early, late = values.tensor_split(2)
    first, second, third = (part.mean() for part in late.tensor_split(3))
    return bool(second > 2 * first and third > 2 * second and third > 4 * early.max())


def _largest(values: Tensor) -> float:
    """Of those that are not NaN; NaN where all are."""
    known = values[~values.isnan()]
    return known.max().item() if len(known) else math.nan


def _checked(draws: Tensor) -> Tensor:
    """In float64, and constant where one is not finite."""
    if draws.dim() < 2 or len(draws) < 4 or draws.shape[1] < 1:
        raise ValueError(f"draws must be [num_draws >= 4, num_chains >= 1, ...], got {tuple(draws.shape)}")
    return draws.detach().double().where(draws.isfinite().all(0).all(0), 0.0)


def _constant(draws: Tensor) -> Tensor:
    return (draws == draws[:1, :1]).all(0).all(0)


def _split(draws: Tensor) -> Tensor:
    """First and second halves as chains of their own: [n, m, ...] -> [n // 2, 2 m, ...]."""
    half = len(draws) // 2
    return torch.cat([draws[:half], draws[-half:]], 1)


def _ordered(draws: Tensor) -> Tensor:
    """All draws of all chains in rising order: [n, m, ...] -> [..., n m]."""
    return draws.flatten(0, 1).movedim(0, -1).sort(-1).values.contiguous()


def _z_scale(draws: Tensor) -> Tensor:
    """Normal scores of the ranks among all draws of [n, m, ...]; equal draws share their mean rank (Blom 1958)."""
    ordered, values = _ordered(draws), draws.flatten(0, 1).movedim(0, -1).contiguous()
    smaller, not_larger = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    rank = (smaller + not_larger + 1).double() / 2
    z = torch.special.ndtri((rank - 3 / 8) / (ordered.shape[-1] + 1 / 4))
    return z.movedim(-1, 0).unflatten(0, draws.shape[:2])


def _reduction(chains: Tensor) -> Tensor:
    """R-hat of chains [n, m, ...] as they are."""
    return (chains.mean(0).var(0) / chains.var(0).mean(0) + (len(chains) - 1) / len(chains)).sqrt()


def _ess(chains: Tensor) -> Tensor:
    """ESS of chains [n, m, ...] as they are, by the initial monotone sequence (Geyer 1992); constant chains: n m."""
    n, m = chains.shape[:2]
    spectrum = torch.fft.rfft(chains - chains.mean(0), 2 * n, dim=0)  # padded with zeros: not cyclic
    covariance = torch.fft.irfft(spectrum.abs().square(), 2 * n, dim=0)[:n].mean(1) / n
    rho = 1 - (covariance[0] * n / (n - 1) - covariance) / (covariance[0] + chains.mean(0).var(0))
    rho[0] = 1.0
    num_pairs = max(0, (n - 3) // 2) + 1
    even, odd = rho[: 2 * num_pairs : 2], rho[1 : 2 * num_pairs : 2]
    pairs = even + odd
    kept = (pairs[:-1] > 0).cumprod(0)  # up to the first pair that is not positive, the last left out
    stop = kept.sum(0, keepdim=True)
    rest, rest_pair = even.gather(0, stop)[0], pairs.gather(0, stop)[0]
    rest = rest.where((rest_pair >= 0) | (rest > 0), 0.0)
    tau = 2 * (kept * pairs.cummin(0).values[:-1]).sum(0) - 1 + rest
    return (n * m / tau.clamp(min=1 / math.log10(n * m))).masked_fill(_constant(chains), n * m)
