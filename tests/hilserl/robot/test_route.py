"""The way from pose to pose: its shape in time, and that no part of it comes near table or arm."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hilserl.loop.env import start_joints
from hilserl.robot.arm import JointLimits
from hilserl.robot.collision import ArmShape
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD
from hilserl.robot.route import CLEAR_M, MAX_ACCELERATION_RAD_S2, MotionRefused, plan, route
from hilserl.tasks import lift_task

LIMITS = JointLimits(JOINT_LOW_RAD, JOINT_HIGH_RAD)
HOME = np.array([0.0, -0.2, 0.05, 1.6, 1.57, 0.5])
SHAPE = ArmShape()
poses = arrays(np.float64, 6, elements=st.floats(0, 1)).map(
    lambda u: JOINT_LOW_RAD + u * (JOINT_HIGH_RAD - JOINT_LOW_RAD)
)


def at(x: float, y: float, z: float) -> np.ndarray:
    return start_joints(lift_task(), np.array([x, y, z]))


@given(poses, poses, st.floats(0.1, 3))
def test_plan_is_limited_in_speed_and_acceleration_and_ends_exactly(q_from, q_to, speed):
    goals = plan(q_from, q_to, speed, 50.0)
    np.testing.assert_array_equal(goals[-1], q_to)
    steps = np.abs(np.diff(np.vstack([q_from, goals]), axis=0)) * 50.0
    assert steps.max(initial=0) <= speed * (1 + 1e-6)
    changes = np.abs(np.diff(np.vstack([q_from, q_from, goals, q_to]), n=2, axis=0)) * 50.0**2
    # Up to the rounding of so short a motion to whole periods.
    assert len(goals) < 6 or changes.max() <= MAX_ACCELERATION_RAD_S2 * 1.2
    low, high = np.minimum(q_from, q_to), np.maximum(q_from, q_to)
    assert (goals >= low - 1e-9).all() and (goals <= high + 1e-9).all()


def test_plan_starts_and_ends_gently():
    goals = plan(HOME, HOME + 1.0, 1.0, 50.0)
    speed = np.abs(np.diff(goals[:, 0])) * 50
    assert speed[0] < 0.05 and speed[-1] < 0.05 and speed.max() > 0.9


@pytest.mark.parametrize("speed, rate", [(0, 50), (-1, 50), (1, 0), (float("nan"), 50)])
def test_plan_refuses_nonsense(speed, rate):
    with pytest.raises(ValueError):
        plan(HOME, HOME, speed, rate)
    with pytest.raises(ValueError):
        plan(np.full(6, np.nan), HOME, 1.0, 50.0)


def test_a_clear_path_is_straight():
    assert len(route(at(0.2, -0.05, 0.1), at(0.27, 0.05, 0.12), LIMITS, SHAPE)) == 1


def test_a_low_path_goes_up_over_and_down():
    start, end = at(0.2, -0.1, 0.01), at(0.25, 0.1, 0.01)
    up, down, target = route(start, end, LIMITS, SHAPE)
    np.testing.assert_array_equal(target, end)
    assert SHAPE.clearance_m(up) >= CLEAR_M and SHAPE.clearance_m(down) >= CLEAR_M
    assert SHAPE.clearance_m(start) < CLEAR_M > SHAPE.clearance_m(end)


@settings(max_examples=40, deadline=None)
@given(poses, poses)
def test_no_route_comes_nearer_than_its_ends(q_from, q_to):
    assume(SHAPE.clearance_m(q_from) > 0)
    try:
        path = [q_from, *route(q_from, q_to, LIMITS, SHAPE)]
    except MotionRefused:
        return
    along = [SHAPE.clearance_m(a + (b - a) * t) for a, b in pairwise(path) for t in np.linspace(0, 1, 60)]
    assert min(along) >= min(SHAPE.clearance_m(q_from), SHAPE.clearance_m(q_to), CLEAR_M) - 0.005
    assert all((q >= JOINT_LOW_RAD - 1e-9).all() and (q <= JOINT_HIGH_RAD + 1e-9).all() for q in path)


def test_from_anywhere_in_the_workspace_there_is_a_way_to_every_start():
    task, rng = lift_task(), np.random.default_rng(0)
    for _ in range(40):
        here = at(*rng.uniform(task.workspace_low_m, task.workspace_high_m))
        here[5] = rng.uniform(-0.17, 0.65)
        route(here, at(*rng.uniform(task.start_low_m, task.start_high_m)), LIMITS, SHAPE)


def test_a_target_outside_the_limits_is_refused_by_name():
    with pytest.raises(MotionRefused, match="elbow_flex"):
        route(HOME, HOME + np.array([0, 0, 3, 0, 0, 0]), LIMITS)


def test_where_there_is_no_way_it_says_what_is_too_near():
    with pytest.raises(MotionRefused, match=r"keeps 150 mm away.* mm apart.*hilserl jog"):
        route(HOME, HOME - 0.1, LIMITS, SHAPE, clear_m=0.15)
