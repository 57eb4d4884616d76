"""Pieces of work that do not need each other, as many at once as PyTorch has threads.

for found in side_by_side(estimate, clips): ...

It serves work of NumPy, SciPy and OpenCV, which each take one core and let others run beside them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What `work` gives of each item, in their order; its first error ends all.

    No more results wait than there are threads, and items are taken as they are needed: memory is that of so many.
    Until the end PyTorch has one thread for each piece.
    """
    num = torch.get_num_threads()
    if num == 1:
        yield from map(work, items)
        return
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(num, initializer=torch.set_num_threads, initargs=(1,))
    begun: deque[Future[R]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) == num:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(num)
