"""Time as the robot code sees it: a wall clock at the table, physics time in simulation."""

from __future__ import annotations

import mmap
import time
from pathlib import Path
from typing import Protocol

from data.errors import UserError

POLL_S = 0.0005
STANDS_STILL_S = 5.0


class ClockStopped(UserError):
    """The emulated rig's time does not go on."""


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


class SharedClock:
    """Eight bytes in a mapped file: an emulated rig writes its simulated time, the actor lives by it.

    So a control period is a period of the arm's time, however fast the rig runs and however busy the machine is.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Map the file; with `create` make it, at time zero.

        Raises:
            UserError: there is no such file.
        """
        if create:
            path.write_bytes(bytes(8))
        try:
            with path.open("r+b") as file:
                self._time_s = memoryview(mmap.mmap(file.fileno(), 8)).cast("d")
        except OSError as error:
            raise UserError(f"no clock at {path} ({error}); an emulated rig writes one: hilserl rig") from error

    def set(self, time_s: float) -> None:
        """Publish the time; the rig does."""
        self._time_s[0] = time_s  # one store: struct.pack_into zeroes the bytes first, and a reader saw time 0

    def now_s(self) -> float:
        """Return the rig's simulated time [s]."""
        return self._time_s[0]

    def sleep_until_s(self, time_s: float) -> None:
        """Wait until the rig's time is `time_s`.

        Raises:
            ClockStopped: it stood still for a while; the rig is gone.
        """
        seen_s, moved_s = self.now_s(), time.monotonic()
        while (now_s := self.now_s()) < time_s:
            if now_s != seen_s:
                seen_s, moved_s = now_s, time.monotonic()
            elif time.monotonic() - moved_s > STANDS_STILL_S:
                raise ClockStopped("the emulated rig's time stands still; start it again: hilserl rig")
            time.sleep(POLL_S)
