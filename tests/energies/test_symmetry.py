"""Products over transforms and over windows of x, and the 3-D convolution on small grids, against their definitions."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from conftest import seeded
from torch import Tensor, nn
from torch.nn import functional as F

from energies import (
    EncoderEnergy,
    Energy,
    FunctionEnergy,
    GenerativeConvNet,
    Invariant,
    Tiled,
    gradient,
    invariant,
    tiled,
)
from energies.compute import prepared
from energies.networks.convnet import Conv3d
from energies.symmetry import TURNS, Flip, Turn

MIRRORS = (Turn(times=0), Turn(times=2), Flip(-1), Flip(-2))
UPRIGHT = tuple(Turn((-3, -1), k) for k in range(4))  # of voxels, about the axis between
GROUPS = {"turns": (TURNS, (2, 4, 4)), "mirrors": (MIRRORS, (2, 4, 3)), "upright": (UPRIGHT, (1, 3, 4, 3))}


pytestmark = pytest.mark.usefixtures("double")


class Lopsided(Energy):
    """Without any symmetry: every place has its weight, every axis its direction."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.event_shape = shape
        self.weight = torch.rand(shape, generator=seeded(0))

    def forward(self, x: Tensor) -> Tensor:
        energies = (self.weight * (1.3 * x).cos()).flatten(1).sum(1)
        for axis in range(2, x.ndim):
            energies = energies + axis * (x.diff(dim=axis).exp()).flatten(1).sum(1)
        return energies


