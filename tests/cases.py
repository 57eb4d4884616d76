"""One tiny energy of every class, and of every way to make one of x of it: what `test_contracts.py` holds to laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from energies import (
    DBM,
    RBM,
    AnyOf,
    Average,
    Blur,
    Bounded,
    ClipReference,
    ConditionalEnergy,
    Context,
    DataReference,
    DenoisingEnergy,
    EncoderEnergy,
    EncoderLogits,
    Energy,
    Family,
    FrameEnergy,
    FunctionEnergy,
    Funnel,
    Gaussian,
    GenerativeConvNet,
    Grey,
    Helmholtz,
    Hidden,
    Ising,
    JointEnergy,
    LocalReference,
    Mixture,
    Noisy,
    Observation,
    ResidualEnergy,
    Stacked,
    Stored,
    StudentT,
    TokenEnergy,
    TransformerEnergy,
    invariant,
    tiled,
)
from energies.family import is_noisy
from energies.references.probabilistic_pca import ProbabilisticPCA
from tests.conftest import seeded

NUM = 3
LEVELS = (0.3, 1.7)
FLAT, SOLID = (3, 4, 4), (1, 4, 4, 4)


class OwnClassifier(Stored, nn.Module):
    """A person's own, of x of one shape."""

    def __init__(self, elements: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(elements, 5), nn.Tanh(), nn.Linear(5, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))


def tilt(x: Tensor) -> Tensor:
    return (x.flatten(1) + 0.3).cos().sum(1)


@dataclass(frozen=True)
class Case:
    """An energy, and what makes one of x of it: `ready(energy, rows)` binds what each of the samples `rows` has."""

    make: Callable[[], Energy]
    shape: tuple[int, ...]
    ready: Callable[[Any, slice], Energy] = lambda energy, rows: energy
    binary: tuple[float, float] | None = None
    """Values of an element, where there are two."""

    def x(self, seed: int = 0, num: int = NUM) -> Tensor:
        x = torch.randn(num, *self.shape, generator=seeded(seed), dtype=torch.float64)
        if self.binary is None:
            return x
        return torch.where(x > 0, self.binary[1], self.binary[0]).to(x)


def stirred(energy: Energy, seed: int = 5) -> Energy:
    """With weights of which no part is zero, and the mean of its data too."""
    rng = seeded(seed)
    with torch.no_grad():
        for weight in energy.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=rng)
        for name, buffer in energy.named_buffers():
            if name.split(".")[-1] == "_mean":
                buffer += 0.3 * torch.randn(buffer.shape, generator=rng)
    return energy.eval()


def encoder(shape: tuple[int, ...] = FLAT, *, noisy: bool = True, classes: int = 0, heads: int = 1) -> EncoderEnergy:
    torch.manual_seed(0)
    energy = EncoderEnergy(shape, (4,), (1,), noisy=noisy, num_classes=classes, spread=0.7, heads=heads)
    energy.classes = ("zero", "one", "two")[:classes]
    stirred(energy)
    return energy


def joint(noisy: bool) -> JointEnergy:
    return JointEnergy(EncoderLogits(encoder(noisy=noisy, heads=3)), 3, FLAT)


def conditional(reference: Any, channels: int, stride: tuple[int, ...]) -> Energy:
    torch.manual_seed(1)
    return stirred(ConditionalEnergy(reference, channels, (4,), (1,), stride))


def data_reference(shape: tuple[int, ...], *, binary: bool) -> DataReference:
    reference = DataReference(shape, 6, 3, 0.6, binary)
    x = torch.rand(6, *shape, generator=seeded(2)) * 2 - 1
    reference.fit(x.sign() if binary else x)
    return reference


def clip_context() -> Context:
    clip = torch.rand(1, 2, 2, 4, 4, generator=seeded(3)) * 2 - 1
    hidden = torch.rand(1, 1, 2, 4, 4, generator=seeded(4)) < 0.5
    return Context(clip, clip[:, :1].abs() + 0.2, hidden, torch.stack([clip.flip(2), clip.flip(3)], 1))


def mixture_by_level() -> AnyOf:
    return AnyOf([encoder(), encoder(classes=2)], [[0.3, -0.2], [1.0, 0.0]], [2.0, 0.2])


def mask(shape: tuple[int, ...], *, each: bool = False) -> Tensor:
    """[1 or NUM, 1, *size]."""
    return torch.rand(NUM if each else 1, 1, *shape[1:], generator=seeded(7)) < 0.5


@dataclass(frozen=True)
class Rows(Observation):
    """A person's own: every other row is seen."""

    def observe(self, x: Tensor) -> Tensor:
        return x[..., ::2, :]

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.stack([y, torch.zeros_like(y)], -2).flatten(-3, -2)


