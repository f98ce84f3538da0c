"""What LeRobot's Feetech bus needs around it: a cleared input, faults in words, one owner per port.

The traps behind this file were measured; see `research/emulation.md` Q1.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import serial
from serial.tools import list_ports

from hilserl.robot.fault import RobotFault
from hilserl.robot.kinematics import JOINTS

if TYPE_CHECKING:
    from lerobot.motors.feetech import FeetechMotorsBus

READ_RETRIES = 2
# An unplugged port raises termios.error, which is no OSError; a servo that reports overload, RuntimeError.
DRIVER_ERRORS = (OSError, RuntimeError, IndexError, termios.error, serial.SerialException)


class ArmFault(RobotFault):
    """The arm did not do what it was told; it holds its last goal. The message ends with what to do."""


class BusFault(ArmFault):
    """The motors did not answer (in time, or rightly). Trying again can help."""


def serial_ports() -> list[str]:
    """Return the serial ports of this machine, stable names (`/dev/serial/by-id`) first."""
    by_id = sorted(str(p) for p in Path("/dev/serial/by-id").glob("*"))
    return by_id + sorted(p.device for p in list_ports.comports())


def motor_bus(port: str) -> FeetechMotorsBus:
    """Return a closed bus to the six motors of an SO-101, without calibration: raw ticks only."""
    from lerobot.motors import Motor, MotorNormMode
    from lerobot.motors.feetech import FeetechMotorsBus

    motors = {j: Motor(i, "sts3215", MotorNormMode.RANGE_0_100) for i, j in enumerate(JOINTS, start=1)}
    return FeetechMotorsBus(port, motors)


class CleanInput:
    """Clears the receive buffer of a bus before every transaction.

    The driver's `clearPort` flushes output only: after a damaged packet the leftover bytes are taken for the
    next answer, and every later reading is one frame old, without an error.
    """

    def __init__(self, bus: FeetechMotorsBus) -> None:
        """Replace `clearPort` of the bus's port, for good."""
        self._port = bus.port_handler
        self._port.clearPort = self

    def __call__(self) -> None:
        """Drop what was received and not read."""
        self._port.ser.reset_input_buffer()

    def require(self) -> None:
        """Raise ArmFault when something has put another `clearPort` in place."""
        if self._port.clearPort is not self:
            raise ArmFault(
                "the serial port's clearPort was replaced while the arm was in use; readings would silently "
                "be old. Restart the program; if it happens again, report it with your LeRobot version"
            )


def claim(port: str) -> int:
    """Take `port` for this process and return a file descriptor; closing it gives the port back.

    The kernel gives it back too when the process dies. `guard` does not ask: it must work at any time.

    Raises:
        ArmFault: there is no such port, or another program of ours drives this arm. Two drivers on one bus
            take each other's packets.
    """
    try:
        descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise ArmFault(
            f"cannot open the arm's port {port} ({error.strerror}); serial ports here: "
            f"{', '.join(serial_ports()) or 'none'}. Find the arm's with: lerobot-find-port "
            "(no arm at hand? start an emulated one with: hilserl rig)"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ArmFault(
            f"{port} is in use by another program that drives this arm; one at a time is accepted. "
            f"Stop the other one first; this shows which it is: fuser {port}"
        ) from None
    return descriptor


def close_port(bus: FeetechMotorsBus) -> None:
    """Close the port without touching torque; never raises. The bus can be connected again afterwards."""
    bus.port_handler.is_using = False  # stuck after an error inside a transaction
    if bus.port_handler.ser is not None:
        with contextlib.suppress(*DRIVER_ERRORS):
            bus.port_handler.closePort()
    bus.port_handler.is_open = False


@contextlib.contextmanager
def faults(what: str, port: str, advice: str) -> Iterator[None]:
    """Turn whatever the driver raises within the block into a BusFault that says `what` failed."""
    try:
        yield
    except ArmFault:
        raise
    except DRIVER_ERRORS as error:
        raise BusFault(f"{what} failed on {port}: {str(error).strip() or repr(error)}. {advice}") from error


def is_configured(robot: Any) -> bool:
    """Whether all motors of a follower are energised and hold what `robot.configure` would write."""
    config, bus = robot.config, robot.bus
    everywhere = {
        "Torque_Enable": 1,
        "Return_Delay_Time": 0,
        "Maximum_Acceleration": 254,
        "Acceleration": 254,
        "Operating_Mode": 0,
        "P_Coefficient": config.position_p_coefficient,
        "I_Coefficient": config.position_i_coefficient,
        "D_Coefficient": config.position_d_coefficient,
    }
    gripper = {"Max_Torque_Limit": 500, "Protection_Current": 250, "Overload_Torque": 25}
    return (
        all(set(bus.sync_read(r, num_retry=READ_RETRIES).values()) == {v} for r, v in everywhere.items())
        and all(bus.read(r, "gripper", num_retry=READ_RETRIES) == v for r, v in gripper.items())
        and not any(phase & 0x10 for phase in bus.sync_read("Phase", num_retry=READ_RETRIES).values())
    )
