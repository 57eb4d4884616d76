"""Pictures: the stages that image pipelines are made of."""

from pipelines.modalities.images.hide import Hide
from pipelines.modalities.images.load import Load

Stage = Load | Hide
"""Every stage there is; in a pipeline's file it is called by its name in snake_case."""
