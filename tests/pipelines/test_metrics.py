"""Scores against closed forms and scikit-image; pictures for their geometry and colours."""

import json
import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from pipelines.measures import metrics
from pipelines.report import pictures


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clip(frames: int = 4, height: int = 20, width: int = 24, seed: int = 0) -> torch.Tensor:
    """A smooth moving pattern with some noise."""
    t, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (frames, height, width)), indexing="ij")
    waves = torch.stack([torch.sin(0.3 * x + k * t) * torch.cos(0.2 * y - t) for k in range(3)])
    return 0.8 * waves + 0.05 * torch.randn(waves.shape, generator=rng(seed))


def random_mask(frames: int = 4, height: int = 20, width: int = 24) -> torch.Tensor:
    return torch.rand(frames, height, width, generator=rng(9)) < 0.4


def test_constant_offset_has_known_scores_and_known_pixels_do_not_count():
    truth, hidden = clip(), random_mask()
    estimate = torch.where(hidden, truth + 0.1, truth - 0.7)
    scores = metrics.score(estimate, truth, hidden)
    assert scores["psnr"] == pytest.approx(20 * math.log10(2 / 0.1), abs=1e-4)
    assert scores["mae"] == pytest.approx(12.75, abs=1e-4)


def test_psnr_pools_channels_rather_than_averaging_decibels():
    truth, hidden = torch.zeros(3, 2, 6, 6), torch.ones(2, 6, 6, dtype=torch.bool)
    estimate = truth + torch.tensor([0.0, 0.3, 0.6]).view(3, 1, 1, 1)
    assert metrics.score(estimate, truth, hidden)["psnr"] == pytest.approx(10 * math.log10(4 / 0.15), abs=1e-4)


def test_a_perfect_estimate_is_capped_and_goes_into_json():
    truth = clip()
    scores = metrics.score(truth, truth.clone(), random_mask())
    assert scores == {"psnr": metrics.PSNR_CAP, "mae": 0.0, "ssim": pytest.approx(1.0)}
    json.dumps(scores, allow_nan=False)


@pytest.mark.parametrize(("height", "width"), [(20, 24), (11, 33)])
def test_ssim_equals_scikit_image_at_the_hidden_pixels(height, width):
    truth, hidden = clip(3, height, width), random_mask(3, height, width)
    hidden[1] = False
    estimate = truth + 0.3 * torch.randn(truth.shape, generator=rng(1))
    maps = np.stack(
        [
            structural_similarity(
                estimate[c, t].double().numpy(),
                truth[c, t].double().numpy(),
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=2,
                full=True,
            )[1]
            for c in range(3)
            for t in range(3)
        ]
    ).reshape(truth.shape)
    expected = maps[:, hidden.numpy()].mean()
    assert metrics.score(estimate, truth, hidden)["ssim"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (4, 2)])
def test_ssim_of_frames_smaller_than_the_window(shape):
    a, b = torch.rand(2, 3, *shape, generator=rng())
    assert metrics.ssim_map(a, b).shape == (3, *shape)
    torch.testing.assert_close(metrics.ssim_map(a, a), torch.ones(3, *shape, dtype=torch.float64))
    if shape == (1, 1):  # no variance: only the luminance term is left
        x, y = a.double(), b.double()
        torch.testing.assert_close(metrics.ssim_map(a, b), (2 * x * y + 4e-4) / (x * x + y * y + 4e-4))


def test_scores_refuse_what_they_cannot_mean():
    truth, hidden = clip(), random_mask()
    with pytest.raises(ValueError, match="nothing is hidden"):
        metrics.score(truth, truth, torch.zeros_like(hidden))
    with pytest.raises(ValueError, match="estimate is"):
        metrics.score(truth[:, :2], truth, hidden)
    with pytest.raises(ValueError, match="estimate holds"):
        metrics.score(torch.where(hidden, math.nan, truth), truth, hidden)


