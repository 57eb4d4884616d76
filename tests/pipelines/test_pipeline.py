"""Laws of a pipeline: checked before it runs, resumed where it stopped, never mixed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch

from energies import Gaussian
from pipelines import checkpoint, run_folder
from pipelines.config import ConfigError
from pipelines.pipeline import Pipeline, Run
from pipelines.pipeline import _modality as modality

CALLS: list[str] = []


@dataclass(frozen=True)
class Load:
    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("clip",)

    file: str | None = None
    size: int = 4

    def files(self) -> tuple[str, ...]:
        return (self.file,) if self.file else ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        CALLS.append("load")
        return {"clip": torch.randn(self.size, generator=run.generator("clip"))}


@dataclass(frozen=True)
class Learn:
    needs: ClassVar[tuple[str, ...]] = ("clip",)
    gives: ClassVar[tuple[str, ...]] = ("mean", "weights")

    steps: int = 6
    stop_at: ClassVar[int | None] = None

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        CALLS.append("learn")
        weights, mean, rng = (
            torch.nn.Linear(4, 1).weight.detach(),
            torch.zeros(4),
            run.generator("noise"),
        )
        start = 0
        if last := checkpoint.load(run.folder / "checkpoint"):
            mean, start = last[0]["mean"], last[1]["step"]
            rng.set_state(last[0]["rng"])
        for step in range(start, self.steps):
            if step == Learn.stop_at:
                raise KeyboardInterrupt
            CALLS.append("step")
            mean = 0.9 * mean + 0.1 * values["clip"] + torch.randn(4, generator=rng)
            state = {"mean": mean, "rng": rng.get_state()}
            checkpoint.save(run.folder / "checkpoint", state, {"step": step + 1})
        return {"mean": mean, "weights": weights}


@dataclass(frozen=True)
class Export:
    needs: ClassVar[tuple[str, ...]] = ("mean",)
    gives: ClassVar[tuple[str, ...]] = ("summary",)

    kind: Literal["a", "b"] = "a"
    fails: ClassVar[Exception | None] = None

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        CALLS.append("export")
        if Export.fails:
            raise Export.fails
        return {"summary": f"mean {values['mean'].sum():.3f}"}


@dataclass(frozen=True)
class Look:
    """What it is handed: what it needs and takes."""

    needs: ClassVar[tuple[str, ...]] = ("mean",)
    takes: ClassVar[tuple[str, ...]] = ("clip", "absent")
    gives: ClassVar[tuple[str, ...]] = ("seen",)
    checked: ClassVar[list[list[str]]] = []

    def check(self, values: dict[str, Any]) -> None:
        self.checked.append(sorted(values))

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        return {"seen": sorted(values)}


@dataclass(frozen=True)
class Fit:
    needs: ClassVar[tuple[str, ...]] = ("clip",)
    gives: ClassVar[tuple[str, ...]] = ("energy",)

    width: float = 1.0

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        return {"energy": Gaussian([float(values["clip"].mean())], [[self.width]])}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    CALLS.clear()
    monkeypatch.setattr(Learn, "stop_at", None)
    monkeypatch.setattr(Export, "fails", None)


def calls() -> list[str]:
    made = [call for call in CALLS if call != "step"]
    CALLS.clear()
    return made


def picture(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in folder.rglob("*")}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) if torch.is_tensor(a[k]) else a[k] == b[k] for k in a)


CHAIN = [Load(), Learn(), Export()]


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([Learn()], "learn needs 'clip', which no stage before it gives; given are: none"),
        (
            [Load(), Export(), Learn()],
            "export needs 'mean', which no stage before it gives; learn gives it, but comes later",
        ),
        ([Load(), Learn(), Load(), Export(), Learn(), Export()], None),
        ([], "at least one stage"),
    ],
)
def test_a_chain_that_lacks_an_input_is_refused_before_anything_runs(stages, words, tmp_path):
    if words is None:
        Pipeline(stages)
        return
    with pytest.raises(ConfigError) as error:
        Pipeline(stages).run(tmp_path / "r")
    assert words in str(error.value) and not CALLS and not (tmp_path / "r").exists()


def test_a_stage_is_handed_what_it_needs_and_takes_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(Look, "checked", [])
    assert Pipeline([Load(), Learn(), Look()]).run(tmp_path / "a")["seen"] == ["clip", "mean"]
    assert Look.checked == [["clip"], ["clip", "mean"]]
    monkeypatch.setattr(Export, "__call__", lambda self, values, run: {"summary": values["weights"]})
    with pytest.raises(KeyError, match="weights"):
        Pipeline(CHAIN).run(tmp_path / "b")


def test_the_modality_is_that_of_the_stages_that_come_from_it(monkeypatch):
    for cls, module in ((Load, "pipelines.modalities.video.load"), (Learn, "pipelines.stages.learn"), (Export, "mine")):
        monkeypatch.setattr(cls, "__module__", module)
    assert modality([Load(), Learn(), Export()]) == "video" and modality([Learn(), Export()]) is None
    monkeypatch.setattr(Export, "__module__", "pipelines.modalities.images")
    assert modality([Export()]) == "images" and modality(CHAIN) is None


def test_a_run_says_how_it_runs_and_names_its_stages_as_the_folders(tmp_path, capsys):
    Pipeline(CHAIN).run(tmp_path, compute="float32")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["running on 1 process, cpu, float32", "[1/3] 01_load", "[2/3] 02_learn", "[3/3] 03_export"]
    assert {line["stage"] for line in log_of(tmp_path)} == {"01_load", "02_learn", "03_export"}


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_finished_run_is_not_run_again_and_says_so(tmp_path, capsys):
    first = Pipeline(CHAIN).run(tmp_path / "r", seed=3)
    assert calls() == ["load", "learn", "export"]
    assert capsys.readouterr().out == f"{first['summary']}\nresults are in {tmp_path / 'r'}\n"
    again = Pipeline(CHAIN).run(tmp_path / "r", seed=3)
    assert same(first, again) and not calls()
    assert capsys.readouterr().out.endswith("r, finished by an earlier command\n")
    assert sorted(p.name for p in (tmp_path / "r").glob("[!.]*")) == [
        "01_load",
        "02_learn",
        "03_export",
        "config.yaml",
        "log.jsonl",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [0, 4])
def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(tmp_path, monkeypatch, stop_at):
    state = torch.get_rng_state()
    whole = Pipeline(CHAIN).run(tmp_path / "whole", seed=3)
    assert torch.equal(torch.get_rng_state(), state)  # a run leaves the caller's randomness alone
    monkeypatch.setattr(Learn, "stop_at", stop_at)
    with pytest.raises(KeyboardInterrupt):
        Pipeline(CHAIN).run(tmp_path / "r", seed=3)
    monkeypatch.setattr(Learn, "stop_at", None)
    CALLS.clear()
    torch.rand(3)
    resumed = Pipeline(CHAIN).run(tmp_path / "r", seed=3)
    assert CALLS.count("step") == 6 - stop_at and calls() == ["learn", "export"]
    assert same(whole, resumed)
    assert not same(whole, Pipeline(CHAIN).run(tmp_path / "other", seed=4))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_damaged_stage_is_done_again_and_only_that(tmp_path, number):
    first = Pipeline(CHAIN).run(tmp_path / "r")
    name = calls()[number - 1]
    file = tmp_path / "r" / f"{number:02d}_{name}" / ("values.json" if number == 3 else "values.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert same(Pipeline(CHAIN).run(tmp_path / "r"), first) and calls() == [name]


def test_stages_after_one_that_now_gives_something_else_are_done_again(tmp_path, monkeypatch):
    first = Pipeline(CHAIN).run(tmp_path / "r")
    calls()
    monkeypatch.setattr(Load, "__call__", lambda self, values, run: {"clip": torch.full((4,), 9.0)})
    (tmp_path / "r" / "01_load" / "manifest.json").unlink()
    second = Pipeline(CHAIN).run(tmp_path / "r")
    assert calls() == ["learn", "export"] and not same(first, second)
    assert same(second, Pipeline(CHAIN).run(tmp_path / "fresh"))  # no old checkpoint was used


@pytest.mark.parametrize(
    ("stages", "settings", "words"),
    [
        (
            [Load(size=5), Learn(), Export()],
            {},
            "with load.size=4, and this one is with load.size=5;",
        ),
        (
            [Load(), Learn(7), Export("b")],
            {},
            "with learn.steps=6, and this one is with learn.steps=7;",
        ),
        (
            CHAIN,
            {"seed": 1},
            "with seed=0, and this one is with seed=1; choose another folder (out=...) or delete",
        ),
        (
            CHAIN,
            {"compute": "bfloat16"},
            "with compute=auto, and this one is with compute=bfloat16",
        ),
        ([Load(), Learn()], {}, "with stage 3=export, and this one is without stage 3"),
    ],
)
def test_a_folder_of_another_run_is_refused_and_not_touched(tmp_path, stages, settings, words):
    Pipeline(CHAIN).run(tmp_path)
    before = picture(tmp_path)
    calls()
    with pytest.raises(ConfigError) as error:
        Pipeline(stages).run(tmp_path, **settings)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert picture(tmp_path) == before and not calls()


def test_the_last_stage_of_a_finished_run_is_done_anew_with_other_settings(tmp_path):
    first = Pipeline(CHAIN).run(tmp_path / "r")
    calls()
    again = Pipeline([Load(), Learn(), Export("b")]).run(tmp_path / "r")
    assert calls() == ["export"] and same(first, again)
    assert "kind: b" in (tmp_path / "r" / "config.yaml").read_text()
    Pipeline([Load(), Learn(), Export("b")]).run(tmp_path / "r")
    assert not calls()
    (tmp_path / "r").rename(tmp_path / "moved")
    Pipeline([Load(), Learn(), Export("b")]).run(tmp_path / "moved")
    assert not calls(), "another name is no other setting"


@pytest.mark.parametrize("kept", ["checkpoint", "energy"])
def test_a_last_stage_that_learned_is_not_thrown_away(tmp_path, kept):
    stage, other = (Learn(6), Learn(7)) if kept == "checkpoint" else (Fit(1.0), Fit(2.0))
    Pipeline([Load(), stage]).run(tmp_path)
    before = picture(tmp_path)
    with pytest.raises(ConfigError, match="holds a run with"):
        Pipeline([Load(), other]).run(tmp_path)
    assert picture(tmp_path) == before


@pytest.mark.parametrize("error", [ValueError("kind"), KeyboardInterrupt()])
def test_a_last_stage_that_fails_when_it_is_done_anew_leaves_its_old_result_whole(tmp_path, monkeypatch, error):
    def export(self, values, run):
        (run.root / "report.html").write_text(f"of {self.kind}")
        if Export.fails:
            raise Export.fails
        return {"summary": self.kind}

    monkeypatch.setattr(Export, "__call__", export)
    first = Pipeline(CHAIN).run(tmp_path)
    before = {name: content for name, (_, content) in picture(tmp_path).items() if "log.jsonl" not in name}
    monkeypatch.setattr(Export, "fails", error)
    with pytest.raises(type(error)):
        Pipeline([Load(), Learn(), Export("b")]).run(tmp_path)
    assert {n: c for n, (_, c) in picture(tmp_path).items() if "log.jsonl" not in n} == before
    calls()
    assert same(Pipeline(CHAIN).run(tmp_path), first) and not calls()
    monkeypatch.setattr(Export, "fails", None)
    assert Pipeline([Load(), Learn(), Export("b")]).run(tmp_path)["summary"] == "b"
    assert (tmp_path / "report.html").read_text() == "of b" and not (tmp_path / ".aside").exists()


def test_a_last_stage_whose_redoing_was_killed_is_put_back(tmp_path, monkeypatch):
    first = Pipeline(CHAIN).run(tmp_path)
    calls()
    with monkeypatch.context() as patch:
        patch.setattr(Export, "fails", KeyboardInterrupt())
        patch.setattr(run_folder, "settle", lambda root: None)  # as if nothing could be done any more
        with pytest.raises(KeyboardInterrupt):
            Pipeline([Load(), Learn(), Export("b")]).run(tmp_path)
    assert calls() == ["export"] and not checkpoint.verify(tmp_path / "03_export")
    assert same(Pipeline(CHAIN).run(tmp_path), first) and not calls()


def test_a_setting_of_a_stage_that_has_not_begun_may_be_mended(tmp_path, monkeypatch):
    monkeypatch.setattr(Export, "fails", ValueError("kind"))
    with pytest.raises(ValueError, match="kind"):
        Pipeline(CHAIN).run(tmp_path)
    monkeypatch.setattr(Export, "fails", None)
    calls()
    with pytest.raises(ConfigError, match=r"learn\.steps"):
        Pipeline([Load(), Learn(7), Export()]).run(tmp_path)
    Pipeline([Load(), Learn(), Export("b")]).run(tmp_path)
    assert calls() == ["export"] and "kind: b" in (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize("name", ["notes.txt", "config.yaml"])
def test_a_folder_that_holds_something_else_is_refused_and_not_touched(tmp_path, name):
    (tmp_path / name).write_text("mine: 1")
    before = picture(tmp_path)
    with pytest.raises(ConfigError, match="is not empty and holds no run"):
        Pipeline(CHAIN).run(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        Pipeline(CHAIN).run(tmp_path / name)
    assert picture(tmp_path) == before


def test_a_changed_input_file_is_noticed(tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"one")
    stages = [Load(str(clip)), Learn(), Export()]
    first = Pipeline(stages).run(tmp_path / "r")
    clip.write_bytes(b"two")
    before = picture(tmp_path)
    with pytest.raises(ConfigError, match=r"clip\.mp4 has changed since"):
        Pipeline(stages).run(tmp_path / "r")
    assert {k: v for k, v in picture(tmp_path).items() if "/0" in k} == {k: v for k, v in before.items() if "/0" in k}
    clip.unlink()  # nothing needs it any more
    assert same(Pipeline(stages).run(tmp_path / "r"), first)


def test_a_changed_folder_of_inputs_is_noticed(tmp_path):
    photos = tmp_path / "photos"
    (photos / "cats").mkdir(parents=True)
    for name in ("cats/1.png", "2.png", "labels.csv"):
        (photos / name).write_bytes(b"one")
    (photos / "again").symlink_to(photos, target_is_directory=True)
    stages = [Load(str(photos)), Learn(), Export()]
    first = Pipeline(stages).run(tmp_path / "r")
    (photos / ".DS_Store").write_bytes(b"mine")  # the system's
    (photos / "2.png").touch()  # another time, but the same content
    assert same(Pipeline(stages).run(tmp_path / "r"), first)
    changes = {
        r"labels\.csv has changed since": lambda: (photos / "labels.csv").write_bytes(b"two"),
        r"3\.png is new, and 1 more since": lambda: [(photos / f"{k}.png").write_bytes(b"new") for k in (3, 4)],
        r"2\.png is gone since": (photos / "2.png").unlink,
    }
    for words, change in changes.items():
        kept = {path: path.read_bytes() for path in photos.rglob("*.*") if path.is_file()}
        change()
        with pytest.raises(ConfigError, match=words):
            Pipeline(stages).run(tmp_path / "r")
        for path in [path for path in photos.rglob("*.*") if path.is_file()]:
            path.unlink()
        for path, content in kept.items():
            path.write_bytes(content)
    assert same(Pipeline(stages).run(tmp_path / "r"), first)


def test_a_folder_of_the_persons_own_in_that_of_a_run_is_left_alone(tmp_path):
    Pipeline([Load(), Learn(), Export("a")]).run(tmp_path)
    for name in ("my_checkpoints", "99_notes", "my_run/checkpoint"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / ".a.new").write_text("mine")
    Pipeline([Load(), Learn(), Export("b")]).run(tmp_path)
    assert (tmp_path / "my_checkpoints" / ".a.new").exists() and "kind: b" in (tmp_path / "config.yaml").read_text()


def test_two_runs_in_one_folder_at_once_are_refused(tmp_path, monkeypatch):
    def second(self, values, run):
        with pytest.raises(ConfigError, match="another command is running in"):
            Pipeline(CHAIN).run(tmp_path)
        return {"clip": torch.zeros(4)}

    monkeypatch.setattr(Load, "__call__", second)
    Pipeline(CHAIN).run(tmp_path)


def test_a_full_disk_leaves_no_half_stage(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Export, "__call__", lambda *args: patch.setattr("os.fsync", full) or {"summary": "x"})
        with pytest.raises(OSError, match="No space left"):
            Pipeline(CHAIN).run(tmp_path)
    assert {p.name for p in (tmp_path / "03_export").iterdir()} == {"begun.json"}
    calls()
    Pipeline(CHAIN).run(tmp_path)
    assert calls() == ["export"]


def test_streams_of_randomness_depend_on_seed_and_key_only(tmp_path):
    def draw(seed: int, *key: int | str) -> float:
        return torch.rand((), generator=Run(tmp_path, tmp_path, seed).generator(*key), dtype=torch.float64).item()

    draws = [draw(0, "a"), draw(1, "a"), draw(0, "b"), draw(0, "a", 0), draw(0, "a", "0"), draw(0)]
    assert len(set(draws)) == len(draws) and draw(0, "a") == draws[0]


def test_the_log_holds_one_json_line_a_record_even_after_a_torn_one(tmp_path):
    run = Run(tmp_path, tmp_path / "01_load")
    run.log(step=1, loss=float("nan"))
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    run.log(step=3)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[2])
    assert (first["stage"], first["step"], first["loss"], last["step"], len(lines)) == (
        "01_load",
        1,
        None,
        3,
        3,
    )


def test_a_stage_must_give_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(Load, "__call__", lambda *args: {"clop": 1})
    with pytest.raises(RuntimeError, match=r"Load gives .*clip.* but gave .*clop"):
        Pipeline(CHAIN).run(tmp_path)


def test_a_launcher_that_starts_one_process_of_several_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")  # what `accelerate launch --cpu --num_processes 2` sets
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(ConfigError, match=r"type, for two: torchrun --nproc_per_node 2 -m pipelines\.run"):
        Pipeline(CHAIN).run(tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_processes_that_do_not_see_each_other_are_refused(tmp_path, monkeypatch):
    accelerate = pytest.importorskip("accelerate")
    monkeypatch.setattr(accelerate, "Accelerator", lambda **settings: type("Alone", (), {"num_processes": 1}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes were launched but this one sees 1"):
        Run(tmp_path, tmp_path).accelerator  # noqa: B018
