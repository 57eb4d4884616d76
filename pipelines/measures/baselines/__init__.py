"""Methods that need no learning, on the same measurements: the ones to beat. One file a modality."""

from pipelines.measures.baselines.clip import Baseline, estimate
from pipelines.measures.baselines.pictures import alone, baselines, name_of, score
from pipelines.measures.baselines.shapes import recoveries, refinements

__all__ = ["Baseline", "alone", "baselines", "estimate", "name_of", "recoveries", "refinements", "score"]
