"""What is to be known of an episode beside its steps: what limits took away, how true the record is, what was odd."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np

from classifier.detector import Verdict
from data.schema import Source
from data.spec import TaskSpec
from hilserl.loop.env import Step
from hilserl.robot.kinematics import ee_position
from hilserl.robot.motion import MotionResult
from hilserl.robot.safety import Limit

ACTED_M = 0.03  # recorded in a second: enough to say that the arm should have moved; a leash is 0.04
FOLLOWED = 0.25  # share of it that an arm makes at least that lags, but is free
FULL = 0.999  # of a unit
LIKELY = 0.5  # the detector's p(success) from which on a failure is worth showing it


def doubt(executed: np.ndarray, achieved: np.ndarray, step_m: float) -> str:
    """Return in words what is odd about a second of a person's actions [N, 4] as recorded and as achieved, or ""."""
    recorded, still = executed[:, :3], not (np.ptp(executed[:, 3]) > 0)
    made_m = achieved[:, :3].sum(0) * step_m
    asked_m = recorded.sum(0) * step_m
    if not recorded.any():
        if np.linalg.norm(made_m) > ACTED_M:
            return "the arm moves, and no motion is recorded: end the episode and check the input device"
        return "you hold the deadman, and nothing moves: drive, or let go of it" if still else ""
    if ((np.abs(recorded) > FULL).sum(1) >= 2).all():
        return "two directions are at full speed all the time: go slower, or check the input device's scale"
    if np.linalg.norm(asked_m) > ACTED_M and made_m @ asked_m < FOLLOWED * asked_m @ asked_m:
        return "the arm does not do what is recorded: is it blocked?"
    return ""


class Diary:
    """One episode's."""

    def __init__(self, task: TaskSpec, start: MotionResult) -> None:
        """Begin with how the arm came to its start pose."""
        self._task, self._start = task, start
        self._hits: Counter[Limit] = Counter()
        self._residual: list[np.ndarray] = []
        self._second: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=round(task.rate_hz))
        self._doubts: Counter[str] = Counter()
        self._drift: list[tuple[float, float]] = []
        self._likely: deque[bool] = deque(maxlen=round(task.rate_hz))
        self._stages: list[int] = []  # the step, from 0, in which each stage before success was passed
        self.fault = ""  # what ended it early

    def see(self, step: Step, source: Source) -> str:
        """Note one step; return words for the person when something about the last second is odd, once a take-over."""
        self._hits += step.hits
        self._residual.append(np.abs(step.achieved - step.executed))
        if source is not Source.HUMAN:
            self._second.clear()
            return ""
        self._second.append((step.executed, step.achieved))
        if len(self._second) < (self._second.maxlen or 0):
            return ""
        executed, achieved = (np.array(rows) for rows in zip(*self._second, strict=True))
        words = doubt(executed, achieved, self._task.action.step_m)
        if words:
            self._doubts[words] += 1
            self._second.clear()  # the next second speaks for itself
        return words

    def look(self, verdict: Verdict) -> None:
        """Note what the detector said of the frame that the last step led to."""
        if not verdict.success and verdict.stage > len(self._stages):
            self._stages.append(len(self._residual) - 1)
        self._likely.append(verdict.probability >= LIKELY)
        if np.isfinite(verdict.drift):
            self._drift.append((verdict.drift, verdict.brightness))

    @property
    def suspected(self) -> bool:
        """Whether the detector thought of success within the last second."""
        return any(self._likely)

    def notes(self) -> dict[str, str | float | int | bool]:
        """Return what to store with the episode.

        `drift` and `brightness` are the medians of `classifier.detector.Verdict`'s.
        `stage_1`, `stage_2` ... are the steps, from 0, in which the detector saw these stages of the task passed.
        `residual_NAME` is the mean of |achieved - recorded| of one dimension of the action, in its units.
        """
        hand_m = ee_position(self._start.joints_rad)
        notes: dict[str, str | float | int | bool] = {
            f"start_{axis}_m": round(float(v), 4) for axis, v in zip("xyz", hand_m, strict=True)
        }
        notes["start_error_mm"] = round(1e3 * self._start.ee_error_m, 2)
        notes |= {f"limit_{limit}": count for limit, count in self._hits.items() if count}
        if self._residual:
            mean = np.mean(self._residual, axis=0)
            notes |= {f"residual_{n}": round(float(v), 3) for n, v in zip(self._task.action.names, mean, strict=True)}
        if self._drift:
            drift, brightness = np.median(self._drift, axis=0)
            notes |= {"drift": round(float(drift), 2), "brightness": round(float(brightness), 2)}
        notes |= {f"stage_{k}": step for k, step in enumerate(self._stages, 1)}
        if self._doubts:
            notes["doubts"] = "; ".join(f"{words} ({count} times)" for words, count in self._doubts.items())
        if self.fault:
            notes["fault"] = self.fault
        return notes
