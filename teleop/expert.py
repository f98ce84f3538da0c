"""The scripted hand: a closed-loop lift of a cube whose pose it sees. It plays the person in rehearsals."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class ExpertConfig:
    """Distances of the scripted lift."""

    step_m: float = 0.01  # motion per unit action; equal to `ActionSpec.step_m`
    hover_m: float = 0.045  # end effector above the cube's centre while it aligns
    aligned_m: float = 0.006  # horizontal error below which it may descend
    low_aligned_m: float = 0.010  # ... and may close once it is low
    grasp_height_m: float = 0.002  # end effector above the cube's centre when it closes
    gain: float = 0.8  # of the remaining distance per step; below 1 because the arm lags


def lift(ee_m: np.ndarray, cube_m: np.ndarray, grasped: bool, config: ExpertConfig) -> np.ndarray:
    """Return the action [4] of a top-down lift: align, descend, close, raise.

    Args:
        ee_m: [3] end effector (grasp centre) in the base frame.
        cube_m: [3] cube centre in the base frame.
        grasped: both fingers hold the cube.
    """
    if grasped:
        return np.array([0.0, 0.0, 1.0, -1.0], np.float32)
    error = cube_m - ee_m
    distance = float(np.hypot(error[0], error[1]))
    height = ee_m[2] - cube_m[2]
    low = height < 0.02
    gripper = 1.0
    if distance < (config.low_aligned_m if low else config.aligned_m):
        rise = config.grasp_height_m - height
        if abs(rise) < 0.006:
            gripper = -1.0
    elif low:
        error[:2] = 0.0  # rise before moving sideways, or the fingers push the cube away
        rise = config.hover_m - height
    else:
        rise = config.hover_m - height
    move = np.clip(config.gain * np.array([error[0], error[1], rise]) / config.step_m, -1, 1)
    return np.array([*move, gripper], np.float32)


@dataclass(frozen=True)
class PlaceConfig:
    """Distances of the scripted pick and place."""

    grasp: ExpertConfig = field(default_factory=ExpertConfig)
    carry_m: float = 0.075  # underside of the cube above the table while it is carried
    over_m: float = 0.012  # horizontal error within which it may be lowered and released
    release_m: float = 0.004  # underside of the cube above the target when the hand opens
    placed_m: float = 0.030  # a released cube this near to the target's centre stays where it is


def place(
    ee_m: np.ndarray,
    cube_m: np.ndarray,
    cube_half_m: float,
    grasped: bool,
    target_m: np.ndarray,
    config: PlaceConfig,
) -> np.ndarray:
    """Return the action [4] of a pick and place: `lift` as far as the grasp, carry, lower, open, retreat.

    Args:
        ee_m: [3] end effector (grasp centre) in the base frame.
        cube_m: [3] cube centre in the base frame.
        cube_half_m: half an edge of the cube.
        grasped: both fingers hold the cube.
        target_m: [3] where the cube is to lie, on the surface.
        config: distances.
    """
    away = target_m - cube_m
    distance = float(np.hypot(away[0], away[1]))
    bottom_m = cube_m[2] - cube_half_m
    if not grasped:
        if distance < config.placed_m:
            return np.array([0.0, 0.0, 1.0, 1.0], np.float32)
        return lift(ee_m, cube_m, False, config.grasp)
    speed = config.grasp.gain / config.grasp.step_m
    if distance < config.over_m:
        drop_m = target_m[2] + config.release_m - bottom_m
        if drop_m > -0.003:
            return np.array([0.0, 0.0, 0.0, 1.0], np.float32)
        goal = np.array([away[0], away[1], drop_m])
    elif bottom_m < config.carry_m - 0.02:
        goal = np.array([0.0, 0.0, config.carry_m - bottom_m])  # up first: sideways it would hit what is in the way
    else:
        goal = np.array([away[0], away[1], config.carry_m - bottom_m])
    return np.array([*np.clip(speed * goal, -1, 1), -1.0], np.float32)
