"""What a camera fit is worth: refused where the frames cannot tell, told in words, written as a world profile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from data.errors import UserError
from hilserl.robot.kinematics import JOINTS
from sim_pretrain.camera_fit.fit import Fit
from sim_pretrain.camera_fit.frames import Sightings, turns_deg
from sim_pretrain.camera_fit.lens import Pinhole
from sim_pretrain.camera_fit.overlay import VISIBLE
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.scene import wrist_camera

AIM_M, AIM_DEG = 0.002, 1.0  # a mount and a field of view known this well are worth a simulation of their own
LIMIT_M, LIMIT_DEG = 0.006, 3.0  # known worse than this, they are not known
_MISFIT = 3.0
_PLAUSIBLE_M, _PLAUSIBLE_FOVY_DEG = 0.2, (25.0, 130.0)
_LARGE_TURN_DEG, _SMALL_TURN_DEG = 6.0, 3.0  # what a drive should turn the hand by, about its first and second axis
_MOVE = (
    "Record a drive with more of it, and stop half a second at each place: to the left and to the right end "
    "(turns the hand), low and as high as it goes (from 12 cm up the hand tilts, too), near and far."
)


def require_trustworthy(fit: Fit, sightings: Sightings) -> None:
    """Refuse a fit that must not become a profile.

    Raises:
        UserError: the views contradict each other, the poses are too alike, or the result makes no sense.
    """
    if fit.misfit > _MISFIT:
        raise UserError(
            f"the frames do not fit together: {fit.rms_px:.1f} px off, {fit.misfit:.1f} times what pixels and joint "
            "readings explain. Accepted is a board that lies still, the same in all frames.\nDid it move between "
            "episodes? Fit one: --episode=N. Is it glued to something flat, and the arm on the same table? Was it "
            "calibrated otherwise in some episodes?"
        )
    if fit.position_sigma_m > LIMIT_M or max(fit.rotation_sigma_deg, fit.fovy_sigma_deg) > LIMIT_DEG:
        raise UserError(
            f"the poses are too alike to tell where the camera sits from where the board lies: known to "
            f"{1000 * fit.position_sigma_m:.1f} mm, {fit.rotation_sigma_deg:.1f} deg and a field of view to "
            f"{fit.fovy_sigma_deg:.1f} deg (one standard deviation); accepted are {1000 * LIMIT_M:g} mm and "
            f"{LIMIT_DEG:g} deg.\n{_motion(sightings)} {_MOVE}"
        )
    low, high = _PLAUSIBLE_FOVY_DEG
    found_m = float(np.linalg.norm(fit.position_m))
    if found_m > _PLAUSIBLE_M or not low < fit.lens.fovy_deg < high:
        raise UserError(
            f"the result makes no sense for a wrist camera: {1000 * found_m:.0f} mm from the gripper's origin, "
            f"vertical field of view {fit.lens.fovy_deg:.0f} deg. Accepted are up to {1000 * _PLAUSIBLE_M:.0f} mm and "
            f"{low:g} to {high:g} deg.\nIs this the wrist camera (--camera), and the board flat on the arm's table?"
        )


def fitted_fields(fit: Fit, pinhole: Pinhole, present: WorldProfile) -> dict[str, Any]:
    """Return the fields of a `WorldProfile`, as JSON, by which the fitted camera differs from the present one."""
    position, rotation = fit.position_m, fit.rotation @ pinhole.turn
    side = "+y" if position[1] > 0 else "-y"
    if side == "+y":  # fields are for the side -y; see `wrist_camera`
        back = np.diag([-1.0, -1.0, 1.0])
        position, rotation = back @ position, back @ rotation
    quaternion = Rotation.from_matrix(rotation).as_quat(scalar_first=True)
    quaternion *= np.sign(quaternion[np.abs(quaternion).argmax()])
    fields: dict[str, Any] = {
        "wrist_mount": side,
        "wrist_position_m": [round(float(v), 6) for v in position],
        "wrist_quaternion": [round(float(v), 7) for v in quaternion],
        "wrist_tilt_deg": [0.0, 0.0, 0.0],
        "wrist_fovy_deg": round(pinhole.fovy_deg, 3),
    }
    shape = fit.lens.width_px / fit.lens.height_px
    if abs(shape - present.native_width_px / present.native_height_px) > 0.01:  # a task's crops are shares of the frame
        fields |= {"native_height_px": 120, "native_width_px": 2 * round(60 * shape)}
    return fields


def report(
    fit: Fit,
    pinhole: Pinhole,
    sightings: Sightings,
    present: WorldProfile,
    fitted: WorldProfile,
    visible: list[tuple[float, dict[str, float]]],
) -> list[str]:
    """Return the lines that a person reads."""
    worst = int(fit.error_px.argmax())
    lines = [
        f"{sightings.describe()}.",
        f"Reprojection error {fit.rms_px:.2f} px root mean square; the worst view has {fit.error_px[worst]:.2f} px "
        f"({sightings.chosen[worst].view.name}).",
        "",
        *_table(fit, present, fitted),
        "",
        *_lens(fit, pinhole),
        *_joints(fit, sightings),
        f"The board lies at x {fit.board_position_m[0]:.3f}, y {fit.board_position_m[1]:.3f}, "
        f"z {fit.board_position_m[2]:.3f} m. Its squares are {100 * (fit.board_scale - 1):+.1f} % of what was said.",
        "",
        *_visibility(visible),
    ]
    return lines + _warnings(fit, pinhole, sightings, visible)


def _table(fit: Fit, present: WorldProfile, fitted: WorldProfile) -> list[str]:
    same_side = replace(present, wrist_mount=fitted.wrist_mount)
    (old_m, old_turn), (new_m, new_turn) = wrist_camera(same_side), wrist_camera(fitted)
    turned = Rotation.from_quat(old_turn, scalar_first=True).inv() * Rotation.from_quat(new_turn, scalar_first=True)
    angles = turned.as_euler("XYZ", degrees=True)
    place = f"{1000 * fit.position_sigma_m:.1f}"
    rows = [("", "present", "fitted", "+-"), ("mount side", present.wrist_mount, fitted.wrist_mount, "")]
    for name, old, new in zip("xyz", 1000 * old_m, 1000 * new_m, strict=True):
        rows.append((f"position {name} in the gripper, mm", f"{old:.1f}", f"{new:.1f}", place))
    for name, angle in zip("xyz", angles, strict=True):
        rows.append((f"turned about the camera's {name}, deg", "0.0", f"{angle:.1f}", f"{fit.rotation_sigma_deg:.1f}"))
    old, new = f"{present.wrist_fovy_deg:.1f}", f"{fitted.wrist_fovy_deg:.1f}"
    rows.append(("vertical field of view, deg", old, new, f"{fit.fovy_sigma_deg:.1f}"))
    return [f"{name:<34}{a:>9}{b:>9}{c:>7}" for name, a, b, c in rows]


def _lens(fit: Fit, pinhole: Pinhole) -> list[str]:
    lens = fit.lens
    return [
        f"Lens: focal length {lens.focal_px:.1f} px, principal point ({lens.centre_px[0]:.1f}, "
        f"{lens.centre_px[1]:.1f}) of {lens.width_px}x{lens.height_px} px, distortion k1 {lens.k1:+.3f}, "
        f"k2 {lens.k2:+.3f}.",
        f"The simulation draws a centred pinhole. The nearest one is {pinhole.rms_px:.1f} px off on average and "
        f"{pinhole.worst_px:.1f} px at worst, in the part that the policy sees.",
    ]


def _joints(fit: Fit, sightings: Sightings) -> list[str]:
    offsets = np.degrees(fit.joint_offset_rad)
    told = [1, 2, 3] if np.std([s.view.joints_rad[4] for s in sightings.chosen]) > 0.1 else [1, 2]
    shown = ", ".join(f"{JOINTS[j]} {offsets[j]:+.1f}" for j in told)
    hidden = "shoulder_pan and wrist_roll" if 3 in told else "shoulder_pan, wrist_flex and wrist_roll"
    return [f"Zero of the joints, deg: {shown}. Errors of {hidden} cannot be told apart from the mount or the board."]


def _visibility(visible: list[tuple[float, dict[str, float]]]) -> list[str]:
    names = list(visible[0][1])
    head = "In the policy's image, simulated:" + "".join(f"{name:>15}" for name in names)
    rows = [
        f"{f'  gripper at {angle:+.2f} rad':<33}" + "".join(f"{100 * shares[name]:>13.1f} %" for name in names)
        for angle, shares in visible
    ]
    return [head, *rows]


def _warnings(
    fit: Fit, pinhole: Pinhole, sightings: Sightings, visible: list[tuple[float, dict[str, float]]]
) -> list[str]:
    found = []
    if fit.position_sigma_m > AIM_M or max(fit.rotation_sigma_deg, fit.fovy_sigma_deg) > AIM_DEG:
        found.append(f"Known less well than {1000 * AIM_M:g} mm and {AIM_DEG:g} deg. {_motion(sightings)} {_MOVE}")
    if fit.misfit > _MISFIT / 2:
        found.append(f"The frames fit badly ({fit.misfit:.1f} times what pixels and readings explain): was all still?")
    if abs(fit.board_scale - 1) > 0.015:
        found.append("The board measures otherwise than was said: measure it, and say --square_m and --marker_m.")
    if np.abs(np.degrees(fit.joint_offset_rad)).max() > 3:
        found.append("The zero of a joint is more than 3 deg off: calibrate the arm again, then fit again.")
    if pinhole.worst_px > 0.03 * fit.lens.height_px:
        found.append("The lens is far from a pinhole: a simulated frame differs from a real one at the edges.")
    for name in ("fixed finger", "moving finger"):
        hidden = [angle for angle, shares in visible if shares[name] < VISIBLE]
        if hidden:
            at = ", ".join(f"{angle:+.2f}" for angle in hidden)
            found.append(
                f"The {name} covers less than {100 * VISIBLE:g} % of the policy's image with the gripper at {at} rad: "
                "turn the camera towards the fingers, or take a wider lens, and fit again."
            )
    if all(shares["cube"] < VISIBLE for _, shares in visible):
        found.append(f"The cube covers less than {100 * VISIBLE:g} % of it, straight below the start pose.")
    return ["", *(f"WARNING: {words}" for words in found)] if found else []


def _motion(sightings: Sightings) -> str:
    first, second, _ = turns_deg([s.view for s in sightings.chosen])
    missing = []
    if first < _LARGE_TURN_DEG:
        missing.append(f"{_LARGE_TURN_DEG:g} deg or more about the first")
    if second < _SMALL_TURN_DEG:
        missing.append(f"{_SMALL_TURN_DEG:g} deg or more about the second")
    turned = f"The hand turned by {first:.1f} and {second:.1f} deg (standard deviation) about its two main axes"
    return turned + (f"; it takes {' and '.join(missing)}." if missing else ".")
