"""Bad input for tools/chaos.py: settings drawn from the types of all fields, and damaged files of every format."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from data.errors import InputError
from pipelines import run, schema, trees
from pipelines.source import Source

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
NUMBER = st.one_of(
    st.integers(-(10**30), 10**30), st.floats(), st.sampled_from(["9" * 5000, "1e999", "-0", "0x1", "1_0"])
)
ODD = st.sampled_from(
    ["null", "[]", "{}", "[1, [2]]", "{a: 1}", "&a 1", "!!int 3", "true", "~", "-1", "0", "{", "'", "\udcff"]
)


def bad_settings(num: int, start: int) -> list[list[str]]:
    """Words of commands: a pipeline and one setting, whose value may be anything."""
    fields = list(_fields())
    found: list[list[str]] = []

    @seed(start)
    @settings(
        max_examples=num, database=None, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from(fields), st.data())
    def draw(where: tuple[str, str, Any], data: st.DataObject) -> None:
        name, address, kind = where
        found.append([name, f"{address}={data.draw(_values(kind))}"])

    draw()
    return found


def _fields() -> Iterator[tuple[str, str, Any]]:
    """Pipeline, address and type of every field of every stage."""
    source = Source(run.ROOT)
    for file in sorted((run.ROOT / "configs").glob("*.yaml")):
        _, entries, modality = trees.split(trees.parse(file.read_bytes(), file.name), file.name)
        known = schema.classes(source, f"pipelines.modalities.{modality}", "Stage")
        labels = trees.labels([name for name, _ in entries])
        for label, (name, _) in zip(labels, entries, strict=True):
            for field in known[name].fields.values():
                yield file.stem, f"{label}.{field.name}", field.kind


def _values(kind: Any) -> st.SearchStrategy[object]:
    """Values for a field: of its type but perhaps out of range, and of others."""
    members = set(kind.members())
    options: list[st.SearchStrategy[object]] = [NUMBER, ODD, TEXT]
    if members & {int, float}:
        options += [st.integers(-3, 3), st.floats(-2, 2)] * 2
    classes = [trees.snake(member.name) for member in members if isinstance(member, schema.Class)]
    if classes:
        options.append(st.sampled_from([f"{name[:-1]}" for name in classes] + [f"{{{name}: 3}}" for name in classes]))
    return st.one_of(options)


# ------------------------------------------------------------------------------------------- files


def files(folder: Path, num: int, rng: random.Random) -> Iterator[Path]:
    """Whole files of all formats that we write, and each damaged in `num` ways of each kind."""
    for path in list(_whole(folder)):
        yield path
        content = path.read_bytes()
        for number in range(num):
            for how, spoiled in (
                ("cut", content[: rng.randrange(len(content))]),
                ("flipped", _flipped(content, rng)),
                ("noise", rng.randbytes(rng.randrange(400))),
            ):
                damaged = path.with_name(f"{how}_{number}{path.suffix}")
                damaged.write_bytes(spoiled)
                yield damaged


def _flipped(content: bytes, rng: random.Random) -> bytes:
    found = bytearray(content)
    for _ in range(4):
        found[rng.randrange(min(len(found), 200))] = rng.randrange(256)
    return bytes(found)


def _whole(folder: Path) -> Iterator[Path]:
    import numpy as np
    from PIL import Image

    from data import video, voxels

    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))
    for suffix in (".png", ".jpg", ".tif", ".webp", ".gif", ".bmp"):
        picture.save(folder / f"whole{suffix}")
        yield folder / f"whole{suffix}"
    np.savez(folder / "whole.npz", x=rng.integers(0, 255, (24, 8, 8), dtype=np.uint8))
    yield folder / "whole.npz"
    clip = torch.from_numpy(rng.random((3, 8, 32, 32), dtype=np.float32)) * 2 - 1
    for suffix in (".mp4", ".mkv"):
        video.write(folder / f"whole{suffix}", clip, fps=8.0)
        yield folder / f"whole{suffix}"
    solid = torch.zeros(8, 8, 8, dtype=torch.bool)
    solid[2:6, 2:6, 2:6] = True
    for suffix in (".stl", ".ply", ".binvox"):
        voxels.write(solid, folder / f"whole{suffix}")
        yield folder / f"whole{suffix}"


def read(path: Path) -> int:
    """Read a file as a person's own: 0, or 2 after the line that tells what is wrong with it."""
    from pipelines.modalities import images, video, voxels
    from pipelines.stage import Run

    warnings.simplefilter("ignore")
    folder = path.parent / f"{path.name}.run"
    folder.mkdir()
    stage: Any = {
        ".npz": lambda: images.Load(images=str(path)),
        ".mp4": lambda: video.Load(video=str(path), frames=4, size=32),
        ".mkv": lambda: video.Load(video=str(path), frames=4, size=32),
        ".stl": lambda: voxels.Load(voxels=str(path), size=8),
        ".ply": lambda: voxels.Load(voxels=str(path), size=8),
        ".binvox": lambda: voxels.Load(voxels=str(path), size=8),
    }.get(path.suffix, lambda: images.Load(photograph=str(path)))()
    try:
        stage({}, Run(folder, folder))
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0
