"""What was, a little while ago."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_pretrain.world.past import Past


@given(
    steps=st.lists(st.floats(0.001, 0.05), min_size=1, max_size=40),
    span_s=st.floats(0.01, 0.2),
    share=st.floats(0.0, 1.0),
)
def test_within_its_span_it_tells_what_was(steps, span_s, share):
    past, times = Past(span_s), np.cumsum(steps)
    for time_s in times:
        past.note(time_s, np.array([3 * time_s, 1 - time_s]))
    asked_s = times[-1] - share * span_s
    known_s = max(asked_s, times[0])  # before the first moment, that one
    np.testing.assert_allclose(past.at(asked_s), [3 * known_s, 1 - known_s], atol=1e-9)
    assert len(past) <= span_s / 0.001 + 3


def test_it_forgets_what_is_older_than_its_span():
    past = Past(0.05)
    for k in range(1000):
        past.note(0.01 * k, np.zeros(1))
    assert len(past) <= 7


def test_after_a_change_by_hand_the_past_starts_anew():
    past = Past(0.1)
    past.note(0.0, np.zeros(1))
    past.forget()
    past.note(0.02, np.ones(1))
    np.testing.assert_array_equal(past.at(0.0), [1.0])
    past.forget()
    with pytest.raises(IndexError):
        past.at(0.0)


def test_without_a_span_nothing_is_kept():
    past = Past(0.0)
    past.note(0.0, np.zeros(1))
    assert len(past) == 0
