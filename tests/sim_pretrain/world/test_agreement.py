"""Numbers that two rooms must share although neither may import the other."""

import numpy as np

from data.spec import ActionSpec
from hilserl.loop.env import sample_start
from hilserl.tasks import lift_task
from sim_pretrain.task.tasks import LIFT_HEIGHT_M, TASKS
from teleop.expert import ExpertConfig
from teleop.scripted import SALT, ScriptedConfig


def test_operator_and_simulation_agree() -> None:
    operator, cube = ScriptedConfig(), TASKS["lift"].cube
    assert operator.lift_height_m == LIFT_HEIGHT_M
    assert (operator.spawn_low_m, operator.spawn_high_m) == (cube.low_m, cube.high_m)
    assert operator.spawn_yaw_rad == cube.yaw_rad
    assert ExpertConfig().step_m == ActionSpec().step_m


def test_object_and_start_pose_are_independent_for_equal_seeds() -> None:
    """The start pose must not tell where the object is, or the task could be solved without looking."""
    starts, places, cube = [], [], TASKS["lift"].cube
    for index in range(200):
        starts.append(sample_start(lift_task(), np.random.default_rng([7, index]))[:2])
        places.append(np.random.default_rng([SALT, 7, index]).uniform(cube.low_m, cube.high_m))
    correlation = np.corrcoef(np.array(starts).T, np.array(places).T)[:2, 2:]
    assert np.abs(correlation).max() < 0.25
