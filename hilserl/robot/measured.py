"""An arm that is only looked at: its joints are read, and whether its motors have torque stays as it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from hilserl.robot.arm import make_follower
from hilserl.robot.bus import ArmFault, claim, faults
from hilserl.robot.calibration import TickScale, require_calibration_file, tick_scale
from hilserl.robot.guard import release_motors
from hilserl.robot.kinematics import JOINTS
from hilserl.robot.motors import Motors, open_motors

if TYPE_CHECKING:
    from lerobot.robots import RobotConfig

_SIGN = 0x8000  # of a position; the other bits are its magnitude
_ADVICE = "Check its power supply and both cables"


class MeasuredArm:
    """Use it through `measured_arm`. Every method raises ArmFault when a motor does not answer."""

    def __init__(self, motors: Motors, scale: TickScale, port: str) -> None:
        self._motors, self._scale, self._port = motors, scale, port

    def joints_rad(self) -> np.ndarray:
        """Return where the joints are, [6]."""
        with faults("reading the joints", self._port, _ADVICE):
            raw = [self._motors.read("Present_Position", joint) for joint in JOINTS]
        return self._scale.to_rad(np.array([_SIGN - r if r > _SIGN else r for r in raw], np.int64))

    def limp(self) -> bool:
        """Return whether it can be moved by hand: no motor has torque."""
        with faults("reading the torque", self._port, _ADVICE):
            return not any(self._motors.read("Torque_Enable", joint) for joint in JOINTS)

    def release(self) -> None:
        """Switch torque off: a raised arm falls."""
        report = release_motors(self._motors)
        if not report.complete:
            raise ArmFault(f"not every joint confirmed that its torque is off on {self._port}: {report}. {_ADVICE}")


@contextlib.contextmanager
def measured_arm(config: RobotConfig) -> Iterator[MeasuredArm]:
    """Open the port of a LeRobot follower to read from it, until the end of the block.

    Raises:
        ArmFault: there is no such port, another program drives the arm, or there is no usable calibration file.
    """
    robot = make_follower(config)
    require_calibration_file(robot)
    port = str(robot.config.port)
    ours = claim(port)
    try:
        with open_motors(port) as motors:
            yield MeasuredArm(motors, tick_scale(robot.calibration), port)
    finally:
        os.close(ours)
