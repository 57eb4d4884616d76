"""Shapes: what is different about them, and the stages of their pipelines."""

from pipelines.modalities.voxels.export import Export
from pipelines.modalities.voxels.hide import Hide
from pipelines.modalities.voxels.load import Load
from pipelines.stages.attack import Attack
from pipelines.stages.classify import Classify
from pipelines.stages.compose import Compose
from pipelines.stages.evaluate import Evaluate
from pipelines.stages.features import Features
from pipelines.stages.interpolate import Interpolate
from pipelines.stages.learn import Learn
from pipelines.stages.learn_joint import LearnJoint
from pipelines.stages.likelihood import Likelihood
from pipelines.stages.reconstruct import Reconstruct
from pipelines.stages.recover import Recover
from pipelines.stages.refine import Refine
from pipelines.stages.score import Score
from pipelines.stages.select import Select
from pipelines.stages.synthesize import Synthesize

Stage = (
    Load | Hide | Learn | Synthesize | Recover | Interpolate | Reconstruct | Refine | Select | Compose
    | Evaluate | Attack | Classify | Features | Likelihood | LearnJoint | Score | Export
)  # fmt: skip
"""Every stage there is; in a pipeline's file it is called by its name in snake_case."""
