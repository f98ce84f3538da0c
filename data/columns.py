"""Whether the state varies: a sensor that is not read tells the policy nothing and breaks computed statistics.

One constant column beside others that vary may be a joint that the task holds still, and is only worth a warning. A
field of which nothing varies is not read.
"""

from __future__ import annotations

import numpy as np

from data.errors import UserError
from data.schema import Episode
from data.spec import ObservationSpec

JUDGED_EPISODES = 20  # before that, too little has happened
NO_CHANGE = 1e-6  # of the field's range


class ConstantField(UserError):
    """A state field that never changes; training must not go on with it."""


class ColumnRange:
    """Smallest and largest value of every state column over the episodes added."""

    def __init__(self, spec: ObservationSpec) -> None:
        self._fields = spec.state
        self._names = [f"{f.name}[{i}]" for f in spec.state for i in range(f.size)]
        self._field = np.repeat(np.arange(len(spec.state)), [f.size for f in spec.state])  # of each column
        self._range = np.array([spec.state[i].high - spec.state[i].low for i in self._field])
        self._low = np.full(len(self._names), np.inf)
        self._high = -self._low
        self.episodes = 0

    def add(self, episode: Episode) -> None:
        """Take one episode in; a millisecond at most."""
        self._low = np.minimum(self._low, episode.state.min(0))
        self._high = np.maximum(self._high, episode.state.max(0))
        self.episodes += 1

    def constant(self) -> list[str]:
        """Return one line per constant column; none before `JUDGED_EPISODES` episodes can tell."""
        return [
            f"state {self._names[i]} is {self._low[i]:.6g} {self._fields[self._field[i]].unit} in all of "
            f"{self.episodes} episodes"
            for i in np.flatnonzero(self._constant())
        ]

    def dead(self) -> list[str]:
        """Return one line per field of which every column is constant."""
        constant = self._constant()
        return [
            f"state {field.name} never changed in {self.episodes} episodes"
            for i, field in enumerate(self._fields)
            if constant[self._field == i].all()
        ]

    def require_varying(self) -> None:
        """Raise `ConstantField` when a field is dead."""
        if lines := self.dead():
            raise ConstantField(
                "\n".join(lines) + "\nIs the sensor read? A field that cannot vary does not belong into the task "
                "spec: leave it out and record again. `hilserl data verify RUN` checks a store."
            )

    def _constant(self) -> np.ndarray:
        """Return which columns are constant, bool [D]."""
        return (self.episodes >= JUDGED_EPISODES) & (self._high - self._low <= NO_CHANGE * self._range)
