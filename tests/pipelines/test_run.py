"""The command line, with toy stages in a folder of their own."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

FILES = {
    "configs/toy.yaml": """\
# Draw numbers and add them up.
stages:
  - draw: {num: 6, way: {normal: {scale: 2}}, places: {a: runs/a, b: runs/b}}
  - add: {}
""",
    "maths/__init__.py": "from maths.ways import Normal, Uniform\nWay = Normal | Uniform\n",
    "maths/ways.py": '''
from __future__ import annotations
from dataclasses import dataclass
import torch

SCALE = 0.5

@dataclass(frozen=True)
class Normal:
    """Bell-shaped."""

    scale: float = SCALE
    """Width of the bell, above 0."""

    shift: float = 0.0
    """Where the bell stands."""

@dataclass(frozen=True)
class Uniform:
    """Flat."""

    mix: Way | None = None
    """Another way to mix in."""

Way = Normal | Uniform
''',
    "toy/__init__.py": "from .add import Add\nfrom .draw import Draw\nStage = Draw | Add\n",
    "toy/draw.py": '''
from __future__ import annotations
import os, time
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
import torch
import maths
from maths import Normal
from pipelines.config import ConfigError

@dataclass(frozen=True)
class Draw:
    """Draw random numbers."""

    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("x",)

    num: int | None = 3
    """How many numbers; a long explanation that does not fit one line of a hundred columns, so that
    it has to be wrapped."""

    way: maths.Way = Normal(shift=7.5)
    """How to draw."""

    names: tuple[str, ...] = ("a", "b")
    kind: Literal["x", "y"] = "x"
    """Which."""

    places: dict[str, str] = field(default_factory=dict)
    """Where."""

    sizes: dict[str, int | None] | None = None
    none: dict[str, float] = field(default_factory=dict)

    def __call__(self, values: dict[str, Any], run: Any) -> dict[str, Any]:
        if self.kind == "y":
            raise OSError(28, "No space left on device", "x.bin")
        return {"x": torch.randn(self.num, generator=run.generator("x"))}
''',
    "toy/add.py": '''
from __future__ import annotations
import os, time
from dataclasses import dataclass
from typing import Any, ClassVar

@dataclass(frozen=True)
class Add:
    """Add them up."""

    needs: ClassVar[tuple[str, ...]] = ("x",)
    gives: ClassVar[tuple[str, ...]] = ("summary", "ranks")
    distributed: ClassVar[bool] = True

    def __call__(self, values: dict[str, Any], run: Any) -> dict[str, Any]:
        if os.environ.get("TOY_WAITS"):
            print("waiting", flush=True)
            time.sleep(60)
        ranks = 1
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            import torch
            ranks = int(run.accelerator.reduce(torch.ones(1)).item())
        return {"summary": f"sum of {len(values['x'])}, ranks {ranks}", "ranks": ranks}
''',
    "main.py": """
import sys
from pathlib import Path
from pipelines.run import main
status = main(sys.argv[1:], root=Path(__file__).parent, stages="toy")
if status == 2 or not {"--help", "--list"}.isdisjoint(sys.argv):
    assert not {"torch", "accelerate", "toy", "maths", "numpy"} & sys.modules.keys()
sys.exit(status)
""",
}
ENV = {k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK", "MASTER_PORT")} | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def toy(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def run(folder: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, "main.py", *arguments]
    env = ENV | {"PYTHONPATH": f"{ROOT}:{folder}"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


HELP = """\
toy: Draw numbers and add them up.

  python -m pipelines.run toy out=runs/mine seed=3

run
  out=runs/toy                                      text | null
      Folder of the run (null: runs/NAME). The same command again continues what is in it.
"""

STAGES = """\
draw: Draw random numbers.
  draw.num=6                                        whole number | null
      How many numbers; a long explanation that does not fit one line of a hundred columns, so that
      it has to be wrapped.
  draw.way=normal                                   normal | uniform
      How to draw.
    draw.way.normal: Bell-shaped.
      draw.way.normal.scale=2                       number
          Width of the bell, above 0.
      draw.way.normal.shift=7.5                     number
          Where the bell stands.
    draw.way.uniform: Flat.
      draw.way.uniform.mix=null                     normal | uniform | null
          Another way to mix in.
        draw.way.uniform.mix.normal: Bell-shaped.
          draw.way.uniform.mix.normal.scale=0.5     number
              Width of the bell, above 0.
          draw.way.uniform.mix.normal.shift=0.0     number
              Where the bell stands.
        draw.way.uniform.mix.uniform: Flat.
  draw.names=[a, b]                                 [text, ...]
  draw.kind=x                                       x | y
      Which.
  draw.places={a: runs/a, b: runs/b}                {NAME: text, ...}
      Where.
    draw.places.NAME=...                            text
        One entry; the others stay.
  draw.sizes=null                                   {NAME: whole number | null, ...} | null
    draw.sizes.NAME=...                             whole number | null
        One entry; the others stay.
  draw.none={}                                      {NAME: number, ...}
    draw.none.NAME=...                              number
        One entry; the others stay.

add: Add them up.

