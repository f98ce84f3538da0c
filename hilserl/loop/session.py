"""What a stretch of episodes is for, and why one ended early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from data.errors import UserError
from data.schema import Episode, EpisodeMeta, Observation, Outcome, Transition

DEVICE_GONE = "the operator's device is gone; the arm holds its pose. Plug it in."
GO_ON = "Go on with the same command (train: and --resume)"


class SessionStopped(UserError):
    """The person pressed STOP, or a device stayed away; the arm holds."""


@dataclass(frozen=True)
class SessionConfig:
    """What a stretch of episodes is for."""

    kind: str  # stored with every episode
    episodes: int
    drives: Literal["policy", "human"] = "policy"
    may_take_over: bool = False  # whether the deadman hands control to the person
    explore: bool = False  # sample the policy instead of taking its mode
    ends_on_success: bool = True  # False while collecting labels
    max_steps: int = 0  # 0: the task's time limit
    give_up_s: float = 60.0  # a device that stays away, or a pause that lasts this long, ends the episode or session
    notes: Mapping[str, str] = field(default_factory=dict)  # stored with every episode
    seed: int = 0
    series: int = 0  # start poses go through a fixed series of so many; 0: they are drawn at random
    keep: bool = True  # False: practice; every episode is thrown away and done again


def finished(first: Observation, steps: list[Transition], meta: EpisodeMeta, outcome: Outcome | None) -> Episode | None:
    """Return the whole episode, truncated if it was cut short; None when it is discarded or has no step."""
    if outcome is None or not steps:
        return None
    last = steps[-1]
    whole = last.terminated or last.truncated
    kept = steps if whole else [*steps[:-1], replace(last, truncated=True)]
    return Episode.from_steps(first, kept, replace(meta, outcome=outcome))
