"""Paths from one x to another: they begin and end at both, and are judged beside cross-fades."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from conftest import seeded
from tiny import SOURCES, amortised, data_of, encoder, known, of_details, run_in

from data import images
from data.errors import InputError
from energies import Chain, EncoderEnergy, Gaussian, Schedule
from pipelines import run
from pipelines.measures import judge
from pipelines.measures.paths import above_the_ends, at_places, steps
from pipelines.modalities import modality_of
from pipelines.stages.interpolate import Interpolate

FEW = Schedule(4, 6.0, 0.2)
TINY = [
    "load.count=60", "learn.steps=3", "learn.batch=4", "learn.energy.encoder.widths=[8]",
    "learn.energy.encoder.depths=[1]",
]  # fmt: skip


def values_of(modality: str, energy: Any, generator: Any = FEW, **more: Any) -> dict[str, Any]:
    data = data_of(modality)
    values = {"data": data, "source": SOURCES[modality], "energy": energy(data), "generator": generator}
    return values | more


@pytest.mark.slow
@pytest.mark.parametrize("walk", ["chosen", "spherical", "linear", "seen"])
@pytest.mark.parametrize("modality", ["images", "video", "voxels"])
def test_paths_begin_and_end_at_the_very_x(modality: str, walk: Any, tmp_path: Any) -> None:
    values = values_of(modality, amortised if walk == "seen" else encoder)
    given = Interpolate(pairs=2, steps=4, walk=walk)(known(Interpolate, values), run_in(tmp_path))
    paths, ends = given["paths"], values["data"].x("validation")[:4].unflatten(0, (2, 2))
    assert paths.shape == (2, 4, *values["data"].shape) and paths.isfinite().all()
    assert torch.equal(paths[:, [0, -1]], ends) and torch.equal(given["cross_fades"][:, [0, -1]], ends)
    if walk != "linear":  # of a network that says little, straight ways through noise are cross-fades
        assert not torch.equal(paths[:, 1], given["cross_fades"][:, 1])
    if modality == "voxels":
        assert (paths.abs() == 1).all() and (given["cross_fades"].abs() == 1).all()
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["walk"] == walk and (found["pairs"], found["steps"]) == (2, 4)
    kinds = [found[kind] for kind in ("path", "cross_fade", "cross_fade_at_its_places")]
    assert all(kind.keys() == kinds[0].keys() and "energy_above_the_ends" in kind for kind in kinds)
    assert ("in_one_part" in kinds[0]) == (modality == "voxels")


def test_chained_paths_share_their_ends(tmp_path: Any) -> None:
    values = values_of("voxels", amortised)
    given = Interpolate(pairs=2, steps=3, chained=True)(values, run_in(tmp_path))
    x = values["data"].x("validation")[:3]
    assert given["metrics"]["walk"] == "seen", "of an amortised energy of x of two values"
    assert torch.equal(given["paths"][:, 0], x[:2]) and torch.equal(given["paths"][:, -1], x[1:])


@pytest.mark.slow
def test_samples_of_an_earlier_stage_are_the_ends(tmp_path: Any) -> None:
    samples = data_of("images").x()[:5]
    given = Interpolate(pairs=2, steps=3)(values_of("images", encoder, samples=samples), run_in(tmp_path))
    assert given["metrics"]["walk"] == "chosen"
    assert torch.equal(given["paths"][:, [0, -1]].flatten(0, 1), samples[:4])


def test_half_way_little_is_seen_of_either_end(tmp_path: Any) -> None:
    ends = torch.stack([torch.full((1, 16, 16, 16), -1.0), torch.full((1, 16, 16, 16), 1.0)])[None]
    x, hidden = Interpolate(middle=0.1, steps=3)._shown(ends, run_in(tmp_path))
    assert not hidden[0].any() and not hidden[2].any() and (x[0] == -1).all() and (x[2] == 1).all()
    for end in (-1, 1):
        assert float((x[1] == end).float().mean()) == pytest.approx(0.1, abs=5 * (0.1 * 0.9 / 4096) ** 0.5)


def test_a_straight_way_in_even_steps_has_length_one() -> None:
    a, b = torch.rand(2, 3, 1, 6, 6, generator=seeded(0))
    shares = torch.linspace(0, 1, 5).view(1, -1, 1, 1, 1)
    straight = torch.lerp(a[:, None], b[:, None], shares)
    found = steps(straight, modality_of("images"))
    assert found["length"] == pytest.approx(1, rel=1e-5)
    assert found["largest_step"] == pytest.approx(0.25, rel=1e-5) == found["largest_step_of_the_distance"]
    distance = (a - b).square().mean((1, 2, 3)).sqrt()
    assert found["largest_distance"] == pytest.approx(float(distance.mean()) / 4, rel=1e-5)
    torch.testing.assert_close(at_places(straight), straight)
    detour = straight.clone()
    detour[:, 2] += 1
    assert steps(detour, modality_of("images"))["length"] > 1.5
    torch.testing.assert_close(at_places(detour)[:, [0, 1, 3, 4]], straight[:, [0, 1, 3, 4]])


def test_energies_are_told_above_the_line_between_the_ends(tmp_path: Any) -> None:
    """Of |x|^2 / 2 per element, with the same noise on all frames: half-way from -c to c it lies c^2 / 2 below."""

    class Bowl(EncoderEnergy):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.square().flatten(1).sum(1) / 2

    end = torch.full((1, 4, 4), 0.8)
    path = torch.stack([-end, 0 * end, end])[None]
    found = above_the_ends(Bowl((1, 4, 4), (2,), (1,)), path, run_in(tmp_path))
    assert found == pytest.approx(-16 * 0.8**2 / 2, rel=1e-4)


def test_what_has_no_such_way_is_told(tmp_path: Any) -> None:
    clean = values_of("images", lambda data: Gaussian([0.0] * 64, torch.eye(64).tolist()), Chain(2))
    for stage, values, words in (
        (Interpolate(walk="seen"), values_of("images", encoder), "learn.energy=amortised"),
        (Interpolate(walk="chosen"), clean, "need noise levels"),
        (Interpolate(level=1.0), clean, "need noise levels"),
        (Interpolate(), values_of("voxels", lambda data: of_details()), "knows nothing whole"),
        (Interpolate(), values_of("images", encoder, Chain(2)), "was not learned by this learn.objective"),
        (Interpolate(), values_of("images", encoder, samples=torch.zeros(1, 1, 8, 8)), "needs two pictures"),
        (Interpolate(), values_of("images", encoder, samples=torch.zeros(4, 1, 6, 6)), "x is 1x6x6, the energy is of"),
    ):
        with pytest.raises(InputError, match=words):
            stage(values, run_in(tmp_path))


@pytest.mark.parametrize(
    "settings",
    [{"pairs": 0}, {"steps": 2}, {"level": 0.0}, {"smoothness": -1.0}, {"middle": 0.6}, {"remask": -1}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Interpolate(**settings)


@pytest.mark.slow
def test_pictures_of_ones_own_are_taken_in_pairs_and_a_judge_has_a_say(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(judge, "STEPS", 20)
    folder, out = tmp_path / "mine", tmp_path / "run"
    folder.mkdir()
    for k in range(5):
        images.write(folder / f"{k}.png", torch.rand(3, 20, 16, generator=seeded(k)) * 2 - 1)
    settings = ["interpolate.steps=4", f"interpolate.own={folder}", "learn.conditional=false", f"out={out}"]
    assert run.main(["image_interpolation", *TINY, *settings]) == 0
    found = json.loads((out / "metrics.json").read_text())
    assert found["pairs"] == 2 and 0 <= found["path"]["accepted"] <= 1 and found["path"]["frechet"] > 0
    assert len(list((out / "path_00").iterdir())) == 4 and (out / "contact_sheet.png").exists()


@pytest.mark.slow
def test_a_chain_goes_through_its_noise(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(judge, "STEPS", 20)
    objective = ["learn.objective.maximum_likelihood.sampling_steps=2", "learn.chains=8"]
    walk = ["interpolate.pairs=1", "interpolate.steps=3", f"out={tmp_path / 'chain'}"]
    assert run.main(["image_interpolation", *TINY, *objective, *walk]) == 0
    found = json.loads((tmp_path / "chain/metrics.json").read_text())
    assert found["walk"] == "spherical" and "energy_above_the_ends" not in found["path"]
