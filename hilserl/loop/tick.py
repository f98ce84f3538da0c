"""One control period as the person sees it: looked at between any two goals, and theirs from the next one on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data.schema import Source
from hilserl.loop.control import Control
from teleop.inputs import OperatorState

Hands = Callable[[OperatorState], tuple[np.ndarray, Source]]


class Tick:
    """Begins under whoever proposed the tick's action; `look` after each of its goals."""

    def __init__(self, control: Control, source: Source, hands: Hands) -> None:
        """Let `hands` say what is done for the rest of the period when control changes hands."""
        self._control, self._hands, self._now = control, hands, source
        self._drove: Counter[Source] = Counter()
        self._seen: list[OperatorState] = []

    def look(self) -> np.ndarray | None:
        """Read the person's device and decide; return another action [4] if someone else is in control now."""
        self._drove[self._now] += 1
        before = self._control.authority
        state = self._control.drive(self._control.read())
        self._seen.append(state)
        if self._control.authority is before:
            return None
        action, self._now = self._hands(state)
        return action

    @property
    def state(self) -> OperatorState:
        """The newest reading, with all that was pressed during the period."""
        return replace(self._seen[-1], pressed=frozenset().union(*(state.pressed for state in self._seen)))

    @property
    def source(self) -> Source:
        """Who drove for the longest part of the period; of two that drove as long, the one that came later."""
        most = max(self._drove.values())
        return [source for source, goals in self._drove.items() if goals == most][-1]
