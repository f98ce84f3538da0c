"""The coach: each rule on a stretch of episodes that calls for it, and what holds for any stretch."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.schema import Outcome, Source
from hilserl.ui.coach import RULES, Coach, CoachConfig, Stripe, advise, afterwards, stripe_of

CONFIG = CoachConfig()
GOOD = Stripe(0, True, True, 40, ((25, 33),))  # explored, was guided, finished by itself
ALONE = Stripe(0, True, True, 40, ())
LOST = Stripe(0, True, False, 80, ())
OFTEN = Stripe(0, True, True, 60, ((22, 28), (35, 41)))


def numbered(*stripes: Stripe) -> list[Stripe]:
    return [replace(s, number=i) for i, s in enumerate(stripes, 1)]


@st.composite
def stripe(draw: st.DrawFn) -> Stripe:
    steps = draw(st.integers(1, 80))
    edges = sorted(draw(st.sets(st.integers(0, steps), max_size=6)))
    takeovers = tuple(zip(edges[::2], edges[1::2], strict=False))
    operated = draw(st.booleans())
    human = sum(b - a for a, b in takeovers) if operated else 0
    still = draw(st.sampled_from((0, human)))
    return Stripe(0, operated, draw(st.booleans()), steps, takeovers if operated else (), still)


@pytest.mark.parametrize(
    ("rule", "stripes", "words"),
    [
        ("still", [GOOD, Stripe(0, True, False, 80, ((30, 64),), 34)], "Episode 2: you drove 34 steps, and no motion"),
        ("scene", [ALONE] * 14 + [LOST] * 6 + [OFTEN] * 6 + [replace(OFTEN, won=False)] * 14, "from 14 to 6 of 20"),
        ("help", [GOOD, *[LOST] * 5], "Episodes 2 to 6: it failed every time"),
        ("finish", [Stripe(0, True, True, 60, ((6, 60),))] * 5, "you drove 90% of the steps, and to the success"),
        ("explore", [Stripe(0, True, True, 60, ((3, 15), (20, 25)))] * 5, "after 3 steps. Let it try for 20 to 30"),
        ("long", [Stripe(0, True, True, 80, ((22, 70),)), ALONE] * 5, "your take-overs last 48 steps"),
        ("hold-off", [ALONE, GOOD, ALONE] * 7, "alone it succeeded in 13 of 13"),
    ],
)
def test_a_rule_speaks_when_it_has_to(rule: str, stripes: list[Stripe], words: str) -> None:
    hints = {h.rule: h for h in advise(numbered(*stripes), CONFIG, best="000009")}
    assert words in hints[rule].text


def test_every_rule_has_such_an_example() -> None:
    (mark,) = test_a_rule_speaks_when_it_has_to.pytestmark  # type: ignore[attr-defined]
    assert len({rule for rule, _, _ in mark.args[1]}) == len(RULES)


@pytest.mark.parametrize("stripes", [[], [GOOD], [GOOD] * 8, [OFTEN] * 8, [ALONE] * 40, [LOST, GOOD, OFTEN] * 3])
def test_who_helps_well_hears_nothing(stripes: list[Stripe]) -> None:
    assert advise(numbered(*stripes), CONFIG) == []


def test_a_checkpoint_to_go_back_to_is_named() -> None:
    stripes = numbered(*[ALONE] * 20, *[replace(OFTEN, won=False)] * 20)
    assert "go back to checkpoint 000009: --rollback=best" in advise(stripes, CONFIG, best="000009")[0].text
    assert "--rollback" not in advise(stripes, CONFIG)[0].text


@settings(deadline=None)
@given(st.lists(stripe(), max_size=60))
def test_a_hint_speaks_of_episodes_that_there_are_and_each_rule_once(found: list[Stripe]) -> None:
    hints = advise(numbered(*found), CONFIG)
    assert len({h.rule for h in hints}) == len(hints)
    assert all(1 <= h.first <= h.last == len(found) or h.rule in ("finish", "explore", "long", "help") for h in hints)
    assert all(1 <= h.first <= h.last <= len(found) and h.text.endswith(".") for h in hints)


@settings(deadline=None)
@given(st.lists(stripe(), max_size=60), st.lists(stripe(), min_size=40, max_size=60))
def test_what_was_long_ago_does_not_matter(old: list[Stripe], recent: list[Stripe]) -> None:
    after = [replace(s, number=i) for i, s in enumerate(recent, 1 + len(old))]
    assert advise([*numbered(*old), *after], CONFIG) == advise(after, CONFIG)


@settings(deadline=None)
@given(st.lists(stripe(), min_size=1, max_size=60))
def test_without_help_nothing_is_said_about_how_to_help(found: list[Stripe]) -> None:
    untouched = numbered(*(replace(s, takeovers=(), still_steps=0) for s in found))
    assert {h.rule for h in advise(untouched, CONFIG)} <= {"scene", "help"}


@settings(deadline=None)
@given(st.lists(stripe(), max_size=60))
def test_the_coach_says_a_hint_again_only_after_a_while(found: list[Stripe]) -> None:
    coach, said = Coach(CONFIG), dict[str, int]()
    for s in numbered(*found):
        holds, new = coach.see(s)
        assert set(new) <= set(holds)
        for hint in holds:
            assert (hint in new) == (hint.rule not in said or s.number - said[hint.rule] >= CONFIG.repeat_after)
        said |= {h.rule: s.number for h in new}


def test_a_stripe_says_who_acted_and_what_was_recorded_of_it(made: ModuleType) -> None:
    episode = made.episode(made.task(cameras=0), 0, 8, kind="online", outcome=Outcome.TIMEOUT)
    source, executed = np.full(8, Source.POLICY, np.uint8), np.zeros((8, 4), np.float32)
    source[2:5] = source[6:] = Source.HUMAN
    executed[3, 0], executed[6, 3], executed[7, 3] = 0.5, 1.0, 1.0  # moves; opens; holds it open
    found = stripe_of(replace(episode, source=source, executed=executed), 7)
    assert found == Stripe(7, True, False, 8, ((2, 5), (6, 8)), still_steps=3)
    assert found.human_steps == 5
    assert not stripe_of(made.episode(made.task(cameras=0), 0, 8, kind="check"), 1).operated


def test_what_came_of_a_hint() -> None:
    stripes = numbered(*[LOST] * 6, *[GOOD] * 4, replace(ALONE, operated=False))
    (row,) = afterwards([{"rule": "help", "text": "...", "last": 6}], stripes, episodes=5)
    assert row["before"] == (0, 0.0, 5) and row["after"] == (4, 0.2, 4)
