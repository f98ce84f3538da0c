"""Success labels stay sorted and disjoint, and say the same as a mask."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import labels
from data.errors import UserError

FRAMES = 20
INTERVAL = st.tuples(st.integers(0, FRAMES), st.integers(0, FRAMES)).map(lambda ab: (min(ab), max(ab)))
EDITS = st.lists(st.tuples(st.booleans(), INTERVAL), max_size=12)


@settings(deadline=None)
@given(EDITS)
def test_labels_stay_sorted_and_disjoint_through_edits(edits: list[tuple[bool, tuple[int, int]]]) -> None:
    intervals: labels.Intervals = ()
    mask = np.zeros(FRAMES, bool)
    for adds, (start, stop) in edits:
        intervals = (labels.add if adds else labels.remove)(intervals, start, stop)
        mask[start:stop] = adds
        edges = [edge for interval in intervals for edge in interval]
        assert all(a < b for a, b in pairwise(edges))  # sorted, none empty, none touching
        assert np.array_equal(labels.to_mask(intervals, FRAMES), mask)


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=FRAMES))
def test_mask_and_intervals_say_the_same(mask: list[bool]) -> None:
    intervals = labels.from_mask(np.array(mask, bool))
    assert labels.to_mask(intervals, len(mask)).tolist() == mask
    assert labels.normalised(intervals) == intervals


@settings(deadline=None)
@given(st.lists(INTERVAL, max_size=8))
def test_what_is_written_is_what_is_read(intervals: list[tuple[int, int]]) -> None:
    text = ",".join(f"{a}:{b}" for a, b in intervals)
    assert labels.parse(text) == labels.normalised(intervals)


@pytest.mark.parametrize("text", ["5", "5:3", "a:b", "1:2:3", "-1:4", "1-4"])
def test_what_is_no_interval_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match="40:60,75:81"):
        labels.parse(text)


def test_labels_outside_the_episode_are_refused() -> None:
    assert labels.to_mask(((3, 5),), 5).tolist() == [False] * 3 + [True] * 2
    with pytest.raises(ValueError, match="frames 0 to 3"):
        labels.to_mask(((3, 5),), 4)
    with pytest.raises(ValueError, match="no interval"):
        labels.remove((), 4, 2)
