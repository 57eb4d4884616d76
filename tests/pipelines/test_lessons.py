"""What a step learns from: tasks, masks, mirror images, and how far learning is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import seeded
from tiny import run_in
from torch import Tensor

from energies import Hidden
from energies.objectives import ScoreMatching
from energies.observation import Observation
from pipelines.examples import Examples, to_bits
from pipelines.learning.lessons import Lessons, Task, hides
from pipelines.learning.settings import Encoder
from pipelines.learning.single import scene
from pipelines.stages.learn import Learn


class Counted:
    """A task that counts how often it comes."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, x: Tensor, rng: torch.Generator) -> tuple[Observation, Tensor]:
        self.times += 1
        return hides(lambda rng: torch.rand(1, 2, 2, generator=rng) < 0.5)(x, rng)


@pytest.mark.slow
def test_tasks_come_as_often_as_they_should_and_no_lesson_twice(tmp_path: Any) -> None:
    often, seldom = Counted(), Counted()
    tasks = {"often": Task(3, often), "seldom": Task(1, seldom)}
    x = torch.randn(20, 1, 2, 2, generator=seeded(0))
    lessons = Lessons(x, 2, tasks, None, 2, run_in(tmp_path), lambda x, rng: x + torch.rand(x.shape, generator=rng))
    shown = {lessons[step][1].x.numpy().tobytes() for step in range(1600)}
    assert len(shown) == 1600 and often.times + seldom.times == 400
    assert abs(often.times / 400 - 0.75) < 5 * (0.75 * 0.25 / 400) ** 0.5


def test_every_x_has_a_mask_of_its_own() -> None:
    x = torch.ones(9, 1, 6, 6)
    observation, y = hides(lambda rng: torch.rand(1, 6, 6, generator=rng) < 0.5)(x, seeded(1))
    assert isinstance(observation, Hidden) and len(observation.mask.unique(dim=0)) == 9
    assert torch.equal(y, (~observation.mask).float())


def test_an_objective_is_told_how_far_learning_is_and_shapes_are_mirrored(tmp_path: Any) -> None:
    seen = []

    class Told(ScoreMatching):
        def __call__(self, energy, batch, rng):
            seen.append(batch)
            return super().__call__(energy, batch, rng)

    solid = torch.zeros(30, 1, 8, 8, 8, dtype=torch.bool)
    solid[:, :, :3] = True  # all on the left
    data = Examples("voxels", (1, 8, 8, 8), to_bits(solid[8:]), to_bits(solid[:8]))
    Learn(energy=Encoder((4,), (1,)), objective=Told(), steps=4, batch=16, references=0)(
        {"data": data}, run_in(tmp_path)
    )
    assert [batch.progress for batch in seen] == [0.0, 0.25, 0.5, 0.75]
    x = torch.cat([batch.x for batch in seen])
    left = (x[:, 0, 0] > 0).all((1, 2))
    assert torch.equal((x > 0).flatten(1).sum(1), torch.full((64,), 192)) and 12 < int(left.sum()) < 52


def test_a_scene_is_its_mean_picture_and_how_far_it_moves_from_it() -> None:
    clip = torch.zeros(3, 4, 8, 8)
    clip[:, :, 0] = 0.5
    clip[:, 1::2, 1], clip[:, ::2, 1] = 0.4, -0.4
    context = scene(clip, 7)
    assert context.estimate.shape == (1, 3, 7, 8, 8) and context.hidden.all()
    torch.testing.assert_close(context.estimate[0, :, 3], clip.mean(1))
    torch.testing.assert_close(context.scale[0, 0, 5, 1], torch.full((8,), 0.4))
    torch.testing.assert_close(context.scale[0, 0, 5, 0], torch.full((8,), 0.02))  # never less than a few levels
