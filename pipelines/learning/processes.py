"""The processes of a run and the device of each: how they find each other, wait for each other and part."""

from __future__ import annotations

import atexit
import ctypes
import os
import shlex
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import torch

from energies.compute import Compute, in_bfloat16
from pipelines.config import ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt (malloc.h)
KEPT = 2**28  # bytes
LARGE = 2**25  # bytes of a tensor whose memory goes back at once, the most that glibc takes


def num_processes() -> int:
    """How many were launched."""
    return int(os.environ.get("WORLD_SIZE", 1))


def device() -> torch.device:
    """What this process computes on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def accelerator(compute: Compute) -> Accelerator:
    """The processes, connected. ConfigError: they do not see each other."""
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    check_launcher()
    keep_freed_memory()
    AcceleratorState._reset_state()  # an earlier run here may have had another number format
    made = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="bf16" if in_bfloat16(compute, device()) else "no",
        # While the main process works alone the others wait for it, however long it takes.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=30))],
    )
    atexit.register(part_ways)
    if made.num_processes != num_processes():
        raise ConfigError(
            f"{num_processes()} processes were launched but this one sees {made.num_processes}; launch them with "
            "torchrun --nproc_per_node"
        )
    return made


def keep_freed_memory() -> None:
    """Let glibc keep up to KEPT bytes that are free, for what is made next. It would hand them back to the system and
    ask for them again at every step, whose pages the system clears: up to an eighth of the time of learning."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)


def counted(num: int) -> str:
    """How many processes, in words."""
    return f"{num} {'process' if num == 1 else 'processes'}"


def described(compute: Compute) -> str:
    """In words: how many processes, on which device, in which number format."""
    form = "bfloat16" if in_bfloat16(compute, device()) else "float32"
    return f"running on {counted(num_processes())}, {device().type}, {form}"


def check_launcher() -> None:
    """ConfigError: `accelerate launch --num_processes 2` on a CPU starts one process, and leaves only this trace of the
    others."""
    if {"ACCELERATE_USE_CPU", "MASTER_PORT"} <= os.environ.keys() and "WORLD_SIZE" not in os.environ:
        command = shlex.join(["-m", "pipelines.run", *sys.argv[1:]])
        raise ConfigError(
            f"accelerate launch starts a single process on a CPU; type, for two: torchrun --nproc_per_node 2 {command}"
        )


def part_ways() -> None:
    """Part from the other processes in order: threads that still listen would abort this one as it ends."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
