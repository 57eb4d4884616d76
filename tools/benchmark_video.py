"""Run `video_recovery` on 32 frames of real clips, shrunk to 64x64, and print the table of docs/results.md.

python tools/benchmark_video.py --data ../shared/data/video --seeds 0 1 2 --out runs/benchmark
python tools/benchmark_video.py --side 256 --frames 48 --clips bmx_trees     # regions grow with the side

Every run is the command line's own, in a process of its own; finished runs are not done again. Below the table: in how
many cells recovery is above the best of all baselines, and above flow; and how the gain that held-out pixels promised
goes with the true one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from command import metrics_of
from scipy.stats import spearmanr

CLIPS = {
    "bmx_trees": "bmx_trees.mp4",
    "boats": "boats_input.mp4",
    "carphone": "carphone_pristine.mp4",
    "fire_pot": "fire_pot.avi",
    "flag2": "flag2.avi",
    "fountain": "fountain.avi",
    "running_car": "running_car.mp4",
    "skatepark": "skatepark.mp4",
    "stream": "stream-of-water.mp4",
}
SIDE = 64
MASKS: dict[str, Callable[[int], str]] = {
    "half the pixels": lambda side: "hide.pixels=0.5",
    "moving region": lambda side: f"hide.region={20 * side // SIDE}x{20 * side // SIDE} moving",
    "5 frames": lambda side: "hide.frames=5",
    "gap of 5 frames": lambda side: "hide.frames=13:18",
    "scratch": lambda side: f"hide.region={side}x{3 * side // SIDE}",
    "logo": lambda side: f"hide.region={10 * side // SIDE}x{20 * side // SIDE}",
    "fixed region": lambda side: f"hide.region={20 * side // SIDE}x{20 * side // SIDE}",
}
"""The setting that hides, of frames of so many pixels a side."""


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/video"), help="folder of the clips")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--masks", nargs="+", default=list(MASKS), choices=list(MASKS), help="which damage")
    parser.add_argument("--clips", nargs="+", default=list(CLIPS), choices=list(CLIPS), help="which clips")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels of every frame")
    parser.add_argument("--frames", type=int, default=32, help="of every clip")
    parser.add_argument("--start", type=int, default=0, help="first frame of every clip")
    parser.add_argument("--settings", nargs="*", default=[], help="of every run, as compute=float32")
    arguments = parser.parse_args(words)
    rows: list[str] = []
    runs: list[dict] = []
    for mask in arguments.masks:
        for clip in arguments.clips:
            results = [_run(arguments, clip, mask, seed) for seed in arguments.seeds]
            rows.append(_row(mask, clip, results))
            runs += results
            print(rows[-1], file=sys.stderr, flush=True)
    print("| hidden | clip | best baseline | its PSNR | initial estimate | recovery: PSNR / MAE / SSIM | gain, dB | "
          "energy over estimate, dB | in 90 % band |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    print("\n".join(_summary(runs)))


def _run(arguments: argparse.Namespace, clip: str, mask: str, seed: int) -> dict:
    side, frames = arguments.side, arguments.frames
    size = "" if side == SIDE else f"{side}_{frames}_"
    out = arguments.out / f"{clip}_{mask.replace(' ', '_')}_{size}{arguments.start}_{seed}"
    said = {word.partition("=")[0] for word in arguments.settings}
    part = [f"load.start={arguments.start}"]
    part += [word for word in (f"load.size={side}", f"load.frames={frames}") if word.partition("=")[0] not in said]
    settings = [f"load.video={arguments.data / CLIPS[clip]}", *part, MASKS[mask](side), f"seed={seed}"]
    return metrics_of("video_recovery", [*settings, *arguments.settings], out)


def _summary(runs: Sequence[dict]) -> list[str]:
    """Shares of the cells that are won, and what held-out pixels promised."""
    gains = [run["gain_db"] for run in runs]
    flow = [run["recovery"]["psnr"] - run["baselines"]["flow"]["psnr"] for run in runs]
    seconds = [run["total_seconds"] for run in runs]
    lines = [
        "",
        f"Above the best of all baselines in {sum(gain > 0 for gain in gains)} of {len(gains)} cells (median "
        f"{median(gains):+.2f} dB, worst {min(gains):+.2f}), above flow in {sum(gain > 0 for gain in flow)} (median "
        f"{median(flow):+.2f}).",
        f"Learning and recovery: {min(seconds):.0f} to {max(seconds):.0f} s, median {median(seconds):.0f}.",
    ]
    held_out = [run["ways"]["amortised"]["held_out"] for run in runs]
    promised = [found["recovery"] - found["initial_estimate"] for found in held_out]
    true = [run["initial_estimate_gain_db"] for run in runs]
    worst = min(one - other for one, other in zip(true, promised, strict=True))
    alike = spearmanr(promised, true).statistic if min(len(set(promised)), len(set(true))) > 1 else float("nan")
    lines.append(
        f"What the energy adds: held-out pixels promise {median(promised):+.2f} dB, it is {median(true):+.2f}; "
        f"rank correlation {alike:.2f}, at worst {worst:+.2f} dB beside the promise."
    )
    return lines


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
