"""Hidden values of a clip from its seen parts, by patches in space and time: for what no frame ever shows.

estimate = patches(clip, hidden, rng)

Every patch that overlaps the hole has a near neighbour among the patches that are seen whole; a hidden pixel is the
weighted mean of what the neighbours of all patches around it say. Neighbours and values are found in turn, coarse to
fine (Wexler et al. 2007; Newson et al. 2014). Neighbours are searched by PatchMatch (Barnes et al. 2009), of all
patches at once, by the principal components of patches.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from energies.classical import inpainting
from energies.classical.geometry import distance

SIDE = 5  # pixels, and frames, of a patch
COMPONENTS = 24  # of patches, by which they are compared
SAMPLES = 4096  # patches that components are found from, and that the first layers are copied from
TEXTURE = 2.0  # weight of mean gradients against colours
AROUND = 5  # pixels that gradients are averaged over
ROUNDS = (4, 8)  # of search and means: at the finest level, at each coarser one
STRIDES = (4, 2, 1)  # pixels between patches that tell each other their neighbours
DEEP = 3.0  # pixels to what is seen, above which there is a coarser level
FEWEST = 0.01  # of all patches that may be copied
WIDTH = 0.5  # of the weights, in mean squared distances of patches
CHUNK = 4096  # patches, or pixels, at once
PAD = SIDE - 1  # pixels around the clip, so that no step leaves it


def patches(clip: Tensor, hidden: Tensor, rng: torch.Generator) -> Tensor:
    """A clip with its hidden values from similar patches.

    Patches are copied that are seen whole. Where these are fewer than one of a hundred, as with scattered pixels, they
    are those that are hidden least, lines in time in their holes. Time grows with the hidden pixels; all pixels are
    looked at once a level.

    Args:
        clip: [C, T, H, W] in [-1, 1]; hidden values are ignored.
        hidden: bool [T, H, W].
        rng: of the search, on the CPU.

    ValueError: nothing is seen.
    """
    if bool(hidden.all()):
        raise ValueError("patches: all of the clip is hidden, so there is no patch to copy; hide less")
    if not hidden.any():
        return clip
    x = inpainting.temporal_linear(clip, hidden)
    levels = [(torch.cat([x, TEXTURE * _texture(x, hidden)]), hidden)]
    while (coarser := _coarser(*levels[-1])) is not None:
        levels.append(coarser)
    before: _Search | None = None
    for number in reversed(range(len(levels))):
        search = _Search(*levels[number], rng)
        if before is not None:
            search.follow(before)
        elif number:
            search.peel()
        for _ in range(ROUNDS[number > 0]):
            search.improve()
            search.average()
        before = search
    assert before is not None
    return torch.where(hidden, before.frames()[: len(clip)].clamp(-1, 1), clip)


def _texture(x: Tensor, hidden: Tensor) -> Tensor:
    """Means [2, T, H, W] of the absolute differences down and right of grey, over seen pixels around; 0 where there
    are none."""
    grey, seen = x.mean(0), (~hidden).to(x)
    parts = []
    for axis, pad in ((1, (0, 0, 0, 1)), (2, (0, 1))):
        last = grey.shape[axis] - 1
        both = seen.narrow(axis, 0, last) * seen.narrow(axis, 1, last)
        slope = (grey.narrow(axis, 1, last) - grey.narrow(axis, 0, last)).abs() * both
        total, count = (F.avg_pool2d(F.pad(part, pad)[None], AROUND, 1, AROUND // 2)[0] for part in (slope, both))
        parts.append(total / count.clamp(min=1e-6))
    return torch.stack(parts)


def _coarser(x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor] | None:
    """The next level, of half the height and width; None where the hole is small, or too few patches are seen whole."""
    deepest = float(distance(hidden.numpy())[hidden.numpy()].max())
    if deepest <= DEEP or min(hidden.shape[1:]) < 2 * SIDE:
        return None
    veil = F.max_pool2d(hidden.float(), 2, ceil_mode=True) > 0
    means = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
    whole = F.max_pool3d(veil.float()[None], [min(SIDE, n) for n in veil.shape], 1) == 0
    return (means, veil) if float(whole.float().mean()) >= FEWEST else None


class _Search:
    """Neighbours of the patches that overlap the hole, at one level.

    A patch is known by its first corner. Pixels and corners are numbers of the places of the padded clip, row by row:
    a step is a sum.

    Args:
        frames: [K, T, H, W], colours and textures, estimates where hidden.
        hidden: bool [T, H, W].
        rng: of the search.
    """

    def __init__(self, frames: Tensor, hidden: Tensor, rng: torch.Generator) -> None:
        self._rng, self._size = rng, tuple(hidden.shape)
        self._sides = tuple(min(SIDE, n) for n in self._size)
        self._shape = tuple(n + 2 * PAD for n in self._size)  # padded
        self._corners = tuple(n - side + 1 for n, side in zip(self._size, self._sides, strict=True))
        self._stride = torch.tensor([self._shape[1] * self._shape[2], self._shape[2], 1])
        self._steps = torch.tensor([*product(*map(range, self._sides))]) @ self._stride  # [P], from corner to pixel
        self._rows = F.pad(frames, (PAD,) * 6).flatten(1).T.contiguous()  # [places, K]
        self._hidden = self._placed(hidden, False)
        share = F.avg_pool3d(hidden.float()[None], self._sides, 1)[0]
        least = float(np.quantile(share.numpy(), FEWEST, method="lower"))
        self._source = self._placed(share <= least + 1e-6, False)
        self._sources = self._source.nonzero()[:, 0]
        self.queries = self._placed(share > 1e-6, False).nonzero()[:, 0]
        self._number = torch.full((len(self._source),), -1)
        self._number[self.queries] = torch.arange(len(self.queries))
        self._samples = self._drawn(min(SAMPLES, len(self._sources)))
        self._basis, self._known = self._compared(frames)
        self.neighbours = self._drawn(len(self.queries))

    def frames(self) -> Tensor:
        """The clip and its textures as estimated, [K, T, H, W]."""
        inner = (slice(PAD, PAD + n) for n in self._size)
        return self._rows.T.view(-1, *self._shape)[(slice(None), *inner)]

    def _placed(self, values: Tensor, empty: float) -> Tensor:
        """Values [t, h, w] at the first places along each axis, in the padded clip, flat."""
        ends = [(PAD, size - PAD - n) for size, n in zip(self._shape, values.shape, strict=True)]
        return F.pad(values, [n for end in reversed(ends) for n in end], value=empty).flatten()

    def _drawn(self, num: int) -> Tensor:
        return self._sources[torch.randint(len(self._sources), (num,), generator=self._rng)]

    def _taken(self, corners: Tensor) -> Tensor:
        """Patches [n, P K]."""
        return self._rows[corners[:, None] + self._steps].flatten(1)

    def _compared(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Principal directions [P K, components] of sources, and all patches in them [places, components]."""
        sample = self._taken(self._samples)
        sample = sample - sample.mean(0)
        basis = torch.linalg.eigh(sample.T @ sample).eigenvectors[:, -COMPONENTS:]
        kernel = basis.T.reshape(-1, *self._sides, len(frames)).movedim(-1, 1)
        found = F.conv3d(frames[None], kernel.contiguous())[0]
        known = torch.zeros(*self._shape, len(found))
        known[tuple(slice(PAD, PAD + n) for n in self._corners)] = found.movedim(0, -1)
        return basis, known.flatten(0, 2)

    def follow(self, before: _Search) -> None:
        """Begin with the values and the neighbours of the next coarser level."""
        large = F.interpolate(before.frames(), scale_factor=2, mode="bilinear")[..., : self._size[1], : self._size[2]]
        large = F.pad(large, (PAD,) * 6).flatten(1).T
        self._rows[self._hidden] = large[self._hidden]
        here, twice = self._coordinates(self.queries), torch.tensor([1, 2, 2])
        there = torch.minimum(here // twice, torch.tensor(before._corners) - 1)
        number = before._number[before._flat(there)]
        found = before._coordinates(before.neighbours[number.clamp(min=0)]) * twice + here - there * twice
        place = self._flat(torch.minimum(found, torch.tensor(self._corners) - 1))
        self.neighbours = torch.where((number >= 0) & self._source[place], place, self.neighbours)
        self._compare()
        self.average()

    def _coordinates(self, places: Tensor) -> Tensor:
        """[n, 3] in the clip."""
        return torch.stack(torch.unravel_index(places, self._shape), -1) - PAD

    def _flat(self, coordinates: Tensor) -> Tensor:
        return (coordinates + PAD) @ self._stride

    def peel(self) -> None:
        """Fill the hole layer by layer from its border, each pixel from the sample whose patch is most like what is
        known around it."""
        values = self._taken(self._samples)  # [S, P K]
        powers = values.view(len(values), len(self._steps), -1).square().sum(-1)  # [S, P]
        known = self._placed(torch.ones(self._size, dtype=torch.bool), False) & ~self._hidden
        last = torch.tensor(self._corners) - 1
        half = torch.tensor(self._sides) // 2
        while len(missing := (self._hidden & ~known).nonzero()[:, 0]):
            near = F.max_pool3d(known.view(1, *self._shape).float(), 3, 1, 1).flatten()[missing] > 0
            for some in missing[near].split(CHUNK):
                corner = self._flat(torch.minimum((self._coordinates(some) - half).clamp(min=0), last))
                place = corner[:, None] + self._steps
                seen = known[place].float()
                unlike = seen @ powers.T - 2 * (self._rows[place] * seen[..., None]).flatten(1) @ values.T
                found = self._samples[unlike.argmin(1)] + some - corner
                self._rows[some] = self._rows[found]
            known[missing[near]] = True

    def improve(self) -> None:
        """One round of search: of the neighbours of patches beside each, and at random, ever nearer."""
        self._compare()
        for stride, axis, sign in product(STRIDES, range(3), (1, -1)):
            step = sign * stride * self._stride[axis]
            number = self._number[self.queries - step]
            self._offer(torch.where(number >= 0, self.neighbours[number.clamp(min=0)] + step, self.neighbours))
        reach = torch.tensor(self._corners, dtype=torch.float)
        while float(reach.max()) >= 1:
            moved = (2 * torch.rand(len(self.queries), 3, generator=self._rng) - 1) * reach
            found = self._coordinates(self.neighbours) + moved.round().long()
            self._offer(self._flat(torch.minimum(found.clamp(min=0), torch.tensor(self._corners) - 1)))
            reach = reach / 2

    def _compare(self) -> None:
        self._wanted = torch.cat([self._taken(some) @ self._basis for some in self.queries.split(CHUNK)])
        self._unlike = (self._known[self.neighbours] - self._wanted).square().sum(1)

    def _offer(self, places: Tensor) -> None:
        unlike = (self._known[places] - self._wanted).square().sum(1)
        better = (unlike < self._unlike) & self._source[places] & (places != self.queries)
        self.neighbours = torch.where(better, places, self.neighbours)
        self._unlike = torch.where(better, unlike, self._unlike)

    def average(self) -> None:
        """Every hidden pixel becomes the weighted mean of what the neighbours of the patches around it say."""
        made = []
        for some in self._hidden.nonzero()[:, 0].split(CHUNK):
            corner = some[:, None] - self._steps  # [n, P]
            number = self._number[corner]
            there = number >= 0
            unlike = torch.where(there, self._unlike[number], torch.inf)
            mean = torch.where(there, unlike, 0).sum(1, keepdim=True) / there.sum(1, keepdim=True)
            nearest = unlike.amin(1, keepdim=True)
            weight = torch.exp((nearest - unlike) / (WIDTH * mean + 1e-6))
            values = self._rows[self.neighbours[number] + self._steps]  # [n, P, K]
            made.append(torch.einsum("np,npk->nk", weight / weight.sum(1, keepdim=True), values))
        self._rows[self._hidden] = torch.cat(made)
