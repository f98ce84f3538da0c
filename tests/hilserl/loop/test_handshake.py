"""Motion checks: what they measure is what the arm did, and an arm that does something else is found out."""

import numpy as np
import pytest

from hilserl.loop.env import ArmEnv
from hilserl.loop.handshake import (
    REACH_M,
    STEP_RAD,
    Handshake,
    Interrupted,
    NoFrames,
    NotReached,
    Trace,
    judged,
    response,
    turn_back,
    wider_side,
)
from hilserl.robot.checkup import Level
from hilserl.robot.joints import JointLimits
from hilserl.robot.kinematics import JOINTS
from sim_pretrain.world.sim_arm import SimArm, SimClock

T = np.arange(0, 2, 0.02)


class Odd(SimArm):
    """An arm of which one joint turns by another share than it is told, about the pose in which it was met."""

    def __init__(self, world, joint: int, share: float) -> None:
        super().__init__(world)
        self._factor = np.where(np.arange(6) == joint, share, 1.0)
        self._met = world.joint_positions()

    def write(self, goal_rad):
        super().write(self._met + self._factor * (goal_rad - self._met))
        return goal_rad


def handshake(world, task, arm=None, interrupted=lambda: False) -> Handshake:
    return Handshake(ArmEnv(arm or SimArm(world), NoFrames(), SimClock(world), task), interrupted)


def test_an_arm_in_order(new_world, task):
    world = new_world()
    checks = handshake(world, task)
    findings = [*checks.reach(), *checks.directions()]
    assert [f for f in findings if f.level is not Level.OK] == []
    assert len(findings) == 9
    (trace, *_) = checks.traces()
    found = response(trace)
    assert 0 < found.delay_s < 0.1 and 0 < found.rise_s < 0.1 and abs(found.error_rad) < 0.1 * STEP_RAD


def test_a_joint_that_turns_too_little_is_found_out(new_world, task):
    world = new_world()
    with pytest.raises(NotReached, match="lerobot-calibrate"):
        list(handshake(world, task, Odd(world, 2, 0.5)).reach())
    assert np.isfinite(world.joint_positions()).all()


@pytest.mark.parametrize(
    "along, across, ok", [(1, 0, True), (0.7, 0.3, True), (-1, 0, False), (0.3, 0, False), (1, 0.5, False)]
)
def test_directions_are_judged_by_sign_and_size(along, across, ok):
    moved = REACH_M * np.array([across, along, 0.0])
    assert (judged("+y", 1, moved).level is Level.OK) is ok


def test_a_person_can_stop_it(new_world, task):
    world, calls = new_world(), iter(range(1000))
    checks = handshake(world, task, interrupted=lambda: next(calls) > 40)
    with pytest.raises(Interrupted, match="holds"):
        list(checks.directions())
    before = world.joint_positions()
    world.advance(1.0)
    np.testing.assert_allclose(world.joint_positions(), before, atol=0.02)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("delay_s, tau_s, share", [(0.05, 0.04, 1.0), (0.0, 0.1, 0.9)])
def test_a_response_of_first_order_is_measured(sign, delay_s, tau_s, share):
    goal, angle = np.zeros((len(T), 6)), np.zeros((len(T), 6))
    goal[5:60, 1] = sign * STEP_RAD
    since = np.maximum(T - T[5] - delay_s, 0)
    angle[:60, 1] = sign * STEP_RAD * share * (1 - np.exp(-since[:60] / tau_s))
    found = response(Trace(JOINTS[1], T, goal + 0.3, angle + 0.25))
    assert found.delay_s == pytest.approx(delay_s - tau_s * np.log(1 - 0.1 / share), abs=0.01)
    assert found.rise_s == pytest.approx(tau_s * np.log((1 - 0.1 / share) / (1 - 2 / 3 / share)), abs=0.01)
    assert found.error_rad == pytest.approx((1 - share) * STEP_RAD, abs=1e-3)
    back = Trace.from_json(Trace(JOINTS[1], T, goal, angle).to_json())
    assert response(back) == response(Trace(JOINTS[1], T, goal, angle))


@pytest.mark.parametrize("band_ticks", [0, 4])
def test_a_dead_band_is_how_far_the_goal_turns_back_alone(band_ticks):
    tick = 2 * np.pi / 4096
    goal = np.repeat([*range(12), *range(12, -1, -1)], 5) * tick
    angle = np.maximum.accumulate(goal)
    falling = np.arange(len(goal)) > goal.argmax()
    angle[falling] = np.minimum(angle[falling], goal[falling] + band_ticks * tick)
    assert turn_back(goal, angle) == pytest.approx((band_ticks + 1) * tick)
    assert turn_back(goal, np.full_like(goal, 0.3)) == pytest.approx(12 * tick), "it never followed"


def test_a_joint_in_the_middle_of_its_range_is_stepped_too():
    limits = JointLimits(np.full(6, -1.5), np.full(6, 1.5))
    sides = wider_side(np.array([-0.3, 0.0, 0.3, 1.4, -1.4, 0.0]), limits)
    assert sides.tolist() == [1, 1, -1, -1, 1, 1]
