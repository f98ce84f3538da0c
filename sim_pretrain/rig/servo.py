"""One emulated STS3215 servo: its register image, and the calibration that belongs to it.

Encoder convention. A turn has 4096 ticks, and joint angle 0 rad reads tick 2048 once the homing offset is
taken off. LeRobot's degree zero is the middle of `range_min..range_max`, so the body joints get a range that
is symmetric about 2048, and degree 0 is exactly joint 0 rad. The only joint whose limits are not symmetric is
wrist_roll (-2.74385..2.84121 rad): it loses its last 0.097 rad. The gripper's range spans its joint limits,
to half a tick. LeRobot divides a turn by 4095 where the servo has 4096, so its degrees are 0.024 % too large,
and it truncates goals to whole ticks; it does the same to a real arm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, JOINTS

TICKS_PER_RAD = 4096 / (2 * math.pi)
CENTRE_TICK = 2048

# Register addresses of the STS series; two bytes where a comment says so, little-endian.
MODEL_NUMBER, ID = 3, 5  # model: 2
MIN_POSITION, MAX_POSITION = 9, 11  # 2 each
P_COEFFICIENT, HOMING_OFFSET = 21, 31  # offset: 2, sign bit 11
TORQUE_ENABLE, GOAL_POSITION, TORQUE_LIMIT, LOCK = 40, 42, 48, 55  # goal: 2, sign bit 15; limit: 2, in 0.1 %
PRESENT_POSITION, PRESENT_VELOCITY, PRESENT_LOAD = 56, 58, 60  # 2 each; sign bits 15, 15, 10
PRESENT_VOLTAGE, PRESENT_TEMPERATURE, MOVING, PRESENT_CURRENT = 62, 63, 66, 69  # current: 2
_MEASURED = range(PRESENT_POSITION, PRESENT_CURRENT + 2)

# What a servo of an SO-101 holds when power comes on; registers that are not named are 0.
_POWER_ON = {0: 3, 1: 10, 8: 1, 13: 70, 14: 140, 15: 40, 18: 28, 19: 44, 20: 47, 21: 32, 22: 32, 26: 1, 27: 1}
_POWER_ON |= {
    30: 1,
    34: 20,
    35: 200,
    36: 80,
    37: 10,
    38: 200,
    39: 10,
    41: 254,
    80: 1,
    81: 20,
    84: 80,
    85: 254,
}
_POWER_ON_WORDS = {MODEL_NUMBER: 777, 16: 1000, 28: 500, TORQUE_LIMIT: 1000}

# How the horns happen to sit on the splines of this arm: what homing offsets are there to take off.
_MOUNT_TICKS = (-37, 112, -845, 310, 64, -703)


class Plant(Protocol):
    """The mechanics behind the six servos. Called from the bus thread; must not block."""

    def positions_rad(self) -> np.ndarray:
        """Return the joint angles, float [6], rad."""

    def set_goal_rad(self, index: int, goal_rad: float) -> None:
        """Drive one joint to an angle, rad."""

    def set_torque(self, index: int, on: bool) -> None:
        """Energise one joint, or let it go limp."""

    def set_stiffness(self, index: int, p_coefficient: int, torque_limit: int) -> None:
        """Set the position gain of one servo and its greatest torque, in 0.1 % of full; may do nothing."""


@dataclass(frozen=True)
class JointCalibration:
    """One entry of a LeRobot calibration file; ticks."""

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int


def rig_calibration() -> dict[str, JointCalibration]:
    """Return the calibration that the emulated arm comes with, by joint name."""
    entries = {}
    for index, name in enumerate(JOINTS):
        low, high = JOINT_LOW_RAD[index] * TICKS_PER_RAD, JOINT_HIGH_RAD[index] * TICKS_PER_RAD
        if name == "gripper":
            range_min, range_max = CENTRE_TICK + round(low), CENTRE_TICK + round(high)
        else:  # rounded inwards: the servo itself then never asks for more than the joint has
            half = math.floor(min(-low, high))
            range_min, range_max = CENTRE_TICK - half, CENTRE_TICK + half
        entries[name] = JointCalibration(index + 1, 0, _MOUNT_TICKS[index], range_min, range_max)
    return entries


def write_calibration(path: Path) -> None:
    """Write the rig's calibration as LeRobot reads it (`calibration_dir/<id>.json`)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({name: asdict(entry) for name, entry in rig_calibration().items()}, indent=4))


def effort(error_ticks: float, p_coefficient: int, torque_limit: int) -> float:
    """Return the torque of a servo that is this far from its goal, in 0.1 % of full torque."""
    return max(-float(torque_limit), min(error_ticks * p_coefficient / 4, float(torque_limit)))


def sign_magnitude(value: int, sign_bit: int) -> int:
    """Encode as the servos do: magnitude, saturated, and a sign bit above it."""
    return min(abs(value), (1 << sign_bit) - 1) | (int(value < 0) << sign_bit)


def from_sign_magnitude(word: int, sign_bit: int) -> int:
    """Decode what `sign_magnitude` encodes."""
    magnitude = word & ((1 << sign_bit) - 1)
    return -magnitude if word >> sign_bit & 1 else magnitude


