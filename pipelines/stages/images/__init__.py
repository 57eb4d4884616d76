"""The stages of image pipelines: one piece of work a file, all listed here."""

from pipelines.stages.images.attack import Attack
from pipelines.stages.images.classify import Classify
from pipelines.stages.images.compose import Compose
from pipelines.stages.images.evaluate import EvaluateSynthesis
from pipelines.stages.images.evaluate_composition import EvaluateComposition
from pipelines.stages.images.evaluate_recovery import EvaluateRecovery
from pipelines.stages.images.export import ExportRecovery, ExportSynthesis
from pipelines.stages.images.export_composition import ExportComposition
from pipelines.stages.images.export_texture import ExportTexture
from pipelines.stages.images.hide import Hide
from pipelines.stages.images.interpolate import ExportInterpolation, Interpolate
from pipelines.stages.images.learn import Learn
from pipelines.stages.images.learn_joint import LearnJoint
from pipelines.stages.images.learn_recovery import LearnRecovery
from pipelines.stages.images.load import Load
from pipelines.stages.images.outliers import Score
from pipelines.stages.images.reconstruct import ExportReconstruction, Reconstruct
from pipelines.stages.images.recover import Recover
from pipelines.stages.images.synthesize import Synthesize
from pipelines.stages.images.texture import LearnTexture, LoadTexture, SynthesizeTexture

Stage = (
    Load | Learn | Synthesize | EvaluateSynthesis | ExportSynthesis
    | Hide | LearnRecovery | Recover | EvaluateRecovery | ExportRecovery
    | LoadTexture | LearnTexture | SynthesizeTexture | ExportTexture
    | Reconstruct | ExportReconstruction | Interpolate | ExportInterpolation
    | LearnJoint | Classify | Score | Attack
    | Compose | EvaluateComposition | ExportComposition
)  # fmt: skip
"""Every stage there is; in a pipeline's file it is called by its name in snake_case."""
