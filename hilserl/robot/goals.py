"""What a joint goal goes through on its way to the motors: calibrated range, grip, speed and acceleration."""

from __future__ import annotations

from collections import Counter

import numpy as np

from hilserl.robot.joints import JointLimits
from hilserl.robot.safety import Limit, clamp_joints, differ, grip_range, limit_change, limit_step

# As fast as a servo speeds up (39). A full step from rest would begin with 35 to 220 rad/s², depending on the pose; so
# it begins more softly, and still ends within its control period. The jaw has next to no mass, and is to close at once.
MAX_ACCELERATION_RAD_S2 = np.array([40.0] * 5 + [450.0])
MAX_JAW_CURRENT_A = 1.0  # at 1.6 A, which LeRobot sets, the servo protects itself and lets go


class GoalFilter:
    """Lets through of each goal what the limits allow, from the last goal that it let through."""

    def __init__(self, limits: JointLimits, speed_rad_s: np.ndarray, period_s: float) -> None:
        """Take speed limits [6] and the time between two goals."""
        self._limits = limits
        self._max_step_rad = speed_rad_s * period_s
        self._max_change_rad = MAX_ACCELERATION_RAD_S2 * period_s**2
        self._step_rad: np.ndarray = np.zeros(6)
        self._jaw_rad = (-np.inf, np.inf)
        self.last_rad: np.ndarray | None = None  # [6]; None: unknown, `anchor` before the next goal
        self.hits: Counter[Limit] = Counter()  # how many goals each limit changed

    def anchor(self, pose_rad: np.ndarray | None) -> None:
        """The motors have this goal [6] and stand still, or (None) nobody knows what they have."""
        self.last_rad, self._step_rad = pose_rad, np.zeros(6)

    def see_jaw(self, measured_rad: float, current_a: float) -> None:
        """Heed what the jaw's motor draws."""
        if self.last_rad is not None:
            self._jaw_rad = grip_range(
                float(self.last_rad[5]), measured_rad, current_a, MAX_JAW_CURRENT_A, self._jaw_rad
            )

    def __call__(self, goal_rad: np.ndarray) -> np.ndarray:
        """Return the goal [6] to send; ValueError when it is not finite."""
        assert self.last_rad is not None, "anchor() first"
        wanted = clamp_joints(goal_rad, self._limits)
        gripped = wanted.copy()
        gripped[5] = np.clip(wanted[5], *self._jaw_rad)
        slow = limit_step(self.last_rad, gripped, self._max_step_rad) - self.last_rad
        step = limit_change(slow, self._step_rad, self._max_change_rad)
        self.hits.update(
            limit
            for limit, bit in {
                Limit.JOINT: differ(wanted, goal_rad),
                Limit.GRIP: differ(gripped, wanted),
                Limit.SPEED: differ(slow, gripped - self.last_rad),
                Limit.ACCELERATION: differ(step, slow),
            }.items()
            if bit
        )
        self.last_rad, self._step_rad = self.last_rad + step, step
        return self.last_rad.copy()
