"""The command: `python -m pipelines.run NAME [stage.field=value ...]`; `--help` and `--list` say
more.
"""

from __future__ import annotations

import functools
import importlib
import operator
import os
import shlex
import sys
import traceback
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from pipelines import help, trees
from pipelines.source import Source, find_modules
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
        if error.name is None or error.name.partition(".")[0] in trees.OURS:
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
        print(help.pipeline(_file(settings[0], configs), source, stages, settings[1:]))
    else:
        _start(_file(settings[0], configs), settings[1:], stages)


def _start(file: Path, overrides: list[str], stages: str | None) -> None:
    text = file.read_bytes()
    # Tell of a bad file before the slow imports.
    settings, entries, modality = trees.split(trees.parse(text, str(file)), str(file))
    for argument in overrides:
        trees.override(argument)
    imports = trees.imports(settings, overrides)
    modules = [_import(name, place) for name, place in find_modules(imports, file.parent).items()]
    own = _own_stages(modules, [key for key, _ in entries])

    from pipelines import config
    from pipelines.pipeline import Pipeline, RunSettings

    ours = stages or trees.stages_of(modality, imports)
    known = (*config.members(importlib.import_module(ours).Stage), *own) if ours else own
    trees.refuse_clashes((cls.__module__, cls.__name__) for cls in known)
    if not known:
        names = ", ".join(imports)
        raise ConfigError(f"imports: no stage in {names}; one is a public frozen dataclass with needs, gives, __call__")
    union = functools.reduce(operator.or_, known)
    wanted = config.load(text, str(file), stage=union, settings=RunSettings, overrides=overrides)
    run = wanted.settings
    Pipeline(wanted.stages, file.stem).run(run.out, run.seed, run.compute, run.imports)


def _import(name: str, file: Path) -> ModuleType:
    """A module of one's own.

    Raises:
        ConfigError: what is wrong inside of it, and in which line.
    """
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, SyntaxError):
            place, line, message = error.filename, error.lineno, error.msg
        else:
            frames = traceback.extract_tb(error.__traceback__)
            frame = [*frames, *(frame for frame in frames if Path(frame.filename).parent == file.parent)][-1]
            place, line, message = frame.filename, frame.lineno, f"{type(error).__name__}: {error}"
        raise ConfigError(f"imports: {place}, line {line}: {message}; mend it there") from error


def _own_stages(modules: list[ModuleType], wanted: list[str]) -> tuple[type, ...]:
    """The stages in modules of one's own: the public frozen dataclasses with needs, gives and a call.

    Args:
        modules: where they are defined, or in a module below.
        wanted: the stages of the pipeline's file; one that is no frozen dataclass is told of.
    """
    found: dict[type, None] = {}
    for module in modules:
        for cls in vars(module).values():
            if not isinstance(cls, type) or not f"{cls.__module__}.".startswith(f"{module.__name__}."):
                continue
            stated = {name for base in cls.__mro__ for name in vars(base)}
            if cls.__name__[0] != "_" and {"needs", "gives", "__call__"} <= stated:
                found[cls] = None
    names = {key.replace("_", "") for key in wanted}
    for cls in found:
        if not _is_frozen(cls) and cls.__name__.lower().replace("_", "") in names:
            name = f"{cls.__module__}.{cls.__name__}"
            raise ConfigError(
                f"imports: the stage {name} is no frozen dataclass; write @dataclass(frozen=True) above it"
            )
    return tuple(filter(_is_frozen, found))


def _is_frozen(cls: Any) -> bool:
    """Whether a class itself, not only one that it derives from, is a frozen dataclass."""
    return "__dataclass_params__" in vars(cls) and cls.__dataclass_params__.frozen


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
