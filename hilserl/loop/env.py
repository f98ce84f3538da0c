"""The world as the policy meets it: observe, act for one tick, reset. Real, emulated and simulated arms alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from data.images import preprocess
from data.schema import Observation
from data.spec import ActionSpec, TaskSpec
from hilserl.robot.arm import Arm
from hilserl.robot.clock import Clock
from hilserl.robot.collision import ArmShape
from hilserl.robot.kinematics import ee_position, inverse
from hilserl.robot.motion import MotionResult, move, park
from hilserl.robot.safety import Limit, finite, safe_target
from teleop.inputs import Follower

UNREACHABLE_M = 0.005  # IK that ends further away than this moves nothing
GRIPPER_PLAY = 0.05  # of a command in [-1, 1]: a hand or a trigger that trembles moves nothing
CLAMPED_RAD = 1e-3  # a goal that the arm changed by more than this was clamped


class Frames(Protocol):
    """Where camera frames come from."""

    def read(self, name: str) -> tuple[np.ndarray, float]:
        """Return the newest native frame, uint8 [H, W, 3] RGB, and its stamp [s]."""


@dataclass(frozen=True)
class Step:
    """What one tick did."""

    executed: np.ndarray  # float32 [A], after safety, in the space of the policy; what is recorded
    achieved: np.ndarray  # float32 [A], what the measured joints did meanwhile, in the same space
    observation: Observation  # one control period later
    limited: bool  # a safety limit changed what was executed
    hits: Counter[Limit]  # how often each limit took something away on the way, from the command or from a joint goal


class ArmEnv:
    """One arm, its cameras and a task's action and observation spec. Holds no reward and no policy.

    The commanded end effector is integrated from the executed deltas and leashed to the measured one, so that
    a blocked arm never winds up; the lead between the two is part of the observation.
    """

    def __init__(
        self,
        arm: Arm,
        frames: Frames,
        clock: Clock,
        task: TaskSpec,
        cameras: tuple[str, ...] = (),
        keep_native: bool = False,
    ) -> None:
        self.arm, self.frames, self.clock, self.task = arm, frames, clock, task
        self._keep_native = keep_native  # observations hold the whole camera frames, too
        wanted = cameras or tuple(c.name for c in task.observation.cameras)
        self._cameras = [c for c in task.observation.cameras if c.name in wanted]
        self._period_s = 1.0 / task.rate_hz
        self.begin()

    def begin(self) -> Observation:
        """Anchor the command to the measured pose, forget the past, and return the first observation."""
        self._joints = self._previous = self.arm.read().positions_rad
        self._read_s = self._previous_s = self.clock.now_s()
        self._goal = self._sent = self._joints.copy()
        self._target = ee_position(self._goal)
        self._action = np.array([0.0, 0.0, 0.0, gripper_command(self._goal[5], self.task.action)], np.float32)
        self._tick_s = self.clock.now_s()
        return self._observation()

    def step(self, action: np.ndarray, revise: Callable[[], np.ndarray | None] = lambda: None) -> Step:
        """Execute `action` [4] for one control period and observe.

        Args:
            action: end-effector delta and gripper command, each in [-1, 1].
            revise: asked after each goal that goes to the arm; another action [4] takes over what is left of the
                period, and None goes on. What is executed is the sum.

        Raises:
            ValueError: the action is not finite.
            ArmFault, CameraFault: the hardware did not answer; the arm holds its last goal.
        """
        spec, inner = self.task.action, self.task.inner_steps
        measured, before, joint_hits = ee_position(self._joints), self._target, self.arm.hits.copy()
        left, bits, clamped = inner, Counter[Limit](), False
        while left:
            asked = np.clip(finite(action, "action"), -1.0, 1.0).astype(np.float64)
            target, goal, bit = self._next(asked, left / inner, measured)
            from_target, from_goal = self._target, self._goal
            for k in range(1, left + 1):
                self._target = from_target + (target - from_target) * (k / left)
                self._goal = from_goal + (goal - from_goal) * (k / left)
                self._sent = sent = self.arm.write(self._goal)
                self.clock.sleep_until_s(self._tick_s + self._period_s * (inner - left + k) / inner)
                if (revised := revise()) is not None:
                    # What the arm's own limits have kept back until now is not made up for.
                    self._goal, self._target = sent.copy(), ee_position(sent)
                    action = revised
                    break
            left -= k
            if np.abs(sent - self._goal)[:5].max() > CLAMPED_RAD:  # by the arm's own limits: that is what was executed
                self._goal = np.append(sent[:5], self._goal[5])
                self._target, clamped = ee_position(self._goal), True
            bits.update(bit)
        now_s = self.clock.now_s()
        # A late tick shifts the grid instead of being made up for by a rushed one.
        self._tick_s = max(self._tick_s + self._period_s, now_s - 0.2 * self._period_s)
        moved = np.clip((self._target - before) / spec.step_m, -1, 1)
        self._action = np.array([*moved, gripper_command(self._goal[5], spec)], np.float32)
        self._previous, self._previous_s = self._joints, self._read_s
        # Stamped here, not by the arm: on a fast-running rig only this clock counts in the arm's own seconds.
        self._joints, self._read_s = self.arm.read().positions_rad, self.clock.now_s()
        moved_m = ee_position(self._joints) - measured
        achieved = np.array([*moved_m / spec.step_m, gripper_command(self._joints[5], spec)], np.float32)
        return Step(
            self._action, achieved, self._observation(), clamped or bool(bits), bits + (self.arm.hits - joint_hits)
        )

    def _next(
        self, asked: np.ndarray, share: float, measured_m: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, tuple[Limit, ...]]:
        """Return where a share of an action [4] leads: target [3] m, joint goal [6] rad, and the limits that bit."""
        target, _, bit = safe_target(
            self._target,
            asked[:3] * self.task.action.step_m * share,
            measured_m,
            low_m=np.array(self.task.workspace_low_m),
            high_m=np.array(self.task.workspace_high_m),
            leash_m=self.task.action.leash_m,
        )
        arm = inverse(target, self._goal, wrist_roll_rad=self.task.wrist_roll_rad)
        if np.linalg.norm(ee_position(arm) - target) > UNREACHABLE_M:
            # Where it ended instead may be below the table, or on the other side of what was asked.
            target, arm, bit = self._target, self._goal[:5], (Limit.REACH,)
        return target, np.append(arm, self._gripper_rad(float(asked[3]))), bit

    def move_to_start(self, start_m: np.ndarray, should_stop: Callable[[], bool]) -> MotionResult:
        """Planned, checked, speed-limited motion to a start pose, end effector at `start_m` [3]; verified."""
        result = move(
            self.arm,
            self.clock,
            start_joints(self.task, start_m),
            max_speed_rad_s=1.5,
            shape=self._shape,
            should_stop=should_stop,
            rate_hz=self.task.rate_hz * self.task.inner_steps,
        )
        self._joints = self.arm.read().positions_rad
        return result

    def park(self, should_stop: Callable[[], bool]) -> MotionResult:
        """Fold the arm slowly, by a planned and checked motion."""
        result = park(self.arm, self.clock, self._shape, should_stop, self.task.rate_hz * self.task.inner_steps)
        self._joints = self.arm.read().positions_rad
        return result

    def follower(self, *, human: bool) -> Follower:
        """Return the arm, as last measured, for a device that moves along with it."""
        limits = np.stack([self.arm.limits.low_rad, self.arm.limits.high_rad])
        return Follower(self._joints, limits, self._target, float(self._action[3]), self.task.action, human)

    @cached_property
    def _shape(self) -> ArmShape:
        return ArmShape()

    def hold_action(self) -> np.ndarray:
        """Return the action [4] that moves nothing and keeps the gripper where it was last told to be."""
        return np.array([0.0, 0.0, 0.0, gripper_command(self._sent[5], self.task.action)], np.float32)

    def _observation(self) -> Observation:
        native = {c.name: self.frames.read(c.name)[0] for c in self._cameras}
        images = {c.name: preprocess(native[c.name], c) for c in self._cameras}
        elapsed_s = self._read_s - self._previous_s
        state = state_vector(self._joints, self._previous, elapsed_s, self._target, self._action)
        return Observation(images, state, self._read_s, native if self._keep_native else {})

    def _gripper_rad(self, command: float) -> float:
        spec = self.task.action
        return spec.gripper_closed_rad + (spec.gripper_open_rad - spec.gripper_closed_rad) * (command + 1) / 2


def gripper_command(angle_rad: float, spec: ActionSpec) -> float:
    """Return the command in [-1, 1], closed to open, whose goal is this gripper angle [rad]."""
    span = spec.gripper_open_rad - spec.gripper_closed_rad
    return float(np.clip(2 * (angle_rad - spec.gripper_closed_rad) / span - 1, -1, 1))


def steady_gripper(command: float, held: float) -> float:
    """Return the gripper command with hysteresis: what is within GRIPPER_PLAY of the one that is held is the same."""
    return held if abs(command - held) < GRIPPER_PLAY and abs(command) < 1 else command


def state_vector(
    joints_rad: np.ndarray,
    previous_rad: np.ndarray,
    elapsed_s: float,
    target_m: np.ndarray,
    action: np.ndarray,
) -> np.ndarray:
    """Return the state float32 [22] in the order of `lift_task().observation.state`.

    Everything in it is measured on the bus or was commanded by us; no other source may be added.
    """
    velocity = (joints_rad - previous_rad) / elapsed_s if elapsed_s > 0 else np.zeros(6)
    ee = ee_position(joints_rad)
    return np.concatenate((joints_rad, velocity, ee, target_m - ee, action)).astype(np.float32)


def start_joints(task: TaskSpec, start_m: np.ndarray) -> np.ndarray:
    """Return the six joint angles [rad] of a start pose: end effector at `start_m` [3], gripper open."""
    home = np.array([0.0, -0.2, 0.05, 1.6, task.wrist_roll_rad])
    arm = inverse(start_m, home, wrist_roll_rad=task.wrist_roll_rad, iterations=20)
    return np.array([*arm, task.action.gripper_open_rad])


def sample_start(task: TaskSpec, rng: np.random.Generator) -> np.ndarray:
    """Draw a start position [3] [m], independent of the object."""
    return rng.uniform(task.start_low_m, task.start_high_m)
