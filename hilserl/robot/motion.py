"""Planned motion to a joint pose, for reset and park: checked before it starts, interruptible, verified."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data.spec import RESET_TOLERANCE_M
from hilserl.robot.arm import JOINTS, Arm, ArmFault
from hilserl.robot.clock import Clock
from hilserl.robot.collision import ArmShape
from hilserl.robot.joints import JointLimits
from hilserl.robot.kinematics import ee_position
from hilserl.robot.route import plan, route
from hilserl.robot.watch import MAX_LAG_RAD

BODY = slice(0, 5)
JAW_TOLERANCE_RAD = 0.05
PARK_RAD = np.array([0.0, -1.7, 1.55, 1.0])  # folded, the hand just above the table
PARK_ROLL_RAD = 1.6  # rolled further, an open jaw would touch it
PARK_SPEED_RAD_S, PARK_TOLERANCE_RAD = 0.5, 0.05
_TRIM_GAIN, _MAX_TRIM_RAD = 0.1, 0.15
_STILL_READS = 3


@dataclass(frozen=True)
class MotionResult:
    """How a planned motion ended. Unless `reached`, the arm holds where it is."""

    reached: bool  # joints, jaw and hand are within tolerance, by measurement
    joints_rad: np.ndarray  # [6] measured at the end
    error_rad: float  # largest body joint error
    ee_error_m: float  # of the hand, by forward kinematics of the measured joints
    stopped: bool = False  # `should_stop` said so
    limited: bool = False  # the arm clamped a goal of the plan
    reason: str = ""  # why it was not reached


def move(
    arm: Arm,
    clock: Clock,
    q_to: np.ndarray,
    *,
    max_speed_rad_s: float = 1.0,
    shape: ArmShape | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    tolerance_rad: float = 0.01,
    settle_s: float = 6.0,
    rate_hz: float = 50.0,
) -> MotionResult:
    """Drive the arm to `q_to` [6] rad and verify by measurement that joints, jaw and hand are there.

    After the planned path the goal is trimmed by what gravity takes away, until the measured joints are
    within tolerance or `settle_s` has passed.

    Args:
        arm: what moves.
        clock: what paces the writes.
        q_to: target pose [rad], within `arm.limits`.
        max_speed_rad_s: no joint is commanded faster.
        shape: what the path is checked with, see `route`; None: a straight path, unchecked.
        should_stop: asked before each write; True makes the arm hold.
        tolerance_rad: for each body joint; the jaw has JAW_TOLERANCE_RAD, the hand RESET_TOLERANCE_M.
        settle_s: time for the trim; it ends as soon as the arm rests within tolerance.
        rate_hz: writes per second; the arm's `write_period_s` should be its inverse.

    Raises:
        MotionRefused: there is no safe plan; nothing moved.
        ArmFault: the bus failed; the arm holds its last goal.
    """
    here: np.ndarray = arm.read().positions_rad
    path = []
    for waypoint in route(here, q_to, arm.limits, shape):
        path.append(plan(here, waypoint, max_speed_rad_s, rate_hz))
        here = waypoint
    try:
        return _follow(
            _Run(arm, clock, q_to, should_stop, 1.0 / rate_hz), np.concatenate(path), tolerance_rad, settle_s
        )
    except BaseException:
        with contextlib.suppress(ArmFault):  # also after Ctrl-C the arm is to stay where it is
            arm.hold()
        raise


def _follow(run: _Run, goals: np.ndarray, tolerance_rad: float, settle_s: float) -> MotionResult:
    for goal in goals:
        if run.write(goal):
            return run.give_up()
        behind_rad = np.abs(run.measured - goal)[BODY]
        if behind_rad.max() > MAX_LAG_RAD:
            return run.give_up(f"{JOINTS[behind_rad.argmax()]} is {behind_rad.max():.2f} rad behind: blocked?")
    q_to = goals[-1]
    trim: np.ndarray = np.zeros(6)
    still, deadline_s = 0, run.clock.now_s() + settle_s
    while still < _STILL_READS:
        if run.clock.now_s() >= deadline_s:
            return run.give_up(f"after {settle_s:g} s {run.off(tolerance_rad) or 'it is not at rest'}")
        if run.write(np.clip(q_to + trim, run.arm.limits.low_rad, run.arm.limits.high_rad)):
            return run.give_up()
        still = 0 if run.off(tolerance_rad) else still + 1
        trim[BODY] += _TRIM_GAIN * (q_to - run.measured)[BODY]
        trim = np.clip(trim, -_MAX_TRIM_RAD, _MAX_TRIM_RAD)
    run.arm.rest()
    return run.result(True)


class _Run:
    """The state of one `move`: paces the writes and remembers what was measured."""

    def __init__(
        self, arm: Arm, clock: Clock, q_to: np.ndarray, should_stop: Callable[[], bool], period_s: float
    ) -> None:
        self.arm, self.clock, self._q_to, self._should_stop = arm, clock, q_to, should_stop
        self._period_s, self._next_s = period_s, clock.now_s()
        self.measured, self.limited, self._stopped = arm.read().positions_rad, False, False

    def write(self, goal: np.ndarray) -> bool:
        """Write, wait one period and measure; True when told to stop, and then nothing was written."""
        if self._should_stop():
            self._stopped = True
            return True
        sent = self.arm.write(goal)
        self.limited |= bool(np.abs(sent - goal).max() > 1e-6)
        # A late write shifts the rest of the plan: catching up would mean speeding.
        self._next_s = max(self._next_s, self.clock.now_s()) + self._period_s
        self.clock.sleep_until_s(self._next_s)
        self.measured = self.arm.read().positions_rad
        return False

    def off(self, tolerance_rad: float) -> str:
        """Return what is not within tolerance, by how much; "" when all is."""
        error_rad, ee_error_m = np.abs(self._q_to - self.measured), self._ee_error_m()
        for i in np.flatnonzero(error_rad > [tolerance_rad] * 5 + [JAW_TOLERANCE_RAD]):
            return f"{JOINTS[i]} is {error_rad[i]:.3f} rad off"
        return f"the hand is {1e3 * ee_error_m:.1f} mm off" if ee_error_m > RESET_TOLERANCE_M else ""

    def result(self, reached: bool, reason: str = "") -> MotionResult:
        error_rad = float(np.abs(self._q_to - self.measured)[BODY].max())
        return MotionResult(reached, self.measured, error_rad, self._ee_error_m(), self._stopped, self.limited, reason)

    def _ee_error_m(self) -> float:
        return float(np.linalg.norm(ee_position(self.measured) - ee_position(self._q_to)))

    def give_up(self, reason: str = "stopped on request") -> MotionResult:
        self.arm.hold()
        return self.result(False, reason)


def park(
    arm: Arm, clock: Clock, shape: ArmShape, should_stop: Callable[[], bool], rate_hz: float = 50.0
) -> MotionResult:
    """Fold the arm slowly; see `move` for arguments and errors. It holds in the end, wherever it is."""
    return move(
        arm,
        clock,
        park_pose(arm.read().positions_rad, arm.limits),
        max_speed_rad_s=PARK_SPEED_RAD_S,
        shape=shape,
        should_stop=should_stop,
        tolerance_rad=PARK_TOLERANCE_RAD,
        rate_hz=rate_hz,
    )


def park_pose(here_rad: np.ndarray, limits: JointLimits) -> np.ndarray:
    """Return the folded pose [6] in which a limp arm sinks by a few centimetres; roll and jaw stay, if they can."""
    roll_rad = np.clip(here_rad[4], -PARK_ROLL_RAD, PARK_ROLL_RAD)
    return np.clip([*PARK_RAD, roll_rad, here_rad[5]], limits.low_rad, limits.high_rad)
