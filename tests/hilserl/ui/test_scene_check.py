"""The scene check on a real store: the reference is its first starts, and only a start is compared."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from data.spec import TaskSpec
from data.store.episode_store import EpisodeStore
from hilserl.loop.snapshot import Snapshot
from hilserl.ui.scene import LEAST
from hilserl.ui.scene_check import CLASSIFIER, SceneCheck
from teleop.inputs import Prompt

START = Snapshot(words=Prompt.PLACE_OBJECT)


@pytest.fixture
def task(made: ModuleType) -> TaskSpec:
    return made.task(1, size_px=47)


def record(run: Path, task: TaskSpec, made: ModuleType, seeds: range) -> np.ndarray:
    """Fill a store; every start shows the same picture, which is returned."""
    camera = task.observation.cameras[0].name
    start = np.random.default_rng(0).integers(40, 200, (47, 47, 3), np.uint8)
    with EpisodeStore.create_or_open(run / "store", task) as store:
        for seed in seeds:
            episode = made.episode(task, seed, count=5)
            images = {**episode.images, camera: episode.images[camera].copy()}
            images[camera][0] = start
            store.append(replace(episode, images=images))
    return start


def native(start: np.ndarray, task: TaskSpec) -> dict[str, np.ndarray]:
    """A camera frame whose crop is `start`."""
    camera = task.observation.cameras[0]
    top, left, height, width = camera.crop
    frame = np.zeros((round(47 / height), round(47 / width), 3), np.uint8)
    y, x = round(top * frame.shape[0]), round(left * frame.shape[1])
    frame[y : y + 47, x : x + 47] = start
    return {camera.name: frame}


def test_a_start_is_compared_with_the_first_ones_and_nothing_else_is(
    tmp_path: Path, task: TaskSpec, made: ModuleType
) -> None:
    check = SceneCheck(tmp_path)
    assert check.look(START, {}) == []  # no store yet
    start = record(tmp_path, task, made, range(LEAST - 1))
    assert check.look(START, native(start, task)) == []  # too few
    record(tmp_path, task, made, range(LEAST - 1, LEAST))
    assert check.look(replace(START, authority="policy"), native(start, task)) == []
    (light,) = check.look(START, native(start, task))
    assert light.look == "good"
    np.testing.assert_array_equal(check.reference(light.name), start)
    (light,) = check.look(START, native(start // 2, task))
    assert light.look == "unsure" and "darker" in light.words
    assert check.look(replace(START, running=True), native(start, task)) == [light]  # as it was at the start
    assert check.reference("none") is None


def test_success_before_the_start_is_odd_and_is_said_before_anybody_starts(tmp_path: Path) -> None:
    check = SceneCheck(tmp_path)
    assert check.look(replace(START, threshold=0.8), {}) == []  # nobody was asked
    (light,) = check.look(replace(START, threshold=0.8, p_start=0.02), {})
    assert (light.name, light.look) == (CLASSIFIER, "good")
    (light,) = check.look(replace(START, threshold=0.8, p_start=0.8), {})
    assert light.look == "unsure" and "p 0.80, needs 0.80" in light.words
    assert check.look(replace(START, authority="policy", threshold=0.8, p_start=0.1), {}) == [light]
