"""The rumble vocabulary and its timing, on a clock that the test holds."""

import numpy as np

from teleop import haptics
from teleop.inputs import Prompt


def pulses(schedule: haptics.Schedule, until_s: float) -> list[float]:
    return [t for t in np.arange(0, until_s, 0.02) if schedule.due(t) is not None]


def test_handing_back_is_two_pulses_and_taking_over_one() -> None:
    for prompt, count in ((Prompt.HUMAN_IN_CONTROL, 1), (Prompt.POLICY_IN_CONTROL, 2), (Prompt.STOPPED, 1)):
        schedule = haptics.Schedule()
        schedule.ask(haptics.pattern(prompt, {}), 0.0)
        assert len(pulses(schedule, 2.0)) == count
    assert haptics.pattern(Prompt.EPISODE_ENDED, {"outcome": "success"}) == haptics.SUCCESS
    assert haptics.pattern(Prompt.EPISODE_ENDED, {"outcome": "timeout"}) == ()


def test_the_limit_pulse_is_at_most_4_hz_and_never_covers_another() -> None:
    schedule, felt = haptics.Schedule(), 0
    for t in np.arange(0, 1.99, 0.02):
        schedule.ask(haptics.LIMIT, t)
        felt += schedule.due(t) is not None
    assert 7 <= felt <= 8
    schedule.ask(haptics.STOP, 5.0)
    schedule.ask(haptics.LIMIT, 5.0)
    assert schedule.due(5.0) is haptics.STOP[0] and schedule.due(6.0) is None
