"""The absent person: for evaluation that nobody watches from a gamepad. Never drives, marks or stops."""

from __future__ import annotations

import time
from dataclasses import dataclass

from teleop.inputs import Button, Follower, Operator, OperatorConfig, OperatorState, Prompt


@OperatorConfig.register_subclass("none")
@dataclass(frozen=True)
class NobodyConfig(OperatorConfig):
    """`--teleop.type=none`: no device. Every "put the object back" is answered with Start at once.

    So nobody confirms that the object lies where it should: use it in simulation, or where the scene needs no
    placing. STOP is then Ctrl-C and the arm's power switch.
    """

    def connect(self) -> Operator:
        """Return the stand-in; there is nothing to open."""
        return Nobody()


class Nobody:
    """Always connected, presses Start once per `Prompt.PLACE_OBJECT`, and nothing else."""

    def __init__(self) -> None:
        self._start = False

    def read(self) -> OperatorState:
        """Return an idle state, with the Start edge when one is due."""
        pressed = frozenset({Button.START}) if self._start else frozenset()
        self._start = False
        return OperatorState(stamp_s=time.monotonic(), pressed=pressed)

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Answer the prompt to place the object; the others need no answer."""
        if prompt is Prompt.PLACE_OBJECT:
            self._start = True

    def follow(self, follower: Follower) -> None:
        """Nothing moves along with the arm."""

    def close(self) -> None:
        """Nothing to release."""
