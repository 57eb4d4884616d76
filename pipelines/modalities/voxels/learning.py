"""How energies of shapes are learned, where nothing else is said."""

from energies import Schedule
from energies.objectives import (
    ContrastiveDivergence,
    Denoising,
    EnergyMatching,
    Joint,
    MaximumLikelihood,
    RecoveryLikelihood,
    ScoreMatching,
    WakeSleep,
)
from pipelines.learning.recipe import JointRecipe, Recipe, Recipes
from pipelines.learning.settings import Amortised, Boltzmann, ConvNet, Encoder, HelmholtzMachine, Residual
from pipelines.learning.training import Optimizer

ENCODER = Encoder((16, 96, 128, 192), (0, 1, 2, 1))
ADAM = Optimizer("adam", 30, 1.0, 0.99, 50)
MUON = Optimizer("muon", 30, 1.0, 0.99, 50)
GIBBS = Optimizer("adam", 100, 10.0, 0.998, 1000)
PERSISTENT = MaximumLikelihood(steps=30, step_size=0.3, noise=0.03, limit=0.1, restart=0.05, bound=1.0, negatives=16)
ANNEALED = Schedule(24, 20.0, 0.05)

RECIPES = Recipes(
    {
        "data": [
            Recipe(
                Amortised((32, 64, 128, 192), (2, 1, 1, 1), 600, 1200, 0.6), Denoising(0.92, 0.8, 1.2), 600, 0.0015, 8,
                ADAM, tasks=("voxels", "half", "box", "average"), crop=(32,), stride=(2, 2, 2), binary=True,
            ),
            Recipe(ENCODER, ScoreMatching(), 400, 0.02, 24, MUON, ANNEALED),
            Recipe(ENCODER, RecoveryLikelihood(), 400, 0.001, 24, ADAM),
            Recipe(ENCODER, EnergyMatching(), 400, 0.02, 24, MUON, chains=48),
            Recipe(ENCODER, PERSISTENT, 400, 0.001, 24, ADAM, chains=48),
            Recipe(Residual(16), PERSISTENT, 400, 0.001, 16, ADAM, chains=32),
            Recipe(
                ConvNet("voxel", 0.5), MaximumLikelihood(), 600, 0.0015, 8, ADAM, chains=16, reach=1.0
            ),
            Recipe(Boltzmann((256,), "binary"), ContrastiveDivergence(), 5000, 0.002, 64, GIBBS, chains=64),
            Recipe(HelmholtzMachine((200, 200, 10), "binary"), WakeSleep(), 5000, 0.002, 64, GIBBS),
        ],
    },
    JointRecipe(
        (16, 64, 128, 192), (0, 1, 2, 1), Joint(ScoreMatching(1.0), level=0.5, spread=0.5), 600, batch=24, places=2.0
    ),
    noisy={"data": ANNEALED},
    clean=MaximumLikelihood().generator(),
)  # fmt: skip
