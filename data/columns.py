"""Whether every state column varies: a constant one tells the policy nothing and breaks computed statistics."""

from __future__ import annotations

import numpy as np

from data.errors import UserError
from data.schema import Episode
from data.spec import ObservationSpec

JUDGED_EPISODES = 20  # a locked joint rests at one encoder count in 60 % of single episodes, and in no 20 together
NO_CHANGE = 1e-6  # of the field's range


class ConstantColumn(UserError):
    """A state column that never changes; training must not go on with it."""


class ColumnRange:
    """Smallest and largest value of every state column over the episodes added."""

    def __init__(self, spec: ObservationSpec) -> None:
        self._fields = [(f"{f.name}[{i}]", f) for f in spec.state for i in range(f.size)]
        self._low = np.full(len(self._fields), np.inf)
        self._high = -self._low
        self.episodes = 0

    def add(self, episode: Episode) -> None:
        """Take one episode in; a millisecond at most."""
        self._low = np.minimum(self._low, episode.state.min(0))
        self._high = np.maximum(self._high, episode.state.max(0))
        self.episodes += 1

    def constant(self) -> list[str]:
        """Return one line per constant column; none before `JUDGED_EPISODES` episodes can tell."""
        if self.episodes < JUDGED_EPISODES:
            return []
        return [
            f"state {name} is {low:.6g} {field.unit} in all of {self.episodes} episodes"
            for (name, field), low, high in zip(self._fields, self._low, self._high, strict=True)
            if high - low <= NO_CHANGE * (field.high - field.low)
        ]

    def require_varying(self) -> None:
        """Raise `ConstantColumn` when a column is constant."""
        if lines := self.constant():
            raise ConstantColumn(
                "\n".join(lines) + "\nIs the sensor read? A column that cannot vary does not belong into the task "
                "spec: leave it out and record again. `hilserl data verify RUN` checks a store."
            )
