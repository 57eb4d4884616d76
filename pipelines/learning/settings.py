"""The settings of `learn`: which energy, by which objective, and how its weights are found."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from energies.objectives import (
    ContrastiveDivergence,
    Denoising,
    EnergyMatching,
    MaximumLikelihood,
    OptimisedPrediction,
    RecoveryLikelihood,
    ScoreMatching,
    WakeSleep,
)
from pipelines.learning.training import Optimizer
from pipelines.settings import check_network
from pipelines.trees import snake

Objective = (
    ScoreMatching | MaximumLikelihood | RecoveryLikelihood | EnergyMatching | Denoising | ContrastiveDivergence
    | WakeSleep | OptimisedPrediction
)  # fmt: skip


@dataclass(frozen=True)
class Encoder:
    """A scalar ConvNet that reads every level, at all noise levels or of clean x (energies/networks/encoder.py): it
    serves every task, by conditioning."""

    widths: tuple[int, ...] | None = None
    """Channels of the levels, from half the resolution on; of small x only the first ones. null: as suits the data."""

    depths: tuple[int, ...] | None = None
    """Residual blocks there. null: as suits the data."""

    def __post_init__(self) -> None:
        _check_both(self.widths, self.depths, 0)


@dataclass(frozen=True)
class Amortised:
    """A conditional energy, a network around a reference that is told what is seen (energies/conditional.py): its
    posterior mean is amortised, one pass of the network."""

    widths: tuple[int, ...] | None = None
    """Channels of the network at a half, a quarter ... of the resolution. null: as suits the data."""

    depths: tuple[int, ...] | None = None
    """Residual blocks there. null: as suits the data."""

    rank: int | None = None
    """Principal components of the reference of a data set, at most; 0: none, only details are refined, of x too large
    for a reference. null: as suits the data."""

    remembered: int | None = None
    """Examples that the reference remembers, at most. null: as suits the data."""

    noise: float | None = None
    """Standard deviation of an element beyond the components, in units of x (half the range of values). null: as suits
    the data."""

    def __post_init__(self) -> None:
        _check_both(self.widths, self.depths, 1)
        if self.rank is not None and self.rank < 0:
            raise ValueError(f"rank must not be negative, got {self.rank}")
        if self.remembered is not None and self.remembered < 2:
            raise ValueError(f"remembered must be 2 or more, got {self.remembered}")
        if self.noise is not None and not self.noise > 0:
            raise ValueError(f"noise must be positive, got {self.noise}")


@dataclass(frozen=True)
class Residual:
    """The residual network of Du & Mordatch 2019, with spectral norms (energies/networks/residual.py)."""

    width: int | None = None
    """Channels of the first level; each further one has twice as many. null: as suits the data."""

    def __post_init__(self) -> None:
        if self.width is not None and self.width < 1:
            raise ValueError(f"width must be 1 or more, got {self.width}")


@dataclass(frozen=True)
class ConvNet:
    """A published generative ConvNet (Xie et al. 2016, 2017, 2018; energies/networks/convnet.py)."""

    preset: Literal["object", "image", "st", "fc_s", "voxel"] | None = None
    """Its layers: object or image (textures) for pictures; st, filters everywhere in space and time, or fc_s,
    whole-frame filters, for clips; voxel for shapes. null: as suits the data."""

    sigma: float | None = None
    """Standard deviation of the Gaussian reference, in units of x (half the range of values). null: 0.5."""

    def __post_init__(self) -> None:
        if self.sigma is not None and not self.sigma > 0:
            raise ValueError(f"sigma must be positive, got {self.sigma}")


def _check_hidden(hidden: tuple[int, ...] | None) -> None:
    """ValueError unless every hidden layer has a unit."""
    if hidden is not None and (not hidden or min(hidden) < 1):
        raise ValueError(f"hidden must be 1 or more units a layer, got {list(hidden)}")


@dataclass(frozen=True)
class Boltzmann:
    """A Boltzmann machine (energies/boltzmann): hidden units in layers above x, which is rounded to two values, or
    standardised where its units are Gaussian. With one layer its chances of x are exact but for one constant."""

    hidden: tuple[int, ...] | None = None
    """Units of the hidden layers; one is a restricted Boltzmann machine. null: as suits the data."""

    visible: Literal["binary", "gaussian"] | None = None
    """Units that x consists of. null: binary."""

    pretraining: int | None = None
    """Steps in which each layer of several is first learned alone; 0: none. null: a fifth of learn.steps."""

    def __post_init__(self) -> None:
        _check_hidden(self.hidden)
        if self.pretraining is not None and self.pretraining < 0:
            raise ValueError(f"pretraining must not be negative, got {self.pretraining}")


@dataclass(frozen=True)
class Transformer:
    """A transformer over patches. By optimised_prediction: the energy of the next frame or byte given those before
    (energies/networks/causal.py), or of a picture given a noisy one (energies/networks/denoising.py); by
    score_matching: of x at every noise level (energies/networks/transformer.py)."""

    patch: int | None = None
    """Elements a side of a patch; of bytes it is 1. null: as suits the data."""

    width: int | None = None
    """Elements of a token, a multiple of heads. null: as suits the data."""

    depth: int | None = None
    """Blocks. null: as suits the data."""

    heads: int | None = None
    """Heads of attention. null: as suits the data."""

    feed_forward: bool = False
    """Predict in one pass as an ordinary transformer does, its energy a plain bowl around that: the baseline of
    optimised_prediction, with steps=1 and start=0."""

    def __post_init__(self) -> None:
        for name in ("patch", "width", "depth", "heads"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")


@dataclass(frozen=True)
class HelmholtzMachine:
    """A Helmholtz machine (energies/boltzmann/helmholtz.py): layers of units that make x, and others that recognise
    what made it. Its samples are exact, and its chances of x need no constant."""

    hidden: tuple[int, ...] | None = None
    """Units of the hidden layers, from x on. null: as suits the data."""

    visible: Literal["binary", "gaussian"] | None = None
    """Units that x consists of. null: binary."""

    def __post_init__(self) -> None:
        _check_hidden(self.hidden)


Network = Encoder | Amortised | Residual | ConvNet | Boltzmann | HelmholtzMachine | Transformer

SUITS: dict[type, tuple[type, ...]] = {
    Encoder: (ScoreMatching, RecoveryLikelihood, EnergyMatching, MaximumLikelihood),
    Amortised: (Denoising,),
    Residual: (MaximumLikelihood,),
    ConvNet: (MaximumLikelihood,),
    Boltzmann: (ContrastiveDivergence,),
    HelmholtzMachine: (WakeSleep,),
    Transformer: (OptimisedPrediction, ScoreMatching),
}
"""Objectives that an energy may be learned by."""


def typed(kind: type) -> str:
    """The name of an energy or an objective, as a person types it."""
    return snake(kind.__name__)


@dataclass(frozen=True)
class Weights:
    """How the weights are found: what is null is as suits the energy."""

    method: Literal["adam", "muon"] | None = None
    """adam, or muon (pipelines/learning/muon.py), which wants a rate ten times that of Adam, and half the steps."""

    warmup: int | None = None
    """Steps in which the learning rate rises from 0."""

    clip: float | None = None
    """Largest norm of the gradient."""

    average: float | None = None
    """Decay of the exponential moving average of the weights, which is the result."""

    checkpoint_every: int | None = None
    """Steps between checkpoints."""

    rollbacks: int | None = None
    """How often learning that diverged may go back to its last healthy checkpoint, to go on with smaller steps."""

    def __post_init__(self) -> None:
        self.over(Optimizer())  # which checks what is given

    def over(self, suited: Optimizer) -> Optimizer:
        """The optimizer that suits the energy, but for what is given here."""
        return replace(suited, **given(self))


RATES = {"adam": 1.0, "muon": 10.0}
"""How large the learning rates of the methods are beside each other."""


def given(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not null."""
    return {field.name: value for field in fields(settings) if (value := getattr(settings, field.name)) is not None}


def check_objective(energy: Network, objective: Objective) -> None:
    """ValueError unless the energy may be learned by the objective."""
    allowed = SUITS[type(energy)]
    if not isinstance(objective, allowed):
        names = " or ".join(typed(kind) for kind in allowed)
        raise ValueError(
            f"objective must be {names} for the energy {typed(type(energy))}, got {typed(type(objective))}"
        )


def _check_both(widths: tuple[int, ...] | None, depths: tuple[int, ...] | None, least: int) -> None:
    if widths is not None and depths is not None:
        check_network(widths, depths, least)
    elif widths == () or depths == ():
        raise ValueError("widths and depths must not be empty")
