"""One energy for every task: learn it once to synthesise, take it for everything else, and print the table.

python tools/benchmark_posterior.py images --data ../shared/data/images/train-images-idx3-ubyte.gz
python tools/benchmark_posterior.py voxels --data ../shared/data/voxels/chair_32.npz
python tools/benchmark_posterior.py clips --data FOLDER_OF_FOLDERS_OF_CLIPS

Each row recovers the same x twice: by an energy that was told what is seen, whose mean is amortised, and by the one
that learned to synthesise, conditioned on what is seen, with the seconds of the means; beside them the best simple
method. Then the other pipelines of the modality take that energy. Every run is the command line's own, in a
process of its own; finished runs are not done again. --told and --energy take runs that learned them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

MUON = "{steps: 1200, learning_rate: 0.02, warmup: 30, clip: 1.0, average: 0.995, checkpoint_every: 100, method: muon}"


@dataclass(frozen=True)
class Modality:
    """How the pipelines of a modality are called.

    Attributes:
        source: the setting that names the data.
        learn: the pipeline that learns the energy to synthesise, and its settings.
        told: likewise the energy that is told what is seen; None: there is none.
        tasks: the pipeline and settings of each way to see x in part.
        takes: the setting that takes a learned energy there.
        prior: the setting that takes a second one; None: it is run again.
        others: what else takes the energy: pipeline, settings with {energy}, and the number to print.
        score: the number of a recovery, and whether it is in dB.
    """

    source: str
    learn: tuple[str, list[str]]
    told: tuple[str, list[str]] | None
    tasks: dict[str, tuple[str, list[str]]]
    takes: str
    prior: str | None
    others: dict[str, tuple[str, list[str], str]]
    score: str = "psnr"
    more: list[str] = field(default_factory=list)


MODALITIES = {
    "images": Modality(
        source="load.images",
        learn=("image_synthesis", ["synthesize.num=1000"]),
        told=("image_recovery", ["learn_recovery.tasks=[pixels, box, shrink, grey, blur, noise]", "hide.num=64"]),
        tasks={
            "half the pixels": ("image_recovery", ["hide.pixels=0.5"]),
            "a box of 12x12": ("image_recovery", ["hide.box=12"]),
            "means of 2x2": ("image_recovery", ["hide.shrink=2"]),
            "means of 4x4": ("image_recovery", ["hide.shrink=4"]),
            "blurred by 1.5 pixels": ("image_recovery", ["hide.blur=1.5"]),
            "noise of 0.5": ("image_recovery", ["hide.noise=0.5"]),
            "half the pixels, noise of 0.2": ("image_recovery", ["hide.pixels=0.5", "hide.noise=0.2"]),
        },
        takes="learn_recovery.pretrained",
        prior="recover.prior",
        others={
            "synthesis, Frechet distance": (
                "image_synthesis", ["learn.pretrained={energy}", "synthesize.num=1000", "evaluate_synthesis.curve=0"],
                "samples.frechet",
            ),
            "interpolation, share of frames accepted": (
                "image_interpolation", ["learn.pretrained={energy}"], "path.accepted"
            ),
            "reconstruction, PSNR": ("image_reconstruction", ["learn.pretrained={energy}"], "reconstruction.psnr"),
            "composition (label.3 | label.8), share that holds": (
                "compose", ["compose.expr=label.3 | label.8", "compose.experts={{label: {energy}}}",
                            "evaluate_composition.baselines=0", "evaluate_composition.cells=0"],
                "samples.all_hold",
            ),
        },
        more=["hide.num=256"],
    ),
    "voxels": Modality(
        source="load.voxels",
        learn=("voxel_interpolation", [
            "learn.energy=encoder", "learn.objective={score_matching: {level: 1.0}}", "learn.batch=24",
            f"learn.optimizer={MUON}",
        ]),
        told=("voxel_recovery", ["hide.voxels=0.7"]),
        tasks={
            "70 % hidden": ("voxel_recovery", ["hide.voxels=0.7"]),
            "half hidden": ("voxel_recovery", ["hide.half=true"]),
            "16^3 box hidden": ("voxel_recovery", ["hide.box=16"]),
            "8^3 -> 32^3": ("voxel_super_resolution", ["coarsen.size=8"]),
            "16^3 -> 32^3": ("voxel_super_resolution", ["coarsen.size=16"]),
            "70 % hidden, noise of 0.5": ("voxel_recovery", ["hide.voxels=0.7", "hide.noise=0.5"]),
        },
        takes="learn.pretrained",
        prior=None,
        others={
            "synthesis, samples in one part": (
                "voxel_synthesis",
                ["02_learn.size=null", "02_learn.pretrained={energy}", "04_learn.pretrained={energy}",
                 "synthesize.num=24", "select.whole=0", "export.limit=8"],
                "samples.in_one_part",
            ),
            "composition (own - 0.01 * light), samples in one part": (
                "voxel_compose",
                ["compose.expr=own - 0.01 * light", "compose.size=null", "learn.pretrained={energy}",
                 "compose.experts={{own: {energy}, light: score:brightness}}", "synthesize.num=8", "select.whole=0",
                 "export.limit=8"],
                "samples.in_one_part",
            ),
            "interpolation, frames in one part": (
                "voxel_interpolation", ["learn.pretrained={energy}", "export.limit=8"], "path.in_one_part",
            ),
        },
        score="iou",
        more=["export.limit=8"],
    ),
    "clips": Modality(
        source="load_clips.clips",
        learn=("clip_synthesis", []),
        told=None,
        tasks={
            "half the pixels": ("clip_recovery", ["hide_clips.pixels=0.5"]),
            "a box of 6x6 in all frames": ("clip_recovery", ["hide_clips.box=6"]),
            "2 of 8 frames": ("clip_recovery", ["hide_clips.frames=2"]),
            "means of 2x2": ("clip_recovery", ["hide_clips.shrink=2"]),
            "grey": ("clip_recovery", ["hide_clips.grey=true"]),
            "blurred by 1 pixel": ("clip_recovery", ["hide_clips.blur=1.0"]),
            "noise of 0.3": ("clip_recovery", ["hide_clips.noise=0.3"]),
        },
        takes="learn_clips.pretrained",
        prior=None,
        others={
            "composition (own - 0.01 * light), samples": (
                "video_compose", ["compose.expr=own - 0.01 * light",
                                  "compose.experts={{own: {energy}, light: score:brightness}}"],
                "samples.num",
            ),
        },
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modality", choices=list(MODALITIES))
    parser.add_argument("--data", help="what is loaded; none: the embedded data")
    parser.add_argument("--energy", help="a run that learned to synthesise; none: learn it")
    parser.add_argument("--told", help="a run that learned to be told what is seen; none: learn it")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark_posterior"))
    parser.add_argument("--settings", nargs="*", default=[], help="of every run, as seed=1")
    arguments = parser.parse_args()
    modality = MODALITIES[arguments.modality]
    out = arguments.out / arguments.modality
    given = [*([f"{modality.source}={arguments.data}"] if arguments.data else []), *arguments.settings]
    energy = arguments.energy or _learned(out / "energy", modality.learn, given)
    told = arguments.told or (None if modality.told is None else _learned(out / "told", modality.told, given))
    print(f"| seen | best baseline | its {modality.score} | amortised (s) | conditioned (s) | difference |\n"
          "|---|---|---|---|---|---|")  # fmt: skip
    for number, (task, (pipeline, settings)) in enumerate(modality.tasks.items()):
        found = _recovered(
            out / f"task_{number}", modality, pipeline, [*settings, *modality.more, *given], told, energy
        )
        print(f"| {task} | {' | '.join(found)} |", flush=True)
    if modality.others:
        print("\n| the same energy | |\n|---|---|")
    for number, (name, (pipeline, settings, key)) in enumerate(modality.others.items()):
        metrics = _run(out / f"other_{number}", pipeline, [*(s.format(energy=energy) for s in settings), *given])
        print(f"| {name} | {_at(metrics, key):.3f} |", flush=True)


def _recovered(
    out: Path, modality: Modality, pipeline: str, settings: list[str], told: str | None, energy: str
) -> list[str]:
    """Cells of a row."""
    if told is not None and modality.prior is not None:
        both = _run(out, pipeline, [*settings, f"{modality.takes}={told}", f"{modality.prior}={energy}"])
        ways, seconds = both.get("ways", {}), both["seconds"]
        if "prior" in ways:  # the told energy knows no such measurement, and was conditioned too
            ways, seconds = {"conditioned": ways["prior"]}, {"conditioned": seconds["prior"]}
    else:
        both = _run(out.with_name(f"{out.name}_conditioned"), pipeline, [*settings, f"{modality.takes}={energy}"])
        ways, seconds = {"conditioned": both["recovery"]}, dict(both["seconds"])
        if told is not None:
            other = _run(out.with_name(f"{out.name}_told"), pipeline, [*settings, f"{modality.takes}={told}"])
            if other["way"] == "amortised":
                ways, seconds = ways | {"amortised": other["recovery"]}, seconds | other["seconds"]
    best, score = both["best_baseline"], modality.score
    digits = 2 if score == "psnr" else 3
    cells = [best.replace("_", " "), f"{both['baselines'][best][score]:.{digits}f}"]
    for way in ("amortised", "conditioned"):
        cells.append(f"{ways[way][score]:.{digits}f} ({seconds[way]:.1f})" if way in ways else "")
    apart = ways["conditioned"][score] - ways["amortised"][score] if len(ways) > 1 else None
    return [*cells, "" if apart is None else f"{apart:+.{digits}f}"]


def _learned(out: Path, by: tuple[str, list[str]], given: list[str]) -> str:
    _run(out, by[0], [*by[1], *given])
    return str(out)


def _run(out: Path, pipeline: str, settings: list[str]) -> dict:
    command = [sys.executable, "-m", "pipelines.run", pipeline, *settings, f"out={out}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "metrics.json").read_text())


def _at(found: dict, key: str) -> float:
    value: object = found
    for name in key.split("."):
        assert isinstance(value, dict)
        value = value[name]
    assert isinstance(value, int | float)
    return float(value)


if __name__ == "__main__":
    main()
