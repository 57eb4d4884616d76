"""All ways to learn an energy of pictures side by side, the same network, the same minutes: a table of docs/results.md.

python tools/compare_objectives.py --images ../shared/data/images/train-images-idx3-ubyte.gz --minutes 10

Each run is the command line's own, in a process of its own; finished runs are not done again. How many steps fit
into the minutes is measured first, by a few steps of each.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from command import metrics_of

MUON = ["learn.optimizer.method=muon", "learn.learning_rate=0.02"]
ADAM = ["learn.optimizer.method=adam", "learn.learning_rate=0.001"]
PERSISTENT = "{steps: 30, step_size: 0.3, noise: 0.03, limit: 0.1, restart: 0.05, bound: 1.0, negatives: 64}"
SHORT = "{steps: 50, step_size: 0.3, noise: 0.03, limit: 0.1, restart: 1.0, bound: 1.0, negatives: 64}"
RUNS = {
    "denoising score matching": [*MUON, "learn.objective=score_matching"],
    "recovery likelihood": [*ADAM, "learn.objective=recovery_likelihood"],
    "energy matching": [*MUON, "learn.objective=energy_matching"],
    "maximum likelihood, persistent chains": [*ADAM, f"learn.objective={{maximum_likelihood: {PERSISTENT}}}"],
    "maximum likelihood, short runs": [*ADAM, f"learn.objective={{maximum_likelihood: {SHORT}}}"],
    "maximum likelihood, residual energy": [
        *ADAM, "learn.energy=residual", f"learn.objective={{maximum_likelihood: {PERSISTENT}}}",
    ],
}  # fmt: skip
PROBE = 12  # steps that are timed


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="../shared/data/images/train-images-idx3-ubyte.gz")
    parser.add_argument("--minutes", type=float, default=10.0, help="of learning, each")
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num", type=int, default=1000, help="samples that are judged")
    parser.add_argument("--only", default="", help="those whose name begins so")
    parser.add_argument("--settings", nargs="*", default=[], help="of every run, as compute=float32")
    arguments = parser.parse_args(words)
    print("| objective | steps | Frechet | precision | recall | 10x steps / 1x | from data, long |")
    print("|---|---|---|---|---|---|---|")
    chosen = [(number, name) for number, name in enumerate(RUNS) if name.startswith(arguments.only)]
    if not chosen:
        parser.error(f"--only={arguments.only}: the names are {'; '.join(RUNS)}")
    found: dict = {}
    for number, name in chosen:
        settings = RUNS[name]
        steps = _steps(arguments, number, settings)
        found = _run(arguments, f"run_{number}", [*settings, f"learn.steps={steps}"])
        ours = found["samples"]
        print(
            f"| {name} | {steps} | {ours['frechet']:.2f} | {ours['precision']:.3f} | {ours['recall']:.3f} | "
            f"{_number(found['long_run_ratio'])} | {_number(found.get('long_from_data', {}).get('frechet'))} |",
            flush=True,
        )
    print(f"\nreal pictures: {found['real']['frechet']:.2f}; noise: {found['noise']['frechet']:.0f}")


def _number(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.2f}"


def _steps(arguments: argparse.Namespace, number: int, settings: list[str]) -> int:
    """Steps that fit into the minutes. Energy matching takes twice the time once the contrast has set in."""
    out = arguments.out / f"probe_{number}"
    probe = [*settings, f"learn.steps={PROBE}", "synthesize.num=32", "evaluate.curve=0"]
    _run(arguments, out.name, probe)
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    times = [record["time"] for record in records if "step" in record]
    return int(60 * arguments.minutes / ((times[-1] - times[2]) / (len(times) - 3)))


def _run(arguments: argparse.Namespace, name: str, settings: list[str]) -> dict:
    out = arguments.out / name
    fixed = [f"load.images={arguments.images}", f"seed={arguments.seed}"]
    if not any(setting.startswith("synthesize.num") for setting in settings):
        fixed.append(f"synthesize.num={arguments.num}")
    return metrics_of("image_synthesis", [*fixed, *settings, *arguments.settings], out)


if __name__ == "__main__":
    main()
