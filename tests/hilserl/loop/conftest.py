"""A simulated arm without rendering, for the tests of the loop."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hilserl.loop.actor as actor_module
from data.spec import TaskSpec
from data.store.episode_store import EpisodeStore
from hilserl.loop.env import ArmEnv, start_joints
from hilserl.tasks import lift_task
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.sim_arm import SimArm, SimClock

START_M = np.array([0.23, 0.0, 0.10])


class BlackFrames:
    """Cameras that see nothing."""

    def read(self, name: str) -> tuple[np.ndarray, float]:
        return np.zeros((12, 16, 3), np.uint8), 0.0


@pytest.fixture(scope="session")
def task() -> TaskSpec:
    return lift_task()


@pytest.fixture(scope="session")
def new_world(task: TaskSpec) -> Callable[..., World]:
    """A factory of worlds with the arm at `START_M` and the cube out of its way."""

    def make(**profile: object) -> World:
        world = World(WorldProfile(**profile))
        world.set_joints(start_joints(task, START_M))
        world.place_cube(0.23, 0.1, 0.0)
        return world

    return make


@pytest.fixture(scope="session")
def blind_env(task: TaskSpec) -> Callable[[World], ArmEnv]:
    """The environment around a world, without rendering."""
    return lambda world: ArmEnv(SimArm(world), BlackFrames(), SimClock(world), task)


@pytest.fixture
def bench(new_world, blind_env, task, tmp_path, monkeypatch) -> Iterator[Callable[..., Any]]:
    """A factory of `actor_bench.Bench`, all on one store: `bench(*scripts, detector=None, world=None)`."""
    path = Path(__file__).with_name("actor_bench.py")
    spec = importlib.util.spec_from_file_location("actor_bench", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(actor_module, "WAIT_S", 0.0)
    with EpisodeStore.create_or_open(tmp_path / "store", task) as store:

        def make(*scripts, detector=None, world=None):
            return module.Bench(blind_env(world or new_world()), store, module.Hand(*scripts), detector)

        yield make
        assert store.verify() == []
