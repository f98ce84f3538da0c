"""Planned motion: shape of the plan, the way over obstacles, and what happens on the way."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hilserl.robot.arm import JointLimits, JointReading
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, ee_position
from hilserl.robot.motion import MotionRefused, move, plan, route

LIMITS = JointLimits(JOINT_LOW_RAD, JOINT_HIGH_RAD)
HOME = np.array([0.0, -0.2, 0.05, 1.6, 1.57, 0.5])


def height(q: np.ndarray) -> float:
    return float(ee_position(q)[2])


class FakeClock:
    def __init__(self) -> None:
        self.t, self.arms = 0.0, []

    def now_s(self) -> float:
        return self.t

    def sleep_until_s(self, time_s: float) -> None:
        for arm in self.arms:
            arm.advance(max(0.0, time_s - self.t))
        self.t = max(self.t, time_s)


class FakeArm:
    """Follows its goal with a lag; gravity pulls it `sag` below; a joint may be blocked."""

    limits = LIMITS

    def __init__(self, clock: FakeClock, sag_rad: float = 0.0, blocked: int | None = None) -> None:
        self.q, self.sag = HOME.copy(), np.array([0, sag_rad, sag_rad, 0, 0, 0])
        self.goal, self.blocked, self.holds, self.goals = self.q.copy(), blocked, 0, [self.q.copy()]
        clock.arms.append(self)
        self._clock = clock

    def advance(self, dt_s: float) -> None:
        step = (self.goal - self.sag - self.q) * min(1.0, 20 * dt_s)
        if self.blocked is not None:
            step[self.blocked] = 0
        self.q = self.q + step

    def read(self) -> JointReading:
        return JointReading(self.q.copy(), self._clock.now_s())

    def write(self, goal_rad: np.ndarray) -> np.ndarray:
        self.goal = np.clip(goal_rad, LIMITS.low_rad, LIMITS.high_rad)
        self.goals.append(self.goal.copy())
        return self.goal

    def hold(self) -> None:
        self.holds += 1
        self.goal = self.q + self.sag

    def release(self) -> None: ...

    def close(self) -> None: ...


def poses() -> st.SearchStrategy[np.ndarray]:
    unit = arrays(np.float64, 6, elements=st.floats(0, 1))
    return unit.map(lambda u: JOINT_LOW_RAD + u * (JOINT_HIGH_RAD - JOINT_LOW_RAD))


@given(poses(), poses(), st.floats(0.1, 3))
def test_plan_is_speed_limited_and_ends_exactly(q_from, q_to, speed):
    goals = plan(q_from, q_to, speed, 50.0)
    np.testing.assert_array_equal(goals[-1], q_to)
    steps = np.abs(np.diff(np.vstack([q_from, goals]), axis=0)) * 50.0
    assert steps.max(initial=0) <= speed * (1 + 1e-6)
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


def low_pose(pan: float, at_m: float) -> np.ndarray:
    """A pose whose hand is at about `at_m` above the table."""
    q = HOME.copy()
    q[0] = pan
    while height(q) > at_m:
        q[1] += 0.005
    return q


def test_a_high_path_is_straight():
    target = HOME + np.array([0.5, 0, 0, 0, 0, 0])
    assert len(route(HOME, target, LIMITS, height, 0.05)) == 1


def test_a_low_path_goes_up_over_and_down():
    start, end = low_pose(-0.5, 0.02), low_pose(0.5, 0.02)
    up, down, target = route(start, end, LIMITS, height, 0.06)
    np.testing.assert_array_equal(target, end)
    assert height(up) >= 0.06 and height(down) >= 0.06
    between = [height(up + (down - up) * t) for t in np.linspace(0, 1, 50)]
    assert min(between) >= 0.06
    descent = [height(down + (end - down) * t) for t in np.linspace(0, 1, 50)]
    assert min(descent) >= height(end) - 0.004


@settings(max_examples=30)
@given(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), st.floats(0.02, 0.15), st.floats(0.02, 0.15))
def test_no_route_sweeps_low(pan_from, pan_to, from_m, to_m):
    start, end = low_pose(pan_from, from_m), low_pose(pan_to, to_m)
    path = [start, *route(start, end, LIMITS, height, 0.06)]
    heights = [height(a + (b - a) * t) for a, b in pairwise(path) for t in np.linspace(0, 1, 40)]
    assert min(heights) >= min(height(start), height(end), 0.06) - 0.004


def test_a_target_outside_the_limits_is_refused_by_name():
    with pytest.raises(MotionRefused, match="elbow_flex"):
        route(HOME, HOME + np.array([0, 0, 3, 0, 0, 0]), LIMITS)


def test_no_high_enough_path_is_refused():
    with pytest.raises(MotionRefused, match="above the table"):
        route(HOME, HOME - 0.1, LIMITS, height, 5.0)


def test_move_arrives_and_says_so():
    clock = FakeClock()
    arm = FakeArm(clock)
    target = HOME + np.array([0.5, 0.2, -0.3, 0, 0, 0.1])
    result = move(arm, clock, target, max_speed_rad_s=1.0)
    assert result.reached and result.error_rad <= 0.02 and not result.stopped and not result.limited
    np.testing.assert_allclose(arm.q[:5], target[:5], atol=0.02)
    speeds = np.abs(np.diff(np.stack(arm.goals), axis=0))[:-30] * 50
    assert speeds.max() <= 1.0 + 1e-6


def test_gravity_is_trimmed_away():
    clock = FakeClock()
    arm = FakeArm(clock, sag_rad=0.08)
    assert move(arm, clock, HOME + np.array([0.3, 0, 0, 0, 0, 0])).reached
    clock2 = FakeClock()
    heavy = FakeArm(clock2, sag_rad=0.4)  # more than the trim may take
    result = move(heavy, clock2, HOME + np.array([0.3, 0, 0, 0, 0, 0]))
    assert not result.reached and "rad" in result.reason and heavy.holds == 1


def test_stop_holds_at_once():
    clock = FakeClock()
    arm = FakeArm(clock)
    asked = iter([False] * 10 + [True] * 1000)
    result = move(arm, clock, HOME - 0.2, should_stop=lambda: next(asked))
    assert result.stopped and not result.reached
    assert arm.holds == 1 and len(arm.goals) == 11


def test_a_blocked_joint_ends_the_motion():
    clock = FakeClock()
    arm = FakeArm(clock, blocked=0)
    result = move(arm, clock, HOME + np.array([1.5, 0, 0, 0, 0, 0]))
    assert not result.reached and "shoulder_pan" in result.reason and "blocked" in result.reason
    assert arm.holds == 1


def test_a_gripper_that_holds_something_does_not_count():
    clock = FakeClock()
    arm = FakeArm(clock, blocked=5)
    assert move(arm, clock, HOME - np.array([0, 0, 0, 0, 0, 0.6])).reached


def test_clamped_goals_are_reported():
    clock = FakeClock()
    arm = FakeArm(clock)
    arm.q[0] = arm.goal[0] = 2.2  # pushed beyond the limit by hand
    result = move(arm, clock, HOME)
    assert result.reached and result.limited
