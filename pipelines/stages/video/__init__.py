"""The stages of video pipelines: one piece of work a file, all listed here."""

from pipelines.stages.video.clips import (
    EvaluateClips,
    ExportClips,
    ExportRecoveredClips,
    HideClips,
    LearnClips,
    RecoverClips,
)
from pipelines.stages.video.composition import Compose, EvaluateComposition, ExportComposition, SynthesizeClips
from pipelines.stages.video.evaluate import Evaluate
from pipelines.stages.video.export import ExportRecovery, ExportSynthesis
from pipelines.stages.video.hide import Hide
from pipelines.stages.video.learn import Learn
from pipelines.stages.video.learn_clip import LearnClip
from pipelines.stages.video.load import Load
from pipelines.stages.video.load_clips import LoadClips
from pipelines.stages.video.recover import Recover
from pipelines.stages.video.synthesize import Synthesize

Stage = (
    Load | Hide | Learn | Recover | Evaluate | ExportRecovery | LearnClip | Synthesize | ExportSynthesis
    | LoadClips | LearnClips | SynthesizeClips | ExportClips | HideClips | RecoverClips | EvaluateClips
    | ExportRecoveredClips | Compose | EvaluateComposition | ExportComposition
)  # fmt: skip
"""Every stage there is; in a pipeline's file it is called by its name in snake_case."""
