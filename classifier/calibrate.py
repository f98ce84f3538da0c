"""Choose temperature, threshold and hold count on held-out episodes, and say how good the choice is. NumPy only.

A false success ends an episode with reward 1 for nothing and teaches the policy to repeat it; a missed
success only costs a time-out. So false successes are ruled out first, and misses are minimised second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from classifier.events import EventScores, Trace, allowed, early_start, score, sure_runs, window_score
from data.errors import UserError

WINDOWS = ((1, 1), (2, 2), (3, 3), (3, 4))  # N of M frames; 3 of 4 forgives one odd frame, 0.4 s at 10 Hz
FLOOR = 0.5  # not below it while that misses nothing more: there the model itself says "no success"
GATE_MARGIN = 0.25  # a gate is wider than the marked frames by this share of their span ...
GATE_SHARE = 0.1  # ... but at least by this share of the span of all frames


class CannotCalibrate(UserError, ValueError):
    """No threshold detects any success without a false one."""


@dataclass(frozen=True)
class Gate:
    """A frame counts as success only while this number of the state vector is within [low, high]."""

    name: str  # FIELD.INDEX
    index: int  # into the state vector [D]
    low: float
    high: float

    def open(self, state: np.ndarray) -> np.ndarray:
        """Return where a state [..., D] is inside."""
        return (state[..., self.index] >= self.low) & (state[..., self.index] <= self.high)


@dataclass(frozen=True)
class Calibration:
    """When the detector fires: `hold` of the last `window` frames at `threshold` or above."""

    threshold: float
    hold: int
    margin_logit: float  # distance from the highest negative run to the lowest detected positive run
    window: int = 0  # 0: as long as `hold`
    temperature: float = 1.0  # the logits are divided by it
    gates: tuple[Gate, ...] = ()
    after: int = 0  # stages that have to be passed before it counts

    @property
    def frames(self) -> int:
        """Length of the window."""
        return max(self.hold, self.window)

    def probability(self, logits: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Return p(success) [...] for logits [...] and states [..., D]; 0 where a gate is shut."""
        with np.errstate(over="ignore"):
            p = 1.0 / (1.0 + np.exp(-np.asarray(logits, np.float64) / self.temperature))
        for gate in self.gates:
            p = np.where(gate.open(state), p, 0.0)
        return p


def fit_temperature(logits: np.ndarray, mark: np.ndarray) -> float:
    """Return the divisor of held-out logits [N] that makes them least surprised by the marks [N], in [0.05, 20].

    Marked and unmarked frames weigh the same, as in training. (Guo et al. 2017, On Calibration of Modern Neural
    Networks.)
    """
    sign, weight = np.where(mark, 1.0, -1.0), np.where(mark, 0.5 / max(1, mark.sum()), 0.5 / max(1, (~mark).sum()))
    candidates = np.geomspace(0.05, 20.0, 241)
    return float(min(candidates, key=lambda t: float((weight * np.logaddexp(0.0, -sign * logits / t)).sum())))


def fit_gate(name: str, index: int, state: np.ndarray, mark: np.ndarray) -> Gate:
    """Return the range in which the marked frames [N] of the states [N, D] lie, a little wider."""
    values, marked = state[:, index], state[mark, index]
    low, high = float(marked.min()), float(marked.max())
    margin = max(GATE_MARGIN * (high - low), GATE_SHARE * float(np.ptp(values)))
    return Gate(name, index, low - margin, high + margin)


