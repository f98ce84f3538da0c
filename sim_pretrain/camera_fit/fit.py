"""Where the wrist camera sits and what it sees, from views of a board that lies still on the table.

One least-squares problem over lens, mount, board and joint offsets; its starting points come from OpenCV's
camera and hand-eye calibration. Cameras here look along -z with y up, as in MuJoCo; pixels are OpenCV's (the
centre of the first pixel is 0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from sim_pretrain.camera_fit.lens import Lens
from sim_pretrain.camera_fit.residuals import BOARD, COUNT, MOUNT, OFFSETS, SCALE, Prior, Residuals, View
from sim_pretrain.camera_fit.start import Guess, starting_points

_STRAY = 3.0  # a view this many times worse than the typical one is not of the same scene


@dataclass(frozen=True)
class Fit:
    """The camera, and how sure that is."""

    lens: Lens
    position_m: np.ndarray  # [3] of the camera in the gripper body
    rotation: np.ndarray  # [3, 3] of the camera's axes in the gripper body
    board_position_m: np.ndarray  # [3] of its centre in the base frame
    board_rotation: np.ndarray  # [3, 3]
    joint_offset_rad: np.ndarray  # [5] encoder minus truth; pan and roll cannot be seen and stay 0
    board_scale: float  # how large it is, over what was said
    error_px: np.ndarray  # [views] root mean square of each view
    strain: np.ndarray  # [views] the same over what was assumed of pixels and joints; 1 is as it should be
    rms_px: float  # over all corners
    misfit: float  # strain of the typical view; far above 1, something is not as assumed
    position_sigma_m: float  # one standard deviation, the worst direction
    rotation_sigma_deg: float
    fovy_sigma_deg: float


def fit_without_strays(
    views: Sequence[View],
    corners_m: np.ndarray,
    size_px: tuple[int, int],
    guess: Guess,
    prior: Prior | None = None,
) -> tuple[Fit, list[int]]:
    """Fit as `fit_camera`, and again without the views that do not fit the others; return which stayed, too."""
    fit, stay = fit_camera(views, corners_m, size_px, guess, prior), list(range(len(views)))
    limit = _STRAY * max(1.0, fit.misfit)
    if (fit.strain > limit).any() and np.mean(fit.strain > limit) < 0.3:
        stay = [i for i in stay if fit.strain[i] <= limit]
        guess = fit.position_m, fit.rotation, fit.lens.fovy_deg
        fit = fit_camera([views[i] for i in stay], corners_m, size_px, guess, prior)
    return fit, stay


def fit_camera(
    views: Sequence[View],
    corners_m: np.ndarray,
    size_px: tuple[int, int],
    guess: Guess,
    prior: Prior | None = None,
) -> Fit:
    """Fit lens, mount, board and joint offsets to all views.

    Args:
        views: 3 or more, each with 6 or more corners.
        corners_m: [N, 3] corners in the board's frame.
        size_px: width and height of the frames.
        guess: position [3], rotation [3, 3] and vertical field of view [deg] to try first; it may be wrong.
        prior: what is known beforehand.
    """
    model = Residuals(views, corners_m, size_px, prior or Prior())
    starts = sorted(starting_points(model, guess), key=lambda x: float(np.abs(model.deviations(x)).sum()))
    x = min((_minimise(model, x, 8) for x in starts[:2]), key=lambda x: _cost(model, model.deviations(x)))
    for steps in (20, 60):
        model.weigh(x)
        x = _minimise(model, x, steps)
    error, deviations = model.error_px(x), model.deviations(x)
    per_view = np.bincount(model.which)
    strain = np.sqrt(np.bincount(model.which, (deviations[: error.size].reshape(-1, 2) ** 2).mean(1)) / per_view)
    misfit = float(np.median(strain))
    covariance = _inverse(_normal_equations(model, x, deviations)[0]) * max(1.0, misfit) ** 2
    turn = _turn_by_vector(x[MOUNT][3:])
    lens = model.lens(x)
    return Fit(
        lens=lens,
        position_m=x[MOUNT][:3].copy(),
        rotation=Rotation.from_rotvec(x[MOUNT][3:]).as_matrix(),
        board_position_m=x[BOARD][:3].copy(),
        board_rotation=Rotation.from_rotvec(x[BOARD][3:]).as_matrix(),
        joint_offset_rad=np.array([0.0, *x[OFFSETS], 0.0]),
        board_scale=float(np.exp(x[SCALE])),
        error_px=np.sqrt(np.bincount(model.which, (error**2).sum(1)) / per_view),
        strain=strain,
        rms_px=float(np.sqrt((error**2).sum(1).mean())),
        misfit=misfit,
        position_sigma_m=_worst(covariance[5:8, 5:8]),
        rotation_sigma_deg=float(np.degrees(_worst(turn @ covariance[8:11, 8:11] @ turn.T))),
        fovy_sigma_deg=float(np.degrees(np.sin(np.radians(lens.fovy_deg))) * np.sqrt(covariance[0, 0])),
    )


def _minimise(model: Residuals, x: np.ndarray, steps: int) -> np.ndarray:
    """Levenberg-Marquardt with reweighting. On 21 numbers it needs no decomposition of the large Jacobian.

    That is what SciPy's solver does, on threads of the linear algebra library that wait for each other for seconds
    where the cores are busy with something else.
    """
    damping, residuals = 1e-3, model.deviations(x)
    cost = _cost(model, residuals)
    information, gradient = _normal_equations(model, x, residuals)
    for _ in range(steps):
        damped = information + np.diag(damping * information.diagonal() + 1e-9)
        trial = x - np.linalg.solve(damped, gradient)
        residuals = model.deviations(trial)
        reached = _cost(model, residuals)
        if not reached < cost:
            damping *= 8
            if damping > 1e9:
                break
            continue
        x, gained, cost, damping = trial, cost - reached, reached, max(damping / 8, 1e-9)
        if gained < 1e-5 * cost:
            break
        information, gradient = _normal_equations(model, x, residuals)
    return x


def _normal_equations(model: Residuals, x: np.ndarray, residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return information [21, 21] and gradient [21]."""
    step = 1e-6
    jacobian = np.stack([model.deviations(x + step * axis) - residuals for axis in np.eye(COUNT)]) / step
    weighted = jacobian * _weights(model, residuals)
    # einsum counts for itself, without the threads of a matrix product
    return np.einsum("im,jm->ij", weighted, jacobian), np.einsum("im,m->i", weighted, residuals)


