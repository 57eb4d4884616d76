"""Optimised prediction: an energy learns that a few steps down it lead to the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from energies.buffer import Drawn, ReplayBuffer
from energies.generators import Chain
from energies.objectives.batch import Batch, Metrics
from energies.prediction import PredictiveEnergy, descend
from energies.samplers.state import normal


@dataclass(frozen=True)
class OptimisedPrediction:
    """Unrolled descent of a candidate; its error at the end is the loss, differentiated through the steps, so by second
    derivatives of the energy (Gladstone et al. 2025, algorithm 1). The defaults are their "System 1"; more_steps,
    step_spread, langevin and replay make "System 2", which learns to go on from anywhere."""

    steps: int = 2
    """Steps of descent. The authors advise to start with 2."""

    more_steps: int = 0
    """Up to so many steps more, a random number in every step of learning."""

    step_spread: float = 0.0
    """Standard deviation of the logarithm of a random factor of the step size, one for each example."""

    langevin: float = 0.0
    """Standard deviation of the noise between two steps, in units of the candidate's coordinates."""

    start: float = 1.0
    """Standard deviation of the noise that candidates start from, likewise; of logits for symbols."""

    every: bool = False
    """The loss is the mean over the steps, in place of the last one's alone."""

    through: bool = True
    """Differentiate through all steps; false: each step by itself, for which every=true."""

    replay: float = 0.0
    """Share of the examples of a step that go on from where an earlier step of learning left their candidates."""

    restart: float = 0.3
    """Probability by which one of these begins anew, with another example."""

    corruption: float = 0.3
    """Standard deviation of the noise of what is to be denoised, in units of x (half the range of values)."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.more_steps < 0:
            raise ValueError(f"steps must be 1 or more, more_steps 0 or more, got {self.steps} and {self.more_steps}")
        if min(self.step_spread, self.langevin, self.start) < 0 or not self.corruption > 0:
            raise ValueError("step_spread, langevin and start must not be negative, corruption positive")
        if not 0 <= self.replay <= 1 or not 0 < self.restart <= 1:
            raise ValueError("replay must be a share, and restart a probability above 0")
        if not self.through and not self.every:
            raise ValueError("through=false learns every step by itself: set every=true")

    def generator(self) -> Chain:
        """How an energy that was learned so makes samples of its own, which is not what it was learned for."""
        return Chain(100, 0.1, 0.1)

    def __call__(self, energy: PredictiveEnergy, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Metrics]:
        first, draw = energy.first, partial(batch.share.normal, rng=rng)
        x, known, z, drawn = self._candidates(energy, batch, rng)
        steps = self.steps
        if self.more_steps:
            steps += int(torch.randint(self.more_steps + 1, (), generator=rng, device=rng.device))
        size: Tensor = energy.step_size
        if self.step_spread:
            one = z.new_empty(len(z), *[1] * (z.ndim - 1))
            size = size * (self.step_spread * draw(one)).exp()
        target, errors = energy.wanted(x, first), []
        path = descend(
            energy, known, z, steps, first=first, step_size=size, noise=self.langevin, draw=draw, create_graph=True,
            through=self.through,
        )  # fmt: skip
        for z, _ in path:
            errors.append(energy.errors(known, z, target, first).mean())
        self._keep(batch, drawn, x, known, z)
        loss = torch.stack(errors).mean() if self.every else errors[-1]
        metrics = {"prediction_loss": errors[-1].item(), "first_step_loss": errors[0].item()}
        return loss, metrics | {"step_size": energy.step_size.item()}

    def _candidates(
        self, energy: PredictiveEnergy, batch: Batch, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Drawn | None]:
        """x, what is known of it, candidates z, and the rows of the replay buffer that the first of them belong to."""
        x, share = batch.x, batch.share
        draw = partial(share.normal, rng=rng)
        known = energy.seen(x, self.corruption, draw)
        z = self.start * draw(energy.wanted(x, energy.first))
        if not self.replay or batch.chains is None:
            return x, known, z, None
        num = min(round(self.replay * share.total), len(batch.chains))
        drawn = batch.chains.draw(num, 0.0, rng) if num else None
        anew = share.uniform(x.new_empty(len(x)), rng) < self.restart
        if drawn is None:
            return x, known, z, None
        low, high = share.bounds
        mine = drawn.own(slice(min(low, num), min(high, num)))
        old = unpacked(mine.x, x, known, z)
        goes_on = ~anew[: len(mine.rows)]

        def mixed(held: Tensor, fresh: Tensor) -> Tensor:
            begin = fresh[: len(held)]
            kept = torch.where(goes_on.view(-1, *[1] * (fresh.ndim - 1)), held, begin)
            return torch.cat([kept, fresh[len(held) :]])

        x, known, z = (mixed(held, fresh) for held, fresh in zip(old, (x, known, z), strict=True))
        return x, known, z, drawn

    def _keep(self, batch: Batch, drawn: Drawn | None, x: Tensor, known: Tensor, z: Tensor) -> None:
        """Put where the candidates have come to into the replay buffer."""
        if drawn is None or batch.chains is None:
            return
        every = batch.share.whole(packed(x, known, z.detach()))
        batch.chains.put(drawn, every[: len(drawn.rows)])

    def buffer(self, energy: PredictiveEnergy, x: Tensor, rng: torch.Generator) -> ReplayBuffer:
        """The replay buffer for examples x [N, *event], whose candidates have not moved yet."""
        draw = partial(normal, rng=rng)
        known = energy.seen(x, self.corruption, draw)
        return ReplayBuffer(packed(x, known, self.start * draw(energy.wanted(x, energy.first))))


def packed(x: Tensor, known: Tensor, z: Tensor) -> Tensor:
    """An example, what is known of it, and its candidates, as one row each: [B, numbers]."""
    return torch.cat([x.flatten(1), known.flatten(1), z.flatten(1)], 1)


def unpacked(rows: Tensor, *like: Tensor) -> list[Tensor]:
    """The parts of rows [B, numbers], with shapes [B, ...] as those of tensors [*, ...]."""
    parts = rows.split([part[0].numel() for part in like], 1)
    return [part.view(len(rows), *model.shape[1:]) for part, model in zip(parts, like, strict=True)]
