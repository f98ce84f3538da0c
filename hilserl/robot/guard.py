"""Torque, motor by motor: works with a dead motor, and from another process when the driver is gone.

`robot.disconnect()` of the driver stops at the first dead motor and leaves the rest energised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hilserl.robot.bus import DRIVER_ERRORS
from hilserl.robot.kinematics import JOINTS
from hilserl.robot.motors import Motors

FROZEN_TORQUE = 450  # of 1000: the stretched arm needs 0.8 N m, a motor has 1.9 (7.4 V) or 2.9 (12 V)

# Broadcast write of Torque_Enable = 0: every motor in one packet, not acknowledged.
_ALL_TORQUE_OFF = bytes([0xFF, 0xFF, 0xFE, 0x04, 0x03, 0x28, 0x00, 0xD2])


@dataclass(frozen=True)
class TorqueReport:
    """What reading back confirmed."""

    confirmed: tuple[str, ...]  # joints that are in the wanted state
    failed: Mapping[str, str]  # joint -> what went wrong; its state is unknown

    @property
    def complete(self) -> bool:
        """Whether all joints that were asked for are confirmed."""
        return not self.failed

    def __str__(self) -> str:
        """Name the joints that failed."""
        failed = "; ".join(f"{joint}: {why}" for joint, why in self.failed.items())
        return failed or f"{'all six' if len(self.confirmed) == len(JOINTS) else ', '.join(self.confirmed)} confirmed"


def release_motors(motors: Motors, joints: Sequence[str] = JOINTS) -> TorqueReport:
    """Switch torque off, motor by motor, on an open bus. A raised arm falls. Never raises."""
    if set(joints) == set(JOINTS):
        with contextlib.suppress(*DRIVER_ERRORS):
            motors.port_handler.ser.write(_ALL_TORQUE_OFF)

    def release(joint: str) -> None:
        motors.write("Torque_Enable", joint, 0)
        motors.write("Lock", joint, 0)
        if motors.read("Torque_Enable", joint) != 0:
            raise RuntimeError("torque reads back on")

    return _each(joints, release)


def hold_motors(motors: Motors) -> TorqueReport:
    """Make each motor hold where it is, energising it if need be, on an open bus. Never raises."""

    def hold(joint: str) -> None:
        # Goal first: switched on with an old goal, a motor would jump.
        motors.write("Goal_Position", joint, motors.read("Present_Position", joint))
        if motors.read("Torque_Enable", joint) != 1:
            motors.write("Torque_Enable", joint, 1)
            motors.write("Lock", joint, 1)
        if motors.read("Torque_Enable", joint) != 1:
            raise RuntimeError("torque reads back off")

    return _each(JOINTS, hold)


def freeze_motors(motors: Motors) -> TorqueReport:
    """Make each motor that has torque hold where it is with less force; limp ones stay limp. Never raises."""

    def freeze(joint: str) -> None:
        if motors.read("Torque_Enable", joint) == 1:
            motors.write("Goal_Position", joint, motors.read("Present_Position", joint))
            motors.write("Torque_Limit", joint, FROZEN_TORQUE)

    return _each(JOINTS, freeze)


def thaw_motors(motors: Motors) -> TorqueReport:
    """Undo `freeze_motors`: each motor has the force again with which it is switched on. Never raises."""

    def thaw(joint: str) -> None:
        usual = motors.read("Max_Torque_Limit", joint)
        if motors.read("Torque_Limit", joint) < usual:
            motors.write("Torque_Limit", joint, usual)

    return _each(JOINTS, thaw)


def _each(joints: Sequence[str], act: Callable[[str], None]) -> TorqueReport:
    confirmed, failed = [], {}
    for joint in joints:
        try:
            act(joint)
            confirmed.append(joint)
        except DRIVER_ERRORS as error:
            failed[joint] = str(error).strip() or repr(error)
    return TorqueReport(tuple(confirmed), failed)
