"""Learn energies of shapes, use each for every task, and print the tables of docs/results.md.

Two energies stand beside the best simple method: one that is told what is seen, whose mean is amortised, and one that
was learned to synthesise whole shapes and recovers by conditioning, with the seconds that their means take.

python tools/benchmark_voxels.py --voxels ../shared/data/voxels/chair_32.npz --out runs/benchmark_voxels

Every run is the command line's own, in a process of its own; finished runs are not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from command import metrics_of

ENCODER = [
    "learn.energy=encoder", "learn.objective.score_matching.level=1.0", "learn.batch=24",
    "learn.steps=1500", "learn.learning_rate=0.02", "learn.optimizer.method=muon", "learn.optimizer.average=0.995",
]  # fmt: skip
TASKS = {
    "70 % hidden": ("voxel_recovery", ["hide.voxels=0.7"]),
    "half hidden": ("voxel_recovery", ["hide.half=true"]),
    "16^3 box hidden": ("voxel_recovery", ["hide.box=16"]),
    "8^3 -> 32^3": ("voxel_super_resolution", ["hide.average=4"]),
    "16^3 -> 32^3": ("voxel_super_resolution", ["hide.average=2"]),
    "70 % hidden, noise 0.5": ("voxel_recovery", ["hide.voxels=0.7", "hide.noise=0.5"]),
}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=Path, default=Path("../shared/data/voxels/chair_32.npz"))
    parser.add_argument("--labelled", type=Path, default=Path("../shared/data/voxels/modelnet10_30_train.npz"))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark_voxels"))
    parser.add_argument("--encoder", type=Path, help="a run that learned whole shapes to synthesise; none: learn it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", nargs="*", default=[], help="of every run, as compute=float32")
    arguments = parser.parse_args(words)
    synthesis = _run(arguments, "synthesis", "voxel_synthesis", [])
    told = arguments.out / "synthesis"
    encoder = arguments.encoder or arguments.out / "encoder"
    if arguments.encoder is None:
        _run(arguments, "encoder", "voxel_interpolation", ENCODER)
    print(
        "| | best baseline | its IoU | amortised | seconds | conditioned | seconds | gain of the better | "
        "its voxel error |\n|---|---|---|---|---|---|---|---|---|"
    )
    for number, (task, (pipeline, settings)) in enumerate(TASKS.items()):
        rows = [
            _run(arguments, f"task_{number}_{name}", pipeline, [*settings, f"learn.pretrained={run}", "export.limit=8"])
            for name, run in (("amortised", told), ("conditioned", encoder))
        ]
        best = rows[0]["best_baseline"]
        cells = [task, best.replace("_", " "), f"{rows[0]['baselines'][best]['iou']:.3f}"]
        for found, way in zip(rows, ("amortised", "conditioned"), strict=True):
            other = "" if found["way"] == way else f" ({found['way']})"  # it was not told of noise
            cells += [f"{found['recovery']['iou']:.3f}{other}", f"{found['seconds'][found['way']]:.1f}"]
        better = max(rows, key=lambda found: found["gain_iou"])
        cells += [f"{better['gain_iou']:+.3f}", f"{better['recovery']['voxel_error']:.4f}"]
        print(f"| {' | '.join(cells)} |", flush=True)
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
    return metrics_of(pipeline, [*source, *settings, f"seed={arguments.seed}", *arguments.settings], out)


if __name__ == "__main__":
    main()
