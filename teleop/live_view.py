"""What the hands do, as one line of text that is written over and over."""

from __future__ import annotations

import time
from collections.abc import Callable

from teleop.inputs import Follower, Operator, OperatorState, Prompt

PERIOD_S = 0.1  # between two lines
_PRESSED_S = 1.0  # a press is shown for so long


def line(state: OperatorState, pressed: str) -> str:
    """Return one reading as text: who drives, motion, gripper, buttons, and what the device says itself."""
    who = "GONE" if not state.connected else "DRIVES" if state.deadman else "idle"
    x, y, z = state.move
    held = "success held" if state.success_held else ""
    words = "  ".join(filter(None, (held, pressed, state.note.partition("\n")[0])))
    return f"{who:<6} x{x:+.1f} y{y:+.1f} z{z:+.1f} gripper{state.gripper:+.1f}  {words}".rstrip()


class Seen:
    """Implements `Operator`: hands everything on, and has each reading written as a line."""

    def __init__(self, operator: Operator, write: Callable[[str], None]) -> None:
        """Own `operator`; `write` is given a line at most every `PERIOD_S`."""
        self._operator, self._write = operator, write
        self._pressed: dict[str, float] = {}  # button -> when
        self._written_s = 0.0

    def read(self) -> OperatorState:
        """Read, and show what was read."""
        state, now_s = self._operator.read(), time.monotonic()
        self._pressed |= {button.value: now_s for button in state.pressed}
        if now_s - self._written_s >= PERIOD_S:
            recent = (name for name, at_s in self._pressed.items() if now_s - at_s < _PRESSED_S)
            self._write(line(state, " ".join(recent)))
            self._written_s = now_s
        return state

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Hand it on."""
        self._operator.tell(prompt, **details)

    def follow(self, follower: Follower) -> None:
        """Hand it on."""
        self._operator.follow(follower)

    def close(self) -> None:
        """Hand it on."""
        self._operator.close()
