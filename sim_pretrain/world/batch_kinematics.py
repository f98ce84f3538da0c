"""Kinematics of many SO-101 arms at once: `hilserl.robot.kinematics` over an axis of N arms.

One arm there is plain floats, the fastest for one. Here each number of that code is an array over the arms, so that a
thousand of them cost about what fifty cost there. Both give the same angles (tested).

Inside, the arms are the last axis: vectors are [3, N], rotations [3, 3, N].
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hilserl.robot.kinematics import (
    CONVERGED_RAD,
    GRASP_CENTRE_M,
    IK_MARGIN_RAD,
    JOINT_HIGH_RAD,
    JOINT_LOW_RAD,
    LINKS,
    rotation_from_quaternion,
)

DAMPING_M2, LARGEST_STEP_RAD = 1e-5, 0.3  # those of `hilserl.robot.kinematics.inverse`


def ee_positions(joints_rad: np.ndarray) -> np.ndarray:
    """Return the end effectors (grasp centres) [N, 3] [m] of joint angles [N, 5] or [N, 6]."""
    *_, (position, turn) = _poses(joints_rad.T)
    return (position + GRASP_CENTRE_M @ turn).T


def inverses(targets_m: np.ndarray, seeds_rad: np.ndarray, *, wrist_roll_rad: float, iterations: int = 3) -> np.ndarray:
    """Return arm angles [N, 5] that put each end effector at its target with the gripper pointing down.

    The method, its limits and its arguments are those of `hilserl.robot.kinematics.inverse`, for targets [N, 3] [m] and
    seeds [N, 5] or [N, 6] [rad].
    """
    low, high = (JOINT_LOW_RAD[:4] + IK_MARGIN_RAD)[:, None], (JOINT_HIGH_RAD[:4] - IK_MARGIN_RAD)[:, None]
    q = np.concatenate((np.clip(seeds_rad.T[:4], low, high), np.full((1, len(seeds_rad)), wrist_roll_rad)))
    for _ in range(iterations):
        poses = list(_poses(q))
        down = poses[4][1]
        ee = poses[4][0] + GRASP_CENTRE_M @ down
        axes = np.stack([turn[:, 2] for _, turn in poses[:4]])
        jacobian = _cross(axes, ee - np.stack([position for position, _ in poses[:4]]))
        # Approach × straight down; the gripper approaches along its own -z.
        tilt = np.stack((down[1, 2], -down[0, 2], np.zeros_like(down[0, 2])))
        step = _bounded_steps(jacobian, targets_m.T - ee, axes, tilt, low - q[:4], high - q[:4])
        q[:4] += step
        if np.abs(step).max(initial=0.0) < CONVERGED_RAD:
            break
    return q.T


def _poses(q: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield position [3, N] and rotation [3, 3, N] of the five bodies up to `gripper`, for angles [5 or 6, N]."""
    cos, sin = np.cos(q), np.sin(q)
    position, turn = np.zeros((3, q.shape[1])), np.broadcast_to(np.eye(3)[..., None], (3, 3, q.shape[1]))
    for k, link in enumerate(LINKS[:5]):
        position = position + np.array(link.position_m) @ turn
        x, y, z = np.swapaxes(rotation_from_quaternion(link.quaternion).T @ turn, 0, 1)
        turn = np.stack((cos[k] * x + sin[k] * y, cos[k] * y - sin[k] * x, z), 1)
        yield position, turn


def _bounded_steps(
    jacobian: np.ndarray, error_m: np.ndarray, axes: np.ndarray, tilt_rad: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """One step [4, N] each, within [low, high]: position first, tilt in what is left; see `kinematics._bounded_step`.

    Args:
        jacobian: [4, 3, N] motion of the end effector with each joint.
        error_m: [3, N] motion that is wanted.
        axes: [4, 3, N] turn of the gripper with each joint.
        tilt_rad: [3, N] turn that is wanted.
        low: [4, N] the joint limits, from where the joints are; and so is `high`.
    """
    step, free = np.zeros_like(low), np.ones(low.shape, bool)
    arms = np.arange(low.shape[1])  # those of which a joint has just been frozen at its limit
    while arms.size:
        j, loose = jacobian[..., arms], free[:, arms]
        held = j * loose[:, None]
        rest = error_m[:, arms] - _weighted(np.where(loose, 0.0, step[:, arms]), j)
        solution = _dot(held, _solve(held, rest))
        null = _null(j) * loose.all(0)
        turns, turned = _weighted(null, axes[..., arms]), _weighted(solution, axes[..., arms])
        solution += null * (_dot(turns, tilt_rad[:, arms] - turned) / (_dot(turns, turns) + 1e-3))
        solution *= np.minimum(1.0, LARGEST_STEP_RAD / np.maximum(np.abs(solution).max(0), 1e-9))
        bounded = np.clip(solution, low[:, arms], high[:, arms])
        step[:, arms] = np.where(loose, bounded, step[:, arms])
        left = loose & (bounded == solution)
        free[:, arms] = left
        arms = arms[(left != loose).any(0) & left.any(0)]
    return step


def _solve(columns: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return (Σ c cᵀ + λ)⁻¹ right, [3, N], of columns [4, 3, N], by the adjugate of a symmetric 3×3 matrix."""
    x, y, z = _xyz(columns)
    a, b, c = ((u * u).sum(0) + DAMPING_M2 for u in (x, y, z))
    d, e, f = ((u * v).sum(0) for u, v in ((x, y), (x, z), (y, z)))
    first, second, third = b * c - f * f, e * f - d * c, d * f - b * e
    fourth, fifth, sixth = a * c - e * e, d * e - a * f, a * b - d * d
    x, y, z = right / (a * first + d * second + e * third)
    return np.stack((first * x + second * y + third * z, second * x + fourth * y + fifth * z,
                     third * x + fifth * y + sixth * z))  # fmt: skip


def _null(jacobian: np.ndarray) -> np.ndarray:
    """Return the unit vectors [4, N] that the 3×4 Jacobians map to zero: their signed minors."""
    a, b, c, d = jacobian
    bc, bd, cd = _cross(b, c), _cross(b, d), _cross(c, d)
    minors = np.stack((_dot(b, cd), -_dot(a, cd), _dot(a, bd), -_dot(a, bc)))
    length = np.sqrt((minors * minors).sum(0))
    return np.divide(minors, length, out=np.zeros_like(minors), where=length > 0)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    (x, y, z), (u, v, w) = _xyz(a), _xyz(b)
    return np.stack((y * w - z * v, z * u - x * w, x * v - y * u), -2)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    (x, y, z), (u, v, w) = _xyz(a), _xyz(b)
    return x * u + y * v + z * w


def _weighted(weights: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the sums [3, N] of vectors [4, 3, N] with weights [4, N]."""
    return (weights[:, None] * vectors).sum(0)


def _xyz(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return vectors[..., 0, :], vectors[..., 1, :], vectors[..., 2, :]
