"""LeRobot's driver behind our protocol, on the emulated bus: contract, limits, torque, faults."""

import threading
import time

import numpy as np
import pytest

from hilserl.robot.arm import ArmFault
from hilserl.robot.safety import Limit

TICK = 0.0016


def test_contract(arm, arm_contract):
    arm_contract(arm, time.sleep)


def test_holding_again_does_not_take_over_a_sagged_pose(bench, arm):
    """A servo hangs a little below its goal; taking that for the new goal lets the arm creep."""
    arm.write(arm.read().positions_rad)
    arm.hold()
    bench.plant.goals_seen.clear()
    for _ in range(5):
        bench.plant.push(np.full(6, -0.01))
        arm.hold()
    assert bench.plant.goals_seen == []
    arm.write(arm.read().positions_rad)
    arm.read()  # goals are not acknowledged; an answer shows that they have arrived
    bench.plant.goals_seen.clear()
    arm.hold()
    assert len(bench.plant.goals_seen) >= 6


def test_an_interrupt_inside_a_transaction_leaves_nothing_blocked(bench, arm):
    arm._bus.port_handler.is_using = True  # what the driver leaves behind after Ctrl-C
    arm.read()
    arm._bus.port_handler.is_using = True
    arm.release()
    assert not bench.plant.torque.any()


def test_release_makes_limp_and_write_refuses_until_hold(bench, arm):
    arm.release()
    assert not bench.plant.torque.any()
    with pytest.raises(ArmFault, match="hold"):
        arm.write(np.zeros(6))
    arm.hold()
    assert bench.plant.torque.all()
    arm.write(arm.read().positions_rad)


def test_released_stays_released_at_the_end(bench):
    with bench.connect() as arm:
        arm.release()
    assert not bench.plant.torque.any()


def test_speed_is_limited_from_the_last_goal(bench, arm):
    start = arm.read().positions_rad
    far = arm.limits.high_rad
    sent = [arm.write(far) for _ in range(14)]
    steps = np.abs(np.diff(np.stack([start, *sent]), axis=0))
    assert (steps[:, :5] <= 3.0 * 0.02 + TICK).all()
    assert (steps[:, 5] <= 9.0 * 0.02 + TICK).all()
    assert sent[-1][0] - sent[3][0] == pytest.approx(0.6, abs=2 * TICK)  # after four it is at full speed
    assert arm.hits[Limit.SPEED] == 14 and arm.hits[Limit.ACCELERATION] == 3 and arm.hits[Limit.JOINT] == 0


def test_goals_are_clamped_to_the_calibrated_range(bench, arm):
    for sign in (-1, 1):
        for _ in range(100):
            sent = arm.write(np.full(6, sign * 50.0))
        end = arm.limits.low_rad if sign < 0 else arm.limits.high_rad
        np.testing.assert_allclose(sent, end)
        arm.read()  # an answer: what was written before has arrived
        np.testing.assert_allclose(bench.plant.goal, end, atol=TICK)


@pytest.mark.parametrize("goal", [np.full(6, np.nan), np.full(6, np.inf), np.zeros(5), np.zeros((6, 1))])
def test_nonsense_is_refused_and_sends_nothing(bench, arm, goal):
    seen = len(bench.plant.goals_seen)
    with pytest.raises(ValueError):
        arm.write(goal)
    assert len(bench.plant.goals_seen) == seen


def test_readings_are_never_old(bench, arm):
    """Damaged packets leave bytes behind; the stock driver then answers every later read with old ones."""
    bench.bus.corrupt(2)
    arm.read()
    bench.plant.push(np.array([0.4, 0, 0, 0, 0, 0]))
    now = arm.read().positions_rad
    assert now[0] == pytest.approx(bench.plant.q[0], abs=TICK)


def test_a_replaced_clear_port_is_noticed(arm):
    arm._bus.port_handler.clearPort = lambda: None
    with pytest.raises(ArmFault, match="clearPort"):
        arm.read()
    with pytest.raises(ArmFault, match="clearPort"):
        arm.write(np.zeros(6))


def test_a_silent_bus_is_a_fault_and_heals(bench, arm):
    bench.bus.silence()
    with pytest.raises(ArmFault, match=r"reading the joints failed.*reconnect"):
        arm.read()
    bench.bus.heal()
    arm.read()


def test_after_a_fault_writing_starts_from_where_the_arm_is(bench, arm):
    """Goals that a silent bus swallowed must not become one big step when it answers again."""
    bench.bus.silence()
    with pytest.raises(ArmFault):
        for _ in range(20):
            arm.write(arm.limits.high_rad)
        arm.read()
    bench.bus.heal()
    here = arm.read().positions_rad
    sent = arm.write(arm.limits.high_rad)
    assert np.abs(sent - here)[:5].max() <= 3.0 * 0.02 + TICK


def test_a_dead_motor_does_not_stop_the_others_from_holding(bench, arm):
    arm.write(arm.read().positions_rad + 0.02)
    bench.bus.kill(3)
    with pytest.raises(ArmFault, match="elbow_flex"):
        arm.hold()
    bench.plant.push(np.zeros(6))
    assert bench.plant.torque.all()


def test_a_dead_motor_does_not_stop_release_and_close(bench):
    with bench.connect() as arm:
        bench.bus.kill(3)
        with pytest.raises(ArmFault, match="elbow_flex"):
            arm.release()
        assert bench.plant.torque.tolist() == [False, False, True, False, False, False]
    bench.bus.heal()
    with bench.connect() as arm:
        assert bench.plant.torque.all()


def test_threads_share_one_arm(arm):
    errors = []

    def read_often() -> None:
        try:
            for _ in range(100):
                arm.write(arm.read().positions_rad)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=read_often) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
