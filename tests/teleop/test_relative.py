"""The leader's motion as actions: no jump, never out of range, and in the end where the leader points."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from teleop.relative import STILL_M, Anchor, relative_action

_spec = importlib.util.spec_from_file_location("made_followers", Path(__file__).with_name("made_followers.py"))
_made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_made)
follower, ACTION = _made.follower, _made.ACTION

place = st.tuples(*[st.floats(-0.4, 0.4)] * 3)
angle = st.floats(-1.5, 1.5)
command = st.floats(-1, 1)


@given(place, angle, place, command)
def test_taking_over_moves_nothing_however_far_apart_the_two_arms_are(leader, trigger, target, gripper) -> None:
    anchor = Anchor(np.array(leader), trigger, np.array(target), gripper)
    move, command = relative_action(anchor, np.array(leader), trigger, follower(target_m=target, gripper=gripper))
    assert not move.any() and command == gripper


@given(place, angle, place, command, place, angle, place, command)
def test_every_action_is_one(leader, trigger, target, gripper, later, later_trigger, now, now_gripper) -> None:
    anchor = Anchor(np.array(leader), trigger, np.array(target), gripper)
    move, command = relative_action(anchor, np.array(later), later_trigger, follower(target_m=now, gripper=now_gripper))
    assert move.shape == (3,) and move.dtype == np.float32 and np.abs(move).max() <= 1
    assert -1 <= command <= 1
    wanted = np.array(later) - np.array(leader) + np.array(target) - np.array(now)
    if move.any():  # straight there
        np.testing.assert_allclose(np.cross(move, wanted), 0, atol=1e-6)
        assert move @ wanted > 0


@given(place, place, place)
def test_the_arm_arrives_where_the_leader_points_and_stays(leader, target, by) -> None:
    anchor, arm = Anchor(np.array(leader), 0.0, np.array(target), 1.0), follower(target_m=target)
    end = np.array(target) + np.array(by)
    for _ in range(int(np.abs(by).max() / ACTION.step_m) + 2):
        move, _ = relative_action(anchor, np.array(leader) + np.array(by), 0.0, arm)
        arm = replace(arm, target_m=arm.target_m + ACTION.step_m * move)
    assert np.abs(arm.target_m - end).max() <= STILL_M
    assert not relative_action(anchor, np.array(leader) + np.array(by), 0.0, arm)[0].any()


def test_the_trigger_moves_the_gripper_by_as_much_and_its_noise_does_not() -> None:
    half = (ACTION.gripper_open_rad - ACTION.gripper_closed_rad) / 2
    anchor, arm = Anchor(np.zeros(3), 0.4, np.zeros(3), -0.8), follower(target_m=(0, 0, 0), gripper=-0.8)
    assert relative_action(anchor, np.zeros(3), 0.4 + 0.02 * half, arm)[1] == -0.8
    assert np.isclose(relative_action(anchor, np.zeros(3), 0.4 + half, arm)[1], 0.2)
    assert relative_action(anchor, np.zeros(3), 0.4 - half, arm)[1] == -1.0
