"""Energies of candidates by position, their descent, and learning through it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import energies
from energies import DenoisingEnergy, FrameEnergy, Hidden, PredictiveEnergy, TokenEnergy, TransformerEnergy, gradient
from energies.networks.causal import causal
from energies.objectives import Batch, OptimisedPrediction
from energies.objectives.share import Share
from energies.prediction import descend, slope
from energies.samplers import Langevin
from energies.sampling import sample
from tests.cases import stirred
from tests.conftest import seeded

pytestmark = pytest.mark.usefixtures("double")
CLIP, TEXT, PICTURE = (2, 4, 4, 4), (5, 6), (3, 4, 4)


def frames(feed_forward: bool = False) -> FrameEnergy:
    torch.manual_seed(0)
    energy = stirred(FrameEnergy(CLIP, 2, 8, 2, 2, 0.5, feed_forward))
    assert isinstance(energy, FrameEnergy)
    return energy


def symbols(feed_forward: bool = False) -> TokenEnergy:
    torch.manual_seed(0)
    energy = stirred(TokenEnergy(TEXT, 8, 2, 2, feed_forward))
    assert isinstance(energy, TokenEnergy)
    return energy


def denoising() -> DenoisingEnergy:
    torch.manual_seed(0)
    energy = stirred(DenoisingEnergy(PICTURE, [2, 2], 8, 2, 2, 0.5))
    assert isinstance(energy, DenoisingEnergy)
    return energy


def text(num: int, seed: int = 0) -> Tensor:
    """Symbols at random, [num, V, T]."""
    drawn = torch.randint(TEXT[0], (num, TEXT[1]), generator=seeded(seed))
    return 2 * torch.nn.functional.one_hot(drawn, TEXT[0]).transpose(1, 2).double() - 1


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


KINDS: dict[str, tuple[Callable[[], PredictiveEnergy], Callable[[int], Tensor]]] = {
    "frames": (frames, lambda num: normal(num, *CLIP)),
    "symbols": (symbols, text),
    "denoising": (denoising, lambda num: normal(num, *PICTURE)),
}
each = pytest.mark.parametrize("name", KINDS)


def made(name: str, num: int = 3) -> tuple[PredictiveEnergy, Tensor, Tensor]:
    """An energy, x, and coordinates of candidates for all positions that learning predicts."""
    make, draw = KINDS[name]
    energy, x = make(), draw(num)
    return energy, x, normal(*energy.wanted(x, energy.first).shape, seed=9)


# ------------------------------------------------------------------------------------- causality


def test_who_sees_whom():
    """True tokens see true ones up to their own; a candidate sees true ones before it, and itself."""
    seen = causal(3, 2, 1, 1).int().tolist()
    assert seen == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 0], [1, 1, 0, 0, 1]]
    patches = causal(1, 1, 1, 2)
    assert patches[2:, :].all() and not patches[:2, 2:].any() and patches[:2, :2].all()


@pytest.mark.parametrize("name", ["frames", "symbols"])
def test_changing_the_future_changes_no_earlier_energy(name):
    energy, x, z = made(name)
    e = energy.energies(x, energy.point(z), 1)
    for t in range(1, x.shape[2]):
        later = x.clone()
        later[:, :, t:] = KINDS[name][1](3).roll(1, 0)[:, :, t:]
        assert torch.equal(energy.energies(later, energy.point(z), 1)[:, :t], e[:, :t])
        other = z.clone()
        other[:, :, t:] += normal(*other[:, :, t:].shape, seed=3)
        assert torch.equal(energy.energies(x, energy.point(other), 1)[:, :t], e[:, :t])
    earlier = x.clone()
    earlier[:, :, 0] = -x[:, :, 0]
    assert (energy.energies(earlier, energy.point(z), 1) != e).all()


@pytest.mark.parametrize("make", [frames, symbols])
@pytest.mark.parametrize("feed_forward", [False, True])
def test_one_position_alone_is_as_it_is_beside_all_others(make, feed_forward):
    energy = make(feed_forward)
    x = KINDS["frames" if make is frames else "symbols"][1](2)
    z = normal(*x[:, :, 1:].shape, seed=9)
    e = energy.energies(x, energy.point(z), 1)
    for t in range(1, x.shape[2]):
        alone = energy.energies(x[:, :, :t], energy.point(z[:, :, t - 1 : t]), t)
        torch.testing.assert_close(alone[:, 0], e[:, t - 1])


@pytest.mark.parametrize("make", [frames, symbols])
def test_a_sequence_longer_than_the_energys_is_refused(make):
    energy = make()
    x = torch.zeros(1, *energy.event_shape)
    with pytest.raises(ValueError, match="positions must be below"):
        energy.energies(x, energy.point(x[:, :, :1]), x.shape[2])


# --------------------------------------------------------------------------------------- descent


@each
def test_the_direction_is_the_gradient_by_finite_differences(name):
    """In z; of symbols in p, among all positive numbers."""
    energy, x, z = made(name)
    known = energy.seen(x, 0.3, lambda like: normal(*like.shape, seed=4))
    point, way, step = energy.point(z), normal(*z.shape, seed=5), 1e-6
    _, up = slope(energy, known, z, energy.first)
    ahead, behind = (energy.energies(known, point + s * way, energy.first) for s in (step, -step))
    along = (up * way).sum((1, 3, 4) if name == "frames" else 1) if name != "denoising" else None
    expected = (ahead - behind) / (2 * step)
    found = (up * way).flatten(1).sum(1, keepdim=True) if along is None else along
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [0.3, 1.0])
def test_a_step_on_a_quadratic_energy_is_known(size):
    """E = |z|^2 / 2 - <z, G>: z - size (z - G), whatever the number of steps."""
    energy = frames(feed_forward=True)
    x, z = normal(2, *CLIP), normal(2, 2, 3, 4, 4, seed=2)
    _, up = slope(energy, x, z, 1)
    mean = z - up
    expected = z
    for state, _ in descend(energy, x, z, 3, first=1, step_size=size):
        expected = (1 - size) * expected + size * mean
        torch.testing.assert_close(state, expected)


def test_the_least_energy_of_symbols_is_minus_the_logarithm_of_the_sum():
    """Where the network does not read the candidate: e(p) >= -logsumexp G, equal at softmax(G), one step away."""
    energy, x, z = symbols(feed_forward=True), text(3), normal(3, 5, 5, seed=2)
    (one, _), (two, e) = descend(energy, x, z, 2, first=1, step_size=1.0)
    torch.testing.assert_close(one.softmax(1), two.softmax(1))
    past = energy.field(_rows(x[:, :, 1:]), 1, energy.read(x, 1, 5))[:, :, 0]
    torch.testing.assert_close(one.softmax(1), past.softmax(2).transpose(1, 2))
    torch.testing.assert_close(e, -past.logsumexp(2))
    assert (energy.energies(x, z.softmax(1), 1) > e).all()


def _rows(x: Tensor) -> Tensor:
    p = ((x + 1) / 2).clamp(min=1e-9)
    return (p / p.sum(1, keepdim=True)).transpose(1, 2)[:, :, None]


@each
def test_the_descent_of_a_sample_is_the_same_in_any_batch(name):
    energy, x, z = made(name)
    *_, (together, e) = descend(energy, x, z, 4, first=energy.first)
    for k in range(len(x)):
        *_, (alone, e_alone) = descend(energy, x[k : k + 1], z[k : k + 1], 4, first=energy.first)
        torch.testing.assert_close(alone[0], together[k])
        torch.testing.assert_close(e_alone[0], e[k])


@each
def test_small_steps_lower_every_energy(name):
    energy, x, z = made(name)
    states = [e for _, e in descend(energy, x, z, 6, first=energy.first, step_size=0.02)]
    assert all((b < a).all() for a, b in pairwise(states))


@each
def test_noise_falls_between_steps_not_after_the_last(name):
    energy, x, z = made(name)
    drawn: list[Tensor] = []

    def draw(like: Tensor) -> Tensor:
        drawn.append(normal(*like.shape, seed=len(drawn)))
        return drawn[-1]

    (first, _), (last, _) = descend(energy, x, z, 2, first=energy.first, noise=0.5, draw=draw)
    ((again, _),) = descend(energy, x, first + 0.5 * drawn[0], 1, first=energy.first)
    assert len(drawn) == 1
    torch.testing.assert_close(last, again)


# -------------------------------------------------------------------------------------- learning

SYSTEM_2 = OptimisedPrediction(2, more_steps=1, step_spread=0.2, langevin=0.1, every=True)
WAYS = {
    "system 1": OptimisedPrediction(2),
    "one step": OptimisedPrediction(1),
    "three, every": OptimisedPrediction(3, every=True),
    "system 2": SYSTEM_2,
}


@each
@pytest.mark.parametrize("way", WAYS)
def test_the_gradient_of_the_unrolled_loss_is_that_of_finite_differences(name, way):
    energy, x, _ = made(name)
    weights = [p for p in energy.parameters() if p.requires_grad]
    directions = [normal(*p.shape, seed=k) for k, p in enumerate(weights)]

    def loss() -> Tensor:
        return WAYS[way](energy, Batch(x), seeded(7))[0]

    def moved(step: float) -> Tensor:
        with torch.no_grad():
            for p, v in zip(weights, directions, strict=True):
                p += step * v
        return loss()

    found = torch.autograd.grad(loss(), weights, allow_unused=True)
    along = sum((g * v).sum() for g, v in zip(found, directions, strict=True) if g is not None)
    step = 1e-5
    ahead, behind = moved(step), moved(-2 * step)
    torch.testing.assert_close((ahead - behind) / (2 * step), along, rtol=2e-5, atol=1e-7)


@each
def test_steps_that_learn_by_themselves_have_no_second_derivative_through_the_path(name):
    """The loss is the same; the gradient is that of each step from where it starts."""
    energy, x, _ = made(name)
    whole = OptimisedPrediction(2, every=True)(energy, Batch(x), seeded(1))[0]
    apart = OptimisedPrediction(2, every=True, through=False)(energy, Batch(x), seeded(1))[0]
    torch.testing.assert_close(whole, apart)
    a, b = (torch.autograd.grad(loss, energy.head.weight)[0] for loss in (whole, apart))
    assert (a - b).abs().max() > 1e-4 * a.abs().max()


def test_a_feed_forward_energy_learns_by_mean_squares_and_by_cross_entropy():
    objective, x = OptimisedPrediction(1), normal(3, *CLIP)
    energy, words = frames(feed_forward=True), symbols(feed_forward=True)
    with torch.no_grad():
        energy.log_step.zero_()
        words.log_step.zero_()
    loss, _ = objective(energy, Batch(x), seeded(0))
    ((z, _),) = descend(energy, x, torch.zeros(3, 2, 3, 4, 4), 1, first=1, step_size=1.0)
    torch.testing.assert_close(loss, (z - energy.coordinates(x, x[:, :, 1:], 1)).square().mean())
    loss, _ = objective(words, Batch(text(3)), seeded(0))
    logits = words.field(_rows(text(3)[:, :, 1:]), 1, words.read(text(3), 1, 5))[:, :, 0]
    expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), text(3)[:, :, 1:].argmax(1))
    torch.testing.assert_close(loss, expected)


@each
def test_two_processes_learn_as_one(name):
    energy, x, _ = made(name, 4)
    objective = OptimisedPrediction(2, step_spread=0.2, langevin=0.1, replay=0.5)
    whole, _ = objective(energy, Batch(x, chains=objective.buffer(energy, x, seeded(1))), seeded(2))
    parts = []
    for index in range(2):
        batch = Batch(x, chains=objective.buffer(energy, x, seeded(1))).split(Share(4, index, 2, lambda rows: rows))
        parts.append(objective(energy, batch, seeded(2))[0])
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


@each
def test_replayed_candidates_go_on_where_they_were(name):
    """With restart near 0 the first rows are those of the buffer, and what they come to is put back."""
    energy, x, _ = made(name, 4)
    objective = OptimisedPrediction(1, start=0.0, replay=0.5, restart=1e-9)
    held = KINDS[name][1](2) if name != "symbols" else text(2, seed=5)
    chains = objective.buffer(energy, held, seeded(1))
    before = chains.x.clone()
    objective(energy, Batch(x, chains=chains), seeded(2))
    numbers = x[0].numel()
    assert torch.equal(chains.x[:, :numbers], before[:, :numbers])
    z = energy.wanted(x, energy.first)[0].numel()
    assert (chains.x[:, -z:] != before[:, -z:]).any(1).all() and chains.age.tolist() == [1, 1]
    anew = objective.buffer(energy, held, seeded(1))
    OptimisedPrediction(1, start=0.0, replay=0.5, restart=1.0)(energy, Batch(x, chains=anew), seeded(2))
    assert {tuple(row) for row in anew.x[:, :numbers].tolist()} == {tuple(row.flatten().tolist()) for row in x[:2]}


def plain(name: str) -> Tensor:
    """x that one part tells the rest of: frames that change sign, symbols that count, pictures of one colour."""
    if name == "frames":
        return normal(8, 2, 1, 4, 4) * torch.tensor([1.0, -1.0, 1.0, -1.0]).view(4, 1, 1)
    if name == "symbols":
        counted = (torch.arange(8)[:, None] + torch.arange(TEXT[1])) % TEXT[0]
        return 2 * torch.nn.functional.one_hot(counted, TEXT[0]).transpose(1, 2).double() - 1
    return normal(8, 3, 1, 1).expand(-1, *PICTURE).contiguous()


@pytest.mark.slow
@each
def test_a_few_steps_learn(name):
    torch.manual_seed(0)
    energy: PredictiveEnergy = {
        "frames": lambda: FrameEnergy(CLIP, 2, 16, 1, 2, 2.0),
        "symbols": lambda: TokenEnergy(TEXT, 16, 1, 2),
        "denoising": lambda: DenoisingEnergy(PICTURE, [2, 2], 16, 1, 2, 0.5),
    }[name]()
    x, objective = plain(name), OptimisedPrediction(2, corruption=0.5)
    optimizer = torch.optim.Adam(energy.parameters(), 0.02)
    losses = []
    for number in range(20):
        loss, metrics = objective(energy, Batch(x), seeded(number))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(metrics["prediction_loss"])
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": 0}, "steps must be"),
        ({"start": -1.0}, "must not be negative"),
        ({"corruption": 0.0}, "corruption positive"),
        ({"replay": 1.5}, "replay must be a share"),
        ({"through": False}, "set every=true"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        OptimisedPrediction(**wrong)


# ------------------------------------------------------------------------- an energy like any other


@pytest.mark.parametrize("name", ["frames", "symbols"])
def test_the_energy_of_x_is_the_sum_over_its_positions(name):
    energy, x, _ = made(name)
    point = energy.coordinates(x, x) if isinstance(energy, FrameEnergy) else _rows(x)[:, :, 0].transpose(1, 2)
    torch.testing.assert_close(energy(x), energy.energies(x, point, 0).sum(1))


def test_the_future_is_sampled_given_the_past():
    energy, x = frames(), normal(2, *CLIP)
    hidden = torch.zeros(1, 1, *CLIP[1:], dtype=torch.bool)
    hidden[:, :, 2:] = True
    posterior = (energy + 0.5 * energy).posterior(Hidden(hidden), x)
    *_, (state, _) = sample(Langevin(0.05), posterior, torch.zeros_like(x), 5, seeded())
    assert torch.equal(state.x[:, :, :2], x[:, :, :2]) and (state.x[:, :, 2:] != 0).all()


def test_what_is_learned_is_saved(tmp_path):
    energy = frames()
    with torch.no_grad():
        energy.log_step.fill_(0.5)
    energy.centre(normal(6, *CLIP))
    energy.save_pretrained(tmp_path)
    again = energies.load(tmp_path)
    assert isinstance(again, FrameEnergy) and again.spread == energy.spread
    assert again.step_size.item() == pytest.approx(1.6487, abs=1e-4)


def test_an_energy_that_was_not_told_asks_for_it():
    with pytest.raises(RuntimeError, match="told what is seen"):
        denoising()(normal(1, *PICTURE))


def test_patches_are_cut_and_joined():
    cut = TransformerEnergy((2, 4, 6), [2, 3], 8, 1, 2).patches
    x = torch.arange(48.0).view(1, 2, 4, 6)
    assert cut(x).shape == (1, 4, 12) and cut.num == 4 and torch.equal(cut.joined(cut(x)), x)
    assert set(cut(x)[0, 0].tolist()) == set(x[0, :, :2, :3].flatten().tolist())
    with pytest.raises(ValueError, match="must divide"):
        TransformerEnergy((2, 4, 6), [3, 3], 8, 1, 2)


@pytest.mark.slow
def test_the_score_of_a_transformer_is_learned():
    """Score matching suits it as any family over noise levels."""
    from energies.objectives import ScoreMatching

    torch.manual_seed(0)
    energy = TransformerEnergy((1, 8), [2], 16, 1, 2)
    x = torch.where(torch.rand(64, 1, 1, generator=seeded()) < 0.5, -1.0, 1.0).expand(-1, 1, 8).contiguous()
    energy.centre(x)
    optimizer, losses = torch.optim.Adam(energy.parameters(), 0.01), []
    for number in range(60):
        loss, _ = ScoreMatching()(energy, Batch(x), seeded(number))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    _, pull = gradient(energy.at(0.3), 0.8 * x[:2])
    assert (pull * x[:2] < 0).all()  # down the energy, towards the data
