"""Prediction: simple predictors, the thinking curve, the energy as judge, and the pipelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import energies
from data import text
from data.errors import InputError
from energies import DenoisingEnergy, EncoderEnergy, FrameEnergy, TokenEnergy
from energies.networks.causal import continued
from energies.objectives import OptimisedPrediction
from energies.prediction import PredictiveEnergy, decibels, settled
from pipelines import checkpoint
from pipelines.examples import Examples, to_bits, to_levels
from pipelines.learning import dataset
from pipelines.learning.prediction import windows
from pipelines.learning.recipe import Recipe
from pipelines.learning.settings import Transformer
from pipelines.learning.training import Optimizer
from pipelines.measures import prediction
from pipelines.measures.baselines import LinearDynamics, non_local_means
from pipelines.measures.ngram import NGram
from pipelines.modalities import modality_of
from pipelines.modalities.text import Load
from pipelines.modalities.text.modality import encoded, stored, symbols
from pipelines.run import main
from pipelines.stage import Run
from pipelines.stages.learn import Learn
from pipelines.stages.predict import Predict
from tests.cases import stirred
from tests.conftest import seeded


def here(folder: Path) -> Run:
    folder.mkdir(exist_ok=True)
    return Run(folder, folder, compute="float32")


# ------------------------------------------------------------------------------ simple predictors


def test_counts_give_a_law_of_the_next_byte():
    """Its chances add up to 1, whatever was before."""
    counts = NGram.fit(np.frombuffer(b"abracadabra abracadabra", np.uint8)[None])
    for past in (b"abra", b"zzzz", b""):
        rows = np.array([[*past, byte] for byte in range(256)], np.uint8)
        assert (2.0 ** -counts.bits(rows, len(past))).sum() == pytest.approx(1)


def test_counts_of_single_bytes_are_witten_and_bells():
    """aab: n(a) = 2 of 3, two kinds: P(a) = (2 + 2 / 256) / 5."""
    counts = NGram.fit(np.frombuffer(b"aab", np.uint8)[None], 1)
    found = counts.bits(np.frombuffer(b"ab?", np.uint8)[None])[0]
    assert 2.0**-found == pytest.approx([(2 + 2 / 256) / 5, (1 + 2 / 256) / 5, 2 / 256 / 5])


def test_longer_counts_tell_what_repeats():
    words = np.tile(np.frombuffer(b"abcd", np.uint8), (20, 4))
    few, many = (float(NGram.fit(words, order).bits(words, 4).mean()) for order in (1, 5))
    assert few > 1.9 and many < 0.2


def test_linear_dynamics_go_on_as_a_linear_system_does():
    """Two waves that turn: a linear recursion of second order, and the mean of the frames is not 0."""
    t = torch.arange(24.0)
    bases = torch.randn(2, 3 * 4 * 4, generator=seeded())
    rows = [0.1 + 0.1 * torch.stack([torch.cos(w * t + p), torch.sin(w * t + p)], 1) @ bases
            for w, p in ((0.4, 0.0), (0.4, 1.0), (0.4, 2.0))]  # fmt: skip
    x = torch.stack(rows).view(3, 24, 3, 4, 4).transpose(1, 2).clamp(-1, 1)
    going = LinearDynamics.fit(x[:2], 2)
    torch.testing.assert_close(going(x[2:, :, :12], 6), x[2:, :, 12:18], atol=0.03, rtol=0)
    assert going(x[2:, :, :1], 2).shape == (1, 3, 2, 4, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_non_local_means_take_noise_away(channels):
    x = torch.zeros(2, channels, 12, 12)
    x[..., 6:] = 0.8
    y = x + 0.2 * torch.randn(x.shape, generator=seeded())
    assert (non_local_means(y, 0.2) - x).square().mean() < 0.4 * (y - x).square().mean()


# --------------------------------------------------------------------------------------- measures


class Known(PredictiveEnergy):
    """E = |z - x|^2 / 2 of each number [B, P, 1]: the energy is half the squared error."""

    def __init__(self) -> None:
        super().__init__(2, 1.0)
        with torch.no_grad():
            self.log_step.fill_(-0.6931472)  # half the way a step

    def forward(self, x: Tensor) -> Tensor:
        return x.square().sum((1, 2))

    def seen(self, x: Tensor, level: float, noise: Any) -> Tensor:
        return x

    def wanted(self, x: Tensor, first: int) -> Tensor:
        return x

    def read(self, known: Tensor, first: int, num: int) -> None:
        return None

    def energies(self, known: Tensor, point: Tensor, first: int = 0, past: None = None) -> Tensor:
        return (point - known)[..., 0].square() / 2

    def estimate(self, known: Tensor, z: Tensor, first: int = 0) -> Tensor:
        return z

    def errors(self, known: Tensor, z: Tensor, x: Tensor, first: int = 0) -> Tensor:
        return (z - x)[..., 0].square()

    def quality(self, errors: Tensor) -> float:
        return decibels(errors.mean())


def test_the_thinking_curve_is_the_quality_after_each_step():
    """Half the way a step: the error falls to a quarter, 6.02 dB, and the energy with it."""
    energy, x = Known(), torch.randn(40, 3, 1, generator=seeded())
    points = prediction.curve(energy, prediction.trial(energy, x, 0.0, seeded(1)), 4, seeded(2))
    assert points["steps"] == [1, 2, 3, 4]
    assert np.diff(points["quality"]) == pytest.approx([6.0206] * 3, abs=1e-3)
    assert np.array(points["energy"][1:]) / points["energy"][:-1] == pytest.approx([0.25] * 3, abs=1e-4)


def test_an_energy_that_is_the_error_judges_without_fault():
    energy, x = Known(), torch.randn(40, 3, 1, generator=seeded())
    found = prediction.judged(energy, prediction.trial(energy, x, 0.0, seeded(1)), 5, seeded(2))
    assert found["rank_correlation"] == pytest.approx(1) and found["rank_correlation_within"] == pytest.approx(1)
    one, least, best = (found[name] for name in ("one", "least_energy", "least_error"))
    assert least == best and one is not None and best is not None and best > one + 3


def test_ranks_of_what_is_alike_are_not_correlated():
    assert prediction.correlation(torch.ones(4), torch.arange(4.0)) is None
    assert prediction.correlation(torch.tensor([1.0, 9.0, 2.0]), torch.tensor([5.0, 6.0, 5.5])) == pytest.approx(1)


def test_positions_are_scored_apart():
    x = torch.zeros(2, 1, 3, 2, 2)
    wrong = x.clone()
    wrong[:, :, 2] = 0.2
    found = prediction.by_position(wrong, x)
    assert found["last"] == pytest.approx(20) and found["first"] > 100
    assert found["all"] == pytest.approx(20 + 10 * np.log10(3))


# ---------------------------------------------------------------------------------------- going on


def test_a_sequence_goes_on_position_by_position():
    """One descent after the other, each given what was found before; of a long past the end counts."""
    energy = stirred(FrameEnergy((2, 3, 4, 4), 2, 8, 1, 2))
    assert isinstance(energy, FrameEnergy)
    past = torch.randn(2, 2, 5, 4, 4, generator=seeded()).clamp(-1, 1)
    x, e = continued(energy, past, 2, seeded(3))
    assert x.shape == (2, 2, 7, 4, 4) and e.shape == (2, 2) and torch.equal(x[:, :, :5], past)
    z = torch.randn(2, 2, 1, 4, 4, generator=seeded(3))
    known = past[:, :, -2:]
    z, alone = settled(energy, known, z, 2, first=2)
    torch.testing.assert_close(x[:, :, 5:6], energy.estimate(known, z, 2).clamp(-1, 1))
    torch.testing.assert_close(e[:, :1], alone)


def test_symbols_that_are_drawn_are_symbols():
    energy = stirred(TokenEnergy((5, 4), 8, 1, 2))
    assert isinstance(energy, TokenEnergy)
    past = 2 * torch.nn.functional.one_hot(torch.tensor([[0, 3]]), 5).transpose(1, 2).float() - 1
    x, _ = continued(energy, past, 4, seeded())
    assert x.shape == (1, 5, 6) and set(x.flatten().tolist()) == {-1.0, 1.0} and (x.sum(1) == -3).all()


# ----------------------------------------------------------------------------------------- stages


def clips(num: int = 16) -> Examples:
    x = torch.randn(num, 3, 6, 8, 8, generator=seeded()).clamp(-1, 1)
    return Examples("video", (3, 6, 8, 8), to_levels(x[4:]), to_levels(x[:4]))


def pictures(num: int = 16) -> Examples:
    x = torch.randn(num, 1, 8, 8, generator=seeded()).clamp(-1, 1)
    return Examples("images", (1, 8, 8), to_levels(x[4:]), to_levels(x[:4]))


def texts(num: int = 16) -> Examples:
    pieces = np.tile(np.frombuffer(b"abcdefgh", np.uint8), (num, 1))
    bits = to_bits(torch.from_numpy(text.one_hot(pieces)))
    return Examples("text", (256, 8), bits[4:], bits[:4])


ENERGIES: dict[str, tuple[PredictiveEnergy, Examples]] = {
    "video": (FrameEnergy((3, 6, 8, 8), 4, 8, 1, 2), clips()),
    "images": (DenoisingEnergy((1, 8, 8), [4, 4], 8, 1, 2), pictures()),
    "text": (TokenEnergy((256, 8), 8, 1, 2), texts()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENERGIES)
def test_what_is_predicted_is_told_with_rivals_and_by_steps(name, tmp_path):
    energy, data = ENERGIES[name]
    given = Predict(frames=2, past=3, futures=3, num=4, shown=2)({"data": data, "energy": energy}, here(tmp_path))
    found, made = given["metrics"], given["prediction"]
    assert json.loads((tmp_path / "metrics.json").read_text()) == found
    assert all(len(points["quality"]) == 8 for points in found["thinking"].values())
    assert found["thinking"]["as learned"]["quality"] != found["thinking"]["elsewhere"]["quality"]
    assert len(made["predicted"]) == 2 and f"{found['judge']['one']:.3f}" in given["summary"]
    if name == "video":
        assert set(found["forecast"]) == {"least_energy", "one", "last_frame", "linear_dynamics"}
        still = data.x("validation")[:, :, 2:3] - data.x("validation")[:, :, 3:5]
        assert found["forecast"]["last_frame"]["all"] == pytest.approx(decibels(still.square().mean()))
    if name == "images":
        assert found["rivals"]["as_seen"] == pytest.approx(-10 * np.log10(0.09 / 4), abs=1)
    if name == "text":
        assert found["rivals"]["five_gram"] < 1 < found["rivals"]["single_bytes"] < 4
    again = Predict(frames=2, past=3, futures=3, num=4, shown=2)({"data": data, "energy": energy}, here(tmp_path))
    assert again["metrics"] == found and torch.equal(again["prediction"]["predicted"], made["predicted"])


def test_the_future_of_least_energy_is_taken(tmp_path):
    energy, data = ENERGIES["video"]
    torch.manual_seed(0)
    stage = Predict(frames=2, past=3, futures=4, num=4, shown=4)
    given = stage({"data": data, "energy": stirred(energy)}, here(tmp_path))
    e = torch.tensor(given["metrics"]["energies"])
    best = given["prediction"]["futures"][int(e[0].argmin())]
    assert e.shape == (4, 4) and torch.equal(given["prediction"]["predicted"][0], best)


def test_an_energy_that_does_not_predict_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"learn.energy=transformer"):
        Predict()({"data": pictures(), "energy": EncoderEnergy((1, 8, 8), (4,), (1,))}, here(tmp_path))
    whole, one = clips(), pictures()
    single = Examples("images", one.shape, one.train[:1], one.validation[:0])
    with pytest.raises(InputError, match="several pictures"):
        Predict()({"data": single, "energy": ENERGIES["images"][0]}, here(tmp_path))
    with pytest.raises(InputError, match=r"predict.past=6 leaves nothing"):
        Predict(past=6)({"data": whole, "energy": ENERGIES["video"][0]}, here(tmp_path))


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"futures": 0}, {"past": 0}, {"thinking": 0}, {"input": "no/such"}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Predict(**wrong)


# --------------------------------------------------------------------------------------- learning

SMALL = Transformer(4, 8, 1, 2)


@pytest.mark.parametrize("name", ENERGIES)
def test_a_transformer_is_learned_of_what_each_modality_predicts(name, tmp_path):
    energy, data = ENERGIES[name]
    given = Learn(energy=SMALL, steps=2, batch=4)({"data": data}, here(tmp_path))
    assert type(given["energy"]) is type(energy) and given["energy"].fits(data.shape)
    assert given["energy"].steps == 2


def test_a_patch_that_does_not_divide_x_is_told_in_a_line(tmp_path):
    with pytest.raises(InputError, match=r"learn.energy.transformer: the sides of a patch must divide"):
        Learn(energy=Transformer(3, 8, 1, 2), steps=1)({"data": pictures()}, here(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["video", "text"])
def test_learning_that_goes_on_is_as_if_it_had_not_stopped(name, tmp_path):
    """Bit for bit, with random numbers of steps, noise, and candidates that are kept."""
    _, data = ENERGIES[name]
    objective = OptimisedPrediction(1, more_steps=1, step_spread=0.2, langevin=0.1, replay=0.5, every=True)
    optimizer = Optimizer("adam", 2, 1.0, 0.9, 2)
    recipe = Recipe(SMALL, objective, 5, 0.01, 4, optimizer, chains=6)

    def plan(run: Run):
        return dataset.plan(data, recipe, False, 0, lambda x, rng: x, run)

    torch.manual_seed(0)
    whole = plan(here(tmp_path / "whole")).train(here(tmp_path / "whole"))
    torch.manual_seed(0)
    run = here(tmp_path / "parts")
    stopped = plan(run)
    drawn = stopped.draw

    def breaks(energy: Any, step: int, rng: torch.Generator) -> Any:
        if step == 3:
            raise KeyboardInterrupt
        return drawn(energy, step, rng)

    with pytest.raises(KeyboardInterrupt):
        stopped._replace(draw=breaks).train(run)
    torch.manual_seed(99)
    again = plan(run).train(run)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_one_clip_is_learned_by_its_windows_and_judged_at_its_end(tmp_path):
    x = torch.arange(40.0).view(1, 1, 40, 1, 1).expand(1, 3, 40, 8, 8) / 40
    clip = Examples("video", (3, 40, 8, 8), x, x[:0])
    cut = windows(clip, 6)
    first = (cut.x()[:, 0, :, 0, 0] * 40).round().int().tolist()
    assert first[0] == [0, 1, 2, 3, 4, 5] and first[-1][-1] == 29 and len(first) == 25
    assert (cut.x("validation")[:, 0, 0, 0, 0] * 40).round().int().tolist() == [30]
    values = {"data": clip} | Learn(energy=SMALL, steps=1, batch=2)({"data": clip}, here(tmp_path))
    assert values["energy"].fits((3, 12, 8, 8))
    found = Predict(frames=2, futures=2, shown=1)(values, here(tmp_path))["metrics"]
    assert found["num"] == 1 and "forecast" in found
    with pytest.raises(InputError, match="a clip of 20 frames is too short"):
        Learn(energy=SMALL)({"data": Examples("video", (3, 20, 8, 8), x[:, :, :20], x[:0])}, here(tmp_path))


# ------------------------------------------------------------------------------------------- text


def letters(num: int, first: int, seed: int) -> bytes:
    """`num` bytes at random, of six from `first` on."""
    return (np.random.default_rng(seed).integers(0, 6, num) + first).astype(np.uint8).tobytes()


def test_text_is_loaded_with_whole_files_set_aside(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.txt").write_bytes(letters(80, 65 + 6 * number, number))
    data = Load(str(tmp_path), 16, count=40)({}, here(tmp_path / "run"))["data"]
    assert data.shape == (256, 16) and data.x().shape[1:] == (256, 16)
    seen, kept = (set(np.unique(symbols(data.x(part)))) for part in ("train", "validation"))
    assert seen and kept and not seen & kept
    assert np.array_equal(stored(data), symbols(data.x()))


def test_of_files_of_unlike_size_the_small_one_is_set_aside(tmp_path):
    (tmp_path / "large.txt").write_bytes(letters(900, 65, 0))
    (tmp_path / "small.txt").write_bytes(letters(120, 97, 1))
    for share in (0.02, 0.2):
        data = Load(str(tmp_path), 10, count=None, validation=share)({}, here(tmp_path / "run"))["data"]
        assert len(data.train) == 90 and len(data.validation) == 12


def test_the_end_of_a_single_text_is_set_aside(tmp_path):
    path = tmp_path / "one.txt"
    path.write_bytes(letters(400, 65, 0) + letters(100, 97, 1))
    data = Load(str(path), 10, count=None, validation=0.2)({}, here(tmp_path / "run"))["data"]
    assert stored(data).max() < 97 <= symbols(data.x("validation")).min()
    with pytest.raises(InputError, match="pieces of 100 bytes; at least 20"):
        Load(str(path), 100)({}, here(tmp_path / "run"))
    path.write_bytes(b"a" * 400)
    with pytest.raises(InputError, match=r"load.text=.*all the same"):
        Load(str(path), 10)({}, here(tmp_path / "run"))


def test_text_as_a_modality(tmp_path):
    modality, data = modality_of("text"), texts()
    x = data.x("validation")
    assert modality.score(x, x, torch.ones(1, 1, 8, dtype=torch.bool))["accuracy"] == 1
    assert torch.equal(modality.made(x + 0.1 * torch.randn(x.shape, generator=seeded()), ENERGIES["text"][0]), x)
    compared = modality.comparison(data, here(tmp_path))
    assert compared is not None
    found = compared.beside(x, None, seeded())
    assert found["samples"] == found["real"] and found["noise"]["bits_a_byte"] > 6 > found["real"]["bits_a_byte"]
    modality.write(x[:2], tmp_path / "texts", "sample", {})
    assert (tmp_path / "texts/sample_001.txt").read_bytes() == b"abcdefgh"
    assert torch.equal(
        modality.read(str(tmp_path / "texts/sample_001.txt"), (256, 8), 3, {}), encoded(stored(data)[:1])
    )


@pytest.mark.slow
def test_a_text_goes_on_from_the_command_line(tmp_path):
    """The whole way, from a file of one's own to what is written."""
    (tmp_path / "own.txt").write_bytes(b"to be or not to be, that is the question. " * 40)
    few = ["load.length=8", "learn.steps=2", "learn.energy.transformer.width=8", "learn.energy.transformer.depth=1",
           "learn.energy.transformer.heads=2", "predict.num=4", "predict.futures=2", "predict.frames=3",
           "compute=float32"]  # fmt: skip
    own = [f"load.text={tmp_path / 'own.txt'}", f"predict.input={tmp_path / 'own.txt'}", "predict.past=6"]
    assert main(["text_prediction", *few, *own, f"out={tmp_path / 'run'}"]) == 0
    assert (tmp_path / "run/predicted/text_000.txt").read_bytes()[:6] == b"to be "
    assert "More steps" in (tmp_path / "run/report.html").read_text()
    assert isinstance(energies.load(tmp_path / "run/energy"), TokenEnergy)
    assert checkpoint.load_values(tmp_path / "run/03_predict") is not None
