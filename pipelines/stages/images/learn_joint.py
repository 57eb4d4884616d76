"""Learn one network that classifies and generates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data.errors import InputError
from energies import EncoderEnergy, EncoderLogits, JointEnergy
from energies.buffer import ReplayBuffer
from energies.generators import described
from energies.objectives import Batch, Joint, MaximumLikelihood, ScoreMatching
from pipelines.pipeline import Run
from pipelines.stages.images.learn import SAMPLED, num_levels, pretrained
from pipelines.stages.images.load import to_float
from pipelines.stages.settings import check_network
from pipelines.training import Optimizer, train


@dataclass(frozen=True)
class LearnJoint:
    """Learn a joint energy of pictures and labels, E(x, y) = -f(x)[y] (energies/joint.py), and the same network by
    cross-entropy alone to compare with; or take ones that were learned before."""

    needs: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[tuple[str, ...]] = ("energy", "plain", "generator")
    distributed: ClassVar[bool] = True

    pretrained: str | None = None
    """Folder of an earlier run of the same pictures, with energy/ and plain/: then nothing is learned."""

    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of the levels, from half the resolution on; of small pictures only the first ones."""

    depths: tuple[int, ...] = (1, 2, 2)
    """Residual blocks there."""

    objective: Joint = Joint()
    """How it learns."""

    optimizer: Optimizer = field(default_factory=lambda: Optimizer(1800, 0.02, 30, 1.0, 0.99, 100, "muon"))
    """How its weights are found."""

    plain_share: float = 0.5
    """The plain network, whose steps are cheaper, gets so much of the steps."""

    batch: int = 64
    """Pictures a step."""

    chains: int = 2048
    """Chains in the replay buffer, for maximum likelihood."""

    def __post_init__(self) -> None:
        check_network(self.widths, self.depths)
        if self.batch < 2 or self.chains < 1 or not 0 < self.plain_share <= 1:
            raise ValueError("batch must be 2 or more, chains 1 or more, plain_share above 0, at most 1")

    def files(self) -> tuple[str, ...]:
        if self.pretrained is None:
            return ()
        return tuple(str(Path(self.pretrained, name, "model.safetensors")) for name in ("energy", "plain"))

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        images = values["images"]
        labels = images.get("train_labels")
        if labels is None or len(labels[labels >= 0].unique()) < 2:
            raise InputError("learn_joint needs pictures with labels of two classes or more: put them into folders")
        shape, num = list(images["train"].shape[1:]), len(images["classes"])
        generator = described(self.objective.generator())
        if self.pretrained is not None:
            root = Path(self.pretrained)
            root = root.parent if root.name == "energy" else root
            found = {name: pretrained(root / name, shape, "learn_joint") for name in ("energy", "plain")}
            if not all(isinstance(e, JointEnergy) and e.num_classes == num for e in found.values()):
                raise InputError(f"learn_joint.pretrained={self.pretrained}: holds no joint energies of {num} classes")
            if found["energy"].noisy != isinstance(self.objective.generative, ScoreMatching):
                raise InputError(
                    f"learn_joint.pretrained={self.pretrained}: was learned by another objective than "
                    "learn_joint.objective.generative; set the one that it was learned by"
                )
            return found | {"generator": generator}
        x = to_float(images["train"][:SAMPLED])
        noisy = isinstance(self.objective.generative, ScoreMatching)
        alone = replace(self.objective, generative=MaximumLikelihood(), weight=0.0)
        steps = max(1, round(self.optimizer.steps * self.plain_share))
        shorter = replace(self.optimizer, steps=steps)
        return {
            "energy": self._learn(x, images, num, noisy, self.objective, self.optimizer, run, "joint"),
            "plain": self._learn(x, images, num, False, alone, shorter, run, "plain"),
            "generator": generator,
        }

    def _learn(
        self, x: Tensor, images: dict[str, Any], num: int, noisy: bool, objective: Joint, optimizer: Optimizer,
        run: Run, name: str
    ) -> JointEnergy:  # fmt: skip
        shape, device = list(x.shape[1:]), run.accelerator.device
        depth = num_levels(shape, self.widths)
        encoder = EncoderEnergy(shape, self.widths[:depth], self.depths[:depth], noisy=noisy, heads=num)
        encoder.centre(x)
        energy = JointEnergy(EncoderLogits(encoder), num, shape).to(device)
        energy.classes = tuple(images["classes"])
        levels, labels = images["train"], images["train_labels"]
        chains = None
        if isinstance(objective.generative, MaximumLikelihood) and objective.weight:
            rng = run.generator("chains", run.accelerator.process_index, device=device)
            chains = ReplayBuffer.of_noise(
                self.chains, x[0].to(device), rng, start=objective.generative.generator().start(energy)
            )

        def draw(energy: JointEnergy, step: int, rng: torch.Generator) -> tuple[JointEnergy, Batch]:
            rows = torch.randint(len(levels), (self.batch,), generator=rng, device=rng.device).cpu()
            batch = Batch(to_float(levels[rows]).to(device), label=labels[rows].to(device), chains=chains)
            return energy, batch

        return train(energy, objective, draw, optimizer, run.part(name), {} if chains is None else chains.tensors())
