"""Success labels as half-open intervals [a, b) of frames: sorted, disjoint, and touching ones are one.

An episode of T steps has the frames 0..T, so an interval that reaches the last frame ends at T + 1.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from data.errors import UserError

type Intervals = tuple[tuple[int, int], ...]


def normalised(intervals: Iterable[tuple[int, int]]) -> Intervals:
    """Sort and merge; empty intervals vanish.

    Raises:
        ValueError: an interval begins before frame 0 or ends before it begins.
    """
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(intervals):
        if not 0 <= start <= stop:
            raise ValueError(f"[{start}, {stop}) is no interval of frames; accepted is 0 <= start <= stop")
        if start == stop:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return tuple(merged)


def from_mask(mask: np.ndarray) -> Intervals:
    """Return where a bool [T+1] mask is true."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))


def to_mask(intervals: Intervals, frames: int) -> np.ndarray:
    """Return bool [frames], true inside the intervals.

    Raises:
        ValueError: an interval ends after the last frame.
    """
    mask = np.zeros(frames, bool)
    for start, stop in normalised(intervals):
        if stop > frames:
            raise ValueError(f"[{start}, {stop}) leaves the episode, which has the frames 0 to {frames - 1}")
        mask[start:stop] = True
    return mask


def add(intervals: Intervals, start: int, stop: int) -> Intervals:
    """Return the labels with [start, stop) labelled, too."""
    return normalised([*intervals, (start, stop)])


def remove(intervals: Intervals, start: int, stop: int) -> Intervals:
    """Return the labels without [start, stop); an interval around it becomes two."""
    normalised([(start, stop)])  # refuses what is no interval
    parts = [part for a, b in intervals for part in ((a, min(b, start)), (max(a, stop), b))]
    return normalised((a, b) for a, b in parts if a < b)


def parse(text: str) -> Intervals:
    """Read "40:60,75:81" as people type it; an empty text means no label at all.

    Raises:
        UserError: the text is no list of intervals.
    """
    try:
        return normalised((int(a), int(b)) for a, b in (part.split(":") for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise UserError(
            f"{text!r} is no list of frames: {error}.\nAccepted is first:end,first:end with the end not included, "
            "e.g. 40:60,75:81. `hilserl data show` draws the frame numbers of an episode."
        ) from None
