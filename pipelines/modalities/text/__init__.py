"""Text as bytes: the stages that text pipelines are made of."""

from pipelines.modalities.text.export import Export
from pipelines.modalities.text.load import Load
from pipelines.stages.evaluate import Evaluate
from pipelines.stages.learn import Learn
from pipelines.stages.predict import Predict
from pipelines.stages.synthesize import Synthesize

Stage = Load | Learn | Predict | Synthesize | Evaluate | Export
"""Every stage there is; in a pipeline's file it is called by its name in snake_case."""
