"""The fixed series of start poses."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hilserl.loop.starts import halton, series_start
from hilserl.tasks import lift_task

TASK = lift_task()


@given(st.integers(0, 10_000))
def test_every_start_lies_in_the_box_and_is_always_the_same(number: int) -> None:
    start_m = series_start(TASK, number)
    assert (start_m >= TASK.start_low_m).all() and (start_m <= TASK.start_high_m).all()
    np.testing.assert_array_equal(start_m, series_start(TASK, number))


def test_the_first_points_are_those_of_the_literature() -> None:
    np.testing.assert_allclose(halton(0, 3), [1 / 2, 1 / 3, 1 / 5])
    np.testing.assert_allclose(halton(4, 3), [5 / 8, 7 / 9, 1 / 25])


def test_a_series_fills_the_box_evenly() -> None:
    points = np.array([halton(n, 3) for n in range(48)])
    counts, _ = np.histogramdd(points, bins=2, range=[(0, 1)] * 3)
    assert counts.min() >= 4 and counts.max() <= 8
