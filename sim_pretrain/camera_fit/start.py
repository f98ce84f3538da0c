"""Where to begin a camera fit: OpenCV's camera and hand-eye calibration, and the camera that was there before."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from sim_pretrain.camera_fit.lens import FLIP, Lens
from sim_pretrain.camera_fit.residuals import BOARD, COUNT, MOUNT, Residuals, View

Guess = tuple[np.ndarray, np.ndarray, float]  # position [3] m, rotation [3, 3], vertical field of view deg
_FIRST_VIEWS = 12  # as many make a starting point; more only cost time


def starting_points(model: Residuals, guess: Guess) -> list[np.ndarray]:
    """Return starting points [21]: the guess, its other mount side, and what OpenCV's hand-eye methods find."""
    position, rotation, fovy_deg = guess
    lens = _first_lens(model, fovy_deg)
    seen = [_board_in_camera(model, view, lens) for view in model.views]
    turned = np.diag([-1.0, -1.0, 1.0])
    mounts = [(position, rotation), (turned @ position, turned @ rotation), *_hand_eye(model, seen)]
    grippers = model.grippers(np.zeros(5))
    starts = []
    for where, turn in mounts:
        x = np.zeros(COUNT)
        x[0] = np.log(lens.focal_px / lens.height_px)
        x[MOUNT] = *where, *Rotation.from_matrix(turn).as_rotvec()
        centres, yaws = [], []
        for origin, gripper, (board_m, board) in zip(*grippers, seen, strict=True):
            centres.append(origin + gripper @ (where + turn @ board_m))
            along = (gripper @ turn @ board)[:, 0]
            yaws.append(along[:2] / (np.linalg.norm(along[:2]) + 1e-9))
        yaw = np.arctan2(*np.mean(yaws, 0)[::-1])
        x[BOARD] = *np.median(centres, 0)[:2], 0.0, 0.0, 0.0, yaw
        starts.append(x)
    return starts


def _first_lens(model: Residuals, fovy_deg: float) -> Lens:
    """Zhang's calibration without distortion; the guess where that makes no sense."""
    width, height = model.size_px
    guess = Lens.centred(width, height, fovy_deg)
    views = model.views[:: -(-len(model.views) // _FIRST_VIEWS)]
    objects = [model.corners_m[v.numbers].astype(np.float32) for v in views]
    flags = (
        cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_PRINCIPAL_POINT | cv2.CALIB_FIX_ASPECT_RATIO
        | cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
    )  # fmt: skip
    images = [v.pixels.astype(np.float32) for v in views]
    enough = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 20, 1e-5)
    try:
        _, matrix, *_ = cv2.calibrateCamera(
            objects, images, model.size_px, guess.matrix, np.zeros(5), flags=flags, criteria=enough
        )
    except cv2.error:
        return guess
    found = replace(guess, focal_px=float(matrix[0, 0]))
    return found if 20 < found.fovy_deg < 140 else guess


def _board_in_camera(model: Residuals, view: View, lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    """Return position [3] and rotation [3, 3] of the board in the camera's frame."""
    _, turn, where = cv2.solvePnP(
        model.corners_m[view.numbers], view.pixels, lens.matrix, np.zeros(5), flags=cv2.SOLVEPNP_IPPE
    )
    return where.ravel() * FLIP, np.diag(FLIP) @ cv2.Rodrigues(turn)[0]


def _hand_eye(model: Residuals, seen: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    origins, turns = model.grippers(np.zeros(5))
    found = []
    for method in (cv2.CALIB_HAND_EYE_PARK, cv2.CALIB_HAND_EYE_DANIILIDIS):
        try:
            turn, where = cv2.calibrateHandEye(
                list(turns), list(origins), [b for _, b in seen], [p for p, _ in seen], method=method
            )
        except cv2.error:
            continue
        rotation, position = np.asarray(turn, float), np.asarray(where, float).ravel()
        if np.isfinite(rotation).all() and np.isfinite(position).all() and np.linalg.det(rotation) > 0.5:
            found.append((position, rotation))
    return found
