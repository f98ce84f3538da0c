"""The fitted camera beside the real one: what the simulation draws at the same joint angles, laid over the frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from data.errors import UserError
from data.images import crop_px
from data.spec import CameraSpec, TaskSpec
from hilserl.loop.env import start_joints
from hilserl.robot.kinematics import JOINTS
from sim_pretrain.camera_fit.charuco import Board, with_board
from sim_pretrain.camera_fit.fit import Fit
from sim_pretrain.camera_fit.frames import Sighting
from sim_pretrain.world.opengl import make_renderer, mujoco
from sim_pretrain.world.profile import Vec3, WorldProfile
from sim_pretrain.world.scene import build_xml

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
        self._renderer = make_renderer(self._model, *size_px)

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

    def shares(
        self, joints_rad: np.ndarray, cube_m: tuple[float, float, float], camera: CameraSpec
    ) -> dict[str, float]:
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
            name: float((bodies == self._model.body(body).id).sum() / (height * width))
            for body, name in _BODIES.items()
        }

    def _pose(self, joints_rad: np.ndarray, cube_m: Vec3) -> None:
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
    path: Path,
    sightings: Sequence[Sighting],
    present: WorldProfile,
    fitted: WorldProfile,
    board: Board,
    fit: Fit,
    title: str,
) -> None:
    """Write a PNG with one row for each sighting: real frame, simulated one, and both in one, after and before the fit.

    Raises:
        UserError: the file cannot be written there, or there is no OpenGL.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size_px, offset = (fit.lens.width_px, fit.lens.height_px), np.append(fit.joint_offset_rad, 0.0)
    with CameraView(fitted, size_px, board, fit) as view:
        after = [view.draw(s.view.joints_rad - offset) for s in sightings]
    with CameraView(present, size_px, board, fit) as view:
        before = [view.draw(s.view.joints_rad - offset) for s in sightings]
    wide_in, caption_in, head_in = 3.4, 0.24, 0.62
    high_in = wide_in * size_px[1] / size_px[0]
    all_in = head_in + len(sightings) * (high_in + caption_in)
    figure = Figure(figsize=(4 * wide_in, all_in), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.005, 1 - 0.16 / all_in, title, fontsize=12, fontweight="bold", va="center")
    legend = "In the two right columns red is the real frame and cyan the simulated one: coloured edges are misfits."
    figure.text(0.005, 1 - 0.42 / all_in, legend, fontsize=9.5, va="center")
    for row, sighting in enumerate(sightings):
        bottom_in = all_in - head_in - (row + 1) * (high_in + caption_in)
        pictures = {
            f"real: {sighting.view.name}": sighting.frame,
            "simulated, same joint angles": after[row],
            "both, fitted": anaglyph(sighting.frame, after[row]),
            "both, before the fit": anaglyph(sighting.frame, before[row]),
        }
        for column, (label, picture) in enumerate(pictures.items()):
            box = (column / 4 + 0.002, bottom_in / all_in, 0.246, high_in / all_in)
            cell = figure.add_axes(box, xticks=[], yticks=[])
            cell.imshow(picture, interpolation="antialiased", aspect="auto")
            cell.set_title(label, fontsize=9, loc="left", pad=3)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Name a folder of yours") from error


def anaglyph(real: np.ndarray, simulated: np.ndarray) -> np.ndarray:
    """Return one picture of two: the real frame as its red, the simulated one as its green and blue.

    Both are stretched to the same greys first: a difference of light is no misfit.
    """
    red, cyan = (_stretched(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY)) for f in (real, simulated))
    return np.stack((red, cyan, cyan), axis=2)


def _stretched(grey: np.ndarray) -> np.ndarray:
    low, middle, high = np.percentile(grey, (2, 50, 98))
    levels = np.interp(grey, (low, middle, high), (0, 128, 255)) if low < middle < high else grey
    return np.asarray(levels, np.uint8)
