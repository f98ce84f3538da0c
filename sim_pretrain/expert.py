"""The scripted expert of each task, as a function of the truth: it has no memory, so it can label any state."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sim_pretrain.scene import BOWL_HEIGHT_M
from sim_pretrain.tasks import SimTask
from sim_pretrain.truth import Truth
from teleop.expert import ExpertConfig, PlaceConfig, lift, place

Expert = Callable[[Truth], np.ndarray]


def expert_of(task: SimTask) -> Expert:
    """Return the expert of a task: from the truth to an action float32 [4]."""
    grasp = ExpertConfig(step_m=task.spec.action.step_m)
    if task.prop is None:
        return lambda truth: lift(np.array(truth.ee_m), np.array(truth.cube_m), truth.grasped, grasp)
    # Into a bowl it is dropped from above the rim; onto paper it is set down.
    release_m = BOWL_HEIGHT_M + 0.015 if task.prop == "bowl" else 0.004
    config = PlaceConfig(grasp=grasp, release_m=release_m)

    def act(truth: Truth) -> np.ndarray:
        assert truth.target_m is not None
        there = np.array(truth.target_m)
        return place(np.array(truth.ee_m), np.array(truth.cube_m), truth.cube_half_m, truth.grasped, there, config)

    return act
