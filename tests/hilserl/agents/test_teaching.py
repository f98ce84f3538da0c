"""What an episode says beyond its reward."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from data.schema import Episode, Outcome, Source
from hilserl.agents.teaching import penalised, shown, staged

P, H, E, N = Source.POLICY, Source.HUMAN, Source.EXPERT, Source.HOLD  # N: nobody
SOURCES = st.lists(st.sampled_from(Source), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def episode_of(made: ModuleType):
    def make(sources: list[Source], outcome: Outcome = Outcome.SUCCESS) -> Episode:
        task = made.task(cameras=0)
        episode = made.episode(task, 0, len(sources), outcome=outcome)
        return replace(episode, source=np.array(sources, np.uint8))

    return make


@pytest.mark.parametrize(
    ("sources", "judged"),
    [
        ([P, P, H, H, P, H], [1, 4]),
        ([H, P, P], []),
        ([P, N, N, H], [0]),  # the arm held while the hand went to the stick
        ([P, E, H], []),
        ([H, N, P, N], []),
        ([P], []),
    ],
)
def test_the_step_before_a_take_over_pays(episode_of, sources: list[Source], judged: list[int]) -> None:
    episode = episode_of(sources)
    before = episode.reward.copy()
    found = penalised(episode, 0.5).reward - before
    assert found.tolist() == [-0.5 if t in judged else 0.0 for t in range(len(sources))]
    assert np.array_equal(episode.reward, before)  # what is stored stays


@given(sources=SOURCES)
def test_there_is_one_penalty_for_each_take_over(episode_of, sources: list[Source]) -> None:
    episode = episode_of(sources)
    driver, takeovers = None, 0
    for source in sources:
        takeovers += driver is P and source is H
        driver = driver if source is N else source
    assert (episode.reward - penalised(episode, 1.0).reward).sum() == takeovers
    assert np.array_equal(penalised(episode, 0.0).reward, episode.reward)


@given(sources=SOURCES, outcome=st.sampled_from(Outcome))
def test_what_is_shown(episode_of, sources: list[Source], outcome: Outcome) -> None:
    episode = episode_of(sources, outcome)
    alone = outcome is Outcome.SUCCESS and H not in sources
    assert shown(episode).source.tolist() == [H if s is E else s for s in sources]
    own = shown(episode, own_successes=True).source
    assert own.tolist() == [H if s is E or (s is P and alone) else s for s in sources]
    assert own.dtype == episode.source.dtype and episode.source.tolist() == sources


@given(passed=st.lists(st.integers(0, 11), unique=True, max_size=3), outcome=st.sampled_from(Outcome))
def test_stages_are_paid_once_and_a_success_is_worth_one(episode_of, passed: list[int], outcome: Outcome) -> None:
    episode = episode_of([P] * 12, outcome)
    notes = {f"stage_{k}": step for k, step in enumerate(sorted(passed), 1)}
    meta = replace(episode.meta, notes={**episode.meta.notes, **notes})
    reward = np.zeros(12, np.float32)
    reward[-1] = outcome is Outcome.SUCCESS
    told = replace(episode, meta=meta, reward=reward)
    paid = staged(told, 0.25).reward
    assert paid.sum() == (1.0 if outcome is Outcome.SUCCESS else 0.25 * len(passed))
    assert (np.cumsum(paid) <= 1).all() and (paid >= 0).all()
    assert np.flatnonzero(paid[:-1]).tolist() == [t for t in sorted(passed) if t < 11]
    assert np.array_equal(staged(told, 0.0).reward, reward) and np.array_equal(told.reward, reward)


@pytest.mark.parametrize("each", [-0.1, 0.5, 2.0])
def test_stages_that_would_leave_nothing_for_success_are_refused(episode_of, each: float) -> None:
    episode = episode_of([P] * 12, Outcome.SUCCESS)
    told = replace(episode, meta=replace(episode.meta, notes={"stage_1": 3, "stage_2": 5}))
    with pytest.raises(UserError, match=r"2 stages were passed; .*less than 1.*--learner\.stage_reward"):
        staged(told, each)
