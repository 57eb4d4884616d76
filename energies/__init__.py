"""Energies: the mathematics. Tensors in, tensors out; no files besides saved energies, no accelerate."""

from __future__ import annotations

from pathlib import Path

import torch

from energies.algebra import AnyOf, WeightedSum, any_of
from energies.analytic import Funnel, Gaussian, Ising, Mixture, StudentT
from energies.boltzmann import DBM, RBM, Helmholtz
from energies.bounded import Bounded
from energies.conditional import AmortisedPosterior, ConditionalEnergy
from energies.conditioned import Conditioned
from energies.energy import Energy, gradient
from energies.family import Family
from energies.function import FunctionEnergy
from energies.generators import Chain, Stepwise
from energies.hub import located
from energies.joint import EncoderLogits, JointEnergy, NoisyClassifier
from energies.networks.causal import FrameEnergy, TokenEnergy
from energies.networks.convnet import GenerativeConvNet
from energies.networks.denoising import DenoisingEnergy
from energies.networks.encoder import EncoderEnergy
from energies.networks.residual import ResidualEnergy
from energies.networks.transformer import TransformerEnergy
from energies.noisy import Noisy
from energies.observation import Average, Blur, Grey, Hidden, Observation
from energies.prediction import PredictiveEnergy
from energies.references import ClipReference, Context, DataReference, LocalReference
from energies.saving import Stored, load_module
from energies.schedule import Schedule
from energies.stacked import Stacked
from energies.symmetry import Flip, Invariant, Tiled, Turn, invariant, tiled

__all__ = [
    "DBM",
    "RBM",
    "AmortisedPosterior",
    "AnyOf",
    "Average",
    "Blur",
    "Bounded",
    "Chain",
    "ClipReference",
    "ConditionalEnergy",
    "Conditioned",
    "Context",
    "DataReference",
    "DenoisingEnergy",
    "EncoderEnergy",
    "EncoderLogits",
    "Energy",
    "Family",
    "Flip",
    "FrameEnergy",
    "FunctionEnergy",
    "Funnel",
    "Gaussian",
    "GenerativeConvNet",
    "Grey",
    "Helmholtz",
    "Hidden",
    "Invariant",
    "Ising",
    "JointEnergy",
    "LocalReference",
    "Mixture",
    "Noisy",
    "NoisyClassifier",
    "Observation",
    "PredictiveEnergy",
    "ResidualEnergy",
    "Schedule",
    "Stacked",
    "Stepwise",
    "Stored",
    "StudentT",
    "Tiled",
    "TokenEnergy",
    "TransformerEnergy",
    "Turn",
    "WeightedSum",
    "any_of",
    "gradient",
    "invariant",
    "load",
    "tiled",
]


def load(source: str | Path) -> Energy:
    """Read an energy that `save_pretrained` or `push_to_hub` wrote, whatever its class.

    A class of one's own is found where the program has imported its module already; nothing is imported that a file
    names.

    Args:
        source: a folder; zoo:NAME, of the energies that come with the package (`energies.zoo.names()`); or user/name or
            user/name@revision of the Hugging Face hub, unless there is a folder of that name.

    Raises:
        FileNotFoundError: there is none.
        ConnectionError: the hub is out of reach, and its cache has none.
        ValueError: it is damaged, of an earlier version, or of a class that is not imported; the line says which.
    """
    energy = load_module(located(source))
    if not isinstance(energy, Energy):
        raise ValueError(f"{source}: holds a {type(energy).__name__}, which is no energy")
    for name, tensor in energy.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
            found = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(f"{source}: holds {name} in {found}, expected float32")
    return energy
