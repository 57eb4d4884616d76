"""How energies of pictures are learned, where nothing else is said."""

from energies import Schedule
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
from pipelines.learning.recipe import Recipe, Recipes
from pipelines.learning.settings import (
    Amortised,
    Boltzmann,
    ConvNet,
    Encoder,
    HelmholtzMachine,
    Residual,
    Transformer,
)
from pipelines.learning.training import Optimizer

ENCODER = Encoder((32, 64, 128, 192), (1, 2, 2, 2))
TRANSFORMER = Transformer(2, 96, 4, 4)
ADAM = Optimizer("adam", 30, 1.0, 0.995, 100)
GIBBS = Optimizer("adam", 100, 10.0, 0.998, 1000)
PERSISTENT = MaximumLikelihood(steps=30, step_size=0.3, noise=0.03, limit=0.1, restart=0.05, bound=1.0, negatives=64)

# What is far apart in a texture has to agree on a rhythm, which the flow alone leaves broken: Langevin steps mend it.
# And what is learned reaches no further than a crop, so that no level is needed that would drown one.
TEXTURE = Schedule(levels=24, high=5.0, steps=3)

RECIPES = Recipes(
    {
        "data": [
            Recipe(ENCODER, ScoreMatching(), 2000, 0.02, 64),
            Recipe(ENCODER, RecoveryLikelihood(), 2000, 0.001, 64, ADAM),
            Recipe(ENCODER, EnergyMatching(), 2000, 0.02, 64),
            Recipe(ENCODER, PERSISTENT, 2000, 0.001, 64, ADAM),
            Recipe(
                Amortised((48, 96, 128), (2, 1, 1), 300, 10_000, 0.2),
                Denoising(0.5, 0.8, 1.2), 900, 0.02, 32, Optimizer("muon", 30, 1.0, 0.99, 100),
                tasks=("pixels", "box", "average", "grey", "blur", "noise"), stride=(2, 2),
            ),
            Recipe(Residual(32), PERSISTENT, 2000, 0.001, 64, ADAM),
            Recipe(ConvNet("object", 0.5), MaximumLikelihood(), 2000, 0.001, 64, ADAM),
            Recipe(TRANSFORMER, OptimisedPrediction(), 2000, 0.001, 32, ADAM, chains=1024),
            Recipe(TRANSFORMER, ScoreMatching(), 2000, 0.001, 64, ADAM),
            Recipe(Boltzmann((256,), "binary"), ContrastiveDivergence(), 10_000, 0.002, 128, GIBBS, chains=128),
            Recipe(HelmholtzMachine((200, 200, 10), "binary"), WakeSleep(), 10000, 0.002, 128, GIBBS),
        ],
        "single": [
            Recipe(
                Encoder((32, 64, 96), (1, 2, 2)), ScoreMatching(0.45), 700, 0.02, 8,
                Optimizer("muon", 30, 1.0, 0.99, 100), TEXTURE, chains=8, reach=1.0, crop=(64,),
            ),
            Recipe(
                ConvNet("image", 0.5), MaximumLikelihood(step_size=0.07), 150, 0.0003, 8,
                Optimizer("adam", 15, 1.0, 0.95), chains=8, reach=1.0, crop=(64,),
            ),
        ],
    },
    noisy={"single": TEXTURE},
)  # fmt: skip
