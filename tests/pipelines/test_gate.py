"""What a gate lets pass, whose chains a mean is of, and what remasking keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import seeded
from tiny import data_of, encoder, filled, run_in
from torch import Tensor

from data.errors import InputError
from energies import (
    AmortisedPosterior,
    Chain,
    ConditionalEnergy,
    Context,
    DataReference,
    Hidden,
    Noisy,
    Schedule,
    Stepwise,
)
from energies.diagnostics import Monitor
from energies.matching import MomentMatching
from energies.observation import Measurement, Observation
from pipelines.measures import certainty
from pipelines.sampling import gate
from pipelines.sampling.chains import sample_chains
from pipelines.sampling.masked import KEPT, remasked
from pipelines.sampling.posterior import Sampling, Seen, expected, posterior_schedule

FEW = Schedule(3, 6.0, 0.2, 1, 0.4)
CLIP = (3, 6, 12, 12)


def told(estimate: Tensor, hidden: Tensor) -> Context:
    scale = torch.full((1, 1, *CLIP[1:]), 0.1)
    return Context(estimate, scale, hidden, torch.zeros(1, 0, *CLIP))


def test_the_mean_of_each_x_is_over_its_own_chains(tmp_path: Any) -> None:
    """Bright and dark pictures that are seen with little noise: of each about what is seen is expected."""
    data = data_of("images")
    y = torch.linspace(-0.8, 0.8, 4).view(-1, 1, 1, 1).expand(4, *data.shape).contiguous()
    seen = Seen(Noisy(Hidden(torch.zeros(1, 1, 1, 1, dtype=torch.bool)), 0.05), y, 4, data.shape)
    how = Sampling(FEW, mean=MomentMatching(levels=4, chains=3))
    found = expected(encoder(data), seen, how, run_in(tmp_path)).mean
    assert (found.mean((1, 2, 3)) - y.mean((1, 2, 3))).abs().max() < 0.15


def test_a_conditioned_energy_is_sampled_with_steps_at_every_level() -> None:
    """Without steps what is not seen would not follow what is."""
    none, some = Schedule(9, 5.0, 0.1, 0), Schedule(9, 5.0, 0.1, 3, down_to=1.0)
    for generator, steps in ((none, 8), (some, 3), (Stepwise(high=7.0, low=0.2), 8)):
        found = posterior_schedule(generator)
        assert isinstance(found, Schedule) and found.steps == steps and found.down_to == 0
        assert (found.high, found.low) == (generator.high, generator.low)
    assert posterior_schedule(Chain(5)) == Chain(5)


def test_chains_that_diverge_are_told(tmp_path: Any) -> None:
    def draw(chains: list[int], streams: list[torch.Generator], monitor: Monitor) -> Tensor:
        return torch.tensor([[float("inf") if chain == 2 else 0.0] for chain in chains])

    with pytest.raises(InputError, match=r"the chains diverged \(some\): choose a smaller step_size"):
        sample_chains(run_in(tmp_path), 4, 1, "some", Monitor(), draw)


def test_the_band_is_as_wide_as_held_out_values_say_where_samples_leave_the_range_of_x(
    tmp_path: Any, monkeypatch: Any
) -> None:
    """Samples of an energy that knows little: what they spread is calibrated, not what is left of it in [-1, 1]."""
    truth = 0.1 * torch.randn(1, *CLIP, generator=seeded(1))
    held_out, hidden = (torch.rand(1, 1, *CLIP[1:], generator=seeded(k)) < 0.4 for k in (2, 3))
    hidden &= ~held_out
    contexts = [told(torch.where(mask, 0.0, truth), mask) for mask in (hidden, hidden | held_out)]

    def wild(energy: Any, context: Context, *_: Any) -> gate.Posterior:
        mean = context.estimate[0]
        return gate.Posterior(mean, mean + 5 * torch.randn(8, *CLIP, generator=seeded(4)), "conditioned", 0.0)

    monkeypatch.setattr(gate, "sampled", wild)
    judge, how = gate.Gate(*contexts, held_out), Sampling(FEW)
    found = gate.gated(encoder(data_of("video")), judge, truth, 8, how, run_in(tmp_path), "", Monitor())
    inside = certainty.within(found.mean, found.spread, truth)
    assert inside[hidden.expand_as(inside)].float().mean() == pytest.approx(0.9, abs=0.05)


class Watched(ConditionalEnergy):
    """Keeps the masks that it is told of."""

    def posterior(self, observation: Observation, y: Measurement) -> AmortisedPosterior:
        assert isinstance(observation, Hidden)
        self.masks = [*getattr(self, "masks", []), observation.mask]
        given = super().posterior(observation, y)
        assert isinstance(given, AmortisedPosterior)
        return given


def test_remasking_keeps_the_share_that_it_says(tmp_path: Any) -> None:
    data = data_of("voxels")
    reference = DataReference(data.shape, len(data.train), 5, 0.5, True)
    reference.fit(data.x())
    energy = filled(Watched(reference, 1, (4,), (1,), (2, 2, 2)))
    soft, mask = data.x("validation"), torch.ones(6, 1, 8, 8, 8, dtype=torch.bool)
    mask[:, :, :2] = False
    found = remasked(energy, soft, 2, run_in(tmp_path), mask)
    assert torch.equal(found[~mask], soft[~mask]) and len(energy.masks) == 2
    for hides in energy.masks:
        assert not hides[~mask].any() and len(hides.unique(dim=0)) == 6, "of each its own"
        share = float(hides[mask].float().mean())
        assert share == pytest.approx(1 - KEPT, abs=5 * (KEPT * (1 - KEPT) / int(mask.sum())) ** 0.5)
    assert not torch.equal(*energy.masks)
    few = remasked(energy, soft[:2], 2, run_in(tmp_path), mask[:2])
    torch.testing.assert_close(few, found[:2], atol=1e-4, rtol=0)  # whatever the company
