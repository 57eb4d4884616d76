"""Laws of the store: the same result is taken, any other is made; nothing half, nothing damaged, nothing unsaid."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from energies import Gaussian
from pipelines import checkpoint, making, run_folder, store
from pipelines.pipeline import Pipeline
from pipelines.run import main
from pipelines.stage import Run
from pipelines.store import Given

CALLS: list[str] = []


@dataclass(frozen=True)
class Load:
    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("data", "extra")

    file: str | None = None
    size: int = 3

    def files(self) -> tuple[str, ...]:
        return (self.file,) if self.file else ()

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        return {"data": torch.arange(float(self.size)), "extra": 0}


@dataclass(frozen=True)
class Hide:
    needs: ClassVar[tuple[str, ...]] = ("data",)
    gives: ClassVar[tuple[str, ...]] = ("measured",)

    share: float = 0.5

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        return {"measured": self.share * values["data"]}


@dataclass(frozen=True)
class Way:
    power: float = 1.0


@dataclass(frozen=True)
class Fit:
    """Takes what is measured, but reads it of two elements only."""

    needs: ClassVar[tuple[str, ...]] = ("data",)
    takes: ClassVar[tuple[str, ...]] = ("measured",)
    gives: ClassVar[tuple[str, ...]] = ("energy", "drawn")
    stored: ClassVar[bool] = True

    steps: int = 4
    way: Way = field(default_factory=Way)
    fails: ClassVar[bool] = False

    def reads(self, values: dict[str, Any]) -> tuple[str, ...]:
        return ("data", "measured") if len(values["data"]) == 2 else ("data",)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        CALLS.append("fit")
        run.log(step=0, noise_loss=0.5)
        (run.folder / "checkpoint").mkdir(exist_ok=True)
        if Fit.fails:
            raise KeyboardInterrupt
        mean = [float(values["data"].mean()) + sum(values.get("measured", []))]
        return {"energy": Gaussian(mean, [[2.0]]), "drawn": torch.rand(2)}


@dataclass(frozen=True)
class Show:
    """Leaves a file in the folder of the run: it is no stage to be stored."""

    needs: ClassVar[tuple[str, ...]] = ("energy",)
    gives: ClassVar[tuple[str, ...]] = ("summary",)

    def __call__(self, values: dict[str, Any], run: Run) -> dict[str, Any]:
        (run.root / "shown.txt").write_text("shown")
        return {"summary": "shown"}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    CALLS.clear()
    monkeypatch.setattr(Fit, "fails", False)
    monkeypatch.delenv(store.VARIABLE, raising=False)


def calls(out: Path, *stages: Any, **settings: Any) -> int:
    """How often `Fit` works in a run."""
    CALLS.clear()
    Pipeline(stages).run(out, **settings)
    return len(CALLS)


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """What `Fit` gave, as numbers."""
    energy = {name: value.tolist() for name, value in values["energy"].state_dict().items()}
    return energy | {"drawn": values["drawn"].tolist()}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return flat(a) == flat(b)


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------------------------------------- key


def test_everything_that_decides_a_result_decides_its_key_and_nothing_else_does(tmp_path, monkeypatch):
    file = tmp_path / "in.txt"
    file.write_text("one")
    run = Run(tmp_path / "r", tmp_path / "r/02_fit", compute="float32")
    data = Given("asked", "content", True)

    def key(stage: Any = Fit(), run: Run = run, **given: Given) -> str | None:
        given = {"data": data} | given
        files = making.inputs.record(store.files(stage), run.root)
        return store.wanted(stage, given, given, files, run).key

    monkeypatch.setattr(Load, "stored", True, raising=False)
    kept = [key(), key(run=replace(run, root=Path("else"), folder=Path("else/07_fit"), store="on"))]
    others = [
        key(Fit(steps=5)), key(Fit(way=Way(2.0))), key(run=replace(run, seed=1)),
        key(run=replace(run, compute="bfloat16")), key(data=replace(data, asked="other")),
        key(data=replace(data, content="other")), key(measured=data), key(Load(str(file))),
    ]  # fmt: skip
    file.write_text("other")
    others.append(key(Load(str(file))))
    with monkeypatch.context() as patch:
        patch.setattr(store, "code", lambda: "edited")
        others.append(key())
    with monkeypatch.context() as patch:
        patch.setattr(store, "origin", lambda cls: (cls.__module__, f"edited {cls.__name__}" * (cls is Way)))
        others.append(key())
    assert kept[0] == kept[1] and None not in others and len({kept[0], *others}) == 1 + len(others)
    # What cannot be traced has none: code of the program that is run, and files in the folder of the run itself.
    assert key(data=replace(data, traced=False)) is None and key(Load(str(tmp_path / "r/mine.txt"))) is None
    monkeypatch.setattr(Way, "__module__", "__main__")
    store.origin.cache_clear()
    assert key() is None
    store.origin.cache_clear()


def test_every_source_file_of_our_packages_decides_the_digest_of_the_code(tmp_path):
    found = []
    for name, text in (("pipelines/a.py", "1"), ("energies/b/c.py", "1"), ("data/d.py", "1"), ("pipelines/a.py", "2")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        store.code.cache_clear()
        found.append(store.code(tmp_path))
    (tmp_path / "notes.txt").write_text("mine")
    store.code.cache_clear()
    assert len(set(found)) == 4 and store.code(tmp_path) == found[-1]


def test_what_is_asked_for_is_the_same_by_other_code_and_in_another_format(tmp_path, monkeypatch):
    asked = []
    for compute in ("float32", "bfloat16"):
        monkeypatch.setattr(store, "code", lambda compute=compute: compute)
        Pipeline([Load(), Fit()]).run(tmp_path / compute, compute=compute)
        asked.append(json.loads((tmp_path / compute / "02_fit/begun.json").read_text())["asked"])
    assert asked[0] == asked[1] and len(CALLS) == 2


# ------------------------------------------------------------------------------------------- taking


@pytest.mark.slow
def test_a_result_is_taken_from_a_run_beside_and_said_and_is_as_if_it_were_made(tmp_path, capsys):
    first = Pipeline([Load(), Fit(), Show()]).run(tmp_path / "a")
    capsys.readouterr()
    second = Pipeline([Load(), Hide(), Fit(), Show()]).run(tmp_path / "b")
    told = capsys.readouterr().err
    assert f"[3/4] 03_fit: taken from {tmp_path / 'a'}\n" in told and CALLS == ["fit"]
    assert same(first, second)
    assert (tmp_path / "b/shown.txt").exists(), "a stage with another effect runs"
    weights = [next(tmp_path.glob(f"{name}/*_fit/energy/model.safetensors")) for name in "ab"]
    assert weights[0].stat().st_ino == weights[1].stat().st_ino
    records = [record for record in log_of(tmp_path / "b") if record["stage"] == "03_fit"]
    assert {"event": "taken", "source": str(tmp_path / "a")}.items() <= records[0].items()
    assert [r["noise_loss"] for r in records if "step" in r] == [0.5] and records[-1]["event"] == "finished"
    assert calls(tmp_path / "b", Load(), Hide(), Fit(), Show()) == 0  # resumed
    assert calls(tmp_path / "c", Load(), Fit(), store="off") == 1
    assert same(first, Pipeline([Load(), Fit()]).run(tmp_path / "c", store="off"))


@pytest.mark.slow
def test_what_a_stage_does_not_read_does_not_count_and_is_not_handed_to_it(tmp_path, monkeypatch):
    assert calls(tmp_path / "a", Load(), Fit()) == 1
    assert calls(tmp_path / "b", Load(), Hide(0.1), Fit()) == 0
    assert calls(tmp_path / "c", Load(size=2), Hide(0.1), Fit()) == 1
    assert calls(tmp_path / "d", Load(size=2), Hide(0.2), Fit()) == 1
    monkeypatch.setattr(Fit, "__call__", lambda self, values, run: {"energy": values["measured"], "drawn": 0})
    with pytest.raises(KeyError, match="measured"):
        Pipeline([Load(), Hide(0.1), Fit(5)]).run(tmp_path / "e")


def test_a_later_stage_of_the_same_run_takes_from_an_earlier_one(tmp_path):
    assert calls(tmp_path / "a", Load(), Fit(), Hide(), Fit()) == 1


@pytest.mark.slow
def test_folders_of_runs_elsewhere_are_looked_in(tmp_path, monkeypatch):
    assert calls(tmp_path / "one/a", Load(), Fit()) == 1
    assert calls(tmp_path / "two/a", Load(), Fit(), store="off") == 1
    assert calls(tmp_path / "three/a", Load(), Fit(5)) == 1
    monkeypatch.setenv(store.VARIABLE, os.pathsep.join([str(tmp_path / "none"), str(tmp_path / "one")]))
    assert calls(tmp_path / "three/b", Load(), Fit()) == 0


def test_other_input_is_another_result(tmp_path):
    file = tmp_path / "in.txt"
    file.write_text("one")
    assert calls(tmp_path / "a", Load(str(file)), Fit()) == 1
    assert calls(tmp_path / "b", Load(str(file)), Fit()) == 0
    file.write_text("other")
    assert calls(tmp_path / "c", Load(str(file)), Fit()) == 1


def test_a_data_set_that_is_another_by_the_same_settings_is_another_value(tmp_path, monkeypatch):
    assert calls(tmp_path / "a", Load(), Fit()) == 1
    monkeypatch.setattr(Load, "__call__", lambda self, values, run: {"data": torch.ones(3), "extra": 0})
    assert calls(tmp_path / "b", Load(), Fit()) == 1


def test_a_copy_is_taken_where_there_are_no_links(tmp_path, monkeypatch):
    first = Pipeline([Load(), Fit()]).run(tmp_path / "a")

    def link(*args: Any) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", link)
    assert same(first, Pipeline([Load(), Fit()]).run(tmp_path / "b")) and CALLS == ["fit"]


@pytest.mark.filterwarnings("ignore:.* is damaged")
def test_a_run_that_goes_on_and_a_damaged_one_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(Fit, "fails", True)
    with pytest.raises(KeyboardInterrupt):
        Pipeline([Load(), Fit()]).run(tmp_path / "going")
    monkeypatch.setattr(Fit, "fails", False)
    assert calls(tmp_path / "a", Load(), Fit()) == 1
    file = tmp_path / "a/02_fit/values.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.warns(UserWarning, match="a/02_fit is damaged; 02_fit is not taken from there"):
        assert calls(tmp_path / "b", Load(), Fit()) == 1
    assert calls(tmp_path / "going", Load(), Fit()) == 0, "another run has finished meanwhile"


@pytest.mark.filterwarnings("ignore:.* is damaged")
@pytest.mark.parametrize("problem", [KeyboardInterrupt(), FileNotFoundError(2, "removed"), OSError(28, "full")])
def test_what_is_taken_is_whole_or_not_there(tmp_path, monkeypatch, problem):
    first, linked = Pipeline([Load(), Fit()]).run(tmp_path / "a"), []
    link = os.link

    def stopped(path: Path, new: Path) -> None:
        linked.append(path)
        if len(linked) == 3:
            raise problem
        link(path, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", stopped)
        if isinstance(problem, FileNotFoundError):  # the other run is being deleted
            assert calls(tmp_path / "b", Load(), Fit()) == 1
        else:
            with pytest.raises(type(problem)):
                Pipeline([Load(), Fit()]).run(tmp_path / "b")
            assert {path.name for path in (tmp_path / "b/02_fit").iterdir()} == {"begun.json"}
    assert same(first, Pipeline([Load(), Fit()]).run(tmp_path / "b"))


def test_taking_is_done_again_where_it_was_cut_short(tmp_path, monkeypatch):
    first, replace, moved = Pipeline([Load(), Fit()]).run(tmp_path / "a"), Path.replace, []

    def stopped(path: Path, new: Path) -> Path:
        moved.extend([path] * (path.parent == tmp_path / "b/02_fit/.values.new"))
        if len(moved) == 3:
            raise KeyboardInterrupt
        return replace(path, new)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            Pipeline([Load(), Fit()]).run(tmp_path / "b")
    assert not checkpoint.verify(tmp_path / "b/02_fit")
    assert same(first, Pipeline([Load(), Fit()]).run(tmp_path / "b")) and CALLS == ["fit"]
    assert not list(tmp_path.glob("b/02_fit/.*"))


def test_what_belongs_to_others_and_may_not_be_read_is_passed_over(tmp_path, monkeypatch):
    Pipeline([Load(), Fit()]).run(tmp_path / "a")
    signature = checkpoint.signature

    def refused(path: Path, *_: Any) -> Any:
        if tmp_path / "a" in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return signature(path)

    for module, name in ((checkpoint, "signature"), (os, "link"), (checkpoint.shutil, "copyfile")):
        monkeypatch.setattr(module, name, refused)
    assert calls(tmp_path / "b", Load(), Fit(), Show()) == 1


@pytest.mark.slow
def test_what_other_code_began_goes_on_but_is_taken_by_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(Fit, "fails", True)
    with pytest.raises(KeyboardInterrupt):
        Pipeline([Load(), Fit()]).run(tmp_path / "a")
    monkeypatch.setattr(Fit, "fails", False)
    monkeypatch.setattr(store, "code", lambda: "edited")
    assert calls(tmp_path / "a", Load(), Fit()) == 1 and (tmp_path / "a/02_fit/checkpoint").exists()
    assert calls(tmp_path / "b", Load(), Fit()) == 1
    assert calls(tmp_path / "c", Load(), Fit()) == 0
    monkeypatch.setattr(store, "code", lambda: "edited again")
    assert calls(tmp_path / "a", Load(), Fit()) == calls(tmp_path / "b", Load(), Fit()) == 0, "finished: stays"


@pytest.mark.parametrize("begun", ['{"key": "old", "inputs": {}, "folders": []}', "3", "null", '{"asked": "x"}'])
def test_a_run_of_an_earlier_version_and_a_damaged_one_are_told_of_and_kept(tmp_path, begun):
    Pipeline([Load(), Fit()]).run(tmp_path / "a")
    (tmp_path / "a/01_load/begun.json").write_text(begun)
    with pytest.raises(run_folder.ConfigError, match=r"01_load was begun by another version, or its begun\.json is"):
        Pipeline([Load(), Fit()]).run(tmp_path / "a")
    assert checkpoint.verify(tmp_path / "a/01_load")


# ----------------------------------------------------------------------------------------- forecast


def test_the_forecast_leaves_out_what_will_be_taken(tmp_path):
    Pipeline([Load(), Fit()]).run(tmp_path / "a")
    stages = [Load(), Hide(), Fit(5), Fit(), Show()]
    for given, taken in ((Given("d", "d", True), None), (None, making.ANOTHER)):
        run = Run(tmp_path / "c", tmp_path / "c", store="on")
        values = Load()({}, run)
        if given is None:  # the same data
            Pipeline([Load()]).run(tmp_path / "c")
            begun = run_folder.begun(tmp_path / "c/01_load")
            assert begun is not None
            given = Given(
                begun["asked"], hashlib.sha256((tmp_path / "c/01_load/manifest.json").read_bytes()).hexdigest(), True
            )
        run.given |= dict.fromkeys(Load.gives, given)
        ahead = list(Pipeline(stages)._ahead(1, values, run))
        assert [type(work.stage) for work in ahead] == [Load, Hide, Fit, Fit, Show]
        assert [work.taken for work in ahead] == [making.DONE, None, None, taken, None]


# ------------------------------------------------------------------------------------------- parts


def test_a_part_of_a_stage_is_taken_by_itself(tmp_path, capsys):
    data = {"data": torch.arange(3.0)}
    for name, expert, num in (("a", "shape", 1), ("b", "shape", 1), ("b", "colour", 2)):
        folder = tmp_path / name / "02_compose"
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(tmp_path / name, folder, store="on", given={"data": Given("d", "d", True)})
        making.part(Fit(), data, run.part(expert, {"data": run.given["data"].derived(expert)}))
        assert len(CALLS) == num
    assert capsys.readouterr().err == f"[02_compose/shape] taken from {tmp_path / 'a'}\n"


# ------------------------------------------------------------------------------------------ command


def test_the_command_lists_results_and_forgets_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--store"]) == 0 and capsys.readouterr().out == "no results in runs\n"
    for name in "ab":
        assert calls(Path("runs") / name, Load(), Fit(), Show()) == (name == "a")
    capsys.readouterr()
    assert main(["--store"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-2:] for line in lines[:-1]] == [["runs/a", "02_fit"], ["runs/b", "02_fit"]]
    assert lines[-1].startswith("2 results, 1 MB; ")
    assert main(["--store", "clear"]) == 0 and capsys.readouterr().out.startswith("2 results are forgotten")
    assert calls(Path("runs/a"), Load(), Fit(), Show()) == 0 and calls(Path("runs/c"), Load(), Fit(), Show()) == 1
    assert main(["--store", "all"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("--store clear forgets them; got 'all'")
