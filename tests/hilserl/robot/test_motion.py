"""What happens on the way to a pose, and that being there is measured."""

import numpy as np
import pytest

from hilserl.robot.arm import ArmFault, JointLimits, JointReading
from hilserl.robot.collision import ArmShape
from hilserl.robot.kinematics import JOINT_HIGH_RAD, JOINT_LOW_RAD, ee_position
from hilserl.robot.motion import move, park_pose
from hilserl.robot.route import MotionRefused

LIMITS = JointLimits(JOINT_LOW_RAD, JOINT_HIGH_RAD)
HOME = np.array([0.0, -0.2, 0.05, 1.6, 1.57, 0.5])


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
        self.goal, self.blocked, self.holds, self.rests = self.q.copy(), blocked, 0, 0
        self.goals = [self.q.copy()]
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

    def rest(self) -> None:
        self.rests += 1

    def release(self) -> None: ...

    def close(self) -> None: ...


def test_move_arrives_and_says_so():
    clock = FakeClock()
    arm = FakeArm(clock)
    target = HOME + np.array([0.5, 0.2, -0.3, 0, 0, 0.1])
    result = move(arm, clock, target, max_speed_rad_s=1.0)
    assert result.reached and result.error_rad <= 0.01 and not result.stopped and not result.limited
    assert result.ee_error_m == np.linalg.norm(ee_position(arm.q) - ee_position(target)) <= 0.005
    np.testing.assert_array_equal(result.joints_rad, arm.q)
    assert (arm.rests, arm.holds) == (1, 0)  # nobody waits for more goals, and the trimmed one stays
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


def test_the_jaw_counts():
    clock = FakeClock()
    arm = FakeArm(clock, blocked=5)
    result = move(arm, clock, HOME + np.array([0, 0, 0, 0, 0, 0.6]))
    assert not result.reached and "gripper is 0.600 rad off" in result.reason and arm.holds == 1


def test_the_hand_counts_where_each_joint_alone_is_near_enough():
    clock = FakeClock()
    arm = FakeArm(clock, blocked=1)  # it stands 0.04 rad off: 6 mm at the hand
    result = move(arm, clock, HOME + np.array([0, 0.04, 0, 0, 0, 0]), tolerance_rad=0.05)
    assert not result.reached and "the hand is" in result.reason and result.ee_error_m > 0.005


def test_an_interrupt_on_the_way_holds():
    clock = FakeClock()
    arm = FakeArm(clock)
    asked = iter([False] * 5)

    def should_stop() -> bool:
        for answer in asked:
            return answer
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(arm, clock, HOME - 0.2, should_stop=should_stop)
    assert arm.holds == 1


def test_a_fault_on_the_way_that_also_keeps_it_from_holding_comes_through():
    clock = FakeClock()
    arm = FakeArm(clock)

    def gone(*_: object) -> None:
        raise ArmFault("gone")

    def also_gone() -> None:
        raise ArmFault("also gone")

    arm.write, arm.hold = gone, also_gone
    with pytest.raises(ArmFault, match=r"^gone"):
        move(arm, clock, HOME - 0.2)


def test_a_refused_motion_moves_nothing():
    clock = FakeClock()
    arm = FakeArm(clock)
    into_the_table = HOME + np.array([0, 1.2, 0, 0, 0, 0])
    with pytest.raises(MotionRefused, match="and the table would touch"):
        move(arm, clock, into_the_table, shape=ArmShape())
    assert len(arm.goals) == 1 and arm.holds == 0


def test_park_is_folded_and_keeps_the_jaw_and_the_roll():
    shape, clock = ArmShape(), FakeClock()
    for roll, jaw in ((1.57, -0.1), (-1.5, 1.0), (0.0, 0.3)):
        arm = FakeArm(clock)
        arm.q[4:] = arm.goal[4:] = roll, jaw
        pose = park_pose(arm.q, LIMITS)
        assert shape.clearance_m(pose) > 0.01 and ee_position(pose)[2] < 0.06
        np.testing.assert_array_equal(pose[4:], [roll, jaw])
        assert move(arm, clock, pose, shape=shape).reached
    assert shape.clearance_m(park_pose(np.array([0, 0, 0, 0, 2.8, 1.0]), LIMITS)) > 0


def test_clamped_goals_are_reported():
    clock = FakeClock()
    arm = FakeArm(clock)
    arm.q[0] = arm.goal[0] = 2.2  # pushed beyond the limit by hand
    result = move(arm, clock, HOME)
    assert result.reached and result.limited
