"""Stages of one's own, in a module outside of the package: found, run, resumed, explained."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipelines import store
from pipelines.origins import origin
from pipelines.pipeline import Pipeline, Run, RunSettings
from pipelines.run import main
from pipelines.trees import OURS

ROOT = Path(__file__).resolve().parent.parent.parent

PARTS = '''
"""Two stages of a person's own."""
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

with open("imported.txt", "a") as file:
    file.write(__name__ + "\\n")

@dataclass(frozen=True)
class Tuning:
    """How to count."""

    by: int = 1
    """Step of the count."""

@dataclass(frozen=True)
class DrawNumbers:
    """Write down some numbers.

    One after the other.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("numbers",)

    num: int = 3
    """How many, above 0."""

    tuning: Tuning = Tuning()

    def __post_init__(self):
        if self.num < 1:
            raise ValueError(f"num must be above 0, got {self.num}")

    def __call__(self, values, run):
        return {"numbers": list(range(0, self.num * self.tuning.by, self.tuning.by))}

@dataclass(frozen=True)
class Add:
    """Add them up."""

    needs: ClassVar[tuple[str, ...]] = ("numbers",)
    gives: ClassVar[tuple[str, ...]] = ("summary",)

    sign: Literal["plus", "minus"] = "plus"

    def __call__(self, values, run):
        total = sum(values["numbers"])
        return {"summary": f"sum {total if self.sign == 'plus' else -total}"}

@dataclass(frozen=True)
class _Hidden(DrawNumbers):
    pass

@dataclass(frozen=False)
class Loose:
    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ()

    def __call__(self, values, run):
        return {}

class Bare(DrawNumbers):
    pass
'''
PIPELINE = "# Count.\nimports: [my_parts]\nstages:\n  - draw_numbers: {num: 5}\n  - add\n"
END = PARTS.count("\n")
RUN = "[1/2] 01_draw_numbers\n[2/2] 02_add\n"
DONE = "[1/2] 01_draw_numbers: done before\n[2/2] 02_add: done before\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a pipeline and its module, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a changed source of the same size and second is read anew
    (tmp_path / "my_parts.py").write_text(PARTS)
    (tmp_path / "p.yaml").write_text(PIPELINE)
    yield tmp_path
    forget()


def forget() -> None:
    for name in (
        "my_parts",
        "other",
        "mine",
        "mine.stages",
        "adder",
        "drawer",
        "one",
        "two",
        "tables",
        "tables.rows",
        "weights",
    ):
        sys.modules.pop(name, None)


def told_of(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What was printed since the last time, and what was said of the stages."""
    told = capsys.readouterr()
    return told.out, "".join(line for line in told.err.splitlines(True) if line.startswith("["))


def again(*arguments: str) -> int:
    """The command as a process of its own would run it: with no module of one's own imported."""
    forget()
    return main(list(arguments))


def test_stages_of_a_module_run_and_resume_and_the_runs_own_file_runs(folder, capsys):
    assert again("p.yaml", "num=4", "out=r") == 0
    assert told_of(capsys) == ("sum 6\nresults are in r\n", RUN)
    assert (folder / "r/config.yaml").read_text().startswith("out: r\nseed: 0\ncompute: auto\nimports:\n- my_parts\n")
    for arguments in (["p.yaml", "num=4", "out=r"], ["r/config.yaml"]):
        assert again(*arguments) == 0
        assert told_of(capsys) == ("sum 6\nresults are in r, finished by an earlier command\n", DONE)
    assert again("r/config.yaml", "out=s") == 0 and capsys.readouterr().out == "sum 6\nresults are in s\n"


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("", ["imports=my_parts"]),
        ("", ["imports=[my_parts]"]),
        ("imports: my_parts\n", []),
        ("imports: [nowhere]\n", ["imports=[my_parts]"]),  # the command line wins
    ],
)
def test_imports_stand_in_the_file_or_on_the_command_line(folder, capsys, line, arguments):
    (folder / "p.yaml").write_text(line + "stages: [draw_numbers, add: {sign: minus}]")
    assert again("p.yaml", *arguments) == 0
    assert capsys.readouterr().out == "sum -3\nresults are in runs/p\n"
    assert "imports:\n- my_parts\n" in (folder / "runs/p/config.yaml").read_text()


