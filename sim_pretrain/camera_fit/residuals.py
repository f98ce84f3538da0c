"""What a set of views says about a camera, as residuals: the model that is fitted, and what is known beforehand.

Cameras here look along -z with y up, as in MuJoCo; pixels are OpenCV's (the centre of the first pixel is 0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import block_diag, coo_array, eye_array
from scipy.spatial.transform import Rotation

from hilserl.robot.kinematics import chain
from sim_pretrain.camera_fit.lens import Lens

# The 21 numbers: ln(focal / height), principal point, k1, k2; mount; board; offsets of lift, elbow and flex; ln of the
# board's scale. An offset of pan would turn the board with the arm, and one of roll the mount: neither can be told.
MOUNT, BOARD, OFFSETS, SCALE, COUNT = slice(5, 11), slice(11, 17), slice(17, 20), 20, 21
_ROLLS_RAD = 0.1  # with less roll, spread over the views, an offset of wrist_flex is one of the mount


@dataclass(frozen=True)
class View:
    """What one frame shows of the board, and where the arm was."""

    joints_rad: np.ndarray  # [6] as the encoders read them
    numbers: np.ndarray  # int [K] of the corners seen
    pixels: np.ndarray  # [K, 2] x, y
    name: str = ""  # to speak of it: "episode 3, frame 17"


@dataclass(frozen=True)
class Prior:
    """What is known before the first frame; each is one standard deviation."""

    corner_px: float = 0.2  # of one corner
    joint_rad: float = 0.0007  # of one reading of one joint; an encoder's step is 0.0015
    centre_of_width: float = 0.02  # principal point from the middle, as a fraction of the frame's width
    k1: float = 0.3
    k2: float = 0.1
    board_height_m: float = 0.002  # the board lies on the table, and the arm stands on it
    board_tilt_rad: float = 0.01
    board_scale: float = 0.01  # of its printed size; printers and rulers err
    offset_rad: float = 0.02  # of the zero of shoulder_lift, elbow_flex, wrist_flex


class Residuals:
    """Residuals of all views as one function of 21 numbers, vectorised over all corners."""

    def __init__(self, views: Sequence[View], corners_m: np.ndarray, size_px: tuple[int, int], prior: Prior) -> None:
        self.views, self.corners_m, self.size_px, self.prior = views, corners_m, size_px, prior
        chains = [chain(view.joints_rad) for view in views]
        self._origins = np.array([positions for positions, _ in chains])  # [V, 5, 3]
        self._turns = np.array([rotations for _, rotations in chains])  # [V, 5, 3, 3]
        self.numbers = np.concatenate([view.numbers for view in views])
        self.pixels = np.concatenate([view.pixels for view in views])
        self.which = np.repeat(np.arange(len(views)), [len(view.numbers) for view in views])
        roll_rad = float(np.std([view.joints_rad[4] for view in views]))
        flex_sigma_rad = prior.offset_rad if roll_rad > _ROLLS_RAD else 1e-5
        self._offset_sigma_rad = np.array([prior.offset_rad, prior.offset_rad, flex_sigma_rad])
        self._whiten = eye_array(2 * len(self.pixels), format="csr") / prior.corner_px

    def lens(self, x: np.ndarray) -> Lens:
        """Return the lens that `x` describes."""
        width, height = self.size_px
        centre = (width - 1) / 2 + float(x[1]) * width, (height - 1) / 2 + float(x[2]) * width
        return Lens(width, height, float(np.exp(x[0]) * height), centre, float(x[3]), float(x[4]))

    def grippers(self, offset_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions [V, 3] and rotations [V, 3, 3] of the gripper, `offset_rad` [5] taken off the readings."""
        position, rotation = self._origins[:, 4], self._turns[:, 4]
        for joint in np.flatnonzero(offset_rad)[::-1]:
            turn = Rotation.from_rotvec(-offset_rad[joint] * self._turns[:, joint, :, 2]).as_matrix()
            origin = self._origins[:, joint]
            position = origin + np.einsum("vij,vj->vi", turn, position - origin)
            rotation = turn @ rotation
        return position, rotation

    def error_px(self, x: np.ndarray, offset_rad: np.ndarray | None = None) -> np.ndarray:
        """Return where the model sees the corners minus where they were seen [M, 2]."""
        offsets = np.array([0.0, *x[OFFSETS], 0.0])
        position, rotation = self.grippers(offsets if offset_rad is None else offsets + offset_rad)
        board = np.exp(x[SCALE]) * self.corners_m @ Rotation.from_rotvec(x[BOARD][3:]).as_matrix().T + x[BOARD][:3]
        local = np.einsum("mji,mj->mi", rotation[self.which], board[self.numbers] - position[self.which])
        seen = (local - x[MOUNT][:3]) @ Rotation.from_rotvec(x[MOUNT][3:]).as_matrix()
        return self.lens(x).project(seen) - self.pixels

    def weigh(self, x: np.ndarray) -> None:
        """Count in, from now on, that an error of the joint readings moves all corners of a view together.

        At `x`, the errors of a view have the covariance σ²·1 + J·σ_joint²·Jᵀ, J the view's Jacobian by its joints:
        generalised least squares, with the joint errors of every view integrated out.
        """
        before, step_rad = self.error_px(x), 1e-6
        columns = [(self.error_px(x, step_rad * np.eye(5)[j]) - before).ravel() / step_rad for j in range(5)]
        by_joint = np.stack(columns, 1) * self.prior.joint_rad
        blocks = []
        for view in range(len(self.views)):
            rows = by_joint[np.repeat(self.which == view, 2)]
            covariance = self.prior.corner_px**2 * np.eye(len(rows)) + rows @ rows.T
            blocks.append(coo_array(np.linalg.inv(np.linalg.cholesky(covariance))))
        self._whiten = block_diag(blocks, format="csr")

    def deviations(self, x: np.ndarray) -> np.ndarray:
        """Return, each in its standard deviations, errors of the corners [2 M] and then of what was known before."""
        prior, normal = self.prior, Rotation.from_rotvec(x[BOARD][3:]).as_matrix()[:2, 2]
        known = (
            x[1:3] / prior.centre_of_width,
            [x[3] / prior.k1, x[4] / prior.k2, x[SCALE] / prior.board_scale],
            [x[BOARD][2] / prior.board_height_m],
            normal / prior.board_tilt_rad,
            x[OFFSETS] / self._offset_sigma_rad,
        )
        return np.concatenate((self._whiten @ self.error_px(x).ravel(), *known))
