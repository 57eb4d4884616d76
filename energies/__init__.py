"""Energies: the mathematics. Tensors in, tensors out; no files besides saved energies, no accelerate."""

from __future__ import annotations

import json
from pathlib import Path

from energies.analytic import Funnel, Gaussian, Ising, Mixture, StudentT
from energies.boltzmann import RBM
from energies.bounded import Bounded
from energies.composition import AnyOf, WeightedSum, any_of
from energies.convnet import GenerativeConvNet
from energies.encoder import EncoderEnergy
from energies.energy import Energy, gradient
from energies.function import FunctionEnergy
from energies.joint import EncoderLogits, JointEnergy
from energies.labelled import Labelled
from energies.observation import Average, Conditioned, Grey, Hidden
from energies.reference import ReferenceEnergy
from energies.refiner import Context, Refiner
from energies.residual import ResidualEnergy
from energies.symmetry import Invariant, Tiled, invariant, tiled

__all__ = [
    "RBM",
    "AnyOf",
    "Average",
    "Bounded",
    "Conditioned",
    "Context",
    "EncoderEnergy",
    "EncoderLogits",
    "Energy",
    "FunctionEnergy",
    "Gaussian",
    "GenerativeConvNet",
    "Grey",
    "Hidden",
    "Invariant",
    "JointEnergy",
    "Labelled",
    "ReferenceEnergy",
    "Refiner",
    "ResidualEnergy",
    "Tiled",
    "WeightedSum",
    "any_of",
    "gradient",
    "invariant",
    "load",
    "tiled",
]


def load(folder: str | Path) -> Energy:
    """Read an energy that `save_pretrained` wrote, whatever its class. FileNotFoundError: there is none."""
    folder = Path(folder)
    if not (folder / "energy.json").is_file():
        raise FileNotFoundError(f"{folder} holds no energy; that of a run is in RUN/energy, or in RUN/composed")
    content = json.loads((folder / "energy.json").read_text())
    kinds = (
        Gaussian,
        Mixture,
        Funnel,
        StudentT,
        Ising,
        RBM,
        GenerativeConvNet,
        EncoderEnergy,
        JointEnergy,
        ResidualEnergy,
        Refiner,
        ReferenceEnergy,
        WeightedSum,
        AnyOf,
        Invariant,
        Tiled,
        FunctionEnergy,
    )
    classes = {kind.__name__: kind for kind in kinds}
    return classes[content["energy"]].from_pretrained(folder)
