"""The leader's motion in the policy's action space, relative to where it was taken over. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from teleop.inputs import Follower

STILL_M = 0.001  # the encoders' noise and a hand's tremor are no motion
STILL_GRIPPER = 0.05  # of the command's 2 units


@dataclass(frozen=True)
class Anchor:
    """The two poses that belong together from the take-over on, however far apart they are."""

    leader_m: np.ndarray  # [3] the leader's end effector
    trigger_rad: float  # its gripper joint
    target_m: np.ndarray  # [3] the arm's commanded end effector
    gripper: float  # the arm's last executed gripper command


def relative_action(
    anchor: Anchor, leader_m: np.ndarray, trigger_rad: float, follower: Follower
) -> tuple[np.ndarray, float]:
    """Return the move float32 [3] in [-1, 1] and the gripper command that bring the arm where the leader points.

    What is asked is a place, not a speed: asking again before the arm has moved gives the same, a leader that is
    faster than the arm is caught up with on a straight line, and one that stands still stops the arm.
    """
    action = follower.action
    away_m = anchor.target_m + (leader_m - anchor.leader_m) - follower.target_m
    steps = np.zeros(3) if np.abs(away_m).max() < STILL_M else away_m / action.step_m
    span_rad = action.gripper_open_rad - action.gripper_closed_rad
    gripper = float(np.clip(anchor.gripper + 2 * (trigger_rad - anchor.trigger_rad) / span_rad, -1, 1))
    if abs(gripper - follower.gripper) < STILL_GRIPPER:
        gripper = follower.gripper
    return (steps / max(1.0, np.abs(steps).max())).astype(np.float32), gripper
