"""Clips: the stages that video pipelines are made of."""

from pipelines.modalities.video.hide import Hide
from pipelines.modalities.video.load import Load

Stage = Load | Hide
"""Every stage there is; in a pipeline's file it is called by its name in snake_case."""
