"""A camera's lens, and the one that the simulation can draw in its place.

Cameras look along -z with y up, as in MuJoCo; pixels are OpenCV's (the centre of the first pixel is 0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

FLIP = np.array([1.0, -1.0, -1.0])  # between MuJoCo's camera axes and OpenCV's


@dataclass(frozen=True)
class Lens:
    """A pinhole with square pixels and radial distortion."""

    width_px: int
    height_px: int
    focal_px: float
    centre_px: tuple[float, float]
    k1: float = 0.0
    k2: float = 0.0

    @property
    def fovy_deg(self) -> float:
        """Vertical field of view of a frame this high, without distortion."""
        return float(np.degrees(2 * np.arctan(self.height_px / 2 / self.focal_px)))

    @property
    def matrix(self) -> np.ndarray:
        """OpenCV's camera matrix [3, 3]."""
        return np.array([[self.focal_px, 0, self.centre_px[0]], [0, self.focal_px, self.centre_px[1]], [0, 0, 1.0]])

    @staticmethod
    def centred(width_px: int, height_px: int, fovy_deg: float) -> Lens:
        """Return MuJoCo's lens."""
        focal_px = height_px / 2 / np.tan(np.radians(fovy_deg) / 2)
        return Lens(width_px, height_px, float(focal_px), ((width_px - 1) / 2, (height_px - 1) / 2))

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """Return pixels [N, 2] of points [N, 3] in the camera's frame; what is behind it lands far outside."""
        ahead = points_m * FLIP
        flat = ahead[:, :2] / np.maximum(ahead[:, 2:], 1e-3)
        square = np.minimum((flat**2).sum(1, keepdims=True), 25.0)
        return flat * (1 + self.k1 * square + self.k2 * square**2) * self.focal_px + self.centre_px


@dataclass(frozen=True)
class Pinhole:
    """MuJoCo's camera that comes nearest to a real one."""

    turn: np.ndarray  # [3, 3] its axes in the real camera's frame
    fovy_deg: float
    rms_px: float  # between the two, over the part of the frame that counts
    worst_px: float


def nearest_pinhole(lens: Lens, part_px: tuple[int, int, int, int]) -> Pinhole:
    """Return the centred pinhole without distortion, at the same place, whose pixels differ least from those of `lens`.

    A principal point off the middle becomes a turn. What distortion leaves over, the simulation cannot show.

    Args:
        lens: the real one.
        part_px: top, left, height, width of what counts: the policy's crop.
    """
    top, left, height, width = part_px
    columns, rows = np.meshgrid(np.linspace(left, left + width - 1, 17), np.linspace(top, top + height - 1, 17))
    pixels = np.stack((columns.ravel(), rows.ravel()), axis=1)
    flat = cv2.undistortPoints(pixels[:, None], lens.matrix, np.array([lens.k1, lens.k2, 0, 0]))[:, 0]
    rays = np.column_stack((flat, np.ones(len(flat)))) * FLIP

    def error_px(x: np.ndarray) -> np.ndarray:
        turned = rays @ Rotation.from_rotvec(x[:3]).as_matrix()
        return Lens.centred(lens.width_px, lens.height_px, x[3]).project(turned) - pixels

    found = least_squares(lambda x: error_px(x).ravel(), np.array([0.0, 0.0, 0.0, lens.fovy_deg]), x_scale="jac")
    apart_px = np.linalg.norm(error_px(found.x), axis=1)
    return Pinhole(
        turn=Rotation.from_rotvec(found.x[:3]).as_matrix(),
        fovy_deg=float(found.x[3]),
        rms_px=float(np.sqrt((apart_px**2).mean())),
        worst_px=float(apart_px.max()),
    )
