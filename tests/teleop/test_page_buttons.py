"""Presses on the page: each counts once, late ones never, except STOP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleop import page_buttons
from teleop.inputs import Button
from teleop.page_buttons import MAX_AGE_S, SIZE, PageButtons, Presses


@given(st.lists(st.dictionaries(st.sampled_from(list(Button)), st.floats(0, 2)), max_size=8))
def test_each_fresh_press_counts_once_and_stop_always(ticks: list[dict[Button, float]]) -> None:
    memory, now_s = memoryview(bytearray(SIZE)), 1024.0
    page, actor = Presses(memory), PageButtons(Presses(memory))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_buttons.time, "monotonic", lambda: now_s)
        for ages_s in ticks:
            now_s += 16.0  # no two presses at the same instant
            for button, age_s in ages_s.items():
                page.give(button, now_s - age_s)
            state = actor.read()
            fresh = {b for b, age_s in ages_s.items() if now_s - (now_s - age_s) <= MAX_AGE_S}
            assert state.pressed == fresh | (ages_s.keys() & {Button.STOP})
            assert state.connected and not state.deadman and not state.move.any()
            assert actor.read().pressed == frozenset()


def test_what_was_pressed_before_the_session_is_no_press_in_it() -> None:
    memory = memoryview(bytearray(SIZE))
    Presses(memory).give(Button.START, 5.0)
    Presses(memory).ask_threshold(0.5, 5.0)
    state = PageButtons(Presses(memory)).read()
    assert state.pressed == frozenset() and state.threshold is None


@pytest.mark.parametrize(("age_s", "counts"), [(0.0, True), (MAX_AGE_S, True), (MAX_AGE_S + 0.01, False)])
def test_a_threshold_that_was_asked_for_counts_once_and_not_late(age_s: float, counts: bool) -> None:
    memory, now_s = memoryview(bytearray(SIZE)), 1024.0
    actor = PageButtons(Presses(memory))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_buttons.time, "monotonic", lambda: now_s)
        Presses(memory).ask_threshold(0.875, now_s - age_s)
        assert actor.read().threshold == (0.875 if counts else None)
        assert actor.read().threshold is None
