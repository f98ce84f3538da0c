"""Choose threshold and hold count on held-out episodes, and say how good the choice is. NumPy only.

A false success ends an episode with reward 1 for nothing and teaches the policy to repeat it; a missed
success only costs a time-out. So false successes are ruled out first, and misses are minimised second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.errors import UserError

MAX_HOLD = 3  # frames in a row; 0.3 s at 10 Hz
EARLY_FRAMES = 1  # the detector may fire this long before the mark: a person reacts late
FLOOR = 0.5  # not below it while that misses nothing more: there the model itself says "no success"


class CannotCalibrate(UserError, ValueError):
    """No threshold detects any success without a false one."""


@dataclass(frozen=True)
class Calibration:
    """When the detector fires: `hold` frames in a row at `threshold` or above."""

    threshold: float
    hold: int
    margin_logit: float  # distance from the highest negative run to the lowest detected positive run


@dataclass(frozen=True)
class EventScores:
    """What the detector does in whole episodes; an event is a run of frames."""

    episodes: int
    false_successes: int  # runs of frames on which it fires although the mark is off
    successes: int  # runs of marked frames
    missed: int  # marked runs on which it never fires
    delays_frames: tuple[int, ...]  # first firing after the start of the mark, for each one it caught

    @property
    def false_per_episode(self) -> float:
        """False successes per episode."""
        return self.false_successes / max(1, self.episodes)


def fires(probability: np.ndarray, threshold: float, hold: int) -> np.ndarray:
    """Frames on which the detector says success, bool [T]: `hold` frames in a row reach the threshold."""
    return _window_min(np.asarray(probability, np.float64), hold) >= threshold


def calibrate(
    probabilities: Sequence[np.ndarray], marks: Sequence[np.ndarray], max_hold: int = MAX_HOLD
) -> Calibration:
    """Choose hold count and threshold so that no episode has a false success and the fewest are missed.

    The lowest threshold that does so is just above the highest negative run; for a margin it is moved
    midway (in logits) to the lowest positive run it detects, and to `FLOOR` where that misses nothing more.
    Ties go to the longer hold, which ignores single odd frames.

    Args:
        probabilities: float [T_i] per held-out episode.
        marks: bool [T_i] per held-out episode, the operator's success marks.
        max_hold: largest number of consecutive frames to ask for.

    Raises:
        CannotCalibrate: a negative run scores at least as high as every positive one; names the worst frame.
    """
    best: tuple[tuple[int, int], Calibration] | None = None
    for hold in range(1, max_hold + 1):
        negative, positives = _extremes(probabilities, marks, hold)
        caught = [p for p in positives if p > negative]
        if not caught:
            continue
        lowest = min(caught)
        gap = _logit(lowest) - _logit(negative)
        middle = 1.0 / (1.0 + np.exp(-(_logit(lowest) - gap / 2)))
        wanted = max(middle, FLOOR) if lowest > FLOOR else middle
        # rounding must not move it out of (negative, lowest]
        threshold = float(np.clip(wanted, np.nextafter(negative, 2.0), lowest))
        rank = (len(positives) - len(caught), -hold)
        if best is None or rank < best[0]:
            best = rank, Calibration(threshold, hold, float(gap))
    if best is None:
        episode, frame, p = hardest_negative(probabilities, marks)
        raise CannotCalibrate(
            f"no threshold detects a success without a false one: held-out episode {episode}, frame {frame} "
            f"has p(success) {p:.3f} but is not marked, and no marked run scores higher. Record "
            "more episodes that show what makes the difference: hilserl record --purpose=classifier"
        )
    return best[1]


def evaluate(
    probabilities: Sequence[np.ndarray], marks: Sequence[np.ndarray], threshold: float, hold: int
) -> EventScores:
    """Run the detector over whole episodes and count events."""
    false, successes, missed, delays = 0, 0, 0, []
    for p, mark in zip(probabilities, marks, strict=True):
        fired = fires(p, threshold, hold)
        false += len(_runs(fired & ~_allowed(mark)))
        for start, end in _runs(mark):
            successes += 1
            early = _early_start(mark, start)
            hits = np.flatnonzero(fired[early:end])
            if len(hits):
                delays.append(int(early + hits[0] - start))
            else:
                missed += 1
    return EventScores(len(marks), false, successes, missed, tuple(delays))


def leave_one_out(
    probabilities: Sequence[np.ndarray], marks: Sequence[np.ndarray], max_hold: int = MAX_HOLD
) -> EventScores | None:
    """Calibrate without each held-out episode in turn and judge on it.

    The calibration's own false successes are zero by construction; these are not. None when fewer
    than two held-out episodes have a success. Where the others cannot be calibrated, the detector is taken
    to be silent.
    """
    if sum(bool(m.any()) for m in marks) < 2:
        return None
    parts = []
    for i in range(len(marks)):
        others = [j for j in range(len(marks)) if j != i]
        try:
            chosen = calibrate([probabilities[j] for j in others], [marks[j] for j in others], max_hold)
            rule = chosen.threshold, chosen.hold
        except CannotCalibrate:
            rule = np.inf, 1
        parts.append(evaluate([probabilities[i]], [marks[i]], *rule))
    return EventScores(
        episodes=len(parts),
        false_successes=sum(p.false_successes for p in parts),
        successes=sum(p.successes for p in parts),
        missed=sum(p.missed for p in parts),
        delays_frames=tuple(d for p in parts for d in p.delays_frames),
    )


def auc(probability: np.ndarray, mark: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a marked frame outscores an unmarked one, or NaN."""
    positive, negative = probability[mark], np.sort(probability[~mark])
    if not len(positive) or not len(negative):
        return float("nan")
    below, not_above = (np.searchsorted(negative, positive, side=s) for s in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(negative))


