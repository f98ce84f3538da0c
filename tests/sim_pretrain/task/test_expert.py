"""The scripted experts: how often they succeed, and that they are functions of what they see."""

import numpy as np
import pytest

from data.schema import Source
from sim_pretrain.episodes.rollout import Phase, rollout
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.expert import expert_of
from sim_pretrain.task.tasks import TASKS
from teleop.expert import ExpertConfig, PlaceConfig, lift, place


@pytest.mark.parametrize("name", TASKS)
def test_it_succeeds(name):
    env = EnvConfig(name, blind=True).make()
    expert, phases, steps = expert_of(env.task), [], []
    for seed in range(30):
        run = rollout(env, lambda _, truth: (expert(truth), Source.EXPERT), expert, seed)
        phases.append(run.phase)
        steps.append(len(run.episode))
    assert phases.count(Phase.SUCCESS) >= 29
    assert np.mean(steps) < env.task.spec.time_limit_steps / 2


@pytest.mark.parametrize("seed", range(5))
def test_its_actions_are_actions(seed):
    rng = np.random.default_rng(seed)
    for _ in range(50):
        ee, cube, target = rng.uniform(-0.3, 0.3, (3, 3))
        held = bool(rng.integers(2))
        for action in (
            lift(ee, cube, held, ExpertConfig()),
            place(ee, cube, 0.015, held, target, PlaceConfig()),
        ):
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


TARGET = np.array([0.23, 0.07, 0.0])


def held_at(x: float, y: float, z: float) -> np.ndarray:
    return place(np.array([x, y, z]), np.array([x, y, z]), 0.015, True, TARGET, PlaceConfig())


def test_what_it_holds_goes_up_then_across_then_down_and_is_released():
    up, across = held_at(0.23, -0.05, 0.02), held_at(0.23, -0.05, 0.09)
    down, release = held_at(0.23, 0.07, 0.06), held_at(0.23, 0.07, 0.018)
    assert up[2] == 1.0 and not up[:2].any() and up[3] == -1.0
    assert across[1] == 1.0 and abs(across[2]) < 0.1 and across[3] == -1.0
    assert down[2] < 0 and down[3] == -1.0
    assert release[3] == 1.0


def test_what_lies_at_its_place_is_left_there():
    action = place(np.array([0.23, 0.07, 0.03]), np.array([0.23, 0.07, 0.015]), 0.015, False, TARGET, PlaceConfig())
    np.testing.assert_array_equal(action, [0, 0, 1, 1])
