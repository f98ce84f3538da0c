"""Evaluations: the verdicts of scripted behaviours, what repeats, and what may be said about two of them."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilserl.metrics import wilson
from sim_pretrain.episodes.evaluation import EVALUATION_SEED, EpisodeResult, Evaluation, evaluate, play, regression
from sim_pretrain.episodes.rollout import Phase
from sim_pretrain.task.env import SimEnv
from sim_pretrain.task.expert import expert_of
from sim_pretrain.task.tasks import TASKS

SHORT = dataclasses.replace(TASKS["lift"], spec=dataclasses.replace(TASKS["lift"].spec, time_limit_steps=45))


class NoFrames:
    """Cameras that cost nothing and show nothing."""

    def read(self, name):
        return np.zeros((12, 16, 3), np.uint8), 0.0


@pytest.fixture(scope="module")
def env():
    made = SimEnv(SHORT)
    made._arm.frames = NoFrames()
    yield made
    made.close()


@pytest.fixture(scope="module")
def carried(env):
    """The same task, starting with the cube in the hand."""
    made = SimEnv(SHORT, stages={"grasped": 1.0})
    made._arm.frames = NoFrames()
    yield made
    made.close()


class Scripted:
    """Acts on the truth, which no policy may: `play(truth, steps so far)` gives the action."""

    def __init__(self, env, play):
        self.env, self.play, self.steps, self.begun = env, play, 0, 0

    def begin(self):
        self.steps, self.begun = 0, self.begun + 1

    def act(self, observation):
        self.steps += 1
        return np.asarray(self.play(self.env.truth, self.steps), np.float32)


def expert(env):
    act = expert_of(env.task)
    return Scripted(env, lambda truth, _: act(truth))


OPEN, CLOSED = (0, 0, 0, 1), (0, 0, 0, -1)


def test_the_expert_succeeds_within_the_interval_that_wilson_gives(env):
    found = evaluate(env, expert(env), episodes=6)
    assert (found.n, found.wins, found.success) == (6, 6, 1.0)
    assert found.interval == wilson(6, 6)
    assert found.phases == {p: 6 * (p is Phase.SUCCESS) for p in Phase}
    assert [e.seed for e in found.episodes] == list(range(EVALUATION_SEED, EVALUATION_SEED + 6))
    assert all(e.max_height_m > 0.08 and e.held_s >= 0.3 - 1e-6 and e.total_reward == 1.0 for e in found.episodes)
    assert found.mean_steps == np.mean([e.steps for e in found.episodes]) < 30


def test_a_hand_that_stays_open_has_missed(env):
    (row,) = evaluate(env, Scripted(env, lambda truth, _: OPEN), episodes=1).episodes
    assert (row.phase, row.steps, row.held_s, row.total_reward) == (Phase.MISSED, 45, 0.0, 0.0)
    assert row.max_height_m == pytest.approx(0.015, abs=0.002)  # the cube lies on the table


def test_a_hand_that_opens_on_the_way_up_has_slipped(env):
    act = expert_of(env.task)
    dropped = []

    def play(truth, step):
        if step == 1:
            dropped.clear()
        dropped.append(truth.grasped and truth.cube_m[2] > 0.04)
        return OPEN if any(dropped) else act(truth)

    (row,) = evaluate(env, Scripted(env, play), episodes=1).episodes
    assert row.phase is Phase.SLIPPED and 0.04 < row.max_height_m < 0.08 and row.held_s == 0.0


def test_a_hand_that_parks_short_of_the_goal_is_below(carried):
    (row,) = evaluate(carried, Scripted(carried, lambda truth, _: CLOSED), episodes=1, seed=3).episodes
    assert row.phase is Phase.BELOW and row.steps == 45


def test_a_cube_that_is_carried_out_of_reach_is_lost(carried):
    def play(truth, step):
        away = np.clip((0.139 - truth.ee_m[1]) / 0.01, -1, 1)
        down = np.clip((0.03 - truth.ee_m[2]) / 0.01, -1, 1)
        return (0, away, down, 1 if truth.cube_m[1] > 0.131 else -1)

    (row,) = evaluate(carried, Scripted(carried, play), episodes=1).episodes
    assert row.phase is Phase.LOST and row.steps < 45


def test_equal_seeds_give_equal_results_whatever_ran_before(env):
    clumsy = Scripted(env, lambda truth, step: expert_of(env.task)(truth) * (1, 1, 1, 1 if step % 3 else -1))
    first = evaluate(env, clumsy, episodes=3, seed=5)
    evaluate(env, expert(env), episodes=2, seed=77)
    assert evaluate(env, clumsy, episodes=3, seed=5) == first
    fresh = SimEnv(SHORT)
    fresh._arm.frames = NoFrames()
    clumsy.env = fresh
    assert evaluate(fresh, clumsy, episodes=3, seed=5) == first
    fresh.close()


def test_a_policy_with_a_memory_forgets_between_episodes_and_progress_counts_them(env):
    seen, remembering = [], Scripted(env, lambda truth, step: OPEN)
    evaluate(env, remembering, episodes=2, progress=seen.append)
    assert seen == [1, 1] and remembering.steps == 45 and remembering.begun >= 2


def test_a_played_episode_is_the_evaluated_one(env):
    row = evaluate(env, expert(env), episodes=1, seed=9).episodes[0]
    run = play(env, expert(env), 9)
    assert (run.phase, len(run.episode), run.max_height_m) == (row.phase, row.steps, row.max_height_m)
    assert len(run.terms) == row.steps


def some(wins: int, n: int = 50, steps: int = 30, step: int = 0, failure: Phase = Phase.MISSED) -> Evaluation:
    phases = [Phase.SUCCESS] * wins + [failure] * (n - wins)
    return Evaluation(tuple(EpisodeResult(i, p, steps, 0.1, 0.3, 0.0) for i, p in enumerate(phases)), step)


def test_more_successes_are_better_and_only_then_fewer_steps():
    assert some(41, steps=60).better_than(some(40, steps=20))
    assert some(40, steps=29).better_than(some(40, steps=30))
    assert not some(40, steps=30).better_than(some(40, steps=30))
    assert some(0).better_than(None)
    assert not some(0, steps=1).better_than(some(0, steps=80))  # to lose the cube early is no speed


@given(st.tuples(st.integers(0, 5), st.integers(1, 4)), st.tuples(st.integers(0, 5), st.integers(1, 4)))
def test_two_evaluations_are_never_each_better_than_the_other(a, b):
    one, other = (some(wins, 5, steps) for wins, steps in (a, b))
    assert not (one.better_than(other) and other.better_than(one))
    assert not one.better_than(one)


def test_a_failure_does_not_count_into_the_length():
    mixed = Evaluation((*some(1, 1, steps=20).episodes, *some(0, 1, steps=80).episodes))
    assert mixed.mean_steps == 20
    assert math.isnan(some(0).mean_steps) and some(0).to_json()["mean_steps"] is None


def test_a_regression_is_flagged_in_words_and_noise_is_not():
    best = some(48, step=12_000)
    assert regression(best, some(28)) == "best at 12,000 steps: 96%; now 40 points lower"
    assert regression(best, some(44)) == ""  # 96 % and 88 % of 50 are told apart by nobody
    assert regression(best, best) == "" and regression(None, some(0)) == ""
    assert regression(some(28), best) == ""


def test_worst_first_puts_failures_before_successes_and_the_slowest_success_first():
    rows = (
        EpisodeResult(0, Phase.SUCCESS, 20, 0.11, 0.3, 1.0),
        EpisodeResult(1, Phase.BELOW, 80, 0.06, 0.0, 0.0),
        EpisodeResult(2, Phase.SUCCESS, 70, 0.12, 0.3, 1.0),
        EpisodeResult(3, Phase.LOST, 9, 0.02, 0.0, 0.0),
        EpisodeResult(4, Phase.BELOW, 80, 0.09, 0.2, 0.0),
        EpisodeResult(5, Phase.MISSED, 80, 0.015, 0.0, 0.0),
    )
    assert [e.seed for e in Evaluation(rows).worst_first()] == [3, 5, 1, 4, 2, 0]


@given(st.integers(0, 7), st.integers(0, 10**6), st.sampled_from(list(Phase)))
def test_an_evaluation_survives_json(wins, step, failure):
    found = some(wins, 7, step=step, failure=failure)
    assert Evaluation.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_the_words_name_success_interval_and_where_the_failures_failed():
    found = Evaluation((*some(3, 4).episodes, *some(0, 1, failure=Phase.SLIPPED).episodes))
    text = found.text()
    assert "3 of 5" in text and "60%" in text and "23% to 88%" in text and "1 missed, 1 slipped" in text
    assert "failures" not in some(5, 5).text()
    table = found.table().splitlines()
    assert len(table) == 6 and "missed" in table[1] and "slipped" in table[2] and "success" in table[5]


def test_nothing_evaluated_is_nothing_known():
    empty = Evaluation(())
    assert (empty.n, empty.success, empty.interval) == (0, 0.0, (0.0, 1.0))
    assert not empty.better_than(some(0, 1))
