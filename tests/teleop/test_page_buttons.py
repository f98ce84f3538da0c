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
    assert PageButtons(Presses(memory)).read().pressed == frozenset()
