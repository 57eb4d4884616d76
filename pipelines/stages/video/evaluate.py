"""Say how good the recovery is, beside simple methods on the same pixels."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from pipelines.measures import baselines, metrics
from pipelines.measures.baselines import Baseline
from pipelines.pipeline import Run
from pipelines.results import save_metrics


@dataclass(frozen=True)
class Evaluate:
    """Score recovery, fill and baselines on the hidden pixels, into metrics.json. Where the truth is unknown only
    held-out seen pixels are scored."""

    needs: ClassVar[tuple[str, ...]] = (
        "clip",
        "damaged",
        "hidden",
        "truth_known",
        "fill",
        "recovered",
        "samples",
        "std",
        "ways",
        "recovery_info",
        "blend",
        "guard",
    )
    gives: ClassVar[tuple[str, ...]] = ("metrics", "rival", "summary")

    baselines: tuple[Baseline, ...] = ("temporal_linear", "nearest_frame", "biharmonic", "total_variation")
    """Methods to compare with."""

    def __post_init__(self) -> None:
        if not self.baselines:
            raise ValueError("baselines must name at least one method")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        truth, hidden, known = values["clip"], values["hidden"], values["truth_known"]
        info = values["recovery_info"]
        rivals: dict[str, Tensor] = {}
        seconds: dict[str, float] = {}
        for name in run.progress(self.baselines, len(self.baselines), "baselines"):
            begin = time.monotonic()
            rivals[name] = baselines.estimate(name, values["damaged"], hidden, run.generator("baseline", name))
            seconds[name] = round(time.monotonic() - begin, 3)
        found: dict[str, Any] = {
            "truth_known": known,
            "hidden_share": round(hidden.float().mean().item(), 4),
            "blend": values["blend"],
            "trust": {"reference": info["trust_reference"], "network": info["trust_network"]},
            "held_out": info["held_out"],
            "sampling": info["sampling"]["summary"],
            "way": info["way"],
            "ways": {
                name: {"trust": way["trust"], "seconds": round(way["seconds"], 3)}
                for name, way in values["ways"].items()
            },
            "seconds": round(_seconds(run), 3),
        }
        best = self._best_on_held_out(values, run) if not known else ""
        if known:
            scores = {n: metrics.score(clip, truth, hidden) | {"seconds": seconds[n]} for n, clip in rivals.items()}
            best = max(scores, key=lambda name: scores[name]["psnr"])
            found |= {
                "recovery": metrics.score(values["recovered"], truth, hidden),
                "single_sample": metrics.score(values["samples"][0], truth, hidden),
                "fill": metrics.score(values["fill"], truth, hidden),
                "baselines": scores,
                "best_baseline": best,
                "coverage_90": metrics.coverage(values["recovered"], values["std"], truth, hidden),
            }
            for name, way in values["ways"].items():
                found["ways"][name] |= metrics.score(way["mean"], truth, hidden)
            found["gain_db"] = found["recovery"]["psnr"] - scores[best]["psnr"]
            found["fill_gain_db"] = found["recovery"]["psnr"] - found["fill"]["psnr"]
        save_metrics(found, run.root)
        return {
            "metrics": found,
            "rival": {"name": best, "clip": rivals[best]},
            "summary": "\n".join([summary(found), *_sampling(info)]),
        }

    def _best_on_held_out(self, values: dict[str, Any], run: Run) -> str:
        """The baseline that is best on held-out seen pixels, where the truth of the others is unknown."""
        held_out = values["guard"].held_out
        seen, hidden = values["damaged"], values["hidden"] | held_out
        damaged = seen * ~hidden

        def psnr(name: Baseline) -> float:
            filled = baselines.estimate(name, damaged, hidden, run.generator("baseline", name))
            return metrics.score(filled, seen, held_out)["psnr"]

        return max(self.baselines, key=psnr)


def _sampling(info: dict[str, Any]) -> list[str]:
    lines = info["sampling"]["lines"]
    return [f"chains: {lines[0]}", *lines[1:]] if lines else []


def _seconds(run: Run) -> float:
    """Time that learning and recovery took, over all the commands that worked on this run."""
    lines = (run.root / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return sum(
        r["seconds"] for r in records if r.get("event") == "finished" and r["stage"].endswith(("learn", "recover"))
    )


def summary(found: dict[str, Any]) -> str:
    """The numbers as lines of text."""
    if not found["truth_known"]:
        held_out = found["held_out"]
        return (
            "The truth under your mask is unknown, so nothing hidden is scored. On held-out seen pixels: "
            f"first fill {held_out['fill']:.2f} dB, recovery {held_out['recovery']:.2f} dB."
        )
    ways = found["ways"]
    rows = [
        ("recovery", found["recovery"]),
        *ways.items(),
        ("one sample", found["single_sample"]),
        ("first fill", found["fill"]),
    ]
    rows += list(found["baselines"].items())
    lines = [f"{'':16}   PSNR    MAE   SSIM"]
    lines += [f"{n.replace('_', ' '):16} {s['psnr']:6.2f} {s['mae']:6.2f}  {s['ssim']:.3f}" for n, s in rows]
    means = ", ".join(f"{name} in {way['seconds']:.1f} s" for name, way in ways.items())
    lines.append(f"the recovery is the {found['way']} mean, mixed with the first fill as held-out pixels say ({means})")
    best = found["best_baseline"].replace("_", " ")
    verb = "better" if found["gain_db"] >= 0 else "WORSE"
    lines.append(
        f"{abs(found['gain_db']):.2f} dB {verb} than the best baseline ({best}), {found['fill_gain_db']:+.2f} dB "
        f"against the first fill; {found['coverage_90']:.0%} of the hidden values lie in the 90 % band; "
        f"{found['seconds']:.0f} s"
    )
    return "\n".join(lines)
