"""What the numbers of chains mean: a verdict in words, its cause, and the setting to change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

MIXED = 1.1  # R-hat up to this is mixed; the paper wants 1.01 for published posteriors, pixels rarely get there
MIN_DRAWS = 50  # fewer in the second half of the chains are too few for R-hat
MIN_STEPS = 2 * MIN_DRAWS - 1  # so that the second half has as many
MIN_MOVES = 10  # fewer steps are too few to call chains frozen
LOW, HIGH = 0.2, 0.95  # acceptances below and above which another step size would do better
SHORT_RUN = 0.1  # chains without a Metropolis test below this temperature are short runs

Kind = Literal["stationary", "annealed", "short-run"]
"""Chains of one law; chains whose law changes from level to level; Langevin far below the temperature of the law.

Only the first are expected to forget their start, so only they have R-hat and an effective sample size.
"""

NO_FAULT = "no fault seen: mixing is not judged where the law changes from level to level"
SMALLER = "lower step_size, or set warm_up=50, which finds one"
LARGER = "raise step_size, or set warm_up=50, which finds one"


@dataclass(frozen=True)
class Summary:
    """How chains went, over the second half of their steps. None: the sampler or the caller does not tell."""

    kind: Kind
    num_steps: int
    num_chains: int
    acceptance: float | None  # share of the proposals that were accepted; of all steps of annealed chains
    level_acceptance: tuple[tuple[float, float, int], ...] | None  # of annealed chains: level, share, proposals there
    energy_error: float | None  # mean absolute change of the total energy by a proposal
    drift_noise_ratio: float | None  # root mean square move by the gradient over that by the noise
    displacement: float  # root mean square move of an element in a step, in units of x
    effective_temperature: float | None
    saturation: float | None  # share of the elements at the bounds; of annealed chains at their lowest level
    r_hat: float  # largest over the energy and random projections of x; NaN: too few draws, or it does not apply
    ess_bulk: float  # smallest over the same, of the draws and chains that were kept: a lower bound
    ess_tail: float
    energy_first: float  # mean over the chains after the first step
    energy_last: float  # and after the last
    verdict: str = ""
    """"healthy", "exploding", "frozen", "saturated", "not mixed", "too short to judge" or "short-run"; after a colon
    why, and after another what to do. Of annealed chains "acceptance" or "no fault seen" in place of the last three."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what is not finite becomes None."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}

    def lines(self) -> list[str]:
        """What to print: the verdict and what to do, one thought a line; nothing where nothing is to be told."""
        word, size = self.verdict.partition(":")[0], _size(self)
        accepted = "" if self.acceptance is None else f"acceptance {_percent(self.acceptance)}"
        if word in ("no fault seen", "acceptance"):
            levels = _count(len(self.level_acceptance or ()), "level")
            return [f"{size} down {levels}, {accepted}", *_levels(self)] if accepted else []
        if word == "healthy":
            facts = ", ".join(fact for fact in (size, accepted, f"R-hat {self.r_hat:.2f}") if fact)
            return [f"healthy: {facts}{self.verdict.removeprefix(word).replace(':', ';')}", *_acceptance(self)]
        if word == "not mixed":  # its advice is that on the acceptance already
            return [", ".join(part for part in (f"{self.verdict}; {size}", accepted) if part)]
        if word == "too short to judge":
            return [self.verdict + (f"; {accepted}" if accepted else ""), *_acceptance(self)]
        return [self.verdict] if word.startswith("short-run") else [f"{self.verdict} ({size})"]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def verdict(found: Summary, exploding: str | None, size: float, saturated: float) -> str:
    """What `Summary.verdict` says: the first that applies, the gravest first.

    Args:
        found: the numbers.
        exploding: what explodes; None: nothing does.
        size: root mean square of x.
        saturated: share of elements at the bounds above which chains are called so.
    """
    if exploding is not None:
        advice = "lower step_size; if they still do, the energy falls without end: learn it anew, or longer"
        return f"exploding: {exploding}, the samples are of no use: {advice}"
    told = found.num_steps >= MIN_MOVES
    if told and found.acceptance is not None and found.acceptance < 0.01:
        return f"frozen: {_percent(found.acceptance)} of the proposals accepted, the chains stand still: {SMALLER}"
    if told and found.kind != "annealed" and found.displacement <= 1e-6 * size:
        return f"frozen: a step moves x by {found.displacement:.1g}, the chains stand still: raise step_size or noise"
    if found.saturation is not None and found.saturation > saturated:
        share = f"{_percent(found.saturation)} of values at the bounds, where {_percent(saturated)} would be many"
        return f"saturated: {share}: chains leave the data: lower step_size, or learn the energy longer"
    if found.kind == "annealed":
        advice = "; ".join(_levels(found))
        return f"acceptance: {advice}" if advice else NO_FAULT
    if found.kind == "short-run":
        start = f"short-run Langevin at temperature {found.effective_temperature:.2g}"
        return f"{start}: its samples depend on the start and the number of steps; R-hat does not apply"
    if found.num_steps < MIN_STEPS:
        few = f"{_size(found)} {'is' if found.num_steps == 1 else 'are'} too few to tell whether they mixed"
        return f"too short to judge: {few}: take {MIN_STEPS} steps or more to know"
    if not found.r_hat <= MIXED:
        return f"not mixed: R-hat {found.r_hat:.2f} (up to {MIXED} is mixed): {_to_mix(found)}"
    return "healthy" if found.num_chains > 1 else "healthy: as far as one chain can show, take several to know more"


