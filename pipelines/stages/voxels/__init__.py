"""The stages of voxel pipelines: one piece of work a file, all listed here."""

from pipelines.stages.voxels.classify import Classify
from pipelines.stages.voxels.compose import Compose
from pipelines.stages.voxels.evaluate import EvaluateRecovery, EvaluateRefinement, EvaluateSynthesis
from pipelines.stages.voxels.evaluate_composition import EvaluateComposition
from pipelines.stages.voxels.export import Export
from pipelines.stages.voxels.features import Features
from pipelines.stages.voxels.hide import Hide
from pipelines.stages.voxels.interpolate import Interpolate
from pipelines.stages.voxels.learn import Learn
from pipelines.stages.voxels.learn_joint import LearnJoint
from pipelines.stages.voxels.load import Load
from pipelines.stages.voxels.recover import Recover
from pipelines.stages.voxels.select import Select
from pipelines.stages.voxels.super_resolve import Coarsen, SuperResolve
from pipelines.stages.voxels.synthesize import Synthesize

Stage = (
    Load
    | Learn
    | LearnJoint
    | Classify
    | Compose
    | Hide
    | Recover
    | EvaluateRecovery
    | Coarsen
    | SuperResolve
    | EvaluateRefinement
    | Synthesize
    | Select
    | EvaluateSynthesis
    | EvaluateComposition
    | Interpolate
    | Features
    | Export
)
"""Every stage there is; in a pipeline's file it is called by its name in snake_case."""
