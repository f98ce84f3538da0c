"""Buttons beside a device: what is pressed there counts as if it were pressed here."""

from __future__ import annotations

import logging
from dataclasses import replace

from teleop.inputs import Button, Follower, Operator, OperatorState, Prompt

logger = logging.getLogger(__name__)


def with_buttons(state: OperatorState, buttons: OperatorState) -> OperatorState:
    """Return `state` with the buttons of another device, whose motion and deadman stay there.

    When either is gone, nobody drives; what was pressed counts all the same, for it may have been STOP. Start does not
    while the device is not ready: kept for later, it would start the arm unawares.
    """
    pressed = state.pressed | buttons.pressed
    if not state.ready:
        pressed -= {Button.START}
    if not (state.connected and buttons.connected):
        note = state.note or buttons.note
        return OperatorState(state.stamp_s, connected=False, gripper=state.gripper, pressed=pressed, note=note)
    held = state.success_held or buttons.success_held
    return replace(state, pressed=pressed, success_held=held, threshold=buttons.threshold or state.threshold)


class WithButtons:
    """Implements `Operator`: a device that drives, and one whose buttons count, too."""

    def __init__(self, device: Operator, buttons: Operator) -> None:
        """Own both; `close` closes them."""
        self._device, self._buttons = device, buttons
        self._follower: Follower | None = None

    def read(self) -> OperatorState:
        """Read both; the device is told of the other's deadman first."""
        buttons = self._buttons.read()
        if self._follower is not None and buttons.deadman != self._follower.button:
            self._follower = replace(self._follower, button=buttons.deadman)
            self._device.follow(self._follower)
        state = self._device.read()
        if Button.START in buttons.pressed and not state.ready:
            logger.warning("not started: %s, then press Start again", state.note)
        return with_buttons(state, buttons)

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Tell both."""
        self._device.tell(prompt, **details)
        self._buttons.tell(prompt, **details)

    def follow(self, follower: Follower) -> None:
        """Show the arm to the one that drives."""
        button = self._follower is not None and self._follower.button
        self._follower = replace(follower, button=button)
        self._device.follow(self._follower)

    def close(self) -> None:
        """Release both."""
        self._device.close()
        self._buttons.close()
