"""How an episode may start: overlapping distributions of arm and object, reached by state injection.

Only `home` is what the real arm starts from: there the pose says nothing about the object, which a policy has to see.
The others shorten the way for reinforcement learning; they put the hand where it truly is to be, whatever its encoders
say, or it would start inside the object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from data.errors import UserError
from hilserl.loop.env import sample_start, start_joints
from sim_pretrain.task.tasks import SimTask
from sim_pretrain.world.physics import World

Stage = Callable[[World, SimTask, np.random.Generator], None]


def home(world: World, task: SimTask, rng: np.random.Generator) -> None:
    """Open hand anywhere in the task's start box, independent of the object."""
    world.set_joints(start_joints(task.spec, sample_start(task.spec, rng)))
    _spread(world, task, rng)


def far(world: World, task: SimTask, rng: np.random.Generator) -> None:
    """Open hand 2 to 12 cm beside the object (within the workspace), 4.5 to 13 cm above the table."""
    _above(world, task, rng, (0.03, 0.12), (0.045, 0.13))


def near(world: World, task: SimTask, rng: np.random.Generator) -> None:
    """Open hand less than 4 cm beside the object, 4.5 to 8 cm above the table."""
    _above(world, task, rng, (0.0, 0.04), (0.045, 0.08))


def grasped(world: World, task: SimTask, rng: np.random.Generator) -> None:
    """The object in the closed hand, 2 to 9 cm above the table."""
    x_m, y_m, _ = _spread(world, task, rng)
    world.put_in_hand(_encoders(world, task, np.array([x_m, y_m, rng.uniform(0.02, 0.09)])))


STAGES: Mapping[str, Stage] = {"home": home, "far": far, "near": near, "grasped": grasped}


def scatter(world: World, task: SimTask, rng: np.random.Generator, stages: Mapping[str, float] | None = None) -> str:
    """Start an episode from a stage drawn by weight (default: always `home`); return its name."""
    weights = stages or {"home": 1.0}
    names, shares = list(weights), np.array(list(weights.values()))
    name = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    world.reset(seed=int(rng.integers(2**32)))
    STAGES[name](world, task, rng)
    return name


def require_stages(weights: Mapping[str, float]) -> None:
    """Check the weights of stages.

    Raises:
        UserError: an unknown stage, or weights that are no weights.
    """
    if not set(weights) <= set(STAGES) or min(weights.values(), default=0) < 0 or sum(weights.values()) <= 0:
        raise UserError(f"stages are {dict(weights)}; accepted is a weight of 0 or more for any of {', '.join(STAGES)}")


def _spread(world: World, task: SimTask, rng: np.random.Generator) -> tuple[float, float, float]:
    """Lay out the object and what it is to be put into; return the object's pose."""
    pose = task.cube.sample(rng)
    world.place_cube(*pose)
    if task.target is not None:
        world.place_target(*task.target.sample(rng))
    return pose


def _above(
    world: World,
    task: SimTask,
    rng: np.random.Generator,
    beside_m: tuple[float, float],
    height_m: tuple[float, float],
) -> None:
    x_m, y_m, _ = _spread(world, task, rng)
    distance_m, direction_rad = rng.uniform(*beside_m), rng.uniform(-np.pi, np.pi)
    hand_m = np.array([x_m + distance_m * np.cos(direction_rad), y_m + distance_m * np.sin(direction_rad), 0.0])
    hand_m[2] = rng.uniform(*height_m)
    hand_m = np.clip(hand_m, task.spec.workspace_low_m, task.spec.workspace_high_m)
    world.set_joints(_encoders(world, task, hand_m))


def _encoders(world: World, task: SimTask, hand_m: np.ndarray) -> np.ndarray:
    """Return the encoder angles [6] of an open hand that truly is at `hand_m` [3]."""
    return start_joints(task.spec, hand_m) + np.radians(world.profile.joint_offset_deg)
