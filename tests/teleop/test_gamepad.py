"""The gamepad on the whole SDL stack, with a virtual controller in place of the device."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import draccus
import numpy as np
import pytest

from teleop import gamepad as gamepad_module
from teleop.gamepad import Gamepad, GamepadConfig, NoGamepad
from teleop.inputs import Button, OperatorConfig, Prompt


@pytest.fixture
def pad(new_pad: Callable) -> Any:
    return new_pad()


@pytest.fixture
def gamepad(pad: Any) -> Iterator[Gamepad]:
    operator = GamepadConfig().connect()
    assert isinstance(operator, Gamepad)
    yield operator
    operator.close()


def test_config_is_registered_and_round_trips() -> None:
    config = draccus.decode(OperatorConfig, {"type": "gamepad", "map": {"success": "a", "failure": "y"}})
    assert isinstance(config, GamepadConfig) and config.map.success == "a"
    assert draccus.decode(OperatorConfig, draccus.encode(config, OperatorConfig)) == config


def test_contract(pad: Any, check_operator: Callable) -> None:
    check_operator(GamepadConfig().connect)


def test_deadman_is_a_level(pad: Any, gamepad: Gamepad) -> None:
    pad.press("rightshoulder")
    assert [gamepad.read().deadman for _ in range(3)] == [True] * 3  # no event has to arrive
    pad.release("rightshoulder")
    assert not gamepad.read().deadman


def test_sticks(pad: Any, gamepad: Gamepad) -> None:
    pad.axis("lefty", -1)
    assert np.allclose(gamepad.read().move, [1, 0, 0], atol=1e-3)
    pad.axis("lefty", 0)
    pad.axis("leftx", -1)
    pad.axis("righty", 1)
    assert np.allclose(gamepad.read().move, [0, 1, -1], atol=1e-3)
    pad.axis("righty", 0)
    moves = []
    for deflection in np.linspace(0, 0.2, 41):
        pad.axis("leftx", -deflection)
        moves.append(gamepad.read().move[1])
    assert moves[19] == 0 and 0 < moves[22] < 0.02  # begins at zero behind the dead zone of 0.1
    assert np.diff(moves).min() >= 0 and np.diff(moves).max() < 0.01


def test_triggers_move_the_gripper(pad: Any, gamepad: Gamepad, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [gamepad.read().stamp_s]
    monkeypatch.setattr(gamepad_module.time, "monotonic", lambda: clock[0])

    def after(seconds: float) -> float:
        for _ in range(round(seconds / 0.05)):
            clock[0] += 0.05
            state = gamepad.read()
        return state.gripper

    pad.axis("righttrigger", 1)
    assert after(1) == 1  # not without the deadman
    pad.press("rightshoulder")
    assert after(0.2) == pytest.approx(1 - 3 * 0.2, abs=1e-3)
    assert after(1) == -1
    pad.axis("righttrigger", 0)
    assert after(1) == -1
    pad.axis("lefttrigger", 1)
    assert after(1) == 1


def test_a_tap_between_two_readings_is_reported_once(pad: Any, gamepad: Gamepad) -> None:
    for control, button in (
        ("b", Button.STOP),
        ("y", Button.SUCCESS),
        ("a", Button.FAILURE),
        ("start", Button.START),
    ):
        pad.tap(control)
        state = gamepad.read()
        assert state.pressed == {button} and not state.success_held
        assert not gamepad.read().pressed


def test_success_is_an_edge_and_a_hold(pad: Any, gamepad: Gamepad) -> None:
    pad.press("y")
    first, second = gamepad.read(), gamepad.read()
    assert first.pressed == {Button.SUCCESS} and not second.pressed
    assert first.success_held and second.success_held
    pad.release("y")
    assert not gamepad.read().success_held


def test_unplug_and_plug_in_again(pad: Any, gamepad: Gamepad) -> None:
    pad.press("rightshoulder")
    pad.axis("lefty", -1)
    assert gamepad.read().deadman
    pad.unplug()
    for _ in range(3):
        state = gamepad.read()
        assert not state.connected and not state.deadman and not state.move.any()
    pad.plug()
    pad.press("rightshoulder")
    pad.press("start")
    states = [gamepad.read() for _ in range(3)]
    assert states[-1].connected
    assert not any(s.deadman or s.pressed for s in states)  # was down while the cable went in
    pad.release("rightshoulder")
    gamepad.read()
    pad.press("rightshoulder")
    assert gamepad.read().deadman


def test_the_state_at_opening_is_no_press(pad: Any, gamepad: Gamepad, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel driver tells what is down in its first poll after the opening, and SDL makes presses of it."""
    real = gamepad._sdl

    class Driver:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def Controller(self, index: int) -> Any:
            opened = real.Controller(index)
            pad.press("start")
            pad.press("rightshoulder")
            return opened

    pad.unplug()
    assert not gamepad.read().connected
    pad.plug()
    monkeypatch.setattr(gamepad, "_sdl", Driver())
    states = [gamepad.read() for _ in range(3)]
    assert states[0].connected and not any(s.deadman or s.pressed for s in states)


