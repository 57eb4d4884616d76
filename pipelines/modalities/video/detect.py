"""Damage that shows in a clip itself: dust, scratches, dead pixels, lost and repeated frames.

Clips are float [C, T, H, W] in [-1, 1]; masks bool [T, H, W]. Finders compare with the noise of the clip, so that a
clean clip gives next to nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

DUST = 8.0  # times the noise by which dust stands out of the frames before and after
LEAST = 0.12  # of the range -1 to 1, below which nothing is called damage
SCRATCH = 0.65  # share of a column's height that stands out to one side
DEAD = 0.9  # share of the frames in which a dead pixel stands out to one side
STILL = 0.1  # of the usual change from frame to frame: a frame that changes less is a repeated one
BLANK = 0.02  # standard deviation of a frame that shows nothing


def dust(clip: Tensor) -> Tensor:
    """Spots of one frame: outside of the range of the nine pixels around in the frames before and after, which agree
    (the rank-ordered differences of Nadenau & Mitra 1997)."""
    x = clip.mean(0)
    near = F.pad(x[:, None], (1, 1, 1, 1), mode="replicate")
    high, low = F.max_pool2d(near, 3, 1)[:, 0], -F.max_pool2d(-near, 3, 1)[:, 0]
    before, after = torch.cat([x[1:2], x[:-1]]), torch.cat([x[1:], x[-2:-1]])
    top = torch.maximum(torch.cat([high[1:2], high[:-1]]), torch.cat([high[1:], high[-2:-1]]))
    bottom = torch.minimum(torch.cat([low[1:2], low[:-1]]), torch.cat([low[1:], low[-2:-1]]))
    outside = torch.maximum(x - top, bottom - x)
    agree = (before - after).abs()
    noise = _noise(agree) / 2**0.5
    found = (outside > max(DUST / 2 * noise, LEAST)) & (outside > agree)
    return _grown(found, 1)


def scratches(clip: Tensor) -> Tensor:
    """Upright lines, one to five pixels wide: columns that stand out of those beside them, to one side, along most of
    the height (Kokaram 1998), in most frames."""
    x = clip.mean(0)
    width = min(11, x.shape[2] - 1 + x.shape[2] % 2)
    padded = F.pad(x, (width // 2, width // 2), mode="reflect")
    middle = padded.unfold(2, width, 1).median(-1).values
    apart = x - middle
    noise = _noise(apart)
    signs = torch.where(apart.abs() > max(2 * noise, LEAST / 2), apart.sign(), torch.zeros(()))
    along = signs.mean(1).abs()  # [T, W]
    lasting = F.avg_pool1d(along.T[:, None], min(5, len(x) - 1 + len(x) % 2), 1, min(5, len(x) - 1 + len(x) % 2) // 2)
    columns = (lasting[:, 0].T > SCRATCH * 0.8) & (along > SCRATCH)
    found = columns[:, None, :].expand_as(x)
    return F.max_pool2d(found[:, None].float(), (1, 3), 1, (0, 1))[:, 0] > 0


def dead_pixels(clip: Tensor) -> Tensor:
    """Pixels that stand out of the eight around them, to one side, in nearly all frames of a clip that moves."""
    x = clip.mean(0)
    around = F.pad(x[:, None], (1, 1, 1, 1), mode="reflect")[:, 0].unfold(1, 3, 1).unfold(2, 3, 1).flatten(3)
    others = around[..., [0, 1, 2, 3, 5, 6, 7, 8]]
    middle = others.median(-1).values
    apart, spread = x - middle, others.amax(-1) - others.amin(-1)
    signs = torch.where((apart.abs() > LEAST) & (apart.abs() > spread), apart.sign(), torch.zeros(()))
    found = signs.mean(0).abs() > DEAD
    return found.expand_as(x)


def bad_frames(clip: Tensor) -> Tensor:
    """Frames, bool [T], that repeat the one before while the clip moves, or show nothing."""
    x = clip.mean(0).flatten(1)
    change = torch.cat([x.new_full((1,), torch.inf), x.diff(dim=0).abs().mean(1)])
    usual = change[1:].median() if len(x) > 1 else change
    repeated = change < STILL * usual
    blank = (x.std(1) < BLANK) & (x.std(1) < 0.2 * x.std(1).median())
    return repeated | blank


def _noise(deviations: Tensor) -> float:
    """Standard deviation of most of some numbers: 1.48 times the median size."""
    return 1.4826 * float(deviations.abs().flatten()[:: max(1, deviations.numel() // 1_000_000)].median())


def _grown(found: Tensor, pixels: int) -> Tensor:
    """With the pixels around, in each frame."""
    side = 2 * pixels + 1
    return F.max_pool2d(found[:, None].float(), side, 1, pixels)[:, 0] > 0
