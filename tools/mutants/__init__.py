"""The mutants, a table a package."""

from mutants import boltzmann, data, energies, pipelines
from mutants.mutant import Mutant

MUTANTS = (*energies.MUTANTS, *boltzmann.MUTANTS, *pipelines.MUTANTS, *data.MUTANTS)

__all__ = ["MUTANTS", "Mutant"]
