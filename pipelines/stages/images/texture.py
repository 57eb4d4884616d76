"""Learn one photograph of a texture, and make a bigger one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from data import pictures, textures
from data.errors import InputError
from energies import Chain, EncoderEnergy, Energy, GenerativeConvNet, Schedule
from energies.buffer import ReplayBuffer, Start
from energies.diagnostics import Monitor
from energies.objectives import Batch, MaximumLikelihood, ScoreMatching
from energies.sampling import LevelSampler
from energies.symmetry import Tiled, tiled
from pipelines.chains import findings
from pipelines.generation import generate
from pipelines.pipeline import Run
from pipelines.settings import check_network, check_sampler
from pipelines.training import Optimizer, train

LARGEST = 4096  # pixels a side of what is made

# What is far apart has to agree on a rhythm, which the flow alone leaves broken: Langevin steps mend it. And what is
# learned reaches no further than a crop, so that no level is needed that would drown one.
ANNEALED = Schedule(levels=24, high=5.0, steps=3)


@dataclass(frozen=True)
class LoadTexture:
    """Read the photograph of a texture, or make one."""

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("photograph", "source")

    photograph: str = "bricks"
    """A picture file; or bricks or cloth, which are made from the seed."""

    size: int | None = 128
    """Pixels a side: a centred square, shrunk by area; null keeps a file's size. What repeats, as a brick, is best
    seen whole in a crop."""

    channels: int = 3
    """1 (grey) or 3 (RGB)."""

    def __post_init__(self) -> None:
        if self.size is not None and not textures.SMALLEST <= self.size <= LARGEST:
            raise ValueError(f"size must be {textures.SMALLEST} to {LARGEST} pixels, got {self.size}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {self.channels}")

    def files(self) -> tuple[str, ...]:
        return (self.photograph,) if Path(self.photograph).is_file() else ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        x = self._made(run.seed) if self.photograph in textures.KINDS else self._read()
        if float(x.std()) < 0.01:
            raise InputError(f"load_texture.photograph={self.photograph}: is of one colour; there is nothing to learn")
        run.log(event="loaded", shape=list(x.shape))
        return {"photograph": x, "source": {"name": self.photograph}}

    def _made(self, seed: int) -> Tensor:
        if self.size is None:
            raise InputError("load_texture.size=null is for files; a made texture needs a size, as 128")
        return pictures.to_channels(textures.texture(self.photograph, self.size, seed), self.channels).contiguous()

    def _read(self) -> Tensor:
        try:
            levels = pictures.levels(Path(self.photograph))
        except InputError as error:
            raise InputError(f"load_texture.photograph: {error}") from None
        height, width = levels.shape[:2]
        if min(height, width) < textures.SMALLEST:
            raise InputError(
                f"load_texture.photograph={self.photograph}: has {width}x{height} pixels; a texture is learned from "
                f"{textures.SMALLEST}x{textures.SMALLEST} or more"
            )
        if self.size is not None and self.size > min(height, width):
            raise InputError(
                f"load_texture.size={self.size}: is larger than {self.photograph}, of {width}x{height} pixels; set "
                f"{min(height, width)} at most"
            )
        size = None if self.size is None else (self.size, self.size)
        return pictures.fit(levels, size, self.channels).contiguous()


@dataclass(frozen=True)
class Encoder:
    """Our default: a scalar ConvNet that reads every level, at all noise levels (energies/networks/encoder.py)."""

    widths: tuple[int, ...] = (32, 64, 96)
    """Channels of the levels, from half the resolution on."""

    depths: tuple[int, ...] = (1, 2, 2)
    """Residual blocks there."""

    objective: ScoreMatching = ScoreMatching(0.45)
    """How it learns."""

    optimizer: Optimizer = Optimizer(700, 0.02, 30, 1.0, 0.99, 100, "muon")
    """How its weights are found."""

    def __post_init__(self) -> None:
        check_network(self.widths, self.depths)

    def build(self, crop: int, photograph: Tensor) -> EncoderEnergy:
        """Of crops; its mean is one colour, that of the photograph [C, H, W]."""
        pixel = EncoderEnergy([len(photograph), 1, 1], self.widths, self.depths)
        pixel.centre(photograph.flatten(1).T[:, :, None, None])
        return pixel.resized((crop, crop))

    def generator(self) -> Schedule:
        return ANNEALED


@dataclass(frozen=True)
class ConvNet:
    """The published generative ConvNet of textures (Xie et al. 2016; energies/networks/convnet.py), learned by MCMC."""

    sigma: float = 0.5
    """Standard deviation of the Gaussian reference, in units of x (half the range of values)."""

    objective: MaximumLikelihood = MaximumLikelihood(step_size=0.07)
    """How it learns."""

    optimizer: Optimizer = Optimizer(150, 0.0003, 15, 1.0, 0.95)
    """How its weights are found."""

    chains: int = 8
    """Chains in the replay buffer."""

    def __post_init__(self) -> None:
        if not self.sigma > 0 or self.chains < 1:
            raise ValueError(f"sigma must be positive and chains 1 or more, got {self.sigma} and {self.chains}")

    def build(self, crop: int, photograph: Tensor) -> GenerativeConvNet:
        return GenerativeConvNet("image", [len(photograph), crop, crop], self.sigma, float(photograph.mean()))

    def generator(self) -> Chain:
        return self.objective.generator()


@dataclass(frozen=True)
class LearnTexture:
    """Learn an energy from crops of the photograph; it adds up over places, so that it is one of any size."""

    needs: ClassVar[tuple[str, ...]] = ("photograph",)
    gives: ClassVar[tuple[str, ...]] = ("energy", "generator")
    distributed: ClassVar[bool] = True

    energy: Encoder | ConvNet = Encoder()
    """The energy, and how it learns: encoder (our default, by score matching), or conv_net (published, by maximum
    likelihood)."""

    crop: int = 64
    """Pixels a side of the crops: two or three times what repeats. More is slower and copies more."""

    batch: int = 8
    """Crops a step."""

    def __post_init__(self) -> None:
        if self.crop < 16:
            raise ValueError(f"crop must be 16 pixels or more, got {self.crop}")
        if self.batch < 1:
            raise ValueError(f"batch must be 1 or more, got {self.batch}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        device = run.accelerator.device
        photograph = values["photograph"].to(device)
        height, width = photograph.shape[1:]
        if self.crop > min(height, width):
            raise InputError(
                f"learn_texture.crop={self.crop}: is larger than the photograph, of {width}x{height} pixels; set "
                f"{min(height, width)} at most"
            )
        energy: Any = self.energy.build(self.crop, values["photograph"])
        buffer = self._buffer(photograph, run)

        def draw(energy: Energy, step: int, rng: torch.Generator) -> tuple[Energy, Batch]:
            x = crops(photograph, self.crop, self.batch, rng)
            return energy, Batch(x, chains=buffer, progress=step / self.energy.optimizer.steps)

        kept = {} if buffer is None else buffer.tensors()
        energy = train(energy, self.energy.objective, draw, self.energy.optimizer, run, kept)
        return {"energy": energy, "generator": self.energy.generator()}

    def _buffer(self, photograph: Tensor, run: Run) -> ReplayBuffer | None:
        if not isinstance(self.energy, ConvNet):
            return None
        rng = run.generator("chains", run.accelerator.process_index, device=photograph.device)
        like = photograph[:, : self.crop, : self.crop]
        return ReplayBuffer.of_noise(self.energy.chains, like, rng, start=Start(photograph.mean()))


@dataclass(frozen=True)
class SynthesizeTexture:
    """Sample one big texture from the energy."""

    needs: ClassVar[tuple[str, ...]] = ("photograph", "energy", "generator")
    gives: ClassVar[tuple[str, ...]] = ("texture", "generator", "sampling")
    distributed: ClassVar[bool] = True

    height: int | None = None
    """Pixels; null: twice the photograph's."""

    width: int | None = None
    """Pixels; null: twice the photograph's."""

    margin: int = 24
    """Pixels around it that are sampled as well and cut off, for the network sees zeros beyond a border."""

    windows: int | None = None
    """Pixels between overlapping windows as large as a crop, 32 of 64 say: the product of the energy over them is
    sampled, without a margin, and the texture goes on at its opposite edge where its size is a multiple. It serves
    any energy, at so many times the time as windows overlap. null: the network is made as large as the texture."""

    generator: Schedule | Chain | None = None
    """How it is sampled: schedule or chain; null: as it suits the energy."""

    sampler: LevelSampler | None = None
    """What takes the steps: mala, hmc, underdamped, random_walk, parallel_tempering; null: langevin."""

    warm_up: int = 0
    """Steps that first adapt the step size of mala, hmc or random_walk; 50 or more, or 0."""

    def __post_init__(self) -> None:
        if self.windows is not None and self.windows < 4:
            raise ValueError(f"windows must be 4 pixels apart or more, got {self.windows}")
        check_sampler(self.sampler, self.warm_up)
        for name in ("height", "width"):
            size = getattr(self, name)
            if size is not None and not 16 <= size <= LARGEST:
                raise ValueError(f"{name} must be 16 to {LARGEST} pixels, got {size}")
        if not 0 <= self.margin <= 512:
            raise ValueError(f"margin must be 0 to 512 pixels, got {self.margin}")

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        height, width = (
            wanted or 2 * size
            for wanted, size in zip((self.height, self.width), values["photograph"].shape[1:], strict=True)
        )
        energy, margin = values["energy"], 0 if self.windows else self.margin
        if self.windows:
            energy = over_windows(energy, height, width, self.windows)
        else:
            energy = of_size(energy, height + 2 * margin, width + 2 * margin)
        energy = energy.to(run.accelerator.device).eval()
        generator = self.generator or values["generator"]
        monitor = Monitor(bounds=(-1, 1))
        canvas = generate(
            energy, generator, 1, None, run, "texture", sampler=self.sampler, warm_up=self.warm_up, monitor=monitor
        )[0]
        return {
            "texture": canvas[:, margin : margin + height, margin : margin + width].contiguous(),
            "generator": generator,
            "sampling": findings(monitor),
        }