def _cost(model: Residuals, residuals: np.ndarray) -> float:
    """Soft L1 of the corners, so that a finger's edge taken for one counts little; squares of what is known before."""
    seen = 2 * len(model.pixels)
    return float((2 * np.sqrt(1 + residuals[:seen] ** 2) - 2).sum() + (residuals[seen:] ** 2).sum())


def _weights(model: Residuals, residuals: np.ndarray) -> np.ndarray:
    seen = 2 * len(model.pixels)
    return np.concatenate((1 / np.sqrt(1 + residuals[:seen] ** 2), np.ones(len(residuals) - seen)))


def _turn_by_vector(vector: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Return by how much the rotation of a rotation vector turns, about its own axes, as the vector changes [3, 3]."""
    back = Rotation.from_rotvec(vector).inv()
    return np.stack([(back * Rotation.from_rotvec(vector + step * a)).as_rotvec() / step for a in np.eye(3)], axis=1)


def _inverse(information: np.ndarray) -> np.ndarray:
    """Invert a symmetric matrix; what it knows nothing of gets a large variance, not a failure."""
    values, vectors = np.linalg.eigh(information)
    return (vectors / np.maximum(values, 1e-2)) @ vectors.T


def _worst(covariance: np.ndarray) -> float:
    return float(np.sqrt(np.linalg.eigvalsh(covariance)[-1]))
