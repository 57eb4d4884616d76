"""Recovery of any x by any energy: what is seen stays, samples stand in rows, the band of a clip holds its share."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import pytest
import torch
from conftest import seeded
from tiny import amortised, data_of, encoder, filled, known, of_details, run_in, single

from data.errors import InputError
from energies import (
    AmortisedPosterior,
    Average,
    Blur,
    Chain,
    ClipReference,
    ConditionalEnergy,
    Context,
    GenerativeConvNet,
    Grey,
    Hidden,
    Noisy,
    Observation,
    Schedule,
)
from energies.matching import MomentMatching
from energies.samplers import MALA
from energies.samplers.masked import MaskedSampling
from pipelines.learning.single import scene as scene_of
from pipelines.modalities import modality_of
from pipelines.results import save_energy
from pipelines.sampling.gate import Gate, stretch
from pipelines.stages.recover import Recover

FEW = Schedule(3, 4.0, 0.2, 1, 0.4)
QUICK = Recover(samples=2, mean=MomentMatching(levels=2, chains=1), masked=MaskedSampling(sweeps=0), remask=1)


def recovering(data: Any, observation: Observation, energy: Any, **more: Any) -> dict[str, Any]:
    """Values from which the x to judge by are to be recovered."""
    y = observation.sample(data.x("validation"), seeded(3))
    return {"data": data, "measured": y, "observation": observation, "energy": energy, "generator": FEW} | more


def hidden_of(data: Any, share: float = 0.5) -> Hidden:
    return Hidden(torch.rand(len(data.validation), 1, *data.shape[1:], generator=seeded(2)) < share)


@pytest.mark.parametrize("make", [encoder, amortised])
@pytest.mark.parametrize("modality", ["images", "video", "voxels"])
def test_what_is_seen_exactly_stays_in_the_mean_and_in_samples(
    modality: str, make: Callable[[Any], Any], tmp_path: Any
) -> None:
    data = data_of(modality)
    observation = hidden_of(data)
    values = recovering(data, observation, make(data))
    given = QUICK(known(QUICK, values), run_in(tmp_path))
    seen = ~observation.mask.expand(-1, *data.shape)
    truth = data.x("validation")
    assert torch.equal(given["recovered"][seen], truth[seen])
    assert given["samples"].shape == (2, *data.shape) and torch.equal(given["samples"][seen[:2]], truth[:2][seen[:2]])
    assert given["spread"] is None and list(given["ways"]) == ["amortised" if make is amortised else "conditioned"]
    assert torch.equal(given["ways"][next(iter(given["ways"]))]["mean"], given["recovered"])


@pytest.mark.parametrize("make", [encoder, amortised])
def test_samples_of_one_x_stand_in_a_row_and_differ(make: Callable[[Any], Any], tmp_path: Any) -> None:
    data = data_of("voxels")
    observation, stage = hidden_of(data), Recover(**{**vars(QUICK), "chains": 3})
    given = stage(recovering(data, observation, make(data)), run_in(tmp_path))
    samples, truth = given["samples"].unflatten(0, (2, 3)), data.x("validation")
    for x, rows, mask in zip(truth, samples, observation.mask, strict=False):
        assert all(torch.equal(row[~mask], x[~mask]) for row in rows)
        assert not torch.equal(rows[0], rows[1])
    assert given["sampling"]["chains"] == 3


@pytest.mark.parametrize("observation", [Average((2, 2)), Grey(), Noisy(Blur(1.0), 0.1)])
@pytest.mark.parametrize("make", [encoder, amortised])
def test_any_measurement_is_taken_and_an_exact_one_held(
    observation: Observation, make: Callable[[Any], Any], tmp_path: Any
) -> None:
    data = data_of("images", shape=(3, 8, 8))
    given = QUICK(recovering(data, observation, make(data)), run_in(tmp_path))
    x = given["recovered"]
    assert x.shape == (6, 3, 8, 8) and x.isfinite().all()
    if observation.exact:
        y = observation.observe(data.x("validation"))
        assert (observation.observe(x) - y).abs().max() < 1e-5
        assert (observation.observe(given["samples"]) - y[:2]).abs().max() < 1e-5


def test_block_means_are_refined_in_two_steps_and_held_in_both(tmp_path: Any) -> None:
    """16^3 seen as 4^3: first 8^3 by an energy of that size, then 16^3 by one of details."""
    data, small = data_of("voxels", shape=(1, 16, 16, 16)), data_of("voxels")
    stage, pool = Recover(**{**vars(QUICK), "samples": 1}), torch.nn.functional.avg_pool3d
    values = recovering(data, Average((4, 4, 4)), amortised(small))
    values |= {"measured": values["measured"][:2]}
    first = stage(known(stage, values), run_in(tmp_path))
    assert first["recovered"].shape == (2, 1, 8, 8, 8)
    assert (pool(first["recovered"], 2) - values["measured"]).abs().max() < 1e-5
    values |= first | {"energy": of_details()}
    second = stage(known(stage, values), run_in(tmp_path))
    assert second["recovered"].shape == (2, 1, 16, 16, 16)
    assert (pool(second["recovered"], 2) - first["recovered"]).abs().max() < 1e-5
    assert second["samples"].shape == (1, 1, 16, 16, 16) and (second["samples"].abs() == 1).all()
    assert torch.equal(pool(second["samples"], 4), values["measured"][:1]), "samples are decided as was measured"
    decided = modality_of("voxels").decided(second["recovered"], values["observation"], values["measured"])
    assert torch.equal(pool(decided, 4), values["measured"])


def test_the_mean_of_a_shape_is_that_of_its_mirror_image_mirrored(tmp_path: Any) -> None:
    data = data_of("voxels")
    observation, energy = hidden_of(data), amortised(data)
    values = recovering(data, observation, energy)
    mirrored = values | {"observation": Hidden(observation.mask.flip(2)), "measured": values["measured"].flip(2)}
    stage = Recover(samples=0)
    one, other = (stage(v, run_in(tmp_path))["recovered"] for v in (values, mirrored))
    torch.testing.assert_close(other.flip(2), one, rtol=0, atol=1e-5)
    told = energy.posterior(observation, values["measured"])
    assert isinstance(told, AmortisedPosterior)
    assert not torch.allclose(one, told.posterior_mean(), atol=1e-4), "of one of them alone it is another"


@pytest.mark.slow
def test_a_prior_stands_beside_and_changes_nothing(tmp_path: Any) -> None:
    data = data_of("images")
    save_energy(encoder(data), tmp_path)
    values = recovering(data, hidden_of(data), amortised(data))
    alone = QUICK(values, run_in(tmp_path))
    both = Recover(**{**vars(QUICK), "prior": str(tmp_path)})(values, run_in(tmp_path))
    assert list(both["ways"]) == ["amortised", "conditioned"]
    assert torch.equal(both["recovered"], alone["recovered"]) and torch.equal(both["samples"], alone["samples"])
    assert not torch.equal(both["ways"]["conditioned"]["mean"], alone["recovered"])
    values["energy"] = encoder(data)
    same = Recover(**{**vars(QUICK), "prior": str(tmp_path)})(values, run_in(tmp_path))
    assert list(same["ways"]) == ["conditioned", "prior"]


def test_what_cannot_be_recovered_is_told(tmp_path: Any) -> None:
    data, large = data_of("voxels"), data_of("voxels", shape=(1, 16, 16, 16))
    masked = Recover(**{**vars(QUICK), "sampler": MALA()})
    for stage, values, words in (
        (QUICK, recovering(large, hidden_of(large), encoder(data)), "x is 1x16x16x16, the energy of 1x8x8x8"),
        (QUICK, recovering(large, Average((2, 2, 2)), encoder(data)), "refines no means of 8x8x8"),
        (QUICK, recovering(data, Noisy(hidden_of(data), 0.2), of_details()), "knows nothing whole"),
        (masked, recovering(data, hidden_of(data), amortised(data)), "recover.sampler"),
        (QUICK, recovering(data, hidden_of(data), encoder(data), generator=Chain(2)), "generator does not suit"),
    ):
        with pytest.raises(InputError, match=words):
            stage(values, run_in(tmp_path))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"samples": -1}, "samples and remask"),
        ({"remask": -1}, "samples and remask"),
        ({"chains": 0}, "chains must be 1"),
        ({"warm_up": 60}, "warm_up must be 0"),
        ({"prior": "nowhere"}, "prior=nowhere: no such file"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recover(**settings)


# ----------------------------------------------------------------------------- one damaged clip

CLIP = (3, 8, 20, 20)
ERROR = 0.1  # standard deviation of what an initial estimate gets wrong


def damaged_clip(energy: Any = None) -> dict[str, Any]:
    """A clip whose initial estimates are its truth with Gaussian noise, where it is hidden: so a network has nothing to
    add, and the band must be as wide as that noise has it."""
    data = single("video", CLIP)
    truth = 0.5 * data.x()
    hidden, held_out = (torch.rand(1, 1, *CLIP[1:], generator=seeded(k)) < 0.3 for k in (4, 5))
    held_out &= ~hidden

    def context(mask: torch.Tensor, seed: int) -> Context:
        wrong = ERROR * torch.randn(1, *CLIP, generator=seeded(seed))
        scale = torch.full((1, 1, *CLIP[1:]), ERROR)
        return Context(torch.where(mask, truth + wrong, truth), scale, mask, torch.zeros(1, 0, *CLIP))

    whole, judged = context(hidden, 6), context(hidden | held_out, 7)
    gate = Gate(whole, judged, held_out)
    observation = Hidden(hidden)
    energy = ConditionalEnergy(ClipReference.of(whole), 3, (4,), (1,)).eval() if energy is None else energy
    return {
        "data": data, "measured": observation.observe(truth), "observation": observation, "energy": energy,
        "generator": FEW, "gate": gate, "truth": truth,
    }  # fmt: skip


def test_the_stretch_makes_a_gaussian_band_of_the_held_out_errors() -> None:
    """Errors of 1, 2 ... 999 times the spread: nine of ten lie below the 901st, as the split conformal quantile has
    it, and a normal law has nine of ten within 1.645 standard deviations."""
    held_out = torch.ones(9, 1, 37, dtype=torch.bool)
    errors = 0.01 * (torch.arange(999.0)[torch.randperm(999, generator=seeded(0))] + 1).view(3, 9, 1, 37)
    spread = torch.full_like(errors, 0.01)
    found = stretch(torch.zeros_like(errors), spread, errors, held_out)
    assert found * NormalDist().inv_cdf(0.95) == pytest.approx(901)


@pytest.mark.slow
def test_the_band_of_a_recovered_clip_holds_nine_of_ten_hidden_values(tmp_path: Any) -> None:
    values = damaged_clip()
    given = Recover(chains=4)(known(Recover, values), run_in(tmp_path))
    hidden = values["observation"].mask.expand(1, *CLIP)
    wrong = (given["recovered"] - values["truth"])[hidden].abs()
    inside = (wrong < NormalDist().inv_cdf(0.95) * given["spread"][hidden]).float()
    # The quantile is of as many held-out values as there are hidden ones, about.
    assert float(inside.mean()) == pytest.approx(0.9, abs=5 * (2 * 0.09 / len(inside)) ** 0.5)
    assert float(given["spread"][hidden].mean()) == pytest.approx(ERROR, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["damaged", "scene", "published"])
def test_what_is_seen_of_a_clip_never_changes(kind: str, tmp_path: Any) -> None:
    energy, generator = None, FEW
    if kind == "scene":
        clip = single("video", CLIP).x()[0]
        energy = filled(ConditionalEnergy(ClipReference.of(scene_of(clip, 8)), 3, (4,), (1,)), size=0.02)
    elif kind == "published":
        energy, generator = GenerativeConvNet("st", list(CLIP)), Chain(3, 0.01, 0.1)
    values: dict[str, Any] = damaged_clip(energy) | {"generator": generator}
    given = Recover(chains=2, mean=MomentMatching(levels=2, chains=1))(known(Recover, values), run_in(tmp_path))
    hidden = values["observation"].mask.expand(1, *CLIP)
    assert given["samples"].shape == (2, *CLIP) and not torch.equal(*given["samples"])
    for x in (given["recovered"], *given["samples"].unsqueeze(1)):
        assert torch.equal(x[~hidden], values["truth"][~hidden]) and x.abs().max() <= 1
    assert not given["spread"][~hidden].any() and (given["spread"][hidden] > 0).all()
    way, found = next(iter(given["ways"].items()))
    assert way == ("amortised" if kind == "damaged" else "conditioned")
    assert 0 <= found["shrinkage"] <= 1 and found["held_out"]["pixels"] == int(values["gate"].held_out.sum())


def test_a_network_that_makes_it_worse_on_held_out_pixels_is_not_let_through(tmp_path: Any) -> None:
    values = damaged_clip()
    values["energy"] = filled(values["energy"], size=0.3)
    given = Recover(chains=2)(known(Recover, values), run_in(tmp_path))
    (found,) = given["ways"].values()
    hidden = values["observation"].mask.expand(1, *CLIP)
    assert found["shrinkage"] < 0.05
    far = (found["mean"] - values["gate"].context.estimate)[hidden].abs().mean()
    near = (given["recovered"] - values["gate"].context.estimate)[hidden].abs().mean()
    assert near < 0.05 * far


def test_one_sample_of_a_clip_has_no_spread(tmp_path: Any) -> None:
    with pytest.raises(InputError, match=r"recover\.chains must be 2 or more"):
        Recover(chains=1)(known(Recover, damaged_clip()), run_in(tmp_path))
