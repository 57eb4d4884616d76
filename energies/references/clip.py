"""The reference of one clip: an estimate of it that was regressed on what is seen, or its mean picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from energies.observation import Hidden, Measurement, Observation
from energies.references.context import Context, Reference


class ClipReference(Reference):
    """The context of one clip x [C, T, H, W], as stacked estimates or a mean picture gives it; it is kept, not made.

    Args:
        shape: of the clip.
        num_others: further estimates.
    """

    estimate: Tensor
    scale: Tensor
    hidden: Tensor
    others: Tensor
    former_weights: ClassVar[dict[str, str]] = {"fill": "estimate"}

    def __init__(self, shape: Sequence[int], num_others: int = 0) -> None:
        super().__init__()
        self.num_others, self.event_shape = num_others, tuple(shape)
        one = (1, 1, *shape[1:])
        self.register_buffer("estimate", torch.zeros(1, *shape))
        self.register_buffer("scale", torch.ones(one))
        self.register_buffer("hidden", torch.ones(one, dtype=torch.bool))
        self.register_buffer("others", torch.zeros(1, num_others, *shape))

    @classmethod
    def of(cls, context: Context) -> ClipReference:
        """That of a context of one clip."""
        made = cls(context.estimate.shape[1:], context.others.shape[1])
        for name, tensor in zip(("estimate", "scale", "hidden", "others"), context.tensors(), strict=True):
            getattr(made, name).copy_(tensor)
        return made

    def takes(self, observation: Observation) -> bool:
        """Whether exactly that is hidden which was hidden when the estimate was made."""
        if not isinstance(observation, Hidden) or bool(self.hidden.all()):
            return False
        mask = observation.mask.to(self.hidden.device)
        try:
            return bool((mask.expand_as(self.hidden) == self.hidden).all())
        except RuntimeError:  # a mask of another size
            return False

    def context(self, observation: Observation, y: Measurement) -> Context:
        """ValueError: something else is hidden than when the estimate was made."""
        if not self.takes(observation):
            raise ValueError("the estimate of a clip serves for what was hidden of it alone; learn it again")
        return self.free(1)

    def free(self, num: int) -> Context:
        parts = (self.estimate, self.scale, self.hidden, self.others)
        return Context(*(part.expand(num, *part.shape[1:]) for part in parts))
