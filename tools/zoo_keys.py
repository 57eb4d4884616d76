"""What a stage of a pipeline asks for by its defaults, as the store digests it: by that an entry of the zoo is found.

keys("voxel_synthesis/02_learn")
"""

from __future__ import annotations

import importlib
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from pipelines import config, run, run_folder, store, trees
from pipelines.pipeline import Pipeline
from pipelines.source import Source
from pipelines.stage import Run, Stage, reads
from pipelines.stages.compose import Compose
from pipelines.store import Given


def key(place: str) -> str:
    """The digest of PIPELINE/NN_stage, or of PIPELINE/NN_compose/EXPERT, which reads nothing but the data."""
    pipeline, stage, *expert = place.split("/")
    stages, values, loaded = _loaded(pipeline)
    wanted, given = stages[int(stage.partition("_")[0]) - 1], dict.fromkeys(stages[0].gives, loaded)
    if expert:
        assert isinstance(wanted, Compose)
        wanted, given = wanted.learner(), {"data": loaded.derived(expert[0])}
    names = reads(wanted, values)
    if not set(names) <= given.keys():
        raise SystemExit(f"{place} reads {', '.join(set(names) - given.keys())}: it learns of more than the data")
    return store.wanted(wanted, names, given, {"inputs": {}}, Run(Path(), Path())).asked


@cache
def _loaded(pipeline: str) -> tuple[tuple[Stage, ...], dict[str, Any], Given]:
    """The stages of a pipeline, what the first one gives, and where that comes from."""
    stages = _stages(pipeline)
    with tempfile.TemporaryDirectory() as folder:
        values = Pipeline(stages[:1]).run(Path(folder) / "run")
        begun = run_folder.begun(next(Path(folder).glob("run/01_*")))
    assert begun is not None
    return stages, values, Given(begun["asked"], traced=True)


def _stages(pipeline: str) -> tuple[Stage, ...]:
    """Those of the pipeline's file."""
    file, source = run.ROOT / "configs" / f"{pipeline}.yaml", Source(run.ROOT, run.ROOT)
    stated, entries, modality = trees.split(trees.parse(file.read_bytes(), pipeline), pipeline)
    known = run._known(source, f"pipelines.modalities.{modality}", [], [name for name, _ in entries])
    chain = config.stages_of(entries, known, pipeline)
    for cls, _ in chain.values():
        importlib.import_module(cls.module.name)
    return config.plan(pipeline, stated, chain, run._run_settings(source), [], modality).make().stages
