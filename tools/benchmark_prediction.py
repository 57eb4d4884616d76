"""Learn energies that predict, and the same transformers feed-forward, for equal processor time, and print the tables
of docs/prediction.md.

python tools/benchmark_prediction.py --seconds 60 --seeds 0 1 2 --data ../shared/data/video --out runs/prediction

Steps are counted out beforehand: as many as fit into the time, by the processor time of a few steps on trial. Every run
is the command line's own; finished runs are not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from energies import DenoisingEnergy, EncoderEnergy, Energy, FrameEnergy, TokenEnergy
from energies.objectives import Batch, OptimisedPrediction, ScoreMatching
from energies.prediction import decibels
from pipelines import checkpoint, run
from pipelines.modalities.images.learning import ENCODER

WIDTH, DEPTH, HEADS = 64, 2, 4
SIZES = [f"learn.energy.transformer.{name}={n}" for name, n in (("width", WIDTH), ("depth", DEPTH), ("heads", HEADS))]
OBJECTIVE = "learn.objective.optimised_prediction"
SYSTEM_2 = {"more_steps": 1, "step_spread": 0.2, "langevin": 0.1, "every": True, "replay": 0.5}
FEED_FORWARD, SAME = "feed-forward", "feed-forward, steps as system 1"
METHODS: dict[str, dict[str, Any]] = {
    FEED_FORWARD: {"steps": 1, "start": 0.0},
    SAME: {"steps": 1, "start": 0.0},
    "energy, system 1": {"steps": 2},
    "energy, system 2": {"steps": 2, **SYSTEM_2},
}
SHAPES = {"video": (3, 12, 32, 32), "denoising": (1, 8, 8), "text": (256, 48)}
BATCHES = {"video": 4, "denoising": 32, "text": 16}
RATES = {"video": 0.001, "denoising": 0.002, "text": 0.003}
PIPELINES = {"video": "video_prediction", "denoising": "image_denoising", "text": "text_prediction"}
TRIED = 4  # steps on trial
MOST = 6000  # steps of learning


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=900, help="processor time that each learns for")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data/video"), help="folder of the clips")
    parser.add_argument("--out", type=Path, default=Path("runs/prediction"), help="folder of the runs")
    arguments = parser.parse_args(words)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for task in arguments.tasks:
        steps = {method: _steps(arguments, task, method) for method in arguments.methods}
        found = {
            method: [_run(arguments, task, method, num, seed) for seed in arguments.seeds]
            for method, num in steps.items()
        }
        print("\n".join(table(task, found, steps)), flush=True)
        if task == "denoising":
            print("\n".join(_scores(arguments)), flush=True)


# ------------------------------------------------------------------------------------------- runs


def _made(task: str, method: str) -> tuple[Energy, OptimisedPrediction]:
    """An energy and an objective of the sizes of a task, to be timed."""
    objective = OptimisedPrediction(**METHODS[method])
    told, shape = (method in (FEED_FORWARD, SAME), objective.steps, objective.start), SHAPES[task]
    if task == "video":
        return FrameEnergy(shape, 8, WIDTH, DEPTH, HEADS, 0.2, *told), objective
    if task == "denoising":
        return DenoisingEnergy(shape, [2, 2], WIDTH, DEPTH, HEADS, 0.3, *told), objective
    return TokenEnergy(shape, WIDTH, DEPTH, HEADS, *told), objective


def _timed(step: Callable[[], torch.Tensor]) -> float:
    """Processor seconds of a step of learning."""
    for number in range(TRIED + 1):
        if number == 1:  # the first one is slower
            begun = time.process_time()
        step().backward()
    return (time.process_time() - begun) / TRIED


def _name(arguments: argparse.Namespace, task: str, method: str) -> str:
    """Of files."""
    return f"{task}_{method.replace(', ', '_').replace(' ', '_')}_{arguments.seconds:g}"


def _steps(arguments: argparse.Namespace, task: str, method: str) -> int:
    """As many as fit into the time; counted once, so that a later call goes on with the same runs."""
    method = "energy, system 1" if method == SAME else method
    path = arguments.out / f"steps_{_name(arguments, task, method)}.json"
    if path.exists():
        return int(json.loads(path.read_text()))
    energy, objective = _made(task, method)
    x = torch.randn(BATCHES[task], *SHAPES[task]).clamp(-1, 1)
    rng = torch.Generator().manual_seed(0)
    chains = objective.buffer(energy, x, rng) if objective.replay else None  # type: ignore[arg-type]
    each = _timed(lambda: objective(energy, Batch(x, chains=chains), rng)[0])  # type: ignore[arg-type]
    steps = max(10, min(MOST, round(arguments.seconds / each)))
    path.write_text(json.dumps(steps))
    return steps


def _run(arguments: argparse.Namespace, task: str, method: str, steps: int, seed: int) -> dict[str, Any]:
    out = arguments.out / f"{_name(arguments, task, method)}_{seed}"
    settings = [f"seed={seed}", "compute=float32", f"learn.steps={steps}", f"learn.batch={BATCHES[task]}", *SIZES]
    settings += [f"learn.learning_rate={RATES[task]}", *_loaded(arguments, task)]
    settings += [f"{OBJECTIVE}.{name}={json.dumps(value)}" for name, value in METHODS[method].items()]
    if method in (FEED_FORWARD, SAME):
        settings.append("learn.energy.transformer.feed_forward=true")
    print(f"{task}, {method}, seed {seed}: {steps} steps", file=sys.stderr, flush=True)
    with contextlib.redirect_stdout(io.StringIO()):
        status = run.main([PIPELINES[task], *settings, f"out={out}"])
    if status:
        raise SystemExit(status)  # it has said why
    return json.loads((out / "metrics.json").read_text()) | {"out": str(out)}


def _loaded(arguments: argparse.Namespace, task: str) -> list[str]:
    """What is loaded and predicted."""
    if task == "video":
        return [f"load.clips={_clips(arguments)}", "load.size=32", "load.frames=12", "load.validation=0.3",
                "load.count=null", "predict.past=4", "predict.frames=8", "predict.num=12"]  # fmt: skip
    if task == "text":
        return ["load.length=48", "load.count=4000", "predict.num=32", "predict.frames=8", "predict.past=24"]
    return ["predict.num=64"]


def _clips(arguments: argparse.Namespace) -> Path:
    """A folder of classes, as `load` reads it, of links to the clips."""
    root = arguments.out / "clips"
    files = sorted(f for f in arguments.data.iterdir() if f.suffix in (".mp4", ".avi") and "mask" not in f.name)
    for number, file in enumerate(files):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / file.name).exists():
            (folder / file.name).symlink_to(file.resolve())
    return root


def _scores(arguments: argparse.Namespace) -> list[str]:
    """Lines of what an energy of noise levels, learned by score matching for the same time, makes of the noise."""
    rows: list[list[float]] = []
    for seed in arguments.seeds:
        data = checkpoint.load_values(next(Path(arguments.out).glob(f"denoising_*_{seed}/01_load")))["data"]  # type: ignore[index]
        torch.manual_seed(seed)
        energy = EncoderEnergy(data.shape, ENCODER.widths[:2], ENCODER.depths[:2])  # type: ignore[index]
        train, rng = data.x(), torch.Generator().manual_seed(seed)
        energy.centre(train)
        optimizer = torch.optim.Adam(energy.parameters(), 0.002)

        def step(energy=energy, train=train, rng=rng, optimizer=optimizer) -> torch.Tensor:
            optimizer.step()
            optimizer.zero_grad()
            rows = torch.randint(len(train), (BATCHES["denoising"],), generator=rng)
            return ScoreMatching()(energy, Batch(train[rows]), rng)[0]

        for _ in range(min(MOST, round(arguments.seconds / _timed(step)))):
            step().backward()
        x = data.x("validation", slice(128))
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        rows.append([decibels((energy.at(s).denoise(x + s * noise) - x).square().mean()) for s in (0.3, 0.6)])
    return [f"| score matching, told the level | {' | '.join(_cell(list(v)) for v in zip(*rows, strict=True))} |"]


# ------------------------------------------------------------------------------------------ tables


def _cell(values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None and math.isfinite(v)]
    if not known:
        return "-"
    spread = f" ± {stdev(known):.2f}" if len(known) > 1 else ""
    return f"{mean(known):.2f}{spread}"


def table(task: str, found: dict[str, list[dict[str, Any]]], steps: dict[str, int]) -> list[str]:
    """Markdown of a task."""
    unit = next(iter(found.values()))[0]["unit"]
    lines = [f"\n{task}, {unit}\n"]
    heads = ["learned as", "steps of learning", "1 step", "as learned", "twice", "4 times", "elsewhere: 1 step",
             "as learned", "4 times", "rank correlation", "at one position", "one of 8", "least energy"]  # fmt: skip
    lines += [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for method, runs in found.items():
        k = runs[0]["steps"]
        cells = [method, str(steps[method])]
        cells += [_cell([r["thinking"]["as learned"]["quality"][at] for r in runs]) for at in (0, k - 1, 2 * k - 1, -1)]
        cells += [_cell([r["thinking"]["elsewhere"]["quality"][at] for r in runs]) for at in (0, k - 1, -1)]
        judge = ("rank_correlation", "rank_correlation_within", "one", "least_energy")
        cells += [_cell([r["judge"][name] for r in runs]) for name in judge]
        lines.append(f"| {' | '.join(cells)} |")
    rivals = next(iter(found.values()))
    for name in rivals[0]["rivals"]:
        lines.append(f"| {name.replace('_', ' ')} | - | {_cell([r['rivals'][name] for r in rivals])} |")
    if "forecast" in rivals[0]:
        lines += ["", "| next 8 frames, PSNR in dB | first | eighth | all |", "|---|---|---|---|"]
        for method, runs in found.items():
            names = ["least_energy", "one"]
            names += [n for n in runs[0]["forecast"] if n not in names] if method == FEED_FORWARD else []
            for name in names:
                row = [_cell([r["forecast"][name][at] for r in runs]) for at in ("first", "last", "all")]
                told = name if name not in ("least_energy", "one") else f"{method}, {name}"
                lines.append(f"| {told.replace('_', ' ')} | {' | '.join(row)} |")
    return lines


if __name__ == "__main__":
    main()