OBSERVATIONS: dict[str, Observation] = {
    "hidden": Hidden(mask(FLAT)),
    "hidden each": Hidden(mask(FLAT, each=True)),
    "average": Average((2, 2)),
    "grey": Grey(),
    "blur": Blur(0.8),
    "own": Rows(),
    "noisy hidden": Noisy(Hidden(mask(FLAT)), 0.3),
    "noisy average": Noisy(Average((2, 2)), 0.3),
    "noisy grey": Noisy(Grey(), 0.3),
    "noisy blur": Noisy(Blur(0.8), 0.3),
    "noisy own": Noisy(Rows(), 0.3),
    "stacked": Stacked((Grey(), Average((2, 2)))),
    "mixed": Stacked((Average((2, 2)), Noisy(Hidden(mask(FLAT)), 0.3))),
}


def part(y: Any, rows: slice) -> Any:
    return tuple(one[rows] for one in y) if isinstance(y, tuple) else y[rows]


def seen(observation: Observation, shape: tuple[int, ...]) -> Callable[[Any, slice], Energy]:
    """The posterior of an energy, each sample given a measurement of its own."""
    x = torch.rand(NUM, *shape, generator=seeded(8), dtype=torch.float64) * 2 - 1
    y = observation.sample(x, seeded(9))
    return lambda energy, rows: energy.posterior(observation.rows(rows, x.ndim), part(y, rows))


def told(context: Context) -> Callable[[Any, slice], Energy]:
    return lambda energy, rows: energy.told(context)


def level_sum() -> Energy:
    return 2 * encoder(classes=2) + 0.5 * FunctionEnergy(tilt) - 0.3 * encoder()


def transformer(noisy: bool = True, classes: int = 0, shape: tuple[int, ...] = FLAT) -> Energy:
    torch.manual_seed(0)
    return stirred(TransformerEnergy(shape, [2] * (len(shape) - 1), 8, 1, 2, noisy, classes, 0.7))


def given_noisy(energy: Any, rows: slice) -> Energy:
    return energy.told(torch.randn(NUM, *FLAT, generator=seeded(10), dtype=torch.float64)[rows])