def test_statistics_of_a_ramp():
    t, y, x = torch.meshgrid(torch.arange(3), torch.arange(4), torch.arange(5), indexing="ij")
    levels = torch.stack([3 * x + 2 * y + 5 * t, torch.full_like(x, 40), 255 - 6 * x]).float()
    found = metrics.statistics(levels / 127.5 - 1)
    assert found["horizontal"] == pytest.approx((3 + 0 + 6) / 3, abs=1e-4)
    assert found["vertical"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["temporal"] == pytest.approx(5 / 3, abs=1e-4)
    assert found["mean"] == pytest.approx([14, 40, 243], abs=1e-4)
    assert found["std"] == pytest.approx(levels.flatten(1).std(1, correction=0).tolist(), abs=1e-4)
    assert metrics.statistics(torch.zeros(3, 1, 4, 1))["temporal"] is None


def test_spectrum_of_white_noise_is_flat_at_its_variance():
    noise = 0.5 * torch.randn(3, 32, 32, 48, generator=rng(5))
    curves = metrics.spectrum(noise)
    for name, (frequencies, power) in curves.items():
        assert len(frequencies) == 16, name
        assert frequencies[0] == pytest.approx(1 / 32) and frequencies[-1] == pytest.approx(0.5)
        # The first bins are few (spatial) or lose some to the subtracted mean (temporal).
        assert power[2:] == pytest.approx([0.25] * 14, rel=0.12), name


def test_spectrum_finds_the_frequency_of_a_wave():
    t, _, x = torch.meshgrid(torch.arange(20.0), torch.arange(32.0), torch.arange(24.0), indexing="ij")
    wave = torch.cos(2 * math.pi * (x / 4 - t * 0.3)).expand(3, -1, -1, -1)
    curves = metrics.spectrum(wave)
    peaks = {name: f[int(np.argmax(power))] for name, (f, power) in curves.items()}
    assert peaks == {"spatial": pytest.approx(0.25), "temporal": pytest.approx(0.3)}


def test_spectrum_of_a_point_is_empty():
    assert metrics.spectrum(torch.zeros(3, 1, 1, 1)) == {"spatial": ([], []), "temporal": ([], [])}


def test_contact_sheet_holds_every_cell_where_it_belongs():
    a, b = clip(6, 10, 12), clip(3, 10, 12, seed=1)
    sheet = pictures.contact_sheet({"first": a, "second": b}, frames=[0, 2, 5], scale=10)
    assert sheet.dtype == np.uint8
    found = [frame_places(sheet, frame, 10) for frame in pictures.to_rgb(a)]
    assert [len(places) for places in found] == [1, 0, 1, 0, 0, 1]
    (y0, x0), (y2, x2), (y5, x5) = found[0][0], found[2][0], found[5][0]
    assert y0 == y2 == y5 and x2 - x0 == x5 - x2 > 120
    (below,) = frame_places(sheet, pictures.to_rgb(b)[2], 10)
    assert below == (y0 + 100 + pictures.GAP, x2)
    # The second clip has no frame 5: its place is empty. Left of a row stands its label.
    background = np.array(pictures.BACKGROUND)
    assert (sheet[below[0] :, x5:] == background).all()
    assert (sheet[y0 : y0 + 100, : x0 - 1] != background).any()
    assert (sheet[: y0 - 1, x0 : x0 + 120] != background).any()


def frame_places(sheet: np.ndarray, frame: np.ndarray, scale: int) -> list[tuple[int, int]]:
    """Top left corners at which the frame, enlarged by `scale`, stands in the sheet."""
    large = np.kron(frame, np.ones((scale, scale, 1), np.uint8))
    height, width = large.shape[:2]
    corners = np.argwhere((sheet == large[0, 0]).all(-1))
    return [
        (int(y), int(x))
        for y, x in corners
        if sheet[y : y + height, x : x + width].shape == large.shape
        and (sheet[y : y + height, x : x + width] == large).all()
    ]


def test_contact_sheet_spaces_frames_evenly_and_enlarges_small_clips():
    assert pictures._frame_numbers(4, 32) == [0, 10, 21, 31]
    assert pictures._frame_numbers(8, 3) == [0, 1, 2]
    sheet = pictures.contact_sheet({"a": clip(9, 20, 24)}, frames=9)
    assert sheet.shape[0] > 5 * 20 and sheet.shape[1] > 9 * 5 * 24
    for bad in (0, [9], [-1], []):
        with pytest.raises(ValueError, match="expected"):
            pictures.contact_sheet({"a": clip(9)}, frames=bad)
    with pytest.raises(ValueError, match="masks"):
        pictures.contact_sheet({"a": clip()}, masks={"b": random_mask()})


def test_hidden_pixels_are_covered_or_tinted_and_no_others():
    video, hidden = clip(), random_mask()
    covered = pictures.to_rgb(pictures.hidden_view(video, hidden))
    assert (covered[hidden.numpy()] == np.array(pictures.HIDDEN)).all()
    assert (covered == pictures.to_rgb(video))[~hidden.numpy()].all()
    tinted = pictures.contact_sheet({"a": video}, [1], scale=8, masks={"a": hidden})
    plain = pictures.contact_sheet({"a": video}, [1], scale=8)
    changed = (tinted != plain).any(-1).sum()
    assert changed == 64 * int(hidden[1].sum())


def test_side_by_side_keeps_every_pixel_of_every_panel():
    a, b = clip(3, 20, 24).clamp(-1, 1), clip(3, 20, 24, seed=1).clamp(-1, 1)
    film = pictures.side_by_side({"truth": a, "a rather long label for so small a panel": b})
    assert film.shape[:2] == (3, 3) and film.shape[2] >= 192 and film.abs().max() <= 1
    rgb = pictures.to_rgb(film)
    for panel in (a, b):
        for t in range(3):
            assert len(frame_places(rgb[t], pictures.to_rgb(panel)[t], 10)) == 1
    with pytest.raises(ValueError, match="one shape"):
        pictures.side_by_side({"a": a, "b": b[:, :2]})


def test_heatmap_grows_lighter_with_the_value():
    ramp = torch.linspace(0, 2, 256)[None]
    rgb = pictures.heatmap(ramp)
    light = rgb[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert rgb.shape == (1, 256, 3) and (np.diff(light) > -0.75).all()
    assert light[0] < 20 and light[-1] > 220
    assert (pictures.heatmap(ramp, top=1.0)[0, 128:] == rgb[0, -1]).all()
    assert (pictures.heatmap(torch.zeros(2, 4, 5)) == rgb[0, 0]).all()
