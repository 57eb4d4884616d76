"""The rows of a step's batch that one process learns from, so that several processes learn as one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from energies.samplers.state import Rows, normal, uniform


def alone(x: Tensor) -> Tensor:
    """The sum over a single process."""
    return x


@dataclass(frozen=True)
class Share:
    """Of a batch of `total` rows, those of one process.

    An objective gives the loss and the metrics of the rows that it has; over the processes they are averaged by
    `weight`. To give what one process would give of the whole batch it draws noise by `normal` and `uniform`, takes the
    mean of other rows than those of the batch by `mean`, and divides by a number that is counted by `ratio`.

    Attributes:
        total: rows of all processes.
        index: of the process.
        num: processes. Where there are more than rows, each has all rows.
        add: sums a tensor over the processes.
        among: first row and the one after the last, where they are not an even share.
    """

    total: int
    index: int = 0
    num: int = 1
    add: Callable[[Tensor], Tensor] = alone
    among: tuple[int, int] | None = None

    @property
    def split(self) -> bool:
        """Whether the processes have different rows."""
        return self.num > 1 and self.total >= self.num

    @property
    def bounds(self) -> tuple[int, int]:
        """First row of this process, and the one after its last."""
        if self.among is not None:
            return self.among
        index, num = (self.index, self.num) if self.split else (0, 1)
        return index * self.total // num, (index + 1) * self.total // num

    @property
    def rows(self) -> slice:
        return slice(*self.bounds)

    @property
    def weight(self) -> float:
        """Of this process; of all together 1."""
        first, last = self.bounds
        return (last - first) / self.total if self.split else 1 / self.num

    def of(self, total: int) -> Share:
        """The share of another batch."""
        return replace(self, total=total, among=None)

    def chosen(self, flags: Tensor) -> Share:
        """The share of the rows of a batch that are chosen by flags, bool [rows of this process]."""
        everyone = self.whole(flags.long()).bool()
        first, last = self.bounds
        before, upto = int(everyone[:first].sum()), int(everyone[:last].sum())
        return replace(self, total=int(everyone.sum()), among=(before, upto))

    def stream(self, rng: torch.Generator) -> Rows:
        """What gives each row the noise that it has in the whole batch."""
        return Rows(rng, *self.bounds, self.total)

    def normal(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Standard normal noise of the shape of `like` [rows of this process, ...]."""
        return normal(like, self.stream(rng))

    def uniform(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Uniform numbers in [0, 1), likewise."""
        return uniform(like, self.stream(rng))

    def whole(self, x: Tensor) -> Tensor:
        """Rows of all processes, of those of this one; without a gradient."""
        if not self.split:
            return x
        every = x.new_zeros(self.total, *x.shape[1:])
        every[self.rows] = x.detach()
        return self.add(every)

    def mean(self, values: Tensor, of: Share) -> Tensor:
        """The mean of values [rows of another batch], to be averaged by the weights of this one."""
        return values.mean() * (of.weight / self.weight)

    def ratio(self, part: Tensor, count: Tensor) -> Tensor:
        """A sum over the rows of this process by a count over all rows, to be averaged by the weights."""
        return part / self.add(count.detach()) / self.weight