class Pixels(Energy):
    """A sum over the elements of x, with a weight for each channel."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.event_shape = shape

    def forward(self, x: Tensor) -> Tensor:
        channels = torch.arange(1.0, x.shape[1] + 1).view(-1, *[1] * (x.ndim - 2))
        return (channels * (x.square() / 2 + (2 * x).sin())).flatten(1).sum(1)


def points(*shape: int, seed: int = 9) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


# --- symmetries -------------------------------------------------------------------------------------------------------


def test_turns_and_flips_are_those_of_a_picture():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert Turn()(x).tolist() == [[[[2.0, 4.0], [1.0, 3.0]]]]
    assert Turn(times=2)(x).tolist() == [[[[4.0, 3.0], [2.0, 1.0]]]]
    assert Flip()(x).tolist() == [[[[2.0, 1.0], [4.0, 3.0]]]]
    assert Flip(-2)(x).tolist() == [[[[3.0, 4.0], [1.0, 2.0]]]]
    assert len({str(turn(x).tolist()) for turn in TURNS}) == 4


@pytest.mark.parametrize("name", GROUPS)
def test_an_invariant_energy_does_not_tell_the_transforms_of_a_group_apart(name):
    group, shape = GROUPS[name]
    energy, x = Lopsided(*shape), points(3, *shape)
    made = invariant(energy, group)
    torch.testing.assert_close(made(x), sum(energy(t(x)) for t in group) / len(group))
    slope = gradient(made, x)[1]
    for t in group:
        torch.testing.assert_close(made(t(x)), made(x))
        torch.testing.assert_close(gradient(made, t(x))[1], t(slope))  # it turns along
    unlike = [bool(((energy(t(x)) - energy(x)).abs() > 1e-3).all()) for t in group]
    assert sum(unlike) == len(group) - 1, "but for the identity the energy itself does"


def test_what_was_invariant_stays_as_it_was():
    x = points(3, 2, 4, 4)
    for energy in (FunctionEnergy("contrast"), FunctionEnergy("brightness"), invariant(Lopsided(2, 4, 4))):
        torch.testing.assert_close(invariant(energy)(x), energy(x))
    torch.testing.assert_close(invariant(FunctionEnergy("mirror"), MIRRORS)(x), FunctionEnergy("mirror")(x))


@pytest.mark.parametrize("name", GROUPS)
def test_transforms_are_saved(name, tmp_path):
    group, shape = GROUPS[name]
    Invariant([FunctionEnergy("mirror")], group).save_pretrained(tmp_path)
    again = Invariant.from_pretrained(tmp_path)
    assert isinstance(again, Invariant) and again.transforms == group
    x = points(3, *shape)
    assert torch.equal(again(x), invariant(FunctionEnergy("mirror"), group)(x))


def test_it_takes_one_energy_and_a_transform():
    for parts, transforms in (([], TURNS), ([Lopsided(1, 2, 2)] * 2, TURNS), ([Lopsided(1, 2, 2)], [])):
        with pytest.raises(ValueError, match=r"one (energy|transform)"):
            Invariant(parts, transforms)


# --- windows ----------------------------------------------------------------------------------------------------------

# Shape of the window, size of X and stride: pictures, voxels and video; squares and others, touching and overlapping.
TILINGS = {
    "picture": ((3, 4, 4), (8, 6), (2, 2)),
    "oblong": ((2, 6, 2), (9, 4), (3, 1)),
    "touching": ((1, 4, 2), (8, 8), (4, 2)),
    "one": ((2, 4, 4), (4, 4), (4, 4)),
    "voxels": ((1, 2, 4, 2), (4, 6, 4), (1, 2, 2)),
    "video": ((3, 2, 4, 4), (4, 4, 8), (2, 4, 2)),
}


@pytest.mark.parametrize("name", TILINGS)
def test_every_element_lies_in_as_many_windows(name):
    """So a sum over elements is that of the larger X, as are its gradients."""
    (channels, *window), size, stride = TILINGS[name]
    made, x = tiled(Pixels(channels, *window), size, stride), points(2, channels, *size)
    assert made.event_shape == (channels, *size)
    torch.testing.assert_close(made(x), Pixels(channels, *size)(x))
    torch.testing.assert_close(gradient(made, x)[1], gradient(Pixels(channels, *size), x)[1])


@pytest.mark.parametrize("name", TILINGS)
def test_a_tiled_energy_is_that_of_its_windows(name):
    """At the temperature of one, cut out of X that goes on at its opposite edge; moved by a stride nothing changes."""
    (channels, *window), size, stride = TILINGS[name]
    part = Lopsided(channels, *window)
    made, x = tiled(part, size, stride), points(2, channels, *size)
    total, number = torch.zeros(2), 0
    for start in product(*(range(0, n, s) for n, s in zip(size, stride, strict=True))):
        cut = x
        for axis, (first, w, n) in enumerate(zip(start, window, size, strict=True)):
            cut = cut.index_select(2 + axis, torch.arange(first, first + w) % n)
        total, number = total + part(cut), number + 1
    torch.testing.assert_close(made(x), total * math.prod(size) / math.prod(window) / number)
    slope = gradient(made, x)[1]
    for axis, s in enumerate(stride):
        moved = x.roll(s, 2 + axis)
        torch.testing.assert_close(made(moved), made(x))
        torch.testing.assert_close(gradient(made, moved)[1], slope.roll(s, 2 + axis))
        assert s == 1 or ((made(x.roll(1, 2 + axis)) - made(x)).abs() > 1e-3).all(), "by less, something does"


def test_windows_that_do_not_fit_are_refused():
    part = Lopsided(1, 4, 4)
    for size, stride in (((8, 7), (2, 2)), ((8, 2), (2, 2)), ((9, 9), (3, 3)), ((8, 8, 8), (2, 2, 2)), ((8, 8), (2,))):
        with pytest.raises(ValueError):
            tiled(part, size, stride)
    with pytest.raises(ValueError, match="must be multiples of the stride"):
        tiled(part, (8, 7), (2, 2))
    with pytest.raises(RuntimeError, match="of any shape"):
        tiled(FunctionEnergy("contrast"), (8, 8), (2, 2))


def test_a_tiled_family_knows_its_levels_and_a_mean_by_channel():
    torch.manual_seed(0)
    family = EncoderEnergy([2, 4, 4], (4,), (1,))
    family.mean.copy_(torch.rand(2, 4, 4))
    made, x = tiled(family, (8, 6), (2, 2)), points(3, 2, 8, 6)
    assert made.noisy and made.spread == family.spread
    torch.testing.assert_close(made.mean, family.mean.mean((1, 2), keepdim=True))
    levels = torch.tensor([0.1, 0.7, 3.0])
    for t in (0.1, levels):
        torch.testing.assert_close(made.at(t)(x), tiled(family.at(t), (8, 6), (2, 2))(x))
    clean = made + FunctionEnergy("contrast")
    shrunk = made.mean + (x - made.mean) * 0.25 / (0.25 + 0.7**2)
    torch.testing.assert_close(clean.at(0.7)(x), made.at(0.7)(x) + FunctionEnergy("contrast")(shrunk))
    assert tiled(GenerativeConvNet("image", [1, 4, 4], mean=0.3), (8, 8), (2, 2)).origin == 0.3


def test_a_tiling_is_saved(tmp_path):
    torch.manual_seed(0)
    energy = tiled(EncoderEnergy([2, 4, 4], (4,), (1,), noisy=False), (8, 6), (4, 2))
    energy.save_pretrained(tmp_path)
    again = Tiled.from_pretrained(tmp_path)
    assert isinstance(again, Tiled) and (again.size, again.stride) == ((8, 6), (4, 2))
    x = points(3, 2, 8, 6)
    assert torch.equal(again(x), energy(x))


# --- convolutions on small grids --------------------------------------------------------------------------------------

GRIDS = [(2, 2, 2), (1, 2, 2), (1, 1, 1), (2, 1, 2), (3, 2, 2)]


def through(convolve, x: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """The value, its gradients in x and the parameters, and the gradients of the norm of that in x."""
    x = x.clone().requires_grad_()
    out = convolve(x)
    loss = (points(*out.shape, seed=3) * out.sin()).sum()  # not linear in x, so that second gradients are not 0
    first = torch.autograd.grad(loss, [x, *parameters], create_graph=True)
    second = torch.autograd.grad(first[0].square().sum(), [x, *parameters])
    return [out, *first, *second]


@pytest.mark.parametrize("channels", [(2, 3), (6, 5)])  # up to 4 count as few in `prepared`
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_convolution_on_a_small_grid_is_torchs(grid, bias, channels):
    torch.manual_seed(0)
    layer = Conv3d(*channels, 3, padding=1, bias=bias)
    x, parameters = points(4, channels[0], *grid), list(layer.parameters())
    for laid_out in (x, x.contiguous(memory_format=torch.channels_last_3d)):
        found = through(layer, laid_out, parameters)
        wanted = through(lambda x: F.conv3d(x, layer.weight, layer.bias, padding=1), x, parameters)
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b)

    class Net(Energy):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).sin().flatten(1).sum(1)

    for a, b in zip(gradient(prepared(Net()), x), gradient(Net(), x), strict=True):
        torch.testing.assert_close(a, b)


def test_other_convolutions_are_torchs_as_well():
    torch.manual_seed(0)
    x = points(2, 2, 2, 2, 2)
    for settings in ({"kernel_size": 1}, {"kernel_size": 3, "padding": 1, "stride": 2}, {"kernel_size": 2},
                     {"kernel_size": 3, "padding": 2}, {"kernel_size": (1, 3, 3), "padding": (0, 1, 1)}):  # fmt: skip
        ours, theirs = Conv3d(2, 3, **settings), nn.Conv3d(2, 3, **settings)
        theirs.load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours(x), theirs(x))
