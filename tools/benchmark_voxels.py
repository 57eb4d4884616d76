"""Learn one energy of shapes, use it for every task, and print the table of the README.

python tools/benchmark_voxels.py --voxels ../shared/data/voxels/chair_32.npz --out runs/benchmark_voxels

Every run is the command line's own, in a process of its own; finished runs are not done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

TASKS = {
    "70 % hidden": ("voxel_recovery", ["hide.voxels=0.7"]),
    "half hidden": ("voxel_recovery", ["hide.half=true"]),
    "16^3 box hidden": ("voxel_recovery", ["hide.box=16"]),
    "8^3 -> 32^3": ("voxel_super_resolution", ["coarsen.size=8"]),
    "16^3 -> 32^3": ("voxel_super_resolution", ["coarsen.size=16"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=Path, default=Path("../shared/data/voxels/chair_32.npz"))
    parser.add_argument("--labelled", type=Path, default=Path("../shared/data/voxels/modelnet10_30_train.npz"))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark_voxels"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    synthesis = _run(arguments, "synthesis", "voxel_synthesis", [])
    energy = f"learn.pretrained={arguments.out / 'synthesis' / 'energy'}"
    print("| | best baseline | its IoU | ours | gain | voxel error, ours |\n|---|---|---|---|---|---|")
    for number, (task, (pipeline, settings)) in enumerate(TASKS.items()):
        found = _run(arguments, f"task_{number}", pipeline, [*settings, energy, "export.num=8"])
        best = found["best_baseline"]
        print(
            f"| {task} | {best.replace('_', ' ')} | {found['baselines'][best]['iou']:.3f} | "
            f"{found['recovery']['iou']:.3f} | {found['gain_iou']:+.3f} | {found['recovery']['voxel_error']:.4f} |",
            flush=True,
        )
    print("\n| synthesis | samples | real shapes |\n|---|---|---|")
    for name, value in synthesis["samples"].items():
        print(f"| {name.replace('_', ' ')} | {value:.3f} | {synthesis['real'][name]:.3f} |")
    if arguments.labelled.is_file():
        found = _run(arguments, "features", "voxel_features", [f"load.voxels={arguments.labelled}"])
        print(f"\n| features, {len(found['classes'])} classes | accuracy |\n|---|---|")
        for name, value in found["accuracy"].items():
            print(f"| {name.replace('_', ' ')} | {value:.3f} |")


def _run(arguments: argparse.Namespace, name: str, pipeline: str, settings: list[str]) -> dict:
    out = arguments.out / name
    source = [] if any(s.startswith("load.voxels=") for s in settings) else [f"load.voxels={arguments.voxels}"]
    command = [
        sys.executable,
        "-m",
        "pipelines.run",
        pipeline,
        *source,
        *settings,
        f"seed={arguments.seed}",
        f"out={out}",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "metrics.json").read_text())


if __name__ == "__main__":
    main()
