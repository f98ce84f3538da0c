"""What every `teleop.inputs.Operator` has to fulfil, as one reusable check.

Tests get it as the fixture `check_operator` (tests/teleop/conftest.py); elsewhere load this file by path.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data.spec import ActionSpec
from teleop.inputs import Button, Follower, Operator, OperatorState, Prompt

LIMITS_RAD = np.array([[-1.9, -1.7, -1.65, -1.64, -2.7, -0.17], [1.9, 1.7, 1.65, 1.64, 2.7, 1.74]])
ARM = Follower(np.zeros(6), LIMITS_RAD, np.array([0.23, 0.0, 0.1]), 1.0, ActionSpec(), False)


def check_state(state: OperatorState) -> None:
    """Assert that one reading is well-formed and that an absent person does nothing."""
    assert isinstance(state.stamp_s, float) and np.isfinite(state.stamp_s)
    assert state.move.shape == (3,) and state.move.dtype == np.float32
    assert np.all(np.abs(state.move) <= 1), "move is in [-1, 1] and finite"
    assert -1 <= state.gripper <= 1, "the gripper command is absolute, in [-1, 1]"
    assert isinstance(state.pressed, frozenset) and all(isinstance(b, Button) for b in state.pressed)
    if not state.connected:
        assert not state.deadman and not state.success_held and not state.move.any()


def check_operator(connect: Callable[[], Operator]) -> None:
    """Open an operator that nobody touches, and assert the protocol on it."""
    operator = connect()
    try:
        first, second = operator.read(), operator.read()
        for state in (first, second):
            check_state(state)
            assert state.connected, "a device that was just opened is there"
            assert not state.deadman and not state.pressed, "nobody touches it"
        assert second.stamp_s >= first.stamp_s
        assert second.gripper == first.gripper, "the gripper command keeps its value while untouched"

        for prompt in Prompt:  # unknown details, odd values and repetition are all fine
            operator.tell(prompt)
            operator.tell(prompt, outcome="success", gripper=float("nan"), number=3, anything="else")
            operator.tell(prompt)
        answered = operator.read()
        check_state(answered)
        assert not (answered.pressed & operator.read().pressed), "reading consumes the edges"

        for _ in range(3):  # whether or not it moves along with the arm, nobody has taken over
            operator.follow(ARM)
            state = operator.read()
            check_state(state)
            assert state.connected and not state.deadman and not state.move.any()
    finally:
        operator.close()
    operator.close()  # twice is fine
    for prompt in Prompt:
        operator.tell(prompt)  # and so is a late word
    again = connect()  # the device was released
    try:
        assert again.read().connected
    finally:
        again.close()
