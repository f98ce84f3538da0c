"""What a run of reinforcement learning tells: rows of numbers while it lasts, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sim_pretrain.episodes.evaluation import Evaluation


class Reporter(Protocol):
    """Who is told how a run goes."""

    def progress(self, steps: int, total: int) -> None:
        """Take note of the transitions so far and of those planned."""

    def row(self, steps: int, values: Mapping[str, float]) -> None:
        """Take a row of numbers, named as Stable-Baselines3 does: "rollout/success_rate"."""

    def say(self, text: str) -> None:
        """Take a sentence for a person."""


@dataclass(frozen=True)
class Evaluated:
    """One evaluation, in short."""

    step: int
    minutes: float  # of work so far
    wins: int
    n: int
    mean_steps: float | None  # of the successes

    @property
    def success(self) -> float:
        """Share of successes."""
        return self.wins / self.n


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    finished: bool  # else it was stopped, and can go on
    steps: int
    minutes: float  # of work
    history: tuple[Evaluated, ...]
    best: Evaluation | None
    policy: Path | None  # folder of the best policy; none before the first evaluation

    def first_at(self, success: float) -> Evaluated | None:
        """Return the first evaluation that succeeded at least so often."""
        return next((e for e in self.history if e.success >= success), None)

    def text(self, resume: str = "the same command and --resume") -> str:
        """Say in a few lines what came out and how to go on; `resume` is the command that does."""
        spent = f"{self.steps:,} steps, {self.minutes:.1f} minutes"
        lines = [f"finished after {spent}" if self.finished else f"stopped after {spent}. Go on: {resume}"]
        if self.best is not None:
            lines.append(f"best at {self.best.step:,} steps: {self.best.text()}")
        if self.policy is not None:
            lines.append(f"its policy: {self.policy}")
        return "\n".join(lines)


def kept_steps(history: Sequence[Evaluated], count: int) -> list[int]:
    """Return at which steps evaluated policies stay: the newest half of `count`, and the best of the others."""
    newest = [e.step for e in history][-max(count // 2, 1) :]
    others = [e for e in history if e.step not in newest]
    best = sorted(others, key=lambda e: (-e.success, e.mean_steps or 0.0, e.step))[: max(count - len(newest), 1)]
    return sorted([*newest, *(e.step for e in best)])
