"""The command: `python -m pipelines.run NAME [stage.field=value ...]`; `--help` and `--list` say
more.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import NoReturn

from pipelines import help, trees
from pipelines.source import Source
from pipelines.trees import ConfigError

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str], *, root: Path = ROOT, stages: str | None = None) -> int:
    """Do what the arguments ask for, and tell of the user's errors in one line.

    Args:
        arguments: those of the command line.
        root: the folder that holds `configs` and the packages.
        stages: the module that holds the union `Stage` of all stages; None: that of the pipeline's modality.

    Returns:
        The exit status: 0 done, 2 an error of the user's or the disk's, 130 interrupted.
    """
    warnings.showwarning = _warn
    try:
        _run(arguments, root, stages)
        return 0
    except KeyboardInterrupt:
        command = shlex.join(["python", "-m", "pipelines.run", *arguments])
        return _tell(f"interrupted; the same command continues: {command}", 130)
    except BrokenPipeError:  # whoever read, as `head` does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("data", "energies", "pipelines"):
            raise
        return _tell(
            f"error: {error.name} is not installed in {sys.executable}; activate the environment of README.md", 2
        )
    except OSError as error:
        file = f": {error.filename}" if error.filename else ""
        return _tell(f"error: {error.strerror or error}{file}", 2)
    except ValueError as error:
        from data.errors import InputError

        if not isinstance(error, (ConfigError, InputError)):
            raise
        return _tell(f"error: {error}", 2)


def _run(arguments: list[str], root: Path, stages: str | None) -> None:
    configs = root / "configs"
    source = Source(root, ROOT)
    asks_help = not arguments or not {"-h", "--help"}.isdisjoint(arguments)
    settings = [argument for argument in arguments if argument not in ("-h", "--help", "--list")]
    for argument in settings:
        if argument.startswith("-"):
            raise ConfigError(f"unknown option '{argument}'; settings are written seed=3, stage.field=value")
    if "--list" in arguments:
        print(help.summaries(configs))
    elif not settings:
        print(help.overview(configs, source))
    elif asks_help:
        print(help.pipeline(_file(settings[0], configs), source, stages))
    else:
        _start(_file(settings[0], configs), settings[1:], stages)


def _start(file: Path, overrides: list[str], stages: str | None) -> None:
    text = file.read_bytes()
    *_, modality = trees.split(trees.parse(text, str(file)), str(file))  # tell of a bad file before the slow imports
    for argument in overrides:
        trees.override(argument)

    from pipelines import config
    from pipelines.pipeline import Pipeline, RunSettings

    union = importlib.import_module(stages or trees.stages_of(modality)).Stage
    wanted = config.load(text, str(file), stage=union, settings=RunSettings, overrides=overrides)
    run = wanted.settings
    Pipeline(wanted.stages, file.stem).run(run.out, run.seed, run.compute)


def _file(name: str, configs: Path) -> Path:
    """The file of a pipeline, given by its name or as a path."""
    if "=" in name:
        raise ConfigError(f"the first argument is the name of a pipeline, got '{name}'; --list tells them")
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    names = sorted(file.stem for file in configs.glob("*.yaml"))
    if name not in names:
        trees.unknown("unknown pipeline", name, names)
    return configs / f"{name}.yaml"


def _warn(message: Warning | str, category: type[Warning], *where: object) -> None:
    """A warning as a person wants it: one line, without the place in our code."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


def _tell(line: str, status: int) -> int:
    print(" ".join(line.split()), file=sys.stderr, flush=True)
    return status


def leave(status: int) -> NoReturn:
    """End the process. One of several ends at once: gloo's threads, which outlive its groups, abort now and then while
    the interpreter takes itself apart."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        from pipelines.pipeline import part_ways

        part_ways()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
