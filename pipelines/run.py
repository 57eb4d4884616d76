"""The command: `energy-pipelines NAME [stage.field=value ...]`, or `python -m pipelines.run`; `--help` says more."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pipelines import config, help, memory, schema, stopping, trees
from pipelines.source import Module, Source
from pipelines.trees import ConfigError, snake

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = "energy-pipelines"  # the command that pyproject.toml installs


def main(arguments: list[str], *, root: Path = ROOT, stages: str | None = None) -> int:
    """Do what the arguments ask for, and tell of the user's errors in one line.

    Args:
        arguments: those of the command line.
        root: the folder that holds `configs` and the packages.
        stages: the module that holds the union `Stage` of all stages; None: that of the pipeline's modality.

    Returns:
        The exit status: 0 done, 2 an error of the user's or the disk's, 130 interrupted, 143 and 129 stopped by SIGTERM
        and SIGHUP.
    """
    warnings.showwarning = _warn
    try:
        with stopping.listening():
            _run(arguments, root, stages)
        return 0
    except KeyboardInterrupt as error:
        number = error.signal if isinstance(error, stopping.Stopped) else signal.SIGINT
        what = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
        return _tell(f"{what}; the same command continues: {_command(arguments)}", 128 + number)
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
    except ConfigError as error:
        return _tell(f"error: {error}", 2)
    except (MemoryError, RuntimeError) as error:
        if (told := memory.problem(error)) is None:
            raise
        return _tell(f"error: {told}", 2)
    except ValueError as error:
        from data.errors import InputError

        if not isinstance(error, InputError):
            raise
        return _tell(f"error: {error}", 2)


LIBRARIES = (
    "accelerate", "av", "datasets", "einops", "jinja2", "numpy", "PIL", "safetensors", "scipy", "skimage", "sklearn",
    "torch", "tqdm", "trimesh",
)  # fmt: skip


def _check_modules() -> None:
    """ConfigError: a file of the person's own comes before one of our packages, or of a library, of the same name."""
    if str(ROOT) not in sys.path:  # of an editable installation: what is looked for on sys.path is found before it
        sys.path.append(str(ROOT))
    here = Path.cwd()
    for name in (*trees.OURS, *LIBRARIES):
        found = importlib.util.find_spec(name)
        places = [Path(place) for place in (found.submodule_search_locations or [found.origin or ""])] if found else []
        own = {place.parent.resolve() for place in places}
        if own and (ROOT not in own if name in trees.OURS else here in own and here != ROOT):
            raise ConfigError(
                f"{places[0]} comes before the {name} of this program; rename it, run the command in another folder, "
                "or take its folder out of PYTHONPATH"
            )


def _run(arguments: list[str], root: Path, stages: str | None) -> None:
    _check_modules()
    configs = root / "configs"
    source = Source(root, ROOT)
    if "--store" in arguments:
        _store([argument for argument in arguments if argument != "--store"])
        return
    asks_help = not arguments or not {"-h", "--help"}.isdisjoint(arguments)
    settings = [argument for argument in arguments if argument not in ("-h", "--help", "--list")]
    for argument in settings:
        if argument.startswith("-"):
            raise ConfigError(f"unknown option '{argument}'; settings are written seed=3, stage.field=value")
    if "--list" in arguments:
        print(help.summaries(configs))
    elif not settings:
        print(help.overview(configs, _run_settings(source)))
    else:
        _pipeline(_file(settings[0], configs), settings[1:], source, stages, asks_help)


def _store(rest: list[str]) -> None:
    """List the results that runs may take, or let none take them any more."""
    if rest not in ([], ["clear"]):
        raise ConfigError(f"--store lists results, --store clear forgets them; got '{shlex.join(rest)}'")
    from pipelines import store

    runs = Path("runs")
    if rest:
        print(f"{store.forget([runs])} results are forgotten: no run takes them; they stay in their folders in {runs}")
    else:
        print(store.listing(runs))


def _run_settings(source: Source) -> schema.Class:
    return schema.classes(source, "pipelines.pipeline", "RunSettings")["run_settings"]


def _pipeline(file: Path, overrides: list[str], source: Source, stages: str | None, asks_help: bool) -> None:
    """Explain a pipeline, or check its settings, all before the slow imports, and run it."""
    name = str(file)
    stated, entries, modality = trees.split(trees.parse(file.read_bytes(), name), name)
    imports = trees.imports(stated, overrides)
    if imports:
        stated["imports"] = [trees.Scalar(module) for module in imports]
    own = _find(imports, file.parent, source)
    if stages is None and not imports and modality is None:
        raise ConfigError(f"{name}: expected 'modality:' with {' or '.join(trees.modalities())}")
    if modality is not None:
        stages = stages or f"pipelines.modalities.{modality}"
    problem = (
        f"{name}: unknown stage"
        if stages
        else f"{name}: without 'modality:' all stages come from imports; unknown stage"
    )
    known = _known(source, stages, own, [key for key, _ in entries])
    chain = config.stages_of(entries, known, problem)
    run = _run_settings(source)
    if asks_help:
        print(help.pipeline(file, stated, chain, run))
        return
    plan = config.plan(name, stated, chain, run, [o for o in overrides if not o.startswith("imports=")], modality)
    plan.check(source)
    for module in own:
        _import(module)
    for cls, _ in chain.values():
        importlib.import_module(cls.module.name)

    from pipelines.learning import processes
    from pipelines.pipeline import Pipeline

    if processes.device().type == "cpu":
        memory.limit()
    wanted = plan.make()
    settings = wanted.settings
    Pipeline(wanted.stages, file.stem).run(
        settings.out, settings.seed, settings.compute, settings.imports, settings.store
    )


