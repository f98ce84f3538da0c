"""Where episodes start: each stage keeps its promise, neighbours overlap, and `home` gives nothing away."""

import numpy as np
import pytest

from data.errors import UserError
from hilserl.loop.env import sample_start
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.stages import STAGES, require_stages, scatter
from sim_pretrain.task.tasks import TASKS
from sim_pretrain.world.physics import World

TASK = TASKS["lift"]


@pytest.fixture(scope="module")
def starts() -> dict[str, list]:
    """{stage: truths of 60 starts}"""
    world, rng, found = World(), np.random.default_rng(0), {}
    for stage in STAGES:
        found[stage] = []
        for _ in range(60):
            scatter(world, TASK, rng, {stage: 1.0})
            found[stage].append(world.truth())
    return found


def test_an_unknown_stage_is_refused_with_those_that_exist():
    with pytest.raises(UserError, match="home, far, near, grasped"):
        require_stages({"hover": 1.0})


@pytest.mark.parametrize("weights", [{"home": -1.0}, {"home": 0.0}, {}])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(UserError, match="weight of 0 or more"):
        require_stages(weights)


def test_only_one_stage_starts_with_the_cube_in_the_hand(starts):
    held = {stage: np.mean([t.grasped for t in truths]) for stage, truths in starts.items()}
    assert held["grasped"] == 1.0
    assert held["home"] == held["far"] == held["near"] == 0.0


def test_an_injected_grasp_lasts():
    env, held = EnvConfig(stages={"grasped": 1.0}, oracle=True).make(), 0
    for seed in range(20):
        env.reset(seed=seed)
        for _ in range(10):
            env.step(np.array([0, 0, 0, -1], np.float32))
        held += env.truth.grasped
    assert held >= 19


def horizontal_m(truth) -> float:
    return float(np.linalg.norm(np.subtract(truth.ee_m, truth.cube_m)[:2]))


def test_near_and_far_are_what_they_say_and_overlap(starts):
    near = sorted(map(horizontal_m, starts["near"]))
    far = sorted(map(horizontal_m, starts["far"]))
    home = sorted(map(horizontal_m, starts["home"]))
    assert near[-1] < 0.045 and far[-1] < 0.125
    assert near[-1] > far[0] and far[-1] > home[0]  # no gap from one to the next


def test_heights_of_the_hand(starts):
    assert all(0.035 < t.ee_m[2] < 0.085 for t in starts["near"])
    assert all(0.015 < t.cube_m[2] < 0.10 for t in starts["grasped"])


def test_home_says_nothing_about_the_object():
    rng = np.random.default_rng(0)
    draws = np.array([[*sample_start(TASK.spec, rng), *TASK.cube.sample(rng)] for _ in range(2000)])
    assert np.abs(np.corrcoef(draws.T)[:3, 3:]).max() < 0.08


def test_a_start_leaves_nothing_of_the_episode_before():
    world, fresh = World(), World()
    scatter(world, TASK, np.random.default_rng(1))
    world.set_goals(world.joint_positions() + 0.2)
    world.advance(1.0)
    for w in (world, fresh):
        scatter(w, TASK, np.random.default_rng(2))
        w.advance(0.3)
    np.testing.assert_array_equal(world.data.qpos, fresh.data.qpos)
    assert world.time_s == fresh.time_s


def test_stages_are_mixed_by_weight():
    world, rng = World(), np.random.default_rng(0)
    names = [scatter(world, TASK, rng, {"home": 3.0, "near": 1.0}) for _ in range(400)]
    assert 0.18 < names.count("near") / 400 < 0.32 and set(names) == {"home", "near"}
