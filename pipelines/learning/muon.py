"""Muon: momentum whose every matrix is made orthogonal (Jordan et al. 2024), and Adam for the parameters that are none.

Where weights enter many times, as in the gradient of an energy, it needs a half to a third of Adam's steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, steepest at 0


class Muon(torch.optim.Optimizer):
    """Args:
    parameters: weights of two and more axes are matrices [first axis, all others].
    lr: of the matrices, which move by about so much in spectral norm.
    rest: learning rate of Adam for the others, as a share of `lr`.
    momentum: of the matrices.
    betas: of Adam.
    index, num: of the process, and of all that move the same parameters by the same gradients: each makes some of the
        matrices orthogonal, for all.
    add: sums a tensor over them.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 0.02,
        rest: float = 0.15,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        *,
        index: int = 0,
        num: int = 1,
        add: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> None:
        self.index, self.num, self.add = index, num, add
        super().__init__(parameters, {"lr": lr, "rest": rest, "momentum": momentum, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        moved = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        matrices = [(p, group) for p, group in moved if p.ndim >= 2]
        directions = [self._direction(p, self.state[p], group) for p, group in matrices]
        for (p, group), update in zip(matrices, self._orthogonal(directions), strict=True):
            rows, columns = update.shape
            p.add_(update.view_as(p), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)
        for p, group in moved:
            if p.ndim < 2:
                self._vector(p, self.state[p], group)

    def _direction(self, p: nn.Parameter, state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
        """Where a matrix goes, with Nesterov's momentum: [first axis, all others]."""
        assert p.grad is not None
        average = state.setdefault("momentum", torch.zeros_like(p))
        average.mul_(group["momentum"]).add_(p.grad)
        return (p.grad + group["momentum"] * average).flatten(1)

    def _orthogonal(self, matrices: list[Tensor]) -> list[Tensor]:
        if self.num == 1:
            return [orthogonal(matrix) for matrix in matrices]
        owners = shared_out([matrix.numel() * min(matrix.shape) for matrix in matrices], self.num)
        own = [
            (orthogonal(matrix) if owner == self.index else torch.zeros_like(matrix)).flatten()
            for matrix, owner in zip(matrices, owners, strict=True)
        ]
        together = self.add(torch.cat(own)).split([matrix.numel() for matrix in matrices])
        return [part.view_as(matrix) for part, matrix in zip(together, matrices, strict=True)]

    def _vector(self, p: nn.Parameter, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        assert p.grad is not None
        if not state:
            state |= {"step": torch.zeros(()), "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        state["step"] += 1
        for name, value, beta in zip(("mean", "square"), (p.grad, p.grad.square()), group["betas"], strict=True):
            state[name].lerp_(value, 1 - beta)
        mean, square = (
            state[name] / (1 - beta ** state["step"].item())
            for name, beta in zip(("mean", "square"), group["betas"], strict=True)
        )
        p.sub_(group["lr"] * group["rest"] * mean / (square.sqrt() + 1e-8))


def shared_out(costs: list[int], num: int) -> list[int]:
    """Which of `num` workers does which piece of work, so that all have about as much: the dearest first, to whoever
    has least."""
    loads, owners = [0] * num, [0] * len(costs)
    for piece in sorted(range(len(costs)), key=lambda piece: -costs[piece]):
        owners[piece] = loads.index(min(loads))
        loads[owners[piece]] += costs[piece]
    return owners


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The orthogonal matrix nearest to [rows, columns], roughly: singular values become 0.7 to 1.2 (Newton-Schulz)."""
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide is matrix else x.T
