"""Where the object lies: a blob of its colour in a picture, and from there a place on the table.

No calibration is asked for: where the gripper closed in successful episodes is where the object lay, so a handful of
them tells which spot of a camera that stands still is which place on the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

LEAST_PAIRS = 8  # successes that tell how picture and table belong together
STRAY_M = 0.02  # an object that was pushed before it was grasped
LEAST_INLIERS = 0.6  # share of the pairs that have to agree


@dataclass(frozen=True)
class ColourConfig:
    """`--coverage.object...`: what the object looks like, in a camera that stands still."""

    camera: str = "front"  # the camera to look for it in; empty: it is not looked for
    hue_deg: float = 0.0  # its colour on the colour circle: 0 red, 60 yellow, 120 green, 240 blue
    hue_width_deg: float = 20.0  # how far its colour may be off, to either side
    saturation: float = 0.5  # at least, 0 to 1: less is grey
    brightness: float = 0.2  # at least, 0 to 1: less is black
    least_share: float = 0.002  # of the picture that it covers at least


def find_spot(image: np.ndarray, colour: ColourConfig) -> tuple[float, float] | None:
    """Return where the largest blob of this colour is, as (right, down) shares of the picture; None without one.

    Args:
        image: uint8 [H, W, 3] RGB.
        colour: what to look for.
    """
    hue, saturation, value = np.moveaxis(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), 2, 0)  # hue in units of 2 degrees
    off_deg = np.abs((2.0 * hue - colour.hue_deg + 180.0) % 360.0 - 180.0)
    mask = (off_deg <= colour.hue_width_deg) & (saturation >= 255 * colour.saturation)
    mask &= value >= 255 * colour.brightness
    _, _, stats, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]  # the first is what is not of this colour
    if not len(areas) or areas.max() < colour.least_share * mask.size:
        return None
    right, down = (centres[1 + int(areas.argmax())] + 0.5) / (mask.shape[1], mask.shape[0])
    return float(right), float(down)


def fit_table(spots: np.ndarray, places_m: np.ndarray) -> np.ndarray | None:
    """Return the homography [3, 3] from spots [N, 2] to places [N, 2] [m] in the base frame, x forward, y left.

    None when there are fewer than `LEAST_PAIRS`, or when they do not agree with each other.
    """
    if len(spots) < LEAST_PAIRS:
        return None
    found, inliers = cv2.findHomography(spots.astype(np.float64), places_m.astype(np.float64), cv2.RANSAC, STRAY_M)
    return found if found is not None and inliers.mean() >= LEAST_INLIERS else None


def to_table(homography: np.ndarray, spots: np.ndarray) -> np.ndarray:
    """Return the places [N, 2] [m] of spots [N, 2]."""
    mapped = np.column_stack([spots, np.ones(len(spots))]) @ homography.T
    places: np.ndarray = mapped[:, :2] / mapped[:, 2:]
    return places
