"""The stages of image pipelines: one piece of work a file, all listed here."""

from pipelines.stages.images.evaluate import EvaluateSynthesis
from pipelines.stages.images.export import ExportSynthesis
from pipelines.stages.images.learn import Learn
from pipelines.stages.images.load import Load
from pipelines.stages.images.synthesize import Synthesize

Stage = Load | Learn | Synthesize | EvaluateSynthesis | ExportSynthesis
"""Every stage there is; in a pipeline's file it is called by its name in snake_case."""
