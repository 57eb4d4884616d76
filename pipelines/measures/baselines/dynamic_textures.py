"""Published ways to go on with one clip, which a learned way has to be better than: linear dynamics, and its frames in
another order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.measures.baselines.dynamics import RANK, components_of

STABLE = 0.999  # largest modulus of an eigenvalue: else the clip would fade to white
FUTURE = 0.995  # weight of what a jump leads to, against its own cost
NEAR = 0.1  # of the mean distance of successive frames: how unlike a jump may be; by a third it is seen
TAPS = (0.125, 0.375, 0.375, 0.125)  # binomial weights of the frames before and after a jump
ROUNDS = 1000


@dataclass(frozen=True, eq=False)
class LinearDynamicalSystem:
    """s_{t+1} = A s_t + v_t, frames y_t = mean + C s_t, v Gaussian of covariance Q (Doretto et al. 2003, section 3.1).

    Attributes:
        mean: [D] of frames.
        components: C [D, r], orthonormal.
        states: s [T, r] of the clip.
        step: A [r, r], made stable by its eigenvalues.
        noise: B [r, r], B B' = Q.
        shape: of a frame, [C, H, W].
    """

    mean: Tensor
    components: Tensor
    states: Tensor
    step: Tensor
    noise: Tensor
    shape: tuple[int, ...]

    @classmethod
    def fit(cls, clip: Tensor, rank: int = RANK) -> LinearDynamicalSystem:
        """Of a clip [C, T, H, W], of at most T / 2 components: else A would fit every frame."""
        frames = clip.transpose(0, 1).flatten(1).double()
        mean = frames.mean(0)
        components = components_of(frames - mean, max(1, min(rank, len(frames) // 2)))
        s = (frames - mean) @ components
        before, after = s[:-1], s[1:]
        step = torch.linalg.lstsq(before, after, driver="gelsd").solution.T
        values, vectors = torch.linalg.eig(step)
        values = values * (STABLE / values.abs()).clamp(max=1)
        step = (vectors @ values.diag() @ torch.linalg.inv(vectors)).real
        left = after - before @ step.T
        spread, ways = torch.linalg.eigh(left.T @ left / len(left))
        noise = ways * spread.clamp(min=0).sqrt()
        return cls(mean, components, s, step, noise, (clip.shape[0], *clip.shape[2:]))

    def __call__(self, frames: int, rng: torch.Generator) -> Tensor:
        """A clip [C, frames, H, W] that goes on from a frame of the clip, drawn by the rng."""
        s = self.states[int(torch.randint(len(self.states), (), generator=rng))]
        driven = torch.randn(frames, len(s), generator=rng, dtype=s.dtype) @ self.noise.T
        made = []
        for shock in driven:
            s = self.step @ s + shock
            made.append(self.mean + self.components @ s)
        return torch.stack(made).view(frames, *self.shape).transpose(0, 1).clamp(-1, 1).float()


def reshuffled(clip: Tensor, frames: int, rng: torch.Generator) -> Tensor:
    """The frames of a clip [C, T, H, W] in another order, [C, frames, H, W] (Schoedl et al. 2000, section 3).

    After each frame comes the next one of the clip, or another that is like it. The odds rise with how alike the two
    and their neighbours are, and with how well the clip goes on from there. T is 2 or more.
    """
    odds = _jumps(clip)
    at = int(torch.randint(len(odds), (), generator=rng))
    order = []
    for _ in range(frames):
        order.append(at)
        at = int(torch.multinomial(odds[at], 1, generator=rng))
    return clip[:, order]


def _jumps(clip: Tensor) -> Tensor:
    """Odds [T - 1, T - 1] of the frame that follows each but the last."""
    rows = clip.transpose(0, 1).flatten(1).double()
    gram = rows @ rows.T
    square = gram.diagonal()
    apart = (square[:, None] + square - 2 * gram).clamp(min=0).sqrt()
    # D'_ij = sum_k w_k D_{i+k,j+k}; beyond the ends the last frames stand for more
    like = torch.zeros_like(apart)
    for step, weight in enumerate(TAPS, -(len(TAPS) // 2)):
        at = (torch.arange(len(apart)) + step).clamp(0, len(apart) - 1)
        like += weight * apart[at][:, at]
    cost = like[1:, :-1]  # of frame j after frame i: how unlike i + 1 it is
    ahead = cost.clone()
    for _ in range(ROUNDS):  # D''_ij = D'_ij + alpha min_k D''_jk
        found = cost + FUTURE * ahead.amin(1)
        done = torch.allclose(found, ahead, rtol=1e-6)
        ahead = found
        if done:
            break
    spread = NEAR * apart.diagonal(1).mean()
    return (-(ahead - ahead.amin(1, keepdim=True)) / spread.clamp(min=1e-12)).exp()