def _to_mix(found: Summary) -> str:
    if found.acceptance is not None and _off(found.acceptance, _proposals(found)):
        return SMALLER if found.acceptance < LOW else LARGER
    if found.acceptance is None and found.drift_noise_ratio is not None:  # Langevin, whose steps may be of any size
        return "take more steps, a larger step_size, or parallel tempering"
    return "take more steps, or parallel tempering"


def _acceptance(found: Summary) -> list[str]:
    """What to do about the acceptance of chains of one law."""
    if found.acceptance is None or not _off(found.acceptance, _proposals(found)):
        return []
    return [f"acceptance {_percent(found.acceptance)}: {SMALLER if found.acceptance < LOW else LARGER}"]


def _levels(found: Summary) -> list[str]:
    """What to do about the acceptance at single levels."""
    levels = found.level_acceptance or ()
    off = [(level, share) for level, share, proposals in levels if _off(share, proposals)]
    low, high = [pair for pair in off if pair[1] < LOW], [pair for pair in off if pair[1] > HIGH]
    if low and high:
        both = f"steps at {_where(low, len(levels))}, at {_where(high, len(levels))}"
        return [f"{both}: no step_size suits all levels, set warm_up=50, which finds one for each"]
    sides = ((low, SMALLER), (high, LARGER))
    return [f"steps at {_where(pairs, len(levels))}: {advice}" for pairs, advice in sides if pairs]


def _where(pairs: Sequence[tuple[float, float]], num: int) -> str:
    """The levels, of `num`, and what was accepted there."""
    levels, shares = [f"{level:.3g}" for level, _ in pairs], sorted(share for _, share in pairs)
    if len(pairs) == 1:
        where = f"level {levels[0]}"
    elif len(pairs) == num:
        where = f"all {num} levels"
    elif len(pairs) <= 3:
        where = f"levels {', '.join(levels[:-1])} and {levels[-1]}"
    else:
        where = f"{len(pairs)} of {num} levels ({levels[0]} ... {levels[-1]})"
    ends = list(dict.fromkeys(_percent(share) for share in (shares[0], shares[-1])))
    return f"{where} accepted {' to '.join(ends)}"


def _off(share: float, proposals: int) -> bool:
    """Whether an acceptance is out of LOW ... HIGH by more than two standard errors: a few proposals tell nothing."""
    low, high = (2 * math.sqrt(bound * (1 - bound) / proposals) for bound in (LOW, HIGH))
    return share < LOW - low or share > HIGH + high


def _proposals(found: Summary) -> int:
    """That the acceptance of chains of one law is of."""
    return max(1, found.num_steps // 2) * found.num_chains


def _size(found: Summary) -> str:
    return f"{_count(found.num_steps, 'step')} of {_count(found.num_chains, 'chain')}"


def _count(num: int, what: str) -> str:
    return f"{num} {what}" if num == 1 else f"{num} {what}s"


def _percent(share: float) -> str:
    """In whole percent, below one with a digit more: 61 %, 4 %, 0.3 %."""
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.01 else f"{100 * share:.1g} %"