def test_a_cable_that_blinks_is_still_reported(pad: Any, gamepad: Gamepad) -> None:
    pad.unplug()
    pad.plug()
    assert not gamepad.read().connected
    assert gamepad.read().connected


def test_another_pad_is_not_listened_to(new_pad: Callable, pad: Any, gamepad: Gamepad) -> None:
    other = new_pad(name="Other Pad")
    other.tap("b")
    other.press("rightshoulder")
    state = gamepad.read()
    assert state.connected and not state.pressed and not state.deadman
    other.unplug()
    assert gamepad.read().connected


def test_device_picks_by_name(new_pad: Callable, pad: Any) -> None:
    other = new_pad(name="Other Pad")
    operator = GamepadConfig(device="other").connect()
    other.tap("b")
    assert operator.read().pressed == {Button.STOP}
    operator.close()


def test_no_pad_is_an_error_that_helps(new_pad: Callable) -> None:
    with pytest.raises(NoGamepad, match=r"(?s)SDL sees:\n  nothing.*same command again"):
        GamepadConfig().connect()
    new_pad(name="Racing Wheel", kind=2)  # SDL_JOYSTICK_TYPE_WHEEL has no pad layout
    with pytest.raises(NoGamepad, match=r"Racing Wheel .*no pad layout"):
        GamepadConfig().connect()


def test_rumble_reaches_the_device(pad: Any, gamepad: Gamepad) -> None:
    gamepad.tell(Prompt.STOPPED)
    assert not pad.rumbles  # `tell` only schedules
    gamepad.read()
    assert pad.rumbles == [(65535, 65535)]


def test_taking_over_starts_from_the_executed_gripper(pad: Any, gamepad: Gamepad) -> None:
    gamepad.tell(Prompt.HUMAN_IN_CONTROL, gripper=-0.8)
    assert gamepad.read().gripper == -0.8
    gamepad.tell(Prompt.HUMAN_IN_CONTROL, gripper=float("nan"))
    assert gamepad.read().gripper == -0.8


def test_reading_after_close_says_disconnected(gamepad: Gamepad) -> None:
    gamepad.close()
    assert not gamepad.read().connected


def test_sigterm_still_ends_a_process_that_has_opened_sdl() -> None:
    """Left alone, SDL turns SIGTERM into an event, and `kill` does not end the process that moves the arm."""
    code = "import teleop.gamepad as g, os, time; g.start_sdl(); os.kill(os.getpid(), 15); time.sleep(5)"
    root = Path(gamepad_module.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60)
    assert done.returncode == -signal.SIGTERM


def test_importing_opens_nothing() -> None:
    root = Path(gamepad_module.__file__).parent.parent
    code = "import sys, teleop.gamepad; sys.exit('pygame' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
