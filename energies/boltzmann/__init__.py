"""Boltzmann machines: energies of x with hidden units, sampled in blocks (Hinton 2002; Salakhutdinov & Hinton 2009)."""

from energies.boltzmann.chain import GibbsChain
from energies.boltzmann.dbm import DBM, copies_of
from energies.boltzmann.helmholtz import Helmholtz
from energies.boltzmann.joint import Joint
from energies.boltzmann.latent import Latent
from energies.boltzmann.layers import Clamp, Layers, Units
from energies.boltzmann.machine import Machine
from energies.boltzmann.rbm import RBM

__all__ = [
    "DBM",
    "RBM",
    "Clamp",
    "GibbsChain",
    "Helmholtz",
    "Joint",
    "Latent",
    "Layers",
    "Machine",
    "Units",
    "copies_of",
]