settings
"""


def test_help_and_list_tell_all_in_under_a_second_without_torch(toy):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    results = [run(toy, "--list"), run(toy, "--help"), run(toy, "toy", "--help")]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert [r.returncode for r in results] == [0, 0, 0], results
    listed, overview, told = (r.stdout for r in results)
    assert listed == "toy  Draw numbers and add them up.\n"
    assert "  toy  Draw numbers" in overview and "seed=0" in overview and "130  interrupted" in overview
    rule = "  field=value               short for stage.field=value, where only one stage of the pipeline has a\n"
    assert rule in overview and rule in told
    assert told.startswith(HELP)
    assert STAGES in told
    assert max(len(line) for line in told.splitlines()) <= 100
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("draw.nmu=3", "unknown field 'draw.nmu'; did you mean draw.num?"),
        ("nmu=3", "unknown setting 'nmu'; did you mean draw.num?"),
        ("draw.num=many", "draw.num: got 'many', expected whole number | null"),
        ("draw.way.normal.scael=3", "unknown field 'draw.way.normal.scael'; did you mean draw.way.normal.scale?"),
    ],
)
def test_a_mistyped_setting_is_told_before_anything_slow_is_imported(toy, setting, words):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run(toy, "toy", setting)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 2 and result.stderr == f"error: {words}\n"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


PIPELINES = sorted(file.stem for file in (ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_has_a_whole_help(name, capsys):
    from pipelines.run import main

    assert main([name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    fields = [i for i, line in enumerate(lines) if re.match(r" +[a-z0-9_.]+=", line)]
    assert fields and not [lines[i] for i in fields if "=..." in lines[i]]


def test_no_help_imports_torch():
    every = f"from pipelines.run import main; assert not any(main([name, '--help']) for name in {PIPELINES})"
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", every],
        cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0 and len(PIPELINES) > 20, result.stderr
    assert not re.search(r"\| +(torch|numpy|accelerate)$", result.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ty"], "error: unknown pipeline 'ty'; did you mean toy?"),
        (["zzz"], "error: unknown pipeline 'zzz'; known: toy"),
        (["seed=3"], "error: the first argument is the name of a pipeline, got 'seed=3'"),
        (["toy", "--seed", "3"], "error: unknown option '--seed'; settings are written seed=3"),
        (["toy", "seed"], "error: 'seed' is no setting"),
        (["none.yaml"], "error: No such file or directory: none.yaml"),
    ],
)
def test_bad_commands_are_told_in_one_line(toy, capsys, arguments, words):
    from pipelines.run import main

    assert main(arguments, root=toy, stages="toy") == 2
    told = capsys.readouterr()
    assert told.err.startswith(words) and told.err.count("\n") == 1 and not told.out


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_the_same_command_continues(toy):
    command = [sys.executable, "main.py", "toy", "draw.num=5"]
    env = ENV | {"PYTHONPATH": f"{ROOT}:{toy}", "TOY_WAITS": "1"}
    process = subprocess.Popen(
        command,
        cwd=toy,
        env=env,
        stdout=-1,
        stderr=-1,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell has it ignored
    )
    assert process.stdout and process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in told
    assert told.endswith("interrupted; the same command continues: python -m pipelines.run toy draw.num=5\n")
    result = run(toy, "toy", "draw.num=5")
    assert result.returncode == 0 and "draw: done before" in result.stderr, result
    assert result.stdout == "sum of 5, ranks 1\nresults are in runs/toy\n"


def test_what_is_called_like_a_package_of_ours_is_not_taken_for_it(tmp_path):
    for name in ("data.py", "av.py", "energies/__init__.py", "numpy.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError('mine')")
    command = [sys.executable, "-m", "pipelines.run", "voxel_synthesis", "load.sise=8"]
    for path, words in (
        (str(ROOT), "error: unknown field 'load.sise'; did you mean load.size?"),
        (f"{tmp_path}:{ROOT}", f"error: {tmp_path}/data.py comes before the data of this program; rename it"),
    ):
        told = subprocess.run(
            command, cwd=tmp_path, env=ENV | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=30
        )
        assert (told.returncode, told.stderr.count("\n")) == (2, 1) and told.stderr.startswith(words), told


@pytest.mark.slow
def test_two_processes_run_as_one_and_one_of_them_writes(toy):
    result = run(
        toy,
        "toy",
        "out=two",
        launcher=("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "sum of 6, ranks 2\nresults are in two\n"
    assert len((toy / "two/log.jsonl").read_text().splitlines()) == 2


def test_a_full_disk_is_told_in_one_line(toy, capsys, monkeypatch):
    from pipelines.run import main

    monkeypatch.syspath_prepend(toy)
    monkeypatch.chdir(toy)
    assert main(["toy", "draw.kind=y"], root=toy, stages="toy") == 2
    assert capsys.readouterr().err.endswith("draw\nerror: No space left on device: x.bin\n")
    assert main(["toy", "num=8"], root=toy, stages="toy") == 0  # nothing was done: no other run to respect
    assert main(["toy", "draw.num=7"], root=toy, stages="toy") == 2
    told = capsys.readouterr().err
    assert "with draw.num=8, and this one is with draw.num=7" in told and told.endswith("delete this one\n")
