"""The contract of references: from a measurement to what a network is told of x before it speaks."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from energies.observation import Measurement, Observation
from energies.saving import Stored


@dataclass(frozen=True, eq=False)
class Context:
    """An initial estimate of x and its expected error, for a batch.

    Attributes:
        estimate: [B, C, *size], the initial estimate; equal to x where x is seen.
        scale: [B, 1, *size], expected error of the initial estimate, positive.
        hidden: bool [B, 1, *size].
        others: [B, K, C, *size], further estimates that the network may compare with.
    """

    estimate: Tensor
    scale: Tensor
    hidden: Tensor
    others: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.estimate, self.scale, self.hidden, self.others

    def to(self, device: torch.device | str) -> Context:
        return Context(*(tensor.to(device) for tensor in self.tensors()))

    def rows(self, index: slice) -> Context:
        """Of some x of the batch."""
        return Context(*(tensor[index] for tensor in self.tensors()))

    def features(self) -> Tensor:
        """What the network sees of it: [B, C + 2 + K C, *size]."""
        hidden = self.hidden.float()
        others = ((self.others - self.estimate[:, None]) / self.scale[:, None]).clamp(-5, 5) * hidden[:, None]
        log_scale = (self.scale.log() + 2.5) / 1.5  # about standard
        return torch.cat([self.estimate, hidden, log_scale, others.flatten(1, 2)], 1)


class Reference(Stored, nn.Module):
    """Base of what the reference measure of a conditional energy is made of.

    Attributes:
        num_others: K of its contexts.
        event_shape: of one x; None: any.
    """

    num_others: int = 0
    event_shape: tuple[int, ...] | None = None

    @abstractmethod
    def takes(self, observation: Observation) -> bool:
        """Whether it has a context for such a measurement."""

    def reads_signs(self, observation: Observation) -> bool:
        """Whether it takes noise on x of two values for signs, of which those in doubt are hidden."""
        return False

    @abstractmethod
    def context(self, observation: Observation, y: Measurement) -> Context:
        """What is known of x [B, *event] of which y is seen."""

    @abstractmethod
    def free(self, num: int) -> Context:
        """What is known of `num` x of which nothing is seen. RuntimeError: it knows nothing of whole x."""
