"""Laws of the configuration: it round-trips, and refuses what is wrong in one line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, zeros

from pipelines import config, schema, store, trees
from pipelines.config import Config, ConfigError
from pipelines.source import Source
from pipelines.stage import Run


@dataclass(frozen=True)
class MLE:
    steps: int = 10
    rate: float = 1e-3


@dataclass(frozen=True)
class ScoreMatching:
    levels: tuple[float, ...] = (0.1, 0.2)


Objective = MLE | ScoreMatching


@dataclass(frozen=True)
class Sampler:
    steps: int = 10
    annealed: bool = False
    scale: Tensor | None = None
    """Given in Python alone."""


@dataclass(frozen=True)
class Load:
    video: str = "procedural"
    size: int | tuple[int, int] | None = None


@dataclass(frozen=True)
class Hide:
    pixels: float | None = None
    frames: int | str | None = None
    mode: Literal["fixed", "moving"] = "fixed"
    mask: Path | None = None

    def __post_init__(self) -> None:
        if self.pixels is not None and not 0 < self.pixels < 1:
            raise ValueError(f"pixels must be in (0, 1), got {self.pixels}")


@dataclass(frozen=True)
class Learn:
    objective: Objective = MLE(rate=0.5)
    sampler: Sampler = Sampler(steps=99)
    names: list[str] = field(default_factory=lambda: ["a"])
    extra: MLE | None = None


@dataclass(frozen=True)
class Mixture:
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Compose:
    experts: dict[str, str] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    places: dict[str, Path] | None = None
    mixture: Mixture = Mixture()


@dataclass(frozen=True)
class Clash:
    """Its fields are called like a setting of the run, a stage, and a field of another stage."""

    seed: int = 0
    load: str = ""
    size: int = 0


@dataclass(frozen=True)
class Deep(Sampler):
    """It has the fields of another dataclass, and a default that differs from those of its parts."""

    inner: Learn = Learn(sampler=Sampler(steps=7))


Stage = Load | Hide | Learn | Compose | Clash | Deep


@dataclass(frozen=True)
class Settings:
    out: str | None = None
    seed: int = 0


SOURCE = Source(Path(__file__).parents[__name__.count(".")])  # this file is read as the command reads any
STAGES = schema.classes(SOURCE, __name__, "Stage")
SETTINGS = schema.classes(SOURCE, __name__, "Settings")["settings"]


def plan(text: str, *overrides: str) -> config.Plan:
    stated, entries, modality = trees.split(trees.parse(text, "p.yaml"), "p.yaml")
    stages = config.stages_of(entries, STAGES, "p.yaml: unknown stage")
    return config.plan("p.yaml", stated, stages, SETTINGS, overrides, modality)


def load(text: str, *overrides: str) -> Config:
    return plan(text, *overrides).make()


def one(stage: str, *overrides: str) -> Any:
    return load(f"stages: [{stage}: {{}}]", *(f"{stage}.{o}" for o in overrides)).stages[0]


TEXT = st.text(max_size=8).filter(lambda text: text[:1] not in ("~", "$") and "\0" not in text) | st.sampled_from(
    ["5", "1e-4", "no", "null", "~", "1:30", "yes", "08", "'x'", "[a]", "# c", ""]
)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
WORD = st.from_regex("[A-Za-z_][A-Za-z0-9_]*", fullmatch=True) | st.sampled_from(["no", "null", "true", "y", "a" * 200])


@pytest.mark.slow
@given(
    video=TEXT,
    size=st.none() | st.integers(0, 99) | st.tuples(st.integers(0, 9), st.integers(0, 9)),
    frames=st.none() | st.integers(-(10**17), 10**17) | TEXT,
    objective=st.builds(MLE, rate=NUMBER) | st.builds(ScoreMatching, st.lists(NUMBER, max_size=3).map(tuple)),
    names=st.lists(TEXT, max_size=3),
    extra=st.none() | st.builds(MLE),
)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_what_is_dumped_loads_to_the_same(video, size, frames, objective, names, extra):
    stages = (
        Load(video, size),
        Hide(frames=frames, mask=Path("m")),
        Hide(),
        Learn(objective, Sampler(), names, extra),
    )
    wanted = Config(Settings("runs/x", 3), stages)
    assert load(config.dump(wanted)) == wanted


@pytest.mark.slow
@given(
    experts=st.dictionaries(WORD, TEXT, max_size=3),
    weights=st.dictionaries(WORD, NUMBER, max_size=3),
    places=st.none() | st.dictionaries(WORD, st.just(Path("m")), max_size=2),
    mixture=st.builds(Mixture, st.dictionaries(WORD, NUMBER, max_size=2)),
)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_maps_that_are_dumped_load_to_the_same_in_their_order(experts, weights, places, mixture):
    wanted = Config(Settings(), (Compose(experts, weights, places, mixture),))
    got = load(config.dump(wanted))
    assert got == wanted and list(got.stages[0].experts) == list(experts)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (one("load", "video=5"), Load("5")),
        (one("load", "video=no"), Load("no")),
        (one("load", "video=a: [b] #c.mp4"), Load("a: [b] #c.mp4")),
        (one("load", "video=it's=x.mp4"), Load("it's=x.mp4")),
        (one("load", "video=~/a b.mp4"), Load(f"{Path.home()}/a b.mp4")),
        (one("load", "video=$HOME/c.mp4"), Load(f"{Path.home()}/c.mp4")),
        (one("hide", "mask=${HOME}/m.png"), Hide(mask=Path.home() / "m.png")),
        (one("learn", "names=[~/a, b/~/c, $HOME]"), Learn(names=[f"{Path.home()}/a", "b/~/c", str(Path.home())])),
        (one("load", "video=~shape.circle + $"), Load("~shape.circle + $")),  # as an expression may begin
        (one("load", "size=64"), Load(size=64)),
        (one("load", "size=[48, 64]"), Load(size=(48, 64))),
        (one("hide", "frames=5"), Hide(frames=5)),
        (load("stages: [hide: {frames: '5'}]").stages[0], Hide(frames="5")),
        (one("hide", "frames='5'"), Hide(frames="'5'")),  # quotes belong to the file and to the shell
        (one("hide", "frames=8:13"), Hide(frames="8:13")),
        (one("hide", "frames=null"), Hide()),
        (one("hide", "pixels=1e-4"), Hide(pixels=1e-4)),
        (one("hide", "mask=m.png", "mode=moving"), Hide(mask=Path("m.png"), mode="moving")),
        (
            one("learn", "objective.mle.steps=20"),
            Learn(MLE(steps=20, rate=0.5)),
        ),  # keeps the field's default
        (
            one("learn", "objective.score_matching.levels=[1, 2e0]"),
            Learn(ScoreMatching((1.0, 2.0))),
        ),
        (one("learn", "objective=score_matching"), Learn(ScoreMatching())),
        (one("learn", "sampler.annealed=true"), Learn(sampler=Sampler(99, True))),
        (one("deep", "steps=3", "inner.names=[]"), Deep(3, inner=Learn(sampler=Sampler(7), names=[]))),
        (one("deep", "inner.sampler.annealed=true"), Deep(inner=Learn(sampler=Sampler(7, True)))),
        (one("learn", "extra.steps=1"), Learn(extra=MLE(steps=1))),
        (load("stages: [load]", "load.size=1", "seed=7").settings, Settings(seed=7)),
        (
            load("seed: 4\nstages:\n- hide: {frames: no}\n- hide:", "02_hide.frames=1").stages,
            (Hide(frames="no"), Hide(frames=1)),
        ),
        (
            load("stages: [learn: {objective: {mle: {steps: 3}}}]", "learn.objective.mle.rate=1").stages,
            (Learn(MLE(3, 1.0)),),
        ),
        (
            load(
                "stages: [learn: {objective: {mle: {steps: 3}}}]",
                "learn.objective.score_matching.levels=[]",
            )
            .stages[0]
            .objective,
            ScoreMatching(()),
        ),
    ],
)
def test_values_mean_what_their_field_says(got, expected):
    assert got == expected


IN_FILE = "stages: [compose: {experts: {shape: runs/shape, colour: runs/colour}, weights: {a: 5, z: 1e-4}}]"


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (load(IN_FILE), Compose({"shape": "runs/shape", "colour": "runs/colour"}, {"a": 5.0, "z": 1e-4})),
        (load(IN_FILE, "compose.experts.shape=b").stages[0].experts, {"shape": "b", "colour": "runs/colour"}),
        (load(IN_FILE, "compose.experts.num=5", "experts.b=no").stages[0].experts["num"], "5"),
        (load(IN_FILE, "compose.weights.b=3").stages[0].weights, {"a": 5.0, "z": 1e-4, "b": 3.0}),
        (load(IN_FILE, "compose.experts={shape: a}").stages[0].experts, {"shape": "a"}),
        (load("stages: [compose: {weights: {}}]", "compose.weights.c=3").stages[0].weights, {"c": 3.0}),
        (one("compose", "weights.b=3", "weights.c=4"), Compose(weights={"b": 3.0, "c": 4.0})),
        (one("compose", "weights={c: 3}"), Compose(weights={"c": 3.0})),
        (one("compose", "weights={}"), Compose(weights={})),
        (one("compose", "places.a=b"), Compose(places={"a": Path("b")})),
        (one("compose", "places=null"), Compose()),
        (load("stages: [compose: {places: }]", "places.a=b").stages[0], Compose(places={"a": Path("b")})),
        (one("compose", "mixture.weights.a=2"), Compose(mixture=Mixture({"a": 2.0}))),
    ],
)
def test_a_map_keeps_the_keys_that_the_command_line_does_not_name(got, expected):
    assert (got.stages[0] if isinstance(got, Config) else got) == expected


def test_a_stage_with_maps_has_a_key_that_every_entry_decides():
    maps = [{"a": "x"}, {"a": "y"}, {"b": "x"}, {"a": "x", "b": "x"}, {}]
    stages: list[Any] = [Compose(experts) for experts in maps]
    keys = [store.wanted(stage, (), {}, {"inputs": {}}, Run(Path(), Path())).asked for stage in stages]
    assert len(set(keys)) == len(maps)


@pytest.mark.parametrize(
    ("stages", "short", "long"),
    [
        ("load, hide, learn", "pixels=0.5", "hide.pixels=0.5"),
        ("load, hide, learn", "size=[4, 5]", "load.size=[4, 5]"),
        ("load, hide, learn", "objective.mle.steps=3", "learn.objective.mle.steps=3"),
        ("load, compose", "experts.shape=runs/shape", "compose.experts.shape=runs/shape"),
        ("hide, hide, learn", "names=[b]", "learn.names=[b]"),
        ("load, load, hide", "mode=moving", "hide.mode=moving"),
        ("load, hide, learn", "02_hide.pixels=0.5", "hide.pixels=0.5"),
    ],
)
def test_a_field_of_only_one_stage_needs_no_stage(stages, short, long):
    assert load(f"stages: [{stages}]", short) == load(f"stages: [{stages}]", long) != load(f"stages: [{stages}]")


def test_stages_and_settings_of_the_run_come_before_fields_of_their_name():
    assert load("stages: [clash]", "seed=3", "load=a") == Config(Settings(seed=3), (Clash(load="a"),))
    assert load("stages: [load, clash]", "load.video=a").stages == (Load("a"), Clash())
    with pytest.raises(ConfigError, match=r"'load' is several stages; did you mean 01_load\.video or 02_load\.video\?"):
        load("stages: [load, load, clash]", "load.video=a")


@pytest.mark.parametrize(
    ("stages", "override", "told"),
    [
        ("load, hide, clash", "size=1", "'size' is a field of several stages; did you mean load.size or clash.size?"),
        (
            "hide, load, hide",
            "mode.a=1",
            "'mode' is a field of several stages; did you mean 01_hide.mode.a or 03_hide.",
        ),
    ],
)
def test_a_field_of_several_stages_is_refused_with_all_of_them(stages, override, told):
    with pytest.raises(ConfigError) as error:
        load(f"stages: [{stages}]", override)
    assert str(error.value).startswith(told) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "p.yaml: expected 'stages:'"),
        ("stages: []", "expected 'stages:'"),
        ("stages: {load: {}}", "expected 'stages:'"),
        ("stages: [{load: {}, hide: {}}]", "expected one stage"),
        ("stages: [lod: {}]", "p.yaml: unknown stage 'lod'; did you mean load?"),
        ("sed: 3\nstages: [load]", "unknown setting 'sed'; did you mean seed?"),
        ("load: {}\nstages: [load]", "unknown setting 'load'"),
        ("pixels: 0.5\nstages: [hide]", "p.yaml: unknown setting 'pixels'"),
        ("stages: [load]\nstages: [hide]", "line 2: 'stages' is given twice"),
        ("stages: [load: {size: 1, size: 2}]", "'size' is given twice"),
        ("stages: [load: &a {}, hide: *a]", "anchors and aliases"),
        ("stages: [load: {video: *a}]", "anchors and aliases"),
        ("stages: [load: !!python/name:os.system {}]", "tags"),
        ("stages: [load: {? [a] : 1}]", "a key must be a word"),
        ("stages: [load: {", "p.yaml, line 1: "),
        ("stages: " + "[" * 99, "nested too deeply"),
        ("stages: [load]\n---\nstages: [load]", "p.yaml, line 2: "),
        ("stages: [\x07]", "not YAML text"),
        ("stages: [load: {video: [a]}]", "load.video: got ['a'], expected text"),
        ("stages: [load: {video: null}]", "load.video: got 'null', expected text"),
        (
            "stages: [load: {size: '64'}]",
            "load.size: got '64', expected whole number | [whole number, whole number] | null",
        ),
        ("stages: [load: {size: [1, 2, 3]}]", "load.size: got ['1', '2', '3'], expected whole number | [whole"),
        ("stages: [load: {size: [1, b]}]", "load.size[1]: got 'b', expected whole number"),
        (
            "stages: [load: 5]",
            "load: got '5', expected fields (video, size), such as load.field=value",
        ),
        ("stages: [compose: {experts: [a]}]", "compose.experts: got ['a'], expected {NAME: text, ...}"),
        ("stages: [compose: {experts: }]", "compose.experts: got nothing, expected {NAME: text, ...}"),
        ("stages: [compose: {places: a}]", "compose.places: got 'a', expected {NAME: path, ...} | null"),
        ("stages: [compose: {experts: {a: [b]}}]", "compose.experts.a: got ['b'], expected text"),
        ("stages: [compose: {experts: {a: }}]", "compose.experts.a: got nothing, expected text"),
        ("stages: [compose: {experts: {1a: b}}]", "compose.experts: got the key '1a', expected a word"),
        ("stages: [compose: {experts: {'': b}}]", "compose.experts: got the key '', expected a word"),
        ('stages: [compose: {experts: {"a\\n": b}}]', r"compose.experts: got the key 'a\n', expected a word"),
        ("stages: [compose: {experts: {a: x, a: y}}]", "'a' is given twice"),
        ("stages: [compose: {mixture: {weights: {a: '1'}}}]", "compose.mixture.weights.a: got '1', expected number"),
    ],
)
def test_bad_files_are_refused_in_one_line(text, words):
    with pytest.raises(ConfigError) as error:
        plan(text)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed", "'seed' is no setting; one is written stage.field=value"),
        ("=3", "'=3' is no setting"),
        ("seed=1.5", "seed: got '1.5', expected whole number"),
        ("seed=", "seed: got nothing, expected whole number"),
        ("seed=1e3", "expected whole number"),
        ("seed=99999999999999999999", "expected whole number"),
        ("sede=1", "unknown setting 'sede'; did you mean seed?"),
        ("zzz=0.5", "unknown setting 'zzz'; known: out, seed, load, hide, learn, compose"),
        ("zzz.pixels=0.5", "unknown stage 'zzz'; known: out, seed, load, hide, learn, compose"),
        ("pixels=abc", "hide.pixels: got 'abc', expected number | null"),
        ("weights.a=b", "compose.weights.a: got 'b', expected number"),
        ("compose.weights.a=nan", "compose.weights.a: got 'nan', expected number"),
        ("compose.experts=a", "compose.experts: got 'a', expected {NAME: text, ...}"),
        ("compose.experts={a: b", "compose.experts, line 1: "),
        ("compose.experts.a-b=c", "compose.experts: got the key 'a-b', expected a word of letters, digits and _"),
        ("compose.experts.=c", "compose.experts: got the key '', expected a word"),
        ("compose.experts.a.b=c", "compose.experts.a.b: compose.experts.a is text and has no fields"),
        ("pixel=0.5", "unknown setting 'pixel'; did you mean hide.pixels?"),
        ("objectve.mle.steps=5", "did you mean learn.objective?"),
        ("02_load.pixels=0.5", "unknown stage '02_load'; did you mean load?"),
        ("hdie.pixels=0.5", "unknown stage 'hdie'; did you mean hide?"),
        ("hide.pixel=0.5", "unknown field 'hide.pixel'; did you mean hide.pixels?"),
        ("hide.zzz=0.5", "known: hide.pixels, hide.frames, hide.mode, hide.mask"),
        ("hide.pixels.a=1", "hide.pixels is number | null and has no fields"),
        ("hide.pixels=abc", "hide.pixels: got 'abc', expected number | null"),
        ("hide.pixels=nan", "hide.pixels: got 'nan', expected number"),
        ("hide.pixels=-.inf", "expected number | null"),
        ("hide.pixels=1e999", "expected number | null"),
        ("hide.mode=movin", "hide.mode: got 'movin', expected fixed | moving"),
        ("learn.sampler.annealed=yes", "learn.sampler.annealed: got 'yes', expected true | false"),
        ("learn.objective.ml.steps=1", "learn.objective: unknown name 'ml'; did you mean mle?"),
        ("learn.objective=ml", "learn.objective: unknown name 'ml'; did you mean mle?"),
        ("learn.objective.mle.step=1", "did you mean learn.objective.mle.steps?"),
        ("learn.objective={mle: {}, score_matching: {}}", "learn.objective: got "),
        ("learn.objective=null", "learn.objective: got 'null', expected mle | score_matching"),
        ("learn.objective={mle: ", "learn.objective, line 1: "),
        ("learn.names=a", "learn.names: got 'a', expected [text, ...]"),
        (
            "load.video=~nobody_here/a",
            "load.video: got '~nobody_here/a', but there is no ~nobody_here; write",
        ),
        ("load.video=$NOTHING_SUCH/a", "load.video: got '$NOTHING_SUCH/a', but there is no $NOTHING_SUCH; write"),
        ("load.video=a\0b", "load.video: got 'a\0b', which has a NUL character"),
        ("hide.mask=a\udcff", "which has a character that is not UTF-8; rename the file"),
        (f"hide.pixels={'9' * 5000}", "expected number | null"),
    ],
)
def test_bad_settings_are_refused_in_one_line(override, words):
    with pytest.raises(ConfigError) as error:
        plan("stages: [load, hide, learn, compose]", override)  # nothing is made, nothing need be imported
    assert words in str(error.value) and "\n" not in str(error.value)


def test_what_a_dataclass_refuses_names_its_field():
    with pytest.raises(ConfigError, match=r"^hide.pixels must be in \(0, 1\), got 2.0$"):
        load("stages: [load, hide]", "pixels=2")


@pytest.mark.parametrize(
    "overrides",
    [
        ("seed=1", "seed=2"),
        ("learn.objective.mle.steps=1", "learn.objective.score_matching.levels=[]"),
        ("names=[a]", "learn.names=[b]"),
        ("experts.a=x", "experts.a=y"),
        ("experts.a=x", "experts={b: y}"),
        ("experts={b: y}", "experts.a=x"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(overrides):
    with pytest.raises(ConfigError, match="is contradicted by a later setting"):
        load("stages: [learn, compose]", *overrides)


def test_a_tensor_is_no_setting():
    without, with_ = (Config(Settings(), (Learn(sampler=Sampler(scale=scale)),)) for scale in (None, zeros(3)))
    assert "scale" not in config.dump(without)
    with pytest.raises(ConfigError, match=r"^Sampler cannot be a setting: it holds a tensor$"):
        config.dump(with_)
    with pytest.raises(ConfigError, match="unknown field"):
        plan("stages: [learn]", "learn.sampler.scale=1")


def test_what_yaml_cannot_say_is_not_dumped():
    for experts in ({"a b": "x"}, {"": "x"}, {1: "x"}):
        with pytest.raises(ConfigError, match="'x'} cannot be a setting"):
            config.dump(Config(Settings(), (Compose(experts),)))  # pyright: ignore
    with pytest.raises(ConfigError, match="nan cannot be a setting"):
        config.dump(Config(Settings(), (Learn(MLE(rate=float("nan"))),)))
