"""What is written of pictures and clips, for a person to look at."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from conftest import seeded
from torch import Tensor

import energies
from data import images, video
from data.probing import probe
from energies import Average, FunctionEnergy, Hidden
from pipelines.examples import Examples, to_levels
from pipelines.measures import recovery, synthesis, textures
from pipelines.modalities import modality_of
from pipelines.modalities.images import Export as ExportPictures
from pipelines.modalities.video import Export as ExportClips
from pipelines.stage import Run

SHAPES = {"images": (1, 8, 8), "video": (3, 6, 8, 10)}
SOURCE = {"name": "made", "fps": 10.0, "start": 0, "stride": 1, "crop": True}
FIRST = {"images": "picture_000.png", "video": "clip_000.mp4"}


def random(num: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.rand(num, *shape, generator=seeded(seed)) * 2 - 1


def made(modality: str, **more: Any) -> dict[str, Any]:
    """Values of a pipeline that learned, and what else it gave."""
    x = random(30, *SHAPES[modality])
    data = Examples(modality, SHAPES[modality], to_levels(x[:24]), to_levels(x[24:]))
    return {"data": data, "source": SOURCE, "energy": FunctionEnergy("contrast")} | more


def recovered(values: dict[str, Any], truth: Tensor, folder: Path, known: bool = True) -> dict[str, Any]:
    """With a recovery of half of the elements, and its scores."""
    mask = torch.rand(len(truth), 1, *truth.shape[2:], generator=seeded(5)) < 0.5
    observation = Hidden(mask)
    mean = torch.where(mask, 0.9 * truth, truth)
    values |= {
        "targets": truth, "measured": observation.observe(truth), "observation": observation, "truth_known": known,
        "recovered": mean, "samples": (mean + 0.1 * mask)[:1].repeat_interleave(2, 0), "spread": None, "gate": None,
        "ways": {"amortised": {"mean": mean, "seconds": 1.0}},
        "sampling": {"summary": {}, "lines": [], "curves": {"step": []}, "chains": 2},
    }  # fmt: skip
    modality = modality_of(values["data"].modality)
    run = Run(folder, folder)
    (folder / "log.jsonl").touch()
    found, lines, rival = recovery.evaluate(values, modality, True, run)
    rivals = None if rival is None else {"name": rival[0], "x": rival[1]}
    return values | {"metrics": found, "summary": "\n".join(lines), "rivals": rivals}


def exported(values: dict[str, Any], folder: Path, **settings: Any) -> str:
    """The report."""
    (folder / "config.yaml").write_text("settings: mine")
    (folder / "log.jsonl").touch()
    stage = (ExportPictures if values["data"].modality == "images" else ExportClips)(**settings)
    given = stage(values, Run(folder, folder))
    assert set(given) == set(stage.gives) and given["summary"].startswith(values.get("summary", ""))
    assert energies.load(folder / "energy") is not None
    report = (folder / "report.html").read_text()
    assert "http://" not in report.replace("http://www.w3.org", "") and "<script src" not in report, "it opens offline"
    assert "settings: mine" in report
    return report


def read(path: Path, modality: str) -> Tensor:
    if modality == "images":
        return images.read(path, channels=1)
    return video.read(path)[0]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("modality", SHAPES)
def test_a_recovery_is_written_and_stands_beside_the_baselines(modality, tmp_path):
    truth = random(5, *SHAPES[modality], seed=1)
    values = recovered(made(modality), truth, tmp_path)
    report = exported(values, tmp_path, limit=3, shown=4)
    assert names(tmp_path / "recovered")[0] == FIRST[modality] and len(names(tmp_path / "recovered")) == 3
    assert "Recovery" in report and "biharmonic" in report and "one sample" in report
    assert "data:image" in report and "by one pass" in report
    if modality == "images":
        back = images.read(tmp_path / "recovered" / "picture_002.png", channels=1)
        assert (back - values["recovered"][2]).abs().max() < 1.01 / 127.5
    wide = images.read(tmp_path / "contact_sheet.png").shape
    exported(values, tmp_path, limit=1, shown=1)
    assert names(tmp_path / "recovered") == [FIRST[modality]], "none of an export with other settings"
    shown = images.read(tmp_path / "contact_sheet.png").shape
    assert shown[2 if modality == "images" else 1] < wide[2 if modality == "images" else 1]


def test_the_rows_of_a_sheet_have_one_sample_of_each(tmp_path):
    """Of two samples each, the first: the second row of samples is of the first picture still."""
    from pipelines.report import products

    values = recovered(made("images"), random(2, *SHAPES["images"], seed=1), tmp_path)
    values["samples"] = torch.arange(4.0).view(4, 1, 1, 1).expand(4, *SHAPES["images"]) / 4
    rows = products.recovery_rows(values, modality_of("images"))
    assert list(rows)[:2] == ["truth", "seen"] and list(rows)[-2:] == ["recovered", "one sample"]
    assert rows["one sample"][:, 0, 0, 0].tolist() == [0, 0.5]
    values["samples"] = values["samples"][:0]
    assert "one sample" not in products.recovery_rows(values, modality_of("images"))


def test_an_unknown_truth_is_neither_shown_nor_scored(tmp_path):
    values = recovered(made("images"), random(1, *SHAPES["images"], seed=1), tmp_path, known=False)
    report = exported(values, tmp_path)
    assert "nothing is scored" in report and "truth, seen" not in report and "PSNR" not in report


@pytest.mark.slow
@pytest.mark.parametrize("hide", ["pixels", "average"])
def test_a_single_clip_is_written_without_loss_and_beside_what_was_seen(hide, tmp_path):
    x = random(1, 3, 9, 11, 13, seed=2)
    data = Examples("video", (3, 9, 11, 13), x, x[:0])
    values = recovered(made("video", data=data), x, tmp_path)
    values["spread"] = 0.1 * values["observation"].mask.expand_as(x)
    if hide == "average":
        values["observation"] = Average((9, 11, 13))
        values["measured"] = values["observation"].observe(x)
    report = exported(values, tmp_path)
    lossless, fps = video.read(tmp_path / "recovered.mkv")
    assert fps == 10 and (lossless - values["recovered"][0]).abs().max() < 1.01 / 127.5, "odd sizes stay"
    browser, _ = video.read(tmp_path / "recovered.mp4")
    assert browser.shape[1:] == (9, 12, 14)
    wide, _ = video.read(tmp_path / "comparison.mp4")
    assert wide.shape[3] > 4 * 13 and "video/mp4" in report
    assert not (tmp_path / "recovered").exists()


@pytest.mark.slow
@pytest.mark.parametrize("gone", [False, True])
def test_a_single_clip_keeps_its_times_and_its_title(gone, tmp_path, recwarn):
    x, times = random(1, 3, 6, 8, 10), [0.0, 0.1, 0.2, 0.25, 0.3, 1.3, 1.35]
    video.write(tmp_path / "untitled.mkv", x[0], 6 / 1.35, times=times)
    with av.open(str(tmp_path / "untitled.mkv")) as plain, av.open(str(tmp_path / "own.mkv"), "w") as titled:
        copy = titled.add_stream_from_template(plain.streams.video[0])
        titled.metadata["title"] = "mine"
        for packet in plain.demux():
            packet.stream = copy
            titled.mux(packet)
    source = SOURCE | {"name": str(tmp_path / "own.mkv"), "times": times, "whole": True, "fps": 6 / 1.35}
    data = Examples("video", (3, 6, 8, 10), x, x[:0])
    values = recovered(made("video", data=data, source=source), x, tmp_path)
    if gone:
        (tmp_path / "own.mkv").unlink()
    exported(values, tmp_path)
    for name in ("recovered.mp4", "recovered.mkv", "comparison.mp4"):
        assert video.read_timed(tmp_path / name).times == pytest.approx(times[:6], abs=1e-3)
    assert (probe(tmp_path / "recovered.mkv").title == "mine") != gone
    assert sum("without sound, subtitles and title" in str(warning.message) for warning in recwarn) == 2 * gone


def test_a_sheet_shows_frames_of_which_something_is_hidden(tmp_path):
    x = random(1, 3, 20, 8, 8)
    mask = torch.zeros(1, 1, 20, 8, 8, dtype=torch.bool)
    mask[:, :, [3, 4, 11]] = True
    values = {"targets": x, "observation": Hidden(mask)}
    assert ExportClips(frames=8)._telling(values) == [3, 4, 11]
    assert ExportClips(frames=2)._telling(values) == [3, 11]
    assert ExportClips(frames=3)._telling({"targets": x, "observation": Average((1, 2, 2))}) == [0, 10, 19]


@pytest.mark.parametrize("modality", SHAPES)
@pytest.mark.parametrize("judged", [False, True])
def test_new_x_are_written_beside_data(modality, judged, tmp_path):
    samples = random(7, *SHAPES[modality], seed=3)
    values = made(modality, samples=samples, sampling={"summary": {}, "lines": ["all is well"], "curves": {"step": []}})
    if judged:
        row = {"frechet": 1.0, "precision": 0.5, "recall": 0.25, "nearest_training": 0.1}
        points = [{"factor": factor} | row for factor in (0.5, 1.0)]
        values["metrics"] = {"num": 7, "validation": 6, "samples": row, "real": row, "noise": row, "curve": points}
        values["metrics"] |= {"of_their_class": 0.75, "ten_times_the_steps": row, "long_run_ratio": 1.25}
        values |= {"summary": "as good as new", "shown": {"samples": samples, "ten_times_the_steps": samples[:2]}}
    report = exported(values, tmp_path, limit=5)
    files = names(tmp_path / "samples")
    assert len(files) == 5 and files[0].startswith("sample_000.")
    assert "all is well" in report and ("75.0%" in report) == ("1.25 times" in report) == judged
    assert ("So few" in report) == judged
    if modality == "images":
        assert (read(tmp_path / "samples" / files[2], modality) - samples[2]).abs().max() < 1.01 / 127.5
        assert (tmp_path / "data.png").stat().st_size and (tmp_path / "samples.png").stat().st_size
        assert (tmp_path / "ten_times_the_steps.png").exists() == judged
    else:
        assert read(tmp_path / "samples" / files[2], modality).shape == SHAPES[modality]
        assert "data:video/mp4" in report and (tmp_path / "contact_sheet.png").stat().st_size


def test_new_clips_of_a_scene_are_compared_in_space_and_time(tmp_path):
    x = random(1, *SHAPES["video"])
    data = Examples("video", SHAPES["video"], x, x[:0])
    report = exported(made("video", data=data, samples=random(2, 3, 9, 8, 10)), tmp_path)
    assert "spatial spectrum" in report and "temporal spectrum" in report
    assert video.read(tmp_path / "samples" / "sample_001.mp4")[0].shape == (3, 9, 8, 10)


@pytest.mark.parametrize("pixels", [[32, 32], [512, 400]])
def test_a_texture_stands_beside_the_photograph_and_its_size_is_told(pixels, tmp_path):
    x = random(1, 1, 32, 32)
    data = Examples("images", (1, 32, 32), x, x[:0])
    values = made("images", data=data, source={"name": "wall.png", "pixels": pixels}, samples=random(1, 1, 37, 64))
    compare = textures.OfTexture(data, Run(tmp_path, tmp_path))
    values["metrics"] = {"num": 1, "validation": 0} | compare.beside(values["samples"], None, seeded())
    assert set(values["metrics"]) == {"num", "validation", *synthesis.FLOORS, "samples", "refused"} - {
        "noise",
        "averages",
    }
    report = exported(values, tmp_path)
    for name in ("texture", "photograph", "tiled_photograph", "random_phase_noise"):
        assert images.read(tmp_path / f"{name}.png").shape[1:] == ((32, 32) if name == "photograph" else (37, 64))
    assert "radially averaged power" in report and "horizontal correlation, 4 px" in report
    told = ExportPictures()(values, Run(tmp_path, tmp_path))["summary"]
    assert told.startswith("the texture has 64x37 pixels; the photograph was loaded with 32x32")
    assert ("its file has 400x512; load.size" in told) == (pixels != [32, 32])


@pytest.mark.parametrize("modality", SHAPES)
def test_a_composition_shows_what_failed_and_every_pair(modality, tmp_path):
    samples = random(6, *SHAPES[modality], seed=4)
    verdicts = torch.tensor([True, False, True, True, False, True])
    asked = {"num": 6, "all_hold": 4 / 6, "shape.circle": 1.0}
    found = {"classifiers": {"shape": 0.875}, "asked": asked, "rivals": {"sum_of_energies": asked}}
    grid = {
        "names": ["shape", "colour"], "rows": ["circle", "cross"], "columns": ["red", "blue", "green"],
        "accuracy": [[1.0, 0.5, 0.25], [0.0, 0.1, 0.2]], "mean": 0.3417, "learned": [[3, 0, 1], [2, 2, 2]],
        "samples": random(6, *SHAPES[modality]),
    }  # fmt: skip
    composition = {"expr": "shape.circle + colour.red", "strength": 2.0, "prior": (), "experts": ["shape", "colour"]}
    values = made(modality, samples=samples, composition=composition, metrics=found, verdicts=verdicts, grid=grid)
    report = exported(values, tmp_path, limit=4)
    assert "shape.circle + colour.red: strength 2" in report and "87.5%" in report and "shape x colour" in report
    assert report.count("(unseen)") == 1 and "0.342 on average" in report
    wrong = images.encode_png(modality_of(modality).grid(samples[[1, 4]], 10 if modality == "images" else 2))
    assert "not all that was asked for" in report and base64.b64encode(wrong).decode() in report
    assert len(names(tmp_path / "samples")) == 4
    assert (tmp_path / "samples.png").exists() and (tmp_path / "grid.png").exists()
    values |= {"verdicts": torch.ones(6, dtype=torch.bool), "grid": None}
    report = exported(values, tmp_path)
    assert "not all that was asked for" not in report and "Every pair" not in report


@pytest.mark.slow
@pytest.mark.parametrize("modality", SHAPES)
def test_paths_and_reconstructions_are_written(modality, tmp_path):
    x = random(8, *SHAPES[modality]).unflatten(0, (2, 4))
    report = exported(made(modality, paths=x, cross_fades=-x, summary="even steps"), tmp_path)
    assert "Interpolation" in report and "in 4 frames" in report and "even steps" in report
    assert len(names(tmp_path / "path_01")) == 4 and (tmp_path / "contact_sheet.png").exists()
    error = {"mse": 0.01, "psnr": 26.0}
    found = {"draws_noise": True, "noise_found": error, "random_noise": error, "noise": {"mean": 0.1, "std": 0.9}}
    values = made(modality, originals=x[0], reconstructions=-x[0], noise=x[0], metrics=found)
    report = exported(values, tmp_path)
    assert "Reconstruction" in report and "noise found" in report and "draws noise on its way" in report
    assert names(tmp_path / "reconstructions")[0] == FIRST[modality]


@pytest.mark.parametrize("stage", [ExportPictures, ExportClips])
def test_settings_out_of_range_are_refused(stage):
    for settings in ({"limit": -1}, {"shown": 0}):
        with pytest.raises(ValueError, match="limit must not be negative"):
            stage(**settings)
