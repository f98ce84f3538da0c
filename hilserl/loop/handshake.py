"""Does the arm do what it is told? Small motions through the session's own code, and what the servos make of them.

Directions and reach are judged here. The answers of the servos to steps are kept as they are, so that the simulation
can be given the same servos: `hilserl setup servo-fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import UserError
from data.spec import RESET_TOLERANCE_M
from hilserl.loop.env import ArmEnv, Step
from hilserl.robot.checkup import Finding, Level
from hilserl.robot.joints import JointLimits
from hilserl.robot.kinematics import JOINTS, ee_position

REACH_M = 0.02  # of each motion along an axis
_SETTLE_TICKS, _JAW_TICKS = 5, 15
_SHARE, _SIDEWAYS_M, _JAW_OFF = (0.6, 1.4), 0.008, 0.2  # of what was asked; across it; of the jaw's command
STEP_RAD, STEP_S, BEFORE_S = 0.1, 1.0, 0.1
_TICK_RAD = 2 * np.pi / 4096
_RAMP_TICKS, _RAMP_S = 12, 0.1  # a dead band is looked for with so many ticks, one at a time
_RECALIBRATE = "Look at the arm, then calibrate it anew: lerobot-calibrate --robot.type=so101_follower ..."

_STOPPED = "stopped on request; the arm holds where it is. The same command begins again"
WORDS = {"x": ("away from its base", "towards its base"), "y": ("to its left", "to its right"), "z": ("up", "down")}


class Interrupted(UserError):
    """The person stopped the motion; the arm holds."""


class NotReached(UserError):
    """The arm did not get to where the checks begin; it holds where it is."""


class NoFrames:
    """`hilserl.loop.env.Frames` for motions that nobody has to see."""

    def read(self, name: str) -> tuple[np.ndarray, float]:
        """Return a black frame."""
        return np.zeros((8, 8, 3), np.uint8), 0.0


@dataclass(frozen=True)
class Trace:
    """What one joint was told and what it did, T samples."""

    joint: str
    time_s: np.ndarray  # [T] from the first sample
    goal_rad: np.ndarray  # [T, 6] goals as sent, of all joints
    measured_rad: np.ndarray  # [T, 6] just before the goal was sent

    def to_json(self) -> dict[str, Any]:
        """Return plain lists under the names of the fields."""
        return {name: value if isinstance(value, str) else value.tolist() for name, value in vars(self).items()}

    @staticmethod
    def from_json(content: dict[str, Any]) -> Trace:
        """Read back what `to_json` gave."""
        arrays = {name: np.array(value) for name, value in content.items() if name != "joint"}
        return Trace(joint=content["joint"], **arrays)


@dataclass(frozen=True)
class Response:
    """How a joint answers a step."""

    delay_s: float  # until it has made a tenth of the step
    rise_s: float  # from then until it has made two thirds
    error_rad: float  # what is missing at the end: load over stiffness

    def __str__(self) -> str:
        """Say it in milliseconds and degrees."""
        missing = f"{np.degrees(self.error_rad):+.2f}° of {np.degrees(STEP_RAD):.1f} missing"
        return f"moves after {1e3 * self.delay_s:.0f} ms, rises in {1e3 * self.rise_s:.0f} ms, {missing}"


def response(trace: Trace) -> Response:
    """Measure the first step of a trace; what is never reached takes for ever."""
    index = JOINTS.index(trace.joint)
    goal, angle = (np.abs(rows - rows[0])[:, index] for rows in (trace.goal_rad, trace.measured_rad))
    there = int(np.flatnonzero(goal == goal.max())[-1])  # the last moment before it goes back
    began = int(np.flatnonzero(goal > 0)[0])
    made, time_s = angle[began : there + 1] / goal.max(), trace.time_s[began : there + 1] - trace.time_s[began]
    first_s, most_s = (_when(time_s, made, share) for share in (0.1, 2 / 3))
    return Response(first_s, most_s - first_s, float(goal.max() - angle[there]))


def turn_back(goal_rad: np.ndarray, angle_rad: np.ndarray) -> float:
    """Return how far the goal [T] had come back from its far end when the angle [T] first followed by a tick [rad].

    The whole way back if it never did.
    """
    far = int(goal_rad.argmax())
    followed = np.flatnonzero(angle_rad[far:] <= angle_rad[far] - 0.9 * _TICK_RAD)
    back = far + followed[0] if followed.size else -1
    return float(goal_rad[far] - goal_rad[back])


def judged(what: str, axis: int, moved_m: np.ndarray) -> Finding:
    """Judge a motion along an axis by REACH_M that was measured as `moved_m` [3]."""
    along_m, across_m = moved_m[axis], float(np.abs(np.delete(moved_m, axis)).max())
    words = f"{1e3 * along_m:+.1f} mm of {1e3 * REACH_M:.0f}, {1e3 * across_m:.1f} mm sideways"
    if _SHARE[0] <= along_m / REACH_M <= _SHARE[1] and across_m <= _SIDEWAYS_M:
        return Finding(Level.OK, what, words)
    return Finding(Level.FAIL, what, f"{words}. {_RECALIBRATE}")


def wider_side(positions_rad: np.ndarray, limits: JointLimits) -> np.ndarray:
    """Return 1 or -1 for each joint [6]: where its range leaves more room. In the very middle either side will do."""
    return np.where(positions_rad <= (limits.low_rad + limits.high_rad) / 2, 1.0, -1.0)


def _when(time_s: np.ndarray, made: np.ndarray, share: float) -> float:
    past = np.flatnonzero(made >= share)
    if not past.size:
        return float("inf")
    k = past[0]
    return float(time_s[k] if k == 0 else np.interp(share, made[k - 1 : k + 1], time_s[k - 1 : k + 1]))


class Handshake:
    """Motion checks on one arm. Each begins at the middle of the start box."""

    def __init__(self, env: ArmEnv, interrupted: Callable[[], bool]) -> None:
        """Move the arm of `env`; when `interrupted`, it holds and `Interrupted` is raised."""
        self._env, self._interrupted = env, interrupted
        low, high = np.array(env.task.start_low_m), np.array(env.task.start_high_m)
        self._box, self._middle = np.stack([low, high]), (low + high) / 2

    def reach(self) -> Iterator[Finding]:
        """Move to five start poses; whether the hand gets there, by forward kinematics of the measured joints."""
        corners = [self._box[[i, j, k], [0, 1, 2]] for i, j, k in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0))]
        errors_m = [self._go(place_m) for place_m in (*corners, self._middle)]
        words = f"five start poses, the hand off by {', '.join(f'{1e3 * e:.1f}' for e in errors_m)} mm"
        yield Finding(Level.OK, "reach", f"{words}; accepted are {1e3 * RESET_TOLERANCE_M:g}")

    def directions(self) -> Iterator[Finding]:
        """Move 2 cm along each axis and back, then close and open the jaw; what was measured against what was asked."""
        self._go(self._middle)
        for axis, name in enumerate("xyz"):
            for sign, words in zip((1, -1), WORDS[name], strict=True):
                action = np.array([*(sign * np.eye(3)[axis]), 1.0], np.float32)
                moved_m = self._moved(action) * sign
                self._moved(action * [-1, -1, -1, 1])
                yield judged(f"{'+-'[sign < 0]}{name}, {words}", axis, moved_m)
        for command, words in ((-1.0, "close"), (1.0, "open")):
            for _ in range(_JAW_TICKS):
                step = self._step(np.array([0, 0, 0, command], np.float32))
            off = abs(float(step.achieved[3]) - command)
            level = Level.OK if off <= _JAW_OFF else Level.FAIL
            advice = "" if level is Level.OK else f". Is something in the jaw? {_RECALIBRATE}"
            yield Finding(level, "gripper", f"{words}: {off / 2:.0%} of its way are missing{advice}")

    def traces(self) -> Iterator[Trace]:
        """Step each body joint by 0.1 rad and back, to where its range is wider; the others stay."""
        for index, joint in enumerate(JOINTS[:5]):
            home, one = self._rested(index)
            parts = ((0, BEFORE_S), (1, STEP_S), (0, STEP_S))
            goals = (home + STEP_RAD * out * one for out, seconds in parts for _ in range(self._samples(seconds)))
            yield Trace(joint, *self._driven(goals))

    def dead_bands(self) -> Iterator[tuple[str, float]]:
        """Joint by joint: how far a goal has to turn round before the joint follows [rad]."""
        for index, joint in enumerate(JOINTS[:5]):
            home, one = self._rested(index)
            ramp = [*range(_RAMP_TICKS), *range(_RAMP_TICKS, -1, -1)]
            each = (home + n * _TICK_RAD * one for n in ramp for _ in range(self._samples(_RAMP_S)))
            _, goal_rad, measured_rad = self._driven(each)
            yield joint, turn_back(goal_rad @ one, measured_rad @ one)

    def _rested(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Rest in the middle on a constant goal; return it [6], and the unit vector of a joint to its wider side."""
        self._go(self._middle)
        home, limits = self._env.arm.read().positions_rad, self._env.arm.limits
        for _ in range(self._samples(STEP_S)):  # without the trim of a planned motion an arm sags
            self._write(home)
        return home, wider_side(home, limits)[index] * np.eye(6)[index]

    def _samples(self, seconds: float) -> int:
        return round(seconds * self._env.task.rate_hz * self._env.task.inner_steps)

    def _go(self, place_m: np.ndarray) -> float:
        """Move to a start pose; return how far the hand is off [m]."""
        result = self._env.move_to_start(place_m, self._interrupted)
        if result.stopped:
            raise Interrupted(_STOPPED)
        if not result.reached:
            raise NotReached(f"the arm does not reach its start pose: {result.reason}. {_RECALIBRATE}")
        self._env.begin()
        return result.ee_error_m

    def _step(self, action: np.ndarray) -> Step:
        if self._interrupted():
            self._env.arm.hold()
            raise Interrupted(_STOPPED)
        return self._env.step(action)

    def _moved(self, action: np.ndarray) -> np.ndarray:
        """Act for REACH_M, wait, and return how the hand moved [3] m."""
        before_m = ee_position(self._env.arm.read().positions_rad)
        for _ in range(round(REACH_M / self._env.task.action.step_m)):
            self._step(action)
        for _ in range(_SETTLE_TICKS):
            self._step(self._env.hold_action())
        return ee_position(self._env.arm.read().positions_rad) - before_m

    def _driven(self, goals: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Send goals at the session's inner rate; return times [T] s, goals as sent [T, 6] and angles [T, 6]."""
        rows = [self._write(goal) for goal in goals]
        time_s, sent, measured_rad = (np.array(column) for column in zip(*rows, strict=True))
        return time_s - time_s[0], sent, measured_rad

    def _write(self, goal: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Read, send a goal, wait a period; return when that was [s], the goal as sent [6] and the reading [6]."""
        if self._interrupted():
            self._env.arm.hold()
            raise Interrupted(_STOPPED)
        arm, clock = self._env.arm, self._env.clock
        measured, now_s = arm.read().positions_rad, clock.now_s()
        sent = arm.write(goal)
        clock.sleep_until_s(now_s + 1.0 / self._samples(1.0))
        return now_s, sent, measured
