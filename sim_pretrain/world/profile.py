"""A table as data: everything that may differ between one table and another, and its JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import draccus

from data.errors import UserError

Side = Literal["-y", "+y"]
Vec3 = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


@dataclass(frozen=True)
class WorldProfile:
    """Everything that may differ between one table and another. The defaults are the training simulation."""

    # What the cameras see
    native_width_px: int = 160
    native_height_px: int = 120
    camera_fps: float = 20.0
    wrist_mount: Side = "-y"  # side of the gripper; +y is half a turn about the gripper's axis
    wrist_position_m: Vec3 = (0.008, -0.065, -0.019)  # in the gripper body, for mount side -y
    wrist_quaternion: Quaternion = (0.0, 0.0, -0.1976892, 0.9802648)  # w, x, y, z; looks along the fingers, 22.8 deg
    wrist_tilt_deg: Vec3 = (0.0, 0.0, 0.0)  # mounting error about the camera's own x, y, z
    wrist_fovy_deg: float = 70.5
    front_position_m: Vec3 = (0.56, 0.0, 0.20)
    front_target_m: Vec3 = (0.22, 0.0, 0.05)
    front_fovy_deg: float = 42.0
    brightness: float = 1.0  # gain on the finished image
    white_balance: Vec3 = (1.0, 1.0, 1.0)  # gains on its red, green and blue
    gamma: float = 1.0  # exponent on its grey levels, as shares of white; above 1 darkens the middle
    image_noise: float = 0.0  # standard deviation, in grey levels
    light_diffuse: float = 0.6
    light_ambient: float = 0.35
    light_position_m: Vec3 = (0.3, 0.3, 1.2)
    table_rgb: Vec3 = (0.55, 0.50, 0.45)
    table_rgb2: Vec3 = (0.48, 0.44, 0.40)  # second colour of the checker
    robot_rgb: Vec3 = (0.95, 0.75, 0.12)
    cube_rgb: Vec3 = (0.85, 0.10, 0.10)
    target_rgb: Vec3 = (0.92, 0.92, 0.90)  # bowl or paper
    # How the metal moves
    servo_gain: float = 60.0  # N m / rad; stands for the servo's P coefficient of 16
    servo_damping: float = 1.5  # N m s / rad
    servo_torque_nm: float = 3.0
    gripper_torque_nm: float = 1.2
    joint_offset_deg: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # encoder minus truth
    backlash_deg: float = 0.0  # play of every joint behind its servo; the encoder is on the servo's side
    action_latency_s: float = 0.0  # from a goal that is sent to the servo that heeds it
    observation_latency_s: float = 0.0  # from a joint angle to the reading of it
    camera_latency_s: float = 0.0  # from a frame's exposure to its arrival
    pad_friction: float = 1.0
    cube_half_m: float = 0.015
    cube_mass_kg: float = 0.03


@dataclass(frozen=True)
class RealWorld(WorldProfile):
    """The "real" table of the demo: its wrist camera sits on another bracket than any that pretraining has drawn."""

    wrist_position_m: Vec3 = (0.0228, -0.0534, -0.0072)  # 22 mm from the training camera, and turned by 8 degrees
    wrist_tilt_deg: Vec3 = (-5.6, 3.6, 4.6)
    wrist_fovy_deg: float = 73.5
    front_position_m: Vec3 = (0.54, 0.05, 0.22)
    front_fovy_deg: float = 45.0
    brightness: float = 0.88
    image_noise: float = 3.0
    light_diffuse: float = 0.8
    light_ambient: float = 0.25
    light_position_m: Vec3 = (-0.2, -0.5, 1.0)
    table_rgb: Vec3 = (0.62, 0.60, 0.56)
    table_rgb2: Vec3 = (0.60, 0.58, 0.55)
    cube_rgb: Vec3 = (0.80, 0.22, 0.12)
    servo_gain: float = 45.0
    joint_offset_deg: tuple[float, ...] = (1.0, -1.0, 1.0, -1.0, 0.5, 0.0)
    action_latency_s: float = 0.03
    camera_latency_s: float = 0.03
    pad_friction: float = 0.9


@dataclass(frozen=True)
class HardWorld(RealWorld):
    """A table on which the shipped policy hardly ever succeeds: the bracket stands 2 mm further off, turned by 9°."""

    wrist_position_m: Vec3 = (0.024, -0.053, -0.006)
    wrist_tilt_deg: Vec3 = (-6.0, 4.0, 5.0)


def read_profile[P: WorldProfile](path: Path, kind: type[P]) -> P:
    """Read a profile from JSON; fields that the file does not name keep the defaults of `kind`.

    Raises:
        UserError: the file is not there, is no JSON, or names an unknown field.
    """
    try:
        return draccus.decode(kind, json.loads(path.read_text()))
    except (OSError, ValueError, draccus.ParsingError) as error:
        names = ", ".join(f.name for f in fields(kind))
        raise UserError(
            f"{path} is no world profile: {error}. Accepted is a JSON object with any of: {names}"
        ) from error
