"""Torque, motor by motor: works with a dead motor, and from another process when the driver is gone.

`robot.disconnect()` of the driver stops at the first dead motor and leaves the rest energised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hilserl.robot.bus import DRIVER_ERRORS, ArmFault, CleanInput, close_port, motor_bus, serial_ports
from hilserl.robot.kinematics import JOINTS

if TYPE_CHECKING:
    from lerobot.motors.feetech import FeetechMotorsBus

_RETRIES = 2
# Broadcast write of Torque_Enable = 0: every motor in one packet, not acknowledged.
_ALL_TORQUE_OFF = bytes([0xFF, 0xFF, 0xFE, 0x04, 0x03, 0x28, 0x00, 0xD2])


@dataclass(frozen=True)
class TorqueReport:
    """What reading back confirmed."""

    confirmed: tuple[str, ...]  # joints that are in the wanted state
    failed: Mapping[str, str]  # joint -> what went wrong; its state is unknown

    @property
    def complete(self) -> bool:
        """Whether all six joints are confirmed."""
        return not self.failed

    def __str__(self) -> str:
        """Name the joints that failed."""
        return "; ".join(f"{joint}: {why}" for joint, why in self.failed.items()) or "all six confirmed"


def release_motors(bus: FeetechMotorsBus) -> TorqueReport:
    """Switch torque off, motor by motor, on an open bus. A raised arm falls. Never raises."""
    with contextlib.suppress(*DRIVER_ERRORS):
        bus.port_handler.is_using = False
        bus.port_handler.ser.write(_ALL_TORQUE_OFF)

    def release(joint: str) -> None:
        bus.write("Torque_Enable", joint, 0, num_retry=_RETRIES)
        bus.write("Lock", joint, 0, num_retry=_RETRIES)
        if bus.read("Torque_Enable", joint, num_retry=_RETRIES) != 0:
            raise RuntimeError("torque reads back on")

    return _each(bus, release)


def hold_motors(bus: FeetechMotorsBus) -> TorqueReport:
    """Make each motor hold where it is, energising it if need be, on an open bus. Never raises."""

    def hold(joint: str) -> None:
        present = bus.read("Present_Position", joint, normalize=False, num_retry=_RETRIES)
        # Goal first: switched on with an old goal, a motor would jump.
        bus.write("Goal_Position", joint, present, normalize=False, num_retry=_RETRIES)
        if bus.read("Torque_Enable", joint, num_retry=_RETRIES) != 1:
            bus.write("Torque_Enable", joint, 1, num_retry=_RETRIES)
            bus.write("Lock", joint, 1, num_retry=_RETRIES)
        if bus.read("Torque_Enable", joint, num_retry=_RETRIES) != 1:
            raise RuntimeError("torque reads back off")

    return _each(bus, hold)


def release_all(port: str) -> TorqueReport:
    """Open `port` and switch all torque off; the driver's process should be dead. See `release_motors`."""
    with _open(port) as bus:
        return release_motors(bus)


def _each(bus: FeetechMotorsBus, act: Callable[[str], None]) -> TorqueReport:
    confirmed, failed = [], {}
    for joint in JOINTS:
        try:
            bus.port_handler.is_using = False
            act(joint)
            confirmed.append(joint)
        except DRIVER_ERRORS as error:
            failed[joint] = str(error).strip() or repr(error)
    return TorqueReport(tuple(confirmed), failed)


@contextlib.contextmanager
def _open(port: str) -> Iterator[FeetechMotorsBus]:
    bus = motor_bus(port)
    CleanInput(bus)
    try:
        bus.connect(handshake=False)
    except DRIVER_ERRORS as error:
        raise ArmFault(
            f"cannot open {port} ({error.__cause__ or error}); serial ports here: "
            f"{', '.join(serial_ports()) or 'none'}. Find the arm's with: lerobot-find-port. To take the "
            "force out of the arm now, switch its power off"
        ) from error
    try:
        yield bus
    finally:
        close_port(bus)
