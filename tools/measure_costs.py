"""Measure what every stage takes, into pipelines/costs.json, by which a run tells how long it will take.

    python -m tools.measure_costs [FOLDER]

runs every pipeline in FOLDER (runs/costs), on one thread, two at a time: as it is where it takes energies from the zoo,
with the learning of a few steps where it learns, and what the zoo holds learned anew in a few steps, too. Runs that
FOLDER has are not done again. It takes about half an hour on two cores.
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

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
STEPS = 8  # of what is learned
FEW = ["learn.steps=8"], ["learn_joint.steps=8"], ["compose.steps=8"], ["02_learn.steps=8", "04_learn.steps=8"]
LEARN, JOINT, EXPERTS, BOTH = FEW
RUNS: dict[str, list[str]] = {
    "adversarial_robustness": JOINT, "boltzmann_machine": LEARN, "classification": JOINT,
    "deep_boltzmann_machine": LEARN, "helmholtz_machine": LEARN, "image_denoising": LEARN, "out_of_distribution": JOINT,
    "text_prediction": LEARN, "texture_panorama": LEARN, "texture_synthesis": LEARN,
    "video_adversarial_robustness": JOINT, "video_classification": JOINT, "video_out_of_distribution": JOINT,
    "video_prediction": LEARN, "video_recovery": LEARN, "voxel_adversarial_robustness": JOINT,
    "voxel_boltzmann_machine": LEARN, "voxel_classification": JOINT, "voxel_compose_recovery": EXPERTS,
    "voxel_features": LEARN, "voxel_out_of_distribution": JOINT,
    "voxel_super_resolution_64": ["03_learn.steps=8", "05_learn.steps=8"], "voxel_synthesis_descriptor": LEARN,
}  # fmt: skip
"""Settings by pipeline, of those that learn; the others take what they need from the zoo."""
ANEW: dict[str, list[list[str]]] = {
    "image_synthesis": [LEARN, [*LEARN, "learn.energy=residual"], [*LEARN, "learn.objective=recovery_likelihood"]],
    "image_recovery": [LEARN], "clip_recovery": [LEARN, [*LEARN, "learn.energy=amortised"]], "video_synthesis": [LEARN],
    "voxel_synthesis": [BOTH], "compose": [EXPERTS], "video_compose": [EXPERTS],
    "voxel_compose": [[*EXPERTS, *LEARN]],
}  # fmt: skip
"""Settings of runs that learn what the zoo holds."""


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as workers:
        found = list(workers.map(lambda each: _measured(folder, *each), _runs(folder)))
    torch.set_num_threads(1)
    trial = min(cost.trial("auto", torch.device("cpu")) for _ in range(10))
    stages = [stage for run in found for stage in run]
    lines = ",\n".join(json.dumps(stage) for stage in stages)
    cost.FILE.write_text(f'{{"trial": {trial:.6f}, "stages": [\n{lines}\n]}}\n')


def _runs(folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Label of each run, name of its pipeline, and the arguments of the command."""
    for file in sorted(CONFIGS.glob("*.yaml")):
        name = file.stem
        yield name, name, [name, *RUNS.get(name, [])]
        pieces = re.split(r"^(?=  - )", file.read_text(), flags=re.MULTILINE)
        last = max((k for k, piece in enumerate(pieces) if re.match("  - (learn|compose)", piece)), default=0)
        for number, settings in enumerate(ANEW.get(name, [])):
            cut = folder / f"{name}_anew.yaml"  # up to what is learned last
            cut.write_text("".join(pieces[: last + 1]))
            yield f"{name}_anew_{number}", name, [str(cut), "store=off", *settings]


def _measured(folder: Path, label: str, pipeline: str, arguments: list[str]) -> list[dict[str, Any]]:
    """What the stages of a run took, once it is done."""
    run = folder / label / "run"  # alone in its folder: nothing is taken from the others
    if not (run / "done").exists():
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pipelines.run", *arguments, f"out={run}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
        print(f"{label}: {done.returncode} {done.stderr.splitlines()[-1] if done.returncode else ''}", flush=True)
        if done.returncode:
            return []
        (run / "done").touch()
    return list(_stages(run, pipeline))


def _stages(run: Path, pipeline: str) -> Iterator[dict[str, Any]]:
    """Of a run that is done."""
    records, sizes = log_of(run), dict[str, Any]()
    finished = [record for record in records if record.get("event") == "finished"]
    for record in finished:
        where, name = record["stage"], record["stage"].partition("_")[2]
        inside = [each for each in finished if each["stage"].startswith(f"{where}/")]
        stage = "learn" if "/" in where else name
        sizes |= record["sizes"]
        if stage not in cost.WORK:
            continue
        own = [each for each in records if each["stage"].startswith(where) and "step" in each and not inside]
        share = record["cpu"] / max(record["seconds"], 1e-3)
        most, each = _steps(own)
        rest = [path for path in run.iterdir() if not re.match(r"\d\d_|done", path.name)] if stage == "export" else []
        parts = [run / part["stage"] for part in inside]
        disk = sum(map(_bytes, [run / where, *rest])) - sum(map(_bytes, parts))
        yield {
            "pipeline": pipeline,
            "stage": stage,
            "anew": bool(own),
            "seconds": round(max(0.0, record["cpu"] - sum(part["cpu"] for part in inside) - share * most * each), 3),
            "step": round(share * each, 5),
            "memory": record["memory"],
            "disk": disk,
            "sizes": {key: value for key, value in sizes.items() if key in {*cost.WORK[stage], *cost.KINDS}},
        }


def _steps(records: list[dict[str, Any]]) -> tuple[int, float]:
    """How many steps there were, and seconds of each; of several energies, as many as of the first, and of each all."""
    times: dict[str, list[float]] = {}
    for record in records:
        times.setdefault(record["stage"], []).append(record["time"])
    each = {where: (len(own), (own[-1] - own[0]) / max(1, len(own) - 1)) for where, own in times.items()}
    most = max((num for num, _ in each.values()), default=0)
    return most, sum(num * seconds for num, seconds in each.values()) / max(1, most)


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/costs"))
