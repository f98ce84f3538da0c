from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from teleop.buttons import WithButtons, with_buttons
from teleop.inputs import Button, OperatorState
from teleop.nobody import NobodyConfig

states = st.builds(
    lambda connected, deadman, x, success, pressed, ready: (
        OperatorState(0.0, True, deadman, np.float32([x, 0, 0]), 0.5, success, frozenset(pressed), ready)
        if connected
        else OperatorState(0.0, False, pressed=frozenset(pressed))
    ),
    st.booleans(),
    st.booleans(),
    st.floats(-1, 1, width=32),
    st.booleans(),
    st.sets(st.sampled_from(Button)),
    st.booleans(),
)


@given(states, states)
def test_buttons_count_motion_does_not_and_a_lost_one_stops_all(device: OperatorState, buttons: OperatorState) -> None:
    both = with_buttons(device, buttons)
    dropped = set() if device.ready else {Button.START}
    assert both.pressed == (device.pressed | buttons.pressed) - dropped, "STOP counts in any case"
    assert both.connected == (device.connected and buttons.connected)
    if both.connected:
        assert both.deadman == device.deadman and (both.move == device.move).all()
        assert both.success_held == (device.success_held or buttons.success_held)
    else:
        assert not both.deadman and not both.move.any() and not both.success_held


def test_contract(check_operator) -> None:
    check_operator(lambda: WithButtons(NobodyConfig().connect(), NobodyConfig().connect()))


def test_nothing_is_lost_of_the_device() -> None:
    state = OperatorState(1.0, True, True, np.float32([1, 0, 0]), -1.0, note="follows")
    assert with_buttons(state, OperatorState(2.0)) == replace(state)
