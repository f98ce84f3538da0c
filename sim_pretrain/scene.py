"""The simulated table as MJCF: SO-101, a cube, a wrist camera and a front camera.

Kinematics come from `hilserl.robot.kinematics` (The Robot Studio, Apache-2.0); inertias and joint constants
from the same model. Collision is primitive and named; meshes are seen but never touched.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

import draccus
import numpy as np

from data.errors import UserError
from hilserl.robot.kinematics import GRASP_CENTRE_M, GRIPPER_FRAME_M, JOINT_HIGH_RAD, JOINT_LOW_RAD, LINKS
from sim_pretrain.meshes import Skin, skins

Vec3 = tuple[float, float, float]


@dataclass(frozen=True)
class WorldProfile:
    """Everything that may differ between one table and another. The defaults are the training simulation."""

    # What the cameras see
    native_width_px: int = 160
    native_height_px: int = 120
    camera_fps: float = 20.0
    wrist_position_m: Vec3 = (0.008, -0.065, -0.019)  # in the gripper body; mount side -y
    wrist_pitch_rad: float = 0.398  # towards the finger tips
    wrist_tilt_deg: Vec3 = (0.0, 0.0, 0.0)  # mounting error about the camera's own x, y, z
    wrist_fovy_deg: float = 70.5
    front_position_m: Vec3 = (0.56, 0.0, 0.20)
    front_target_m: Vec3 = (0.22, 0.0, 0.05)
    front_fovy_deg: float = 42.0
    brightness: float = 1.0  # gain on the finished image
    image_noise: float = 0.0  # standard deviation, in grey levels
    light_diffuse: float = 0.6
    light_ambient: float = 0.35
    light_position_m: Vec3 = (0.3, 0.3, 1.2)
    table_rgb: Vec3 = (0.55, 0.50, 0.45)
    table_rgb2: Vec3 = (0.48, 0.44, 0.40)  # second colour of the checker
    robot_rgb: Vec3 = (0.95, 0.75, 0.12)
    cube_rgb: Vec3 = (0.85, 0.10, 0.10)
    # How the metal moves
    servo_gain: float = 60.0  # N m / rad; stands for the servo's P coefficient of 16
    servo_damping: float = 1.5  # N m s / rad
    servo_torque_nm: float = 3.0
    gripper_torque_nm: float = 1.2
    joint_offset_deg: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # encoder minus truth
    action_latency_s: float = 0.0
    camera_latency_s: float = 0.0
    pad_friction: float = 1.0
    cube_half_m: float = 0.015
    cube_mass_kg: float = 0.03


@dataclass(frozen=True)
class RealWorld(WorldProfile):
    """The "real" table of the demo: what a policy from the clean simulation has not seen."""

    wrist_position_m: Vec3 = (0.0116, -0.062, -0.0154)
    wrist_tilt_deg: Vec3 = (-3.0, 1.8, 2.4)
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


INERTIA = {  # body: (centre of mass [m], full inertia [kg m^2]), from SO-ARM100
    "shoulder": ("-0.0307604 0 -0.0252713", "8.38e-5 8.10e-5 2.40e-5 0 -1.2e-6 0"),
    "upper_arm": ("-0.0898471 -0.00838224 0.0184089", "4.08e-5 1.473e-4 1.425e-4 -1.98e-5 0 0"),
    "lower_arm": ("-0.0980701 0.00324376 0.0182831", "2.87e-5 1.598e-4 1.453e-4 7.4e-6 1.3e-6 0"),
    "wrist": ("-0.000103312 -0.0386143 0.0281156", "3.68e-5 2.54e-5 2.10e-5 0 0 3.6e-6"),
    "gripper": ("0.000213627 0.000245138 -0.025187", "2.75e-5 4.34e-5 3.45e-5 0 -5.7e-6 0"),
    "moving_jaw": ("-0.00157495 -0.0300244 0.0192755", "6.61e-6 1.89e-6 5.29e-6 -3.2e-7 0 0"),
}

TOUCH = {  # what can be touched besides the pads: coarse boxes, drawn only where there is no mesh
    "base": '<geom class="touch" type="box" pos="0.01 0 0.035" size="0.045 0.035 0.035"/>',
    "upper_arm": '<geom class="touch" type="capsule" fromto="-0.02 0 0.018 -0.11 0 0.018" size="0.018"/>',
    "lower_arm": '<geom class="touch" type="capsule" fromto="-0.02 0 0.018 -0.12 0 0.018" size="0.016"/>',
    "wrist": '<geom class="touch" type="box" pos="0 -0.03 0.02" size="0.02 0.025 0.02"/>',
    "gripper": '<geom class="touch" type="box" pos="0 0 -0.025" size="0.022 0.02 0.024"/>'
    '<geom class="touch" type="box" pos="-0.0165 0 -0.074" size="0.005 0.010 0.028"/>',
    "moving_jaw": '<geom class="touch" type="box" pos="-0.0035 -0.05 0.019" size="0.005 0.022 0.010"/>',
}

MARKS = {  # sites, the camera and the pads that hang on a body; a pad is 3 mm thick
    "gripper": """
      <site name="gripperframe" group="4" pos="{frame}" quat="0 0 1 0"/>
      <site name="ee" group="4" pos="{ee}"/>
      <camera name="wrist" pos="{wrist_pos}" quat="{wrist_quat}" fovy="{wrist_fovy}"/>
      <geom name="static_pad" class="pad" pos="-0.0095 0 -0.098" size="0.0015 0.006 0.008"/>""",
    "moving_jaw": """
      <geom name="moving_pad" class="pad" pos="-0.0100 -0.0745 0.019" euler="0 0 -0.14" size="0.0015 0.008 0.006"/>""",
}


def build_xml(profile: WorldProfile) -> tuple[str, dict[str, bytes]]:
    """Return the MJCF text and its mesh files {name: bytes}."""
    placed, files = skins()
    fills = {
        "frame": _text(GRIPPER_FRAME_M),
        "ee": _text(GRASP_CENTRE_M),
        "wrist_pos": _text(profile.wrist_position_m),
        "wrist_quat": _text(wrist_quaternion(profile)),
        "wrist_fovy": str(profile.wrist_fovy_deg),
    }
    meshes = "".join(f'<mesh name="{n.removesuffix(".stl")}" file="{n}" inertia="shell"/>' for n in files)
    names = [link.joint for link in LINKS]
    actuators = "".join(
        f'<position name="{n}" joint="{n}" kp="{profile.servo_gain}" kv="{profile.servo_damping}" '
        f'ctrlrange="{lo} {hi}" forcerange="{-torque} {torque}"/>'
        for n, lo, hi, torque in zip(
            names,
            JOINT_LOW_RAD,
            JOINT_HIGH_RAD,
            [profile.servo_torque_nm] * 5 + [profile.gripper_torque_nm],
            strict=True,
        )
    )
    half = profile.cube_half_m
    xml = f"""
