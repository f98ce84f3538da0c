"""The wall clock and its scale."""

import pytest

from hilserl.robot.clock import WallClock


def test_sleeps_in_scaled_time():
    clock = WallClock(time_scale=50.0)
    start_s = clock.now_s()
    clock.sleep_until_s(start_s + 1.0)
    assert clock.now_s() >= start_s + 1.0


def test_the_past_does_not_wait():
    clock = WallClock()
    clock.sleep_until_s(clock.now_s() - 1e6)


@pytest.mark.parametrize("scale", [0, -1, float("nan")])
def test_time_must_go_forward(scale):
    with pytest.raises(ValueError, match="time_scale"):
        WallClock(scale)
