"""Planned motion to a joint pose, for reset and park: speed-limited, height-checked, verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data.errors import UserError
from hilserl.robot.arm import JOINTS, Arm
from hilserl.robot.clock import Clock
from hilserl.robot.joints import JointLimits
from hilserl.robot.safety import finite

BODY = slice(0, 5)  # the gripper may rightly be stopped by what it holds
MAX_LAG_RAD = 0.5  # a joint that is further behind its goal is blocked
_LIFT_JOINTS = (1, 2)  # shoulder_lift and elbow_flex raise the hand without turning it sideways
_CLEARANCES_M = (0.02, 0.04, 0.07, 0.1)
_DIP_M = 0.003  # a path may pass this much below its lower end
_TRIM_GAIN, _MAX_TRIM_RAD = 0.1, 0.15
_STILL_READS = 3


class MotionRefused(UserError, ValueError):
    """There is no safe plan; nothing moved."""


@dataclass(frozen=True)
class MotionResult:
    """How a planned motion ended. Unless `reached`, the arm holds where it is."""

    reached: bool  # every body joint within tolerance, by measurement
    error_rad: float  # largest body joint error at the end
    stopped: bool = False  # `should_stop` said so
    limited: bool = False  # the arm clamped a goal of the plan
    reason: str = ""  # why it was not reached


def plan(q_from: np.ndarray, q_to: np.ndarray, max_speed_rad_s: float, rate_hz: float) -> np.ndarray:
    """Interpolate between two poses with minimum jerk; all joints start and arrive together.

    Flash and Hogan, "The coordination of arm movements", 1985.

    Returns:
        Goals [N, 6] rad, N ≥ 1, one per 1/rate_hz; the start is left out and the last is `q_to`.

    Raises:
        ValueError: a pose is not finite, or speed or rate is not positive.
    """
    start, end = finite(q_from, "start pose"), finite(q_to, "target pose")
    if not (max_speed_rad_s > 0 and rate_hz > 0):
        raise ValueError(f"speed is {max_speed_rad_s} rad/s at {rate_hz} Hz; accepted are positive numbers")
    duration_s = 1.875 * float(np.abs(end - start).max()) / max_speed_rad_s  # peak speed is 15/8 of the mean
    count = max(1, int(np.ceil(duration_s * rate_hz)))
    t = np.arange(1, count + 1)[:, None] / count
    goals = start + (end - start) * (t**3 * (10 - 15 * t + 6 * t**2))
    goals[-1] = end
    return goals


def route(
    q_from: np.ndarray,
    q_to: np.ndarray,
    limits: JointLimits,
    height_m: Callable[[np.ndarray], float] | None = None,
    min_height_m: float | None = None,
) -> list[np.ndarray]:
    """Return the waypoints after `q_from`: straight when that stays high enough, else up, over and down.

    An end of the path may itself be below `min_height_m`; the way to and from it is then upright.

    Raises:
        MotionRefused: the target is outside the joint limits, or no path is high enough.
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
    if height_m is None or min_height_m is None:
        return [q_to]
    lowest = [_lowest(q_from, q_to, height_m)]
    if lowest[0] >= min_height_m:
        return [q_to]
    for clearance_m in _CLEARANCES_M:
        up = _lift(q_from, height_m, min_height_m + clearance_m, limits)
        down = _lift(q_to, height_m, min_height_m + clearance_m, limits)
        lowest.append(_lowest(up, down, height_m))
        clear = (
            lowest[-1] >= min_height_m
            and _lowest(q_from, up, height_m) >= min(height_m(q_from), min_height_m) - _DIP_M
            and _lowest(down, q_to, height_m) >= min(height_m(q_to), min_height_m) - _DIP_M
        )
        if clear:
            return [up, down, q_to]
    raise MotionRefused(
        f"no path to the target keeps {min_height_m:.3f} m above the table: straight it passes at "
        f"{lowest[0]:.3f} m, by way of raised poses at {max(lowest):.3f} m. Move the arm by hand to a raised "
        "pose (hilserl unlock makes it limp), then start again"
    )


