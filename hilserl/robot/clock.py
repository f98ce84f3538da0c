"""Time as the robot code sees it: a wall clock at the table, physics time in simulation."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where `now` comes from and how to wait for later. Seconds, monotonic."""

    def now_s(self) -> float:
        """Return the current time [s]."""

    def sleep_until_s(self, time_s: float) -> None:
        """Return at `time_s`, or at once when it has passed."""


class WallClock:
    """The monotonic clock, optionally faster: an emulated rig at time scale 3 lives 3 s per second."""

    def __init__(self, time_scale: float = 1.0) -> None:
        """Raise ValueError unless `time_scale` > 0."""
        if not time_scale > 0:
            raise ValueError(f"time_scale is {time_scale}; accepted is a number > 0 (1 = real time)")
        self.time_scale = time_scale

    def now_s(self) -> float:
        """Return scaled monotonic time [s]."""
        return time.monotonic() * self.time_scale

    def sleep_until_s(self, time_s: float) -> None:
        """Sleep until scaled time `time_s`."""
        remaining_s = (time_s - self.now_s()) / self.time_scale
        if remaining_s > 0:
            time.sleep(remaining_s)
