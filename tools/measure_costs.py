"""Measure what every stage takes, into pipelines/costs.json, by which a run tells how long it will take.

    python -m tools.measure_costs [FOLDER]

runs every pipeline in FOLDER (runs/costs), on one thread, two at a time: as it is where it takes energies from the zoo,
with the learning of a few steps where it learns, and what the zoo holds learned anew in a few steps, too. Runs that
FOLDER has are not done again. It takes about half an hour on two idle cores.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from pipelines import cost
from pipelines.results import log_of
from pipelines.sizes import KINDS, joined

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
FIRST = 16  # steps that may be unlike the others
DONE = "done"  # a file in a run that is
RUNS = """
adversarial_robustness learn_joint.steps=8 attack.num=40
boltzmann_machine learn.steps=8 hide.num=16 synthesize.num=32 likelihood.num=100 recover.mean.chains=4
classification learn_joint.steps=8 classify.samples=20
clip_recovery learn.energy=encoder learn.pretrained=zoo:clips hide.num=16
clip_recovery store=off learn.steps=8 learn.energy=encoder
clip_recovery learn.steps=48 hide.num=16
clip_synthesis synthesize.num=32
compose synthesize.num=32
compose store=off compose.steps=8
compose_interpolation synthesize.num=8 interpolate.pairs=2
compose_recovery hide.num=16
deep_boltzmann_machine learn.steps=8 hide.num=16 synthesize.num=32 likelihood.num=100 recover.mean.chains=4
helmholtz_machine learn.steps=8 hide.num=16 synthesize.num=32 likelihood.num=100 recover.mean.chains=4
image_denoising learn.steps=8 predict.num=16
image_interpolation interpolate.pairs=2
image_reconstruction reconstruct.num=4
image_recovery hide.num=16
image_recovery store=off learn.steps=48
image_synthesis synthesize.num=32 evaluate.curve=32
image_synthesis synthesize.num=32 evaluate.curve=0
image_synthesis store=off learn.steps=8
image_synthesis store=off learn.steps=8 learn.energy=residual
image_synthesis store=off learn.steps=8 learn.objective=recovery_likelihood
likelihood likelihood.num=100
out_of_distribution learn_joint.steps=8 score.num=100
text_prediction learn.steps=8 predict.num=16
texture_panorama learn.steps=8
texture_synthesis learn.steps=8
video_adversarial_robustness learn_joint.steps=8 attack.num=10
video_classification learn_joint.steps=8 classify.samples=10
video_compose synthesize.num=8
video_compose store=off compose.steps=8
video_compose_recovery hide.num=16
video_interpolation interpolate.pairs=2
video_out_of_distribution learn_joint.steps=8 score.num=50
video_prediction learn.steps=8 predict.num=16
video_reconstruction reconstruct.num=4
video_recovery learn.steps=8
video_synthesis
video_synthesis store=off learn.steps=8
voxel_adversarial_robustness learn_joint.steps=8 attack.num=40
voxel_boltzmann_machine learn.steps=8 synthesize.num=16
voxel_classification learn_joint.steps=8
voxel_compose synthesize.num=8
voxel_compose store=off compose.steps=8 learn.steps=8
voxel_compose_recovery compose.steps=8 hide.num=8
voxel_features learn.steps=8
voxel_interpolation interpolate.pairs=2
voxel_out_of_distribution learn_joint.steps=8 score.num=20
voxel_reconstruction reconstruct.num=4
voxel_recovery hide.num=16
voxel_super_resolution hide.num=16
voxel_super_resolution_64 03_learn.steps=8 05_learn.steps=8 hide.num=16
voxel_synthesis synthesize.num=32
voxel_synthesis store=off 02_learn.steps=8 04_learn.steps=8
voxel_synthesis_descriptor learn.steps=3 synthesize.num=2
"""
"""Each a pipeline and settings: few steps of what learns, few of what is made; with store=off it learns what the zoo
holds, and ends there."""


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as workers:
        found = list(workers.map(lambda line: _measured(folder, line), RUNS.strip().splitlines()))
    trial = min(cost.trial("auto", torch.device("cpu")) for _ in range(10))
    stages = [stage for run in found for stage in run]
    lines = ",\n".join(json.dumps(stage) for stage in stages)
    cost.FILE.write_text(f'{{"trial": {trial:.6f}, "stages": [\n{lines}\n]}}\n')


def _measured(folder: Path, line: str) -> list[dict[str, Any]]:
    """What the stages of a run took, once it is done."""
    pipeline, *settings = line.split()
    run = folder / re.sub(r"\W+", "_", line) / "run"  # alone in its folder: nothing is taken from the others
    if not (run / DONE).exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        pieces = re.split(r"^(?=  - )", (CONFIGS / f"{pipeline}.yaml").read_text(), flags=re.MULTILINE)
        learners = [number for number, piece in enumerate(pieces, 1) if re.match("  - (learn|compose)", piece)]
        file = run.with_name(f"{pipeline}.yaml")
        file.write_text("".join(pieces[: learners[-1]] if "store=off" in settings else pieces))
        command = [sys.executable, "-m", "pipelines.run", str(file), *settings, f"out={run}"]
        one = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=one, capture_output=True, text=True, check=False, cwd=ROOT)
        print(f"{line}: {done.stderr.splitlines()[-1] if done.returncode else 'done'}", flush=True)
        if done.returncode:
            return []
        (run / DONE).touch()
    return list(_stages(run, pipeline))


def _stages(run: Path, pipeline: str) -> Iterator[dict[str, Any]]:
    """Of a run that is done."""
    records, sizes = log_of(run), dict[str, Any]()
    finished = [record for record in records if record.get("event") == "finished"]
    for record in finished:
        where, name = record["stage"], record["stage"].partition("_")[2]
        inside = [each for each in finished if each["stage"].startswith(f"{where}/")]
        stage = "learn" if "/" in where else name
        sizes = joined(sizes, record["sizes"])
        if stage not in cost.WORK:
            continue
        own = [each for each in records if each["stage"].startswith(where) and "step" in each and not inside]
        share = record["cpu"] / max(record["seconds"], 1e-3)
        most, each = _steps(own)
        rest = [path for path in run.iterdir() if stage == "export" and not re.match(rf"\d\d_|{DONE}", path.name)]
        parts = [run / part["stage"] for part in inside]
        disk = sum(map(_bytes, [run / where, *rest])) - sum(map(_bytes, parts))
        known = {*cost.WORK[stage].replace(":", " ").split(), "whole", *KINDS}
        yield {
            "pipeline": pipeline,
            "stage": stage,
            "anew": bool(own),
            "seconds": round(max(0.0, record["cpu"] - sum(part["cpu"] for part in inside) - share * most * each), 3),
            "step": round(share * each, 5),
            "memory": max(0, record["memory"] - cost.LIBRARIES),
            "disk": disk,
            "sizes": {key: value for key, value in sizes.items() if key in known},
        }


def _steps(records: list[dict[str, Any]]) -> tuple[int, float]:
    """How many steps there were, and seconds of each; of several energies, as many as of the first, and of each all.

    The first steps, in which what is told of examples is made ready, are left out where there are steps enough.
    """
    times: dict[str, list[float]] = {}
    for record in records:
        times.setdefault(record["stage"], []).append(record["time"])
    each = {}
    for where, own in times.items():
        rest = own[FIRST:] if len(own) > 2 * FIRST else own
        each[where] = len(own), (rest[-1] - rest[0]) / max(1, len(rest) - 1)
    most = max((num for num, _ in each.values()), default=0)
    return most, sum(num * seconds for num, seconds in each.values()) / max(1, most)


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/costs"))
