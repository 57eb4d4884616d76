"""How good compositions are, on scenes: experts of one attribute each, learned apart, against simpler ways to ask.

python tools/benchmark_composition.py --runs runs --num 64

takes runs/shape, runs/colour, runs/size and runs/place, each learned by

python -m pipelines.run image_synthesis load.images=scenes load.count=60000 load.held_out=0.1 load.label=shape \
    learn.steps=4400 learn.references=2048 compute=float32 seed=1 out=runs/shape

(seeds 1 to 4: every expert has its own scenes; the same tenth of all combinations is kept from all of them), and, where
it is there, runs/joint, which `--learn-joint` makes: one model of all combinations as labels. Prints a table.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import energies
from data.scenes import ATTRIBUTES, combinations, held_out, scenes
from energies import Energy, Schedule, WeightedSum
from pipelines.composition import expression
from pipelines.composition.balancing import balancing
from pipelines.composition.composing import Composer
from pipelines.composition.expression import parse
from pipelines.examples import Examples, to_levels
from pipelines.learning import dataset
from pipelines.measures.attributes import is_scene
from pipelines.measures.composition import attributes_of_scenes
from pipelines.modalities import modality_of
from pipelines.sampling.generation import generate
from pipelines.stage import Run
from pipelines.stages.compose import Compose

STAGE = Compose()
GENERATOR = STAGE.generator
STEPS = 4400  # in which the model of joint labels learns, as each expert does
SHAPE = (3, 24, 24)
SEEN = [c for c in combinations() if c not in held_out(0.1)]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--num", type=int, default=64)
    parser.add_argument("--rows", nargs="*", default=[], help="how the names of those to make begin; none: all")
    parser.add_argument("--strength", type=float, default=STAGE.strength)
    parser.add_argument("--learn-joint", action="store_true")
    arguments = parser.parse_args(words)
    if arguments.learn_joint:
        learn_joint(arguments.runs / "joint")
        return
    experts = {name: energies.load(arguments.runs / name / "energy").eval() for name in ATTRIBUTES}
    Bench(experts, arguments.runs, arguments.num, arguments.rows, arguments.strength).table()


class Bench:
    """Samples by each way, judged."""

    def __init__(self, experts: dict[str, Energy], runs: Path, num: int, only: list[str], strength: float) -> None:
        self.experts, self.runs, self.num, self.only, self.strength = experts, runs, num, only, strength
        folder = runs / "judge"
        folder.mkdir(parents=True, exist_ok=True)
        known = {name: {"classes": list(values)} for name, values in ATTRIBUTES.items()}
        self.run = Run(folder, folder, compute="float32")
        none = torch.zeros(0, *SHAPE)
        self.judge = attributes_of_scenes(Examples("images", SHAPE, none, none, attributes=known), self.run)

    def table(self) -> None:
        print("classifiers:", ", ".join(f"{n} {a:.3f}" for n, a in self.judge.accuracy.items()), flush=True)
        print("| | all hold | valid | s a sample |\n|---|---|---|---|", flush=True)
        plain, pair, three = replace(GENERATOR, steps=0), ("shape", "colour"), ("shape", "colour", "size")
        for name in ATTRIBUTES:
            self.products(f"one: {name}", (name,), SEEN)
        self.products("two: averaged scores, no Langevin steps", pair, SEEN, plain, "average")
        self.products("two: sum of energies, no Langevin steps", pair, SEEN, plain, "sum")
        self.products("two: strength 1, no Langevin steps", pair, SEEN, plain, 1.0)
        self.products("two: no Langevin steps", pair, SEEN, plain)
        self.products("two", pair, SEEN)
        self.products("three", three, SEEN)
        self.products("all four, seen", tuple(ATTRIBUTES), SEEN)
        self.products("all four, unseen", tuple(ATTRIBUTES), held_out(0.1))
        self.best_of("all four, unseen: best of N by the classifier, as many gradients", held_out(0.1))
        if (self.runs / "joint").is_dir():
            self.joint("all four, seen: one model of joint labels", SEEN)
            self.joint("all four, unseen: one model of joint labels", held_out(0.1))
        self.expression("or", "shape.circle | colour.red")
        self.expression("or, of one kind", "shape.cross | shape.square")
        self.expression("not", "colour.red + not shape.circle")
        self.expression("not, two", "shape.square + not colour.red + not size.small")
        self.expression("not, subtracted", "colour.red - shape.circle")

    def wanted(self, row: str) -> bool:
        return not self.only or any(row.startswith(start) for start in self.only)

    def labels(self, names: tuple[str, ...], combos: list[dict[str, str]]) -> dict[str, Tensor]:
        pick = torch.randint(len(combos), (self.num,), generator=torch.Generator().manual_seed(1))
        return {n: torch.tensor([ATTRIBUTES[n].index(combos[k][n]) for k in pick.tolist()]) for n in names}

    def products(
        self, row: str, names: tuple[str, ...], combos: list[dict[str, str]], generator: Schedule = GENERATOR,
        way: str | float | None = None,
    ) -> None:  # fmt: skip
        if not self.wanted(row):
            return
        labels = self.labels(names, combos)
        own = {name: self.experts[name] for name in names}
        if isinstance(way, str):
            share = 1 / len(names) if way == "average" else 1.0
            parts = [own[name].given(labels[name]) for name in names]  # type: ignore[operator]
            energy: Energy = WeightedSum(parts, [share] * len(parts))
        else:
            energy = Composer(own, way or self.strength, names).product(labels)
        self.say(row, *self.draw(energy, generator), labels)

    def expression(self, row: str, text: str) -> None:
        if not self.wanted(row):
            return
        node = parse(text)
        names = tuple(expression.names(node))
        own = {name: self.experts[name] for name in names}
        energy = Composer(own, self.strength, names, balancing(STAGE.balance, GENERATOR, self.run)).compose(node)
        start = time.monotonic()
        x = generate(energy, GENERATOR, self.num, None, self.run, row)
        seconds = (time.monotonic() - start) / self.num
        found, _ = self.judge.judged(node, x)
        shares = ", ".join(f"{k} {v:.2f}" for k, v in found.items() if "." in k)
        print(
            f"| {row}: {text} | {found['all_hold']:.3f} | {found['valid']:.3f} | {seconds:.2f} | {shares}", flush=True
        )

    def best_of(self, row: str, combos: list[dict[str, str]]) -> None:
        """As many pictures of no kind as cost the same, of which the classifier takes the best."""
        if not self.wanted(row):
            return
        labels = self.labels(tuple(ATTRIBUTES), combos)
        levels = GENERATOR.noise_levels()
        moves = GENERATOR.steps * sum(level >= GENERATOR.down_to for level in levels) + 2 * len(levels)
        tries = moves * len(ATTRIBUTES) // len(levels)  # by gradients of a network: two a level and picture
        generator = replace(GENERATOR, steps=0)
        pool = torch.cat([self.draw(self.experts["place"], generator, seed)[0] for seed in range(8)])
        chance = {n: self.judge.model.probabilities(pool, kind) for kind, n in enumerate(self.judge.classes)}
        rng = torch.Generator().manual_seed(2)
        chosen = []
        for k in range(self.num):
            rows = torch.randperm(len(pool), generator=rng)[:tries]
            score = sum(chance[n][rows, labels[n][k]].log() for n in labels)
            assert isinstance(score, Tensor)
            chosen.append(rows[score.argmax()])
        self.say(f"{row} (N = {tries})", pool[torch.stack(chosen)], 0.0, labels)

    def joint(self, row: str, combos: list[dict[str, str]]) -> None:
        if not self.wanted(row):
            return
        labels = self.labels(tuple(ATTRIBUTES), combos)
        energy = energies.load(self.runs / "joint")
        guided = energy.guided(joined(labels), self.strength)  # type: ignore[operator]
        self.say(row, *self.draw(guided, GENERATOR), labels)

    def draw(self, energy: Energy, generator: Schedule, seed: int = 0) -> tuple[Tensor, float]:
        start = time.monotonic()
        rng = torch.Generator().manual_seed(seed)
        noise = torch.randn(self.num, *SHAPE, generator=rng)
        *_, x = generator.generate(energy, noise, rng)  # type: ignore[arg-type]
        return x, (time.monotonic() - start) / self.num

    def say(self, row: str, x: Tensor, seconds: float, labels: dict[str, Tensor]) -> None:
        found = self.judge.labels(x)
        right = torch.stack([found[name] == labels[name] for name in labels]).all(0)
        valid = is_scene(x, found)
        print(f"| {row} | {right.float().mean():.3f} | {valid.float().mean():.3f} | {seconds:.2f} |", flush=True)


def joined(labels: dict[str, Tensor]) -> Tensor:
    """One label of all combinations."""
    code = torch.zeros_like(labels["shape"])
    for name, values in ATTRIBUTES.items():
        code = code * len(values) + labels[name]
    return code


def learn_joint(folder: Path, steps: int = STEPS) -> None:
    """One energy by class, the classes all combinations; those held out are in none of its pictures."""
    x, labels = scenes(60_000, SHAPE[1], 5, exclude=held_out(0.1))
    classes = tuple(" ".join(c.values()) for c in combinations())
    data = Examples("images", SHAPE, to_levels(x), to_levels(x[:0]), classes, joined(labels))
    modality, run = modality_of("images"), Run(folder, folder, compute="float32")
    folder.mkdir(parents=True, exist_ok=True)
    recipe = replace(modality.recipes().ways["data"][0], steps=steps)  # `learn` refuses classes without examples
    dataset.learn(data, recipe, True, STAGE.references, modality.varied, run).save_pretrained(folder)


if __name__ == "__main__":
    main()
