"""The scripted lift in the clean simulation."""

import numpy as np
import pytest

from sim_pretrain.sim_arm import scatter
from teleop.expert import ExpertConfig, lift


def test_it_lifts_the_cube(new_world, blind_env, task):
    world, rng = new_world(), np.random.default_rng(0)
    env, wins, steps = blind_env(world), 0, []
    config = ExpertConfig(step_m=task.action.step_m)
    for _ in range(40):
        scatter(world, task, rng)
        env.begin()
        for t in range(task.time_limit_steps):
            truth = world.truth()
            env.step(lift(np.array(truth.ee_m), np.array(truth.cube_m), truth.grasped, config))
            if world.truth().success:
                wins += 1
                steps.append(t + 1)
                break
    assert wins >= 38
    assert np.mean(steps) < 50


@pytest.mark.parametrize("seed", range(5))
def test_its_actions_are_actions(seed):
    rng = np.random.default_rng(seed)
    for _ in range(50):
        action = lift(rng.uniform(-0.3, 0.3, 3), rng.uniform(-0.3, 0.3, 3), bool(rng.integers(2)), ExpertConfig())
        assert action.shape == (4,) and action.dtype == np.float32
        assert np.abs(action).max() <= 1.0


def test_low_and_beside_it_rises_first():
    action = lift(np.array([0.25, 0.03, 0.015]), np.array([0.25, 0.0, 0.015]), False, ExpertConfig())
    np.testing.assert_array_equal(action[:2], 0.0)
    assert action[2] > 0 and action[3] == 1.0


def test_it_leaves_its_arguments_alone():
    ee, cube = np.array([0.25, 0.03, 0.015]), np.array([0.25, 0.0, 0.015])
    lift(ee, cube, False, ExpertConfig())
    np.testing.assert_array_equal(ee, [0.25, 0.03, 0.015])
    np.testing.assert_array_equal(cube, [0.25, 0.0, 0.015])
