"""Make an entry of the zoo, energies/zoo/NAME: learn long, store the energy in few bytes, measure it, write its card.

python -m tools.make_zoo digits                     # learns in runs/zoo/digits; the same command goes on with it
python -m tools.make_zoo digits --from runs/mine    # takes a finished run in place of learning
python -m tools.make_zoo --cards                    # after settings have changed: what each entry is found by, anew

Learning is an ordinary run of a pipeline with more steps. What is measured is the energy as it is stored, by another
run that takes it. Beside the energy stay that run's metrics.json, the log of learning, and the card.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from command import call, metrics_of
from zoo_entries import ENTRIES, Entry
from zoo_keys import key

import energies
from energies import Energy, zoo
from energies.compact import Compact
from energies.saving import save_module
from pipelines.results import log_of

MOST = 3_000_000  # bytes of an entry's energies
MOST_IN_ALL = 20_000_000  # bytes of those of all
BREAK = 60.0  # seconds between two steps beyond which a run was interrupted


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ENTRIES))
    parser.add_argument("--from", dest="source", type=Path, help="a finished run that learned it")
    parser.add_argument("--measured", type=Path, help="a finished run that took it as it is stored")
    parser.add_argument("--out", type=Path, default=Path("runs/zoo"), help="folder of the runs")
    parser.add_argument("--zoo", type=Path, default=zoo.ROOT, help="folder of the entries")
    parser.add_argument("--cards", action="store_true", help="what all entries are found by, anew")
    arguments = parser.parse_args(words)
    if unknown := [name for name in arguments.names if name not in ENTRIES]:
        parser.error(f"there is no entry {unknown[0]}; there are {', '.join(ENTRIES)}")
    if len(arguments.names) > 1 and (arguments.source or arguments.measured):
        parser.error("--from and --measured are for one entry")
    for name in arguments.names:
        make(name, ENTRIES[name], arguments)
    for name in zoo.names(arguments.zoo) if arguments.cards else ():
        serves = ENTRIES[name].serves
        found = zoo.card(name, arguments.zoo) | {"serves": list(serves), "asked": [key(place) for place in serves]}
        _write(found, arguments.zoo / name)


def make(name: str, entry: Entry, arguments: argparse.Namespace) -> None:
    """Learn, store, measure; the entry takes its place when it is whole."""
    run: Path = arguments.source or arguments.out / "_".join([entry.learn[0], *_words(entry.learn[1:])])
    if arguments.source is None:
        call([*entry.learn, "store=off", f"out={run}"])
    new = arguments.out / f"{name}_stored"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    stored = [_stored(run, pattern, new, len(entry.energy) > 1, entry.levels) for pattern in entry.energy]
    if arguments.measured is None:
        pipeline, *settings = entry.measure or (entry.serves[0].partition("/")[0],)
        measured = arguments.out / f"{name}_measured"
        shutil.rmtree(measured, ignore_errors=True)
        metrics = metrics_of(pipeline, [*settings, f"{entry.taken}={new}"], measured)
    else:
        metrics = json.loads((arguments.measured / "metrics.json").read_text())
    (new / "metrics.json").write_text(json.dumps(metrics, indent=1))
    records = [record for record in log_of(run) if fnmatch(record["stage"], entry.logged)]
    lines = "".join(f"{json.dumps(record)}\n" for record in records)
    (new / "log.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
    command = " ".join(entry.learn if arguments.source is None else entry.learn[:1])  # another run: by its `stages`
    card = _card(name, entry, run, stored, records, metrics) | {"learned_by": command, "files": _files(new)}
    if (size := sum(found["bytes"] for path, found in card["files"].items() if path.endswith("safetensors"))) > MOST:
        raise SystemExit(f"{name} takes {size / 1e6:.2f} MB; fewer levels, or a smaller network, take less")
    _write(card, new)
    shutil.rmtree(arguments.zoo / name, ignore_errors=True)
    shutil.move(new, arguments.zoo / name)
    total = sum(path.stat().st_size for path in arguments.zoo.rglob("*.safetensors"))
    print(f"{name}: {size / 1e6:.2f} MB; the zoo: {total / 1e6:.2f} of {MOST_IN_ALL / 1e6:.0f} MB")


def _write(card: dict[str, Any], folder: Path) -> None:
    (folder / zoo.CARD).write_text(json.dumps(card, indent=1))
    (folder / "card.md").write_text(text_of(card))


def _words(settings: Sequence[str]) -> list[str]:
    """Names of folders from settings: entries with the same command share its run."""
    return [hashlib.sha256("\n".join(settings).encode()).hexdigest()[:8]] if settings else []


def _stored(run: Path, pattern: str, new: Path, several: bool, levels: int | None) -> Energy:
    """The energy of a run, as it comes back after it was stored."""
    places = sorted(run.glob(pattern))
    if not places:
        raise SystemExit(f"{run} holds no {pattern}; is it finished?")
    folder = new / places[0].name if several else new
    save_module(energies.load(places[0]), folder, Compact(levels))
    return energies.load(folder)


def _card(
    name: str, entry: Entry, run: Path, stored: list[Energy], records: list[dict[str, Any]], metrics: dict[str, Any]
) -> dict[str, Any]:
    """What the entry is, how it was learned, and its numbers."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    steps = [record for record in records if "step" in record]
    gaps = [b["time"] - a["time"] for a, b in pairwise(steps)]
    return {
        "name": name, "modality": config["modality"], "class": type(stored[0]).__name__,
        "event_shape": list(stored[0].event_shape), "classes": list(getattr(stored[0], "classes", ())),
        "data": {k: v for k, v in config["stages"][0]["load"].items() if v is not None}, "seed": config["seed"],
        "stages": config["stages"][1:], "objective": entry.objective,
        "steps": 1 + max(record["step"] for record in steps),
        "hours": round(sum(gap for gap in gaps if 0 < gap < BREAK) / 3600, 2),
        "parameters": sum(p.numel() for energy in stored for p in energy.parameters()),
        "weights": "bfloat16" if entry.levels is None else f"{2 * entry.levels + 1} levels a row",
        "serves": list(entry.serves), "asked": [key(place) for place in entry.serves], "taken_by": entry.taken,
        "numbers": {key: metrics[key] for key in entry.numbers if key in metrics},
    }  # fmt: skip


