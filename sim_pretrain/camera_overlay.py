"""The fitted camera beside the real one: what the simulation draws at the same joint angles, laid over the frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import cv2
import mujoco
import numpy as np

from data.errors import UserError
from data.images import crop_px
from data.spec import CameraSpec, TaskSpec
from hilserl.loop.env import start_joints
from hilserl.robot.kinematics import JOINTS
from sim_pretrain.camera_fit import Fit
from sim_pretrain.camera_frames import Sighting
from sim_pretrain.charuco import Board, with_board
from sim_pretrain.profile import WorldProfile
from sim_pretrain.scene import build_xml

VISIBLE = 0.01  # share of the policy's image below which something counts as out of sight (research page, R26)
_AWAY_M = (-0.5, 0.0, 0.02)  # where the cube is put when it is not wanted
_BODIES = {"gripper": "fixed finger", "moving_jaw": "moving finger", "cube": "cube"}


class CameraView:
    """The simulated wrist camera at any joint angles. Use in a `with` block, in one thread."""

    def __init__(self, profile: WorldProfile, size_px: tuple[int, int], board: Board | None, fit: Fit) -> None:
        """Build the scene, with the board where it was found.

        Raises:
            UserError: there is no OpenGL to render with.
        """
        scene = build_xml(profile)
        if board is not None:
            scale, turn = fit.board_scale, fit.board_rotation
            board = replace(board, square_m=board.square_m * scale, marker_m=board.marker_m * scale)
            centre = float(fit.board_position_m[0]), float(fit.board_position_m[1])
            scene = with_board(scene, board, centre, float(np.arctan2(turn[1, 0], turn[0, 0])))
        self._model = mujoco.MjModel.from_xml_string(*scene)
        self._model.vis.global_.offwidth, self._model.vis.global_.offheight = size_px
        self._data = mujoco.MjData(self._model)
        try:
            self._renderer = mujoco.Renderer(self._model, size_px[1], size_px[0])
        except Exception as error:
            raise UserError(
                f"MuJoCo found no OpenGL to render with (MUJOCO_GL={os.environ['MUJOCO_GL']}: {error}). "
                "On Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri"
            ) from error

    def __enter__(self) -> CameraView:
        """Return the view."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the renderer."""
        self._renderer.close()

    def draw(self, joints_rad: np.ndarray) -> np.ndarray:
        """Return the frame uint8 [H, W, 3] RGB at true joint angles [6]."""
        self._pose(joints_rad, _AWAY_M)
        self._renderer.disable_segmentation_rendering()
        self._renderer.update_scene(self._data, "wrist")
        return self._renderer.render()

    def shares(self, joints_rad: np.ndarray, cube_m: tuple[float, float, float], camera: CameraSpec) -> dict[str, float]:
        """Return how much of the policy's image is what: {name of finger or cube: share}."""
        self._pose(joints_rad, cube_m)
        self._renderer.enable_segmentation_rendering()
        self._renderer.update_scene(self._data, "wrist")
        kinds = self._renderer.render()
        top, left, height, width = crop_px(kinds.shape, camera)
        part = kinds[top : top + height, left : left + width]
        geoms = part[..., 0][part[..., 1] == mujoco.mjtObj.mjOBJ_GEOM]
        bodies = self._model.geom_bodyid[geoms]
        return {
            name: float((bodies == self._model.body(body).id).sum() / (height * width)) for body, name in _BODIES.items()
        }

    def _pose(self, joints_rad: np.ndarray, cube_m: tuple[float, float, float]) -> None:
        for name, angle in zip(JOINTS, joints_rad, strict=True):
            self._data.joint(name).qpos[0] = angle
        self._data.joint("cube").qpos[:3] = cube_m
        mujoco.mj_forward(self._model, self._data)


def finger_visibility(
    profile: WorldProfile, fit: Fit, spec: TaskSpec, camera: CameraSpec, openings: int = 5
) -> list[tuple[float, dict[str, float]]]:
    """Return what the policy's image holds at the middle start pose, from a closed to an open gripper.

    Returns:
        [(gripper angle rad, {"fixed finger", "moving finger", "cube": share of the image})].
    """
    start_m = np.mean([spec.start_low_m, spec.start_high_m], axis=0)
    joints = start_joints(spec, start_m)
    cube_m = float(start_m[0]), float(start_m[1]), profile.cube_half_m
    found = []
    with CameraView(profile, (320, round(320 * fit.lens.height_px / fit.lens.width_px)), None, fit) as view:
        for angle in np.linspace(spec.action.gripper_closed_rad, spec.action.gripper_open_rad, openings):
            joints[5] = angle
            found.append((float(angle), view.shares(joints, cube_m, camera)))
    return found


def write_overlay(
    path: Path, sightings: Sequence[Sighting], profile: WorldProfile, board: Board, fit: Fit, title: str
) -> None:
    """Write a PNG with one row for each sighting: the real frame, the simulated one, and both in one.

    Raises:
        UserError: the file cannot be written there, or there is no OpenGL.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size_px = fit.lens.width_px, fit.lens.height_px
    offset = np.append(fit.joint_offset_rad, 0.0)
    wide_in, high_in = 3.9, 3.9 * size_px[1] / size_px[0]
    figure = Figure(figsize=(3 * wide_in, len(sightings) * (high_in + 0.3) + 0.9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    cells = figure.subplots(len(sightings), 3, squeeze=False)
    with CameraView(profile, size_px, board, fit) as view:
        for row, sighting in zip(cells, sightings, strict=True):
            simulated = view.draw(sighting.view.joints_rad - offset)
            words = (sighting.view.name, "simulation, same joint angles", "real in red, simulation in cyan: grey = agree")
            pictures = (sighting.frame, simulated, anaglyph(sighting.frame, simulated))
            for cell, picture, label in zip(row, pictures, words, strict=True):
                cell.imshow(picture)
                cell.set_title(label, fontsize=8.5, loc="left", pad=3)
                cell.axis("off")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", facecolor="white")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Name a folder of yours") from error


def anaglyph(real: np.ndarray, simulated: np.ndarray) -> np.ndarray:
    """Return one picture of two: the real frame as its red, the simulated one as its green and blue."""
    red, cyan = (cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (real, simulated))
    return np.stack((red, cyan, cyan), axis=2)
