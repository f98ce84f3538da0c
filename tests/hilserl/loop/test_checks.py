"""Checks: when they are due, which episodes count, which policy is the best one, and when it got worse."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.schema import Episode, Outcome, Source
from hilserl.loop.checks import CHECK, START, Check, Checks, settled, stops
from hilserl.loop.link import LearnerStatus

SIZE = 4  # episodes of a check, here


@pytest.fixture(scope="module")
def episode(made: ModuleType):
    """A factory of untouched episodes of one version."""
    task = made.task(cameras=0)

    def make(kind: str, version: int = 0, won: bool = True, steps: int = 5, **meta) -> Episode:
        outcome = Outcome.SUCCESS if won else Outcome.TIMEOUT
        found = made.episode(task, 0, steps, **({"kind": kind, "outcome": outcome} | meta))
        source, versions = np.full(steps, Source.POLICY, np.uint8), np.full(steps, version)
        return replace(found, source=source, policy_version=versions)

    return make


def checked(episode, *blocks: tuple[int, int], every: int = 2) -> Checks:
    """Checks of (version, wins out of SIZE) one after the other; version 0 is the baseline."""
    checks = Checks(every, SIZE)
    for version, wins in blocks:
        for i in range(SIZE):
            checks.add(episode(CHECK if version else "baseline", version, won=i < wins))
    return checks


# when


@given(st.integers(0, 200), st.integers(0, 60), st.integers(1, 20))
def test_the_stops_end_with_the_run_and_lie_a_stretch_apart(episodes: int, every: int, size: int) -> None:
    found = stops(episodes, every, size)
    assert found[-1].online == episodes
    assert all(a.online < b.online and a.checks <= b.checks for a, b in pairwise(found))
    assert found[-1].checks == (episodes // every * size if every else 0)
    assert all(s.checks == s.online // every * size for s in found if every)


def test_a_session_of_a_hundred_episodes_is_checked_two_to_four_times() -> None:
    from hilserl.loop.learner import LearnerConfig

    config = LearnerConfig()
    blocks = {s.checks for s in stops(100 - config.baseline_episodes, config.check_every, config.check_episodes)} - {0}
    assert 2 <= len(blocks) <= 4


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 30))
def test_actor_and_learner_agree_on_when_a_check_is_due(episode, every: int, size: int, episodes: int) -> None:
    checks, online, done = Checks(every, size), 0, 0
    for stop in stops(episodes, every, size):
        while online < stop.online:
            assert not checks.due
            checks.add(episode("online", 7))
            online += 1
        while done < stop.checks:
            assert checks.due
            checks.add(episode(CHECK, 7))
            done += 1
    assert not checks.due


def test_aborted_episodes_and_no_schedule_make_nothing_due(episode) -> None:
    checks, never = Checks(1, 1), Checks(0, 1)
    for c in (checks, never):
        c.add(episode("online", outcome=Outcome.ABORTED))
        assert not c.due
        c.add(episode("online"))
    assert checks.due and not never.due
    checks.add(episode(CHECK, outcome=Outcome.ABORTED))
    assert checks.due


STATUS = LearnerStatus("training", updates=40, debt=0, episodes=9, version=40)


@pytest.mark.parametrize(
    ("change", "ready"),
    [({}, True), ({"debt": 1}, False), ({"version": 30}, False), ({"episodes": 8}, False), ({"episodes": 10}, True)],
)
def test_a_check_waits_until_the_learner_rests(change: dict[str, int], ready: bool) -> None:
    assert settled(replace(STATUS, **change), episodes=9) == ready


# what counts


def test_only_whole_untouched_episodes_of_one_version_count(episode) -> None:
    checks = checked(episode, (7, 3))
    helped = episode(CHECK, 7)
    helped.source[2] = Source.HUMAN
    mixed = episode(CHECK, 7)
    mixed.policy_version[2:] = 8
    for other in (helped, mixed, episode("online", 7), episode("demo", 7), episode(CHECK, 7, outcome=Outcome.ABORTED)):
        checks.add(other)
    assert checks.by_version == {7: Check(7, wins=3, n=4, win_steps=15)}


def test_a_pause_does_not_spoil_a_check(episode) -> None:
    paused = episode(CHECK, 7)
    paused.source[1], paused.policy_version[1] = Source.HOLD, -1
    checks = Checks(1, 1)
    checks.add(paused)
    assert checks.by_version[7].n == 1


def test_a_block_counts_when_it_is_whole_and_the_baseline_at_once(episode) -> None:
    checks = Checks(2, SIZE)
    assert checks.newest is None and checks.best is None and checks.alarm() == ""
    checks.add(episode("baseline", START))
    assert checks.best == checks.newest == Check(START, 1, 1, 5)
    for _ in range(SIZE - 1):
        checks.add(episode(CHECK, 7))
        assert checks.newest is not None and checks.newest.version == START
    checks.add(episode(CHECK, 7))
    assert checks.newest is not None and checks.newest.version == 7


# better and worse


def test_the_best_is_the_most_certain_then_the_fastest_then_the_oldest(episode) -> None:
    assert checked(episode, (0, 2), (7, 4), (8, 3)).best == Check(7, 4, 4, 20)
    assert Check(8, 4, 4, 19).better_than(Check(7, 4, 4, 20)) and not Check(8, 4, 4, 20).better_than(Check(7, 4, 4, 20))
    assert not Check(8, 5, 5, 25).better_than(Check(7, 18, 20, 90)), "five in a row may be luck"
    assert Check(8, 10, 10, 50).better_than(Check(7, 18, 20, 90))
    assert not Check(8, 0, 4).better_than(Check(7, 0, 4))


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(1, 10), st.integers(1, 80)), min_size=2, max_size=6))
def test_better_is_an_order(results: list[tuple[int, int, int]]) -> None:
    found = [Check(i, min(w, n), n, min(w, n) * s) for i, (w, n, s) in enumerate(results)]
    for a in found:
        assert not a.better_than(a)
        for b in found:
            assert not (a.better_than(b) and b.better_than(a))
            for c in found:
                assert not (a.better_than(b) and b.better_than(c)) or a.better_than(c)


@pytest.mark.parametrize(("wins", "alarm"), [(10, False), (5, False), (4, True), (0, True)])
def test_the_alarm_goes_off_when_the_intervals_do_not_touch(wins: int, alarm: bool) -> None:
    checks = Checks(2, SIZE)
    checks.by_version = {7: Check(7, 10, 10, 50), 8: Check(8, wins, 10, 5 * wins)}
    assert bool(checks.alarm()) == alarm
    if alarm:
        assert checks.alarm().startswith(f"success fell: {wins} of 10 untouched (")
        assert "10 of 10 untouched (72 to 100 %) at 7 updates" in checks.alarm()
        checks.restored_at = 9  # rolled back since
        assert checks.alarm() == ""
        checks.by_version[11] = Check(11, wins, 10, 5 * wins)
        assert checks.alarm()
