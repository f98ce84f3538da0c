"""The terminal's keys: label, pause, stop, and drive in simulation. Only what is typed into this terminal counts."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import termios
import time
import tty
from dataclasses import dataclass

import numpy as np

from data.errors import UserError
from teleop.inputs import Button, Follower, Operator, OperatorConfig, OperatorState, Prompt

HELP = (
    "keys: Enter ready, pause, go on | y success | n failure | x redo | e next | u undo | p park | s or Esc STOP | "
    "r re-arm | space drive, hand back | arrows, Page up and down, o, c move"
)
_BUTTONS = {
    "\n": Button.START,
    "\r": Button.START,
    "y": Button.SUCCESS,
    "n": Button.FAILURE,
    "x": Button.DISCARD,
    "s": Button.STOP,
    "\x1b": Button.STOP,
    "r": Button.REARM,
    "e": Button.NEXT,
    "u": Button.UNDO,
    "p": Button.PARK,
}
_MOVES = {  # base frame: x away from the arm, y to its left, z up
    "\x1b[A": (1, 0, 0),
    "\x1b[B": (-1, 0, 0),
    "\x1b[D": (0, 1, 0),
    "\x1b[C": (0, -1, 0),
    "\x1b[5~": (0, 0, 1),
    "\x1b[6~": (0, 0, -1),
}
_GRIPPER = {"o": 1.0, "c": -1.0}
_TAP_S = 0.08  # a key press moves for this long, one step at 10 Hz; a terminal does not tell when it goes up
_REPEAT_S = 0.6  # a held key repeats before this has passed
_KEY = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)


@OperatorConfig.register_subclass("keyboard")
@dataclass(frozen=True)
class KeyboardConfig(OperatorConfig):
    """`--teleop.type=keyboard`: this terminal's keys. To drive with in simulation: on an arm there is no deadman."""

    def glyphs(self) -> dict[str, str]:
        """Return the terminal's keys."""
        keys = {button.value: key for key, button in _BUTTONS.items() if key.isalpha()}
        return {**keys, "deadman": "Space", "start": "Enter"}

    def connect(self) -> Operator:
        """Take over the terminal's input; UserError when there is no terminal."""
        if not sys.stdin.isatty():
            raise UserError(
                "the keyboard was asked for, but standard input is no terminal. Start the command in a terminal, or "
                "name another device: --teleop.type=gamepad, or beside a leader --buttons.type=gamepad"
            )
        print(HELP, file=sys.stderr)
        return Keyboard(sys.stdin.fileno())


class Keyboard:
    """Implements `Operator` on a terminal."""

    def __init__(self, descriptor: int) -> None:
        """Read keys from the terminal `descriptor` without waiting for Enter and without an echo, until closed."""
        self._descriptor: int | None = descriptor
        self._before = termios.tcgetattr(descriptor)
        tty.setcbreak(descriptor, termios.TCSAFLUSH)  # Ctrl-C still interrupts; what was typed before is no press
        self._driving, self._gripper = False, 1.0
        self._taps: dict[tuple[int, int, int], float] = {}  # direction -> until when
        self._success_until_s = 0.0

    def read(self) -> OperatorState:
        """Take in the keys since the last call."""
        now_s, pressed = time.monotonic(), set()
        keys = self._keys()
        if keys is None:
            return OperatorState(now_s, connected=False, gripper=self._gripper)
        for key in keys:
            if key in _BUTTONS:
                pressed.add(_BUTTONS[key])
            elif key == " ":
                self._driving = not self._driving
            elif key in _MOVES and self._driving:
                self._taps[_MOVES[key]] = now_s + _TAP_S
            elif key in _GRIPPER and self._driving:
                self._gripper = _GRIPPER[key]
            if key == "y":
                self._success_until_s = now_s + _REPEAT_S
        if Button.STOP in pressed:
            self._driving = False
        held = [direction for direction, until_s in self._taps.items() if self._driving and now_s < until_s]
        return OperatorState(
            now_s,
            deadman=self._driving,
            move=np.array([(0, 0, 0), *held], np.float32).sum(axis=0),
            gripper=self._gripper,
            success_held=now_s < self._success_until_s,
            pressed=frozenset(pressed),
        )

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Take the executed gripper command at a take-over; stop driving with the episode."""
        gripper = details.get("gripper")
        if prompt is Prompt.HUMAN_IN_CONTROL and isinstance(gripper, (int, float)) and -1 <= gripper <= 1:
            self._gripper = float(gripper)
        if prompt is Prompt.EPISODE_ENDED:
            self._driving = False

    def follow(self, follower: Follower) -> None:
        """Nothing moves along with the arm."""

    def close(self) -> None:
        """Give the terminal back as it was; a second call does nothing."""
        if self._descriptor is not None:
            with contextlib.suppress(termios.error):  # it was closed
                termios.tcsetattr(self._descriptor, termios.TCSANOW, self._before)
            self._descriptor = None

    def _keys(self) -> list[str] | None:
        """Return the keys that wait to be read, or None when the terminal is gone."""
        if self._descriptor is None:
            return None
        try:
            if not select.select([self._descriptor], [], [], 0)[0]:
                return []
            typed = os.read(self._descriptor, 4096)
        except OSError:
            return None
        return _KEY.findall(typed.decode(errors="replace").replace("\x1bO", "\x1b[")) if typed else None
