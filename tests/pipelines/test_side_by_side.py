"""Pieces of work side by side: their order, how many at once, and their errors."""

import threading
from collections.abc import Iterator

import pytest
import torch

from pipelines.side_by_side import side_by_side


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items_and_two_pieces_run_at_once():
    met = threading.Barrier(2, timeout=20)  # breaks where the second piece waits for the first

    def work(number: int) -> tuple[int, int]:
        met.wait()
        return number, torch.get_num_threads()

    assert list(side_by_side(work, range(4))) == [(number, 1) for number in range(4)]
    assert torch.get_num_threads() == 2


def test_items_are_taken_as_they_are_needed():
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    results = side_by_side(lambda number: number, items())
    assert next(results) == 0 and taken == [0, 1]
    results.close()
    assert torch.get_num_threads() == 2


def test_an_error_ends_all():
    def work(number: int) -> int:
        if number == 1:
            raise ValueError("the second")
        return number

    with pytest.raises(ValueError, match="the second"):
        list(side_by_side(work, range(10)))
    assert torch.get_num_threads() == 2
