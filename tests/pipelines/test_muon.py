"""Muon: its matrices move orthogonally, its vectors as with Adam."""

from __future__ import annotations

import pytest
import torch
from conftest import seeded
from torch import nn

from pipelines.learning.muon import Muon, orthogonal, shared_out


@pytest.mark.parametrize("shape", [(8, 8), (6, 30), (30, 6), (1, 9), (5, 1)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_orthogonal_makes_singular_values_near_one_and_keeps_the_axes(shape, scale):
    rng = seeded(0)
    rank = min(shape)
    left = torch.linalg.qr(torch.randn(shape[0], rank, generator=rng)).Q
    right = torch.linalg.qr(torch.randn(shape[1], rank, generator=rng)).Q
    values = torch.linspace(0.05, 1, rank) if rank > 1 else torch.ones(1)
    made = orthogonal(left * (scale * values) @ right.T)
    assert made.shape == shape
    core = left.T @ made @ right
    singular = core.diagonal()
    assert singular.min() > 0.6 and singular.max() < 1.3
    torch.testing.assert_close(core, torch.diag(singular), atol=1e-4, rtol=0)
    torch.testing.assert_close(left * singular @ right.T, made, atol=1e-4, rtol=0)


def test_a_gradient_of_zero_moves_nothing():
    p = nn.Parameter(torch.ones(3, 4))
    optimizer = Muon([p])
    p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.equal(p, torch.ones(3, 4))


@pytest.mark.parametrize("shape", [(16, 16), (8, 2, 3, 3), (24, 6)])
def test_a_matrix_moves_by_the_rate_whatever_the_gradient(shape):
    for scale in (1e-3, 1e3):
        p = nn.Parameter(torch.zeros(shape))
        optimizer = Muon([p], lr=0.1)
        p.grad = scale * torch.randn(shape, generator=seeded(1))
        optimizer.step()
        rows, columns = p.flatten(1).shape
        norm = float(torch.linalg.matrix_norm(p.detach().flatten(1), 2))
        assert 0.6 < norm / (0.1 * max(1, rows / columns) ** 0.5) < 1.3
        assert (p * p.grad).sum() < 0, "down"


def test_momentum_is_nesterovs():
    """The second update follows g2 + m (m g1 + g2)."""
    a, b = (torch.randn(4, 6, generator=seeded(k)) for k in (2, 3))
    p = nn.Parameter(torch.zeros(4, 6))
    optimizer = Muon([p], lr=0.1, momentum=0.8)
    p.grad = a
    optimizer.step()
    before = p.detach().clone()
    p.grad = b
    optimizer.step()
    torch.testing.assert_close(p.detach() - before, -0.1 * orthogonal(b + 0.8 * (0.8 * a + b)))


def test_vectors_and_numbers_follow_adam():
    vector, number = torch.randn(5, generator=seeded(4)), torch.tensor(2.0)
    ours = [nn.Parameter(vector.clone()), nn.Parameter(number.clone())]
    theirs = [nn.Parameter(vector.clone()), nn.Parameter(number.clone())]
    muon = Muon(ours, lr=0.02, rest=0.5)
    adam = torch.optim.Adam(theirs, lr=0.01, betas=(0.9, 0.99))
    rng = seeded(5)
    for _ in range(20):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=rng) + 0.3
            q.grad = p.grad.clone()
        muon.step()
        adam.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q)
        assert not torch.equal(p, vector if p.ndim else number)


@pytest.mark.slow
def test_least_squares():
    rng = seeded(6)
    x = torch.randn(200, 8, generator=rng) * torch.linspace(0.5, 2, 8)
    truth, offset = torch.randn(5, 8, generator=rng), torch.randn(5, generator=rng)
    y = x @ truth.T + offset
    torch.manual_seed(0)
    layer = nn.Linear(8, 5)
    optimizer, steps = Muon(layer.parameters(), lr=0.2), 300
    losses = []
    for step in range(steps):
        loss = (layer(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / steps)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 1e-4 * losses[0]
    torch.testing.assert_close(layer.weight.detach(), truth, atol=0.05, rtol=0)
    torch.testing.assert_close(layer.bias.detach(), offset, atol=0.05, rtol=0)


@pytest.mark.parametrize(("costs", "num"), [([5, 4, 3, 3, 3], 2), ([1] * 7, 3), ([9], 2), ([], 2)])
def test_work_is_shared_out_evenly(costs, num):
    owners = shared_out(costs, num)
    loads = [sum(cost for cost, owner in zip(costs, owners, strict=True) if owner == k) for k in range(num)]
    assert len(owners) == len(costs) and max(loads) - min(loads) <= max(costs, default=0)


def test_one_of_several_moves_what_is_its_own_and_leaves_the_rest_to_the_others():
    matrices = [torch.randn(4, 6, generator=seeded(k)) for k in range(3)]
    moves = []
    for index in (0, 1):
        parameters = [nn.Parameter(torch.zeros(4, 6)) for _ in matrices]
        optimizer = Muon(parameters, lr=1.0, index=index, num=2)  # its sum has nothing from the other
        for parameter, matrix in zip(parameters, matrices, strict=True):
            parameter.grad = matrix.clone()
        optimizer.step()
        moves.append([parameter.detach() for parameter in parameters])
    for matrix, first, second in zip(matrices, *moves, strict=True):
        assert bool(first.any()) != bool(second.any())
        torch.testing.assert_close(first + second, -orthogonal(matrix))
