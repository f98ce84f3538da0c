"""The simulated table as MJCF: SO-101, a cube, a wrist camera and a front camera.

Kinematics come from `hilserl.robot.kinematics` (The Robot Studio, Apache-2.0); inertias and joint constants
from the same model. Collision is primitive and named; meshes are seen but never touched.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from hilserl.robot.kinematics import GRASP_CENTRE_M, GRIPPER_FRAME_M, JOINT_HIGH_RAD, JOINT_LOW_RAD, LINKS
from sim_pretrain.world.meshes import Skin, skins
from sim_pretrain.world.profile import Vec3, WorldProfile

Prop = Literal["bowl", "paper"]  # what may lie on the table beside the cube

BOWL_HEIGHT_M, BOWL_RADIUS_M = 0.035, 0.040  # of its rim; the floor is narrower, the wall leans outwards
PAPER_HALF_M = 0.045
UNSEEN_BODIES, UNSEEN_GROUP = ("upper_arm", "lower_arm", "wrist"), 1  # behind a wrist camera on the side -y

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


def build_xml(profile: WorldProfile, prop: Prop | None = None) -> tuple[str, dict[str, bytes]]:
    """Return the MJCF text and its mesh files {name: bytes}."""
    placed, files = skins()
    wrist_position_m, wrist_quaternion = wrist_camera(profile)
    fills = {
        "frame": _text(GRIPPER_FRAME_M),
        "ee": _text(GRASP_CENTRE_M),
        "wrist_pos": _text(wrist_position_m),
        "wrist_quat": _text(wrist_quaternion),
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
  <option timestep="0.004" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <visual><map znear="0.01"/><quality shadowsize="0" offsamples="0"/>
    <headlight ambient="{_grey(profile.light_ambient)}" diffuse="0.25 0.25 0.25" specular="0 0 0"/>
    <global offwidth="640" offheight="480"/></visual>
  <statistic center="0.2 0 0.1" extent="0.6"/>
  <default>
    <joint damping="0.6" frictionloss="0.052" armature="0.028"/>
    <default class="solid"><geom solref="0.008 1" solimp="0.99 0.999 0.0005" condim="4"/></default>
    <default class="skin"><geom type="mesh" contype="0" conaffinity="0" group="2" mass="0"/></default>
    <default class="touch">
      <geom contype="2" conaffinity="1" group="{3 if placed else 2}" mass="0" material="robot"/>
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
    <material name="motor" rgba="0.1 0.1 0.1 1"/>
    {"".join(f'<material name="{n}" rgba="{_text(rgb)} 1"/>' for n, rgb in materials(profile).items())}
    {meshes}
  </asset>
  <worldbody>
    <light pos="{_text(profile.light_position_m)}" dir="{_text(-np.array(profile.light_position_m))}"
      diffuse="{_grey(profile.light_diffuse)}" ambient="0 0 0" specular="0 0 0" castshadow="false"/>
    <geom name="table" class="solid" type="plane" size="1 1 0.01" material="table" contype="1" conaffinity="3"/>
    <camera name="front" pos="{_text(profile.front_position_m)}"
      xyaxes="{_text(front_axes(profile))}" fovy="{profile.front_fovy_deg}"/>
    <body name="cube" pos="0.23 0 {half}">
      <freejoint name="cube"/>
      <geom name="cube" class="solid" type="box" size="{half} {half} {half}" mass="{profile.cube_mass_kg}" contype="1"
        conaffinity="3" friction="0.8 0.02 0.001" material="cube"/>
    </body>
    {_prop(prop)}
    <body name="base">
      <inertial pos="0.0137 0 0.0335" mass="0.147" diaginertia="1.147e-4 1.361e-4 1.304e-4"/>
      {_geoms("base", placed)}
      {_links(0, placed, fills)}
    </body>
  </worldbody>
  <contact>{"".join(f'<exclude body1="{a}" body2="{b}"/>' for a, b in _neighbours())}</contact>
  <actuator>{actuators}</actuator>
</mujoco>"""
    return xml, files


def wrist_camera(profile: WorldProfile) -> tuple[np.ndarray, np.ndarray]:
    """Return position [3] [m] and quaternion (w, x, y, z) of the wrist camera in the gripper body."""
    position, quaternion = np.array(profile.wrist_position_m), np.array(profile.wrist_quaternion)
    if profile.wrist_mount == "+y":
        position, quaternion = position * (-1.0, -1.0, 1.0), _times(_turn(2, np.pi), quaternion)
    for axis, degrees in enumerate(profile.wrist_tilt_deg):
        quaternion = _times(quaternion, _turn(axis, np.radians(degrees)))
    return position, quaternion / np.linalg.norm(quaternion)


