"""How energies of text are learned, where nothing else is said."""

from energies.objectives import OptimisedPrediction, ScoreMatching
from pipelines.learning.recipe import Recipe, Recipes
from pipelines.learning.settings import Encoder, Transformer
from pipelines.learning.training import Optimizer

ADAM = Optimizer("adam", 50, 1.0, 0.99, 100)

RECIPES = Recipes(
    {
        "data": [
            Recipe(Encoder((64, 96, 128), (1, 1, 1)), ScoreMatching(), 1000, 0.02, 32),
            Recipe(Transformer(1, 128, 4, 4), OptimisedPrediction(), 1000, 0.002, 16, ADAM, chains=512),
        ]
    }
)
