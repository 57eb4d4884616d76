"""Sums over the processes of a run: on one machine through memory that they share, which costs a fourth of sockets."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from accelerate import Accelerator

PART = 2**22  # bytes that are summed at once


def total(x: Tensor, accelerator: Accelerator) -> Tensor:
    """The sum of a tensor over the processes, of the same shape on each; every process has the same bits."""
    index, num = accelerator.process_index, accelerator.num_processes
    if num > 1 and x.device.type == "cpu" and are_on_one_machine(num):
        return _memory(index, num).sum(x)
    reduced = accelerator.reduce(x, "sum")
    assert isinstance(reduced, Tensor)
    return reduced


def are_on_one_machine(num: int) -> bool:
    """Whether all processes run here, and the system has memory without a name to share: none can be left behind."""
    return os.environ.get("LOCAL_WORLD_SIZE") == str(num) and hasattr(os, "memfd_create")


class SharedMemory:
    """Memory in which each of `num` processes has a place for PART bytes, twice: while some still read what was written
    in one turn, others write in the next."""

    def __init__(self, index: int, num: int) -> None:
        self.index, self.turn = index, 0
        file = os.memfd_create("totals")  # that of the first process is used
        try:
            os.ftruncate(file, 2 * num * PART)
            where = [f"/proc/{os.getpid()}/fd/{file}"]
            distributed.broadcast_object_list(where)
            self.places = torch.from_file(where[0], True, 2 * num * PART, dtype=torch.uint8).view(2, num, PART)
            distributed.barrier()
        finally:
            os.close(file)

    @torch.no_grad()
    def sum(self, x: Tensor) -> Tensor:
        """Of the same shape and type on each process. RuntimeError: a process is gone."""
        flat = x.flatten()
        summed = torch.empty_like(flat)
        num = PART // x.element_size()
        for own, part in zip(flat.split(num), summed.split(num), strict=True):
            places = self.places[self.turn].view(x.dtype)[:, : len(own)]
            places[self.index] = own
            distributed.barrier()
            torch.sum(places, 0, dtype=x.dtype, out=part)
            self.turn = 1 - self.turn
        return summed.view_as(x)


_memory = cache(SharedMemory)
