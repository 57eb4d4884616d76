"""What is different about shapes: x [n, 1, N, N, N], -1 empty and 1 solid."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from data import rendering, voxels
from data.errors import InputError
from data.frames import from_uint8
from energies import Average, Energy, Hidden, Observation
from energies.family import is_noisy
from pipelines.examples import Examples
from pipelines.learning.lessons import Task, hides, sees
from pipelines.measures import baselines, composition, solids
from pipelines.measures.attributes import Attributes
from pipelines.measures.synthesis import Comparison, OfShapes
from pipelines.modalities.base import Modality
from pipelines.modalities.voxels.hide import box, half, scattered
from pipelines.modalities.voxels.load import Load
from pipelines.report import pictures
from pipelines.results import emptied
from pipelines.stage import Run

VIEW = 144  # pixels a side of a rendering
JUDGED_BY = 3000  # pieces of furniture that classifiers learn from, at most
JUDGED_FOR = 600  # steps
VOXELS = 200_000_000  # of all that classifiers learn from, at most; each takes four bytes
FULL = -0.6  # a fifth: how full a measured block is that is shown as solid


class Voxels(Modality):
    """Shapes on a grid. A mean is not a shape: the likeliest solid is decided on."""

    name: ClassVar[str] = "voxels"
    noun: ClassVar[str] = "shapes"
    axes: ClassVar[int] = 3
    score_name: ClassVar[str] = "iou"
    score_unit: ClassVar[str] = ""

    # ------------------------------------------------------------------------------------- learning

    def varied(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Shapes [n, 1, N, N, N], or their mirror images, at random."""
        chosen = torch.rand(len(x), generator=rng, device=rng.device) < 0.5
        return torch.where(chosen.view(-1, 1, 1, 1, 1), x.flip(2), x)

    def tasks(self, shape: Sequence[int], names: Sequence[str]) -> dict[str, Task]:
        """Voxels at random, a half, a box, block means. Where neither half nor box is asked for, as where only details
        are learned, block means come more often than the others."""
        known = ("voxels", "half", "box", "average")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise InputError(f"there is no task {unknown[0]} of shapes; there are {', '.join(known)}")
        names, side = names or known, shape[-1]
        whole = "half" in names or "box" in names

        def uniform(rng: torch.Generator) -> float:
            return float(torch.rand((), generator=rng))

        random = hides(lambda rng: scattered(side, 1 - 0.5 * 0.01 ** uniform(rng), rng))
        tasks = {
            "voxels": Task(3 if whole else 1, random),
            "half": Task(1, hides(lambda rng: half(side, rng))),
            "box": Task(1, hides(lambda rng: box(side, int(side * (0.3 + 0.4 * uniform(rng))), rng))),
        }
        tasks = {name: task for name, task in tasks.items() if name in names}
        if "average" in names:
            shares = {factor: share for factor, share in {2: 2, 4: 2 if whole else 1}.items() if side % factor == 0}
            tasks |= {f"average{k}": Task(share, sees(Average((k,) * 3))) for k, share in shares.items()}
        return tasks

    # ------------------------------------------------------------------------------------- deciding

    def decided(self, mean: Tensor, observation: Observation, y: Tensor) -> Tensor:
        """The solid [n, 1, N, N, N] with the highest expected intersection over union where nothing is seen exactly,
        or, of block means, the likeliest with as many voxels in every block as was measured."""
        mean = mean.float()
        if isinstance(observation, Average):
            return _signs(top_of_blocks(mean, y.float()))
        if isinstance(observation, Hidden):
            where = observation.mask.expand_as(mean)
            return _signs(solids.likeliest(torch.where(where, mean, y.float()), where))
        return _signs(solids.likeliest(mean))

    def drawn(self, soft: Tensor, observation: Observation, y: Tensor) -> Tensor:
        """What is above 0, or, of block means, as many of the highest in every block as was measured."""
        if isinstance(observation, Average):
            return _signs(top_of_blocks(soft.float(), y.float()))
        return _signs(soft > 0)

    def made(self, soft: Tensor, energy: Energy) -> Tensor:
        """The likeliest solids of energies of noisy x, whose samples are near to means; of others, what is above 0."""
        soft = soft.float()
        return _signs(solids.likeliest(soft) if is_noisy(energy) else soft > 0)

    def mean_of_symmetric(self, observation: Observation) -> tuple[int, ...]:
        """Left and right: a mirror image of a shape is as likely."""
        return (2,)

    # -------------------------------------------------------------------------------------- judging

    def score(self, x: Tensor, truth: Tensor, where: Tensor) -> dict[str, float]:
        """Mean intersection over union, and share of wrong voxels."""
        return solids.score(x > 0, truth > 0, where)

    def baselines(
        self, data: Examples, observation: Observation, y: Tensor, rng: Callable[[str], torch.Generator]
    ) -> Mapping[str, Callable[[], Tensor]]:
        """Of block means: repeated, interpolated, the nearest shapes. Of what is hidden: the mean shape (of its class,
        where it is known), the nearest one, a blur of what is visible."""
        y = y.float()
        operator = observation.noiseless
        if isinstance(operator, Average):
            fields = baselines.refinements(data.x(), y)
        elif isinstance(operator, Hidden):
            fields = self._recoveries(data, observation, operator.mask, y)
        else:
            raise InputError(f"no simple methods are known for shapes seen by {type(operator).__name__}")
        return {name: lambda make=make: self.decided(make(), observation, y) for name, make in fields.items()}

    def _recoveries(
        self, data: Examples, observation: Observation, mask: Tensor, y: Tensor
    ) -> dict[str, Callable[[], Tensor]]:
        labels = data.validation_labels
        labels = labels[: len(y)] if labels is not None and len(labels) >= len(y) > 1 else None
        hidden = mask.expand_as(y)
        damaged = torch.where(hidden, 0.0, y)
        return baselines.recoveries(data.x(), damaged, hidden, observation, data.train_labels, labels)

    def comparison(self, data: Examples, run: Run, learn: bool = True) -> Comparison:
        """With collections of shapes that are real; nothing has to be learned."""
        return OfShapes(data)

    def attributes(self, data: Examples, source: Mapping[str, Any], asked: Collection[str], run: Run) -> Attributes:
        """Learned from furniture of another seed where the shapes are furniture, else from those to learn from."""
        most = VOXELS // math.prod(data.shape)
        if source["name"].split(":")[0] != "procedural":
            return composition.attributes(data, asked, run, most)
        others = Load(source["name"], data.shape[-1], min(JUDGED_BY, most))
        made = others({}, replace(run, seed=run.seed + 1_000))["data"]
        return composition.attributes(data, asked, run, most, made, JUDGED_FOR)

    def nearest(self, x: Tensor, known: Tensor) -> Tensor:
        """By intersection over union of the likeliest solids."""
        return solids.distances(solids.likeliest(x), known > 0).argmin(1)

    def strangers(self, x: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Shapes upside down and lying, empty ones, blocks, and voxels that are set at random, as many as in x."""
        side, full = x.shape[-1], (x > 0).float().mean((1, 2, 3, 4), keepdim=True)
        corners = torch.randint(side // 2, (len(x), 3), generator=rng)
        blocks = torch.full_like(x, -1.0)
        for block, corner in zip(blocks, corners.tolist(), strict=True):
            block[(0, *(slice(low, low + side // 2) for low in corner))] = 1.0
        return {
            "upside down": x.flip(-1),
            "lying": x.rot90(1, (3, 4)),
            "empty": torch.full_like(x, -1.0),
            "blocks": blocks,
            "noise": _signs(torch.rand(x.shape, generator=rng) < full),
        }

    def read(self, name: str, shape: Sequence[int], num: int, source: Mapping[str, Any]) -> Tensor:
        """A file, of several grids the first ones, or the files of a folder."""
        path, up, pad, frame = Path(name), source.get("up"), source.get("pad", False), source.get("frame")
        if not path.exists():
            raise InputError(f"{name}: no such file or folder")
        if path.is_file() and num == 1:
            return _signs(voxels.read(path, shape[-1], up, pad=pad, frame=frame)[None, None])
        dataset: Any = voxels.open_dataset(path, shape[-1], up, pad=pad, frame=frame)
        return voxels.unpack(dataset["bits"][:num], shape[-1])

    def distances(self, first: Tensor, second: Tensor) -> Tensor:
        """1 - intersection over union."""
        return solids.distances(first > 0, second > 0)

    def wholeness(self, x: Tensor) -> Tensor:
        """Share of each solid's voxels that its largest part holds."""
        return solids.largest_shares(x > 0)

    def standing(self, x: Tensor) -> Tensor:
        """Whose centre of mass is above what they stand on."""
        return solids.standing(x > 0)

    # -------------------------------------------------------------------------------------- showing

    def sheet(self, rows: Mapping[str, Tensor], num: int) -> np.ndarray:
        """Renderings, a row for each kind."""
        clips = {label: rendered(x[:num]) for label, x in rows.items()}
        return pictures.contact_sheet(clips, frames=max(clip.shape[1] for clip in clips.values()), scale=1)

    def grid(self, x: Tensor, columns: int) -> np.ndarray:
        """Renderings, so many beside each other."""
        return pictures.grid(rendered(x).movedim(1, 0), columns, scale=1)

    def write(self, x: Tensor, folder: Path, name: str, source: Mapping[str, Any]) -> None:
        """Grids folder/NAME_000.npz ..."""
        place = emptied(folder, name)
        for number, solid in enumerate(x > 0):
            voxels.write(solid, place / f"{name}_{number:03d}.npz", keep=1)

    def seen(self, observation: Observation, y: Tensor) -> Tensor:
        """What is seen as solid; blocks that are a fifth full, or more."""
        operator = observation.noiseless
        if isinstance(operator, Average):
            return _signs(operator.repeat(y.float()) > FULL)
        if isinstance(operator, Hidden):
            return _signs((y > 0) & ~operator.mask)
        return _signs(y > 0)


def rendered(x: Tensor) -> Tensor:
    """Pictures of shapes [n, 1, N, N, N], as the frames of a clip [3, n, H, W] in [-1, 1]."""
    return from_uint8(np.stack([rendering.render(solid, size=VIEW) for solid in x > 0]))


def top_of_blocks(field: Tensor, coarse: Tensor) -> Tensor:
    """The likeliest solid, bool [n, 1, N, N, N], with as many voxels in every block as its mean says.

    Args:
        field: expected x, [n, 1, N, N, N].
        coarse: block means in [-1, 1], [n, 1, M, M, M].
    """
    factor = field.shape[-1] // coarse.shape[-1]
    num = ((coarse + 1) / 2 * factor**3).round().long().flatten()
    blocks = field
    for axis in (2, 4, 6):
        blocks = blocks.unflatten(axis, (-1, factor))
    blocks = blocks.permute(0, 1, 2, 4, 6, 3, 5, 7)
    values = blocks.reshape(-1, factor**3)
    rank = values.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    solid = (rank < num[:, None]).view(blocks.shape).permute(0, 1, 2, 5, 3, 6, 4, 7)
    return solid.reshape(field.shape)


def _signs(solid: Tensor) -> Tensor:
    """x of solids: 1 where they are set, -1 elsewhere."""
    return solid.float() * 2 - 1


MODALITY = Voxels()
