"""Shapes: what is different about them, and the stages of their pipelines."""

from pipelines.modalities.voxels.hide import Hide
from pipelines.modalities.voxels.load import Load

Stage = Load | Hide
"""Every stage there is; in a pipeline's file it is called by its name in snake_case."""