def calibrate(traces: Sequence[Trace], windows: Sequence[tuple[int, int]] = WINDOWS) -> Calibration:
    """Choose hold count and threshold so that no episode has a false success and the fewest are missed.

    The lowest threshold that does so is just above the highest negative run; for a margin it is moved
    midway (in logits) to the lowest positive run it detects, and to `FLOOR` where that misses nothing more.
    Ties go to the longer hold, which ignores single odd frames.

    Args:
        traces: p(success) and marks of held-out episodes.
        windows: the (hold, window) to choose from.

    Raises:
        CannotCalibrate: a negative run scores at least as high as every positive one; names the worst frame.
    """
    best: tuple[tuple[int, int, int], Calibration] | None = None
    for hold, window in windows:
        negative, positives = extremes(traces, hold, window)
        caught = [p for p in positives if p > negative]
        if not caught:
            continue
        lowest = min(caught)
        gap = _logit(lowest) - _logit(negative)
        middle = 1.0 / (1.0 + np.exp(-(_logit(lowest) - gap / 2)))
        wanted = max(middle, FLOOR) if lowest > FLOOR else middle
        # rounding must not move it out of (negative, lowest]
        threshold = float(np.clip(wanted, np.nextafter(negative, 2.0), lowest))
        rank = (len(positives) - len(caught), -hold, window)
        if best is None or rank < best[0]:
            best = rank, Calibration(threshold, hold, float(gap), window)
    if best is None:
        episode, frame, p = hardest_negative(traces)
        raise CannotCalibrate(
            f"no threshold detects a success without a false one: held-out episode {episode}, frame {frame} "
            f"has p(success) {p:.3f} but is not marked, and no marked run scores higher. Record "
            "more episodes that show what makes the difference: hilserl record --purpose=classifier"
        )
    return best[1]


def leave_one_out(traces: Sequence[Trace], windows: Sequence[tuple[int, int]] = WINDOWS) -> EventScores | None:
    """Calibrate without each held-out episode in turn and judge on it.

    The calibration's own false successes are zero by construction; these are not. None when fewer
    than two held-out episodes have a success. Where the others cannot be calibrated, the detector is taken
    to be silent.
    """
    if sum(bool(t.mark.any()) for t in traces) < 2:
        return None
    parts = []
    for i in range(len(traces)):
        try:
            chosen = calibrate([t for j, t in enumerate(traces) if j != i], windows)
        except CannotCalibrate:
            chosen = Calibration(np.inf, 1, 0.0)
        parts.append(score([traces[i]], chosen.threshold, chosen.hold, chosen.frames))
    return EventScores.total(parts)


def with_rule(traces: Sequence[Trace], chosen: Calibration) -> EventScores:
    """Return what a rule does in these episodes."""
    return score(traces, chosen.threshold, chosen.hold, chosen.frames)


def auc(probability: np.ndarray, mark: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a marked frame outscores an unmarked one, or NaN."""
    positive, negative = probability[mark], np.sort(probability[~mark])
    if not len(positive) or not len(negative):
        return float("nan")
    below, not_above = (np.searchsorted(negative, positive, side=s) for s in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(negative))


def hardest_negative(traces: Sequence[Trace]) -> tuple[int, int, float]:
    """Return (episode, frame, p) of the highest frame where firing would be false; p is -1 without one."""
    worst = (0, 0, -1.0)
    for i, trace in enumerate(traces):
        masked = np.where(allowed(trace, 1), -1.0, trace.probability)
        frame = int(masked.argmax())
        if masked[frame] > worst[2]:
            worst = i, frame, float(masked[frame])
    return worst


def extremes(traces: Sequence[Trace], hold: int, window: int) -> tuple[float, list[float]]:
    """Highest score on which firing is false (0 without any), and the highest score of each marked run."""
    negative, positives = 0.0, []
    for trace in traces:
        value = window_score(trace.probability, hold, window)
        negative = max(negative, value[~allowed(trace, hold, window)].max(initial=0.0))
        positives += [float(value[early_start(trace, s) : e].max()) for s, e in sure_runs(trace)]
    return float(negative), positives


def moved(chosen: Calibration, threshold: float | None, hold: int | None, window: int | None) -> Calibration:
    """Return the rule with what a person chose instead.

    Raises:
        UserError: a threshold outside (0, 1], or a window shorter than the hold.
    """
    changed = replace(
        chosen,
        threshold=chosen.threshold if threshold is None else threshold,
        hold=chosen.hold if hold is None else hold,
        window=(chosen.frames if hold is None else hold) if window is None else window,
    )
    if not 0 < changed.threshold <= 1 or not 1 <= changed.hold <= changed.window:
        raise UserError(
            f"threshold {changed.threshold}, hold {changed.hold} of {changed.window} frames: accepted are a threshold "
            "above 0 and up to 1, and 1 <= hold <= window"
        )
    return changed


def _logit(p: float) -> float:
    p = float(np.clip(p, 1e-12, 1 - 1e-12))
    return float(np.log(p / (1 - p)))
