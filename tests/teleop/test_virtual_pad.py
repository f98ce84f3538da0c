"""A pad inside SDL that does what a file says, read by the real `Gamepad`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from teleop.inputs import Button
from teleop.virtual_pad import VirtualPadConfig, pad_event


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "pad.events"
    path.write_text(json.dumps(pad_event("press", "b")) + "\n")  # of an earlier session
    return path


def write(events: Path, *event: object) -> None:
    with events.open("a") as file:
        file.write(json.dumps(pad_event(*event)) + "\n")


def test_contract(events: Path, check_operator: Callable) -> None:
    check_operator(VirtualPadConfig(events=events).connect)


def test_it_does_what_the_file_says(events: Path) -> None:
    operator = VirtualPadConfig(events=events).connect()
    try:
        write(events, "press", "rightshoulder")
        write(events, "axis", "lefty", -1)
        write(events, "tap", "start")
        state = operator.read()
        assert state.deadman and state.pressed == {Button.START}
        np.testing.assert_allclose(state.move, [1, 0, 0], atol=1e-3)
        write(events, "unplug")
        write(events, "press", "y")  # into the air
        assert not operator.read().connected
        write(events, "plug")
        assert [operator.read().connected for _ in range(2)][-1]
    finally:
        operator.close()


@pytest.mark.parametrize("event", [("kick", "b"), ("press", "lefty"), ("axis", "lefty", 2), ("plug", "b")])
def test_what_a_pad_cannot_do_is_refused(event: tuple) -> None:
    with pytest.raises(ValueError, match="accept"):
        pad_event(*event)


def test_without_a_rig_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hilserl rig --gamepad"):
        VirtualPadConfig(events=tmp_path / "none").connect()
