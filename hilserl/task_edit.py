"""A task for another table: crop, workspace and start pose changed, and what is odd about the result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data.errors import UserError
from data.images import crop_px
from data.spec import TaskSpec

LEAST_M = 0.04  # a workspace is at least so wide, deep and high
LOW_M, REACH_M = 0.03, 0.42  # a floor above this does not reach the table; no hand comes further from the base


def with_crop(task: TaskSpec, camera: str, crop: tuple[float, ...], shape: tuple[int, ...]) -> TaskSpec:
    """Return the task with another crop of one camera.

    Args:
        task: what is changed.
        camera: its name.
        crop: top, left, height, width as fractions of the frame.
        shape: (H, W, ...) of the native frame [px], in which the crop has to be square.

    Raises:
        UserError: there is no such camera, or the crop is not square.
        ValueError: the crop leaves the frame.
    """
    specs = {c.name: c for c in task.observation.cameras}
    if camera not in specs:
        raise UserError(f"the task has no camera {camera!r}; accepted are {', '.join(specs)}")
    top, left, height, width = (round(float(c), 5) for c in crop)
    specs[camera] = replace(specs[camera], crop=(top, left, height, width))
    _, _, height_px, width_px = crop_px(shape, specs[camera])
    if abs(height_px - width_px) > 1:
        raise UserError(
            f"the crop of {camera} has {width_px}x{height_px} px; accepted are squares, as the model's picture"
        )
    return replace(task, observation=replace(task.observation, cameras=tuple(specs.values())))


def with_workspace(task: TaskSpec, corner_m: np.ndarray, opposite_m: np.ndarray) -> TaskSpec:
    """Return the task whose workspace is the box between two corners [3], in the frame of the base.

    Raises:
        UserError: they do not span a box.
    """
    low, high = np.minimum(corner_m, opposite_m), np.maximum(corner_m, opposite_m)
    for axis, span_m in zip(("forward", "sideways", "up"), high - low, strict=True):
        if span_m < LEAST_M:
            raise UserError(
                f"these corners are {1e3 * span_m:.0f} mm apart {axis}; accepted are {1e3 * LEAST_M:.0f} at least"
            )
    return replace(task, workspace_low_m=_rounded(low), workspace_high_m=_rounded(high))


def with_start(task: TaskSpec, hand_m: np.ndarray) -> TaskSpec:
    """Return the task whose starts lie around this position of the hand [3], as far around it as before."""
    half = (np.array(task.start_high_m) - task.start_low_m) / 2
    return replace(task, start_low_m=_rounded(hand_m - half), start_high_m=_rounded(hand_m + half))


def problems(task: TaskSpec) -> list[str]:
    """Return what makes a task unusable, each with what to do about it; [] when it is fine."""
    low, high = np.array(task.workspace_low_m), np.array(task.workspace_high_m)
    start_low, start_high = np.array(task.start_low_m), np.array(task.start_high_m)
    found = []
    if low[2] > LOW_M:
        found.append(f"the workspace begins {1e3 * low[2]:.0f} mm above the table: take a corner with the hand down")
    if low[2] < 0:
        found.append(
            f"the workspace begins {-1e3 * low[2]:.0f} mm below the table: take a corner with the hand above it"
        )
    furthest_m = float(np.hypot(max(abs(low[0]), abs(high[0])), max(abs(low[1]), abs(high[1]))))
    if furthest_m > REACH_M:
        found.append(f"the workspace ends {1e3 * furthest_m:.0f} mm from the base, out of reach: take a nearer corner")
    if (start_low < low).any() or (start_high > high).any():
        found.append("the starts are not within the workspace: take a start pose further inside, or wider corners")
    return found


def _rounded(position_m: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (round(float(p), 4) for p in position_m)
    return x, y, z
