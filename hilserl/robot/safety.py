"""What stands between any command and motion: pure functions, without state, on positions and joint angles.

A limit only ever takes away from a command. From outside a limit (the box was edited, somebody pushed the
arm) motion back inwards is allowed at the speed that was asked for, motion further out is not, and nothing
moves by itself. None of them can be switched off by a flag.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from hilserl.robot.joints import JointLimits


class Limit(StrEnum):
    """What can hold a command back; each has a counter in the notes of an episode."""

    JOINT = "joint"  # the calibrated range
    SPEED = "speed"
    ACCELERATION = "acceleration"
    GRIP = "grip"  # the jaw's motor draws as much current as it may
    WORKSPACE = "workspace"  # the box; its floor is the table plane
    LEASH = "leash"  # the command is as far ahead of the measured hand as it may be
    REACH = "reach"  # no joint angles lead there


def finite(x: np.ndarray, what: str) -> np.ndarray:
    """Return `x` as an array.

    Raises:
        ValueError: an element is NaN or infinite; `what` names the quantity.
    """
    array = np.asarray(x)
    if not np.isfinite(array).all():
        raise ValueError(f"{what} is {array}; accepted are finite numbers only, so nothing was sent to the arm")
    return array


def clamp_joints(goal_rad: np.ndarray, limits: JointLimits) -> np.ndarray:
    """Return `goal_rad` [6] within the limits; ValueError when it is not finite."""
    return np.clip(finite(goal_rad, "joint goal"), limits.low_rad, limits.high_rad)


def limit_step(previous: np.ndarray, goal: np.ndarray, max_step: np.ndarray | float) -> np.ndarray:
    """Return `goal`, each element at most `max_step` away from `previous`.

    Element by element: a jaw that closes must not slow the arm down.
    """
    return np.clip(finite(goal, "goal"), previous - max_step, previous + max_step)


def limit_change(step: np.ndarray, previous_step: np.ndarray, max_change: np.ndarray | float) -> np.ndarray:
    """Return `step`, each element at most `max_change` faster than `previous_step`: an acceleration limit.

    Slowing down is never limited, or an arm that is told to stay would run on past where it was told to stay.
    """
    low, high = np.minimum(previous_step, 0.0) - max_change, np.maximum(previous_step, 0.0) + max_change
    return np.clip(step, low, high)


def grip_range(
    goal_rad: float, measured_rad: float, current_a: float, max_current_a: float, now: tuple[float, float]
) -> tuple[float, float]:
    """Return the jaw goals [rad] (lowest, highest) that are accepted after a reading of the jaw's current.

    A position servo pulls in proportion to how far its goal is ahead; so a goal that draws too much is brought back by
    the share that is too much, and the jaw goes no further that way. The range is free again when the current has
    fallen to half: the object was let go, or slipped. Opening what is closed, and closing what is open, is always free.
    """
    lead_rad = goal_rad - measured_rad
    if current_a > max_current_a:
        stop_rad = measured_rad + lead_rad * max_current_a / current_a
        return (stop_rad, np.inf) if lead_rad < 0 else (-np.inf, stop_rad)
    return now if current_a > max_current_a / 2 else (-np.inf, np.inf)


def safe_target(
    previous_target_m: np.ndarray,
    delta_m: np.ndarray,
    measured_m: np.ndarray,
    *,
    low_m: np.ndarray,
    high_m: np.ndarray,
    leash_m: float,
) -> tuple[np.ndarray, np.ndarray, tuple[Limit, ...]]:
    """Move the commanded position by as much of `delta_m` as workspace and leash allow.

    Each coordinate of the executed delta lies between zero and what was asked for, so a request in the action
    space stays in it, and a blocked arm still slides along the obstacle. The leash keeps the command near the
    arm, so that a blocked arm does not wind up and jump when it comes free.

    Args:
        previous_target_m: [3] last commanded end-effector position, base frame.
        delta_m: [3] requested motion.
        measured_m: [3] end effector by forward kinematics of the measured joints.
        low_m: [3] workspace corner; its z is the table plane.
        high_m: [3] workspace corner.
        leash_m: largest distance of the command from the measured position, on each axis.

    Returns:
        target [3] m, executed delta [3] m, and the limits that took something away.

    Raises:
        ValueError: an argument is not finite.
    """
    previous, measured = finite(previous_target_m, "target"), finite(measured_m, "measured position")
    wanted = previous + finite(delta_m, "end-effector delta")
    # Each bound is widened to where the command already is: from outside, any way but further out is free.
    boxed = np.clip(wanted, np.minimum(low_m, previous), np.maximum(high_m, previous))
    near, far = measured - leash_m, measured + leash_m
    target = np.clip(boxed, np.minimum(near, previous), np.maximum(far, previous))
    bit = {Limit.WORKSPACE: differ(boxed, wanted), Limit.LEASH: differ(target, boxed)}
    # Subtraction can round past the request.
    executed = np.clip(target - previous, -np.abs(delta_m), np.abs(delta_m))
    return target, executed, tuple(limit for limit, taken in bit.items() if taken)


def differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a limit made `b` into `a`: more than rounding."""
    return bool(np.abs(a - b).max() > 1e-9)