<mujoco model="so101_table">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="0.002" integrator="implicitfast" cone="elliptic" impratio="10" noslip_iterations="2"/>
  <visual><map znear="0.01"/><quality shadowsize="0" offsamples="0"/>
    <headlight ambient="{_grey(profile.light_ambient)}" diffuse="0.25 0.25 0.25" specular="0 0 0"/>
    <global offwidth="640" offheight="480"/></visual>
  <statistic center="0.2 0 0.1" extent="0.6"/>
  <default>
    <joint damping="0.6" frictionloss="0.052" armature="0.028"/>
    <default class="skin"><geom type="mesh" contype="0" conaffinity="0" group="2" mass="0"/></default>
    <default class="touch">
      <geom contype="2" conaffinity="1" group="{3 if placed else 2}" mass="0" rgba="{_rgba(profile.robot_rgb)}"/>
    </default>
    <default class="pad">
      <geom type="box" contype="2" conaffinity="1" group="4" mass="0" condim="4" priority="1"
        friction="{profile.pad_friction} 0.02 0.001" solref="0.01 1" solimp="0.95 0.99 0.001"/>
    </default>
  </default>
  <asset>
    <texture name="table" type="2d" builtin="checker" width="64" height="64"
      rgb1="{_text(profile.table_rgb)}" rgb2="{_text(profile.table_rgb2)}"/>
    <material name="table" texture="table" texrepeat="40 40" reflectance="0" specular="0"/>
    {meshes}
  </asset>
  <worldbody>
    <light pos="{_text(profile.light_position_m)}" dir="{_text(-np.array(profile.light_position_m))}"
      diffuse="{_grey(profile.light_diffuse)}" ambient="0 0 0" specular="0 0 0" castshadow="false"/>
    <geom name="table" type="plane" size="1 1 0.01" material="table" contype="1" conaffinity="3" condim="4"/>
    <camera name="front" pos="{_text(profile.front_position_m)}"
      xyaxes="{_text(_look(profile.front_position_m, profile.front_target_m))}" fovy="{profile.front_fovy_deg}"/>
    <body name="cube" pos="0.23 0 {half}">
      <freejoint name="cube"/>
      <geom name="cube" type="box" size="{half} {half} {half}" mass="{profile.cube_mass_kg}" contype="1"
        conaffinity="3" condim="4" friction="0.8 0.02 0.001" rgba="{_rgba(profile.cube_rgb)}"/>
    </body>
    <body name="base">
      <inertial pos="0.0137 0 0.0335" mass="0.147" diaginertia="1.147e-4 1.361e-4 1.304e-4"/>
      {_geoms("base", placed, profile)}
      {_links(0, placed, profile, fills)}
    </body>
  </worldbody>
  <contact>{"".join(f'<exclude body1="{a}" body2="{b}"/>' for a, b in _neighbours())}</contact>
  <actuator>{actuators}</actuator>
