"""Pictures: the stages that image pipelines are made of."""

from pipelines.modalities.images.export import Export
from pipelines.modalities.images.hide import Hide
from pipelines.modalities.images.load import Load
from pipelines.stages.compose import Compose
from pipelines.stages.evaluate import Evaluate
from pipelines.stages.learn import Learn
from pipelines.stages.recover import Recover
from pipelines.stages.synthesize import Synthesize

Stage = Load | Hide | Learn | Synthesize | Recover | Compose | Evaluate | Export
"""Every stage there is; in a pipeline's file it is called by its name in snake_case."""
