"""Pacing: never more updates than were earned, none forgotten, and what is shown is what was made."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilserl.loop.pacing import Pacing

LENGTHS = st.lists(st.integers(1, 200), max_size=12)
UTDS = st.sampled_from([0.0, 0.125, 0.5, 1.0, 1.5, 3.0, 20.0])


@given(st.integers(0, 50), UTDS, st.lists(st.one_of(st.integers(1, 200), st.tuples(st.integers(0, 500))), max_size=20))
def test_whatever_comes_in_whatever_order_no_update_is_made_that_is_not_owed(
    first: int, utd: float, events: list[int | tuple[int]]
) -> None:
    """A number is an episode of so many steps, a tuple an attempt to make so many updates."""
    pacing, made, steps = Pacing(first, utd), 0, 0
    for event in events:
        if isinstance(event, int):
            pacing.see(event)
            steps += event
        else:
            made += min(event[0], pacing.debt(made))
        assert 0 <= made <= first + utd * steps
        assert pacing.debt(made) == math.floor(first + utd * steps) - made
    made += pacing.debt(made)
    assert pacing.debt(made) == 0 and made == math.floor(first + utd * steps)


@given(LENGTHS, UTDS, st.integers(1, 8))
def test_the_ratio_is_that_of_the_updates_that_were_made(lengths: list[int], utd: float, actor_every: int) -> None:
    pacing, made, actor = Pacing(0, utd), 0, 0
    for length in lengths:
        pacing.see(length)
        for _ in range(pacing.debt(made)):
            pacing.count(actor=made % actor_every == 0)
            actor += made % actor_every == 0
            made += 1
    steps = max(sum(lengths), 1)
    assert pacing.measured() == {"critic_per_step": made / steps, "actor_per_step": actor / steps}
    assert pacing.actor_updates == actor


@given(LENGTHS, UTDS)
def test_a_checkpoint_brings_it_back(lengths: list[int], utd: float) -> None:
    pacing = Pacing(7, utd)
    for length in lengths:
        pacing.see(length)
        pacing.count(actor=length % 2 == 0)
    again = Pacing(7, utd)
    for length in lengths:
        again.see(length)  # from the store
    again.load(pacing.state())
    assert again.state() == pacing.state() and again.measured() == pacing.measured()


def test_more_updates_than_owed_are_no_negative_debt() -> None:
    assert Pacing(3, 1.0).debt(5) == 0


@pytest.mark.parametrize("steps", [0, 10])
def test_before_the_first_step_the_ratio_is_zero(steps: int) -> None:
    pacing = Pacing(5, 1.0)
    pacing.see(steps)
    assert pacing.measured() == {"critic_per_step": 0.0, "actor_per_step": 0.0}
