"""The scripted expert of each task, as a function of the truth: it has no memory, so it can label any state."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sim_pretrain.task.tasks import SimTask
from sim_pretrain.world.scene import BOWL_HEIGHT_M
from sim_pretrain.world.truth import Truth
from teleop.expert import ExpertConfig, PlaceConfig, lift, place

STATIC_PAD_M = 0.022  # from the grasp centre to the static finger
CLEARANCE_M = 0.004  # kept free between it and the cube

Expert = Callable[[Truth], np.ndarray]


def expert_of(task: SimTask) -> Expert:
    """Return the expert of a task: from the truth to an action float32 [4]."""
    grasp = ExpertConfig(step_m=task.spec.action.step_m)
    if task.prop is None:
        return lambda truth: lift(hand(truth), np.array(truth.cube_m), truth.grasped, grasp)
    # Into a bowl it is dropped from above the rim; onto paper it is set down.
    release_m = BOWL_HEIGHT_M + 0.015 if task.prop == "bowl" else 0.004
    config = PlaceConfig(grasp=grasp, release_m=release_m)

    def act(truth: Truth) -> np.ndarray:
        assert truth.target_m is not None
        there = np.array(truth.target_m)
        return place(hand(truth), np.array(truth.cube_m), truth.cube_half_m, truth.grasped, there, config)

    return act


def hand(truth: Truth) -> np.ndarray:
    """Return the point [3] of the hand that is to be brought over the cube.

    It is the grasp centre, moved towards the jaw where the corner of a large or askew cube would meet the static
    finger on the way down.
    """
    ee_m = np.array(truth.ee_m)
    if truth.grasped:
        return ee_m
    across = np.subtract(truth.moving_pad_m, truth.static_pad_m)[:2]
    across /= np.linalg.norm(across)
    face_rad = np.arctan2(across[1], across[0]) - truth.cube_yaw_rad
    reach_m = truth.cube_half_m * (abs(np.cos(face_rad)) + abs(np.sin(face_rad)))
    ee_m[:2] += max(0.0, reach_m + CLEARANCE_M - STATIC_PAD_M) * across
    return ee_m