def test_a_module_is_found_beside_the_file_of_the_pipeline_and_inside_of_a_package(folder, capsys):
    package = folder / "elsewhere/mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .stages import Add, DrawNumbers\nfrom json import dumps\n")
    (folder / "my_parts.py").rename(package / "stages.py")
    for name in ("mine", "mine.stages"):  # a stage that a package takes up from a module below is the package's
        (folder / "elsewhere/p.yaml").write_text(PIPELINE.replace("my_parts", name))
        assert again("elsewhere/p.yaml", f"out={name}") == 0 and capsys.readouterr().out.startswith("sum 10\n")
        assert again("elsewhere/p.yaml", "--help") == 0 and "draw_numbers: Write down" in capsys.readouterr().out


@pytest.mark.slow
def test_own_stages_stand_beside_those_of_a_modality(folder, capsys):
    (folder / "p.yaml").write_text("modality: video\n" + PIPELINE + "  - hide: {pixels: .5}\n")
    assert again("p.yaml") == 2  # the file is read as a whole, the chain is checked
    assert capsys.readouterr().err.startswith("error: hide needs 'data', which no stage before it gives")
    assert again("p.yaml", "--help") == 0
    told = capsys.readouterr().out
    assert "\nadd: Add them up.\n" in told and "  hide.pixels=.5 " in told


HELP = """\
draw_numbers: Write down some numbers.
  draw_numbers.num=5                                whole number
      How many, above 0.
  draw_numbers.tuning                               tuning
      draw_numbers.tuning.by=1                      whole number
          Step of the count.

add: Add them up.
  add.sign=plus                                     plus | minus

"""


@pytest.mark.parametrize(("line", "arguments"), [("imports: my_parts\n", []), ("", ["imports=my_parts"])])
def test_help_tells_of_own_stages_and_imports_nothing(folder, line, arguments):
    (folder / "p.yaml").write_text(PIPELINE.replace("imports: [my_parts]\n", line))
    command = [sys.executable, "-m", "pipelines.run", "p.yaml", *arguments, "--help"]
    result = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert HELP in result.stdout and "\n  imports=[my_parts] " in result.stdout
    assert not (folder / "imported.txt").exists()