</mujoco>"""
    return xml, files


def wrist_quaternion(profile: WorldProfile) -> np.ndarray:
    """Return the camera's orientation in the gripper body, (w, x, y, z): looks along the fingers, then tilts."""

    def turn(axis: int, angle_rad: float) -> np.ndarray:
        q = np.array([np.cos(angle_rad / 2), 0.0, 0.0, 0.0])
        q[1 + axis] = np.sin(angle_rad / 2)
        return q

    result = _times(turn(0, profile.wrist_pitch_rad), turn(2, np.pi))
    for axis, degrees in enumerate(profile.wrist_tilt_deg):
        result = _times(result, turn(axis, np.radians(degrees)))
    return result


def _links(index: int, placed: list[Skin], profile: WorldProfile, fills: dict[str, str]) -> str:
    """The serial chain from link `index` on; the jaw hangs on the gripper like any other link."""
    if index == len(LINKS):
        return ""
    link = LINKS[index]
    centre, inertia = INERTIA[link.body]
    return f"""<body name="{link.body}" pos="{_text(link.position_m)}" quat="{_text(link.quaternion)}">
      <inertial pos="{centre}" mass="{link.mass_kg}" fullinertia="{inertia}"/>
      <joint name="{link.joint}" axis="0 0 1" range="{JOINT_LOW_RAD[index]} {JOINT_HIGH_RAD[index]}"/>
      {_geoms(link.body, placed, profile)}
      {MARKS.get(link.body, "").format(**fills)}
      {_links(index + 1, placed, profile, fills)}
    </body>"""


def _geoms(body: str, placed: list[Skin], profile: WorldProfile) -> str:
    colours = {False: _rgba(profile.robot_rgb), True: "0.1 0.1 0.1 1"}
    skin = "".join(
        f'<geom class="skin" mesh="{s.mesh}" pos="{s.position}" quat="{s.quaternion}" rgba="{colours[s.is_motor]}"/>'
        for s in placed
        if s.body == body
    )
    return skin + TOUCH.get(body, "")


def _neighbours() -> list[tuple[str, str]]:
    """Pairs of bodies that touch by construction: each link with its next two."""
    chain = ["base", *(link.body for link in LINKS)]
    return [(a, b) for i, a in enumerate(chain) for b in chain[i + 1 : i + 3]]


def _look(position: Vec3, target: Vec3) -> np.ndarray:
    """MuJoCo camera axes x, y for a camera at `position` that looks at `target` with z up."""
    z = np.array(position) - np.array(target)
    x = np.cross((0.0, 0.0, 1.0), z)
    y = np.cross(z, x)
    return np.concatenate((x / np.linalg.norm(x), y / np.linalg.norm(y)))


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Quaternion product."""
    w, v = a[0] * b[0] - a[1:] @ b[1:], a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:])
    return np.concatenate(([w], v))


def _text(values: object) -> str:
    return " ".join(f"{v:.9g}" for v in np.asarray(values, float))


def _rgba(rgb: Vec3) -> str:
    return f"{_text(rgb)} 1"


def _grey(value: float) -> str:
    return _text((value, value, value))
