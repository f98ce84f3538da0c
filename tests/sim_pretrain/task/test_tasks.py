"""What counts as done and lost, and for how long it has to be."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from sim_pretrain.task.tasks import LIFT_HEIGHT_M, REACH_HIGH_M, REACH_LOW_M, TASKS, Referee, find_task
from sim_pretrain.world.scene import BOWL_HEIGHT_M

_made = runpy.run_path(str(Path(__file__).with_name("made_truths.py")))
LYING, HELD = _made["LYING"], _made["HELD"]
STAY = np.zeros(4, np.float32)


def test_an_unknown_task_is_refused_with_those_that_exist():
    with pytest.raises(UserError, match="lift, bowl, paper"):
        find_task("stack")


@pytest.mark.parametrize(
    ("change", "reached"),
    [
        ({}, True),
        ({"static_touch": False}, False),  # leaning on one finger
        ({"moving_touch": False}, False),
        ({"cube_m": (0.23, 0.0, LIFT_HEIGHT_M)}, False),
        ({"cube_m": (0.23, 0.0, LIFT_HEIGHT_M + 1e-6)}, True),
    ],
)
def test_lifted_is_both_fingers_and_height(change, reached):
    assert TASKS["lift"].reached(replace(HELD, **change)) is reached


IN_BOWL = replace(LYING, cube_m=(0.23, 0.07, 0.018), target_m=(0.23, 0.07, 0.0))


@pytest.mark.parametrize(
    ("change", "reached"),
    [
        ({}, True),
        ({"cube_m": (0.23, 0.105, 0.018)}, True),
        ({"cube_m": (0.23, 0.12, 0.018)}, False),  # beside it
        ({"cube_m": (0.23, 0.07, BOWL_HEIGHT_M + 0.01)}, False),  # still above the rim
        ({"static_touch": True}, False),  # not let go of
        ({"cube_speed_m_s": 0.2}, False),  # still falling
    ],
)
def test_in_the_bowl_is_inside_released_and_still(change, reached):
    assert TASKS["bowl"].reached(replace(IN_BOWL, **change)) is reached


ON_PAPER = replace(LYING, cube_m=(0.23, 0.07, 0.0156), target_m=(0.23, 0.07, 0.0003))


@pytest.mark.parametrize(
    ("change", "reached"),
    [
        ({}, True),
        ({"cube_tilt_rad": 0.4}, False),
        ({"cube_m": (0.23, 0.07, 0.03)}, False),
        ({"cube_m": (0.23, 0.11, 0.0156)}, False),  # over the edge
        ({"moving_touch": True}, False),
    ],
)
def test_on_the_paper_is_flat_inside_and_released(change, reached):
    assert TASKS["paper"].reached(replace(ON_PAPER, **change)) is reached


def test_a_goal_that_needs_a_prop_says_so():
    with pytest.raises(ValueError, match="needs a bowl or a paper"):
        TASKS["bowl"].reached(LYING)


@given(st.floats(-0.1, 0.6), st.floats(-0.4, 0.4), st.floats(-0.3, 0.3), st.booleans())
def test_lost_is_out_of_reach_and_in_nobodys_hand(x, y, z, held):
    truth = replace(LYING, cube_m=(x, y, z), static_touch=held, moving_touch=held)
    within = REACH_LOW_M[0] <= x <= REACH_HIGH_M[0] and REACH_LOW_M[1] <= y <= REACH_HIGH_M[1] and z > 0
    assert TASKS["lift"].lost(truth) is (not held and not within)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_success_is_the_goal_reached_for_the_whole_time_without_a_break(reached):
    task = TASKS["lift"]
    needed = round(task.hold_s * task.spec.rate_hz)
    referee, before, run, ever = Referee(task, LYING, STAY), LYING, 0, False
    for now in reached:
        truth = HELD if now else LYING
        state = referee.look(truth, STAY, 0.1)
        run = run + 1 if now and before is HELD else 0
        before = truth
        assert state.held_s == pytest.approx(0.1 * run)
        assert state.success is (run >= needed)
        ever = ever or state.success
    longest = max(len(part) for part in "".join("x" if r else " " for r in reached).split(" "))
    assert ever is (longest > needed)


def test_a_state_carries_what_led_to_it():
    referee = Referee(TASKS["lift"], HELD, np.array([0.1, 0, 0, -1], np.float32))
    first = referee.look(LYING, np.array([0.5, 0, 0, 0.9], np.float32), 0.1)
    assert first.was_grasped and not first.grasped
    assert first.action == pytest.approx((0.5, 0, 0, 0.9)) and first.previous_action == pytest.approx((0.1, 0, 0, -1))
    second = referee.look(LYING, np.array([0, 0, 0, 0.4], np.float32), 0.1)
    assert (first.open_steps, second.open_steps) == (1, 2) and not second.was_grasped
    assert referee.look(LYING, np.array([0, 0, 0, 0.3], np.float32), 0.1).open_steps == 0


@pytest.mark.parametrize("name", TASKS)
def test_everything_is_placed_within_reach_and_apart(name):
    task, rng = TASKS[name], np.random.default_rng(0)
    for _ in range(300):
        x, y, yaw = task.cube.sample(rng)
        assert REACH_LOW_M[0] < x < REACH_HIGH_M[0] and REACH_LOW_M[1] < y < REACH_HIGH_M[1]
        assert abs(yaw) <= task.cube.yaw_rad
        if task.target is not None:
            away = np.subtract(task.target.sample(rng)[:2], (x, y))
            assert np.linalg.norm(away) > 0.09  # an open hand over the cube clears the rim
