"""The buttons of the operator's page: each press is the time at which it was given, in memory that two processes share.

A press overwrites the one before it, so nothing queues, nothing fills up, and neither side ever waits. The page moves
nothing: it has no deadman and no stick, and when it is gone the arm goes on as before.
"""

from __future__ import annotations

import time

from teleop.inputs import Button, Follower, OperatorState, Prompt

BUTTONS = tuple(Button)
HELD, ASKED, THRESHOLD = range(len(BUTTONS), len(BUTTONS) + 3)  # success is held; when a threshold was asked for, which
SIZE = 8 * (THRESHOLD + 1)  # bytes of the memory
MAX_AGE_S = 0.25  # what was given longer ago is not done any more: the person has seen something else since


class Presses:
    """The memory, from either side; times are monotonic [s]."""

    def __init__(self, memory: memoryview) -> None:
        """Share `SIZE` bytes, zeros when nobody has pressed anything yet."""
        self._times_s = memory[:SIZE].cast("d")

    def give(self, button: Button, at_s: float) -> None:
        """Press a button."""
        self._times_s[BUTTONS.index(button)] = at_s  # one store of eight bytes

    def hold_success(self, at_s: float) -> None:
        """Say that the success button is down; to be said again while it is."""
        self._times_s[HELD] = at_s

    def ask_threshold(self, threshold: float, at_s: float) -> None:
        """Ask for another threshold of the success detector."""
        self._times_s[THRESHOLD] = threshold
        self._times_s[ASKED] = at_s

    def success_held_s(self) -> float:
        """Return when the success button was last said to be down."""
        return float(self._times_s[HELD])

    def threshold_asked(self) -> tuple[float, float]:
        """Return when a threshold was asked for last, and which."""
        return float(self._times_s[ASKED]), float(self._times_s[THRESHOLD])

    def given_s(self) -> tuple[float, ...]:
        """Return when each of `BUTTONS` was pressed last."""
        return tuple(self._times_s[: len(BUTTONS)])


class PageButtons:
    """Implements `Operator` by the presses on the page."""

    def __init__(self, presses: Presses) -> None:
        """Count what is pressed from now on."""
        self._presses, self._seen_s = presses, presses.given_s()
        self._asked_s, _ = presses.threshold_asked()

    def read(self) -> OperatorState:
        """Return the buttons pressed since the last reading. One that waited too long is dropped; STOP never is."""
        now_s, given_s = time.monotonic(), self._presses.given_s()
        fresh = [b for b, at_s, seen_s in zip(BUTTONS, given_s, self._seen_s, strict=True) if at_s != seen_s]
        self._seen_s = given_s
        pressed = {b for b in fresh if b is Button.STOP or now_s - given_s[BUTTONS.index(b)] <= MAX_AGE_S}
        held = now_s - self._presses.success_held_s() <= MAX_AGE_S
        asked_s, threshold = self._presses.threshold_asked()
        asked, self._asked_s = asked_s != self._asked_s and now_s - asked_s <= MAX_AGE_S, asked_s
        return OperatorState(
            now_s, success_held=held, pressed=frozenset(pressed), threshold=threshold if asked else None
        )

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """The page shows what the session publishes."""

    def follow(self, follower: Follower) -> None:
        """Nothing moves along with the arm."""

    def close(self) -> None:
        """Nothing to release."""