def _files(folder: Path) -> dict[str, Any]:
    """Size and SHA-256 of every file."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in found.items()}


def _shown(value: Any) -> str:
    """A number, or a map of them, to read."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {f'({_shown(v)})' if isinstance(v, dict) else _shown(v)}" for key, v in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def text_of(card: dict[str, Any]) -> str:
    """card.md: what card.json says, to read."""
    shape, name = "x".join(map(str, card["event_shape"])), card["name"]
    rows = {
        "energy": f"`{card['class']}` of x {shape}", "classes": ", ".join(card["classes"]) or "none",
        "data": ", ".join(f"{k}={v}" for k, v in card["data"].items()), "seed": card["seed"],
        "learned by": f"`{card['learned_by']}`: {card['objective']}, {card['steps']} steps, {card['hours']} hours",
        "weights": f"{card['parameters']:,} parameters, {card['weights']}",
        "serves": ", ".join(f"`{place}`" for place in card["serves"]),
    }  # fmt: skip
    numbers = {key: _shown(value) for key, value in card["numbers"].items()}
    table = "\n".join(f"| {key} | {value} |" for key, value in (rows | numbers).items())
    example = f'import energies\n\nenergy = energies.load("zoo:{name}")\nprint(energy.event_shape)  # {shape}'
    command = f"python -m pipelines.run {card['serves'][0].partition('/')[0]} {card['taken_by']}=zoo:{name}"
    return f"# {name}\n\n| | |\n|---|---|\n{table}\n\n```python\n{example}\n```\n\n```sh\n{command}\n```\n"


if __name__ == "__main__":
    main()