LABELLED = {
    "encoder 2-D": Case(encoder, FLAT),
    "encoder 2-D labels": Case(lambda: encoder(classes=3), FLAT),
    "encoder 2-D clean": Case(lambda: encoder(noisy=False), FLAT),
    "encoder 2-D clean labels": Case(lambda: encoder(noisy=False, classes=3), FLAT),
    "encoder 3-D": Case(lambda: encoder(SOLID), SOLID),
    "encoder 3-D labels": Case(lambda: encoder(SOLID, classes=3), SOLID),
    "encoder 3-D clean": Case(lambda: encoder(SOLID, noisy=False), SOLID),
    "encoder 3-D clean labels": Case(lambda: encoder(SOLID, noisy=False, classes=3), SOLID),
    "joint": Case(lambda: joint(True), FLAT),
    "joint clean": Case(lambda: joint(False), FLAT),
    "joint own": Case(lambda: stirred(JointEnergy(OwnClassifier(math.prod(FLAT), 3), 3, FLAT)), FLAT),
    "transformer 2-D": Case(transformer, FLAT),
    "transformer 3-D labels": Case(lambda: transformer(True, 3, SOLID), SOLID),
    "transformer clean labels": Case(lambda: transformer(False, 3), FLAT),
    "residual": Case(lambda: stirred(ResidualEnergy(FLAT, 4)), FLAT),
    "rbm labels": Case(lambda: stirred(RBM(9, 4, num_classes=3)), (9,), binary=(-1.0, 1.0)),
    "residual labels": Case(lambda: stirred(ResidualEnergy(FLAT, 4, 3)), FLAT),
    "residual 3-D": Case(lambda: stirred(ResidualEnergy(SOLID, 4, 3)), SOLID),
}
CONDITIONAL = {
    "conditional data": Case(lambda: conditional(data_reference((1, 4, 4), binary=False), 1, (2, 2)), (1, 4, 4)),
    "conditional binary": Case(lambda: conditional(data_reference(SOLID, binary=True), 1, (2, 2, 2)), SOLID),
    "conditional clip": Case(lambda: conditional(ClipReference.of(clip_context()), 2, (1, 2, 2)), (2, 2, 4, 4)),
    "conditional local": Case(
        lambda: conditional(LocalReference(), 1, (2, 2, 2)),
        SOLID,
        told(LocalReference().context(Hidden(mask(SOLID)), torch.ones(1, *SOLID).sign())),
    ),
}
COMPOSED = {
    "sum": Case(lambda: 0.7 * encoder() + 0.4 * encoder(classes=2), FLAT),
    "sum with scores": Case(level_sum, FLAT),
    "sum clean": Case(lambda: 0.7 * encoder(noisy=False) + FunctionEnergy("mirror"), FLAT),
    "mixture": Case(lambda: AnyOf([encoder(), encoder(classes=2)], [0.5, -0.5]), FLAT),
    "mixture by level": Case(mixture_by_level, FLAT),
    "mixture clean": Case(lambda: AnyOf([encoder(noisy=False), FunctionEnergy(tilt)]), FLAT),
    "invariant": Case(lambda: invariant(encoder(classes=3)), FLAT),
    "invariant clean": Case(lambda: invariant(encoder(noisy=False, classes=3)), FLAT),
    "tiled": Case(lambda: tiled(encoder(classes=3), (4, 6), (2, 2)), (3, 4, 6)),
    "tiled clean": Case(lambda: tiled(encoder(noisy=False), (8, 4), (4, 2)), (3, 8, 4)),
}
PLAIN = {
    "convnet object": Case(lambda: stirred(GenerativeConvNet("object", [1, 8, 8], 0.5, 0.2)), (1, 8, 8)),
    "convnet st": Case(lambda: stirred(GenerativeConvNet("st", [1, 3, 6, 6])), (1, 3, 6, 6)),
    "frames": Case(lambda: stirred(FrameEnergy((2, 3, 4, 4), 2, 8, 1, 2)), (2, 3, 4, 4)),
    "frames feed-forward": Case(
        lambda: stirred(FrameEnergy((2, 3, 4, 4), 2, 8, 1, 2, feed_forward=True)), (2, 3, 4, 4)
    ),
    "symbols": Case(lambda: stirred(TokenEnergy((5, 4), 8, 1, 2)), (5, 4)),
    "score": Case(lambda: FunctionEnergy(tilt), FLAT),
    "gaussian": Case(lambda: Gaussian([1.0, -0.5], [[2.0, 0.5], [0.5, 1.0]]), (2,)),
    "mixture of gaussians": Case(lambda: Mixture([[0.0, 1.0], [1.0, -1.0]], [0.5, 0.8], [0.3, 0.7]), (2,)),
    "funnel": Case(lambda: Funnel(3, 1.5), (3,)),
    "student": Case(lambda: StudentT(2, 6), (2,)),
    "ising": Case(lambda: Ising(2, 3), (2, 3), binary=(-1.0, 1.0)),
    "rbm": Case(lambda: stirred(RBM((1, 3, 3), 4)), (1, 3, 3), binary=(-1.0, 1.0)),
    "dbm": Case(lambda: stirred(DBM((1, 3, 3), (4, 3))), (1, 3, 3), binary=(-1.0, 1.0)),
    "helmholtz": Case(lambda: stirred(Helmholtz((1, 3, 3), (4, 3), particles=5)), (1, 3, 3), binary=(-1.0, 1.0)),
    "rbm gaussian": Case(lambda: stirred(RBM(4, 3, "gaussian")), (4,)),
    "rbm units": Case(lambda: stirred(RBM(4, 3).joint()), (7,), binary=(0.0, 1.0)),
    "subspace": Case(lambda: ProbabilisticPCA.fit(torch.randn(5, *FLAT, generator=seeded(6)), 3, 0.5), FLAT),
    "bounded": Case(lambda: Bounded(Gaussian([1.0, -0.5], [[2.0, 0.5], [0.5, 1.0]]), -0.5, 0.7), (2,)),
}
GIVEN = {
    **{
        f"given {name}": Case(lambda: encoder(classes=3), FLAT, seen(observation, FLAT))
        for name, observation in OBSERVATIONS.items()
    },
    "given, clean": Case(lambda: encoder(noisy=False, classes=3), FLAT, seen(Grey(), FLAT)),
    "given, a sum": Case(level_sum, FLAT, seen(OBSERVATIONS["average"], FLAT)),
    "given, a mixture": Case(mixture_by_level, FLAT, seen(OBSERVATIONS["noisy blur"], FLAT)),
    "given, invariant": Case(lambda: invariant(encoder(classes=3)), FLAT, seen(Grey(), FLAT)),
    "given, a joint energy": Case(lambda: joint(True), FLAT, seen(OBSERVATIONS["mixed"], FLAT)),
    "told, noisy x": Case(lambda: stirred(DenoisingEnergy(FLAT, [2, 2], 8, 1, 2)), FLAT, given_noisy),
    "told, a box": replace(CONDITIONAL["conditional data"], ready=seen(Hidden(mask((1, 4, 4))), (1, 4, 4))),
    "told, averages": replace(CONDITIONAL["conditional binary"], ready=seen(Average((2, 2, 2)), SOLID)),
    "told, a mask each": replace(CONDITIONAL["conditional binary"], ready=seen(Hidden(mask(SOLID, each=True)), SOLID)),
}
CASES = {**LABELLED, **CONDITIONAL, **COMPOSED, **PLAIN, **GIVEN}


@cache
def whole(name: str) -> Energy:
    """The energy of a case, in float64, unbound; nobody changes it."""
    return CASES[name].make().double().eval()


def ready(name: str, rows: slice = slice(None), energy: Energy | None = None) -> Energy:
    return CASES[name].ready(whole(name) if energy is None else energy, rows)


def labels_of(energy: Energy) -> int:
    return energy.num_classes if isinstance(energy, Family) else 0


def at_levels(energy: Energy, level: float | Tensor = 0.8) -> Energy:
    return energy.at(level) if isinstance(energy, Family) and energy.noisy else energy


def bindings(energy: Energy) -> list[Energy]:
    """The energies of x that it gives: at levels, given labels, both."""
    found: list[Energy] = [energy]
    if isinstance(energy, Family) and energy.num_classes:
        found += [energy.given(label) for label in (0, energy.num_classes - 1)]
    return [at_levels(one, level) for one in found for level in (LEVELS if is_noisy(energy) else (1.0,))]
