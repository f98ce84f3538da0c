"""Forward and inverse kinematics of the SO-101, in numpy.

The table is The Robot Studio's SO-ARM100 model (Apache-2.0), "new calibration": zero is the middle of each
joint's range. `sim_pretrain/scene.py` builds the simulated arm from the same table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
JOINT_LOW_RAD = np.array([-1.91986, -1.74533, -1.69, -1.65806, -2.74385, -0.17453])
JOINT_HIGH_RAD = np.array([1.91986, 1.74533, 1.69, 1.65806, 2.84121, 1.74533])

IK_MARGIN_RAD = 0.03  # `inverse` stays this far inside the limits; a calibration may end a little earlier

GRIPPER_FRAME_M = np.array([-0.0079, -0.000218121, -0.0981274])  # upstream's `gripperframe`, in `gripper`
GRASP_CENTRE_M = np.array([0.014, 0.0, -0.0981274])  # our end effector: between the pads, in `gripper`


@dataclass(frozen=True)
class Link:
    """A body, its pose in its parent at joint angle zero, and its inertial mass. All joints turn about local +z."""

    body: str
    parent: str
    joint: str
    position_m: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]  # w, x, y, z
    mass_kg: float


LINKS = (
    Link("shoulder", "base", JOINTS[0], (0.0388353, -8.97657e-09, 0.0624), (0.0, 0.0, -1.0, 0.0), 0.100006),
    Link("upper_arm", "shoulder", JOINTS[1], (-0.0303992, -0.0182778, -0.0542), (0.5, -0.5, -0.5, -0.5), 0.103),
    Link("lower_arm", "upper_arm", JOINTS[2], (-0.11257, -0.028, 0.0), (0.707107, 0.0, 0.0, 0.707107), 0.104),
    Link("wrist", "lower_arm", JOINTS[3], (-0.1349, 0.0052, 0.0), (0.707107, 0.0, 0.0, -0.707107), 0.079),
    Link(
        "gripper",
        "wrist",
        JOINTS[4],
        (0.0, -0.0611, 0.0181),
        (0.0172091, -0.0172091, 0.706897, 0.706897),
        0.087,
    ),
    Link("moving_jaw", "gripper", JOINTS[5], (0.0202, 0.0188, -0.0234), (0.707107, 0.707107, 0.0, 0.0), 0.012),
)

_BOUNDS = JOINT_LOW_RAD[:4] + IK_MARGIN_RAD, JOINT_HIGH_RAD[:4] - IK_MARGIN_RAD


def rotation_from_quaternion(quaternion: tuple[float, float, float, float]) -> np.ndarray:
    """Return the rotation matrix [3, 3] of a (w, x, y, z) quaternion, normalised first."""
    w, x, y, z = np.asarray(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


_CHAIN = tuple((np.array(link.position_m), rotation_from_quaternion(link.quaternion)) for link in LINKS[:5])


def chain(joints_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the poses of the five moving bodies up to `gripper`.

    Args:
        joints_rad: [5] or [6] joint angles [rad].

    Returns:
        Positions [5, 3] [m] and rotations [5, 3, 3], in the base frame. Column 2 of a rotation is its joint axis.
    """
    position, rotation = np.zeros(3), np.eye(3)
    positions, rotations = np.empty((5, 3)), np.empty((5, 3, 3))
    for i, (offset, fixed) in enumerate(_CHAIN):
        c, s = np.cos(joints_rad[i]), np.sin(joints_rad[i])
        position = position + rotation @ offset
        turned = rotation @ fixed
        rotation = np.column_stack(
            (c * turned[:, 0] + s * turned[:, 1], c * turned[:, 1] - s * turned[:, 0], turned[:, 2])
        )
        positions[i], rotations[i] = position, rotation
    return positions, rotations


def forward(joints_rad: np.ndarray, point_m: np.ndarray = GRASP_CENTRE_M) -> tuple[np.ndarray, np.ndarray]:
    """Return position [3] [m] and rotation [3, 3] in the base frame of a point fixed in the gripper body."""
    positions, rotations = chain(joints_rad)
    return positions[4] + rotations[4] @ point_m, rotations[4]


def ee_position(joints_rad: np.ndarray) -> np.ndarray:
    """Return the end effector (grasp centre) [3] [m] in the base frame."""
    return forward(joints_rad)[0]


def inverse(target_m: np.ndarray, seed_rad: np.ndarray, *, wrist_roll_rad: float, iterations: int = 3) -> np.ndarray:
    """Return arm angles [5] that put the end effector at `target_m` with the gripper pointing down.

    Gauss-Newton on the position of the four unlocked joints; their one free direction turns the gripper
    downwards, so position always outranks tilt. A joint that reaches its limit is frozen there and the rest
    solve again. An unreachable target gives the nearest pose found, so callers compare `ee_position`.

    Args:
        target_m: [3] position in the base frame [m].
        seed_rad: [5] or [6] angles to start from; the last command, for continuity [rad].
        wrist_roll_rad: the locked angle of wrist_roll [rad].
        iterations: Gauss-Newton steps; 3 bring a 2 cm move below 0.1 mm.
    """
    q = np.array(seed_rad[:5], float)
    q[:4] = np.clip(q[:4], *_BOUNDS)
    q[4] = wrist_roll_rad
    for _ in range(iterations):
        positions, rotations = chain(q)
        ee = positions[4] + rotations[4] @ GRASP_CENTRE_M
        approach = -rotations[4][:, 2]
        tilt = np.array([-approach[1], approach[0], 0.0])  # approach × straight down
        axes = rotations[:4, :, 2].T
        jacobian = _cross_columns(axes, (ee - positions[:4]).T)
        q[:4] += _bounded_step(jacobian, target_m - ee, axes, tilt, q[:4])

    return q


def _bounded_step(
    jacobian: np.ndarray, error_m: np.ndarray, axes: np.ndarray, tilt_rad: np.ndarray, q: np.ndarray
) -> np.ndarray:
    """One step [4] within the joint limits, at most 0.3 rad: position first, tilt in what is left."""
    low, high = _BOUNDS
    free, step = np.ones(4, bool), np.zeros(4)
    while free.any():
        j = jacobian[:, free]
        left, singular, right = np.linalg.svd(j)
        inverse_singular = singular / (singular**2 + 1e-5)  # damped: 3 mm of arm per radian
        k = len(singular)
        solution = right[:k].T @ (inverse_singular * (left[:, :k].T @ (error_m - jacobian[:, ~free] @ step[~free])))
        if free.sum() == 4:
            null = right[3]
            turns = axes @ null
            solution += null * (turns @ (tilt_rad - axes @ solution)) / (turns @ turns + 1e-3)
        step[free] = solution * min(1.0, 0.3 / max(np.abs(solution).max(), 1e-9))
        over = free & ((q + step < low) | (q + step > high))
        if not over.any():
            break
        step[over] = np.clip(q + step, low, high)[over] - q[over]
        free &= ~over
    return step


def _cross_columns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a × b column by column, [3, N]; np.cross costs five times as much at this size."""
    return np.stack((a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]))
