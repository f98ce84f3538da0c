"""The simulated arm, clock and cameras: the same seams as the real ones, around one in-process World."""

from __future__ import annotations

from collections import Counter

import numpy as np

from data.spec import TaskSpec
from hilserl.loop.env import ArmEnv
from hilserl.robot.arm import JointLimits, JointReading
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD
from hilserl.robot.safety import Limit, clamp_joints, differ
from sim_pretrain.world.physics import World


class SimArm:
    """`hilserl.robot.arm.Arm` on a World."""

    limits = JointLimits(JOINT_LOW_RAD, JOINT_HIGH_RAD)

    def __init__(self, world: World) -> None:
        self._world = world
        self._holding = False
        self.hits: Counter[Limit] = Counter()

    def read(self) -> JointReading:
        """Return the encoder angles and the simulated time."""
        return JointReading(self._world.joint_positions(), self._world.time_s)

    def write(self, goal_rad: np.ndarray) -> np.ndarray:
        """Set the goals, clamped to the joint limits, and return them; ValueError when they are not finite."""
        goal = clamp_joints(goal_rad, self.limits)
        self._world.set_goals(goal)
        self.hits[Limit.JOINT] += differ(goal, goal_rad)
        self._holding = False
        return goal

    def hold(self) -> None:
        """Make the present pose the goal and switch torque on; again has no effect, or the arm would sag."""
        if not self._holding:
            self._world.set_goals(self._world.joint_positions())
            self._world.set_torque(np.ones(6, bool))
            self._holding = True

    def rest(self) -> None:
        """Stay at the last goal; nobody guards a simulated arm."""

    def release(self) -> None:
        """Switch every servo off."""
        self._world.set_torque(np.zeros(6, bool))
        self._holding = False

    def reconnect(self) -> None:
        """Hold; a simulated arm is never lost."""
        self.hold()

    def close(self) -> None:
        """Hold; the world outlives its arm."""
        self.hold()


class SimClock:
    """A clock that advances the world when somebody sleeps."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now_s(self) -> float:
        """Simulated time."""
        return self._world.time_s

    def sleep_until_s(self, time_s: float) -> None:
        """Run physics until `time_s`."""
        self._world.advance(max(0.0, time_s - self._world.time_s))


class SimFrames:
    """Rendered on demand, as the world was a profile's camera latency ago."""

    def __init__(self, world: World) -> None:
        self._world = world

    def read(self, name: str) -> tuple[np.ndarray, float]:
        """Return the frame that arrives now, and now: nobody knows from a frame how old it is."""
        return self._world.render(name, self._world.profile.camera_latency_s), self._world.time_s


def make_env(world: World, task: TaskSpec, cameras: tuple[str, ...] = ()) -> ArmEnv:
    """Return the environment of the real arm, around a World."""
    return ArmEnv(SimArm(world), SimFrames(world), SimClock(world), task, cameras)
