"""What the tests of the simulation share: a world without its renderer, and frames that cost nothing."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from data.spec import TaskSpec
from hilserl.loop.env import ArmEnv
from hilserl.tasks import lift_task
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.sim_arm import SimArm, SimClock


class BlackFrames:
    """Cameras that see nothing."""

    def read(self, name: str) -> tuple[np.ndarray, float]:
        return np.zeros((12, 16, 3), np.uint8), 0.0


@pytest.fixture(scope="session")
def task() -> TaskSpec:
    return lift_task()


@pytest.fixture
def new_world() -> Iterator[Callable[..., World]]:
    """A factory, `new_world(**profile_fields)`; renderers are freed afterwards."""
    worlds = []

    def make(**fields: object) -> World:
        worlds.append(World(WorldProfile(**fields)))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def blind_env(task: TaskSpec) -> Callable[[World], ArmEnv]:
    """The environment around a world, without rendering."""
    return lambda world: ArmEnv(SimArm(world), BlackFrames(), SimClock(world), task)
