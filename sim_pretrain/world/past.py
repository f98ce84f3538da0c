"""The last moments of a world, for cameras and encoders whose news is late."""

from __future__ import annotations

from collections import deque

import numpy as np


class Past:
    """A short film of a state vector; between two frames it is interpolated linearly."""

    def __init__(self, span_s: float) -> None:
        """Remember `span_s` seconds; with 0, nothing but the present is asked for, and nothing is kept."""
        self.span_s = span_s
        self._moments: deque[tuple[float, np.ndarray]] = deque()

    def __len__(self) -> int:
        """Return how many moments are kept."""
        return len(self._moments)

    def note(self, time_s: float, state: np.ndarray) -> None:
        """Add the state at `time_s`, which is later than the one before. It is kept, not copied."""
        if self.span_s > 0.0:
            self._moments.append((time_s, state))
            while len(self._moments) > 2 and self._moments[1][0] <= time_s - self.span_s:
                self._moments.popleft()

    def forget(self) -> None:
        """Drop everything: the world was changed by hand, and nothing leads from the one state to the other."""
        self._moments.clear()

    def at(self, time_s: float) -> np.ndarray:
        """Return the state at `time_s`; before the first or after the last moment, that one.

        Raises:
            IndexError: nothing was noted.
        """
        later_s, later = self._moments[-1]
        for moment_s, state in reversed(self._moments):
            if moment_s <= time_s:
                share = min(1.0, (time_s - moment_s) / max(later_s - moment_s, 1e-9))
                return state + share * (later - state)
            later_s, later = moment_s, state
        return later
