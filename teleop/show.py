"""What the scripted operator shows the classifier: success from all sides, and everything that only looks like it."""

from __future__ import annotations

from typing import Any

import numpy as np

from teleop.expert import ExpertConfig, lift

SUCCESS, NEAR_MISS, ON_AIR, WANDER = "success", "near miss", "closed on air", "wander"

HELD_TICKS = 28  # how long it shows the object at one height


class Show:
    """One episode's programme: an act and its length are drawn anew until the episode ends."""

    def __init__(self, rng: np.random.Generator, *, succeeds: bool) -> None:
        """Draw the programme; without success it holds only what a classifier must not fall for."""
        self._rng = rng
        first = str(rng.choice([NEAR_MISS, ON_AIR, WANDER]))
        start = [] if rng.random() < 0.6 else [first]
        self._acts = [*start, SUCCESS, NEAR_MISS, WANDER] if succeeds else [first, NEAR_MISS, ON_AIR, WANDER]
        self._ticks = 0
        self._lifted = 0
        self._drift: np.ndarray = np.zeros(3)

    def act(self, truth: dict[str, Any]) -> np.ndarray:
        """Return the action [4] for what is on the table now."""
        ee, cube = np.array(truth["ee_m"]), np.array(truth["cube_m"])
        self._ticks += 1
        if self._ticks % 6 == 1:
            self._drift = self._rng.uniform(-1, 1, 3)
        match self._acts[0]:
            case "success":
                action = self._lift_to(ee, cube, truth["grasped"], height_m=0.11)
            case "near miss":
                action = self._lift_to(ee, cube, truth["grasped"], height_m=0.055)
            case "closed on air":
                beside = cube + np.array([0.0, 0.05 if cube[1] < 0 else -0.05, 0.0])
                action = lift(ee, beside, False, ExpertConfig())
                if self._ticks > 14:
                    action = np.array([*(0.5 * self._drift[:2]), 0.9 if ee[2] < 0.12 else self._drift[2], -1.0])
                if self._ticks > 32:
                    self._next()
            case _:
                action = np.array([*self._drift, 1.0 if self._drift[0] > 0 else -1.0])
                if self._ticks > 15:
                    self._next()
        return np.clip(action, -1, 1).astype(np.float32)

    def _lift_to(self, ee: np.ndarray, cube: np.ndarray, grasped: bool, height_m: float) -> np.ndarray:
        """Grasp, rise to a height, move about there for a while, then let go and go on with the next act."""
        if not grasped and cube[2] < 0.03:
            if self._lifted:
                self._next()
            return lift(ee, cube, False, ExpertConfig())
        error = (height_m - cube[2]) / 0.01
        if abs(error) < 1.0 or self._lifted:
            self._lifted += 1
        move = np.array([*(0.6 * self._drift[:2]), np.clip(error, -1, 1) + 0.3 * self._drift[2]])
        return np.array([*move, 1.0 if self._lifted > HELD_TICKS else -1.0])

    def _next(self) -> None:
        self._acts = self._acts[1:] or [WANDER]
        self._ticks = self._lifted = 0
