"""Synthetic labelled episodes: a red square rises over a random still background; high enough is success."""

from __future__ import annotations

import functools
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data.schema import Episode, EpisodeMeta, Outcome
from data.spec import CameraSpec, ObservationSpec, StateField, TaskSpec

_made = runpy.run_path(str(Path(__file__).parents[1] / "data" / "made_episodes.py"))
SIZE_PX = 48  # the encoder needs 47
FULL = (0.0, 0.0, 1.0, 1.0)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def module_task() -> TaskSpec:
    cameras = (CameraSpec("front", FULL, SIZE_PX), CameraSpec("wrist", FULL, SIZE_PX))
    return TaskSpec("lift", ObservationSpec(cameras, ("wrist",), (StateField("q", 2, "rad", -1.0, 1.0),)))


@pytest.fixture
def task(module_task: TaskSpec) -> TaskSpec:
    return module_task


@pytest.fixture(scope="module")
def module_episodes(module_task: TaskSpec) -> list[Episode]:
    return [synthetic(module_task, i, success=i % 2 == 0) for i in range(12)]


@pytest.fixture
def make_episode(task: TaskSpec) -> Callable[..., Episode]:
    return functools.partial(synthetic, task)


@pytest.fixture
def episodes(make_episode) -> list[Episode]:
    return [make_episode(i, success=i % 2 == 0) for i in range(12)]


def synthetic(
    task: TaskSpec, number: int, success: bool, steps: int = 40, outcome: Outcome = Outcome.TIMEOUT
) -> Episode:
    rng = np.random.default_rng(number)
    top = 1.0 if success else 0.5
    lift = np.clip(np.linspace(-0.5, 1.6, steps + 1), 0, 1) * top
    left = int(rng.integers(4, SIZE_PX - 12))
    images = {}
    for camera in task.observation.cameras:
        still = rng.integers(0, 120, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
        movie = np.repeat(still[None], steps + 1, axis=0)
        for t in range(steps + 1):
            row = round((SIZE_PX - 12) * (1 - lift[t]))
            movie[t, row : row + 12, left : left + 12] = (230, 30, 30)
        images[camera.name] = movie
    return _made["blank"](
        steps,
        images=images,
        marked_success=lift > 0.7,
        reward=np.zeros(steps, np.float32),
        meta=EpisodeMeta(outcome, "labels", task.fingerprint, uuid=f"episode-{number}"),
    )
