"""Buttons beside a device: what is pressed there counts as if it were pressed here."""

from __future__ import annotations

from dataclasses import replace

from teleop.inputs import Follower, Operator, OperatorState, Prompt


def with_buttons(state: OperatorState, buttons: OperatorState) -> OperatorState:
    """Return `state` with the buttons of another device; its motion and its deadman stay there.

    When either device is gone, nobody drives. What was pressed counts all the same: it may have been STOP.
    """
    pressed = state.pressed | buttons.pressed
    if not (state.connected and buttons.connected):
        note = state.note or buttons.note
        return OperatorState(state.stamp_s, connected=False, gripper=state.gripper, pressed=pressed, note=note)
    return replace(state, pressed=pressed, success_held=state.success_held or buttons.success_held)


class WithButtons:
    """Implements `Operator`: a device that drives, and one whose buttons count, too."""

    def __init__(self, device: Operator, buttons: Operator) -> None:
        """Own both; `close` closes them."""
        self._device, self._buttons = device, buttons

    def read(self) -> OperatorState:
        """Read both."""
        return with_buttons(self._device.read(), self._buttons.read())

    def tell(self, prompt: Prompt, **details: str | float | int) -> None:
        """Tell both."""
        self._device.tell(prompt, **details)
        self._buttons.tell(prompt, **details)

    def follow(self, follower: Follower) -> None:
        """Show the arm to the one that drives."""
        self._device.follow(follower)

    def close(self) -> None:
        """Release both."""
        self._device.close()
        self._buttons.close()
