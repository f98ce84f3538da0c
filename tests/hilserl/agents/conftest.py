"""A task so small that its networks take milliseconds."""

from collections.abc import Callable

import pytest
import torch

from data.spec import CameraSpec, ObservationSpec, StateField, TaskSpec
from hilserl.agents.networks import Policy

SIZE_PX = 47  # the smallest image that leaves the encoder one pixel


@pytest.fixture(scope="session")
def task() -> TaskSpec:
    whole = (0.0, 0.0, 1.0, 1.0)
    return TaskSpec(
        name="test",
        observation=ObservationSpec(
            cameras=(CameraSpec("wrist", whole, SIZE_PX), CameraSpec("front", whole, SIZE_PX)),
            policy_cameras=("wrist",),
            state=(StateField("position", 3, "m", -1.0, 1.0), StateField("speed", 1, "m/s", 0.0, 4.0)),
        ),
    )


@pytest.fixture
def new_policy(task: TaskSpec) -> Callable[[int], Policy]:
    """A factory of policies whose weights follow from a seed."""

    def make(seed: int = 0) -> Policy:
        torch.manual_seed(seed)
        return Policy(task.observation, len(task.action.names))

    return make
