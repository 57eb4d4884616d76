"""What a conditional energy is told of x that is seen in part: of one clip, of a data set, or of what lies nearby."""

from energies.references.clip import ClipReference
from energies.references.context import Context, Reference
from energies.references.dataset import DataEstimator, DataReference
from energies.references.local import LocalReference
from energies.references.probabilistic_pca import ProbabilisticPCA

__all__ = [
    "ClipReference",
    "Context",
    "DataEstimator",
    "DataReference",
    "LocalReference",
    "ProbabilisticPCA",
    "Reference",
]
