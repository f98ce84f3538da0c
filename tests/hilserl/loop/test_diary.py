"""What is noted beside the steps of an episode, and what a person is told within a second."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.schema import Observation, Source
from hilserl.loop.diary import Diary, doubt
from hilserl.loop.env import Step, start_joints, steady_gripper
from hilserl.robot.motion import MotionResult
from hilserl.robot.safety import Limit
from hilserl.tasks import lift_task

TASK = lift_task()
STEP_M, STILL, FORTH, UP = 0.01, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.7)
START_M = np.array([0.23, 0.0, 0.10])


def second(recorded, achieved=None, gripper=1.0) -> tuple[np.ndarray, np.ndarray]:
    """Ten equal steps."""
    rows = [np.tile([*xyz, gripper], (10, 1)) for xyz in (recorded, recorded if achieved is None else achieved)]
    return rows[0], rows[1]


@pytest.mark.parametrize(
    "recorded, achieved, words",
    [
        (FORTH, FORTH, ""),
        (FORTH, (0.5, 0.1, 0.0), ""),  # it lags
        (UP, UP, ""),
        (STILL, STILL, "nothing moves"),
        (STILL, FORTH, "no motion is recorded"),
        (FORTH, STILL, "does not do what is recorded"),
        (FORTH, (-1.0, 0.0, 0.0), "does not do what is recorded"),
        (FORTH, (0.0, 1.0, 0.0), "does not do what is recorded"),  # another frame
        ((1.0, -1.0, 0.0), (1.0, -1.0, 0.0), "two directions are at full speed"),
        ((0.2, 0.0, 0.0), STILL, ""),  # too little to tell
    ],
)
def test_what_is_doubtful(recorded, achieved, words):
    found = doubt(*second(recorded, achieved), STEP_M)
    assert words in found and bool(found) == bool(words)


def test_a_hand_that_only_grips_is_no_doubt():
    executed, achieved = second(STILL)
    executed[5:, 3] = -1.0
    assert doubt(executed, achieved, STEP_M) == ""


def test_an_arm_that_begins_to_move_and_one_that_turns_round_are_no_doubt():
    for before, after in ((STILL, FORTH), ((-1.0, 0.0, 0.0), FORTH), (FORTH, STILL)):
        for at in range(1, 10):
            executed = np.array([[*(after if k >= at else before), 1.0] for k in range(10)])
            achieved = np.zeros((10, 4))
            speed = np.array(before)
            for k in range(10):  # two ticks late, more or less
                speed = 0.55 * speed + 0.45 * executed[k, :3]
                achieved[k, :3] = speed
            assert doubt(executed, achieved, STEP_M) == "", (before, after, at)


def diary() -> Diary:
    joints = start_joints(TASK, START_M)
    return Diary(TASK, MotionResult(True, joints, 0.004, 0.0012))


def step(executed, achieved, **hits: int) -> Step:
    rows = (np.array([*row, 1.0], np.float32) for row in (executed, achieved))
    from collections import Counter

    counts = Counter({Limit(name): count for name, count in hits.items()})
    return Step(*rows, Observation({}, np.zeros(22, np.float32), 0.0), bool(hits), counts)


def test_notes_say_where_it_began_what_limits_did_and_how_true_the_record_is():
    d = diary()
    d.see(step(FORTH, (0.5, 0.0, 0.1), workspace=1, acceleration=2), Source.POLICY)
    d.see(step(FORTH, FORTH, workspace=1), Source.POLICY)
    assert d.notes() == {
        "start_x_m": 0.23,
        "start_y_m": 0.0,
        "start_z_m": 0.1,
        "start_error_mm": 1.2,
        "limit_workspace": 2,
        "limit_acceleration": 2,
        "residual_dx": 0.25,
        "residual_dy": 0.0,
        "residual_dz": 0.05,
        "residual_gripper": 0.0,
    }


def test_a_doubt_is_told_after_a_second_of_the_persons_steps_and_noted():
    d = diary()
    told = [d.see(step(STILL, STILL), Source.HUMAN) for _ in range(25)]
    assert [bool(words) for words in told] == ([False] * 9 + [True]) * 2 + [False] * 5
    assert d.notes()["doubts"] == f"{told[9]} (2 times)"


@given(st.lists(st.sampled_from([Source.POLICY, Source.HOLD]), min_size=1, max_size=40))
def test_the_policy_and_a_pause_are_never_doubted(sources):
    d = diary()
    assert not any(d.see(step(STILL, FORTH), source) for source in sources)


def test_a_second_that_a_policy_interrupts_is_no_second():
    d = diary()
    for source in ([Source.HUMAN] * 9 + [Source.POLICY]) * 3:
        assert d.see(step(STILL, STILL), source) == ""


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_a_gripper_command_that_trembles_stays(commands):
    held = 0.0
    for command in commands:
        now = steady_gripper(command, held)
        assert now in (command, held) and abs(now - command) < 0.05
        assert now == held or abs(command - held) >= 0.05 or abs(command) == 1
        held = now


def test_the_ends_of_the_gripper_are_always_reached():
    assert steady_gripper(-1.0, -0.97) == -1.0 and steady_gripper(0.99, 1.0) == 1.0
