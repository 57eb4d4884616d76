"""Chains shared among processes, watched by a monitor."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from data.errors import InputError
from energies.diagnostics import Monitor
from pipelines.stage import Run

TOGETHER = 2**22
"""Numbers of x that are sampled at once; what is more goes one batch after another, to bound the memory."""

Draw = Callable[[list[int], list[torch.Generator], Monitor], Tensor]


def sample_chains(run: Run, num: int, size: int, purpose: str, monitor: Monitor, draw: Draw) -> Tensor:
    """Samples [num, *event] on the CPU, the same on every process and however many there are.

    Args:
        run: gives processes and randomness; chain k has a stream of its own.
        num: number of chains.
        size: numbers in one x.
        purpose: of the streams.
        monitor: watches the chains of the first batch of this process.
        draw: runs chains of these numbers, one a stream, to their ends [chains, *event], and shows them the monitor.

    Raises:
        InputError: the chains ended at values that are not finite.
    """
    device, processes = run.accelerator.device, run.accelerator.num_processes
    mine = list(range(run.accelerator.process_index, -(-num // processes) * processes, processes))
    batch = max(1, TOGETHER // size)
    ends = []
    with torch.no_grad():
        for first in run.progress(range(0, len(mine), batch), -(-len(mine) // batch), f"sampling ({purpose})"):
            chains = [chain % num for chain in mine[first : first + batch]]  # the last may be drawn by two processes
            streams = [run.generator(purpose, chain, device=device) for chain in chains]
            ends.append(draw(chains, streams, Monitor() if first else monitor))
    together = run.accelerator.gather(torch.cat(ends))
    assert isinstance(together, Tensor)
    # Gathered process by process; chain k was drawn by process k mod processes.
    samples = together.cpu().unflatten(0, (processes, -1)).transpose(0, 1).flatten(0, 1)[:num]
    if not samples.isfinite().all():
        raise InputError(f"the chains diverged ({purpose}): choose a smaller step_size")
    return samples


def findings(monitor: Monitor) -> dict[str, Any]:
    """What a monitor saw: summary for metrics.json, lines to print (none where all is well or nothing can be done), and
    curves for the report, None where there is no finite value."""
    if not monitor.num_steps:
        summary = {"kind": "annealed", "verdict": "no sampler steps: the flow alone"}
        return {"summary": summary, "lines": [], "curves": {}}
    summary, curves = monitor.summary(), monitor.trace()
    return {
        "summary": summary.as_dict(),
        "lines": summary.lines(),
        "curves": {
            name: [round(v, 6) if math.isfinite(v) else None for v in curve.tolist()] for name, curve in curves.items()
        },
    }
