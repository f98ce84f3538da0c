"""The leader's shell around a bus that hangs."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from teleop import leader as module
from teleop.leader import Leader
from teleop.takeover import LeaderFeel, LeaderReading


class HangingArm:
    """Answers once; from then on every transaction hangs until the test lets it."""

    limits_rad = np.array([[-2.0] * 6, [2.0] * 6])

    def __init__(self) -> None:
        self.hangs, self.go_on, self.answered = threading.Event(), threading.Event(), False

    def read(self) -> LeaderReading:
        if self.answered:
            self.hangs.set()
            self.go_on.wait()
        self.answered = True
        return LeaderReading(module.time.monotonic(), np.zeros(6), np.zeros(6), False)

    def hold_at(self, goal_rad: np.ndarray) -> None: ...

    def release(self) -> None: ...

    def reconnect(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def arm() -> Iterator[HangingArm]:
    arm = HangingArm()
    yield arm
    arm.go_on.set()


def test_reading_waits_for_no_bus_and_an_old_reading_is_none(arm: HangingArm, monkeypatch: pytest.MonkeyPatch) -> None:
    leader = Leader(arm, LeaderFeel(), lambda joints_rad: joints_rad[:3])
    assert arm.hangs.wait(10)
    monkeypatch.setattr(module, "SILENT_S", 1e9)
    assert leader.read().connected, "this would hang, too, if it asked the bus"
    monkeypatch.setattr(module, "SILENT_S", -1.0)
    state = leader.read()
    assert not state.connected and not state.deadman
    arm.go_on.set()
    leader.close()
    assert not leader.read().connected
