"""The terminal's keys on a real pseudo-terminal."""

import contextlib
import os
import pty
import select
import termios
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from data.errors import UserError
from teleop import keyboard as module
from teleop.inputs import Button, Prompt
from teleop.keyboard import Keyboard, KeyboardConfig


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """What a person types into, and what the program reads."""
    master, slave = pty.openpty()
    yield master, slave
    for descriptor in (master, slave):
        with contextlib.suppress(OSError):  # the test has pulled it
            os.close(descriptor)


@pytest.fixture
def keys(terminal: tuple[int, int]) -> Iterator[Callable]:
    """`keys(text)`: type it and read."""
    operator = Keyboard(terminal[1])

    def typed(text: str):
        os.write(terminal[0], text.encode())
        if text:
            select.select([terminal[1]], [], [], 5)  # the kernel hands it over when it gets to it
        return operator.read()

    typed.operator = operator
    yield typed
    operator.close()


def test_contract(terminal: tuple[int, int], check_operator: Callable) -> None:
    check_operator(lambda: Keyboard(terminal[1]))


@pytest.mark.parametrize(
    ("typed", "button"),
    [
        ("\r", Button.START),
        ("y", Button.SUCCESS),
        ("n", Button.FAILURE),
        ("x", Button.DISCARD),
        ("s", Button.STOP),
        ("\x1b", Button.STOP),
        ("r", Button.REARM),
    ],
)
def test_a_key_is_an_edge(keys: Callable, typed: str, button: Button) -> None:
    assert keys(typed).pressed == {button}
    assert not keys("").pressed


def test_other_keys_do_nothing(keys: Callable) -> None:
    state = keys("qwertz\x1b[15~\x1b[1;5Cö\t1234".translate(dict.fromkeys(map(ord, "ery"))))
    assert not state.pressed and not state.deadman and not state.move.any()


def test_arrows_move_only_while_space_has_taken_over(keys: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    assert not keys("\x1b[A").move.any()
    state = keys(" ")
    assert state.deadman and not state.move.any()
    np.testing.assert_array_equal(keys("\x1b[A\x1b[D\x1bOA").move, [1, 1, 0])
    np.testing.assert_array_equal(keys("\x1b[B\x1b[6~").move, [0, 1, -1])
    clock[0] += 0.2
    assert not keys("").move.any(), "a key press is a step, for nobody sees it go up"
    assert keys("c").gripper == -1 and keys("o").gripper == 1
    assert not keys(" ").deadman


@pytest.mark.parametrize("ends", ["stop", "episode over"])
def test_driving_ends_with_stop_and_with_the_episode(keys: Callable, ends: str) -> None:
    assert keys(" ").deadman
    if ends == "stop":
        assert not keys("s").deadman
    keys.operator.tell(Prompt.EPISODE_ENDED, outcome="failure")
    assert not keys("").deadman


def test_success_is_held_while_the_key_repeats(keys: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    for _ in range(5):
        assert keys("y").success_held
        clock[0] += 0.5
        assert keys("").success_held
    clock[0] += 0.5
    assert not keys("").success_held


def test_what_was_typed_before_is_no_press(terminal: tuple[int, int]) -> None:
    os.write(terminal[0], b"s\r")
    select.select([terminal[1]], [], [], 5)
    operator = Keyboard(terminal[1])
    assert not operator.read().pressed
    operator.close()


def test_the_terminal_is_given_back_as_it_was(terminal: tuple[int, int]) -> None:
    before = termios.tcgetattr(terminal[1])
    operator = Keyboard(terminal[1])
    assert not termios.tcgetattr(terminal[1])[3] & termios.ECHO
    operator.close()
    assert termios.tcgetattr(terminal[1]) == before
    assert not operator.read().connected


def test_a_closed_terminal_is_a_lost_device(keys: Callable, terminal: tuple[int, int]) -> None:
    assert keys(" ").deadman
    os.close(terminal[0])
    state = keys.operator.read()
    assert not state.connected and not state.deadman


def test_taking_over_starts_from_the_executed_gripper(keys: Callable) -> None:
    keys.operator.tell(Prompt.HUMAN_IN_CONTROL, gripper=-0.8)
    assert keys("").gripper == -0.8


def test_without_a_terminal_it_says_what_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(module.sys, "stdin", nothing)
        with pytest.raises(UserError, match=r"no terminal.*--teleop.type=gamepad"):
            KeyboardConfig().connect()
