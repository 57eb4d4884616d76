"""Tensors in few bytes: weights rounded to bfloat16 or to whole numbers, all that shrinks by it deflated.

`packed` and `unpacked` are inverse to each other but for the rounding of weights. A weight of two axes or more may be
rounded to a multiple of its row's unit, the row's largest magnitude over the number of steps there are on either side
of 0. Nothing else is rounded: means, offsets and remembered data stay as they are.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST_LEVELS = 127  # what int8 holds on either side of 0
FEW = 4096  # bytes that are not worth deflating
KINDS = {str(kind).removeprefix("torch."): kind for kind in (torch.uint8, torch.bool, torch.float32, torch.float64)}
"""Of tensors that are deflated."""
UNIT = "#unit"  # ends the name of the units of a weight's rows


@dataclass(frozen=True)
class Compact:
    """How weights are stored in few bytes; they come back in float32.

    Attributes:
        levels: whole numbers on either side of 0 that a weight is rounded to, 1 to 127; None: bfloat16.
    """

    levels: int | None = None

    def __post_init__(self) -> None:
        if self.levels is not None and not 1 <= self.levels <= MOST_LEVELS:
            raise ValueError(f"levels must be 1 to {MOST_LEVELS}, got {self.levels}")


def packed(
    tensors: dict[str, Tensor], weights: Collection[str], how: Compact
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors to store, and JSON-able by name how those are stored that are not as they were.

    Args:
        tensors: contiguous, on the CPU.
        weights: names of those that may be rounded; of these only float32 is.
        how: they are rounded.
    """
    found: dict[str, Tensor] = {}
    told: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if name in weights and tensor.dtype == torch.float32:
            if how.levels is None or tensor.ndim < 2 or not tensor.numel():
                found[name], told[name] = tensor.bfloat16(), {"as": "bfloat16"}
            else:
                whole, found[name + UNIT] = _rounded(tensor.flatten(1), how.levels)
                found[name], told[name] = _deflated(whole), {"as": "rows", "shape": list(tensor.shape)}
            continue
        found[name], kind = tensor, str(tensor.dtype).removeprefix("torch.")
        if kind in KINDS and tensor.nbytes >= FEW and (fewer := _deflated(tensor)).nbytes < tensor.nbytes / 2:
            found[name], told[name] = fewer, {"as": "bytes", "kind": kind, "shape": list(tensor.shape)}
    return found, told


def unpacked(tensors: dict[str, Tensor], told: Any) -> dict[str, Tensor]:
    """The tensors as they were, weights rounded. ValueError: what is told does not fit them."""
    if not isinstance(told, dict):
        raise ValueError("compact is no map of names")
    found = dict(tensors)
    for name, how in told.items():
        if name not in tensors:
            raise ValueError(f"compact names {name:.80}, which is missing")
        kind, stored, shape = (how.get("as") if isinstance(how, dict) else None), found[name], _shape(how)
        if kind == "bfloat16" and stored.dtype == torch.bfloat16:
            found[name] = stored.float()
        elif kind == "bytes" and shape and how.get("kind") in KINDS:
            found[name] = _inflated(stored, shape, KINDS[how["kind"]], name)
        elif kind == "rows" and shape and name + UNIT in found:
            unit = found.pop(name + UNIT)
            if unit.dtype != torch.float32 or list(unit.shape) != shape[:1]:
                raise ValueError(f"{name}: its units are not one a row")
            whole = _inflated(stored, shape, torch.int8, name).float()
            found[name] = whole * unit.view(-1, *[1] * (len(shape) - 1))
        else:
            raise ValueError(f"{name} is not stored as compact tells: {how!r:.80}")
    return found


def _rounded(rows: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """int8 [n, m] and the unit of each row [n], of which they are the multiples that are nearest to rows [n, m]."""
    unit = (rows.abs().amax(1) / levels).clamp(min=torch.finfo(torch.float32).tiny)
    return (rows / unit[:, None]).round().to(torch.int8), unit


def _deflated(tensor: Tensor) -> Tensor:
    """uint8 [n] of a tensor."""
    content = zlib.compress(tensor.contiguous().numpy().tobytes(), 9)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _inflated(stored: Tensor, shape: list[int], kind: torch.dtype, name: str) -> Tensor:
    """The tensor of a shape. ValueError: the bytes are damaged, or more or fewer than it takes."""
    wanted, reader = math.prod(shape) * kind.itemsize, zlib.decompressobj()
    try:
        if stored.dtype != torch.uint8:
            raise ValueError("no bytes")
        content = reader.decompress(stored.numpy().tobytes(), wanted + 1)  # never more, whatever the bytes say
    except (zlib.error, ValueError) as error:
        raise ValueError(f"{name} cannot be inflated ({error})") from error
    if len(content) != wanted:
        raise ValueError(f"{name} holds {'more' if len(content) > wanted else 'fewer'} numbers than {shape}")
    return torch.frombuffer(bytearray(content), dtype=kind).view(shape)


def _shape(how: Any) -> list[int]:
    """The shape that is told; empty where there is none."""
    shape = how.get("shape") if isinstance(how, dict) else None
    return shape if isinstance(shape, list) and all(type(side) is int and side > 0 for side in shape) else []
