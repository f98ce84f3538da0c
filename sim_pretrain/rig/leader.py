"""The emulated leader arm: six joints with friction, the servos of a bus, and a hand that may hold them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, JOINTS
from sim_pretrain.rig.bus_process import PlantMemory
from sim_pretrain.rig.servo import TICKS_PER_RAD, effort

FULL = 1000.0  # of an effort
_SPEED_RAD_S = 12.0  # at full effort: the joints have damping and no inertia
_FRICTION = 0.02 * FULL  # what it takes to move them; their own weight is less, as on a real leader
_HAND_PER_RAD = 20.0 * FULL  # the hand is a stiff spring, three times as strong as a motor
_HAND_LIMIT = 3.0 * FULL
_INSTANT_S = 0.004


class EmulatedLeader:
    """Moves the joints in `memory`, which a servo bus shares, in simulated time."""

    def __init__(self, memory: PlantMemory) -> None:
        """Begin in the middle of all ranges, limp, held by nobody."""
        self._memory = memory
        self._hand: np.ndarray | None = None  # [6] rad where the hand is; None: it let go
        self._rate_rad_s: np.ndarray = np.zeros(6)  # it moves like this ...
        self._left_s = 0.0  # ... for so long

    def advance(self, dt_s: float) -> None:
        """Let `dt_s` pass; at most 4 ms, or the stiff hand would swing."""
        memory, here = self._memory, self._memory.positions.copy()
        error_ticks = (memory.goals - here) * TICKS_PER_RAD
        push = np.array([effort(e, int(p), int(t)) for e, (p, t) in zip(error_ticks, memory.stiffness, strict=True)])
        push[memory.torque == 0] = 0.0
        if self._hand is not None:
            step_s = min(dt_s, self._left_s)
            self._hand, self._left_s = self._hand + self._rate_rad_s * step_s, self._left_s - step_s
            push += np.clip((self._hand - here) * _HAND_PER_RAD, -_HAND_LIMIT, _HAND_LIMIT)
        moving = np.sign(push) * np.maximum(np.abs(push) - _FRICTION, 0.0)
        memory.positions[:] = np.clip(here + moving / FULL * _SPEED_RAD_S * dt_s, JOINT_LOW_RAD, JOINT_HIGH_RAD)

    def move_hand(self, by_rad: Mapping[str, float], seconds: float) -> None:
        """Take hold where the leader is, unless the hand holds it already, and move it by so much in so long.

        Raises:
            ValueError: there is no such joint, or a number is not finite.
        """
        if not set(by_rad) <= set(JOINTS) or not np.isfinite([*by_rad.values(), seconds]).all():
            raise ValueError(f"accepted are seconds and, in rad, {', '.join(JOINTS)}; found {dict(by_rad)}")
        if self._hand is None:
            self._hand = self._memory.positions.copy()
        self._left_s = max(seconds, _INSTANT_S)
        self._rate_rad_s = np.array([by_rad.get(joint, 0.0) for joint in JOINTS]) / self._left_s

    def let_go(self) -> None:
        """The hand lets go; friction keeps a limp leader where it is."""
        self._hand = None

    def truth(self) -> dict[str, list[float]]:
        """Return joints_rad and torque, what the encoders and the motors have, [6] each."""
        return {"joints_rad": self._memory.positions.tolist(), "torque": self._memory.torque.tolist()}
