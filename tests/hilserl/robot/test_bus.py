"""No answer is ever taken for that to another question, whatever the line does."""

import os
import threading
import time

import numpy as np
import pytest

from hilserl.robot.bus import QUIET_S, BusFault
from sim_pretrain.rig.feetech_bus import READ, SYNC_READ, pack

TICK = 0.0016


def disturb(bench, monkeypatch, change) -> None:
    """Let `change(request, answer)` return what is put on the line in place of each answer."""
    feed = bench.bus.feed
    monkeypatch.setattr(bench.bus, "feed", lambda data: change(data, feed(data)))


@pytest.mark.parametrize("stale", [b"\x91", b"\x91\x07\x01\x02"])
def test_an_answer_of_another_length_is_left_out(bench, arm, monkeypatch, stale):
    """As one byte, or as zero, it would have been a joint angle."""
    early = b"".join(pack(id_, 0, stale) for id_ in range(1, 7))
    disturb(bench, monkeypatch, lambda request, answer: early + answer if request[4] == SYNC_READ else answer)
    np.testing.assert_allclose(arm.read().positions_rad, bench.plant.q, atol=TICK)


def test_a_position_is_not_taken_for_a_temperature(bench, arm, monkeypatch):
    early = pack(3, 0, b"\x91\x07")  # 145 degrees Celsius
    disturb(bench, monkeypatch, lambda request, answer: early + answer if request[4] == READ else answer)
    assert arm._motors.ask("Present_Temperature", "elbow_flex") == (34, 0)


def test_after_a_broken_answer_its_rest_is_waited_for(bench, arm):
    master, clean = bench.port._master, arm._clean
    bench.bus.corrupt(1)
    arm._motors.port_handler.is_using = False
    arm._motors.packet_handler.readTxRx(arm._motors.port_handler, 1, 56, 2)  # nothing is left of this one
    clean._owed = 8
    threading.Timer(QUIET_S / 3, os.write, (master, b"late")).start()
    clean()
    assert arm._motors.port_handler.ser.in_waiting == 0
    time.sleep(2 * QUIET_S)
    assert arm._motors.port_handler.ser.in_waiting == 0


def test_a_port_that_closed_in_the_middle_of_an_answer_is_a_bus_fault_to_whoever_asks_next(arm):
    arm._clean._owed = 8
    arm._bus.port_handler.closePort()
    assert arm._motors.alarms() == ""
    with pytest.raises(BusFault, match="reading the joints failed"):
        arm.read()


def test_a_whole_answer_is_waited_for_by_nobody(arm):
    arm.read()
    assert arm._clean._owed == 0


def test_answers_that_come_too_late_confuse_nothing(bench, arm, monkeypatch):
    late = iter([True])

    def delay(request, answer):
        if request[4] == SYNC_READ and next(late, False):
            time.sleep(0.06)  # the driver has given up by then, and asked again
        return answer

    disturb(bench, monkeypatch, delay)
    for _ in range(3):
        np.testing.assert_allclose(arm.read().positions_rad, bench.plant.q, atol=TICK)
        assert arm._motors.ask("Present_Temperature", "gripper") == (34, 0)
