"""What a detector does in whole episodes, counted as a person would: an event is a run of frames. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

EARLY_FRAMES = 1  # the detector may fire this long before the mark: a person reacts late


@dataclass(frozen=True)
class Trace:
    """One episode as the detector saw it, and as the person marked it."""

    probability: np.ndarray  # float64 [T]
    mark: np.ndarray  # bool [T]
    unsure: np.ndarray  # bool [T], frames on which firing is neither right nor wrong

    @staticmethod
    def plain(probability: np.ndarray, mark: np.ndarray) -> Trace:
        """A trace of which every frame is sure."""
        return Trace(np.asarray(probability, np.float64), mark, np.zeros(len(mark), bool))


@dataclass(frozen=True)
class EventScores:
    """What the detector does in whole episodes."""

    episodes: int
    false_successes: int  # runs of frames on which it fires although the mark is off
    successes: int  # runs of marked frames
    missed: int  # marked runs on which it never fires
    delays_frames: tuple[int, ...]  # first firing after the start of the mark, for each one it caught

    @property
    def false_per_episode(self) -> float:
        """False successes per episode."""
        return self.false_successes / max(1, self.episodes)

    @staticmethod
    def total(parts: Iterable[EventScores]) -> EventScores:
        """Add up."""
        parts = list(parts)
        return EventScores(
            episodes=sum(p.episodes for p in parts),
            false_successes=sum(p.false_successes for p in parts),
            successes=sum(p.successes for p in parts),
            missed=sum(p.missed for p in parts),
            delays_frames=tuple(d for p in parts for d in p.delays_frames),
        )


def fires(probability: np.ndarray, threshold: float, hold: int, window: int = 0) -> np.ndarray:
    """Frames on which the detector says success, bool [T]: `hold` of the last `window` reach the threshold."""
    return window_score(np.asarray(probability, np.float64), hold, window) >= threshold


def score(traces: Sequence[Trace], threshold: float, hold: int, window: int = 0) -> EventScores:
    """Run the detector over whole episodes and count events; a marked run of which no frame is sure is none."""
    parts = []
    for trace in traces:
        fired = fires(trace.probability, threshold, hold, window)
        false = len(runs(fired & ~allowed(trace, hold, window)))
        delays = []
        marked = sure_runs(trace)
        for start, end in marked:
            early = early_start(trace, start)
            hits = np.flatnonzero(fired[early:end])
            delays += [int(early + hits[0] - start)] if len(hits) else []
        parts.append(EventScores(1, false, len(marked), len(marked) - len(delays), tuple(delays)))
    return EventScores.total(parts)


def window_score(p: np.ndarray, hold: int, window: int = 0) -> np.ndarray:
    """The `hold`-th highest of the last `window` values, -1 while there are too few: an episode starts with none."""
    if not len(p):
        return np.empty(0)
    window = max(hold, window)
    padded = np.concatenate((np.full(window - 1, -1.0), p))
    views = np.lib.stride_tricks.sliding_window_view(padded, window)
    return np.partition(views, window - hold, axis=1)[:, window - hold]


def allowed(trace: Trace, hold: int, window: int = 0) -> np.ndarray:
    """Frames on which firing is right, or nobody can say: marked, unsure, or just before a mark.

    A window still holds the last marked frames for a while after a mark.
    """
    mark = trace.mark
    right = mark | trace.unsure
    out = right.copy()
    for ahead in range(1, EARLY_FRAMES + 1):
        out[:-ahead] |= mark[ahead:]
    for behind in range(1, max(hold, window) - hold + 1):
        out[behind:] |= right[:-behind]
    return out


def early_start(trace: Trace, start: int) -> int:
    """First frame on which firing counts for the run that starts at `start`; never inside an earlier run."""
    early = start
    while early > 0 and not trace.mark[early - 1] and (trace.unsure[early - 1] or start - early < EARLY_FRAMES):
        early -= 1
    return early


def sure_runs(trace: Trace) -> list[tuple[int, int]]:
    """Half-open [start, end) runs of marked frames of which at least one is sure."""
    return [(start, end) for start, end in runs(trace.mark) if not trace.unsure[start:end].all()]


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Half-open [start, end) runs of True."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))
