"""What clips are, to the stages that exist once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from torch import Tensor

from data import video
from data.containers import SUFFIXES
from data.errors import InputError
from data.files import listing
from energies import Hidden
from energies.classical.motion import is_thin
from energies.observation import Observation
from pipelines.examples import Examples
from pipelines.learning.lessons import Task
from pipelines.measures import baselines
from pipelines.measures.dynamic_textures import OfMotion
from pipelines.measures.synthesis import Comparison, OfClips
from pipelines.measures.visible import feature_distance, flicker, has_eyes, motion_of, seam
from pipelines.modalities import views
from pipelines.modalities.base import Modality
from pipelines.modalities.images.modality import MOST, seen_in_part
from pipelines.report import pictures
from pipelines.results import emptied
from pipelines.stage import Run


class Video(Modality):
    """Clips [n, 3, T, H, W]: many, or one alone."""

    name: ClassVar[str] = "video"
    noun: ClassVar[str] = "clips"
    axes: ClassVar[int] = 3
    stranger: ClassVar[str] = "rotated"

    def tasks(self, shape: Sequence[int], names: Sequence[str]) -> dict[str, Task]:
        """pixels, box, frames, average, grey, blur and noise, as `hide` has them."""
        size = shape[1:]

        def frames(rng: torch.Generator) -> Tensor:
            hidden = torch.zeros(1, *size, dtype=torch.bool)
            num = int(torch.randint(1, size[0] - 1, (), generator=rng))
            hidden[:, views.inner_frames(size[0], num, rng)] = True
            return hidden

        return seen_in_part(shape, names, views.masks(size) | {"frames": frames})

    def score(self, x: Tensor, truth: Tensor, where: Tensor) -> dict[str, float]:
        """psnr in dB, mae of 0 to 255, and ssim of the frames."""
        return baselines.score(x, truth, where)

    def visible(self, ways: Mapping[str, Tensor], truth: Tensor, where: Tensor) -> dict[str, dict[str, float]]:
        """Of one clip, the seam around what was hidden, if it has a border, its flicker, if motion is known, and the
        distance of the features of EfficientNet-lite0, if the extra `eyes` is installed (measures/visible.py)."""
        if len(truth) > 1:
            return {}
        clip, hidden, motion = truth[0], where[0, 0], motion_of(truth[0])

        def of(x: Tensor) -> dict[str, float]:
            found = {"seam": seam(x, hidden), "flicker": flicker(x, clip, hidden, motion)}
            if has_eyes():
                found["feature_distance"] = feature_distance(x, clip, hidden)
            return {name: value for name, value in found.items() if math.isfinite(value)}

        return {name: of(x[0]) for name, x in ways.items()}

    def baselines(
        self, data: Examples, observation: Observation, y: Tensor, rng: Callable[[str], torch.Generator]
    ) -> Mapping[str, Callable[[], Tensor]]:
        """Of many clips as of pictures. Of one, with no others to look at, the methods of `measures.baselines.clip`, of
        which total variation draws the held-out pixels that it is tuned on; patches, which take long, only where more
        than scattered pixels and scratches is hidden."""
        if not data.single:
            return baselines.baselines(data.x("train", slice(MOST)), observation, y)
        inner = observation.noiseless
        if not (isinstance(inner, Hidden) and bool(inner.mask.any())):
            return baselines.alone(observation, y)
        names: tuple[baselines.Baseline, ...] = get_args(baselines.Baseline)
        hidden = inner.mask[0, 0]
        names = tuple(name for name in names if name != "patches") if is_thin(hidden.cpu()) else names
        return {name: lambda name=name: baselines.estimate(name, y[0], hidden, rng(name))[None] for name in names}

    def forecasts(self, data: Examples, past: Tensor, num: int) -> Mapping[str, Callable[[], Tensor]]:
        """The last frame again, and linear dynamics of the clips that were learned from."""
        return {
            "last_frame": lambda: past[:, :, -1:].expand(-1, -1, num, -1, -1),
            "linear_dynamics": lambda: baselines.LinearDynamics.fit(data.x("train", slice(MOST)))(past, num),
        }

    def comparison(self, data: Examples, run: Run, learn: bool = True) -> Comparison | None:
        """By how much neighbouring pixels and frames differ, one clip by how it moves; nothing has to be learned."""
        return OfMotion(data, run) if data.single else OfClips(data)

    def strangers(self, x: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Clips turned by a right angle, with their frames in another order, with one frame that stays, blank ones, and
        noise."""
        order = torch.randperm(x.shape[2], generator=rng)
        turned = x.rot90(1, (3, 4)) if x.shape[3] == x.shape[4] else x.rot90(2, (3, 4))
        still = x[:, :, :1].expand_as(x).contiguous()
        return {"rotated": turned, "shuffled": x[:, :, order], "still": still} | {
            name: own for name, own in super().strangers(x, rng).items() if name != "mirrored"
        }

    def read(self, name: str, shape: Sequence[int], num: int, source: Mapping[str, Any]) -> Tensor:
        """A video, or the videos of a folder; of each as many clips as it holds."""
        path = Path(name)
        files = listing(path, SUFFIXES, "clips").files if path.is_dir() else [path]
        found: list[Tensor] = []
        for file in files:
            clip, _ = video.read(file, size=(shape[2], shape[3]), frames=None)
            lows = range(0, clip.shape[1] - shape[1] + 1, shape[1])
            found += [clip[:, low : low + shape[1]] for low in lows][: num - len(found)]
        if not found:
            raise InputError(f"{name}: holds no clip of {shape[1]} frames")
        return torch.stack(found)

    def sheet(self, rows: Mapping[str, Tensor], num: int) -> np.ndarray:
        """Each clip a row of its frames, those of a number below each other."""
        shown = min(num, max(map(len, rows.values())))
        pairs = [(k, name, x) for k in range(shown) for name, x in rows.items() if k < len(x)]
        return pictures.contact_sheet({f"{name} {k}" if shown > 1 else name: x[k] for k, name, x in pairs})

    def grid(self, x: Tensor, columns: int) -> np.ndarray:
        """Each clip a strip of its frames."""
        return pictures.grid(x.transpose(2, 3).flatten(3), columns, -(-48 // x.shape[-2]))

    def write(self, x: Tensor, folder: Path, name: str, source: Mapping[str, Any]) -> None:
        """folder/NAME_000.mp4 ..., at the frames a second of the source."""
        emptied(folder, name)
        for number, clip in enumerate(x):
            video.write(folder / f"{name}_{number:03d}.mp4", clip.clamp(-1, 1), source["fps"])

    def seen(self, observation: Observation, y: Tensor) -> Tensor:
        return views.seen(observation, y)


MODALITY = Video()
