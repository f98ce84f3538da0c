"""Forward and inverse kinematics of the SO-101, in numpy.

The table is The Robot Studio's SO-ARM100 model (Apache-2.0), "new calibration": zero is the middle of each
joint's range. `sim_pretrain/world/scene.py` builds the simulated arm from the same table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
JOINT_LOW_RAD = np.array([-1.91986, -1.74533, -1.69, -1.65806, -2.74385, -0.17453])
JOINT_HIGH_RAD = np.array([1.91986, 1.74533, 1.69, 1.65806, 2.84121, 1.74533])

IK_MARGIN_RAD = 0.03  # `inverse` stays this far inside the limits; a calibration may end a little earlier

GRIPPER_FRAME_M = np.array([-0.0079, -0.000218121, -0.0981274])  # upstream's `gripperframe`, in `gripper`
GRASP_CENTRE_M = np.array([0.014, 0.0, -0.0981274])  # our end effector: between the pads, in `gripper`


_Vector = tuple[float, float, float]
_Rows = tuple[_Vector, _Vector, _Vector]


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

_BOUNDS = (JOINT_LOW_RAD[:4] + IK_MARGIN_RAD).tolist(), (JOINT_HIGH_RAD[:4] - IK_MARGIN_RAD).tolist()
_GRASP: _Vector = tuple(GRASP_CENTRE_M.tolist())
_DAMPING = 1e-5  # m²
CONVERGED_RAD = 1e-8


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


_CHAIN = tuple((link.position_m, rotation_from_quaternion(link.quaternion).T.tolist()) for link in LINKS[:5])


def chain(joints_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the poses of the five moving bodies up to `gripper`.

    Args:
        joints_rad: [5] or [6] joint angles [rad].

    Returns:
        Positions [5, 3] [m] and rotations [5, 3, 3], in the base frame. Column 2 of a rotation is its joint axis.
    """
    poses = _poses(joints_rad.tolist())
    return np.array([p for p, _ in poses]), np.array([r for _, r in poses])


