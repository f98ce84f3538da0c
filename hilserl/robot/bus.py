"""What LeRobot's Feetech bus needs around it: a cleared input, faults in words, one owner per port.

The traps behind this file were measured; see `research/emulation.md` Q1.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import serial
from serial.tools import list_ports

from hilserl.robot.fault import RobotFault

READ_RETRIES = 2
QUIET_S = 0.01  # a line on which nothing comes for so long is quiet: six answers take 0.5 ms, a USB adapter up to 5
_READ, _SYNC_READ, _BROADCAST = 0x02, 0x82, 0xFE
# What a servo reports beside its answer, by bit (scservo_sdk.protocol_packet_handler), and what to do about it.
_ALARMS = {
    1: "its supply voltage is wrong. Check the power supply: 12 V or 7.4 V, as the motors are, and 5 A",
    2: "its angle sensor fails. Switch the arm off and on; if it stays so, replace the motor",
    4: "it is too hot and lets go. Support the arm, switch it off and let it cool",
    8: "it draws too much current. Switch the arm off and look for what is jammed or short-circuited",
    32: "overload: it pushed against something for too long, and now pushes weakly. Take that away, then go on",
}
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


class CleanInput:
    """Makes sure that a bus never takes an earlier answer for the one that it waits for.

    The driver's `clearPort` flushes output only, so after a damaged packet the leftover bytes are taken for the next
    answer, and every later reading is one frame old, without an error. Nor does it look at the length of an answer:
    that to another question of the same motor passes, and what is missing of it reads as zero. Here the input is
    cleared before every transaction, after a broken one only when the line has become quiet, and answers of another
    length are left out.
    """

    def __init__(self, bus: Any) -> None:  # LeRobot's, or `motors.Motors`: anything with the SDK's two handlers
        """Put this between the SDK and the port, for good."""
        self._port, packets = bus.port_handler, bus.packet_handler
        self._write_port, self._read_port = self._port.writePort, self._port.readPort
        self._receive = packets.rxPacket
        self._port.clearPort, self._port.writePort, self._port.readPort = self, self._write, self._read
        packets.rxPacket = self._packet
        self._length, self._owed = 2, 0  # of each answer that is due, as packets count it; bytes that are still to come

    def __call__(self) -> None:
        """Drop what was received and not read."""
        if self._owed > 0 and self._port.ser.is_open:  # of a closed port, `in_waiting` raises TypeError
            waiting, since_s = self._port.ser.in_waiting, time.monotonic()
            while time.monotonic() - since_s < QUIET_S:
                if self._port.ser.in_waiting != waiting:
                    waiting, since_s = self._port.ser.in_waiting, time.monotonic()
        self._port.ser.reset_input_buffer()

    def require(self) -> None:
        """Raise ArmFault when something has put another `clearPort` in place."""
        if self._port.clearPort is not self:
            raise ArmFault(
                "the serial port's clearPort was replaced while the arm was in use; readings would silently "
                "be old. Restart the program; if it happens again, report it with your LeRobot version"
            )

    def _write(self, packet: list[int]) -> int:
        motor, instruction = packet[2], packet[4]
        data, answers = 0, int(motor != _BROADCAST)
        if instruction == _READ:
            data = packet[6]
        elif instruction == _SYNC_READ:
            data, answers = packet[6], packet[3] - 4
        self._length, self._owed = data + 2, answers * (data + 6)
        return self._write_port(packet)  # type: ignore[no-any-return]

    def _read(self, length: int) -> bytes:
        found: bytes = self._read_port(length)
        self._owed -= len(found)
        return found

    def _packet(self, port: Any) -> tuple[list[int], int]:
        while True:
            packet, failed = self._receive(port)
            if failed or packet[3] == self._length:
                return packet, failed


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


def close_port(bus: Any) -> None:
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


def alarms(joint: str, bits: int) -> str:
    """Return in words what a motor reports beside an answer, and what to do; "" when all is well."""
    return "; ".join(f"{joint}: {words}" for bit, words in _ALARMS.items() if bits & bit)


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