def _known(source: Source, stages: str | None, own: list[Module], wanted: Sequence[str]) -> dict[str, schema.Class]:
    """The stages of a modality, those of the union `Stage` in its module, and those of one's own, by name.

    Args:
        stages: the module.
        own: modules of one's own.
        wanted: names of the stages that the pipeline asks for; one that is no frozen dataclass is told of.
    """
    known = schema.classes(source, stages, "Stage") if stages else {}
    for cls in schema.own_stages(own):
        name, place = snake(cls.name), f"{cls.module.name}.{cls.name}"
        if not cls.is_frozen and name in wanted:
            raise ConfigError(
                f"imports: the stage {place} is no frozen dataclass; write @dataclass(frozen=True) above it"
            )
        if cls.is_frozen and name in known:
            other = f"{known[name].module.name}.{known[name].name}"
            raise ConfigError(f"imports: {place} and {other} are both called '{name}'; rename yours")
        known |= {name: cls} if cls.is_frozen else {}
    if not known:
        names = ", ".join(module.name for module in own)
        raise ConfigError(f"imports: no stage in {names}; one is a public frozen dataclass with needs, gives, __call__")
    return known


# ---------------------------------------------------------------------------------------- one's own


def _find(names: Sequence[str], folder: Path, source: Source) -> list[Module]:
    """Modules of one's own by their dotted names; from here on they can be imported.

    Nothing is imported. Modules are looked for on sys.path, in the current folder and in `folder`, that of the
    pipeline's file.

    Raises:
        ConfigError: there is no such module.
    """
    if not names:
        return []
    folders = dict.fromkeys([os.getcwd(), str(folder.resolve())])
    sys.path += [name for name in folders if name not in sys.path]  # last: they hide nothing that is installed
    importlib.invalidate_caches()
    found = {name: source.own(name, map(Path, sys.path)) for name in names}
    for name, module in found.items():
        if module is None:
            raise ConfigError(
                f"imports: there is no module '{name}' in {', in '.join(folders)}, nor elsewhere on sys.path; "
                "run the command in the module's folder, or name that folder in PYTHONPATH"
            )
    return [module for module in found.values() if module]


def _import(module: Module) -> None:
    """Import a module of one's own.

    Raises:
        ConfigError: what is wrong inside of it, and in which line.
    """
    try:
        importlib.import_module(module.name)
    except (Exception, SystemExit) as error:
        if isinstance(error, SyntaxError):
            place, line, message = error.filename, error.lineno, error.msg
        else:
            frames = traceback.extract_tb(error.__traceback__)
            frame = [*frames, *(frame for frame in frames if Path(frame.filename).parent == module.file.parent)][-1]
            place, line, message = frame.filename, frame.lineno, f"{type(error).__name__}: {error}"
        raise ConfigError(f"imports: {place}, line {line}: {message}; mend it there") from error


# -------------------------------------------------------------------------------------------- words


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


def _command(arguments: Sequence[str]) -> str:
    """The command, as it is typed."""
    num = int(os.environ.get("WORLD_SIZE", 1))
    if num > 1:
        words = ["torchrun", "--nproc_per_node", str(num), "-m", "pipelines.run"]
    else:
        words = [SCRIPT] if Path(sys.argv[0]).stem == SCRIPT else ["python", "-m", "pipelines.run"]
    return shlex.join([*words, *arguments])


def _tell(line: str, status: int) -> int:
    """One line on standard error: words of more than 200 characters are shortened, and what is no text is coded."""
    line = " ".join(line.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0").split())
    line = re.sub(r"\S{200,}", lambda word: f"{word[0][:60]}...({len(word[0])} characters)...{word[0][-20:]}", line)
    print(line, file=sys.stderr, flush=True)
    return status


def leave(status: int) -> NoReturn:
    """End the process. One of several ends at once: gloo's threads, which outlive its groups, abort now and then while
    the interpreter takes itself apart."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        from pipelines.learning.processes import part_ways

        part_ways()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def script() -> NoReturn:
    """The command `energy-pipelines`."""
    leave(main(sys.argv[1:]))


if __name__ == "__main__":
    script()
