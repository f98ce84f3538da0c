"""What changes slowly in the servos, looked at in turn: one register of one motor a time, so that it costs little."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

import numpy as np

from hilserl.robot.bus import ArmFault, alarms
from hilserl.robot.kinematics import JOINTS

WARM_C, HOT_C = 55, 65  # at 70 the servo itself lets go
MAX_LAG_RAD = 0.5  # a body joint that is further from its goal is blocked, or has lost its force
LAG_S = 0.5  # for this long
LOOK_S = 0.1  # between two looks; each reads one motor
OVERDUE_S = 0.5  # nothing has been looked at for this long: nothing moves
_AMPERE = 0.0065  # per unit of Present_Current
_JAW, _HEAT = "Present_Current", "Present_Temperature"
_LOOKS = tuple(look for joint in JOINTS for look in ((_JAW, "gripper"), (_HEAT, joint)))  # the jaw every other time
logger = logging.getLogger(__name__)


class ServoWatch:
    """Temperature, alarms and following of every joint, and the current of the jaw."""

    def __init__(self, ask: Callable[[str, str], tuple[int, int]]) -> None:
        """Look with `ask(register, joint)`, which returns the raw value and the bits of the motor's alarms."""
        self._ask, self._turn = ask, itertools.cycle(_LOOKS)
        self._looked_s, self._behind_s = -np.inf, np.inf
        self.celsius: dict[str, int] = {}  # joint: temperature as looked at last
        self._warm: set[str] = set()
        self._hot: set[str] = set()

    def look(self, now_s: float, every_s: float = LOOK_S) -> float | None:
        """Read the register whose turn it is, unless the last look was less than `every_s` ago.

        Returns:
            The current of the jaw [A] if this look was for it.

        Raises:
            ArmFault: a motor is hot, until it is no longer even warm; or it reports an alarm of its own.
        """
        current_a = None
        if now_s - self._looked_s >= every_s:
            self._looked_s = now_s
            register, joint = next(self._turn)
            value, alarm = self._ask(register, joint)
            if alarm:
                raise ArmFault(f"{alarms(joint, alarm)}. The arm holds")
            if register == _JAW:
                current_a = value * _AMPERE
            else:
                self._feel(joint, value)
        if self._hot:
            found = ", ".join(f"{joint} {self.celsius[joint]} °C" for joint in sorted(self._hot))
            raise ArmFault(
                f"too hot: {found}. The arm holds, and goes on below {WARM_C} °C. To let it cool faster, end the "
                "session, support the arm and take its force out with: hilserl unlock"
            )
        return current_a

    def follow(self, goal_rad: np.ndarray | None, measured_rad: np.ndarray, now_s: float) -> None:
        """Compare goal [6] and measured [6] joints; ArmFault when one has been far behind for a while."""
        lag_rad = np.zeros(5) if goal_rad is None else np.abs(goal_rad - measured_rad)[:5]  # the jaw may be stopped
        worst = int(np.argmax(lag_rad))
        if lag_rad[worst] <= MAX_LAG_RAD:
            self._behind_s = np.inf
            return
        self._behind_s = min(self._behind_s, now_s)
        if now_s - self._behind_s >= LAG_S:
            self._behind_s = np.inf
            raise ArmFault(
                f"{JOINTS[worst]} is {lag_rad[worst]:.2f} rad from where it was told to be: blocked, or without force. "
                "The arm holds where it is. Clear its way, check its cable and power supply, then go on"
            )

    def _feel(self, joint: str, celsius: int) -> None:
        self.celsius[joint] = celsius
        if celsius < WARM_C:
            self._warm.discard(joint)
            self._hot.discard(joint)
            return
        if joint not in self._warm:
            logger.warning("%s is warm: %d °C; at %d the arm holds. Let it rest a while", joint, celsius, HOT_C)
        self._warm.add(joint)
        if celsius >= HOT_C:
            self._hot.add(joint)
