"""Run `video_recovery` on 32 frames of real clips, shrunk to 64x64, and print the table of docs/results.md.

python tools/benchmark_video.py --data ../shared/data/video --seeds 0 1 2 --out runs/benchmark

Every run is the command line's own, in a process of its own; finished runs are not done again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from command import metrics_of

CLIPS = {
    "flag2": "flag2.avi",
    "fountain": "fountain.avi",
    "fire_pot": "fire_pot.avi",
    "stream": "stream-of-water.mp4",
}
MASKS = {
    "half the pixels": "hide.pixels=0.5",
    "moving region": "hide.region=20x20 moving",
    "5 frames": "hide.frames=5",
    "fixed region": "hide.region=20x20",
    "gap of 5 frames": "hide.frames=13:18",
}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/video"), help="folder of the clips")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--masks", nargs="+", default=list(MASKS), choices=list(MASKS), help="which damage")
    parser.add_argument("--clips", nargs="+", default=list(CLIPS), choices=list(CLIPS), help="which clips")
    parser.add_argument("--start", type=int, default=0, help="first frame of every clip")
    parser.add_argument("--settings", nargs="*", default=[], help="of every run, as compute=float32")
    arguments = parser.parse_args(words)
    rows: list[str] = []
    seconds: list[float] = []
    for mask in arguments.masks:
        for clip in arguments.clips:
            results = [_run(arguments, clip, CLIPS[clip], mask, MASKS[mask], seed) for seed in arguments.seeds]
            rows.append(_row(mask, clip, results))
            seconds += [result["total_seconds"] for result in results]
            print(rows[-1], file=sys.stderr, flush=True)
    print("| hidden | clip | best baseline | its PSNR | initial estimate | recovery: PSNR / MAE / SSIM | gain, dB | "
          "energy over estimate, dB | in 90 % band |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    print(f"\nLearning and recovery: {min(seconds):.0f} to {max(seconds):.0f} s, median {median(seconds):.0f}.")


def _run(arguments: argparse.Namespace, clip: str, file: str, mask: str, setting: str, seed: int) -> dict:
    out = arguments.out / f"{clip}_{mask.replace(' ', '_')}_{arguments.start}_{seed}"
    path = arguments.data / file
    said = {word.partition("=")[0] for word in arguments.settings}
    part = [f"load.start={arguments.start}"]
    part += [word for word in ("load.size=64", "load.frames=32") if word.partition("=")[0] not in said]
    settings = [f"load.video={path}", *part, setting, f"seed={seed}", *arguments.settings]
    return metrics_of("video_recovery", settings, out)


def _row(mask: str, clip: str, results: list[dict]) -> str:
    def mean(*keys: str) -> float:
        total = 0.0
        for result in results:
            value = result
            for key in keys:
                value = value[key]
            total += float(value)  # type: ignore[arg-type]
        return total / len(results)

    names = sorted({result["best_baseline"].replace("_", " ") for result in results})
    best = sum(r["baselines"][r["best_baseline"]]["psnr"] for r in results) / len(results)
    recovery = f"{mean('recovery', 'psnr'):.2f} / {mean('recovery', 'mae'):.2f} / {mean('recovery', 'ssim'):.3f}"
    return (
        f"| {mask} | {clip} | {', '.join(names)} | {best:.2f} | {mean('initial_estimate', 'psnr'):.2f} | {recovery} | "
        f"{mean('gain_db'):+.2f} | {mean('initial_estimate_gain_db'):+.2f} | {mean('coverage_90'):.2f} |"
    )


if __name__ == "__main__":
    main()
