"""The fast path gives the same energies and gradients, and rounds only forces."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from conftest import seeded
from torch import nn

from energies import (
    Average,
    Bounded,
    ClipReference,
    ConditionalEnergy,
    Conditioned,
    Context,
    Energy,
    GenerativeConvNet,
    Noisy,
    Schedule,
    gradient,
)
from energies.compute import Convolution, in_bfloat16, layouts, prepared
from energies.samplers import HMC, MALA, Langevin, ParallelTempering, RandomWalk
from energies.sampling import anneal, sample


class Net(Energy):
    """Layers that the fast path treats in different ways."""

    def __init__(self, dims: int, channels: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.net = nn.Sequential(
            conv(channels, 12, kernel, stride, padding), nn.SiLU(), conv(12, 6, 3, 2, 1, bias=False), nn.SiLU(),
            conv(6, 6, 3, 1, 1, groups=2), nn.SiLU(), conv(6, 3, 3, 1, "same", padding_mode="zeros"), nn.SiLU(),
            nn.AdaptiveAvgPool2d(2) if dims == 2 else nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.LazyLinear(1),
        )  # fmt: skip

    def forward(self, x):
        return x.square().flatten(1).sum(1) / 2 - 5 * self.net(x)[:, 0]


def made(dims: int, channels: int, kernel: int = 5, stride: int = 2, padding: int = 2) -> tuple[Energy, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        energy = Net(dims, channels, kernel, stride, padding)
        x = torch.randn(3, channels, *(11, 14, 13)[:dims])
        energy(x)
    return energy, x


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(5, 2, 2), (3, 1, 1), (4, 3, 0), (1, 1, 0)])
def test_the_prepared_energy_is_the_same_energy(dims, channels, kernel, stride, padding):
    energy, x = made(dims, channels, kernel, stride, padding)
    fast = prepared(energy)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        if dtype == torch.float64:
            energy, x = energy.double(), x.double()
            fast = prepared(energy)
        wanted, found = gradient(energy, x), gradient(fast, x)
        for a, b in zip(found, wanted, strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))
        with torch.no_grad():
            torch.testing.assert_close(fast(x), energy(x), rtol=tolerance, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "shape"), [("st", [3, 20, 36, 40]), ("voxel", [1, 20, 20, 20]), ("image", [3, 40, 44])]
)
def test_published_networks_are_the_same_too(preset, shape):
    energy = GenerativeConvNet(preset, shape)
    x = torch.randn(2, *shape, generator=seeded(0))
    plain, fast = gradient(energy, x), gradient(prepared(energy), x)
    torch.testing.assert_close(fast[0], plain[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(fast[1], plain[1], rtol=1e-5, atol=1e-5 * float(plain[1].abs().max()))


LAYOUTS = ("plain", "last", "unfolded")


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("forth", LAYOUTS)
@pytest.mark.parametrize("back", LAYOUTS)
def test_every_layout_gives_the_same_responses_and_gradients(dims, forth, back):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for channels, kernel, stride, padding in ((1, 4, 3, 0), (2, 5, 2, 2), (6, 3, 1, 1)):
            conv = (nn.Conv2d if dims == 2 else nn.Conv3d)(channels, 7, kernel, stride, padding)
            x = torch.randn(2, channels, *(11, 14, 13)[:dims], requires_grad=True)
            wanted = conv(x)
            grad = torch.randn_like(wanted)
            found = Convolution(conv, torch.float32, (forth, back))(x, conv.weight, conv.bias)
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
            (slope,), (exact,) = torch.autograd.grad(found, x, grad), torch.autograd.grad(wanted, x, grad)
            torch.testing.assert_close(slope, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["voxel", "image", "object"])
def test_layers_that_are_laid_out_anew_are_rounded_no_more_than_others(preset):
    """Kernels of hundreds of taps, and of one channel: in bfloat16 their responses, too, have a layout of their own."""
    shape = {"voxel": [1, 20, 20, 20], "image": [3, 40, 44], "object": [1, 28, 28]}[preset]
    for layer in GenerativeConvNet(preset, shape).layers[:2]:
        assert isinstance(layer, nn.Conv2d | nn.Conv3d)
        size = [max(n, k) for n, k in zip(shape[1:], layer.kernel_size, strict=True)]
        x = torch.randn(2, layer.in_channels, *size, generator=seeded(0)).requires_grad_()
        wanted = layer(x)
        grad = torch.randn(wanted.shape, generator=seeded(1))
        found = Convolution(layer, torch.bfloat16)(x, layer.weight, layer.bias).float()
        (slope,), (exact,) = torch.autograd.grad(found, x, grad), torch.autograd.grad(wanted, x, grad)
        errors = [float((a - b).norm() / b.norm()) for a, b in ((found.detach(), wanted.detach()), (slope, exact))]
        assert all(1e-5 < error < 0.01 for error in errors), errors


def test_second_derivatives_in_x_are_right():
    """Layers of every kind of layout: large kernels, few channels, others."""
    for energy, x in (made(2, 3, 15, 2, 7), made(3, 1, 7, 2, 3), made(3, 5, 7, 2, 3)):
        energy = energy.double().requires_grad_(False)
        x, direction = x.double().requires_grad_(), torch.randn(x.shape, generator=seeded(1)).double()
        curved = []
        for e in (energy, prepared(energy)):
            for layer in e.modules():  # float64 has no plain layout by the rule: take it
                if isinstance(layer, nn.Conv2d | nn.Conv3d) and "_conv_forward" in layer.__dict__:
                    back = layer.__dict__["_conv_forward"].back
                    layer.__dict__["_conv_forward"] = Convolution(layer, torch.float64, ("plain", back))
            _, slope = gradient(e, x, create_graph=True)
            curved.append(torch.autograd.grad((slope * direction).sum(), x)[0])
        found, exact = curved[1] - direction, curved[0] - direction  # of the network alone
        assert exact.norm() > 1e-6 * direction.norm()
        torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6 * float(exact.abs().max()))


def test_the_choice_of_layouts_is_fixed():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for channels in (1, 3, 5):
            for kernel in ((3, 3), (15, 15), (6, 6, 6)):
                assert layouts(channels, kernel, dtype, "cuda") == ("last", "last")
                back = layouts(channels, kernel, dtype, "cpu")[1]
                assert back == "last" or channels <= 4
    assert layouts(1, (16, 16, 16), torch.float32, "cpu") == ("plain", "unfolded")
    assert layouts(200, (6, 6, 6), torch.float32, "cpu") == ("plain", "last")
    assert layouts(64, (3, 3), torch.float32, "cpu") == ("last", "last")
    assert layouts(3, (3, 3), torch.float32, "cpu") == ("last", "unfolded")
    assert layouts(1, (16, 16, 16), torch.bfloat16, "cpu") == ("unfolded", "unfolded")
    assert layouts(200, (6, 6, 6), torch.bfloat16, "cpu") == ("last", "last")


SCRIPT = """
import hashlib, torch
from energies import GenerativeConvNet
from energies.compute import prepared
torch.manual_seed(0)
torch.set_num_threads(1)
energy = GenerativeConvNet("voxel", [1, 12, 12, 12])
x = torch.rand(2, 1, 12, 12, 12).requires_grad_()
responses = prepared(energy).features(x)[1]  # of the network alone: beside the reference its last bits are lost
for found in (responses, *torch.autograd.grad(responses.square().sum(), x)):
    print(hashlib.sha256(found.detach().numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_another_process_gives_the_same_bits():
    """However busy the machine is: a layout chosen by the clock would round otherwise now and then."""
    here, there = (subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) for _ in "ab")
    bits = [here.communicate()[0].split(), there.communicate()[0].split()]
    assert len(bits[0]) == 2 and bits[0] == bits[1]


def test_the_original_is_left_alone_and_what_it_learns_later_is_not_seen():
    energy, x = made(2, 3)
    names = {name for name, p in energy.named_parameters() if p.requires_grad}
    fast = prepared(energy)
    before = fast(x)
    assert {name for name, p in energy.named_parameters() if p.requires_grad} == names
    assert "_conv_forward" not in energy.net[0].__dict__ and "_conv_forward" in fast.net[0].__dict__
    assert not any(p.requires_grad for p in fast.parameters())
    assert not fast(x.requires_grad_()).grad_fn.name().startswith("Accumulate")
    energy(x).sum().backward()
    assert energy.net[0].weight.grad is not None
    with torch.no_grad():
        energy.net[0].weight.mul_(2)
    torch.testing.assert_close(fast(x), before)


def test_what_wraps_an_energy_is_prepared_with_it():
    energy = GenerativeConvNet("image", [2, 12, 12])
    x = torch.randn(3, 2, 12, 12)
    y = Average((2, 2)).observe(x)
    for whole in (
        Conditioned(energy, Average((2, 2)), y),
        0.5 * energy + 2.0 * energy,
        Bounded(energy),
        Conditioned(energy, Noisy(Average((2, 2)), 0.3), y),
    ):
        fast = prepared(whole)
        inner = [m for m in fast.modules() if isinstance(m, nn.Conv2d)]
        assert inner and all("_conv_forward" in m.__dict__ for m in inner)
        for a, b in zip(gradient(fast, x), gradient(whole, x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))
        torch.testing.assert_close(fast.project(x), whole.project(x))


@pytest.mark.parametrize("dims", [2, 3])
def test_in_bfloat16_forces_are_rounded_and_energies_are_not(dims):
    energy, x = made(dims, 3)
    rounded = prepared(energy, "bfloat16")
    energies, slope = gradient(rounded, x)
    exact_energies, exact_slope = gradient(energy, x)
    assert energies.dtype == slope.dtype == torch.float32
    network, exact_network = slope - x, exact_slope - x  # the reference's part is exact
    error = float((network - exact_network).norm() / exact_network.norm())
    assert 1e-5 < error < 0.03
    assert not torch.equal(energies, exact_energies)
    torch.testing.assert_close(rounded.exact(x), exact_energies)


@pytest.mark.parametrize(
    "sampler", [MALA(0.3), HMC(0.2, 3), RandomWalk(0.1), ParallelTempering(MALA(0.3), (1.0, 0.5))], ids=str
)
def test_acceptance_rests_on_exact_energies(sampler):
    energy, x = made(2, 3)
    rng = seeded(1)
    for state, _ in sample(sampler, energy, x, 4, rng, compute="bfloat16"):
        torch.testing.assert_close(state.energy, energy(state.x).detach())
        assert state.x.dtype == torch.float32


def test_metropolis_with_a_rounded_force_keeps_the_law():
    """A force that is far off, and energies that are right: the leapfrog stays reversible, so the law stays exact."""

    class Coarse(Energy):
        def forward(self, x):
            return x.square().sum(1) / 2

    class Rough(Coarse):
        exact = Coarse()

        def forward(self, x):
            return 0.7 * x.square().sum(1) / 2 + 0.3 * x.sum(1)

    x = torch.randn(20_000, 2, generator=seeded(0))
    for sampler in (MALA(0.9), HMC(0.5, 4)):
        state = sampler.init(Rough(), x)
        for number in range(8):
            state, info = sampler.step(Rough(), state, seeded(number))
        assert 0.3 < info.acceptance.mean() < 0.97
        assert (state.x.mean(0) * 20_000**0.5).abs().max() < 5
        assert ((state.x.var(0) - 1) * 10_000**0.5).abs().max() < 5


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_annealing_meets_every_noise_level(compute):
    """A prepared energy cannot be bound again, so it is bound first: levels and contexts are those asked for."""
    size = (1, 3, 4, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        energy = ConditionalEnergy(ClipReference(size[1:], 1), 3, (8, 8), (1, 1))
        hidden = torch.rand(1, 1, 4, 8, 8) < 0.5
        context = Context(
            torch.randn(size) * 0.3, torch.full((1, 1, 4, 8, 8), 0.2), hidden, torch.randn(1, 1, *size[1:])
        )
        x = torch.randn(size)
    bound = energy.told(context)
    for level in (0.1, 2.0):
        wanted = bound.at(level)(x)
        torch.testing.assert_close(prepared(bound.at(level), compute)(x), wanted, rtol=0.02, atol=0)
    schedule = Schedule(3, 2.0, 0.1, 2)
    ends = [list(anneal(bound, schedule, x, seeded(3), compute=c))[-1][1] for c in ("float32", compute)]
    assert float((ends[0] - ends[1]).square().mean().sqrt()) < 0.01 * float(ends[0].square().mean().sqrt())


def test_a_prepared_part_is_refused_where_its_exact_twin_would_be_lost():
    energy, x = made(2, 3)
    rounded = prepared(energy, "bfloat16")
    for compose in (lambda: 0.5 * rounded, lambda: Bounded(rounded), lambda: Conditioned(rounded, Average((1, 1)), x)):
        with pytest.raises(TypeError, match="`prepared` comes last"):
            compose()


def test_the_number_format_is_chosen_by_name():
    cpu = torch.device("cpu")
    assert in_bfloat16("bfloat16", cpu) and not in_bfloat16("float32", cpu)
    assert in_bfloat16("auto", cpu) in (True, False)
    with pytest.raises(ValueError, match="compute must be auto, float32 or bfloat16, got 'half'"):
        in_bfloat16("half", cpu)  # type: ignore[arg-type]


def test_sampling_is_the_same_with_and_without_it():
    energy, x = made(3, 1)
    rngs = [seeded(k) for k in range(3)]
    *_, (state, _) = sample(Langevin(0.1), energy, x, 5, rngs)
    sampler, rngs = Langevin(0.1), [seeded(k) for k in range(3)]
    plain = sampler.init(energy, x)
    for _ in range(5):
        plain, _ = sampler.step(energy, plain, rngs)
    torch.testing.assert_close(state.x, plain.x, rtol=1e-5, atol=1e-5)
