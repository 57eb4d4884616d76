"""How energies of signals are learned, where nothing else is said."""

from energies.objectives import ScoreMatching
from pipelines.learning.recipe import JointRecipe, Recipe, Recipes
from pipelines.learning.settings import Encoder

RECIPES = Recipes(
    {"data": [Recipe(Encoder((32, 48, 64), (1, 1, 1)), ScoreMatching(), 800, 0.02, 64)]},
    joint=JointRecipe((32, 48), (1, 1), steps=800),
)
