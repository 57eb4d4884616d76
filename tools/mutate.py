"""Break the code in many ways, one at a time, and show that the tests notice.

python tools/mutate.py [--only gate] [--quick] [--jobs 2]

The breaks are in tools/mutants/. Each is one module with one piece of its text replaced, seen only by the process that
tests it: nothing on the disk changes. A test that crashes has noticed nothing: only a failed assertion counts. A break
that no test can notice says why. The exit status is 1 if another one is not caught, if fewer than 92 % of all are, if
one that is caught says why it could not be, or if the tests fail on the code as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import importlib.abc
import importlib.util
import io
import os
import sys
import time

from mutants import MUTANTS, Mutant
from mutants.mutant import ROOT

LEAST = 0.92  # share that the tests must notice
QUICK = 12  # of so many in a row, --quick tries the first
SHARED = (
    "accelerate", "av", "datasets", "einops", "huggingface_hub", "hypothesis", "jinja2", "PIL.Image", "pytest",
    "safetensors.torch", "scipy.ndimage", "scipy.sparse.csgraph", "scipy.stats", "skimage.measure", "skimage.metrics",
    "skimage.restoration", "sklearn.metrics", "tqdm", "trimesh", "yaml",
)  # fmt: skip
"""What many tests import: once, before processes part."""
BELOW = ("energies", "data.images", "data.video", "data.voxels", "data.textures", "data.moving", "data.rendering")
"""What pipelines import of ours."""
NOT_ASKED = ("cacheprovider", "hypothesispytest", "anyio", "xdist", "unraisableexception")
"""Plugins of pytest that would take longer than most tests."""


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a text of our own."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, fullname, path=None, target=None):
        if fullname == self.mutant.module:
            return importlib.util.spec_from_file_location(fullname, self.mutant.path, loader=self)
        return None

    def exec_module(self, module) -> None:
        exec(compile(self.mutant.text(), str(self.mutant.path), "exec"), module.__dict__)


class Failures:
    """Notes errors of tests other than a failed assertion, or one that a test expected in vain."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def pytest_exception_interact(self, call, report) -> None:
        import pytest

        if not isinstance(call.excinfo.value, AssertionError | pytest.fail.Exception):
            self.errors.append(call.excinfo.exconly())


def outcome(tests: tuple[str, ...], mutant: Mutant | None) -> str:
    """How tests end, in a child of this process that has torch already: "pass", "fail" or, by an error, "break"."""
    child = os.fork()
    if child == 0:
        status = 3
        try:
            if mutant is not None:
                sys.meta_path.insert(0, Finder(mutant))
            import pytest

            watch = Failures()
            options = ["-x", "-q", *(word for name in NOT_ASKED for word in ("-p", f"no:{name}"))]
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                status = int(pytest.main([*options, *tests], plugins=[watch]))
            if status and mutant is None:
                os.write(2, said.getvalue().encode())
            if status == 1 and watch.errors:
                status = 9
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 4:
        raise RuntimeError(f"pytest knows no such test: {' '.join(tests)}")
    return {0: "pass", 1: "fail"}.get(status, "break")


def work(mutants: list[Mutant], pipe: io.TextIOBase) -> None:
    """Try mutants one after another, and write a line for each."""
    for mutant in sorted(mutants, key=lambda mutant: mutant.module.startswith("pipelines")):
        if mutant.module.startswith("pipelines"):  # what these stand on stays as it is
            for name in BELOW:
                importlib.import_module(name)
        begin = time.monotonic()
        ended = outcome(mutant.tests, mutant)
        if mutant.survives is None:
            verdict = {"pass": "SURVIVED", "fail": "caught", "break": "CRASHED"}[ended]
            told = ""
        else:
            verdict, told = ("survives", f", as no test can notice: {mutant.survives}")
            if ended != "pass":
                verdict, told = "CAUGHT", ", though it is said that no test can notice"
        pipe.write(f"{verdict}\t{mutant.name} ({time.monotonic() - begin:.1f} s){told}\n")
        pipe.flush()


def tried(mutants: list[Mutant], jobs: int) -> list[tuple[str, str]]:
    """Verdict and words of every mutant, and of the tests on the code as it is if these fail."""
    reader, writer = os.pipe()
    children = []
    for job in range(jobs):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(reader)
                with os.fdopen(writer, "w") as pipe:
                    own = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))[job::jobs]
                    if own and outcome(own, None) != "pass":
                        pipe.write("SURVIVED\tthe code as it is fails its tests\n")
                    work(mutants[job::jobs], pipe)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    os.close(writer)
    lines: list[tuple[str, str]] = []
    with os.fdopen(reader) as pipe:
        for line in pipe:
            verdict, _, what = line.rstrip("\n").partition("\t")
            lines.append((verdict, what))
            print(f"{verdict:9} {what}", flush=True)
    failed = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return [*lines, *[("SURVIVED", "a process of this tool failed")] * any(failed)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only modules or breaks whose name holds this")
    parser.add_argument("--quick", action="store_true", help=f"every {QUICK}th alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    chosen = [mutant for mutant in MUTANTS if arguments.only in mutant.name]
    if not chosen:
        parser.error(f"no module or break has {arguments.only!r} in its name")
    for mutant in MUTANTS:
        mutant.text()
    if arguments.quick:
        chosen = chosen[::QUICK]
    import torch

    torch.set_num_threads(1)
    for name in SHARED:
        importlib.import_module(name)
    gc.freeze()  # else every child would look through all of that
    start = time.monotonic()
    lines = tried(chosen, arguments.jobs)
    caught = sum(verdict == "caught" for verdict, _ in lines)
    good = all(verdict in ("caught", "survives") for verdict, _ in lines) and len(lines) == len(chosen)
    print(f"{caught} of {len(chosen)} mutants caught in {time.monotonic() - start:.0f} s")
    return int(not good or (caught < LEAST * len(chosen) and not arguments.only))


if __name__ == "__main__":
    sys.exit(main())