def move(
    arm: Arm,
    clock: Clock,
    q_to: np.ndarray,
    *,
    max_speed_rad_s: float = 1.0,
    height_m: Callable[[np.ndarray], float] | None = None,
    min_height_m: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    tolerance_rad: float = 0.01,
    settle_s: float = 6.0,
    rate_hz: float = 50.0,
) -> MotionResult:
    """Drive the arm to `q_to` [6] rad and verify by measurement that it is there.

    After the planned path the goal is trimmed by what gravity takes away, until the measured joints are
    within tolerance or `settle_s` has passed.

    Args:
        arm: what moves.
        clock: what paces the writes.
        q_to: target pose [rad], within `arm.limits`.
        max_speed_rad_s: no joint is commanded faster.
        height_m: height [m] above the table of the lowest point, of a pose; None: no height check.
        min_height_m: see `route`.
        should_stop: asked before each write; True makes the arm hold.
        tolerance_rad: for each body joint; 0.01 rad is 3 mm at the hand.
        settle_s: time for the trim; it ends as soon as the arm rests within tolerance.
        rate_hz: writes per second; the arm's `write_period_s` should be its inverse.

    Raises:
        MotionRefused: there is no safe plan; nothing moved.
        ArmFault: the bus failed; the arm holds its last goal.
    """
    here: np.ndarray = arm.read().positions_rad
    path = []
    for waypoint in route(here, q_to, arm.limits, height_m, min_height_m):
        path.append(plan(here, waypoint, max_speed_rad_s, rate_hz))
        here = waypoint
    run = _Run(arm, clock, q_to, should_stop, 1.0 / rate_hz)
    for goal in np.concatenate(path):
        if run.write(goal):
            return run.give_up()
        if np.abs(run.measured - goal)[BODY].max() > MAX_LAG_RAD:
            worst = int(np.argmax(np.abs(run.measured - goal)[BODY]))
            return run.give_up(f"{JOINTS[worst]} is {abs(run.measured - goal)[worst]:.2f} rad behind: blocked?")
    trim: np.ndarray = np.zeros(6)
    still, deadline_s = 0, clock.now_s() + settle_s
    while still < _STILL_READS and clock.now_s() < deadline_s:
        goal = np.clip(q_to + trim, arm.limits.low_rad, arm.limits.high_rad)
        if run.write(goal):
            return run.give_up()
        still = still + 1 if run.error_rad() <= tolerance_rad else 0
        trim[BODY] += _TRIM_GAIN * (q_to - run.measured)[BODY]
        trim = np.clip(trim, -_MAX_TRIM_RAD, _MAX_TRIM_RAD)
    if still < _STILL_READS:
        worst = int(np.argmax(np.abs(q_to - run.measured)[BODY]))
        return run.give_up(
            f"{JOINTS[worst]} did not come to rest within {tolerance_rad} rad in {settle_s:g} s; it is "
            f"{run.error_rad():.3f} rad off"
        )
    return MotionResult(True, run.error_rad(), limited=run.limited)


class _Run:
    """The state of one `move`: paces the writes and remembers what was measured."""

    def __init__(
        self, arm: Arm, clock: Clock, q_to: np.ndarray, should_stop: Callable[[], bool], period_s: float
    ) -> None:
        self._arm, self._clock, self._q_to, self._should_stop = arm, clock, q_to, should_stop
        self._period_s, self._next_s = period_s, clock.now_s()
        self.measured, self.limited, self._stopped = arm.read().positions_rad, False, False

    def write(self, goal: np.ndarray) -> bool:
        """Write, wait one period and measure; True when told to stop, and then nothing was written."""
        if self._should_stop():
            self._stopped = True
            return True
        sent = self._arm.write(goal)
        self.limited |= bool(np.abs(sent - goal).max() > 1e-6)
        # A late write shifts the rest of the plan: catching up would mean speeding.
        self._next_s = max(self._next_s, self._clock.now_s()) + self._period_s
        self._clock.sleep_until_s(self._next_s)
        self.measured = self._arm.read().positions_rad
        return False

    def error_rad(self) -> float:
        return float(np.abs(self._q_to - self.measured)[BODY].max())

    def give_up(self, reason: str = "stopped on request") -> MotionResult:
        self._arm.hold()
        return MotionResult(False, self.error_rad(), self._stopped, self.limited, reason)


def _lowest(q_from: np.ndarray, q_to: np.ndarray, height_m: Callable[[np.ndarray], float]) -> float:
    """Return the smallest height on the straight joint path, both ends included, sampled every 0.03 rad."""
    count = max(2, int(np.ceil(np.abs(q_to - q_from).max() / 0.03)) + 1)
    return min(height_m(q_from + (q_to - q_from) * t) for t in np.linspace(0.0, 1.0, count))


def _lift(q: np.ndarray, height_m: Callable[[np.ndarray], float], at_least_m: float, limits: JointLimits) -> np.ndarray:
    """Return a pose near `q` that is `at_least_m` high, or as high as it gets, by gradient ascent."""
    lifted = q.astype(np.float64).copy()
    for _ in range(100):
        missing_m = at_least_m - height_m(lifted)
        if missing_m <= 0:
            break
        slope = np.zeros(6)
        for i in _LIFT_JOINTS:
            nudge = np.zeros(6)
            nudge[i] = 1e-4
            slope[i] = (height_m(lifted + nudge) - height_m(lifted - nudge)) / 2e-4
        step = slope * (min(missing_m + 1e-4, 0.01) / max(float(slope @ slope), 1e-4))
        moved = np.clip(lifted + step, np.minimum(limits.low_rad, q), np.maximum(limits.high_rad, q))
        if np.abs(moved - lifted).max() < 1e-6:
            break
        lifted = moved
    return lifted
