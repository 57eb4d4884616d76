"""Methods that need no learning, on the same measurements: the ones to beat. One file a modality."""

from pipelines.measures.baselines.clip import Baseline, estimate
from pipelines.measures.baselines.dynamics import LinearDynamics
from pipelines.measures.baselines.pictures import alone, baselines, name_of, non_local_means, score
from pipelines.measures.baselines.shapes import recoveries, refinements

__all__ = [
    "Baseline",
    "LinearDynamics",
    "alone",
    "baselines",
    "estimate",
    "name_of",
    "non_local_means",
    "recoveries",
    "refinements",
    "score",
]
