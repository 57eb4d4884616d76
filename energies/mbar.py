"""What a mixture needs so that no part drowns another: the normalising constants of its parts, up to one in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from energies.algebra import AnyOf, at_level

ROUNDS = 20_000  # a second; parts that hardly overlap take that many
TOLERANCE = 1e-6


def log_normalizers(energies: Tensor, counts: Sequence[int]) -> Tensor:
    """log Z [K] up to a constant, float64 (Shirts & Chodera 2008, eq. 11: the multistate Bennett acceptance ratio).

    Where samples of two energies do not overlap, nothing tells their constants apart; then the mean energies of the
    samples say how deep each lies, which is what such parts are mixed by.

    Args:
        energies: [N, K], of every sample under every energy.
        counts: how many of the rows are samples of each energy, in order; they sum to N, none is 0.
    """
    e, num = energies.double(), torch.tensor(counts, dtype=torch.float64)
    if len(counts) != e.shape[1] or sum(counts) != len(e) or min(counts) < 1:
        raise ValueError(f"{list(energies.shape)} energies are not those of samples {list(counts)} of as many energies")
    own = [part[:, k].mean() for k, part in enumerate(e.split(list(counts)))]
    log_z = -torch.stack(own)
    for _ in range(ROUNDS):
        mixed = (num.log() - log_z - e).logsumexp(1, keepdim=True)  # of all samples together, as one law
        new = (-e - mixed).logsumexp(0)
        new = new - new.mean() + log_z.mean()
        done = (new - log_z).abs().max() < TOLERANCE
        log_z = new
        if done:
            break
    return log_z - log_z.mean()


def balanced(
    mixture: AnyOf, samples: Sequence[Tensor] | Mapping[float, Sequence[Tensor]], weights: Sequence[float] | None = None
) -> AnyOf:
    """The mixture with offsets that let its parts count alike, or by `weights` that sum to 1.

    Args:
        mixture: of clean x, or a family over noise levels.
        samples: of each part [n, *event]; for a family, these at every noise level.
        weights: shares of the parts.
    """
    if weights is not None and (len(weights) != len(mixture.energies) or min(weights) <= 0):
        raise ValueError(f"weights must be positive and {len(mixture.energies)}, got {list(weights)}")
    shares = torch.tensor(weights or [1.0] * len(mixture.energies)).double().log()
    if isinstance(samples, Mapping):
        rows = [
            shares - _log_z([at_level(part, level, mixture) for part in mixture.parts], x)
            for level, x in samples.items()
        ]
        return AnyOf(mixture.parts, [row.tolist() for row in rows], list(samples))
    return AnyOf(mixture.parts, (shares - _log_z(mixture.parts, samples)).tolist())


def tuned(mixture: AnyOf, draw: Callable[[AnyOf, int], tuple[float | None, Tensor]], rounds: int = 3) -> AnyOf:
    """The mixture with offsets that let a sampler's own samples come from every part alike.

    Chains that are too short to change from part to part keep to the one that they fell to early; then constants that
    are right do not give shares that are. Every round samples the mixture as corrected so far, and the correction is
    the mean of what rounds tell, without those in which a part had hardly a sample: they tell a bound, no more.

    Args:
        mixture: of clean x, or a family over noise levels.
        draw: from a mixture and the number of the round to a low noise level, None of clean x, and x [n, *event] there.
        rounds: how often it is sampled.
    """
    num = len(mixture.parts)
    change, told, starved = torch.zeros(num), [], False
    for number in range(rounds):
        level, x = draw(mixture.shifted(change), number)
        now = mixture.shifted(change)
        with torch.no_grad():
            share = (now if level is None else now.at(level)).shares(x).cpu().sum(0)
        estimate = ((share + 1) / (len(x) + num) * num).log() - change
        before, starved = starved, bool((share < 1).any())
        told = [estimate] if before or starved else [*told, estimate]
        change = -torch.stack(told).mean(0)
    return mixture.shifted(change)


def _log_z(parts: Sequence[torch.nn.Module], samples: Sequence[Tensor]) -> Tensor:
    x = torch.cat(list(samples))
    with torch.no_grad():
        energies = torch.stack([part(x) for part in parts], 1)
    return log_normalizers(energies.cpu(), [len(s) for s in samples])
