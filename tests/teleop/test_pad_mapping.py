"""The pad's mapping as mathematics: ranges, signs, continuity, memory."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleop.inputs import Button, OperatorState
from teleop.pad_mapping import AXES, BUTTONS, PadFeel, PadMap, PadMemory, PadReading, interpret

FEEL = PadFeel()
RESTED = PadMemory(stamp_s=0.0, rested=frozenset((*AXES, *BUTTONS)))
unit = st.floats(-1, 1)


def state_of(axes: dict[str, float], held: tuple[str, ...] = (), memory: PadMemory = RESTED) -> OperatorState:
    return interpret(PadReading(0.02, axes, frozenset(held)), memory, PadMap(), FEEL)[0]


def play(*readings: PadReading, memory: PadMemory = RESTED, feel: PadFeel = FEEL) -> list[OperatorState]:
    states = []
    for reading in readings:
        state, memory = interpret(reading, memory, PadMap(), feel)
        states.append(state)
    return states


@given(unit, unit, unit)
def test_sticks_keep_direction_and_range(x: float, y: float, z: float) -> None:
    move = state_of({"leftx": x, "lefty": y, "righty": z}).move
    assert move.dtype == np.float32 and np.linalg.norm(move[:2]) <= 1 + 1e-6 and abs(move[2]) <= 1
    assert abs(-y * move[1] + x * move[0]) < 1e-6 and np.dot([-y, -x], move[:2]) >= 0  # up is +x, left is +y
    assert move[2] * -z >= 0  # up is +z
    assert move[:2].any() == (np.hypot(x, y) > FEEL.dead_zone)
    assert np.allclose(state_of({"leftx": -x, "lefty": -y, "righty": -z}).move, -move)


@given(unit, unit, st.floats(-1e-3, 1e-3), st.floats(-1e-3, 1e-3))
def test_sticks_are_continuous_also_at_the_dead_zone(x: float, y: float, dx: float, dy: float) -> None:
    there = np.clip([x + dx, y + dy], -1, 1)
    a, b = (state_of({"leftx": p[0], "lefty": p[1]}).move for p in ((x, y), there))
    assert np.abs(a - b).max() <= 10 * 1e-3  # a cut at 0.1 would jump by 0.1


def test_full_deflection_is_full_speed_and_slow_is_slower() -> None:
    assert np.allclose(state_of({"lefty": -1, "righty": -1}).move, [1, 0, 1])
    assert np.allclose(state_of({"leftx": -1}, held=("leftshoulder",)).move, [0, 0.3, 0])


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 5), st.booleans()), max_size=20))
def test_gripper_stays_in_range_moves_with_speed_and_only_under_the_deadman(
    steps: list[tuple[float, float, float, bool]],
) -> None:
    memory, now_s = RESTED, 0.0
    for close, open_, elapsed_s, deadman in steps:
        now_s += elapsed_s
        held = frozenset({"rightshoulder"} if deadman else set())
        reading = PadReading(now_s, {"righttrigger": close, "lefttrigger": open_}, held)
        before, (state, memory) = memory.gripper, interpret(reading, memory, PadMap(), FEEL)
        change = state.gripper - before
        assert -1 <= state.gripper <= 1
        assert abs(change) <= FEEL.gripper_speed * min(elapsed_s, 0.1) + 1e-9  # a stall is no long squeeze
        if not deadman or max(close, open_) <= FEEL.dead_zone:
            assert change == 0
        assert change * (open_ - close) >= 0


def test_right_trigger_closes_left_opens_and_untouched_keeps() -> None:
    def squeeze(start_s: float, axis: str) -> list[PadReading]:
        stamps = start_s + 0.1 * np.arange(1, 16)
        return [PadReading(float(s), {axis: 1.0}, frozenset({"rightshoulder"})) for s in stamps]

    idle = [PadReading(1.6, {}), PadReading(1.7, {}, frozenset({"rightshoulder"}))]
    states = play(*squeeze(0.0, "righttrigger"), *idle, *squeeze(1.7, "lefttrigger"))
    assert states[0].gripper == pytest.approx(1 - FEEL.gripper_speed * 0.1)
    assert [s.gripper for s in states[14:17]] == [-1, -1, -1]
    assert states[-1].gripper == 1


def test_holds_fire_once_per_hold_and_not_for_taps() -> None:
    start = frozenset({"start"})
    held = [PadReading(0.1 * k, {}, start, start if k == 0 else frozenset()) for k in range(30)]
    states = play(*held)
    assert [k for k, s in enumerate(states) if Button.START in s.pressed] == [0]
    assert [round(s.stamp_s, 1) for s in states if Button.REARM in s.pressed] == [1.0]
    taps = [PadReading(0.1 * k, {}, start, start) for k in range(30)]  # released and pressed again in between
    assert all(s.pressed == {Button.START} for s in play(*taps))
    discard = [PadReading(0.1 * k, {}, frozenset({"x"})) for k in range(9)]
    assert [round(s.stamp_s, 1) for s in play(*discard) if Button.DISCARD in s.pressed] == [0.5]


def test_what_is_held_while_the_pad_connects_does_not_count_until_released() -> None:
    jammed = PadReading(0.1, {"righttrigger": 0.5, "lefty": -1.0}, frozenset({"rightshoulder", "y"}))
    later = replace(jammed, stamp_s=0.3)
    free = PadReading(0.2, dict.fromkeys(AXES, 0.0))
    on_connect, again, _, now = play(jammed, jammed, free, later, memory=PadMemory())
    for state in (on_connect, again):
        assert not state.deadman and not state.success_held and not state.move.any() and state.gripper == 1
    assert now.deadman and now.success_held and now.move.any() and now.gripper < 1


def test_unplugged_says_nothing_but_keeps_the_gripper_and_a_last_stop() -> None:
    memory = PadMemory(0.0, -0.5, RESTED.rested, {"start": 0.0})
    lost = PadReading(0.1, {"lefty": -1}, frozenset({"rightshoulder"}), frozenset({"b"}), connected=False)
    state, after = interpret(lost, memory, PadMap(), FEEL)
    assert not state.connected and not state.deadman and not state.move.any() and state.gripper == -0.5
    assert state.pressed == {Button.STOP}
    assert not after.rested and not after.down_since_s


@pytest.mark.parametrize(
    "make",
    [
        lambda: PadMap(stop="rb"),
        lambda: PadMap(up="righttrigger"),
        lambda: PadMap(success="b"),  # STOP's button must have one meaning
        lambda: PadFeel(dead_zone=1.0),
        lambda: PadFeel(gripper_speed=0.0),
    ],
)
def test_bad_maps_and_feels_are_refused(make: Callable) -> None:
    with pytest.raises(ValueError):
        make()