def hardest_negative(probabilities: Sequence[np.ndarray], marks: Sequence[np.ndarray]) -> tuple[int, int, float]:
    """Return (episode, frame, p) of the highest frame where firing would be false; p is -1 without one."""
    worst = (0, 0, -1.0)
    for i, (p, mark) in enumerate(zip(probabilities, marks, strict=True)):
        masked = np.where(_allowed(mark), -1.0, p)
        frame = int(masked.argmax())
        if masked[frame] > worst[2]:
            worst = i, frame, float(masked[frame])
    return worst


def _extremes(probabilities: Sequence[np.ndarray], marks: Sequence[np.ndarray], hold: int) -> tuple[float, list[float]]:
    """Highest score on which firing is false (0 without any), and the highest score of each marked run."""
    negative, positives = 0.0, []
    for p, mark in zip(probabilities, marks, strict=True):
        score = _window_min(np.asarray(p, np.float64), hold)
        negative = max(negative, score[~_allowed(mark)].max(initial=0.0))
        positives += [float(score[_early_start(mark, s) : e].max()) for s, e in _runs(mark)]
    return float(negative), positives


def _window_min(p: np.ndarray, hold: int) -> np.ndarray:
    """Lowest of the last `hold` values, -1 while there are fewer: an episode starts with none held."""
    out = np.full(len(p), -1.0)
    if len(p) >= hold:
        out[hold - 1 :] = np.lib.stride_tricks.sliding_window_view(p, hold).min(axis=1)
    return out


def _allowed(mark: np.ndarray) -> np.ndarray:
    """Frames on which firing is right: marked, or at most `EARLY_FRAMES` before a mark."""
    allowed = mark.copy()
    for ahead in range(1, EARLY_FRAMES + 1):
        allowed[:-ahead] |= mark[ahead:]
    return allowed


def _early_start(mark: np.ndarray, start: int) -> int:
    """First frame on which firing counts for the run that starts at `start`; never inside an earlier run."""
    early = start
    while early > max(0, start - EARLY_FRAMES) and not mark[early - 1]:
        early -= 1
    return early


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Half-open [start, end) runs of True."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def _logit(p: float) -> float:
    p = float(np.clip(p, 1e-12, 1 - 1e-12))
    return float(np.log(p / (1 - p)))
