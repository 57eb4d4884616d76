"""Linear systems of observations: conjugate residuals for any operator, cosines for the blur."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Linear = Callable[[Tensor], Tensor]


def inverse(apply: Linear, r: Tensor, precondition: Linear, steps: int = 50) -> Tensor:
    """M^-1 r [B, ...] for M symmetric and positive semidefinite, differentiable in r.

    The gradient is M^-1 times the incoming one, by the same algorithm: the steps are not kept. M counts as a constant.

    Args:
        apply: M, of one tensor shaped like r, each sample by itself.
        r: [B, ...].
        precondition: K, of the same kind: near M^-1, or the identity. It may be singular; then the solution and
            what counts of r are in its range.
        steps: at most.
    """
    solution = _Inverse.apply(r, lambda right: conjugate_residuals(apply, right, precondition, steps))
    assert isinstance(solution, Tensor)
    return solution


class _Inverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, r: Tensor, solve: Linear) -> Tensor:
        ctx.solve = solve
        return solve(r)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _Inverse.apply(grads[0], ctx.solve), None


def conjugate_residuals(apply: Linear, r: Tensor, precondition: Linear, steps: int) -> Tensor:
    """M^-1 r by conjugate residuals (Stiefel 1955), preconditioned; the arguments are those of `inverse`.

    It minimises the residual, so it converges where conjugate gradients blow up: where M is singular and r is out of
    its range. Where a residual in the null space is left, `lift` removes what the solution took of it (Liu & Roosta
    2023, arXiv 2309.17096): the least-norm solution, least squares, stays. A sample that has converged waits for the
    others.
    """
    eps = torch.finfo(r.dtype).eps
    goal, null = (10 * eps) ** 2, (100 * eps) ** 2
    z, lift = torch.zeros_like(r), _per_sample(r, 0.0)
    rest = precondition(r)
    seen = apply(rest)
    along, image, slope, share = rest, seen, precondition(seen), _per_sample(r, 1.0)
    size, power, curve = _dot(r, rest), _dot(seen, slope), _dot(rest, seen)
    start, largest = size, _ratio(power, size, size > 0)  # squares of |r| and of the largest eigenvalue met
    for _ in range(steps):
        # Rounding makes a residual in the null space look like a step of unbounded length: stop before.
        active = (size > goal * start) & (power > null * largest * size) & (curve > 0)
        if not active.any():
            break
        step = _ratio(curve, _dot(image, slope), active)
        z, rest, r = z + step * along, rest - step * slope, r - step * image
        lift = lift + step * share
        seen = apply(rest)
        steep = precondition(seen)
        curve, before = _dot(rest, seen), curve
        turn = _ratio(curve, before, active)
        along, image, slope, share = rest + turn * along, seen + turn * image, steep + turn * slope, 1 + turn * share
        size, power = _dot(r, rest), _dot(seen, steep)
        largest = torch.maximum(largest, _ratio(power, size, size > 0))
    null_left = (size > goal * start) & ~(power > null * largest * size)
    return z - torch.where(null_left, lift, 0.0) * rest


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1).view(-1, *[1] * (a.ndim - 1))


def _per_sample(like: Tensor, value: float) -> Tensor:
    return like.new_full((len(like), *[1] * (like.ndim - 1)), value)


def reciprocal(x: Tensor) -> Tensor:
    """1 / x, and 0 for 0."""
    return torch.where(x == 0, 0.0, 1 / torch.where(x == 0, 1.0, x))


def _ratio(a: Tensor, b: Tensor, where: Tensor) -> Tensor:
    """a / b; 0 elsewhere, whatever b is there."""
    return torch.where(where, a / torch.where(where, b, 1.0), 0.0)


def cosines(size: int, like: Tensor) -> Tensor:
    """The orthonormal cosines of an axis, DCT-II: [frequency, size], of the dtype and device of `like`."""
    n = torch.arange(size, dtype=torch.float64, device="cpu")
    basis = torch.cos(math.pi / size * n[:, None] * (n + 0.5)) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.to(like)


def to_cosines(x: Tensor, axes: int, back: bool = False) -> Tensor:
    """x in cosines along each of its last axes (DCT-II), or back from them: x of the same shape."""
    # A product in a short format would leave adjoint and projection wrong in the third digit.
    with torch.autocast(x.device.type, enabled=False):
        for axis in range(-axes, 0):
            basis = cosines(x.shape[axis], x)
            x = (x.movedim(axis, -1) @ (basis if back else basis.mT)).movedim(-1, axis)
    return x


def blur_response(shape: tuple[int, ...], width: float, least: float, like: Tensor) -> Tensor:
    """exp(-width^2 |frequency|^2 / 2) for every cosine [*shape], and 0 where that is less than `least`."""
    squares = torch.zeros((), dtype=torch.float64)
    for size in shape:
        squares = squares[..., None] + (math.pi / size * torch.arange(size, dtype=torch.float64)).square()
    response = torch.exp(-(width**2) / 2 * squares)
    return torch.where(response < least, 0.0, response).to(like)
