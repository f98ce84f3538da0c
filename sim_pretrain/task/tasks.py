"""The tasks of the simulation: what lies on the table, where, and what counts as done or lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from data.errors import UserError
from data.spec import TaskSpec
from hilserl.tasks import bowl_task, lift_task, paper_task
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.scene import BOWL_HEIGHT_M, BOWL_RADIUS_M, PAPER_HALF_M, Prop
from sim_pretrain.world.truth import TaskState, Truth

LIFT_HEIGHT_M = 0.08  # of the cube's centre
REACH_LOW_M, REACH_HIGH_M = (0.13, -0.13), (0.33, 0.13)  # a cube outside this rectangle is lost
STILL_M_S = 0.03  # slower than this, a released cube lies
GRIPPER_OPEN = 0.3  # commands above this count as open


TRAINING = WorldProfile(native_width_px=112, native_height_px=84)  # the policy's crop of it needs no resizing


@dataclass(frozen=True)
class Spawn:
    """Where something is placed: uniformly in a rectangle, turned by up to `yaw_rad` either way."""

    low_m: tuple[float, float]
    high_m: tuple[float, float]
    yaw_rad: float = 0.0

    def sample(self, rng: np.random.Generator) -> tuple[float, float, float]:
        """Draw x, y [m] and yaw [rad]."""
        x, y = rng.uniform(self.low_m, self.high_m)
        return float(x), float(y), float(rng.uniform(-self.yaw_rad, self.yaw_rad))


@dataclass(frozen=True)
class SimTask:
    """A task spec and the table that it is trained on."""

    spec: TaskSpec
    reached: Callable[[Truth], bool]  # the goal, at one instant
    hold_s: float  # success: the goal is reached for this long without a break
    cube: Spawn
    prop: Prop | None = None
    target: Spawn | None = None  # where the prop is placed
    profile: WorldProfile = TRAINING

    def lost(self, truth: Truth) -> bool:
        """Whether the cube fell off the table or lies where the arm does not reach."""
        inside = all(lo <= c <= hi for lo, c, hi in zip(REACH_LOW_M, truth.cube_m[:2], REACH_HIGH_M, strict=True))
        return not truth.grasped and not (inside and truth.cube_m[2] > 0.0)

    @property
    def name(self) -> str:
        """Name of the task, as in its spec."""
        return self.spec.name


def lifted(truth: Truth) -> bool:
    """Whether both pads hold the cube up."""
    return truth.grasped and truth.cube_m[2] > LIFT_HEIGHT_M


def in_bowl(truth: Truth) -> bool:
    """Whether the cube lies in the bowl and nothing holds it."""
    return _released(truth) and _beside_m(truth) < BOWL_RADIUS_M and truth.cube_m[2] < BOWL_HEIGHT_M


def on_paper(truth: Truth) -> bool:
    """Whether the cube lies flat on the paper, its centre well inside, and nothing holds it."""
    flat = truth.cube_m[2] < truth.cube_half_m + 0.004 and truth.cube_tilt_rad < 0.2
    return _released(truth) and flat and _beside_m(truth) < PAPER_HALF_M - 0.01


TASKS = {
    t.name: t
    for t in (
        SimTask(lift_task(), lifted, hold_s=0.3, cube=Spawn((0.18, -0.05), (0.28, 0.05), 0.5)),
        SimTask(
            bowl_task(),
            in_bowl,
            hold_s=0.3,
            cube=Spawn((0.19, -0.10), (0.27, -0.035), 0.5),
            prop="bowl",
            target=Spawn((0.19, 0.06), (0.27, 0.10)),
        ),
        SimTask(
            paper_task(),
            on_paper,
            hold_s=0.3,
            cube=Spawn((0.19, -0.10), (0.27, -0.035), 0.5),
            prop="paper",
            target=Spawn((0.19, 0.06), (0.27, 0.10), 0.5),
            profile=replace(TRAINING, cube_rgb=(0.10, 0.60, 0.15)),
        ),
    )
}


def find_task(name: str) -> SimTask:
    """Return the task of this name.

    Raises:
        UserError: there is none; the message lists those that exist.
    """
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}; accepted are {', '.join(TASKS)}")
    return TASKS[name]


class Referee:
    """Follows one episode: adds to each truth what happened before, and tells success and loss."""

    def __init__(self, task: SimTask, first: Truth, first_action: np.ndarray) -> None:
        self._task = task
        self._before, self._action = first, tuple(float(a) for a in first_action)
        self._held_s, self._open_steps = 0.0, 0

    def look(self, truth: Truth, action: np.ndarray, dt_s: float) -> TaskState:
        """Return the state after a step of `dt_s` that executed `action` [A] and ended in `truth`."""
        reached = self._task.reached(truth)
        self._held_s = self._held_s + dt_s if reached and self._task.reached(self._before) else 0.0
        self._open_steps = self._open_steps + 1 if action[3] > GRIPPER_OPEN else 0
        taken = tuple(float(a) for a in action)
        state = TaskState(
            **vars(truth),
            action=taken,
            previous_action=self._action,
            was_grasped=self._before.grasped,
            before=self._before,
            open_steps=self._open_steps,
            held_s=self._held_s,
            hold_s=self._task.hold_s,
            success=self._held_s >= self._task.hold_s - 1e-6,
            lost=self._task.lost(truth),
        )
        self._before, self._action = truth, taken
        return state


def _released(truth: Truth) -> bool:
    return not (truth.static_touch or truth.moving_touch) and truth.cube_speed_m_s < STILL_M_S


def _beside_m(truth: Truth) -> float:
    """Horizontal distance of the cube from the target."""
    if truth.target_m is None:
        raise ValueError("this goal needs a bowl or a paper on the table, and there is none")
    return float(np.hypot(truth.cube_m[0] - truth.target_m[0], truth.cube_m[1] - truth.target_m[1]))
