"""Dynamic textures: learn from the first two thirds of each clip, make more, compare what moves with the last third.

python -m tools.benchmark_textures fountain.avi flag2.avi

Beside it stand a linear dynamical system and reshuffled frames of the same two thirds, the two thirds themselves, and a
frame that stands still. About four minutes of two cores a clip.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data import video
from pipelines.examples import Examples
from pipelines.measures import dynamic_textures, metrics, tables
from pipelines.modalities.video import Learn, Synthesize
from pipelines.stage import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--frames", type=int, default=48, help="of what is made")
    parser.add_argument("--steps", type=int, help="of learning; those of the recipe if left out")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for path in arguments.clips:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "02_learn").mkdir()
            run = Run(Path(folder), Path(folder) / "02_learn", arguments.seed)
            rows = compared(path, arguments.size, arguments.frames, arguments.steps, run)
        print(f"{path.name}\n" + "\n".join(tables.table(rows)), flush=True)


def compared(path: Path, size: int, frames: int, steps: int | None, run: Run) -> dict[str, dict[str, float]]:
    """The numbers of each way to go on with a clip."""
    clip = video.read(path, size=size)[0]
    known, rest = clip.tensor_split([clip.shape[1] * 2 // 3], 1)
    data = Examples("video", tuple(known.shape), known[None].contiguous(), known[None, :0])
    values = {"data": data}
    values |= Learn(steps=steps)(values, run)
    samples = Synthesize(num=1, frames=frames)(values, run)["samples"]
    ways = {"ours": samples} | dynamic_textures.rivals(known, frames, 3, run)
    ways |= {"learned_from": known[None], "still": known[None, :, :1].expand_as(known[None])}
    found = {name: metrics.mean_of([dynamic_textures.compare(one, rest) for one in x]) for name, x in ways.items()}
    for name, x in ways.items():
        copied = torch.tensor([dynamic_textures.copies(one, known) for one in x])
        found[name]["copies"] = float(copied.mean())
    return found


if __name__ == "__main__":
    main()