def _poses(joints_rad: list[float]) -> list[tuple[_Vector, _Rows]]:
    """Positions and rotations (rows) of the five bodies. Plain floats: at this size numpy costs five times as much."""
    (px, py, pz), rows = (0.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    poses: list[tuple[_Vector, _Rows]] = []
    for (offset, (x_axis, y_axis, z_axis)), angle in zip(_CHAIN, joints_rad, strict=False):
        px, py, pz = px + _dot(rows[0], offset), py + _dot(rows[1], offset), pz + _dot(rows[2], offset)
        cos, sin = math.cos(angle), math.sin(angle)
        turned = []
        for row in rows:
            x, y = _dot(row, x_axis), _dot(row, y_axis)
            turned.append((cos * x + sin * y, cos * y - sin * x, _dot(row, z_axis)))
        rows = (turned[0], turned[1], turned[2])
        poses.append(((px, py, pz), rows))
    return poses


def forward(joints_rad: np.ndarray, point_m: np.ndarray = GRASP_CENTRE_M) -> tuple[np.ndarray, np.ndarray]:
    """Return position [3] [m] and rotation [3, 3] in the base frame of a point fixed in the gripper body."""
    position, rotation = _poses(joints_rad.tolist())[4]
    turned = np.array(rotation)
    return np.array(position) + turned @ point_m, turned


def ee_position(joints_rad: np.ndarray) -> np.ndarray:
    """Return the end effector (grasp centre) [3] [m] in the base frame."""
    return np.array(_ee(_poses(joints_rad.tolist())))


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
    q = [min(max(float(a), lo), hi) for a, lo, hi in zip(seed_rad[:4], *_BOUNDS, strict=True)] + [wrist_roll_rad]
    x, y, z = map(float, target_m)
    for _ in range(iterations):
        poses = _poses(q)
        ee = _ee(poses)
        axes = [(rows[0][2], rows[1][2], rows[2][2]) for _, rows in poses[:4]]
        jacobian = [_cross(axis, _less(ee, position)) for axis, (position, _) in zip(axes, poses, strict=False)]
        down = poses[4][1]
        tilt = (down[1][2], -down[0][2], 0.0)  # approach × straight down; the gripper approaches along its own -z
        step = _bounded_step(jacobian, _less((x, y, z), ee), axes, tilt, q)
        q = [a + s for a, s in zip(q, step, strict=False)] + [wrist_roll_rad]
        if max(map(abs, step)) < CONVERGED_RAD:
            break
    return np.array(q)


def _bounded_step(
    jacobian: list[_Vector], error_m: _Vector, axes: list[_Vector], tilt_rad: _Vector, q: list[float]
) -> list[float]:
    """One step [4] within the joint limits, at most 0.3 rad: position first, tilt in what is left.

    Damped least squares, Jᵀ(JJᵀ + λ)⁻¹e with λ = (3 mm of arm per radian)² (Wampler 1986).
    """
    free, step = [0, 1, 2, 3], [0.0] * 4
    while free:
        frozen = [i for i in range(4) if i not in free]
        rest = _less(error_m, _weighted([step[i] for i in frozen], [jacobian[i] for i in frozen]))
        pull = _solve([jacobian[i] for i in free], rest)
        solution = [_dot(jacobian[i], pull) for i in free]
        if len(free) == 4:
            null = _null(jacobian)
            turns, turned = _weighted(null, axes), _weighted(solution, axes)
            gain = _dot(turns, _less(tilt_rad, turned)) / (_dot(turns, turns) + 1e-3)
            solution = [s + n * gain for s, n in zip(solution, null, strict=True)]
        shrink = min(1.0, 0.3 / max(*map(abs, solution), 1e-9))
        over = []
        for i, s in zip(free, solution, strict=True):
            low, high = _BOUNDS[0][i] - q[i], _BOUNDS[1][i] - q[i]
            step[i] = min(max(s * shrink, low), high)
            if step[i] != s * shrink:
                over.append(i)
        if not over:
            break
        free = [i for i in free if i not in over]
    return step


def _ee(poses: list[tuple[_Vector, _Rows]]) -> _Vector:
    (x, y, z), (a, b, c) = poses[4]
    return x + _dot(a, _GRASP), y + _dot(b, _GRASP), z + _dot(c, _GRASP)


def _solve(columns: list[_Vector], right: _Vector) -> _Vector:
    """Return (Σ c cᵀ + λ)⁻¹ right, by the adjugate of a symmetric 3×3 matrix."""
    a, b, c = _DAMPING, _DAMPING, _DAMPING
    d = e = f = 0.0
    for x, y, z in columns:
        a, b, c = a + x * x, b + y * y, c + z * z
        d, e, f = d + x * y, e + x * z, f + y * z
    first, second, third = b * c - f * f, e * f - d * c, d * f - b * e
    scale = 1.0 / (a * first + d * second + e * third)
    x, y, z = right
    return (
        scale * (first * x + second * y + third * z),
        scale * (second * x + (a * c - e * e) * y + (d * e - a * f) * z),
        scale * (third * x + (d * e - a * f) * y + (a * b - d * d) * z),
    )


def _null(columns: list[_Vector]) -> list[float]:
    """Return the unit vector [4] that the 3×4 Jacobian maps to zero: its signed minors."""
    a, b, c, d = columns
    minors = [_dot(b, _cross(c, d)), -_dot(a, _cross(c, d)), _dot(a, _cross(b, d)), -_dot(a, _cross(b, c))]
    length = math.sqrt(sum(m * m for m in minors))
    return [m / length for m in minors] if length > 0 else [0.0] * 4


def _cross(a: _Vector, b: _Vector) -> _Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _dot(a: _Vector, b: _Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _less(a: _Vector, b: _Vector) -> _Vector:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _weighted(weights: list[float], vectors: list[_Vector]) -> _Vector:
    x = y = z = 0.0
    for w, v in zip(weights, vectors, strict=True):
        x, y, z = x + w * v[0], y + w * v[1], z + w * v[2]
    return x, y, z
