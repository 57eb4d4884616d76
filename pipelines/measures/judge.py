"""How good pictures are: distances between collections, in the features of a small classifier of the same data, which
also learned to tell them from noise and from averages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.measures import floors
from pipelines.stage import Run

TOGETHER = 500  # pictures judged at once
NEIGHBOURS = 3  # of the manifolds of precision and recall
MOST = 4000  # pictures of a collection whose manifold is taken
LOOKED = 64  # pixels a side that the classifier looks at, at most
EPOCHS = 40  # of it, at most
STEPS = 900  # of the classifier's training
FEATURES = 64


class Classifier(nn.Module):
    """A ConvNet that is learned from labelled pictures, only to judge by.

    Args:
        channels: of the pictures.
        num_classes: of their labels, one number for each kind of label.
    """

    def __init__(self, channels: int, *num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.body = nn.Sequential(
            nn.Conv2d(channels, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(),
            nn.Conv2d(48, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(3),
            nn.Flatten(), nn.Linear(64 * 9, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, sum(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.respond(x))

    def respond(self, x: Tensor) -> Tensor:
        """Features of pictures, which are looked at no larger than LOOKED pixels a side."""
        factor = -(-max(x.shape[2:]) // LOOKED)
        return self.body(F.avg_pool2d(x, factor) if factor > 1 else x)

    @classmethod
    def fit(
        cls, x: Tensor, labels: Sequence[Tensor], num_classes: Sequence[int], rng: torch.Generator, run: Run,
        steps: int | None = None,
    ) -> Classifier:  # fmt: skip
        """Learned from pictures x [n, C, H, W] with labels [n] of each kind; shifts and noise make it sturdy."""
        device, layout = run.accelerator.device, torch.channels_last
        model: Classifier = cls(x.shape[1], *num_classes).to(device, memory_format=layout)  # pyright: ignore[reportCallIssue]
        steps = steps or steps_for(len(x))
        optimizer = torch.optim.AdamW(model.parameters(), 0.004, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.004, steps)
        for _ in run.progress(range(steps), steps, "learning to judge"):
            rows = torch.randint(len(x), (128,), generator=rng)
            shift = torch.randint(-1, 2, (2,), generator=rng).tolist()
            batch = x[rows].roll(shift, (2, 3)) + 0.05 * torch.randn(x[rows].shape, generator=rng)
            with run.accelerator.autocast():
                logits = model(batch.to(device, memory_format=layout))
            parts = zip(logits.float().split(list(num_classes), 1), labels, strict=True)
            loss = sum(_loss(part, of[rows].to(device)) for part, of in parts)
            assert isinstance(loss, Tensor)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return model.cpu().eval()

    @classmethod
    def of_data(cls, x: Tensor, labels: Tensor | None, num_classes: int, rng: torch.Generator, run: Run) -> Classifier:
        """Learned to tell pictures x [n, C, H, W] from what no sample may be taken for (`floors.PICTURES`), which is
        the first kind of label, 0 for data, and where there are labels [n], -1 where not known, their classes."""
        num = max(1, len(x) // len(floors.PICTURES))
        others = [make(x, num, rng) for make in floors.PICTURES.values()]
        kind = torch.cat([torch.full((len(one),), k) for k, one in enumerate([x, *others])])
        told, nums = [kind], [1 + len(others)]
        if labels is not None and num_classes > 1:
            told.append(torch.cat([labels, torch.full((len(kind) - len(x),), -1)]))
            nums.append(num_classes)
        return cls.fit(torch.cat([x, *others]), told, nums, rng, run, steps_for(len(x)))

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        return torch.cat([self.respond(part) for part in x.split(TOGETHER)])

    @torch.no_grad()
    def probabilities(self, x: Tensor, kind: int = 0) -> Tensor:
        """[n, classes] of one kind of label."""
        logits = torch.cat([self(part) for part in x.split(TOGETHER)])
        return logits.split(list(self.num_classes), 1)[kind].softmax(1)


def steps_for(num: int) -> int:
    """Of the training on so many pictures."""
    return min(STEPS, max(100, EPOCHS * num // 128))


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of those whose label is known, 0 where none is."""
    known = labels >= 0
    return F.cross_entropy(logits[known], labels[known], label_smoothing=0.02) if known.any() else logits.sum() * 0


def frechet(first: Tensor, second: Tensor) -> float:
    """Frechet distance of the Gaussians fitted to features [n, F] and [m, F] (Heusel et al. 2017)."""
    (m1, c1), (m2, c2) = ((f.double().mean(0), f.double().T.cov()) for f in (first, second))
    values, vectors = torch.linalg.eigh(c1)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    mixed = torch.linalg.eigvalsh(root @ c2 @ root).clamp(min=0).sqrt().sum()
    return float((m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * mixed)


def precision_recall(samples: Tensor, real: Tensor) -> tuple[float, float]:
    """Share of the samples among the real ones, and of the real ones among the samples (Kynkäänniemi et al. 2019)."""

    def within(points: Tensor, manifold: Tensor) -> float:
        radius = torch.cdist(manifold, manifold).kthvalue(min(NEIGHBOURS + 1, len(manifold)), 1).values
        return float((torch.cdist(points, manifold) <= radius).any(1).float().mean())

    samples, real = samples[:MOST], real[:MOST]
    return within(samples, real), within(real, samples)


def compare(samples: Tensor, real: Tensor) -> dict[str, float]:
    """Features of samples [n, F] against real ones [m, F]."""
    precision, recall = precision_recall(samples, real)
    return {"frechet": frechet(samples, real), "precision": precision, "recall": recall}


def share_of(flags: Tensor) -> float:
    """Share of bool flags that are set."""
    return float(flags.float().mean())
