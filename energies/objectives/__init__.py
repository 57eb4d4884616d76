"""How an energy learns: frozen dataclasses, each a loss of (energy, batch, rng) -> (loss, metrics).

`generator()` tells how an energy that was learned so makes samples.
"""

from energies.objectives.batch import Batch, Metrics, References
from energies.objectives.contrastive_divergence import ContrastiveDivergence
from energies.objectives.energy_matching import EnergyMatching
from energies.objectives.joint import Joint
from energies.objectives.likelihood import MaximumLikelihood
from energies.objectives.optimised_prediction import OptimisedPrediction
from energies.objectives.recovery_likelihood import RecoveryLikelihood
from energies.objectives.refining import Denoising
from energies.objectives.score_matching import ScoreMatching
from energies.objectives.wake_sleep import WakeSleep

__all__ = [
    "Batch",
    "ContrastiveDivergence",
    "Denoising",
    "EnergyMatching",
    "Joint",
    "MaximumLikelihood",
    "Metrics",
    "OptimisedPrediction",
    "RecoveryLikelihood",
    "References",
    "ScoreMatching",
    "WakeSleep",
]
