"""What stands between any command and motion: pure functions, without state, on positions and joint angles.

A limit only ever takes away from a command. From outside a limit (the box was edited, somebody pushed the
arm) motion back inwards is allowed at the speed that was asked for, motion further out is not, and nothing
moves by itself.
"""

from __future__ import annotations

import numpy as np

from hilserl.robot.joints import JointLimits


def finite(x: np.ndarray, what: str) -> np.ndarray:
    """Return `x` as an array.

    Raises:
        ValueError: an element is NaN or infinite; `what` names the quantity.
    """
    array = np.asarray(x)
    if not np.isfinite(array).all():
        raise ValueError(f"{what} is {array}; accepted are finite numbers only, so nothing was sent to the arm")
    return array


def clamp_box(p_m: np.ndarray, low_m: np.ndarray, high_m: np.ndarray) -> np.ndarray:
    """Return the point [3] of the box nearest to `p_m` [3]; ValueError when `p_m` is not finite."""
    return np.clip(finite(p_m, "position"), low_m, high_m)


def leash(target_m: np.ndarray, measured_m: np.ndarray, max_m: float) -> np.ndarray:
    """Return the point [3] nearest to `target_m` [3] that is within `max_m` of `measured_m` on each axis.

    Axis by axis, so that a hand pressed against the table can still be pulled along it.
    """
    measured = finite(measured_m, "measured position")
    return np.clip(finite(target_m, "target"), measured - max_m, measured + max_m)


def clamp_joints(goal_rad: np.ndarray, limits: JointLimits) -> np.ndarray:
    """Return `goal_rad` [6] within the limits; ValueError when it is not finite."""
    return np.clip(finite(goal_rad, "joint goal"), limits.low_rad, limits.high_rad)


def limit_step(previous: np.ndarray, goal: np.ndarray, max_step: np.ndarray | float) -> np.ndarray:
    """Return `goal`, each element at most `max_step` away from `previous`.

    Element by element: a jaw that closes must not slow the arm down.
    """
    return np.clip(finite(goal, "goal"), previous - max_step, previous + max_step)


def safe_target(
    previous_target_m: np.ndarray,
    delta_m: np.ndarray,
    measured_m: np.ndarray,
    *,
    low_m: np.ndarray,
    high_m: np.ndarray,
    leash_m: float,
) -> tuple[np.ndarray, np.ndarray, bool]:
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
        target [3] m, executed delta [3] m, and whether a limit took something away.

    Raises:
        ValueError: an argument is not finite.
    """
    previous, measured = finite(previous_target_m, "target"), finite(measured_m, "measured position")
    wanted = previous + finite(delta_m, "end-effector delta")
    # Each bound is widened to where the command already is: from outside, any way but further out is free.
    target = np.clip(wanted, np.minimum(low_m, previous), np.maximum(high_m, previous))
    near, far = measured - leash_m, measured + leash_m
    target = np.clip(target, np.minimum(near, previous), np.maximum(far, previous))
    limited = bool(np.abs(target - wanted).max() > 1e-9)
    # Subtraction can round past the request.
    executed = np.clip(target - previous, -np.abs(delta_m), np.abs(delta_m))
    return target, executed, limited
