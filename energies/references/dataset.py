"""The reference of a data set: probabilistic PCA and nearest neighbours, conditioned on what is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from energies.noisy import Noisy
from energies.observation import Average, Blur, Grey, Hidden, Measurement, Observation
from energies.references.context import Context, Reference
from energies.references.local import LEAST_SCALE, LINEAR, NUM_OTHERS, binary_context, blurred, whole_mask
from energies.references.mirror import Mirrors
from energies.references.probabilistic_pca import ProbabilisticPCA

KINDS = ("hidden", "average", "grey")
DOUBT = 0.01  # chance that the sign of an element is wrong, above which it is as good as hidden
TOGETHER = 256  # measurements that are compared with all of the data at once


def kind_of(observation: Observation) -> str | None:
    """What references call a measurement; None: they know none such."""
    if isinstance(observation, Hidden) and observation.mask.ndim > 1 and observation.mask.shape[1] > 1:
        return None  # channels that are hidden by themselves
    if isinstance(observation, Noisy):
        inner = observation.operator
        if isinstance(inner, Blur):
            return "blur"
        return "noise" if isinstance(inner, Hidden) and not bool(inner.mask.any()) else None
    names = {Hidden: "hidden", Average: "average", Grey: "grey", Blur: "blur"}
    return names.get(type(observation))


class DataEstimator:
    """Estimates x from a measurement by data x [n, *event]: by their probabilistic PCA, and by nearest neighbours.

    Args:
        x: the data, in [-1, 1]; of two values, -1 and 1, where `binary`.
        rank: principal components, at most.
        noise: of an element beyond these, in units of x.
        binary: shapes [n, 1, N, N, N], their mirror images in the first axis count too; else pictures or clips.
        mirrored: whether each shape's own mirror image is one more estimate.
    """

    def __init__(
        self, x: Tensor, rank: int = 600, noise: float = 0.6, binary: bool = True, mirrored: bool = False
    ) -> None:
        self.binary = binary
        self.mirrors = Mirrors(x) if mirrored else None
        self.x = torch.cat([x, x.flip(2)]) if binary else x
        self.pca = ProbabilisticPCA.fit(self.x, rank, noise)
        self._observed: dict[Observation, Tensor] = {}

    def free(self, num: int) -> Context:
        """Nothing is seen: the mean."""
        shape = self.pca.event_shape
        mean = self.pca.mean.view(1, *shape).expand(num, *shape)
        others = [mean] * (NUM_OTHERS + (self.mirrors is not None))
        return _context(mean, torch.ones_like(mean[:, :1], dtype=torch.bool), others, self.binary)

    def context(self, observation: Observation, y: Tensor) -> Context:
        """What is known of x of which y [B, ...] is seen. A mask of `Hidden` hides all channels of an element alike."""
        if isinstance(observation, Hidden):
            return self._hidden(observation, y)
        return self._measured(observation, y)

    def _hidden(self, observation: Hidden, y: Tensor) -> Context:
        hidden = whole_mask(observation, y)
        seen = (~hidden).to(y.dtype)
        linear = self.pca.expected(lambda x: x * seen, lambda x: x * seen, y, 12)
        alike = most_alike if self.binary else _nearest
        nearest = self._first_and_mean(alike(self.x, y, seen.expand_as(y), 5))
        # What the components miss of the elements that are seen goes on into their neighbours.
        missed = (y - linear) * seen
        near = linear + blurred(missed, 0.7) / (blurred(seen, 0.7) + 0.1)
        wide = linear + blurred(missed, 1.5) / (blurred(seen, 1.5) + 0.1)
        estimate = torch.where(hidden, near.clamp(-1, 1), y)
        others = [linear, wide, *nearest]
        others += [self.mirrors.images(y, hidden, estimate)] if self.mirrors else []
        return _context(estimate, hidden, others, self.binary)

    def _measured(self, observation: Observation, y: Tensor) -> Context:
        noise = observation.noise if isinstance(observation, Noisy) else 0.0
        linear = self.pca.expected(observation.observe, observation.adjoint, y, noise=noise)
        plain = _plain(observation, y, self.pca.event_shape)
        measured = self._measured_data(observation)
        num = min(5, len(measured))
        order = torch.cat(
            [torch.cdist(part, measured).topk(num, largest=False).indices for part in y.flatten(1).split(TOGETHER)]
        )
        nearest = self._first_and_mean(order)
        guess = (linear + plain) / 2 if self.binary else linear
        estimate = observation.project(guess, y).clamp(-1, 1)
        hidden = torch.ones_like(estimate[:, :1], dtype=torch.bool)
        others = [linear, plain, *nearest, *([estimate] if self.mirrors else [])]
        return _context(estimate, hidden, others, self.binary)

    def _measured_data(self, observation: Observation) -> Tensor:
        """The same measurement of the data [n, elements]; means and grey levels, which are few, are kept."""
        if not isinstance(observation, Average | Grey):
            return observation.observe(self.x).flatten(1)
        if observation not in self._observed:
            self._observed[observation] = observation.observe(self.x).flatten(1)
        return self._observed[observation]

    def _first_and_mean(self, order: Tensor) -> list[Tensor]:
        return [self.x[order[:, 0]], self.x[order].mean(1)]


class DataReference(Reference):
    """The estimates that a data set gives, which is stored in 8 bits.

    Args:
        shape: of one x.
        num: how many x it holds.
        rank, noise, binary, mirrored: as for `DataEstimator`.
        kinds: of measurements that a network around it has learned to be told: hidden, average, grey, blur, and noise,
            which is x seen whole with noise.
    """

    data: Tensor
    former_weights: ClassVar[dict[str, str]] = {"remembered": "data"}

    def __init__(
        self, shape: Sequence[int], num: int, rank: int = 600, noise: float = 0.6, binary: bool = True,
        kinds: Sequence[str] = KINDS, mirrored: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.event_shape, self.rank, self.noise, self.binary = tuple(shape), rank, noise, binary
        self.mirrored, self.num_others = mirrored, NUM_OTHERS + mirrored
        self.kinds = tuple(kinds)
        self.register_buffer("data", torch.zeros(num, torch.Size(shape).numel(), dtype=torch.uint8))

    def fit(self, x: Tensor) -> None:
        """Hold the data x [num, *shape], which may be means of blocks."""
        self.data.copy_(levels(x))
        self.__dict__.pop("estimator", None)

    def _apply(self, *arguments: Any, **settings: Any) -> DataReference:
        """Moved to another device, it makes its estimator anew there."""
        self.__dict__.pop("estimator", None)
        return super()._apply(*arguments, **settings)

    @cached_property
    def estimator(self) -> DataEstimator:
        """Of its data; made when first asked for, and not again."""
        assert self.event_shape is not None
        with torch.autocast(self.data.device.type, enabled=False):
            x = (self.data / 127.5 - 1).view(-1, *self.event_shape)
            return DataEstimator(x, self.rank, self.noise, self.binary, self.mirrored)

    def takes(self, observation: Observation) -> bool:
        return kind_of(observation) in self.kinds or self.reads_signs(observation)

    def reads_signs(self, observation: Observation) -> bool:
        """Of x of two values, where noise itself was not learned and hidden elements were."""
        if not self.binary or not isinstance(observation, Noisy) or kind_of(observation) in self.kinds:
            return False
        return isinstance(observation.operator, Hidden) and kind_of(observation.operator) in self.kinds

    def context(self, observation: Observation, y: Measurement) -> Context:
        assert isinstance(y, Tensor)
        if isinstance(observation, Noisy) and self.reads_signs(observation):
            observation, y = signs(observation, y)
        if isinstance(observation, Hidden):
            y = observation.observe(y)  # what it holds elsewhere counts for nothing
        found = self.estimator.context(observation, y.to(self.estimator.x.dtype))
        return Context(*(t.to(y.dtype) if t.is_floating_point() else t for t in found.tensors()))

    def free(self, num: int) -> Context:
        return self.estimator.free(num)


def signs(observation: Noisy, y: Tensor) -> tuple[Hidden, Tensor]:
    """The signs of y [B, *event], which is x of two values, -1 and 1, with noise, and which of them are hidden: those
    that y tells by a chance of error above DOUBT, the odds of 1 being exp(2 y / noise^2), and those hidden before."""
    least, operator = observation.noise**2 * math.atanh(1 - 2 * DOUBT), observation.operator
    assert isinstance(operator, Hidden)
    return Hidden(whole_mask(operator, y) | (y.abs() < least)), y.sign()


def most_alike(shapes: Tensor, y: Tensor, seen: Tensor, num: int) -> Tensor:
    """Numbers [B, num] of the shapes [n, 1, N, N, N] most like y by intersection over union where it is seen.

    y: [B, 1, N, N, N], any value where seen (0 or 1, the same shape) is 0.
    """
    rows = shapes.flatten(1)
    here = ((y + 1) / 2 * seen).flatten(1)
    volume, seen = here.sum(1, keepdim=True), seen.flatten(1)
    both = (here @ rows.T + volume) / 2  # of x in {-1, 1}, (x + 1) / 2 is set
    either = volume + (seen @ rows.T + seen.sum(1, keepdim=True)) / 2 - both
    return (both / either.clamp(min=1)).topk(min(num, len(rows)), 1).indices


def _nearest(pictures: Tensor, y: Tensor, seen: Tensor, num: int) -> Tensor:
    """Likewise the pictures nearest to y by squared differences where it is seen."""
    rows = pictures.flatten(1)
    here, seen = (y * seen).flatten(1), seen.flatten(1)
    distance = seen @ rows.square().T - 2 * here @ rows.T
    return distance.topk(min(num, len(rows)), 1, largest=False).indices


def _plain(observation: Observation, y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x as the measurement alone has it: block means interpolated, a grey picture grey, others as they are."""
    inner = observation.noiseless
    if isinstance(inner, Average):
        return F.interpolate(y, shape[1:], mode=LINEAR[len(shape) - 1])
    return y.expand(-1, *shape)


def _context(estimate: Tensor, hidden: Tensor, others: list[Tensor], binary: bool) -> Context:
    if binary:
        return binary_context(estimate, hidden, others)
    # How far the estimates differ tells how wrong the initial one may be.
    candidates = torch.stack(others, 1)
    variance = (candidates - estimate[:, None]).square().mean((1, 2))[:, None]
    return Context(estimate, (variance + LEAST_SCALE**2).sqrt(), hidden, candidates)


def levels(x: Tensor) -> Tensor:
    """uint8 [n, elements] of x [n, *event] in [-1, 1]: how data are held."""
    return ((x.flatten(1) + 1) * 127.5).round().to(torch.uint8)
