"""Demonstrations, interventions, online data, one session: index views over the same episodes, never copies."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import IntEnum

import numpy as np

from data.schema import Episode, Outcome, Source
from data.store.commit_log import Commit


class Role(IntEnum):
    """What a step is to the learner; every step has exactly one role."""

    DEMO = 0  # shown on purpose, or an untouched success of the starting policy, which the warm start counts as shown
    INTERVENTION = 1  # a person drove, in an episode that was not recorded as a demonstration
    ONLINE = 2  # everything else


def roles(episode: Episode) -> np.ndarray:
    """Return the `Role` of every step, uint8 [T]."""
    human = episode.source == Source.HUMAN
    meta = episode.meta
    untouched_success = meta.kind == "baseline" and meta.outcome is Outcome.SUCCESS and not human.any()
    if meta.kind == "demo" or untouched_success:
        return np.full(len(episode), Role.DEMO, np.uint8)
    return np.where(human, Role.INTERVENTION, Role.ONLINE).astype(np.uint8)


def select(
    commits: Iterable[Commit],
    *,
    kind: str | Collection[str] | None = None,
    session: str | Collection[str] | None = None,
    outcome: Outcome | Collection[Outcome] | None = None,
    detector: str | Collection[str] | None = None,
    human: bool | None = None,
    salvaged: bool | None = None,
) -> list[Commit]:
    """Return the commits that agree with every filter given, in their order; None does not filter.

    Args:
        commits: of a store or any other reader.
        kind, session, outcome, detector: the wanted value, or several of them ("" is a value, too: no detector).
        human: whether a person drove at least one step.
        salvaged: whether the episode was rebuilt from a journal.
    """

    def wanted(found: str, accepted: str | Collection[str] | None) -> bool:
        return accepted is None or found in ({accepted} if isinstance(accepted, str) else accepted)

    return [
        c
        for c in commits
        if wanted(c.kind, kind)
        and wanted(c.session, session)
        and wanted(c.outcome, outcome)
        and wanted(c.detector_version, detector)
        and human in (None, c.human_steps > 0)
        and salvaged in (None, c.salvaged)
    ]
