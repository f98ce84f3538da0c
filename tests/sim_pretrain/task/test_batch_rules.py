"""Many tables at once are judged as each of them is alone."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from sim_pretrain.task.batch_rules import Referees, lost
from sim_pretrain.task.rewards import DEFAULTS, REWARDS
from sim_pretrain.task.tasks import TASKS, Referee, SimTask
from sim_pretrain.world.truth import Truth
from sim_pretrain.world.truths import Truths

TABLES, STEPS = 6, 8


def moments(task: SimTask, rng: np.random.Generator, count: int) -> list[Truth]:
    """Truths around where goals are reached and cubes are lost; touches and rest are as likely as not."""
    found = []
    for _ in range(count):
        target = (0.23, 0.08, 0.0) if task.target else None
        centre = target if target and rng.random() < 0.7 else (0.23, 0.0, 0.0)
        cube = np.array(centre) + rng.normal(0.0, (0.03, 0.03, 0.0)) + (0, 0, rng.choice([-0.01, 0.015, 0.03, 0.1]))
        touches = (True, True) if rng.random() < 0.6 and not target else rng.random(2) < 0.2
        found.append(
            Truth(
                cube_m=tuple(cube.tolist()),
                cube_yaw_rad=float(rng.uniform(-3, 3)),
                cube_tilt_rad=float(rng.choice([0.0, 0.1, 0.5])),
                cube_speed_m_s=float(rng.choice([0.0, 0.02, 0.2])),
                cube_half_m=float(rng.uniform(0.012, 0.018)),
                ee_m=tuple((cube + rng.normal(0.0, 0.02, 3)).tolist()),
                gripper_rad=float(rng.uniform(-0.1, 0.6)),
                static_pad_m=tuple((cube + rng.normal(0.0, 0.02, 3)).tolist()),
                moving_pad_m=tuple((cube + rng.normal(0.0, 0.015, 3)).tolist()),
                static_touch=bool(touches[0]),
                moving_touch=bool(touches[1]),
                target_m=target,
            )
        )
    return found


@pytest.mark.parametrize("reward", DEFAULTS)
@pytest.mark.parametrize("name", TASKS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_goals_losses_and_rewards_are_those_of_one_table(name: str, reward: str, seed: int) -> None:
    task, rng = TASKS[name], np.random.default_rng(seed)
    before, action = moments(task, rng, TABLES), np.zeros(4)
    ours, theirs = Referees(task, REWARDS[reward], TABLES), [Referee(task, truth, action) for truth in before]
    for _ in range(STEPS):
        # Few moments are new, so that goals are held for a while.
        after = [
            new if rng.random() < 0.3 else old for old, new in zip(before, moments(task, rng, TABLES), strict=True)
        ]
        states = [referee.look(truth, action, 0.1) for referee, truth in zip(theirs, after, strict=True)]
        success, gone, terms = ours.look(Truths.of(before), Truths.of(after), 0.1)
        assert success.tolist() == [s.success for s in states]
        assert gone.tolist() == [s.lost for s in states]
        expected = [REWARDS[reward].terms(s) for s in states]
        assert list(terms) == list(expected[0])
        for term, values in terms.items():
            np.testing.assert_allclose(values, [e[term] for e in expected], atol=1e-12, err_msg=term)
        before = after


@pytest.mark.parametrize("name", TASKS)
def test_these_moments_hold_successes_and_losses(name: str) -> None:
    rng, task = np.random.default_rng(0), TASKS[name]
    truths = moments(task, rng, 400)
    assert sum(map(task.reached, truths)) > 10
    assert 10 < lost(Truths.of(truths)).sum() < 390


def test_another_episode_begins_with_nothing_held() -> None:
    task = TASKS["lift"]
    held = replace(
        moments(task, np.random.default_rng(0), 1)[0], cube_m=(0.2, 0.0, 0.1), static_touch=True, moving_touch=True
    )
    referees, truths = Referees(task, REWARDS["sparse"], 2), Truths.of([held, held])
    for _ in range(2):
        referees.look(truths, truths, 0.1)
    referees.begin(0)
    assert referees.look(truths, truths, 0.1)[0].tolist() == [False, True]


def test_a_reward_of_the_history_is_refused() -> None:
    with pytest.raises(UserError, match=r"v19.*sparse, dense"):
        Referees(TASKS["lift"], REWARDS["v19"], 2)


def test_a_goal_of_ones_own_is_refused() -> None:
    with pytest.raises(UserError, match="lift, bowl or paper"):
        Referees(replace(TASKS["lift"], reached=lambda truth: True), REWARDS["sparse"], 2)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_truths_give_back_what_was_stacked_and_put(seed: int) -> None:
    for task in TASKS.values():
        alone = moments(task, np.random.default_rng(seed), 4)
        truths = Truths.of(alone[:3])
        assert [truths.one(i) for i in range(3)] == alone[:3]
        truths.put(1, alone[3])
        assert [truths.one(i) for i in range(3)] == [alone[0], alone[3], alone[2]]
        assert truths.grasped.tolist() == [alone[i].grasped for i in (0, 3, 2)]


def test_truths_have_the_fields_of_a_truth() -> None:
    assert [f.name for f in fields(Truths)] == [f.name for f in fields(Truth)]
