"""Start poses that fill a box evenly, the same in every session: what two policies can be compared from."""

from __future__ import annotations

import numpy as np

from data.spec import TaskSpec

PRIMES = (2, 3, 5)


def halton(number: int, dimensions: int) -> np.ndarray:
    """Return the `number`-th point, from 0, of a sequence that fills the unit cube evenly, float64 [dimensions].

    Halton (1960), On the efficiency of certain quasi-random sequences; 3 dimensions at most.
    """
    return np.array([_mirrored(number + 1, base) for base in PRIMES[:dimensions]])


def series_start(task: TaskSpec, number: int) -> np.ndarray:
    """Return the start position [3] [m] of the end effector for the `number`-th episode of the series."""
    low, high = np.array(task.start_low_m), np.array(task.start_high_m)
    start_m: np.ndarray = low + halton(number, 3) * (high - low)
    return start_m


def _mirrored(number: int, base: int) -> float:
    """Return the digits of `number` mirrored at the point: 0.5, 0.25, 0.75, 0.125 in base 2."""
    share, digit = 0.0, 1.0 / base
    while number:
        number, rest = divmod(number, base)
        share, digit = share + rest * digit, digit / base
    return share
