"""The six motors register by register, by the servo maker's SDK alone: quick to import, no matter which are dead.

Works on the bus of LeRobot's driver, and, when that is gone, on a port of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from hilserl.robot.bus import DRIVER_ERRORS, ArmFault, CleanInput, alarms, close_port, serial_ports
from hilserl.robot.kinematics import JOINTS

REGISTERS = {  # address, bytes; what is looked at beside the positions has one byte, so that no answer can be mistaken
    "Max_Torque_Limit": (16, 2),  # 0.1 % of full torque, as the next
    "Torque_Enable": (40, 1),
    "Goal_Position": (42, 2),
    "Torque_Limit": (48, 2),
    "Lock": (55, 1),
    "Present_Position": (56, 2),
    "Present_Voltage": (62, 1),  # 0.1 V
    "Present_Temperature": (63, 1),  # degrees Celsius
    "Present_Current": (69, 1),  # the low byte, in 6.5 mA: up to 1.6 A, where the servo protects itself
}
_RETRIES = 2


class Motors:
    """An open bus. An alarm that a motor sends with an answer is no error here: an overloaded one must let go, too."""

    def __init__(self, port_handler: Any, packet_handler: Any) -> None:
        """Use the SDK's objects, those in LeRobot's `FeetechMotorsBus` for example."""
        self.port_handler, self.packet_handler = port_handler, packet_handler

    def read(self, register: str, joint: str) -> int:
        """Return the raw register; ConnectionError when the motor does not answer."""
        return self.ask(register, joint)[0]

    def ask(self, register: str, joint: str) -> tuple[int, int]:
        """Return the raw register and the bits of the motor's alarms; ConnectionError when it does not answer."""
        address, size = REGISTERS[register]
        ask = self.packet_handler.read1ByteTxRx if size == 1 else self.packet_handler.read2ByteTxRx
        for _ in range(1 + _RETRIES):
            self.port_handler.is_using = False  # stuck after an error inside a transaction
            value, failed, alarm = ask(self.port_handler, JOINTS.index(joint) + 1, address)
            if not failed:
                return int(value), int(alarm)
        raise ConnectionError(f"{register}: {self.packet_handler.getTxRxResult(failed)}")

    def write(self, register: str, joint: str, value: int) -> None:
        """Write the raw register; ConnectionError when the motor does not acknowledge it."""
        address, size = REGISTERS[register]
        for _ in range(1 + _RETRIES):
            self.port_handler.is_using = False
            data = list(value.to_bytes(size, "little"))
            failed, _ = self.packet_handler.writeTxRx(self.port_handler, JOINTS.index(joint) + 1, address, size, data)
            if not failed:
                return
        raise ConnectionError(f"{register}: {self.packet_handler.getTxRxResult(failed)}")

    def alarms(self) -> str:
        """Return in words which motors report an alarm, and what to do; "" when none that answers does."""
        found = []
        for joint in JOINTS:
            with contextlib.suppress(*DRIVER_ERRORS):
                found.append(alarms(joint, self.ask("Present_Temperature", joint)[1]))
        return "; ".join(filter(None, found))


@contextlib.contextmanager
def open_motors(port: str) -> Iterator[Motors]:
    """Open the bus on `port`, whoever else has it open.

    Raises:
        ArmFault: there is no such port.
    """
    from scservo_sdk import PacketHandler, PortHandler

    motors = Motors(PortHandler(port), PacketHandler(0))
    CleanInput(motors)
    try:
        motors.port_handler.openPort()
    except DRIVER_ERRORS as error:
        raise ArmFault(
            f"cannot open {port} ({error}); serial ports here: {', '.join(serial_ports()) or 'none'}. Find the arm's "
            "with: lerobot-find-port. To take the force out of the arm now, switch its power off"
        ) from error
    try:
        yield motors
    finally:
        close_port(motors)
