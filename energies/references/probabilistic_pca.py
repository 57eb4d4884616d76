"""A Gaussian of low rank, learned from data: what is most likely where a linear measurement leaves x open."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from energies.energy import Energy

FEW = 4  # times as many components as are wanted: from here on Lanczos' method is faster than finding all
Linear = Callable[[Tensor], Tensor]


class ProbabilisticPCA(Energy):
    """N(mean, B diag(variances) B^T + noise^2 I): probabilistic PCA (Tipping & Bishop 1999).

    Args:
        mean: [*event].
        basis: B, [rank, *event], orthonormal rows.
        variances: [rank], along the rows of B, beyond the noise.
        noise: standard deviation of every element beyond the subspace.
    """

    def __init__(self, mean: Tensor, basis: Tensor, variances: Tensor, noise: float) -> None:
        super().__init__()
        if basis.shape[1:] != mean.shape or variances.shape != basis.shape[:1]:
            shapes = f"{list(mean.shape)}, {list(basis.shape)} and {list(variances.shape)}"
            raise ValueError(f"mean, basis and variances must be of shapes [*event], [k, *event] and [k], got {shapes}")
        self.event_shape = mean.shape
        self.noise = noise
        self.mean: Tensor
        self.basis: Tensor
        self.variances: Tensor
        self.register_buffer("mean", mean.flatten())
        self.register_buffer("basis", basis.flatten(1))
        self.register_buffer("variances", variances)

    @classmethod
    def fit(cls, x: Tensor, rank: int, noise: float) -> ProbabilisticPCA:
        """The first `rank` principal components, at most n - 1, of data [n, *event]; noise as above."""
        rows = x.flatten(1)
        mean = rows.mean(0)
        centred = rows - mean
        many = len(rows) > rows.shape[1]  # then their covariance is smaller than their products
        rank = min(rank, len(rows) - 1)
        values, vectors = _largest((centred.T @ centred if many else centred @ centred.T).double(), rank)
        kept = values > 1e-6 * values[0].clamp(min=1e-12)  # data may span less
        values, vectors = values[kept].float(), vectors[:, kept].float()
        basis = vectors.T if many else (vectors / values.sqrt()).T @ centred
        return cls(mean.view(x.shape[1:]), basis.view(-1, *x.shape[1:]), values / len(rows), noise)

    def forward(self, x: Tensor) -> Tensor:
        """|d|^2 / (2 noise^2) less what the subspace explains of it, d = x - mean (Woodbury)."""
        d = x.flatten(1) - self.mean
        along = d @ self.basis.T
        gain = self.variances / (self.variances + self.noise**2)
        return (d.square().sum(1) - (gain * along.square()).sum(1)) / (2 * self.noise**2)

    def expected(self, observe: Linear, adjoint: Linear, y: Tensor, steps: int = 20, *, noise: float = 0.0) -> Tensor:
        """Mean of x [B, *event] within the subspace, given y = A (x + noise) of a coarse isometry A, A A^T = c I.

        Conjugate gradients for the coordinates along B, preconditioned by the share of x that is seen.

        Args:
            observe: A, of [B, *event].
            adjoint: A^T.
            y: [B, ...].
            steps: at most; float32 gains nothing beyond about 20.
            noise: standard deviation of noise that y has besides.
        """
        shape = (len(y), *self.event_shape)
        seen = adjoint(observe(torch.ones(shape, dtype=y.dtype, device=y.device))).flatten(1)
        gain = adjoint(observe(seen.view(shape))).flatten(1).sum(1) / seen.sum(1).clamp(min=1e-12)  # c
        precision = 1 / (self.noise**2 * gain.clamp(min=1e-12) + noise**2)[:, None]  # of y: A shrinks the noise of x

        def normal(z: Tensor) -> Tensor:
            x = adjoint(observe((z @ self.basis).view(shape))).flatten(1)
            return z / self.variances + precision * (x @ self.basis.T)

        misfit = adjoint(y - observe(self.mean.view(1, *self.event_shape).expand(shape))).flatten(1)
        residual = precision * (misfit @ self.basis.T)
        scale = 1 / (1 / self.variances + precision * seen.mean(1, keepdim=True))
        z, direction = torch.zeros_like(residual), scale * residual
        power = (residual * direction).sum(1, keepdim=True)
        goal = 1e-8 * power
        for _ in range(steps):
            image = normal(direction)
            step = power / (direction * image).sum(1, keepdim=True).clamp(min=1e-30)
            step = torch.where(power > goal, step, 0.0)  # what has converged waits for the others
            z = z + step * direction
            residual = residual - step * image
            scaled = scale * residual
            before, power = power, torch.where(power > goal, (residual * scaled).sum(1, keepdim=True), power)
            if bool((power <= goal).all()):
                break
            direction = scaled + power / before.clamp(min=1e-30) * direction
        return (self.mean + z @ self.basis).view(shape)


def _largest(square: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues [rank] of a symmetric matrix, falling, and their vectors [n, rank]; n at most."""
    if rank > len(square) // FEW or not square.any():
        values, vectors = torch.linalg.eigh(square)
        return values.flip(0)[:rank], vectors.flip(1)[:, :rank]
    from scipy.sparse.linalg import eigsh  # slow to import, and few data sets are so large

    start = np.random.default_rng(0).standard_normal(len(square))  # scipy would draw another one every time
    values, vectors = eigsh(square.cpu().numpy(), rank, v0=start)
    order = np.argsort(-values)
    return torch.from_numpy(values[order]).to(square), torch.from_numpy(vectors[:, order]).to(square)
