"""Pictures: the stages that image pipelines are made of."""

from pipelines.modalities.images.export import Export
from pipelines.modalities.images.hide import Hide
from pipelines.modalities.images.load import Load
from pipelines.stages.attack import Attack
from pipelines.stages.classify import Classify
from pipelines.stages.compose import Compose
from pipelines.stages.evaluate import Evaluate
from pipelines.stages.features import Features
from pipelines.stages.interpolate import Interpolate
from pipelines.stages.learn import Learn
from pipelines.stages.learn_joint import LearnJoint
from pipelines.stages.likelihood import Likelihood
from pipelines.stages.predict import Predict
from pipelines.stages.reconstruct import Reconstruct
from pipelines.stages.recover import Recover
from pipelines.stages.score import Score
from pipelines.stages.synthesize import Synthesize

Stage = (
    Load | Hide | Learn | Synthesize | Recover | Interpolate | Reconstruct | Compose | Evaluate | Attack
    | Classify | Features | Likelihood | LearnJoint | Score | Predict | Export
)  # fmt: skip
"""Every stage there is; in a pipeline's file it is called by its name in snake_case."""
