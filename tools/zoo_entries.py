"""The entries of the zoo: how each is learned, measured and stored (tools/make_zoo.py).

What an entry needs for its measure comes before it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """How an entry is made.

    Attributes:
        learn: the pipeline that learns it, and its settings.
        objective: how it learns, in words.
        serves: what it takes the place of: PIPELINE/NN_stage, or PIPELINE/NN_compose/EXPERT.
        numbers: keys of the metrics that its card shows.
        measure: the pipeline that takes it, and its settings; None: the first that it serves, with `taken`.
        taken: the setting there that names it.
        energy: where it lies in a run; several: they become folders of the entry.
        logged: stages of the log that learned it.
        levels: of `Compact`; None: bfloat16.
    """

    learn: tuple[str, ...]
    objective: str
    serves: tuple[str, ...]
    numbers: tuple[str, ...]
    measure: tuple[str, ...] | None = None
    taken: str = "learn.pretrained"
    energy: tuple[str, ...] = ("[0-9]*_learn/energy",)
    logged: str = "*_learn"
    levels: int | None = None


def expert(learn: tuple[str, ...], name: str, label: str, levels: int, others: tuple[str, ...] = ()) -> Entry:
    """An expert of a composition that learns several, measured by one of its labels alone; it serves other pipelines,
    too."""
    serves = tuple(f"{pipeline}/02_compose/{name}" for pipeline in (learn[0], *others))
    return Entry(
        learn, "score matching", serves, ("asked",), (learn[0], f"compose.expr={name}.{label}"),
        f"compose.experts.{name}", (f"experts/{name}",), f"*_compose/{name}", levels,
    )  # fmt: skip


def anew(*names: str) -> str:
    """The setting by which experts are learned, whatever the zoo holds already."""
    return f"compose.experts={{{', '.join(f'{name}: none' for name in names)}}}"


def joint(pipeline: str, levels: int | None = None) -> Entry:
    """A network that classifies and generates, and the same by cross-entropy alone."""
    return Entry(
        (pipeline, "learn_joint.pretrained=none"), "cross-entropy and score matching",
        (f"{pipeline}/02_learn_joint",), ("joint", "plain"),
        None, "learn_joint.pretrained", ("[0-9]*_learn_joint/energy", "[0-9]*_learn_joint/plain"), "*_learn_joint/*",
        levels,
    )  # fmt: skip


NONE = "learn.pretrained=none"
SCENES = (
    "compose", "compose.expr=shape.circle + colour.red + size.small + place.left", "compose.steps=1200",
    anew("shape", "colour", "size", "place"),
)  # fmt: skip
SHAPES = ("compose", "compose.expr=shape.circle", "compose.steps=3600", "compose.balance=0", anew("shape"))
CLIPS = (
    "video_compose", "compose.expr=motion.right + colour.red", "compose.steps=1000",
    anew("motion", "colour"),
)  # fmt: skip
FURNITURE = ("voxel_compose", "compose.steps=1200", anew("kind", "drawers", "legs"))
COARSE = ("voxel_synthesis", "02_learn.steps=2500", "02_learn.optimizer.average=0.998", "02_learn.pretrained=none")
SAMPLES, RECOVERED = ("samples", "real"), ("recovery", "best_baseline", "baselines")
MATCHING, TOLD = "score matching", "denoising, told what is seen"

ENTRIES = {
    "digits": Entry(("image_synthesis", "learn.steps=3000", NONE), MATCHING, ("image_synthesis/02_learn",), SAMPLES),
    "digits_recovery": Entry(
        ("image_recovery", "learn.steps=2000", NONE), TOLD, ("image_recovery/03_learn",), RECOVERED, levels=63
    ),
    "digits_joint": joint("classification"),
    "bricks": Entry(("texture_synthesis", NONE), "score matching of crops", ("texture_synthesis/02_learn",), SAMPLES),
    "scenes_shape": expert(SHAPES, "shape", "circle", 127),
    "scenes_colour": expert(SCENES, "colour", "red", 127, ("compose_recovery",)),
    "scenes_size": expert(SCENES, "size", "small", 127),
    "scenes_place": expert(SCENES, "place", "left", 127),
    "clips": Entry(("clip_synthesis", NONE), MATCHING, ("clip_synthesis/02_learn",), SAMPLES, levels=127),
    "clips_recovery": Entry(("clip_recovery", NONE), TOLD, ("clip_recovery/03_learn",), RECOVERED, levels=127),
    "clips_joint": joint("video_classification"),
    "clips_motion": expert(CLIPS, "motion", "right", 127),
    "clips_colour": expert(CLIPS, "colour", "red", 127, ("video_compose_recovery",)),
    "flames": Entry(
        ("video_synthesis", NONE), "denoising of one clip's windows", ("video_synthesis/02_learn",), SAMPLES, levels=127
    ),
    "furniture": Entry(
        ("voxel_recovery", "learn.steps=800", NONE), TOLD, ("voxel_recovery/03_learn",), RECOVERED, levels=15
    ),
    "furniture_16": Entry(
        COARSE, MATCHING, ("voxel_synthesis/02_learn",), SAMPLES, taken="02_learn.pretrained",
        energy=("02_learn/energy",), logged="02_learn", levels=63,
    ),
    "furniture_features": Entry(
        ("voxel_features", NONE), MATCHING, ("voxel_features/02_learn",), ("accuracy",), levels=19
    ),
    "furniture_joint": joint("voxel_classification", levels=7),
    "furniture_kind": expert(FURNITURE, "kind", "table", 23),
    "furniture_drawers": expert(FURNITURE, "drawers", "some", 23),
    "furniture_legs": expert(FURNITURE, "legs", "splayed", 23),
}  # fmt: skip
