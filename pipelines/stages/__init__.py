"""The stages that pipelines are made of: one piece of work a file, all listed here."""

from pipelines.stages.evaluate import Evaluate
from pipelines.stages.export import ExportRecovery, ExportSynthesis
from pipelines.stages.hide import Hide
from pipelines.stages.learn import Learn
from pipelines.stages.learn_clip import LearnClip
from pipelines.stages.load import Load
from pipelines.stages.recover import Recover
from pipelines.stages.synthesize import Synthesize

Stage = Load | Hide | Learn | Recover | Evaluate | ExportRecovery | LearnClip | Synthesize | ExportSynthesis
"""Every stage there is; in a pipeline's file it is called by its name in snake_case."""
