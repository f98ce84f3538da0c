"""What an episode teaches beyond its reward: whose steps are there to be copied, what take-overs and stages say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data.errors import UserError
from data.schema import Episode, Outcome, Source


def shown(episode: Episode, *, own_successes: bool = False) -> Episode:
    """Return the episode with every step that is there to be copied counted as a person's.

    Args:
        episode: as recorded.
        own_successes: besides a scripted expert's steps, those of the policy in a success that nobody helped with.
    """
    copied = episode.source == Source.EXPERT
    if own_successes and episode.meta.outcome is Outcome.SUCCESS and not (episode.source == Source.HUMAN).any():
        copied |= episode.source == Source.POLICY
    return replace(episode, source=np.where(copied, np.uint8(Source.HUMAN), episode.source))


def penalised(episode: Episode, penalty: float) -> Episode:
    """Return the episode with `penalty` taken from the reward of each policy step that a person took over after.

    A take-over says that this step was a bad one (RLIF, Luo et al., 2023). Steps on which the arm held between the two
    do not hide it.
    """
    acted = np.flatnonzero(episode.source != Source.HOLD)
    source = episode.source[acted]
    judged = acted[:-1][(source[:-1] == Source.POLICY) & (source[1:] == Source.HUMAN)]
    reward = episode.reward.copy()
    reward[judged] -= penalty
    return replace(episode, reward=reward)


def staged(episode: Episode, each: float) -> Episode:
    """Return the episode with `each` of the reward paid for every stage of the task in the step that passed it.

    Success pays the rest of 1. The detector's stages are latched, and noted once an episode (`stage_1`, ...), so
    nothing is earned by passing one again.

    Raises:
        UserError: nothing would be left for success.
    """
    passed = [int(step) for name, step in episode.meta.notes.items() if name.startswith("stage_")] if each else []
    if not 0 <= each * max(len(passed), 1) < 1:
        raise UserError(
            f"stage_reward is {each:g}, and {len(passed)} stages were passed; accepted is 0 or more, and less than 1 "
            "for all of them together: set --learner.stage_reward"
        )
    reward = episode.reward.copy()
    reward[-1] -= each * len(passed) * (episode.meta.outcome is Outcome.SUCCESS)
    reward[passed] += each
    return replace(episode, reward=reward)
