"""Windows of long clips: they hold all that is hidden, cost what is hidden costs, and are joined without a seam."""

import pytest
import torch

from pipelines.windows.damage import Box, Damage
from pipelines.windows.film import parts
from pipelines.windows.plan import Joined, Plan


def moving(frames: int, rows: int, columns: int, side: int, speed: float) -> torch.Tensor:
    """bool [T, H, W]: a square that wanders."""
    hidden = torch.zeros(frames, rows, columns, dtype=torch.bool)
    for t in range(frames):
        y, x = int(speed * t) % (rows - side), int(1.7 * speed * t) % (columns - side)
        hidden[t, y : y + side, x : x + side] = True
    return hidden


@pytest.fixture(scope="module")
def scattered():
    hidden = torch.rand(20, 37, 51, generator=torch.Generator().manual_seed(0)) < 0.1
    hidden[4:9] = False
    return hidden


def test_a_damage_gives_its_mask_back(scattered):
    damage = Damage.whole(scattered)
    box = Box(2, 15, 3, 30, 10, 40)
    assert damage.num == int(scattered.sum())
    assert torch.equal(damage.masks(Box(0, 20, 0, 37, 0, 51)), scattered)
    assert torch.equal(damage.masks(box), scattered[2:15, 3:30, 10:40])


def test_values_of_hidden_pixels_are_found_by_their_numbers(scattered):
    damage, x = Damage.whole(scattered), torch.randn(3, 20, 37, 51)
    values, box = x[:, scattered], Box(2, 15, 3, 30, 10, 40)
    inside = x[:, 2:15, 3:30, 10:40][:, scattered[2:15, 3:30, 10:40]]
    assert torch.equal(values[:, damage.numbers(box)], inside)
    empty = torch.zeros(3, 37, 51)
    assert torch.equal(damage.pasted(empty, 2, values), x[:, 2] * scattered[2])
    assert torch.equal(damage.pasted(empty, 5, values), empty)


CASES = {
    "small and whole": moving(32, 64, 64, 20, 2.5),
    "small in a large one": moving(60, 200, 300, 16, 6),
    "scattered": torch.rand(16, 80, 90, generator=torch.Generator().manual_seed(1)) < 0.01,
    "two moments": moving(100, 60, 60, 10, 1) & (torch.arange(100) % 80 < 5)[:, None, None],
}


@pytest.mark.slow
@pytest.mark.parametrize("hidden", CASES.values(), ids=CASES)
def test_windows_that_agree_are_joined_to_what_they_say(hidden):
    damage, plan = Damage.whole(hidden), Plan(most=60_000, frames=4, pixels=8)
    x = torch.randn(2, *hidden.shape, generator=torch.Generator().manual_seed(2))
    joined = Joined(damage, 2, plan)
    for box, part in parts(x.unbind(1), plan.windows(damage)):
        joined.add(box, part)
    assert (joined.weight > 0).all()
    torch.testing.assert_close(joined.values, x[:, hidden], rtol=0, atol=1e-5)


def test_windows_that_disagree_meet_gradually():
    hidden = torch.zeros(64, 16, 16, dtype=torch.bool)
    hidden[:, 8, 8] = True
    damage, plan = Damage.whole(hidden), Plan(most=64 * 256 // 2, frames=8, pixels=8)
    boxes = plan.windows(damage)
    assert len(boxes) > 1
    joined = Joined(damage, 1, plan)
    for number, box in enumerate(boxes):
        joined.add(box, torch.full((1, *box.size), float(number)))
    steps = joined.values[0].diff()
    assert (steps >= 0).all()
    assert steps.max() < 0.2  # not a whole step from one frame to the next


def test_far_damage_is_not_joined_by_what_lies_between():
    hidden = torch.zeros(1000, 64, 64, dtype=torch.bool)
    hidden[10, 5:9, 5:9] = hidden[900, 50:54, 50:54] = True
    plan = Plan(frames=4, pixels=8)
    first, second = plan.windows(Damage.whole(hidden))
    assert (first.t0, first.t1, second.t0, second.t1) == (6, 15, 896, 905)
    assert first.volume + second.volume < 2 * 9 * 32 * 32


def test_the_volume_of_windows_grows_as_the_damage_does():
    """Within 1.3 times from one scratched part to sixteen."""
    hidden = torch.zeros(160, 400, 400, dtype=torch.bool)
    volumes = []
    for number in range(16):
        y, x = divmod(number, 4)
        hidden[20:28, 100 * y + 40 : 100 * y + 60, 100 * x + 40 : 100 * x + 60] = True
        if number in (0, 15):
            volumes.append(sum(box.volume for box in Plan(frames=4, pixels=16).windows(Damage.whole(hidden))))
    assert volumes[1] / volumes[0] < 1.3 * 16


def test_frames_are_read_once_and_no_further_than_needed():
    read: list[int] = []

    def frames():
        for t in range(10_000):
            read.append(t)
            yield torch.full((3, 8, 8), t % 250, dtype=torch.uint8)

    boxes = [Box(3, 6, 0, 8, 0, 8), Box(4, 9, 0, 4, 2, 8), Box(40, 42, 0, 8, 0, 8)]
    for box, part in parts(frames(), boxes):
        assert part.shape == (3, *box.size)
        assert torch.equal(part[0, :, 0, 0], torch.arange(box.t0, box.t1).float() / 127.5 - 1)
    assert read == list(range(42))