class Servo:
    """256 bytes of registers that move a joint. Power-on state: calibrated, torque off."""

    def __init__(self, index: int, plant: Plant, clock: Callable[[], float]):
        """Build servo `index` (0..5, id `index` + 1) on a plant; `clock` (s) dates the velocity."""
        self._index, self._plant, self._clock = index, plant, clock
        self._mount_ticks = _MOUNT_TICKS[index]
        self.registers = bytearray(256)
        for address, value in _POWER_ON.items():
            self.registers[address] = value
        for address, value in _POWER_ON_WORDS.items():
            self._set_word(address, value)
        entry = rig_calibration()[JOINTS[index]]
        self.registers[ID] = entry.id
        self._set_word(MIN_POSITION, entry.range_min)
        self._set_word(MAX_POSITION, entry.range_max)
        self._set_word(HOMING_OFFSET, sign_magnitude(entry.homing_offset, 11))
        self.temperature_c, self.supply_v = 34, 12.0
        self.alarm = 0  # the bits that go with every answer, 0x20 is overload
        self._velocity_ticks_s = 0.0
        self._sample = (clock(), self._present_ticks())
        self._plant.set_stiffness(index, *self._stiffness())
        self._hold_here()

    @property
    def id(self) -> int:
        """Bus id, as written in the register."""
        return self.registers[ID]

    @property
    def torque_on(self) -> bool:
        """Whether the servo is energised."""
        return self.registers[TORQUE_ENABLE] == 1

    def read(self, address: int, length: int) -> bytes:
        """Return registers; measured ones are measured now. Addresses past the end read 0."""
        if address < _MEASURED.stop and address + length > _MEASURED.start:
            self._measure()
        return bytes(self.registers[address : address + length]).ljust(length, b"\0")

    def write(self, address: int, data: bytes) -> None:
        """Write registers and act on them; read-only ones and addresses past the end are ignored."""
        was_on = self.torque_on
        for offset, value in enumerate(data, address):
            if ID <= offset < 256 and offset not in _MEASURED:
                self.registers[offset] = value
        touched = range(address, address + len(data))
        if P_COEFFICIENT in touched or TORQUE_LIMIT in touched:
            self._plant.set_stiffness(self._index, *self._stiffness())
        if TORQUE_ENABLE in touched and self.torque_on != was_on:
            if self.torque_on and GOAL_POSITION not in touched:
                self._hold_here()
            self._plant.set_torque(self._index, self.torque_on)
        if GOAL_POSITION in touched and self.torque_on:
            self._drive()

    def _hold_here(self) -> None:
        """Take the present position as the goal, so that energising does not make the arm jump."""
        self._set_word(GOAL_POSITION, sign_magnitude(self._present_ticks(), 15))
        self._plant.set_goal_rad(self._index, float(self._plant.positions_rad()[self._index]))

    def _drive(self) -> None:
        goal = from_sign_magnitude(self._word(GOAL_POSITION), 15)
        low, high = self._word(MIN_POSITION), self._word(MAX_POSITION)
        if low < high:  # equal limits: the servo turns without end
            goal = min(max(goal, low), high)
        actual = goal + from_sign_magnitude(self._word(HOMING_OFFSET), 11)
        self._plant.set_goal_rad(self._index, (actual - CENTRE_TICK - self._mount_ticks) / TICKS_PER_RAD)

    def _present_ticks(self) -> int:
        angle_rad = float(self._plant.positions_rad()[self._index])
        actual = round(CENTRE_TICK + self._mount_ticks + angle_rad * TICKS_PER_RAD)
        return actual - from_sign_magnitude(self._word(HOMING_OFFSET), 11)

    def _measure(self) -> None:
        now_s, ticks = self._clock(), self._present_ticks()
        then_s, before = self._sample
        if now_s - then_s > 0.01:  # over less, one tick of noise would read as a speed
            self._velocity_ticks_s = (ticks - before) / (now_s - then_s)
            self._sample = (now_s, ticks)
        velocity = round(self._velocity_ticks_s)
        error = from_sign_magnitude(self._word(GOAL_POSITION), 15) - ticks
        load = round(effort(error, *self._stiffness())) if self.torque_on else 0
        self._set_word(PRESENT_POSITION, sign_magnitude(ticks, 15))
        self._set_word(PRESENT_VELOCITY, sign_magnitude(velocity, 15))
        self._set_word(PRESENT_LOAD, sign_magnitude(load, 10))
        self._set_word(PRESENT_CURRENT, abs(load) // 5)  # 6.5 mA units: 1.3 A when stalled
        self.registers[PRESENT_VOLTAGE] = round(10 * self.supply_v)
        self.registers[PRESENT_TEMPERATURE] = self.temperature_c
        self.registers[MOVING] = int(abs(velocity) > 10)

    def _stiffness(self) -> tuple[int, int]:
        return self.registers[P_COEFFICIENT], min(self._word(TORQUE_LIMIT), 1000)

    def _word(self, address: int) -> int:
        return int.from_bytes(self.registers[address : address + 2], "little")

    def _set_word(self, address: int, value: int) -> None:
        self.registers[address : address + 2] = value.to_bytes(2, "little")
