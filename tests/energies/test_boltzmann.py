"""Restricted Boltzmann machines, against laws that are enumerated: energies, chains, gradients, labels, clamping."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import seeded
from torch import Tensor
from torch.nn import functional as F

from energies import RBM, Average, Hidden, Noisy
from energies.analytic import states
from energies.boltzmann import Clamp, GibbsChain, Machine, Units
from energies.boltzmann.ladder import by_temperature, packed, risen, sweep, unpacked
from energies.boltzmann.latent import unwrapped
from energies.objectives import Batch, ContrastiveDivergence

pytestmark = pytest.mark.usefixtures("double")

CHAINS = 4000


def stirred(machine: Machine, size: float = 1.0, seed: int = 0) -> Machine:
    """With weights, offsets and a base that say something."""
    rng = seeded(seed)
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=rng))
        for offset in machine.offsets[machine.visible == "gaussian" :]:
            offset.copy_(torch.rand(offset.shape, generator=rng))
        machine.base.copy_(torch.randn(machine.base.shape, generator=rng))
    return machine


def rbm(visible: int = 5, hidden: int = 3, classes: int = 0, seed: int = 0) -> RBM:
    made = stirred(RBM(visible, hidden, num_classes=classes), seed=seed)
    assert isinstance(made, RBM)
    return made


def every_x(machine: Machine) -> Tensor:
    return states((-1.0, 1.0), machine.event_shape)


def law(energy) -> Tensor:
    """Chances of every x."""
    with torch.no_grad():
        return (-energy(every_x(getattr(energy, "energy", energy)))).softmax(0)


def counts(x: Tensor) -> Tensor:
    bits = (x.flatten(1) > 0).long()
    places = 2 ** torch.arange(bits.shape[1] - 1, -1, -1)
    return torch.bincount((bits * places).sum(1), minlength=2 ** bits.shape[1]).double()


@torch.no_grad()
def far_from(x: Tensor, chance: Tensor) -> float:
    """Chi-square of the counts of all states, in standard deviations of it."""
    expected = chance * len(x)
    kept, found = expected > 5, counts(x)
    pairs = [(found[kept], expected[kept]), (found[~kept].sum()[None], expected[~kept].sum()[None])]
    found, expected = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    degrees = max(len(expected) - 1, 1)
    return float(((found - expected) ** 2 / (expected + 1e-9)).sum() - degrees) / math.sqrt(2 * degrees)


def test_the_free_energy_is_the_sum_over_hidden_units() -> None:
    machine = rbm()
    x, h = every_x(machine), states((0.0, 1.0), (3,))
    each = torch.stack([machine.joint()(torch.cat([(x + 1) / 2, row.expand(len(x), -1)], 1)) for row in h])
    torch.testing.assert_close(machine(x), -(-each).logsumexp(0))


def test_of_gaussian_units_it_is_the_same_integral() -> None:
    machine = stirred(RBM(2, 3, "gaussian"))
    machine.centre(torch.randn(50, 2, generator=seeded(2)) * 3 + 1)
    x, layers = torch.randn(7, 2, generator=seeded(3)), machine.layers()
    v = (x - machine.middle) / machine.unit
    each = [layers.energy(Units((v, row.expand(7, -1)))) for row in states((0.0, 1.0), (3,))]
    torch.testing.assert_close(machine(x), -(-torch.stack(each)).logsumexp(0))


def test_labels_are_told_exactly() -> None:
    machine = rbm(classes=3)
    x, layers = every_x(machine), machine.layers()
    v, h = (x + 1) / 2, states((0.0, 1.0), (3,))
    each = []
    for label in torch.eye(3):
        y = label.expand(len(v), -1)
        each.append(-torch.stack([-layers.energy(Units((v, row.expand(len(v), -1)), y)) for row in h]).logsumexp(0))
    energies = torch.stack(each, 1)
    torch.testing.assert_close(machine.logits(x).softmax(1), (-energies).softmax(1))
    torch.testing.assert_close(machine(x), -(-energies).logsumexp(1))
    labels = torch.arange(len(x)) % 3
    torch.testing.assert_close(machine.given(labels)(x), energies.gather(1, labels[:, None])[:, 0])
    means = torch.stack([h_given_y(layers, v, y) for y in torch.eye(3)], 1)
    torch.testing.assert_close(machine.features(x), ((-energies).softmax(1)[:, :, None] * means).sum(1))


def h_given_y(layers, v: Tensor, label: Tensor) -> Tensor:
    return layers.inputs(1, Units((v, v), label.expand(len(v), -1))).sigmoid()


@pytest.mark.parametrize("label", [None, 2])
def test_chains_arrive_in_the_law_of_x(label: int | None) -> None:
    machine = rbm(classes=3)
    energy = machine.given(label)
    noise = torch.randn(CHAINS, 5, generator=seeded(1))
    *_, x = GibbsChain(20).generate(energy, noise, seeded(2))
    assert x.shape == (CHAINS, 5) and x.abs().eq(1).all()
    assert abs(far_from(x, law(energy))) < 5
    assert far_from(x, law(machine.given(1))) > 10


def test_chains_from_noise_cool_down_into_both_hollows() -> None:
    """Twelve units that are all alike, far apart from all unlike: of chains that begin cold, few leave the hollow that
    the noise lies in, which is dark for all of these."""
    machine = RBM(12, 1)
    with torch.no_grad():
        machine.weights[0].fill_(4.0)
        below, above = machine.offsets
        machine.biases[0].copy_(-2 + machine.weights[0] @ above)
        machine.biases[1].copy_(-24 + below @ machine.weights[0])
    noise = torch.full((400, 12), -3.0)
    bright = {}
    for name, x in (
        ("cooled", list(GibbsChain(40).generate(machine, noise, seeded(0)))[-1]),
        ("cold", list(GibbsChain(40).continued(machine, machine.rounded(noise), seeded(0)))[-1]),
    ):
        bright[name] = float((x.mean(1) > 0).float().mean())
    assert abs(bright["cooled"] - 0.5) < 0.1 and bright["cold"] < 0.1


def test_gaussian_chains_arrive_too() -> None:
    machine = stirred(RBM(1, 2, "gaussian"))
    machine.centre(torch.randn(50, 1, generator=seeded(2)) + 0.3)
    *_, x, _ = GibbsChain(20).generate(machine, torch.randn(CHAINS, 1, generator=seeded(3)), seeded(4))
    grid = torch.linspace(-30, 30, 6001)[:, None]
    chance = (-machine(grid)).softmax(0)
    mean = (chance * grid[:, 0]).sum()
    std = ((chance * grid[:, 0] ** 2).sum() - mean**2).sqrt()
    assert abs(x.mean() - mean) < 5 * std / math.sqrt(CHAINS)
    assert abs(x.std() / std - 1) < 0.05


def test_what_is_seen_stays_and_the_rest_follows_the_conditional_law() -> None:
    machine, hidden = rbm(classes=3), torch.tensor([True, False, True, True, False])
    y = torch.tensor([0.0, 0.8, 0.0, 0.0, -0.1])  # levels of grey, which are rounded
    posterior = machine.posterior(Hidden(hidden), y)
    *_, x = GibbsChain(20).generate(posterior, torch.randn(CHAINS, 5, generator=seeded(1)), seeded(2))
    every, chance = every_x(machine), law(machine)
    fits = (every[:, 1] == 1) & (every[:, 4] == -1)
    chance = torch.where(fits, chance, 0.0)
    assert ((x[:, 1] == 1) & (x[:, 4] == -1)).all()
    assert abs(far_from(x, chance / chance.sum())) < 5


@pytest.mark.parametrize("visible", ["binary", "gaussian"])
def test_a_noisy_measurement_shifts_what_is_drawn(visible) -> None:
    machine = stirred(RBM(2, 3, visible))
    if visible == "gaussian":
        machine.centre(torch.randn(50, 2, generator=seeded(2)) * 2 + 0.3)
    y = torch.tensor([0.4, -1.7])
    posterior = machine.posterior(Noisy(Hidden(torch.tensor([False, True])), 0.9), y)
    steps = GibbsChain(20).generate(posterior, torch.randn(CHAINS, 2, generator=seeded(1)), seeded(2))
    *_, x, _ = steps
    if visible == "binary":
        assert abs(far_from(x, law(posterior))) < 5
        assert far_from(x, law(machine)) > 8
        return
    axis = torch.linspace(-20, 20, 801)
    grid = torch.cartesian_prod(axis, axis)
    chance = (-posterior(grid)).softmax(0)
    for k in range(2):
        mean = (chance * grid[:, k]).sum()
        std = ((chance * grid[:, k] ** 2).sum() - mean**2).sqrt()
        assert abs(x[:, k].mean() - mean) < 5 * std / math.sqrt(CHAINS)
        assert abs(x[:, k].std() / std - 1) < 0.05


def test_it_says_what_it_cannot_be_sampled_given() -> None:
    machine = RBM((1, 2, 2), 3)
    with pytest.raises(TypeError, match="given single elements"):
        next(
            GibbsChain(1).generate(
                machine.posterior(Average((2, 2)), torch.zeros(1, 1, 1)), torch.zeros(2, 1, 2, 2), seeded()
            )
        )
    with pytest.raises(TypeError, match="no hidden units"):
        unwrapped(machine + machine)


def test_sample_k_does_not_depend_on_its_batch() -> None:
    machine, noise = rbm(classes=3), torch.randn(3, 5, generator=seeded(1))
    *_, together = GibbsChain(6).generate(machine, noise, [seeded(k) for k in range(3)])
    for k in range(3):
        *_, alone = GibbsChain(6).generate(machine, noise[k : k + 1], [seeded(k)])
        assert torch.equal(alone[0], together[k])


# ------------------------------------------------------------------------------------------- learning


def likelihood_slopes(machine: Machine, x: Tensor, label: Tensor | None = None) -> dict[str, Tensor]:
    """The gradient of the mean of -log p(x), or of -log p(x, y), by enumeration."""
    energy = machine if label is None else machine.given(label)
    loss = energy(x).mean() + (-machine(every_x(machine))).logsumexp(0)
    names, parameters = zip(*machine.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def learned_slopes(machine: Machine, batch: Batch, how: ContrastiveDivergence, times: int) -> dict[str, Tensor]:
    """The mean of the gradients that the objective gives, of the machine as it is."""
    found: dict[str, Tensor] = {}
    rng = seeded(5)
    for _ in range(times):
        machine.zero_grad()
        how(machine, batch, rng)[0].backward()
        for name, parameter in machine.named_parameters():
            assert parameter.grad is not None
            found[name] = found.get(name, 0) + parameter.grad / times
    return found


@pytest.mark.slow
@pytest.mark.parametrize("chains", ["data", "persistent", "tempered"])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_gradient_is_that_of_the_likelihood(chains, classes: int) -> None:
    """Of CD with many steps, and of chains that have arrived."""
    machine = rbm(classes=classes)
    x = torch.randn(4, 5, generator=seeded(3)).sign().repeat(400, 1)
    label = (torch.arange(4) % 3).repeat(400) if classes else None
    how = ContrastiveDivergence(steps=15 if chains == "data" else 3, chains=chains, rungs=3, recentre=0.0)
    buffer = how.buffer(machine, 1600, seeded(4))
    batch = Batch(x, chains=buffer, label=label)
    if buffer is not None:
        learned_slopes(machine, batch, how, 6)
    found, truth = learned_slopes(machine, batch, how, 8), likelihood_slopes(machine, x, label)
    off = torch.cat([(found[name] - truth[name]).flatten() for name in truth])
    assert off.abs().max() < 0.05
    assert torch.cat([slope.flatten() for slope in truth.values()]).abs().max() > 0.3


def test_one_step_from_data_is_another_gradient() -> None:
    machine = stirred(RBM(5, 3), size=4.0)
    x = torch.ones(1600, 5)
    found = learned_slopes(machine, Batch(x), ContrastiveDivergence(chains="data", recentre=0.0), 4)
    truth = likelihood_slopes(machine, x)
    assert max(float((found[name] - truth[name]).abs().max()) for name in truth) > 0.1


def test_a_label_that_is_not_known_is_summed_out() -> None:
    machine = rbm(classes=3)
    x = torch.randn(4, 5, generator=seeded(3)).sign().repeat(2000, 1)
    label = torch.tensor([1, -1, 2, -1]).repeat(2000)
    units = machine.given(label).expected(x, seeded(1), machine.layers())
    assert units.label is not None
    assert torch.equal(units.label[0::4], torch.eye(3)[torch.ones(2000, dtype=torch.long)])
    drawn, chance = units.label[1::4].mean(0), machine.logits(x[1:2]).softmax(1)[0]
    assert (drawn - chance).abs().max() < 5 * 0.5 / math.sqrt(2000)


def test_recentring_leaves_the_law_as_it_is() -> None:
    machine = rbm(classes=3)
    x = every_x(machine)
    before = machine.logits(x), law(machine)
    machine.recentre([torch.tensor([0.1, 0.9, 0.4])], 0.5)
    torch.testing.assert_close(law(machine), before[1])
    torch.testing.assert_close(machine.logits(x).softmax(1), before[0].softmax(1))
    torch.testing.assert_close(machine.offsets[1][0], (stirred(RBM(5, 3, num_classes=3)).offsets[1][0] + 0.1) / 2)


def test_the_centred_gradient_does_not_change_where_zeros_and_ones_are_swapped() -> None:
    """Swapped data and chains of the swapped machine give the swapped gradient (Melchior et al. 2016)."""
    machine, swapped = rbm(), rbm()
    with torch.no_grad():  # the machine of 1 - v
        swapped.weights[0].neg_()
        swapped.biases[0].neg_()
        swapped.offsets[0].copy_(1 - machine.offsets[0])
    x = every_x(machine)
    torch.testing.assert_close(law(swapped), law(machine).flip(0))
    data, other = (Units((v, F.softplus(v[:, :3]))) for v in ((x[:6] + 1) / 2, (x[6:] + 1) / 2))
    one = machine.contrast(data, other)
    two = swapped.contrast(*(Units((1 - s.layers[0], s.layers[1])) for s in (data, other)))
    torch.testing.assert_close(one["weights.0"], -two["weights.0"])
    torch.testing.assert_close(one["biases.0"], -two["biases.0"])
    torch.testing.assert_close(one["biases.1"], two["biases.1"])


# --------------------------------------------------------------------------------------------- ladders


def test_rungs_keep_their_laws_and_exchange() -> None:
    machine = rbm(seed=3)
    with torch.no_grad():
        rungs = by_temperature(machine.layers(), 3)
    chances = [law_of(layers, machine) for layers in rungs]
    every, rng = (every_x(machine) + 1) / 2, seeded(1)
    rows = [chance.multinomial(CHAINS, replacement=True, generator=rng) for chance in chances]
    hidden = torch.zeros(CHAINS, 3)
    machines = [Units((every[own], hidden)) for own in rows]
    shares = []
    for step in range(6):
        machines, share = sweep(rungs, machines, rng, step % 2)
        shares.append(share)
    for units, chance, other in zip(machines, chances, chances[1:] + chances[:1], strict=True):
        assert abs(far_from(2 * units.layers[0] - 1, chance)) < 5
        assert far_from(2 * units.layers[0] - 1, other) > 8
    told = torch.stack(shares).mean(2)
    assert told[0].isnan().tolist() == [False, True] and 0.05 < float(told.nanmean()) < 0.999
    again = unpacked(packed(machines), machine.sizes, 0, 3)
    assert all(torch.equal(a.layers[k], b.layers[k]) for a, b in zip(again, machines, strict=True) for k in range(2))


@torch.no_grad()
def law_of(layers, machine: Machine) -> Tensor:
    v = (every_x(machine) + 1) / 2
    return (-layers.reduced_energy(Units((v, v)))).softmax(0)


@pytest.mark.slow
def test_without_exchanges_the_ladder_would_not_cross() -> None:
    """Two modes that sweeps alone do not cross in 100 sweeps: the chains of the ladder find their shares."""
    machine = RBM(12, 2)
    with torch.no_grad():
        machine.weights[0][:6], machine.weights[0][6:] = 8.0, -8.0
        machine.weights[0][:, 1] *= -1
        for offset in machine.offsets:
            offset.fill_(0.5)
    ones = machine.x_of(torch.cat([torch.ones(200, 6), torch.zeros(200, 6)], 1))
    *_, x = GibbsChain(100).continued(machine, ones, seeded(0))
    assert (x[:, 0] == x[0, 0]).all()
    with torch.no_grad():
        rungs = by_temperature(machine.layers(), 10)
        machines = [machine.begin(ones, seeded(1), None) for _ in rungs]
        rng = seeded(2)
        for step in range(200):
            machines, _ = sweep(rungs, machines, rng, step % 2)
    assert abs(float(machines[0].layers[0][:, 0].mean()) - 0.5) < 0.15


@pytest.mark.parametrize(("sweeps", "fresh"), [(0, 0.0), (2, 0.0), (3, 1.0), (4, 1.0), (5, 1.0)])
def test_chains_that_came_up_from_the_base_are_told(sweeps: int, fresh: float) -> None:
    """Of three rungs of one law neighbours always exchange, the first two and the last two in turns."""
    machine = RBM(4, 3)
    with torch.no_grad():
        machine.weights[0].zero_()
        rungs = [replace(machine.layers(), beta=0.0)] * 3
        states, share = risen(rungs, [rungs[0].base_units(8, seeded(0))] * 3, seeded(1), sweeps)
    assert float(share) == fresh and len(states) == 3


def test_without_exchanges_nothing_comes_up() -> None:
    machine = RBM(12, 2)
    with torch.no_grad():
        machine.biases[0].fill_(40.0)
        rungs = [machine.layers(), replace(machine.layers(), beta=0.0)]
        _, share = risen(rungs, [rungs[0].base_units(8, seeded(0))] * 2, seeded(1), 4)
    assert float(share) == 0


def test_a_clamped_label_stays() -> None:
    machine = rbm(classes=3)
    label = torch.eye(3)[1][None]
    units = machine.begin(every_x(machine), seeded(0), Clamp(label=label))
    for _ in range(3):
        units = machine.move(units, seeded(1), Clamp(label=label))
    assert units.label is not None and torch.equal(units.label, label.expand(32, -1))


def test_where_exchanges_are_rare_the_machine_becomes_a_rung_of_its_own() -> None:
    machine = RBM(5, 3, places=2)
    stirred(machine)
    how = ContrastiveDivergence(chains="trajectory", rungs=2)
    buffer = how.buffer(machine, 6, seeded(1))
    assert buffer is not None and len(buffer) == 4 * 6
    batch = Batch(every_x(machine)[:4], chains=buffer, progress=0.3)
    how(machine, batch, seeded(2))
    assert machine.num_past == 0 and 0 < float(machine.exchanged) < 1
    how(machine, batch, seeded(2))  # the other pairs' turn
    machine.exchanged.fill_(0.1)
    biases = machine.layers().biases[0].detach().clone()
    how(machine, batch, seeded(3))
    (past,) = machine.past()
    assert machine.num_past == 1 and float(machine.exchanged) == 1 and float(machine.progress[0]) == pytest.approx(0.3)
    torch.testing.assert_close(past.biases[0], biases)  # recentring leaves them
    assert torch.equal(buffer.x[:6], buffer.x[6:12])  # its chains go on from where those of the machine are
    for _ in range(6):
        machine.exchanged.fill_(0.1)
        how(machine, batch, seeded(4))
    assert machine.num_past == 2
