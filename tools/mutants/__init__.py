"""The mutants, a table a package."""

from mutants import data, energies, pipelines
from mutants.mutant import Mutant

MUTANTS = (*energies.MUTANTS, *pipelines.MUTANTS, *data.MUTANTS)

__all__ = ["MUTANTS", "Mutant"]
