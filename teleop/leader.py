"""The leader arm as an operator: a thread reads and moves it, `teleop.takeover` decides, `read` never waits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from data.errors import UserError
from teleop.inputs import Follower, OperatorState, Prompt
from teleop.relative import relative_action
from teleop.takeover import BODY, LeaderFeel, LeaderMemory, LeaderReading, Mode, advance, deadman

PERIOD_S = 0.02  # between two readings of the leader
RETRY_S = 0.5  # between two attempts to reach a silent one
SILENT_S = 0.3  # a reading older than this is none
_SPAN = 0.1  # calibrated ranges of leader and arm may differ by this fraction
logger = logging.getLogger(__name__)


class LeaderArm(Protocol):
    """The leader's motors. Every method may raise `UserError`: it does not answer."""

    @property
    def limits_rad(self) -> np.ndarray:
        """Lowest and highest angle of its calibration, [2, 6]."""

    def read(self) -> LeaderReading:
        """Return where the joints are and how hard the motors push."""

    def hold_at(self, goal_rad: np.ndarray) -> None:
        """Softly hold at a goal [6] rad; when limp, get the force back first."""

    def release(self) -> None:
        """Go limp; does nothing when it is."""

    def reconnect(self) -> None:
        """Connect again, once; it is limp then."""

    def close(self) -> None:
        """Go limp and let go of the port. Does not raise."""


class Leader:
    """Implements `teleop.inputs.Operator`; without buttons, which `teleop.buttons` adds."""

    def __init__(self, arm: LeaderArm, feel: LeaderFeel, end_effector_m: Callable[[np.ndarray], np.ndarray]) -> None:
        """Own `arm`; `end_effector_m` is the forward kinematics of joints [6] rad to [3] m."""
        self._arm, self._feel, self._end_effector_m = arm, feel, end_effector_m
        self._lock = threading.Lock()  # guards what follows; never held during a transaction
        self._memory = LeaderMemory()
        self._follower: Follower | None = None  # None: not shown the arm yet
        self._reading: LeaderReading | None = None  # None: lost
        self._why = ""  # it is lost
        self._closing = threading.Event()
        self._cycle()
        self._thread = threading.Thread(target=self._run, name="leader", daemon=True)
        self._thread.start()

    def read(self) -> OperatorState:
        """Return what the hand on the leader asks for; never blocks."""
        now_s = time.monotonic()
        with self._lock:
            reading, follower, memory = self._reading, self._follower, self._memory
        gripper = 1.0 if follower is None else follower.gripper
        if reading is None or now_s - reading.stamp_s > SILENT_S:
            return OperatorState(now_s, connected=False, gripper=gripper, note=self._why or "the leader is silent")
        if follower is None:
            degrees = " ".join(f"{angle:+.0f}" for angle in np.rad2deg(reading.joints_rad))
            return OperatorState(now_s, ready=False, note=f"leader at {degrees} degrees")
        move, held = np.zeros(3, np.float32), deadman(memory, follower)
        if memory.anchor is not None:
            place_m = self._end_effector_m(reading.joints_rad)
            move, gripper = relative_action(memory.anchor, place_m, float(reading.joints_rad[5]), follower)
        ready, note = memory.mode is not Mode.ALIGNING, _NOTES[memory.mode]
        return OperatorState(now_s, deadman=held, move=move, gripper=gripper, ready=ready, note=note)

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Nothing: its force says who drives."""

    def follow(self, follower: Follower) -> None:
        """Move along with the arm from now on.

        Raises:
            UserError: at the first call: the calibrated ranges differ, so equal angles would not be equal poses.
        """
        if self._follower is None:
            require_equal_ranges(self._arm.limits_rad, follower.limits_rad)
        low, high = self._arm.limits_rad
        with self._lock:
            self._follower = replace(follower, joints_rad=np.clip(follower.joints_rad, low, high))
            self._advance()

    def close(self) -> None:
        """Stop the thread and leave the leader limp; a second call does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join()
        self._reading = None
        self._arm.close()

    def _run(self) -> None:
        while not self._closing.wait(PERIOD_S):
            try:
                if self._reading is None:
                    self._arm.reconnect()
                self._cycle()
            except UserError as error:
                if self._reading is not None:
                    logger.warning("the leader is lost: %s", error)
                with self._lock:  # whoever held it, it has to align before anything moves again
                    self._reading, self._memory, self._why = None, LeaderMemory(), str(error)
                self._closing.wait(RETRY_S)

    def _cycle(self) -> None:
        """Read the leader, decide, and make the motors obey; what is decided next rests on what they have obeyed."""
        reading = self._arm.read()
        with self._lock:
            self._reading = reading
            self._advance()
            goal_rad = None if self._follower is None else self._memory.goal_rad
        if goal_rad is None:
            self._arm.release()
        else:
            self._arm.hold_at(goal_rad)

    def _advance(self) -> None:
        """Take in what is newest of leader and arm; the lock is held."""
        if self._reading is not None and self._follower is not None:
            place_m = self._end_effector_m(self._reading.joints_rad)
            self._memory = advance(self._memory, self._reading, place_m, self._follower, self._feel)


_NOTES = {
    Mode.ALIGNING: "the leader aligns: let it go",
    Mode.FOLLOWING: "the leader follows; grab it to drive",
    Mode.LEADING: "you lead; to hand back, let it rest",
}


def require_equal_ranges(leader_rad: np.ndarray, follower_rad: np.ndarray) -> None:
    """Raise `UserError` unless the body joints of two arms [2, 6] rad were calibrated over the same range.

    Zero is the middle of the range on both, so a range that was cut short on one of them shifts its zero.
    """
    spans_deg = np.rad2deg([np.ptp(leader_rad, axis=0), np.ptp(follower_rad, axis=0)])[:, BODY]
    bad = np.abs(spans_deg[0] - spans_deg[1]) > _SPAN * spans_deg.max(axis=0)
    if bad.any():
        found = "; ".join(
            f"joint {i + 1}: leader {spans_deg[0, i]:.0f}°, arm {spans_deg[1, i]:.0f}°" for i in np.flatnonzero(bad)
        )
        raise UserError(
            f"leader and arm were calibrated over different ranges ({found}), so that the same angle is another pose; "
            f"accepted is a difference of {_SPAN:.0%}. Calibrate the one with the smaller range anew: "
            "lerobot-calibrate --teleop.type=so101_leader ... or --robot.type=so101_follower ..."
        )
