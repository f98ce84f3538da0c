"""Which updates are due, and how many were made: never more than what the arm did has earned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Pacing:
    """So many critics-only updates first, then `utd` for every online step; a fraction waits until it is whole."""

    def __init__(self, critics_first: int, utd: float) -> None:
        self._utd = utd
        self.owed = float(critics_first)  # updates due so far, made ones among them
        self.steps = 0  # online steps seen
        self._critic = 0  # updates made since training began, which is after the critics-only ones
        self._actor = 0

    @property
    def actor_updates(self) -> int:
        """Updates of the actor so far."""
        return self._actor

    def see(self, steps: int) -> None:
        """Count newly recorded online steps; each is owed `utd` updates."""
        self.steps += steps
        self.owed += self._utd * steps

    def debt(self, updates: int) -> int:
        """Return how many updates are due after `updates` were made; never negative."""
        return max(0, int(self.owed) - updates)

    def count(self, *, actor: bool) -> None:
        """Count one update that was made in training, and whether it changed the actor."""
        self._critic += 1
        self._actor += actor

    def measured(self) -> dict[str, float]:
        """Return the updates of critics and actor made per online step since training began; 0 before the first."""
        steps = max(self.steps, 1)
        return {"critic_per_step": self._critic / steps, "actor_per_step": self._actor / steps}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "owed": self.owed,
            "steps": self.steps,
            "critic_trained": self._critic,
            "actor_trained": self._actor,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned, all but the steps: they are counted as the store is read again."""
        self.owed = state["owed"]
        self._critic, self._actor = state.get("critic_trained", 0), state.get("actor_trained", 0)
