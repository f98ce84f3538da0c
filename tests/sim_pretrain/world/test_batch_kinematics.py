"""Many arms at once give what one arm gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilserl.robot import kinematics
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD
from hilserl.tasks import lift_task
from sim_pretrain.world.batch_kinematics import ee_positions, inverses

ROLL_RAD = lift_task().wrist_roll_rad
LOW_M, HIGH_M = (np.array(end) for end in (lift_task().workspace_low_m, lift_task().workspace_high_m))


def arms(seed: int, count: int = 8) -> np.ndarray:
    """Joint angles [count, 6] over the whole range of each joint."""
    return np.random.default_rng(seed).uniform(JOINT_LOW_RAD, JOINT_HIGH_RAD, (count, 6))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_forward_kinematics_are_those_of_one_arm(seed: int) -> None:
    joints = arms(seed)
    np.testing.assert_allclose(ee_positions(joints), [kinematics.ee_position(q) for q in joints], atol=1e-12)


# Far outside the workspace joints stop at their limits; after many iterations, rounding may choose between two ends.
@pytest.mark.parametrize(("beyond_m", "iterations"), [(0.0, 1), (0.0, 3), (0.0, 20), (0.3, 1), (0.3, 3)])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_inverse_kinematics_are_those_of_one_arm(seed: int, beyond_m: float, iterations: int) -> None:
    seeds = arms(seed)
    targets = np.random.default_rng(seed).uniform(LOW_M - beyond_m, HIGH_M + beyond_m, (len(seeds), 3))
    found = inverses(targets, seeds, wrist_roll_rad=ROLL_RAD, iterations=iterations)
    for target, start, angles in zip(targets, seeds, found, strict=True):
        one = kinematics.inverse(target, start, wrist_roll_rad=ROLL_RAD, iterations=iterations)
        np.testing.assert_allclose(angles, one, atol=1e-7)


def test_joints_do_stop_at_their_limits_in_these_tests() -> None:
    targets = np.random.default_rng(0).uniform(LOW_M - 0.3, HIGH_M + 0.3, (200, 3))
    found = inverses(targets, arms(0, 200), wrist_roll_rad=ROLL_RAD)[:, :4]
    low, high = JOINT_LOW_RAD[:4] + kinematics.IK_MARGIN_RAD, JOINT_HIGH_RAD[:4] - kinematics.IK_MARGIN_RAD
    at_limit = (np.minimum(found - low, high - found) < 1e-9).sum(1)
    assert (at_limit == 0).any() and (at_limit >= 2).any()


def test_no_arm_is_no_error() -> None:
    assert inverses(np.zeros((0, 3)), np.zeros((0, 6)), wrist_roll_rad=ROLL_RAD).shape == (0, 5)
