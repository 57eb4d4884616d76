"""From x to the noise that a generator makes them of, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from conftest import seeded
from tiny import SOURCES, amortised, data_of, encoder, known, of_details, run_in, single

from data import images
from data.errors import InputError
from energies import Chain, Schedule
from energies.inversion import decode
from pipelines import run
from pipelines.stages.reconstruct import Reconstruct, error, normality

FINE = Schedule(16, 6.0, 0.05)


def values_of(modality: str, energy: Any, generator: Any = FINE) -> dict[str, Any]:
    data = data_of(modality)
    return {"data": data, "source": SOURCES[modality], "energy": energy(data), "generator": generator}


@pytest.mark.slow
@pytest.mark.parametrize("make", [encoder, amortised])
@pytest.mark.parametrize("modality", ["images", "video", "voxels"])
def test_there_and_back_is_better_than_principal_components(modality: str, make: Any, tmp_path: Any) -> None:
    values = values_of(modality, make)
    given = Reconstruct(num=3, components=(2,))(known(Reconstruct, values), run_in(tmp_path))
    assert torch.equal(given["originals"], values["data"].x("validation")[:3])
    assert given["noise"].shape == given["reconstructions"].shape == (3, *values["data"].shape)
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found["reconstruction"]["mse"] < found["2_components"]["mse"] < found["mean_of_the_data"]["mse"]
    assert found["draws_noise"] is False and found["num"] == 3
    if modality == "voxels":
        assert (given["reconstructions"].abs() == 1).all() and found["reconstruction"]["iou"] > 0.9


@pytest.mark.slow
def test_the_noise_makes_the_very_x_and_a_generator_that_draws_noise_is_told(tmp_path: Any) -> None:
    values = values_of("images", encoder, Schedule(16, 6.0, 0.05, 2, predictor="euler"))
    given = Reconstruct(num=2)(values, run_in(tmp_path))
    again = decode(FINE, values["energy"], given["noise"])  # by the rule that is undone, without noise
    torch.testing.assert_close(again, given["reconstructions"])
    assert given["metrics"]["draws_noise"] is True


def test_all_components_of_the_data_make_the_data_again(tmp_path: Any) -> None:
    x = data_of("images").x()
    found = Reconstruct(components=(17,))._baselines(x, x)
    assert error(found["17_components"], x)["psnr"] > 60
    assert error(found["mean_of_the_data"], x)["mse"] == pytest.approx(float((x - x.mean(0)).square().mean()))


def test_noise_is_told_from_what_is_none() -> None:
    z = torch.randn(50, 1, 32, 32, generator=seeded(0))
    found, num = normality(z), z.numel()
    assert found["mean"] == pytest.approx(0, abs=5 / num**0.5)
    assert found["std"] == pytest.approx(1, abs=5 / (2 * num) ** 0.5)
    assert found["fourth_moment"] == pytest.approx(3, abs=5 * (96 / num) ** 0.5)
    assert found["correlation_of_neighbours"] == pytest.approx(0, abs=5 / num**0.5)
    assert found["least_std_of_one"] < found["std"]
    flat = z.clone()
    flat[0] *= 0.1
    assert normality(flat)["least_std_of_one"] == pytest.approx(0.1, rel=0.1)
    assert normality(torch.nn.functional.avg_pool2d(z, 2, 1))["correlation_of_neighbours"] > 0.4


@pytest.mark.slow
def test_one_clip_is_made_again_itself(tmp_path: Any) -> None:
    data = single("video", (3, 4, 8, 8))
    values = {"data": data, "source": SOURCES["video"], "energy": encoder(data), "generator": FINE}
    given = Reconstruct()(values, run_in(tmp_path))
    assert torch.equal(given["originals"], data.x()) and "mean_of_the_data" not in given["metrics"]


def test_what_cannot_be_inverted_is_told(tmp_path: Any) -> None:
    large = values_of("images", lambda data: encoder(data_of("images", shape=(1, 6, 6))))
    for values, words in (
        (values_of("voxels", lambda data: of_details()), "knows nothing whole"),
        (values_of("images", encoder, Chain(2)), "was not learned by this learn.objective"),
        (large, "x is 1x8x8, the energy is of 1x6x6"),
    ):
        with pytest.raises(InputError, match=words):
            Reconstruct()(values, run_in(tmp_path))
    bad: list[dict[str, Any]] = [{"num": 0}, {"rounds": -1}, {"components": (0,)}]
    for settings in bad:
        with pytest.raises(ValueError, match=next(iter(settings))):
            Reconstruct(**settings)


@pytest.mark.slow
def test_pictures_of_ones_own_are_made_again_and_missing_ones_are_told(tmp_path: Any, capsys: Any) -> None:
    folder, out = tmp_path / "mine", tmp_path / "run"
    folder.mkdir()
    for k in range(3):
        images.write(folder / f"{k}.png", torch.rand(3, 20, 16, generator=seeded(k)) * 2 - 1)
    tiny = [
        "load.count=60", "learn.steps=3", "learn.batch=4", "learn.energy.encoder.widths=[8]",
        "learn.energy.encoder.depths=[1]",
    ]  # fmt: skip
    assert run.main(["image_reconstruction", *tiny, f"reconstruct.own={folder}", f"out={out}"]) == 0
    found = json.loads((out / "metrics.json").read_text())
    assert found["num"] == 3
    assert found["reconstruction"]["psnr"] > max(found[k]["psnr"] for k in ("mean_of_the_data", "16_components"))
    assert len(list((out / "reconstructions").iterdir())) == 3
    assert (out / "contact_sheet.png").exists() and (out / "report.html").exists()
    wrong = [f"learn.pretrained={out}", f"reconstruct.own={tmp_path / 'none.png'}", f"out={tmp_path / 'wrong'}"]
    assert run.main(["image_reconstruction", *tiny[:1], *wrong]) == 2
    assert "reconstruct.own" in capsys.readouterr().err.strip().splitlines()[-1]
