"""What no sequence of goals can make the motors be told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hilserl.robot.goals import MAX_ACCELERATION_RAD_S2, MAX_JAW_CURRENT_A, GoalFilter
from hilserl.robot.joints import JointLimits
from hilserl.robot.safety import Limit

LIMITS, SPEED, PERIOD_S = JointLimits(np.full(6, -1.5), np.full(6, 1.5)), np.array([3.0] * 5 + [9.0]), 0.02
goals = st.lists(arrays(np.float64, 6, elements=st.floats(-3, 3)), min_size=1, max_size=20)


def filtered() -> GoalFilter:
    goal_filter = GoalFilter(LIMITS, SPEED, PERIOD_S)
    goal_filter.anchor(np.zeros(6))
    return goal_filter


@settings(max_examples=50)
@given(goals)
def test_every_limit_holds_in_every_sequence_and_is_counted(sequence):
    goal_filter = filtered()
    last, step = np.zeros(6), np.zeros(6)
    for goal in sequence:
        hits = goal_filter.hits.total()
        sent = goal_filter(goal)
        assert (np.abs(sent) <= 1.5).all()
        assert (np.abs(sent - last) <= SPEED * PERIOD_S + 1e-12).all()
        faster = np.abs(sent - last) - np.where((sent - last) * step > 0, np.abs(step), 0)
        assert (faster <= MAX_ACCELERATION_RAD_S2 * PERIOD_S**2 + 1e-9).all()
        assert ((sent - last) * (np.clip(goal, -1.5, 1.5) - last) >= -1e-12).all()  # towards the goal, or not at all
        assert (goal_filter.hits.total() > hits) == (np.abs(sent - goal).max() > 1e-9)
        last, step = sent, sent - last


def test_a_goal_that_is_allowed_arrives_untouched():
    goal_filter, goal = filtered(), np.full(6, 0.015)
    np.testing.assert_array_equal(goal_filter(goal), goal)
    assert not goal_filter.hits


def test_a_closed_jaw_holds_its_command_and_opens_at_once():
    goal_filter = filtered()
    closing = np.array([0.0] * 5 + [-0.4])
    for _ in range(10):
        goal_filter(closing)
    goal_filter.see_jaw(0.0, 2 * MAX_JAW_CURRENT_A)  # an object stops it at zero
    for _ in range(10):
        goal_filter(closing)
    assert goal_filter.last_rad[5] == pytest.approx(-0.2)  # half of the way, half of the current
    assert goal_filter.hits[Limit.GRIP] == 10
    assert goal_filter(np.full(6, 0.0))[5] > -0.1
    goal_filter.see_jaw(0.0, 0.0)
    goal_filter(np.zeros(6))
    for _ in range(10):
        goal_filter(closing)
    assert goal_filter.last_rad[5] == pytest.approx(-0.4)


def test_after_an_anchor_it_starts_from_rest():
    goal_filter = filtered()
    for _ in range(5):
        goal_filter(np.full(6, 1.0))
    goal_filter.anchor(np.full(6, 0.5))
    assert goal_filter(np.full(6, 1.0))[0] == pytest.approx(0.5 + 40 * PERIOD_S**2)