def test_only_the_command_imports_by_name():
    """Hence nothing that is named in data is imported, but a modality of ours; and what lies beside a class that is
    there already. What makes classes of our source alone runs nothing else (pipelines/unimported.py)."""
    calls = re.compile(r"import_module|__import__|exec_module|(?<!\.)\b(exec|eval)\(")
    files = [file for package in OURS for file in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 50
    ours = re.compile(r'import_module\(f"(pipelines\.modalities\.|\{package\}\.learning)')
    found = {str(file.relative_to(ROOT)) for file in files if calls.search(ours.sub("", file.read_text()))}
    assert found == {"pipelines/run.py", "pipelines/unimported.py"}


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ({}, ["imports=my_part"], "imports: there is no module 'my_part' in {cwd}, nor elsewhere on sys.path; run"),
        ({}, ["imports=my_parts.x"], "imports: there is no module 'my_parts.x' in {cwd}, nor"),
        ({}, ["imports=my_parts.py"], "imports: got 'my_parts.py', expected the name of a module: my_parts for my_par"),
        ({}, ["imports=../my_parts"], "imports: got '../my_parts', expected the name of a module"),
        ({}, ["imports="], "imports: got nothing, expected the name of a module"),
        ({}, ["imports=[{a: b}]"], "imports: got {{a: 'b'}}, expected the name of a module"),
        ({}, ["imports=pipelines.stages.video"], "imports: 'pipelines.stages.video' is a part of this program; give"),
        ({}, ["imports=__main__"], "imports: '__main__' is a part of this program"),
        ({}, ["imports=[]", "imports=my_parts"], "imports is contradicted by a later setting"),
        ({}, ["imports=[]"], "p.yaml: expected 'modality:' with images or text or video or voxels"),
        ({}, ["num=0"], "draw_numbers.num must be above 0, got 0"),
        ({"p.yaml": "imports: my_parts\nstages: [hide]"}, [],
         "p.yaml: without 'modality:' all stages come from imports; unknown stage 'hide'; known: draw_numbers, add"),
        ({"p.yaml": "imports: my_parts\nstages: [_hidden]"}, [], "p.yaml: without 'modality:' all stages come"),
        ({"p.yaml": "imports: my_parts\nstages: [loose]"}, [],
         "imports: the stage my_parts.Loose is no frozen dataclass; write @dataclass(frozen=True) above it"),
        ({"p.yaml": "imports: my_parts\nstages: [bare]"}, [], "imports: the stage my_parts.Bare is no frozen"),
        ({"my_parts.py": "x = 3"}, [], "imports: no stage in my_parts; one is a public frozen dataclass"),
        ({"my_parts.py": f"{PARTS}x = 3\ny = 1 / 0"}, [],
         f"imports: {{cwd}}/my_parts.py, line {END + 2}: ZeroDivisionError: division"),
        ({"my_parts.py": f"{PARTS}import json\n\njson.loads('x')"}, [],
         f"imports: {{cwd}}/my_parts.py, line {END + 3}: JSONDecodeError"),
        ({"my_parts.py": "x = 3\ndef f(:"}, [], "imports: {cwd}/my_parts.py, line 2: invalid syntax; mend it there"),
        ({"my_parts.py": f"{PARTS}import sys\nsys.exit(0)"}, [],
         f"imports: {{cwd}}/my_parts.py, line {END + 2}: SystemExit: 0"),
        ({"my_parts.py": f"{PARTS}\nimport nowhere"}, [],
         f"imports: {{cwd}}/my_parts.py, line {END + 2}: ModuleNotFoundError: No module"),
        ({"my_parts.py": f"{PARTS}\nimport nowhere"}, ["nmu=3"], "unknown setting 'nmu'; did you mean draw_num"),
        ({"other.py": PARTS}, ["imports=[my_parts, other]"],
         "imports: other.DrawNumbers and my_parts.DrawNumbers are both called 'draw_numbers'; rename yours"),
        ({"p.yaml": "modality: images\n" + PIPELINE, "my_parts.py": PARTS.replace("class Add", "class Load")}, [],
         "imports: my_parts.Load and pipelines.modalities.images.load.Load are both called 'load'; rename yours"),
        ({"p.yaml": "imports: my_parts\nstages: [seed]", "my_parts.py": PARTS.replace("DrawNumbers", "Seed")}, [],
         "p.yaml: the stage 'seed' is called like a setting of the run; rename its class"),
    ],
)  # fmt: skip
def test_faults_are_told_in_one_line(folder, capsys, change, arguments, words):
    for name, text in change.items():
        (folder / name).write_text(text)
    assert again("p.yaml", *arguments) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: " + words.format(cwd=folder)) and told.err.count("\n") == 1 and not told.out
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"p.yaml": PIPELINE.replace("my_parts", "nowhere")}, "imports: there is no module 'nowhere' in {cwd}"),
        ({"my_parts.py": "x = 3\ndef f(:"}, "imports: {cwd}/my_parts.py, line 2: invalid syntax; mend it there"),
        ({"p.yaml": "imports: my_parts\nstages: [loose]"}, "imports: the stage my_parts.Loose is no frozen dataclass"),
        ({"p.yaml": "imports: my_parts\nstages: [_hidden]"}, "p.yaml: without 'modality:' all stages come from"),
        ({"p.yaml": "modality: images\n" + PIPELINE, "my_parts.py": PARTS.replace("class Add", "class Load")},
         "imports: my_parts.Load and pipelines.modalities.images.load.Load are both called 'load'"),
    ],
)  # fmt: skip
def test_help_tells_the_same_faults(folder, capsys, change, words):
    for name, text in change.items():
        (folder / name).write_text(text)
    assert main(["p.yaml", "--help"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: " + words.format(cwd=folder)) and told.err.count("\n") == 1 and not told.out


def test_a_fault_in_a_module_that_is_not_ours_is_told_before_the_slow_imports(folder):
    (folder / "my_parts.py").write_text(f"{PARTS}y = 1 / 0")
    command = [sys.executable, "-X", "importtime", "-m", "pipelines.run", "p.yaml"]
    result = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (
        result.returncode == 2 and f"my_parts.py, line {END + 1}" in result.stderr and "| torch\n" not in result.stderr
    )


@pytest.mark.slow
def test_a_changed_source_makes_its_stages_anew_and_only_them(folder, capsys):
    (folder / "adder.py").write_text(PARTS.replace("DrawNumbers", "Unused"))
    (folder / "drawer.py").write_text(PARTS.replace("class Add", "class Other"))
    command = ["p.yaml", "imports=[drawer, adder]", "out=r"]
    assert again(*command) == 0
    (folder / "adder.py").write_text((folder / "adder.py").read_text().replace("sum {", "total {"))
    capsys.readouterr()
    assert again(*command) == 0
    out, stages = told_of(capsys)
    assert stages == "[1/2] 01_draw_numbers: done before\n[2/2] 02_add\n" and out.startswith("total 10\n")
    (folder / "drawer.py").write_text((folder / "drawer.py").read_text().replace("range(0,", "range(1,"))
    assert again(*command) == 0
    out, stages = told_of(capsys)
    assert stages == RUN and out.startswith("total 10\n")  # 1 + 2 + 3 + 4: 5 is not in the range


@pytest.mark.slow
@pytest.mark.parametrize("imports", ["drawer", "[drawer, tables]"])
def test_what_a_module_of_ones_own_imports_counts_too(folder, capsys, imports):
    (folder / "tables").mkdir()
    (folder / "tables/__init__.py").write_text("from .rows import START")
    (folder / "tables/rows.py").write_text("START = 0\n")
    text = PARTS.replace("from dataclasses", "from tables import START\nfrom dataclasses", 1)
    (folder / "drawer.py").write_text(text.replace("range(0,", "range(START,"))
    command = ["p.yaml", f"imports={imports}", "out=r"]
    assert again(*command) == 0 and told_of(capsys)[1] == RUN
    assert again(*command) == 0 and told_of(capsys)[1] == DONE
    (folder / "tables/rows.py").write_text("START = 1\n")
    assert again(*command) == 0
    assert told_of(capsys)[1] == RUN


def test_a_part_that_any_stage_may_use_counts_for_all_of_them(folder, capsys):
    (folder / "weights.py").write_text("SIZE = 3\n")
    assert again("p.yaml", "imports=[my_parts, weights]", "out=r") == 0 and told_of(capsys)[1] == RUN
    (folder / "weights.py").write_text("SIZE = 4\n")
    assert again("p.yaml", "imports=[my_parts, weights]", "out=r") == 0 and told_of(capsys)[1] == RUN


@pytest.mark.slow
def test_a_file_that_changes_under_a_running_program_is_not_taken_for_what_runs(folder, capsys):
    assert again("p.yaml") == 0
    (folder / "my_parts.py").write_text(PARTS.replace("sum {", "total {"))
    assert main(["p.yaml"]) == 0  # in the same process: the classes are those of before
    assert told_of(capsys)[1] == RUN + DONE
    assert again("p.yaml") == 0 and capsys.readouterr().out.startswith("total 10")


def test_other_imports_are_another_run(folder, capsys):
    (folder / "other.py").write_text(PARTS)
    assert again("p.yaml") == 0 and capsys.readouterr()
    assert again("p.yaml", "imports=other") == 2
    assert "holds a run with imports=['my_parts'], and this one is with imports=['other']" in capsys.readouterr().err


@dataclass(frozen=True)
class Give:
    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("a",)

    num: int = 3

    def __call__(self, values: dict[str, Any], run: Any) -> dict[str, Any]:
        return {"a": self.num}


def key(cls: type, imports: tuple[str, ...] = ()) -> str:
    return store.wanted(cls(), (), {}, {"inputs": {}}, Run(Path("r"), Path("r"), imports=imports)).asked


def test_two_classes_of_one_name_in_two_modules_share_no_result(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    text = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Give:\n    num: int = 3\n"
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text(text)
    import one  # pyright: ignore
    import two  # pyright: ignore

    assert len({key(one.Give), key(two.Give), key(Give)}) == 3
    assert key(one.Give) == key(one.Give, ("one",))


def test_the_source_of_our_stages_decides_no_key():
    from pipelines.modalities.video.hide import Hide

    assert origin(Hide) == ()


def test_a_run_of_before_there_were_imports_goes_on(tmp_path, capsys):
    Pipeline([Give()]).run(tmp_path / "r")
    file = tmp_path / "r/config.yaml"
    assert "imports: []\n" in file.read_text()
    file.write_text(file.read_text().replace("imports: []\n", ""))
    Pipeline([Give()]).run(tmp_path / "r")
    assert capsys.readouterr().err.endswith("[1/1] 01_give: done before\n")
    assert json.loads((tmp_path / "r/01_give/begun.json").read_text())["asked"] == key(Give)


def test_a_pipeline_in_python_names_its_modules_for_the_command(folder, monkeypatch, capsys):
    monkeypatch.syspath_prepend(folder)
    import my_parts  # pyright: ignore

    Pipeline([my_parts.DrawNumbers(), my_parts.Add()]).run("r", imports=("my_parts",))
    assert told_of(capsys)[1] == RUN
    assert main(["r/config.yaml"]) == 0 and told_of(capsys)[1] == DONE
    with pytest.raises(ValueError, match="imports must be a tuple of the names of modules, got 'my_parts'"):
        RunSettings(imports="my_parts")  # pyright: ignore
