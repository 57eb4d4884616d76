"""The replay buffer: no chain is lost or doubled, and all of it can be kept."""

from __future__ import annotations

import pytest
import torch
from conftest import seeded

from energies.buffer import ReplayBuffer, Start

SHAPES = {"image": (1, 4, 5), "video": (3, 2, 4, 4), "voxels": (1, 3, 3, 3)}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def numbered(num: int, shape: tuple[int, ...]) -> ReplayBuffer:
    """Chain k is k everywhere."""
    x = torch.arange(float(num)).view(-1, *[1] * len(shape)).expand(-1, *shape)
    return ReplayBuffer(x, torch.arange(num) % 3)


@shapes
def test_no_chain_is_lost_or_doubled(shape):
    buffer, rng = numbered(20, shape), seeded(0)
    places = set()
    for update in range(1, 41):
        drawn = buffer.draw(7, 0.0, rng)
        rows = drawn.rows.tolist()
        places |= set(rows)
        assert len(set(rows)) == 7
        assert torch.equal(drawn.x, buffer.x[drawn.rows]), "what is drawn is what is there"
        others = [row for row in range(20) if row not in rows]
        before = buffer.x.clone()
        buffer.put(drawn, drawn.x + 100)
        assert torch.equal(buffer.x[drawn.rows], before[drawn.rows] + 100)
        assert torch.equal(buffer.x[others], before[others])
        assert int(buffer.age.sum()) == 7 * update
    # Every chain is k + 100 times its age still, so none has taken another's place.
    assert torch.equal(buffer.x.flatten(1)[:, 0], torch.arange(20.0) + 100 * buffer.age)
    assert places == set(range(20)) and len(buffer) == 20


def test_drawn_chains_are_copies():
    buffer = numbered(4, (1, 2, 2))
    x = torch.zeros(2, 1, 2, 2)
    own = ReplayBuffer(x)
    x += 1
    assert own.x.sum() == 0, "none of the start's memory is shared"
    drawn = buffer.draw(4, 0.0, seeded(0))
    drawn.x.add_(9)
    assert buffer.x.max() == 3


def test_every_chain_is_drawn_as_often():
    buffer, rng, counts = numbered(10, (1,)), seeded(1), torch.zeros(10)
    for _ in range(2000):
        counts[buffer.draw(3, 0.0, rng).rows] += 1
    assert (counts - 600).abs().max() < 5 * (2000 * 0.3 * 0.7) ** 0.5


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5, 1.0])
def test_as_many_begin_anew_as_was_asked(rate):
    buffer, rng = numbered(50, (1, 2, 2)), seeded(2)
    buffer.x += 10  # fresh ones lie within [-1, 1]
    drawn_in_all, anew = 0, 0
    for _ in range(200):
        drawn = buffer.draw(20, rate, rng)
        fresh = drawn.x.flatten(1).abs().amax(1) <= 1
        drawn_in_all += 20
        anew += int(fresh.sum())
        assert (buffer.age[drawn.rows[fresh]] == 0).all(), "a chain that begins anew is of age 0"
        buffer.put(drawn, torch.full_like(drawn.x, 20.0))
        assert (buffer.age[drawn.rows[fresh]] == 1).all()
    assert int(buffer.restarts) == anew
    assert abs(anew - rate * drawn_in_all) <= 5 * (drawn_in_all * rate * (1 - rate)) ** 0.5


def test_fresh_chains_have_their_mean_and_spread_and_stay_in_range():
    mean = torch.tensor([-0.2, 0.3]).view(2, 1, 1)
    buffer = ReplayBuffer.of_noise(4000, torch.zeros(2, 2, 2), seeded(3), start=Start(mean, 0.1))
    for x in (buffer.x, buffer.draw(4000, 1.0, seeded(4)).x):
        error = 0.1 / (4000 * 4) ** 0.5
        torch.testing.assert_close(x.mean((0, 2, 3)), mean.flatten(), atol=5 * error, rtol=0)
        assert float((x - mean).std()) == pytest.approx(0.1, abs=5 * error)
    wide = ReplayBuffer.of_noise(200, torch.zeros(2, 2, 2), seeded(3), start=Start(spread=3.0))
    assert wide.x.abs().max() == 1


def test_labels_stay_with_their_chains():
    buffer, rng = numbered(30, (1, 2, 2)), seeded(5)
    for _ in range(20):
        drawn = buffer.draw(11, 0.3, rng)
        assert drawn.label is not None and torch.equal(drawn.label, drawn.rows % 3)
        buffer.put(drawn, drawn.x)
    assert ReplayBuffer(torch.zeros(3, 2)).draw(2, 0.5, rng).label is None


@pytest.mark.parametrize("num", [0, -1, 6])
def test_more_chains_than_there_are_are_refused(num):
    with pytest.raises(ValueError, match="buffer of 5"):
        numbered(5, (1,)).draw(num, 0.0, seeded(0))


def test_its_tensors_restore_it():
    buffer, rng = numbered(12, (1, 2, 2)), seeded(6)

    def go_on(buffer: ReplayBuffer, rng: torch.Generator) -> None:
        for _ in range(5):
            drawn = buffer.draw(4, 0.3, rng)
            buffer.put(drawn, drawn.x + 1)

    go_on(buffer, rng)
    kept = {name: tensor.clone() for name, tensor in buffer.tensors().items()}
    go_on(buffer, seeded(7))
    other = numbered(12, (1, 2, 2))
    for name, tensor in other.tensors().items():
        tensor.copy_(kept[name])
    go_on(other, seeded(7))
    assert buffer.restarts > 0
    for name in ("x", "age", "restarts"):
        assert torch.equal(getattr(buffer, name), getattr(other, name)), name
