"""The way from pose to pose: clear of table and arm, speed-limited, known whole before anything moves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from data.errors import UserError
from hilserl.robot.arm import JOINTS
from hilserl.robot.collision import ArmShape
from hilserl.robot.joints import JointLimits
from hilserl.robot.safety import finite

CLEAR_M = 0.015  # a path keeps this far from table and self, but for its ends
MAX_ACCELERATION_RAD_S2 = 20.0
_RAISED_RAD = np.array([-1.0, 0.3, 1.3])  # lift, elbow and wrist of a pose that is far from table and self
_LIFT_JOINTS = (1, 2, 3)  # these raise the hand without turning it sideways
_CLEARANCES_M = (0.01, 0.03, 0.06)
_DIP_M = 0.003  # a path may pass this much nearer than its nearer end
_SAMPLE_RAD = 0.03


class MotionRefused(UserError, ValueError):
    """There is no safe plan; nothing moved."""


def plan(q_from: np.ndarray, q_to: np.ndarray, max_speed_rad_s: float, rate_hz: float) -> np.ndarray:
    """Interpolate between two poses with minimum jerk; all joints start and arrive together, no faster than they may.

    Flash and Hogan, "The coordination of arm movements", 1985.

    Returns:
        Goals [N, 6] rad, N ≥ 1, one per 1/rate_hz; the start is left out and the last is `q_to`.

    Raises:
        ValueError: a pose is not finite, or speed or rate is not positive.
    """
    start, end = finite(q_from, "start pose"), finite(q_to, "target pose")
    if not (max_speed_rad_s > 0 and rate_hz > 0):
        raise ValueError(f"speed is {max_speed_rad_s} rad/s at {rate_hz} Hz; accepted are positive numbers")
    far_rad = float(np.abs(end - start).max())
    # The peak speed is 15/8 of the mean, the peak acceleration 10/√3 of the distance per squared duration.
    duration_s = max(1.875 * far_rad / max_speed_rad_s, np.sqrt(5.774 * far_rad / MAX_ACCELERATION_RAD_S2))
    count = max(1, int(np.ceil(duration_s * rate_hz)))
    t = np.arange(1, count + 1)[:, None] / count
    goals = start + (end - start) * (t**3 * (10 - 15 * t + 6 * t**2))
    goals[-1] = end
    return goals


def route(
    q_from: np.ndarray, q_to: np.ndarray, limits: JointLimits, shape: ArmShape | None = None, clear_m: float = CLEAR_M
) -> list[np.ndarray]:
    """Return the waypoints after `q_from`: straight when that is clear, else by way of raised poses.

    An end of the path may itself be nearer to table or self than `clear_m`; the way to and from it leads away then.

    Raises:
        MotionRefused: the target is outside the joint limits or in collision, or no path is clear.
    """
    outside = (finite(q_to, "target pose") < limits.low_rad - 1e-6) | (q_to > limits.high_rad + 1e-6)
    if outside.any():
        names = ", ".join(
            f"{JOINTS[i]} {q_to[i]:.3f} (accepted {limits.low_rad[i]:.3f}..{limits.high_rad[i]:.3f})"
            for i in np.flatnonzero(outside)
        )
        raise MotionRefused(
            f"target pose is outside the calibrated joint limits [rad]: {names}. Choose another pose, or "
            "calibrate the arm over its whole range with: lerobot-calibrate"
        )
    if shape is None:
        return [q_to]
    if shape.clearance_m(q_to) < 0:
        raise MotionRefused(
            f"at the target pose {shape.nearest(q_to)} would touch; nothing moved. Choose another pose: for a reset "
            "change start_low_m and start_high_m in the task's spec"
        )
    if _clearance_m(q_from, q_to, shape) >= clear_m:
        return [q_to]
    for more_m in _CLEARANCES_M:
        up, down = (_lift(q, shape, clear_m + more_m, limits) for q in (q_from, q_to))
        for over in ([], [_raised(up), _raised(down)]):
            ends_m = [min(clear_m, shape.clearance_m(q)) - _DIP_M for q in (q_from, q_to)]
            between = [(q, clear_m) for q in (up, *over, down)]
            path = [(q_from, ends_m[0]), *between, (q_to, ends_m[1])]
            if all(_clearance_m(a, b, shape) >= min(m, n) for (a, m), (b, n) in pairwise(path)):
                return [q for q, _ in path[1:]]
    raise MotionRefused(
        f"no path to the target keeps {1e3 * clear_m:.0f} mm away from table and arm; now {shape.nearest(q_from)} are "
        f"{1e3 * shape.clearance_m(q_from):.0f} mm apart. Nothing moved. Bring the arm to a raised pose, slowly with "
        "hilserl jog or by hand (hilserl unlock makes it limp), then start again"
    )


def _raised(q: np.ndarray) -> np.ndarray:
    """Return the pose high above the table in the direction in which `q` points."""
    return np.array([q[0], *_RAISED_RAD, *q[4:]])


def _clearance_m(q_from: np.ndarray, q_to: np.ndarray, shape: ArmShape) -> float:
    """Return the smallest clearance on the straight joint path, both ends included."""
    count = max(2, int(np.ceil(np.abs(q_to - q_from).max() / _SAMPLE_RAD)) + 1)
    return min(shape.clearance_m(q_from + (q_to - q_from) * t) for t in np.linspace(0.0, 1.0, count))


def _lift(q: np.ndarray, shape: ArmShape, clear_m: float, limits: JointLimits) -> np.ndarray:
    """Return a pose near `q` with this clearance, or with as much as it gets, by gradient ascent."""
    lifted = q.astype(np.float64).copy()
    for _ in range(100):
        missing_m = clear_m - shape.clearance_m(lifted)
        if missing_m <= 0:
            break
        slope = np.zeros(6)
        for i in _LIFT_JOINTS:
            nudge = np.zeros(6)
            nudge[i] = 1e-4
            slope[i] = (shape.clearance_m(lifted + nudge) - shape.clearance_m(lifted - nudge)) / 2e-4
        step = slope * (min(missing_m + 1e-4, 0.01) / max(float(slope @ slope), 1e-4))
        moved = np.clip(lifted + step, np.minimum(limits.low_rad, q), np.maximum(limits.high_rad, q))
        if np.abs(moved - lifted).max() < 1e-6:
            break
        lifted = moved
    return lifted
