"""Joint-space demonstrations in the action space of a task: end-effector deltas by forward kinematics.

The commanded joint angles of the recording give the end-effector path that was asked for. At every control step the
action is what brings our command nearest to that path, within one step and within the leash, as on the live arm. So
what a step could not reach is made up for by the next, and what stays is the residual.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.errors import UserError
from data.spec import TaskSpec
from hilserl.loop.env import gripper_command, state_vector, steady_gripper
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, JOINTS, ee_position
from hilserl.robot.safety import safe_target
from hilserl.tasks import lift_task

JOINT_NAMES = tuple(f"{joint}.pos" for joint in JOINTS)  # LeRobot's names of the SO-101's actions and states


@dataclass(frozen=True)
class Residual:
    """What of a recorded motion the actions do not say."""

    error_m: np.ndarray  # [T] from the recorded to the recomputed command, after each step
    saturated: np.ndarray  # bool [T]: the recording moved faster than a step goes, or led by more than the leash
    outside: np.ndarray  # bool [T]: the recorded command is outside the workspace
    roll_off_rad: np.ndarray  # [T] of the wrist from the angle at which the task locks it

    def __str__(self) -> str:
        """One line for a person."""
        mean_mm, max_mm = 1e3 * self.error_m.mean(), 1e3 * self.error_m.max()
        roll_deg = np.rad2deg(self.roll_off_rad.max())
        return (
            f"residual {mean_mm:.1f} mm mean, {max_mm:.1f} mm max; {self.saturated.mean():.0%} of the steps saturated, "
            f"{self.outside.mean():.0%} outside the workspace, wrist rolled off by {roll_deg:.0f}°"
        )


def to_rad(values: np.ndarray) -> np.ndarray:
    """Return angles [..., 6] rad of LeRobot's SO-101 values: degrees, and 0 to 100 for the gripper's range."""
    angles = np.deg2rad(values)
    angles[..., 5] = JOINT_LOW_RAD[5] + (JOINT_HIGH_RAD[5] - JOINT_LOW_RAD[5]) * values[..., 5] / 100.0
    return angles


def sample_rows(last: int, fps: float, rate_hz: float) -> np.ndarray:
    """Return the frames nearest to the ticks of a control rate, rising, int64 [T+1].

    The grid is laid from the frame `last` backwards: how an episode ends decides its reward. At an integer ratio the
    frames are evenly spaced; otherwise each is off by at most half a frame.

    Raises:
        UserError: there are fewer frames than ticks.
    """
    if fps < rate_hz:
        raise UserError(
            f"the dataset has {fps:g} frames/s, the task runs at {rate_hz:g} Hz: frames would have to be invented.\n"
            "Name a slower task with --task=SPEC.json, or record at a higher rate."
        )
    ticks = int(last * rate_hz / fps + 1e-9)
    return np.rint(last - np.arange(ticks, -1, -1) * fps / rate_hz).astype(np.int64)


def retarget(
    measured_rad: np.ndarray, commanded_rad: np.ndarray, stamp_s: np.ndarray, task: TaskSpec
) -> tuple[np.ndarray, np.ndarray, Residual]:
    """Return the state and the executed actions of a recorded motion.

    Args:
        measured_rad: [T+1, 6] joint angles at each observation.
        commanded_rad: [T, 6] joint goals in force at observation 1 to T.
        stamp_s: [T+1] rising.
        task: whose action space and state; its state has to be that of the lift task.

    Returns:
        state float32 [T+1, D], executed float32 [T, 4] in [-1, 1], and what they do not say.
    """
    require_known_state(task)
    spec = task.action
    no_limit = np.full(3, np.inf)
    wanted = np.array([ee_position(q) for q in commanded_rad])
    target = ee_position(measured_rad[0])
    action = np.array([0.0, 0.0, 0.0, gripper_command(measured_rad[0, 5], spec)], np.float32)
    states = [state_vector(measured_rad[0], measured_rad[0], 0.0, target, action)]
    executed, error_m, saturated = [], [], []
    for k, goal in enumerate(wanted):
        asked = np.clip((goal - target) / spec.step_m, -1.0, 1.0)
        # Not clamped to the workspace: an arm that moved outside it would seem to have moved by itself.
        target, delta, _ = safe_target(
            target,
            asked * spec.step_m,
            ee_position(measured_rad[k]),
            low_m=-no_limit,
            high_m=no_limit,
            leash_m=spec.leash_m,
        )
        gripper = steady_gripper(gripper_command(commanded_rad[k, 5], spec), float(action[3]))
        action = np.array([*delta / spec.step_m, gripper], np.float32)
        elapsed_s = float(stamp_s[k + 1] - stamp_s[k])
        states.append(state_vector(measured_rad[k + 1], measured_rad[k], elapsed_s, target, action))
        executed.append(action)
        error_m.append(float(np.linalg.norm(goal - target)))
        saturated.append(bool(np.abs(goal - target).max() > 1e-6))
    low_m, high_m = np.array(task.workspace_low_m), np.array(task.workspace_high_m)
    residual = Residual(
        error_m=np.array(error_m),
        saturated=np.array(saturated),
        outside=np.any((wanted < low_m) | (wanted > high_m), axis=1),
        roll_off_rad=np.abs(commanded_rad[:, 4] - task.wrist_roll_rad),
    )
    return np.stack(states), np.stack(executed).clip(-1, 1), residual


def require_known_state(task: TaskSpec) -> None:
    """Raise `UserError` unless the state vector of `task` can be computed from joint angles and commands."""
    known, found = ([(f.name, f.size) for f in t.observation.state] for t in (lift_task(), task))
    if found != known:
        raise UserError(
            f"the state of task {task.name} cannot be computed from joint angles: it is {found}; accepted is {known}.\n"
            "Import into a run of such a task, or leave --task out."
        )