def crops(x: Tensor, side: int, num: int, rng: torch.Generator) -> Tensor:
    """Squares of x [C, H, W] from random places: [num, C, side, side]."""
    ends = [size - side + 1 for size in x.shape[1:]]
    places = [torch.randint(end, (num,), generator=rng, device=rng.device).tolist() for end in ends]
    return torch.stack([x[:, top : top + side, left : left + side] for top, left in zip(*places, strict=True)])


def over_windows(energy: Any, height: int, width: int, stride: int) -> Tiled:
    """The product of an energy over windows that lie so far apart, of textures of that size or a little more.

    InputError: the windows do not divide by the stride, or the texture is smaller than one.
    """
    window = energy.event_shape[1]
    if window % stride or window == stride:
        raise InputError(
            f"synthesize_texture.windows={stride}: does not divide a crop of {window} pixels into windows that overlap"
        )
    if min(height, width) < window:
        raise InputError(f"synthesize_texture: {width}x{height} pixels are fewer than a window has, {window}x{window}")
    return tiled(energy, [-(-size // stride) * stride for size in (height, width)], (stride, stride))


def of_size(energy: Any, height: int, width: int) -> Any:
    """The same energy over textures of another size."""
    if isinstance(energy, EncoderEnergy):
        return energy.resized((height, width))
    wide = GenerativeConvNet("image", [energy.event_shape[0], height, width], energy.sigma, energy.mean)
    wide.load_state_dict(energy.state_dict())
    return wide
