"""Energies: the mathematics. Tensors in, tensors out; no files besides saved energies, no accelerate."""

from __future__ import annotations

import json
from pathlib import Path

from energies.analytic import Funnel, Gaussian, Ising, Mixture, StudentT
from energies.boltzmann import RBM
from energies.bounded import Bounded
from energies.convnet import GenerativeConvNet
from energies.encoder import EncoderEnergy
from energies.energy import Energy, WeightedSum, gradient
from energies.joint import EncoderLogits, JointEnergy
from energies.observation import Average, Conditioned, Grey, Hidden
from energies.reference import ReferenceEnergy
from energies.refiner import Context, Refiner
from energies.residual import ResidualEnergy

__all__ = [
    "RBM",
    "Average",
    "Bounded",
    "Conditioned",
    "Context",
    "EncoderEnergy",
    "EncoderLogits",
    "Energy",
    "Gaussian",
    "GenerativeConvNet",
    "Grey",
    "Hidden",
    "JointEnergy",
    "ReferenceEnergy",
    "Refiner",
    "ResidualEnergy",
    "WeightedSum",
    "gradient",
    "load",
]


def load(folder: str | Path) -> Energy:
    """Read an energy that `save_pretrained` wrote, whatever its class. FileNotFoundError: there is none."""
    folder = Path(folder)
    content = json.loads((folder / "energy.json").read_text())
    if content["energy"] == "WeightedSum":
        return WeightedSum.from_parts(folder, content["weights"])
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
    )
    classes = {kind.__name__: kind for kind in kinds}
    return classes[content["energy"]].from_pretrained(folder)
