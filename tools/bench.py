"""Time the sampling loop against others, side by side, in units of what the machine can do.

python tools/bench.py --peers all --workloads all [--rounds 5] [--threads 1] [--json FILE]

Every peer makes the same number of steps from the same start, one after another, round after round; what counts is the
ratio of their times within a round, as median and quartiles. `limit` is the time that forward and input-backward
multiplications would take at the machine's measured matrix peak. The gradient's error is that of the network's part
(the reference term left out) against float64, as a share of its norm. torchebm needs the `bench` extra.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from energies import Energy, GenerativeConvNet, gradient
from energies.compute import FORMATS, Compute, in_bfloat16, prepared
from energies.samplers import HMC, MALA, Langevin
from energies.sampling import sample

STEP, LEAPFROG = 1e-3, 10


class ConvNet4(Energy):
    """E(x) = |x|^2 / 2 - f(x): four strided convolutions, as in public tutorials, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 64, 5, 2, 4), nn.SiLU(), nn.Conv2d(64, 128, 3, 2, 1), nn.SiLU(),
            nn.Conv2d(128, 256, 3, 2, 1), nn.SiLU(), nn.Conv2d(256, 256, 3, 2, 1), nn.SiLU(),
            nn.Flatten(), nn.Linear(256 * 9, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x.square().flatten(1).sum(1) / 2 - self.net(x)[:, 0]


class Residual(Energy):
    """E(x) = |x|^2 / 2 - f(x): a stem and residual blocks at three resolutions (Du & Mordatch 2019, in small)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (48, 48, 96, 192)
        self.stem = nn.Conv2d(3, widths[0], 3, 1, 1)
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(a, a, 3, 1, 1), nn.Conv2d(a, b, 3, 1, 1), nn.Conv2d(a, b, 1)])
            for a, b in pairwise(widths)
        )
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        for block in self.blocks:
            a, b, skip = block  # type: ignore[misc]
            y = skip(y) + b(nn.functional.silu(a(nn.functional.silu(y))))
            y = nn.functional.avg_pool2d(y, 2)
        return x.square().flatten(1).sum(1) / 2 - self.head(nn.functional.silu(y).sum((2, 3)))[:, 0]


@dataclass(frozen=True)
class Workload:
    """An energy, the shape of its chains, and the variance of the reference to leave out of the error."""

    name: str
    energy: Callable[[], Energy]
    shape: tuple[int, ...]
    variance: float


WORKLOADS = {
    "image": Workload("image", ConvNet4, (64, 3, 32, 32), 1.0),
    "residual": Workload("residual", Residual, (16, 3, 32, 32), 1.0),
    "video": Workload("video", lambda: GenerativeConvNet("st", [3, 32, 112, 112]), (3, 3, 32, 112, 112), 0.25),
    "voxel": Workload("voxel", lambda: GenerativeConvNet("voxel", [1, 32, 32, 32]), (20, 1, 32, 32, 32), 0.25),
}
SAMPLERS = ("langevin", "mala", "hmc")
Run = Callable[[int], object]
"""Makes so many steps more of a chain; what is done once, before the first of them, counts as set-up."""


def ours(energy: Energy, name: str, x: Tensor, compute: Compute) -> Run:
    """This project."""
    sampler = {"langevin": Langevin(STEP), "mala": MALA(STEP), "hmc": HMC(STEP, LEAPFROG)}[name]
    chain = sample(sampler, energy, x, 10**9, torch.Generator().manual_seed(0), compute=compute)
    return lambda steps: [next(chain) for _ in range(steps)][-1]


def torchebm(energy: Energy, name: str, x: Tensor, tuned: bool, bfloat16: bool) -> Run | None:
    """torchebm as its documentation uses it; tuned: channels-last and autocast inside the energy."""
    from torchebm.core import BaseModel
    from torchebm.samplers import HamiltonianMonteCarlo, LangevinDynamics

    shape = x.shape

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.energy = energy

        def forward(self, x: Tensor) -> Tensor:
            x = x.view(-1, *shape[1:])
            if not tuned:
                return self.energy(x)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                return self.energy(x.contiguous(memory_format=FORMATS[x.ndim])).float()

    if name == "langevin":
        sampler = LangevinDynamics(Model(), step_size=STEP**2 / 2, noise_scale=1.0)
        return lambda steps: sampler.sample(x=x, n_steps=steps)
    if name == "hmc":  # its kinetic energy sums the last axis only: x must be flat
        hmc = HamiltonianMonteCarlo(Model(), step_size=STEP, n_leapfrog_steps=LEAPFROG)
        return lambda steps: hmc.sample(x=x.flatten(1), n_steps=steps)
    return None


def autograd_loop(energy: Energy, name: str, x: Tensor) -> Run | None:
    """The shortest loop one would write: autograd.grad with respect to x, frozen weights."""
    if name != "langevin":
        return None

    def run(steps: int) -> Tensor:
        now = x
        for _ in range(steps):
            now = now.detach().requires_grad_()
            (slope,) = torch.autograd.grad(energy(now).sum(), now)
            now = now - STEP**2 / 2 * slope + STEP * torch.randn_like(now)
        return now

    return run


def tutorial_loop(energy: Energy, name: str, x: Tensor) -> Run | None:
    """A loop in the manner of public tutorials: noise in place, backward(), a clamp."""
    if name != "langevin":
        return None

    def run(steps: int) -> Tensor:
        now = x.clone().requires_grad_()
        noise = torch.empty_like(now)
        for _ in range(steps):
            noise.normal_(0, STEP)
            now.data.add_(noise)
            energy(now).sum().backward()
            assert now.grad is not None
            now.data.add_(now.grad.data, alpha=-(STEP**2) / 2)
            now.grad.zero_()
            now.data.clamp_(-4, 4)
        return now

    return run


def peers(energy: Energy, name: str, x: Tensor, wanted: list[str], bfloat16: bool) -> dict[str, Run]:
    """All that can run a sampler, by name."""
    makers: dict[str, Callable[[], Run | None]] = {
        "ours fp32": lambda: ours(energy, name, x, "float32"),
        "ours bf16": lambda: ours(energy, name, x, "bfloat16"),
        "torchebm fp32": lambda: torchebm(energy, name, x, False, False),
        "torchebm tuned fp32": lambda: torchebm(energy, name, x, True, False),
        "torchebm tuned bf16": lambda: torchebm(energy, name, x, True, True),
        "autograd loop": lambda: autograd_loop(energy, name, x),
        "tutorial loop": lambda: tutorial_loop(energy, name, x),
    }
    found = {}
    for peer, make in makers.items():
        asked = wanted == ["all"] or any(peer.startswith(name) for name in wanted)
        if asked and (bfloat16 or not peer.endswith("bf16")) and (run := make()) is not None:
            found[peer] = run
    return found


def operations(energy: Energy, x: Tensor) -> float:
    """Multiplications and additions of a forward and an input-backward pass."""
    total = 0.0

    def count(module: nn.Module, _: object, out: Tensor) -> None:
        nonlocal total
        assert isinstance(module.weight, Tensor)
        total += 4.0 * out.numel() * module.weight[0].numel()

    kinds = (nn.Conv2d, nn.Conv3d, nn.Linear)
    hooks = [m.register_forward_hook(count) for m in energy.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        energy(x)
    for hook in hooks:
        hook.remove()
    return total


def peak(dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product, the best of several."""
    a, b = torch.randn(1536, 1536, dtype=dtype), torch.randn(1536, 1536, dtype=dtype)
    best = min(seconds(lambda: a @ b) for _ in range(8))
    return 2 * 1536**3 / best


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def gradient_error(load: Workload, energy: Energy, x: Tensor, compute: Compute) -> float:
    """Of the network's part of the gradient against float64, relative to its norm."""
    x = x[:2]
    double = load.energy().double()
    double.load_state_dict(energy.state_dict())
    exact = gradient(double, x.double())[1] - x.double() / load.variance
    found = gradient(prepared(energy, compute), x)[1].double() - x.double() / load.variance
    return float((found - exact).norm() / exact.norm())


def quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def measure(
    load: Workload, name: str, wanted: list[str], rounds: int, budget: float, bfloat16: bool
) -> dict[str, dict[str, float]]:
    """Seconds a step of each peer in turns of about `budget` seconds, ratios in quartiles, the share of the limit."""
    torch.manual_seed(0)
    energy = load.energy().requires_grad_(False)
    if isinstance(energy, GenerativeConvNet):  # its last filters end in a ReLU, which no x here shall shut
        last = energy.layers[-1].weight
        assert isinstance(last, Tensor)
        last.abs_()
    x = torch.randn(load.shape) * 0.5
    evaluations = {"langevin": 1, "mala": 1, "hmc": LEAPFROG}[name]
    limit = evaluations * operations(energy, x)
    runs = peers(energy, name, x, wanted, bfloat16)
    once = seconds(lambda: gradient(energy, x))
    steps = max(1, round(budget / (once * evaluations)))
    setup = {peer: seconds(lambda run=run: run(1)) for peer, run in runs.items()}
    times: dict[str, list[float]] = {peer: [] for peer in runs}
    peaks: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(rounds):
        peaks["fp32"].append(peak(torch.float32))
        if bfloat16:
            peaks["bf16"].append(peak(torch.bfloat16))
        for peer, run in runs.items():
            times[peer].append(seconds(lambda run=run: run(steps)) / steps)
    found = {}
    for peer, spent in times.items():
        kind = "bf16" if peer.endswith("bf16") else "fp32"
        row = {"seconds": statistics.median(spent), "set_up": max(0.0, setup[peer] - statistics.median(spent))}
        row["limit_share"] = statistics.median(
            limit / best / taken for best, taken in zip(peaks[kind], spent, strict=True)
        )
        for mine in ("ours fp32", "ours bf16"):
            if mine in times and peer != mine:
                ratios = [theirs / we for theirs, we in zip(spent, times[mine], strict=True)]
                low, middle, high = quartiles(ratios)
                row |= {f"{mine} low": low, f"{mine}": middle, f"{mine} high": high}
        found[peer] = row
    if name == "langevin":
        for compute, peer in (("float32", "ours fp32"), ("bfloat16", "ours bf16")):
            if peer in found:
                found[peer]["gradient_error"] = gradient_error(load, energy, x, compute)  # type: ignore[arg-type]
    return found


def table(load: str, name: str, found: dict[str, dict[str, float]]) -> list[str]:
    """Rows of Markdown: each peer with the ratio of its time to ours."""
    rows = []
    for peer, row in found.items():

        def ratio(mine: str, row: dict[str, float] = row) -> str:
            if mine not in row:
                return "-"
            return f"{row[mine]:.2f} ({row[f'{mine} low']:.2f}-{row[f'{mine} high']:.2f})"

        error = f"{row['gradient_error']:.1e}" if "gradient_error" in row else "-"
        rows.append(
            f"| {load} | {name} | {peer} | {row['seconds'] * 1e3:.0f} | {ratio('ours fp32')} | {ratio('ours bf16')} | "
            f"{row['limit_share']:.0%} | {error} | {row['set_up'] * 1e3:.0f} |"
        )
    return rows


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peers", nargs="+", default=["all"], help="all, or beginnings of names: ours torchebm tutorial"
    )
    parser.add_argument("--workloads", nargs="+", default=["all"], choices=["all", *WORKLOADS])
    parser.add_argument("--samplers", nargs="+", default=["all"], choices=["all", *SAMPLERS])
    parser.add_argument("--rounds", type=int, default=5, help="how often all peers take turns")
    parser.add_argument("--budget", type=float, default=1.5, help="seconds of a turn, about")
    parser.add_argument(
        "--bf16", choices=["auto", "yes", "no"], default="auto", help="auto: where the processor has it"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all numbers there")
    arguments = parser.parse_args(words)
    torch.set_num_threads(arguments.threads)
    loads = list(WORKLOADS) if "all" in arguments.workloads else arguments.workloads
    names = list(SAMPLERS) if "all" in arguments.samplers else arguments.samplers
    bfloat16 = in_bfloat16("auto", torch.device("cpu")) if arguments.bf16 == "auto" else arguments.bf16 == "yes"
    machine = {"processor": _processor(), "threads": arguments.threads, "torch": torch.__version__}
    results: dict[str, object] = {"machine": machine}
    print(f"{machine['processor']}, {arguments.threads} thread(s), torch {torch.__version__}\n")
    if not bfloat16:
        print("This processor does not compute in bfloat16 (emulated, it is ten times slower): left out.\n")
    print(
        "| workload | sampler | peer | ms a step | its time over ours fp32 | over ours bf16 | of the limit "
        "| gradient error | set-up, ms |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for load in loads:
        for name in names:
            a = arguments
            found = measure(WORKLOADS[load], name, a.peers, a.rounds, a.budget, bfloat16)
            results[f"{load} {name}"] = found
            print("\n".join(table(load, name, found)), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=1))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
