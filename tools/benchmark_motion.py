"""Restore hidden parts of real clips by stacked classical estimates, beside the baselines, and print PSNR in dB.

python tools/benchmark_motion.py --data ../shared/data/video --clips carphone_pristine.mp4 --masks "20x20 moving" logo
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from data import video
from energies.classical import restoration
from pipelines.measures import baselines
from pipelines.measures.metrics import score
from pipelines.modalities.video.hide import Hide

MADE = {
    "20x20 moving": {"region": "20x20 moving"},
    "20x20": {"region": "20x20"},
    "5 frames": {"frames": 5},
    "half the pixels": {"pixels": 0.5},
}
DRAWN = {"scratch": (slice(None), slice(30, 33)), "logo": (slice(4, 14), slice(40, 60))}  # rows, columns of 64


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/video"), help="folder of the clips")
    parser.add_argument("--clips", nargs="+", required=True, help="their names")
    parser.add_argument("--masks", nargs="+", default=[*MADE, *DRAWN], choices=[*MADE, *DRAWN], help="which damage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--baselines", nargs="*", default=get_args(baselines.Baseline), help="to measure")
    arguments = parser.parse_args(words)
    print("| hidden | clip | best baseline | its PSNR | best single estimate | stacked | seconds |")
    print("|---|---|---|---|---|---|---|")
    for mask in arguments.masks:
        for clip in arguments.clips:
            x, _ = video.read(arguments.data / clip, size=64, frames=arguments.frames)
            print(_row(mask, clip, x, arguments.seed, arguments.baselines), flush=True)


def _row(mask: str, clip: str, x: Tensor, seed: int, names: Sequence[baselines.Baseline]) -> str:
    rng = torch.Generator().manual_seed(seed)
    hidden = _hidden(mask, x, rng)
    damaged = torch.where(hidden, 0.0, x)

    def psnr(estimate: Tensor) -> float:
        return score(estimate, x, hidden)["psnr"]

    found = {name: psnr(baselines.estimate(name, damaged, hidden, rng)) for name in names}
    best = max(found, key=lambda name: found[name]) if found else "none"
    begin = time.perf_counter()
    restored = restoration.restore(damaged[None], hidden[None, None], rng)
    seconds = time.perf_counter() - begin
    singles = []
    for values in restored.found.values:
        estimate = x.clone()
        estimate[:, hidden] = values.T
        singles.append(psnr(estimate))
    return (
        f"| {mask} | {clip} | {best} | {found.get(best, float('nan')):.2f} | {max(singles):.2f} | "
        f"{psnr(restored.estimate[0]):.2f} | {seconds:.1f} |"
    )


def _hidden(mask: str, x: Tensor, rng: torch.Generator) -> Tensor:
    if mask in MADE:
        return Hide(**MADE[mask])._made(x.shape[1:], rng)
    hidden = torch.zeros(x.shape[1:], dtype=torch.bool)
    rows, columns = DRAWN[mask]
    hidden[:, rows, columns] = True
    return hidden


if __name__ == "__main__":
    main()
