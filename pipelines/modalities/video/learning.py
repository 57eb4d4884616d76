"""How energies of clips are learned, where nothing else is said."""

from dataclasses import replace

from energies import Chain, Schedule
from energies.objectives import (
    Denoising,
    EnergyMatching,
    MaximumLikelihood,
    OptimisedPrediction,
    RecoveryLikelihood,
    ScoreMatching,
)
from pipelines.learning.recipe import Recipe, Recipes
from pipelines.learning.settings import Amortised, ConvNet, Encoder, Residual, Transformer
from pipelines.learning.training import Optimizer

ENCODER = Encoder((32, 64, 128, 192), (1, 2, 2, 2))
TRANSFORMER = Transformer(8, 128, 4, 4)
ADAM = Optimizer("adam", 30, 1.0, 0.995, 100)
MUON = Optimizer("muon", 30, 1.0, 0.99, 100)
PERSISTENT = MaximumLikelihood(steps=30, step_size=0.3, noise=0.03, limit=0.1, restart=0.05, bound=1.0, negatives=64)
SCENE = Schedule(30, 80.0, 0.06, 4, 0.35, spacing="geometric", predictor="euler")
"""In units of how much each pixel varies about its mean. What moves as a whole, such as a flag, is settled while noise
of ten times that still hides every pixel. With one step a level grain stays."""
PIXELS = replace(SCENE, levels=24, high=8.0)
"""Of a scene whose network is given no more at high levels, as those were learned before."""
SEEN = replace(PIXELS, steps=1)
"""Of a scene of which part is seen: the rest tells more than further steps do."""
TEXTURE = Schedule(levels=24, high=5.0, steps=3)
"""Of what is learned from crops, which reach no further."""
DAMAGED = Schedule(6, 2.0, 0.1, 1, 0.5, spacing="geometric", predictor="euler")
"""In units of the expected error of the initial estimate."""

RECIPES = Recipes(
    {
        "data": [
            Recipe(ENCODER, ScoreMatching(), 1000, 0.02, 64),
            Recipe(ENCODER, RecoveryLikelihood(), 1000, 0.001, 64, ADAM),
            Recipe(ENCODER, EnergyMatching(), 1000, 0.02, 64),
            Recipe(ENCODER, PERSISTENT, 1000, 0.001, 64, ADAM),
            Recipe(
                Amortised((48, 96, 128), (2, 1, 1), 300, 10_000, 0.2), Denoising(0.5, 0.8, 1.2), 700, 0.02, 16, MUON,
                tasks=("pixels", "box", "frames", "average", "grey", "blur", "noise"),
            ),
            Recipe(Residual(32), PERSISTENT, 1000, 0.001, 64, ADAM),
            Recipe(ConvNet("st", 0.5), MaximumLikelihood(), 1000, 0.001, 16, ADAM),
            Recipe(TRANSFORMER, OptimisedPrediction(), 1000, 0.001, 8, ADAM, chains=256),
            Recipe(replace(TRANSFORMER, patch=4), ScoreMatching(), 1000, 0.001, 16, ADAM),
        ],
        "single": [
            Recipe(
                Amortised((32, 64, 96), (1, 2, 2)), Denoising(0.0, 1.0, 1.6), 420, 0.02, 2,
                Optimizer("muon", 15, 1.0, 0.99), SCENE, crop=(12, 64),
            ),
            Recipe(
                Encoder((32, 64, 96), (1, 2, 2)), ScoreMatching(0.45), 400, 0.02, 2, MUON, TEXTURE, chains=8,
                crop=(12, 64),
            ),
            Recipe(
                ConvNet("st", 0.5), MaximumLikelihood(step_size=0.07), 150, 0.0003, 2, Optimizer("adam", 15, 1.0, 0.95),
                chains=8, reach=1.0, crop=(12, 64),
            ),
        ],
        "damaged": [
            Recipe(Amortised((40, 64), (1, 2)), Denoising(), 100, 0.0015, 2, Optimizer(), DAMAGED, crop=(12, 32)),
            Recipe(ConvNet("st", 0.5), MaximumLikelihood(), 100, 0.0015, 1, Optimizer(), Chain(60, 0.01, 0.1)),
            Recipe(
                Encoder((32, 64, 96), (1, 2, 2)), ScoreMatching(0.45), 400, 0.02, 2, MUON, SEEN, chains=8,
                crop=(12, 32),
            ),
        ],
    },
    noisy={"single": PIXELS, "damaged": SEEN},
    scene=SCENE,
)  # fmt: skip
