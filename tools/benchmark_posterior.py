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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from command import metrics_of


@dataclass(frozen=True)
class Modality:
    """How the pipelines of a modality are called.

    Attributes:
        source: the setting that names the data.
        data: what is loaded where nothing is said.
        learn: the pipeline that learns the energy to synthesise, and its settings.
        told: likewise the energy that is told what is seen; None: there is none.
        tasks: the pipeline and settings of each way to see x in part.
        prior: the setting that takes a second one; None: it is run again.
        others: what else takes the energy: pipeline, settings with {energy}, and the number to print.
        score: the number of a recovery, and whether it is in dB.
    """

    source: str
    data: str
    learn: tuple[str, list[str]]
    told: tuple[str, list[str]] | None
    tasks: dict[str, tuple[str, list[str]]]
    prior: str | None
    others: dict[str, tuple[str, list[str], str]]
    score: str = "psnr"
    more: list[str] = field(default_factory=list)


MODALITIES = {
    "images": Modality(
        source="load.images",
        data="digits",
        learn=("image_synthesis", ["synthesize.num=1000"]),
        told=("image_recovery", ["learn.tasks=[pixels, box, average, grey, blur, noise]", "hide.num=64"]),
        tasks={
            "half the pixels": ("image_recovery", ["hide.pixels=0.5"]),
            "a box of 12x12": ("image_recovery", ["hide.box=12"]),
            "means of 2x2": ("image_recovery", ["hide.average=2"]),
            "means of 4x4": ("image_recovery", ["hide.average=4"]),
            "blurred by 1.5 pixels": ("image_recovery", ["hide.blur=1.5"]),
            "noise of 0.5": ("image_recovery", ["hide.noise=0.5"]),
            "half the pixels, noise of 0.2": ("image_recovery", ["hide.pixels=0.5", "hide.noise=0.2"]),
        },
        prior="recover.prior",
        others={
            "synthesis, Frechet distance": (
                "image_synthesis", ["learn.pretrained={energy}", "synthesize.num=1000", "evaluate.curve=0"],
                "samples.frechet",
            ),
            "interpolation, share of frames accepted": (
                "image_interpolation", ["learn.pretrained={energy}"], "path.accepted"
            ),
            "reconstruction, PSNR": ("image_reconstruction", ["learn.pretrained={energy}"], "reconstruction.psnr"),
            "composition (label.3 | label.8), share that holds": (
                "compose", ["compose.expr=label.3 | label.8", "compose.experts={{label: {energy}}}",
                            "evaluate.rivals=0", "evaluate.cells=0"],
                "asked.all_hold",
            ),
        },
        more=["hide.num=256"],
    ),
    "voxels": Modality(
        source="load.voxels",
        data="procedural",
        learn=("voxel_interpolation", [
            "learn.energy=encoder", "learn.objective={score_matching: {level: 1.0}}", "learn.batch=24",
            "learn.steps=1200", "learn.learning_rate=0.02", "learn.optimizer.average=0.995",
        ]),
        told=("voxel_recovery", ["hide.voxels=0.7"]),
        tasks={
            "70 % hidden": ("voxel_recovery", ["hide.voxels=0.7"]),
            "half hidden": ("voxel_recovery", ["hide.half=true"]),
            "16^3 box hidden": ("voxel_recovery", ["hide.box=16"]),
            "8^3 -> 32^3": ("voxel_super_resolution", ["hide.average=4"]),
            "16^3 -> 32^3": ("voxel_super_resolution", ["hide.average=2"]),
            "70 % hidden, noise of 0.5": ("voxel_recovery", ["hide.voxels=0.7", "hide.noise=0.5"]),
        },
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
        source="load.clips",
        data="moving",
        learn=("clip_synthesis", []),
        told=None,
        tasks={
            "half the pixels": ("clip_recovery", ["hide.pixels=0.5"]),
            "a box of 6x6 in all frames": ("clip_recovery", ["hide.box=6"]),
            "2 of 8 frames": ("clip_recovery", ["hide.frames=2"]),
            "means of 2x2": ("clip_recovery", ["hide.average=2"]),
            "grey": ("clip_recovery", ["hide.grey=true"]),
            "blurred by 1 pixel": ("clip_recovery", ["hide.blur=1.0"]),
            "noise of 0.3": ("clip_recovery", ["hide.noise=0.3"]),
        },
        prior=None,
        others={
            "composition (own - 0.01 * light), difference of frames": (
                "video_compose", ["compose.expr=own - 0.01 * light",
                                  "compose.experts={{own: {energy}, light: score:brightness}}",
                                  "evaluate.rivals=0", "evaluate.cells=0"],
                "samples.temporal",
            ),
            "interpolation, distance of frames to training": (
                "video_interpolation", ["learn.pretrained={energy}"], "path.distance_to_training"
            ),
            "reconstruction, PSNR": ("video_reconstruction", ["learn.pretrained={energy}"], "reconstruction.psnr"),
        },
    ),
}  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modality", choices=list(MODALITIES))
    parser.add_argument("--data", help="what is loaded; none: embedded digits, furniture or moving shapes")
    parser.add_argument("--energy", help="a run that learned to synthesise; none: learn it")
    parser.add_argument("--told", help="a run that learned to be told what is seen; none: learn it")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark_posterior"))
    parser.add_argument("--settings", nargs="*", default=[], help="of every run, as seed=1")
    arguments = parser.parse_args(words)
    modality = MODALITIES[arguments.modality]
    out = arguments.out / arguments.modality
    given = [f"{modality.source}={arguments.data or modality.data}", *arguments.settings]
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
        chosen = [setting.format(energy=energy) for setting in settings]
        metrics = metrics_of(pipeline, [*chosen, *given], out / f"other_{number}")
        print(f"| {name} | {_at(metrics, key):.3f} |", flush=True)


def _recovered(
    out: Path, modality: Modality, pipeline: str, settings: list[str], told: str | None, energy: str
) -> list[str]:
    """Cells of a row."""
    if told is not None and modality.prior is not None:
        both = metrics_of(pipeline, [*settings, f"learn.pretrained={told}", f"{modality.prior}={energy}"], out)
        ways, seconds = both.get("ways", {}), both["seconds"]
        if "prior" in ways:  # the told energy knows no such measurement, and was conditioned too
            ways, seconds = {"conditioned": ways["prior"]}, {"conditioned": seconds["prior"]}
    else:
        both = metrics_of(pipeline, [*settings, f"learn.pretrained={energy}"], out.with_name(f"{out.name}_conditioned"))
        ways, seconds = {"conditioned": both["recovery"]}, dict(both["seconds"])
        if told is not None:
            other = metrics_of(pipeline, [*settings, f"learn.pretrained={told}"], out.with_name(f"{out.name}_told"))
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
    metrics_of(by[0], [*by[1], *given], out)
    return str(out)


def _at(found: dict, key: str) -> float:
    value: object = found
    for name in key.split("."):
        assert isinstance(value, dict)
        value = value[name]
    assert isinstance(value, int | float)
    return float(value)


if __name__ == "__main__":
    main()
