"""Heat, alarms, blocked joints and the jaw's current, on LeRobot's driver and the emulated bus."""

import time

import numpy as np
import pytest

from hilserl.robot.arm import JOINTS, ArmFault
from hilserl.robot.safety import Limit
from hilserl.robot.watch import HOT_C, WARM_C
from sim_pretrain.rig.feetech_bus import READ, SYNC_READ, SYNC_WRITE

LOOKS = 12  # registers that are looked at in turn
ALARMS = {"overload": 0x20, "hot": 0x04, "supply voltage": 0x01, "angle sensor": 0x02, "current": 0x08}


class HandClock:
    """Stands until it is put on."""

    t = 0.0

    def now_s(self) -> float:
        return self.t

    def sleep_until_s(self, time_s: float) -> None:
        self.t = max(self.t, time_s)


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def arm(bench, clock):
    with bench.connect(clock) as arm:
        yield arm


def look(arm, clock, times: int = LOOKS, wanted_rad=None) -> None:
    for _ in range(times):
        clock.t += 0.11
        measured_rad = arm.read().positions_rad
        arm.write(measured_rad if wanted_rad is None else wanted_rad)


def test_how_warm_each_motor_is_is_known_after_one_round(bench, arm, clock):
    for number, servo in enumerate(bench.bus.servos):
        servo.temperature_c = 30 + number
    assert arm.celsius() == {}
    look(arm, clock)
    assert arm.celsius() == {joint: 30 + number for number, joint in enumerate(JOINTS)}


def test_a_warm_motor_is_announced_once_and_a_hot_one_holds_until_it_is_cool(bench, arm, clock, caplog):
    servo = bench.bus.servos[3]
    servo.temperature_c = WARM_C
    look(arm, clock, 2 * LOOKS)
    assert [r.getMessage()[:25] for r in caplog.records] == [f"wrist_flex is warm: {WARM_C} °C"]
    servo.temperature_c = HOT_C
    bench.plant.goals_seen.clear()
    with pytest.raises(ArmFault, match=rf"wrist_flex {HOT_C} °C.*The arm holds"):
        look(arm, clock)
    arm.hold()
    np.testing.assert_allclose(bench.plant.goal, bench.plant.positions_rad(), atol=0.01)
    servo.temperature_c = HOT_C - 1  # not yet cool
    for _ in range(2 * LOOKS):
        clock.t += 1.0  # nothing moves: it waits
        with pytest.raises(ArmFault, match="too hot"):
            arm.read()
    servo.temperature_c = WARM_C - 1
    found = []
    for _ in range(LOOKS):
        clock.t += 1.0
        try:
            arm.read()
            found.append("cool")
        except ArmFault:
            found.append("hot")
    assert found[-1] == "cool" and found == sorted(found, reverse=True)


@pytest.mark.parametrize("words, bit", ALARMS.items())
def test_an_alarm_of_a_motor_is_told_in_words_at_work_and_at_connect(bench, arm, clock, words, bit):
    bench.bus.servos[2].alarm = bit
    with pytest.raises(ArmFault, match=rf"elbow_flex: .*{words}"):
        look(arm, clock)
    with pytest.raises(ArmFault, match=rf"elbow_flex: .*{words}"):
        arm.reconnect()
    assert bench.plant.torque.all()
    bench.bus.servos[2].alarm = 0
    arm.reconnect()
    look(arm, clock)


def test_a_joint_that_stays_behind_is_named_and_the_arm_holds(bench, arm, clock):
    bench.plant.high[1] = bench.plant.q[1]  # a wall
    goal = arm.read().positions_rad + np.array([0, 0.8, 0, 0, 0, 0])
    with pytest.raises(ArmFault, match=r"shoulder_lift is 0\.[5-9]. rad from"):
        look(arm, clock, 100, goal)
    arm.read()
    assert bench.plant.goal[1] == pytest.approx(bench.plant.q[1], abs=0.01)


def test_a_joint_that_is_behind_for_a_moment_is_no_fault(bench, arm, clock):
    bench.plant.high[0] = bench.plant.q[0]
    goal = arm.read().positions_rad + np.array([0.8, 0, 0, 0, 0, 0])
    for _ in range(30):
        clock.t += 0.01
        arm.write(goal)
        arm.read()


def test_the_jaw_pulls_no_more_than_it_may(bench, arm, clock):
    bench.plant.low[5] = 0.55  # an object
    closing = arm.read().positions_rad.copy()
    closing[5] = -0.17
    for _ in range(30):
        time.sleep(0.005)  # the jaw moves in real time
        look(arm, clock, 2, closing)
    assert arm.hits[Limit.GRIP] > 0
    lead_rad = 0.55 - bench.plant.goal[5]
    assert 0.2 < lead_rad < 0.35  # of 0.72; the emulated servo draws 1 A at 0.24 rad
    closing[5] = 0.7
    look(arm, clock, 20, closing)
    arm.read()
    assert bench.plant.goal[5] == pytest.approx(0.7, abs=0.01)


def test_many_goals_between_two_readings_of_the_current_do_not_loosen_the_grip(bench, arm, clock):
    bench.plant.low[5] = 0.55
    closing = arm.read().positions_rad.copy()
    closing[5] = -0.17
    for _ in range(30):
        time.sleep(0.005)
        look(arm, clock, 2, closing)
        for _ in range(10):
            arm.write(closing)
    arm.read()
    assert 0.2 < 0.55 - bench.plant.goal[5] < 0.35


def test_a_look_costs_one_transaction_and_never_delays_a_reading(bench, arm, clock, monkeypatch):
    requests = []
    answer = bench.bus._answer
    look(arm, clock, 1)
    time.sleep(0.1)  # its last write is not acknowledged
    monkeypatch.setattr(bench.bus, "_answer", lambda frame: requests.append(frame.code) or answer(frame))
    look(arm, clock)
    assert requests == [SYNC_READ, SYNC_WRITE, READ] * LOOKS
