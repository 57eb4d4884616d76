"""Signals: a modality that no part of the program knows, as docs/extending.md says how to add one.

imports: [toy_signals]
stages: [load, hide, learn, recover, evaluate, export]
"""

from pipelines.stages.classify import Classify
from pipelines.stages.compose import Compose
from pipelines.stages.evaluate import Evaluate
from pipelines.stages.interpolate import Interpolate
from pipelines.stages.learn import Learn
from pipelines.stages.learn_joint import LearnJoint
from pipelines.stages.reconstruct import Reconstruct
from pipelines.stages.recover import Recover
from pipelines.stages.score import Score
from pipelines.stages.synthesize import Synthesize
from toy_signals.export import Export
from toy_signals.hide import Hide
from toy_signals.load import Load

Stage = (
    Load | Hide | Learn | Synthesize | Recover | Interpolate | Reconstruct | Compose | Evaluate | Classify | LearnJoint
    | Score | Export
)  # fmt: skip
