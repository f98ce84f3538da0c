"""Between encoder ticks and our radians, by the calibration that LeRobot keeps.

The body joints read 0 rad in the middle of their calibrated range, as in LeRobot's degrees and the published
model. The gripper's range, 0..100 % in LeRobot, spans the joint range of the model. Working in ticks leaves
out LeRobot's truncation to whole ticks and makes `use_degrees` irrelevant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hilserl.robot.bus import ArmFault
from hilserl.robot.joints import JointLimits
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, JOINTS

RAD_PER_TICK = 2 * np.pi / 4096
MARGIN_RAD = 0.02  # kept from the calibrated ends of the body joints, which are mechanical stops
_MIN_SPAN_TICKS = 400  # 35 degrees; a smaller range comes from a joint that was not moved


class MotorCalibration(Protocol):
    """The fields of LeRobot's `MotorCalibration` that matter here; ticks."""

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int


@dataclass(frozen=True)
class TickScale:
    """angle = (tick - zero_tick) × rad_per_tick, joint by joint."""

    zero_tick: np.ndarray  # float64 [6]
    rad_per_tick: np.ndarray  # float64 [6]
    low_tick: np.ndarray  # int64 [6]
    high_tick: np.ndarray  # int64 [6]

    def to_rad(self, ticks: np.ndarray) -> np.ndarray:
        """Return angles [6] rad."""
        return (np.asarray(ticks, np.float64) - self.zero_tick) * self.rad_per_tick

    def to_ticks(self, angles_rad: np.ndarray) -> np.ndarray:
        """Return the nearest ticks within the calibrated range, int64 [6]."""
        ticks = np.rint(np.asarray(angles_rad) / self.rad_per_tick + self.zero_tick).astype(np.int64)
        return np.clip(ticks, self.low_tick, self.high_tick)

    def limits(self, margin_rad: float = MARGIN_RAD) -> JointLimits:
        """Return the calibrated range, less a margin on the body joints."""
        ends = np.stack([self.to_rad(self.low_tick), self.to_rad(self.high_tick)])
        margin = np.array([margin_rad] * 5 + [0.0])
        return JointLimits(ends.min(axis=0) + margin, ends.max(axis=0) - margin)


def tick_scale(calibration: Mapping[str, MotorCalibration]) -> TickScale:
    """Return the scale of a calibration in which `problems` finds nothing."""
    low = np.array([calibration[j].range_min for j in JOINTS])
    high = np.array([calibration[j].range_max for j in JOINTS])
    zero, scale = (low + high) / 2, np.full(6, RAD_PER_TICK)
    closed, opened = (low[5], high[5]) if not calibration["gripper"].drive_mode else (high[5], low[5])
    scale[5] = (JOINT_HIGH_RAD[5] - JOINT_LOW_RAD[5]) / (opened - closed)
    zero[5] = closed - JOINT_LOW_RAD[5] / scale[5]
    return TickScale(zero, scale, low, high)


def problems(calibration: Mapping[str, MotorCalibration]) -> list[str]:
    """Return what makes a calibration unusable, one line per finding; empty when it is fine."""
    found = [f"{joint} is missing" for joint in JOINTS if joint not in calibration]
    for joint in JOINTS:
        if joint in calibration:
            entry = calibration[joint]
            span = entry.range_max - entry.range_min
            if span < _MIN_SPAN_TICKS:
                found.append(
                    f"{joint} spans {span} ticks ({entry.range_min}..{entry.range_max}); "
                    f"accepted are at least {_MIN_SPAN_TICKS}: it was not moved through its range"
                )
    return found


def differences(file: Mapping[str, MotorCalibration], motors: Mapping[str, MotorCalibration]) -> list[str]:
    """Return where a calibration file and the motors disagree, one line per joint."""
    lines = []
    for joint in JOINTS:
        ours, theirs = file[joint], motors[joint]
        pairs = [
            f"{name} file {getattr(ours, name)}, motor {getattr(theirs, name)}"
            for name in ("homing_offset", "range_min", "range_max")
            if getattr(ours, name) != getattr(theirs, name)
        ]
        if pairs:
            lines.append(f"{joint}: " + "; ".join(pairs))
    return lines


def require_calibration_file(robot: Any) -> None:
    """Raise ArmFault unless a LeRobot follower or leader has loaded a usable calibration file."""
    found = problems(robot.calibration) if robot.calibration else ["there is no such file (or it is empty)"]
    if found:
        raise ArmFault(
            f"calibration file {robot.calibration_fpath}: {'; '.join(found)}. "
            f"Calibrate with: {_calibrate_command(robot)}"
        )


def require_same_calibration(robot: Any) -> None:
    """Raise ArmFault unless the motors of a connected follower or leader hold what its calibration file says."""
    if not robot.bus.is_calibrated:
        option, lines = _option(robot), differences(robot.calibration, robot.bus.read_calibration())
        raise ArmFault(
            f"calibration file {robot.calibration_fpath} is not that of the arm on {robot.config.port}, so "
            "angles would be wrong:\n  " + "\n  ".join(lines) + "\nIs it the wrong file or port? Give the right "
            f"--{option}.id or --{option}.port. Is it the right one? Write it to the motors (press Enter there) or "
            f"calibrate anew: {_calibrate_command(robot)}"
        )


def _calibrate_command(robot: Any) -> str:
    option = _option(robot)
    kind = "so101_leader" if option == "teleop" else "so101_follower"
    where = f"--{option}.port={robot.config.port} --{option}.id={robot.id or 'my_arm'}"
    return f"lerobot-calibrate --{option}.type={kind} {where}"


def _option(robot: Any) -> str:
    """What LeRobot's flags for this arm begin with."""
    return "teleop" if robot.name == "so_leader" else "robot"