def front_axes(profile: WorldProfile) -> np.ndarray:
    """Return the front camera's axes x and y in the base frame, [6]: it looks at its target, with z up."""
    a, b, c = np.subtract(profile.front_position_m, profile.front_target_m).tolist()  # the camera looks along -z
    x, y = np.array((-b, a, 0.0)), np.array((-a * c, -b * c, a * a + b * b))
    return np.concatenate((x / np.linalg.norm(x), y / np.linalg.norm(y)))


def materials(profile: WorldProfile) -> dict[str, Vec3]:
    """Return the colours that stand in the model as materials of these names."""
    return {"robot": profile.robot_rgb, "cube": profile.cube_rgb, "target": profile.target_rgb}


def _links(index: int, placed: list[Skin], fills: dict[str, str]) -> str:
    """The serial chain from link `index` on; the jaw hangs on the gripper like any other link."""
    if index == len(LINKS):
        return ""
    link = LINKS[index]
    centre, inertia = INERTIA[link.body]
    return f"""<body name="{link.body}" pos="{_text(link.position_m)}" quat="{_text(link.quaternion)}">
      <inertial pos="{centre}" mass="{link.mass_kg}" fullinertia="{inertia}"/>
      <joint name="{link.joint}" axis="0 0 1" range="{JOINT_LOW_RAD[index]} {JOINT_HIGH_RAD[index]}"/>
      {_geoms(link.body, placed)}
      {MARKS.get(link.body, "").format(**fills)}
      {_links(index + 1, placed, fills)}
    </body>"""


def _geoms(body: str, placed: list[Skin]) -> str:
    group = UNSEEN_GROUP if body in UNSEEN_BODIES else 2
    skin = "".join(
        f'<geom class="skin" group="{group}" mesh="{s.mesh}" pos="{s.position}" quat="{s.quaternion}" '
        f'material="{"motor" if s.is_motor else "robot"}"/>'
        for s in placed
        if s.body == body
    )
    return skin + TOUCH.get(body, "")


def _neighbours() -> list[tuple[str, str]]:
    """Pairs of bodies that touch by construction: each link with its next two."""
    chain = ["base", *(link.body for link in LINKS)]
    return [(a, b) for i, a in enumerate(chain) for b in chain[i + 1 : i + 3]]


def _prop(prop: Prop | None) -> str:
    """What the cube is to be put into or onto; it is moved by hand only, so it is a mocap body."""
    colour = 'material="target"'
    if prop is None:
        return ""
    if prop == "paper":
        size, ghost = f"{PAPER_HALF_M} {PAPER_HALF_M} 0.0003", 'contype="0" conaffinity="0"'
        geoms = f'<geom name="paper" type="box" size="{size}" {ghost} {colour}/>'
        return f'<body name="target" mocap="true" pos="0.23 0.07 0.0003">{geoms}</body>'
    floor_m, wall_m, sides = 0.028, 0.002, 16
    solid = f'class="solid" contype="1" conaffinity="3" {colour}'
    geoms = f'<geom type="cylinder" pos="0 0 0.001" size="{floor_m + wall_m} 0.001" {solid}/>'
    lean_rad = np.arctan2(BOWL_RADIUS_M - floor_m, BOWL_HEIGHT_M)
    middle_m, tall_m = (floor_m + BOWL_RADIUS_M) / 2 + wall_m, np.hypot(BOWL_RADIUS_M - floor_m, BOWL_HEIGHT_M) / 2
    for turn_rad in np.arange(sides) * 2 * np.pi / sides:
        place = _text((middle_m * np.cos(turn_rad), middle_m * np.sin(turn_rad), BOWL_HEIGHT_M / 2))
        quaternion = _text(_times(_turn(2, turn_rad), _turn(1, lean_rad)))
        size = _text((wall_m, (BOWL_RADIUS_M + 2 * wall_m) * np.tan(np.pi / sides), tall_m))
        geoms += f'<geom type="box" pos="{place}" quat="{quaternion}" size="{size}" {solid}/>'
    return f'<body name="target" mocap="true" pos="0.23 0.07 0">{geoms}</body>'


def _turn(axis: int, angle_rad: float) -> np.ndarray:
    """Quaternion of a turn about x, y or z."""
    q = np.array([np.cos(angle_rad / 2), 0.0, 0.0, 0.0])
    q[1 + axis] = np.sin(angle_rad / 2)
    return q


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Quaternion product."""
    (p, q, r, s), (w, x, y, z) = a.tolist(), b.tolist()
    return np.array(
        (
            p * w - q * x - r * y - s * z,
            p * x + q * w + r * z - s * y,
            p * y - q * z + r * w + s * x,
            p * z + q * y - r * x + s * w,
        )
    )


def _text(values: object) -> str:
    return " ".join(f"{v:.9g}" for v in np.asarray(values, float))


def _grey(value: float) -> str:
    return _text((value, value, value))
