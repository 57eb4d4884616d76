"""Where an energy is: in a folder, in the zoo of the package, or on the Hugging Face hub."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from energies import zoo
from energies.saving import DESCRIPTION, WEIGHTS

ZOO = "zoo:"
PATIENCE = 5  # seconds that the hub has to answer
_HUB = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>\S+))?")


def is_elsewhere(source: str | Path) -> bool:
    """Whether a source is of the zoo or may be of the hub: text, and no file or folder of that name is here."""
    if not isinstance(source, str):
        return False
    return source.startswith(ZOO) or (_HUB.fullmatch(source) is not None and not Path(source).exists())


def located(source: str | Path, root: Path = zoo.ROOT) -> Path:
    """The folder that an energy is to be read from, which of the hub is that of its cache.

    Args:
        source: a folder; zoo:NAME; or user/name or user/name@revision of the hub, unless there is a folder of that
            name. A `Path` is always a folder.
        root: the folder of the zoo.

    Raises:
        ValueError: the zoo has no such entry.
        FileNotFoundError: the hub has no such repository or revision, or no energy in it.
        ConnectionError: the hub is out of reach, and the cache holds no copy.
    """
    if not is_elsewhere(source):
        return Path(source)
    assert isinstance(source, str)
    if source.startswith(ZOO):
        return zoo.folder(source.removeprefix(ZOO), root)
    match = _HUB.fullmatch(source)
    assert match is not None
    return _fetched(match["repository"], match["revision"])


@cache
def _fetched(repository: str, revision: str | None) -> Path:
    """The folder of a repository of the hub, its energy fetched unless the cache has it; asked once in a program."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    named, away = repository if revision is None else f"{repository}@{revision}", None
    try:  # `snapshot_download` asks the same first, and waits without end
        HfApi().repo_info(repository, revision=revision, timeout=PATIENCE)
    except RevisionNotFoundError:
        raise FileNotFoundError(f"{named}: {repository} of the hub has no revision {revision}") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise FileNotFoundError(f"{named}: no such folder, and no such repository on the hub") from None
    except Exception as error:  # of whichever HTTP library the hub's uses
        away = error
    try:
        found = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[DESCRIPTION, WEIGHTS],
            etag_timeout=PATIENCE,
            local_files_only=away is not None,
        )
    except Exception as error:
        why = type((away or error).__cause__ or away or error).__name__
        raise ConnectionError(
            f"{named}: no such folder, and the hub is out of reach and was not read before ({why})"
        ) from None
    if not (Path(found) / DESCRIPTION).is_file():
        raise FileNotFoundError(f"{named}: holds no energy, which `push_to_hub` would have written")
    return Path(found)
