"""Writes a profile into a model that runs: the same numbers that building the profile's XML gives."""

from __future__ import annotations

import numpy as np

from data.errors import UserError
from sim_pretrain.world.opengl import mujoco
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.scene import front_axes, materials, wrist_camera

FIXED = ("native_width_px", "native_height_px", "camera_fps")  # what only a new world can change


def require_writable(now: WorldProfile, wanted: WorldProfile) -> None:
    """Check that a world of profile `now` can become one of profile `wanted`.

    Raises:
        UserError: they differ in the size or the rate of the images.
    """
    differ = [f"{name} from {getattr(now, name)} to {getattr(wanted, name)}" for name in FIXED
              if getattr(now, name) != getattr(wanted, name)]  # fmt: skip
    if differ:
        raise UserError(
            f"a running world cannot change {', '.join(differ)}: its renderer and its cameras' clocks are made for "
            "them. Every other field of a profile may change; for these, make another World"
        )


def write_profile(model: mujoco.MjModel, scratch: mujoco.MjData, profile: WorldProfile) -> None:
    """Make `model` the one that `build_xml(profile)` describes. `scratch` is any MjData of the model; it is spoilt."""
    _write_looks(model, profile)
    _write_cameras(model, profile)
    _write_cube(model, profile)
    for pad in ("static_pad", "moving_pad"):
        model.geom(pad).friction[0] = profile.pad_friction
    torque = np.array([profile.servo_torque_nm] * 5 + [profile.gripper_torque_nm])
    model.actuator_gainprm[:, 0] = profile.servo_gain
    model.actuator_biasprm[:, 1:3] = -profile.servo_gain, -profile.servo_damping
    model.actuator_forcerange[:] = np.stack((-torque, torque), 1)
    extent, centre = model.stat.extent, model.stat.center.copy()
    mujoco.mj_setConst(model, scratch)  # whatever follows from masses, sizes and poses
    model.stat.extent, model.stat.center = extent, centre  # given in the XML; they scale the cameras' near plane


def write_table(model: mujoco.MjModel, profile: WorldProfile) -> int:
    """Paint the table's checker into the model; return the texture's id, for whoever has to upload it."""
    texture = model.texture("table")
    size, start = int(texture.height[0]), int(texture.adr[0])
    first, second = ((255 * np.array(rgb)).astype(np.uint8) for rgb in (profile.table_rgb, profile.table_rgb2))
    pixels, half = np.empty((size, size, 3), np.uint8), size // 2
    pixels[:half, :half] = pixels[half:, half:] = first
    pixels[half:, :half] = pixels[:half, half:] = second
    model.tex_data[start : start + pixels.size] = pixels.ravel()
    return int(texture.id)


def _write_looks(model: mujoco.MjModel, profile: WorldProfile) -> None:
    for name, rgb in materials(profile).items():
        model.material(name).rgba[:3] = rgb
    place_m = np.array(profile.light_position_m)
    model.light_pos[0], model.light_dir[0] = place_m, -place_m / np.linalg.norm(place_m)
    model.light_diffuse[0] = profile.light_diffuse
    model.vis.headlight.ambient[:] = profile.light_ambient


def _write_cameras(model: mujoco.MjModel, profile: WorldProfile) -> None:
    wrist, front = model.camera("wrist"), model.camera("front")
    wrist.pos[:], wrist.quat[:] = wrist_camera(profile)
    wrist.fovy[:], front.fovy[:] = profile.wrist_fovy_deg, profile.front_fovy_deg
    front.pos[:] = profile.front_position_m
    (a, b, c), (d, e, f) = front_axes(profile).reshape(2, 3).tolist()
    mujoco.mju_mat2Quat(front.quat, (a, d, b * f - c * e, b, e, c * d - a * f, c, f, a * e - b * d))


def _write_cube(model: mujoco.MjModel, profile: WorldProfile) -> None:
    geom, body, half_m = model.geom("cube"), model.body("cube"), profile.cube_half_m
    # A size without its bounds lets a big cube slip through the fingers: contacts are looked for within the bounds.
    geom.size[:] = half_m
    geom.rbound[:] = np.sqrt(3) * half_m
    for box in (model.geom_aabb[geom.id], model.bvh_aabb[model.body_bvhadr[body.id]]):
        box[:] = 0.0, 0.0, 0.0, half_m, half_m, half_m
    body.mass[:] = profile.cube_mass_kg
    body.inertia[:] = profile.cube_mass_kg * 2 / 3 * half_m**2
    address = int(model.joint("cube").qposadr[0])
    body.pos[2] = model.qpos0[address + 2] = model.qpos_spring[address + 2] = half_m
