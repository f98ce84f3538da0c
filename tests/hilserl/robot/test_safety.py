"""Properties of the limits: nothing but a reduction of the command can come out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hilserl.robot.joints import JointLimits
from hilserl.robot.safety import Limit, clamp_joints, finite, grip_range, limit_change, limit_step, safe_target

LOW, HIGH, LEASH = np.array([0.16, -0.14, 0.008]), np.array([0.31, 0.14, 0.20]), 0.04
LIMITS = JointLimits(np.full(6, -1.5), np.full(6, 1.5))


def points(span: float = 1.0, size: int = 3) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, size, elements=st.floats(-span, span))


def inside(p: np.ndarray) -> np.ndarray:
    """Map [-1, 1]³ into the workspace."""
    return LOW + (HIGH - LOW) * (p + 1) / 2


def target_of(previous, delta, measured):
    return safe_target(previous, delta, measured, low_m=LOW, high_m=HIGH, leash_m=LEASH)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_nan_and_infinity_are_refused_everywhere(bad, position):
    fine, broken = np.zeros(6), np.zeros(6)
    broken[position] = bad
    calls = [
        lambda: finite(broken, "x"),
        lambda: clamp_joints(broken, LIMITS),
        lambda: limit_step(fine, broken, 0.1),
        lambda: target_of(broken[:3], fine[:3], fine[:3]),
        lambda: target_of(fine[:3], broken[:3], fine[:3]),
        lambda: target_of(fine[:3], fine[:3], broken[:3]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="finite"):
            call()


@given(points(5, 6), points(5, 6), st.floats(0, 1))
def test_joint_clamps(previous, goal, max_step):
    joints = clamp_joints(goal, LIMITS)
    assert (np.abs(joints) <= 1.5).all()
    np.testing.assert_array_equal(clamp_joints(joints, LIMITS), joints)
    stepped = limit_step(previous, goal, max_step)
    assert (np.abs(stepped - previous) <= max_step + 1e-12).all()
    assert (np.abs(stepped - previous) <= np.abs(goal - previous) + 1e-12).all()
    np.testing.assert_array_equal(limit_step(previous, stepped, max_step), stepped)


@given(points(1, 6), points(1, 6), st.floats(0, 1))
def test_speeding_up_is_limited_and_braking_is_not(step, previous, max_change):
    allowed = limit_change(step, previous, max_change)
    assert (np.abs(allowed) <= np.abs(step)).all() and (allowed * step >= 0).all()
    along = np.where(allowed * previous > 0, np.abs(previous), 0.0)  # speed that it has in that direction already
    assert (np.abs(allowed) <= along + max_change + 1e-12).all()
    slower = previous * 0.3
    np.testing.assert_array_equal(limit_change(slower, previous, max_change), slower)
    np.testing.assert_array_equal(limit_change(0 * step, previous, max_change), 0 * step)


FREE = (-np.inf, np.inf)


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 5))
def test_a_jaw_that_pulls_too_much_goes_no_further_that_way(goal, measured, current):
    low, high = grip_range(goal, measured, current, 1.0, FREE)
    kept = np.clip(goal, low, high)
    if current <= 1.0:
        assert (low, high) == FREE
    else:
        assert abs(kept - measured) * current == pytest.approx(abs(goal - measured), abs=1e-9)  # the share it may draw
        away = 1.0 if goal < measured else -1.0
        assert np.clip(measured + away, low, high) == measured + away


def test_a_grip_is_kept_until_the_object_is_gone():
    held = grip_range(-0.17, 0.3, 1.3, 1.0, FREE)
    assert held == (pytest.approx(0.3 - 0.47 / 1.3), np.inf)
    assert grip_range(held[0], 0.3, 0.99, 1.0, held) == held
    assert grip_range(held[0], held[0], 0.1, 1.0, held) == FREE


@given(points().map(inside), points(0.02), points(0.04))
def test_target_stays_in_box_and_on_the_leash(previous, delta, lead):
    measured = previous - lead
    target, executed, bit = target_of(previous, delta, measured)
    assert (target >= LOW).all() and (target <= HIGH).all()
    assert np.abs(target - measured).max() <= LEASH + 1e-9
    np.testing.assert_allclose(target, previous + executed, atol=1e-12)
    assert bool(bit) == (np.abs(executed - delta).max() > 1e-9)


@given(points(), points(0.05), points())
def test_a_command_is_only_ever_reduced(previous, delta, measured):
    """Also from outside the box and beyond the leash; so an action in [-1, 1] is executed as one."""
    _, executed, _ = target_of(previous, delta, measured)
    assert (executed * np.sign(delta) >= -1e-12).all()
    assert (np.abs(executed) <= np.abs(delta)).all()


@given(points(), points(0.05), points())
def test_from_outside_the_box_only_inward(previous, delta, measured):
    target, _, _ = target_of(previous, delta, measured)
    outside_before = np.maximum(LOW - previous, 0) + np.maximum(previous - HIGH, 0)
    outside_after = np.maximum(LOW - target, 0) + np.maximum(target - HIGH, 0)
    assert (outside_after <= outside_before).all()


@given(points(), points(0.05), points())
def test_beyond_the_leash_only_closer(previous, delta, measured):
    target, _, _ = target_of(previous, delta, measured)
    assert (np.abs(target - measured) <= np.maximum(LEASH, np.abs(previous - measured)) + 1e-9).all()


@given(points().map(inside), points())
def test_no_sequence_of_commands_winds_up(start, direction):
    """The arm is stuck at `start`; however long one pushes, the command stays on the leash."""
    target = start
    for _ in range(30):
        target, _, _ = target_of(target, 0.02 * direction, start)
    assert np.abs(target - start).max() <= LEASH + 1e-9


def test_a_blocked_arm_slides():
    """Pushing down into the table at full leash still lets the hand move sideways."""
    measured = np.array([0.25, 0.0, 0.1])
    target = measured - [0, 0, LEASH]
    _, executed, bit = target_of(target, np.array([0.01, 0.0, -0.01]), measured)
    assert executed[0] == pytest.approx(0.01) and bit == (Limit.LEASH,)
    assert executed[2] == 0.0


def test_an_allowed_command_passes_untouched():
    target, executed, bit = target_of(np.array([0.2, 0.0, 0.1]), np.full(3, 0.01), np.array([0.2, 0, 0.1]))
    np.testing.assert_allclose(target, [0.21, 0.01, 0.11])
    np.testing.assert_allclose(executed, 0.01)
    assert bit == ()
    low = np.array([0.2, 0.0, LOW[2]])
    assert target_of(low, np.array([0.0, 0.0, -0.01]), low)[2] == (Limit.WORKSPACE,)  # the table
