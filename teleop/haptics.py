"""What the pad tells the hand: a short vocabulary of rumble patterns, and when each pulse is due. Pure."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from teleop.inputs import Prompt


@dataclass(frozen=True)
class Pulse:
    """One rumble: strengths of the low and the high motor in [0, 1], its length, and the silence after it."""

    low: float
    high: float
    length_s: float
    gap_s: float = 0.0


TAKE_OVER = (Pulse(0.0, 0.7, 0.12),)
HAND_BACK = (Pulse(0.0, 0.7, 0.12, 0.12), Pulse(0.0, 0.7, 0.12))
SUCCESS = (Pulse(0.5, 0.2, 0.6),)
LIMIT = (Pulse(0.15, 0.15, 0.06),)
STOP = (Pulse(1.0, 1.0, 0.8),)
_LIMIT_PERIOD_S = 0.25  # a wall is felt, not drilled


def pattern(prompt: Prompt, details: dict[str, str | float | int]) -> tuple[Pulse, ...]:
    """Return the pulses for a prompt; empty where the page alone speaks."""
    if prompt is Prompt.EPISODE_ENDED:
        return SUCCESS if details.get("outcome") == "success" else ()
    return {
        Prompt.HUMAN_IN_CONTROL: TAKE_OVER,
        Prompt.POLICY_IN_CONTROL: HAND_BACK,
        Prompt.LIMIT: LIMIT,
        Prompt.STOPPED: STOP,
    }.get(prompt, ())


class Schedule:
    """Pulses and when they are due. `ask` may come from any thread; `due` from the one that reads the pad."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, Pulse]] = deque()
        self._busy_until_s = float("-inf")
        self._last_limit_s = float("-inf")

    def ask(self, pulses: tuple[Pulse, ...], now_s: float) -> None:
        """Begin a pattern now, in place of a running one; only the limit pattern never interrupts."""
        if not pulses:
            return
        with self._lock:
            if pulses is LIMIT:
                if now_s < self._busy_until_s or now_s < self._last_limit_s + _LIMIT_PERIOD_S:
                    return
                self._last_limit_s = now_s
            self._waiting.clear()
            at_s = now_s
            for pulse in pulses:
                self._waiting.append((at_s, pulse))
                at_s += pulse.length_s + pulse.gap_s
            self._busy_until_s = at_s

    def due(self, now_s: float) -> Pulse | None:
        """Return the next pulse whose time has come, once."""
        with self._lock:
            if self._waiting and self._waiting[0][0] <= now_s:
                return self._waiting.popleft()[1]
        return None
