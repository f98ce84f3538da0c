"""How good a policy is: greedy episodes from fixed starts, each with its verdict, and what may be said about them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from data.schema import Observation, Source
from hilserl.metrics import wilson
from sim_pretrain.episodes.rollout import Phase, Rollout, rollout
from sim_pretrain.task.env import SimEnv

EVALUATION_SEED = 1_000_000  # far from the seeds of training episodes, which count from 0
EPISODES = 50  # fewer take noise for progress (research page, bug 68)
WORST_FIRST = (Phase.LOST, Phase.MISSED, Phase.SLIPPED, Phase.BELOW, Phase.SUCCESS)


class Acts(Protocol):
    """Whatever chooses actions. One with a memory also has `begin()`, called before each episode."""

    def act(self, observation: Observation, /) -> np.ndarray:
        """Return the greedy action, float32 [A] in [-1, 1]."""


@dataclass(frozen=True)
class EpisodeResult:
    """One evaluation episode."""

    seed: int  # of `SimEnv.reset`
    phase: Phase
    steps: int
    max_height_m: float  # of the cube's centre
    held_s: float  # longest time without a break at the goal
    total_reward: float  # undiscounted


@dataclass(frozen=True)
class Evaluation:
    """The episodes of one evaluation, and what they add up to."""

    episodes: tuple[EpisodeResult, ...]  # by seed
    step: int = 0  # training step at which the policy stood

    @property
    def n(self) -> int:
        """Number of episodes."""
        return len(self.episodes)

    @property
    def wins(self) -> int:
        """Number of successes."""
        return sum(e.phase is Phase.SUCCESS for e in self.episodes)

    @property
    def success(self) -> float:
        """Share of successes; 0 without any episode."""
        return self.wins / max(self.n, 1)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the success rate (Wilson)."""
        return wilson(self.wins, self.n)

    @property
    def mean_steps(self) -> float:
        """Mean length of the successful episodes: a lost cube ends early, and that is no speed. NaN without any."""
        steps = [e.steps for e in self.episodes if e.phase is Phase.SUCCESS]
        return float(np.mean(steps)) if steps else math.nan

    @property
    def mean_reward(self) -> float:
        """Mean undiscounted return; NaN without any episode."""
        return float(np.mean([e.total_reward for e in self.episodes])) if self.episodes else math.nan

    @property
    def phases(self) -> dict[Phase, int]:
        """How many episodes ended in each phase, worst first; all phases are there."""
        counts = Counter(e.phase for e in self.episodes)
        return {phase: counts[phase] for phase in WORST_FIRST}

    def better_than(self, other: Evaluation | None) -> bool:
        """Whether this one succeeds more often, or as often and faster. Rewards never count (research page, bug 56)."""
        if other is None:
            return True
        if self.success != other.success:
            return self.success > other.success
        return self.mean_steps < other.mean_steps  # False when nobody succeeds: NaN

    def worst_first(self) -> tuple[EpisodeResult, ...]:
        """Return the episodes, those that came least far first; among successes the slowest."""

        def how_bad(e: EpisodeResult) -> tuple[int, float, float, int]:
            won = e.phase is Phase.SUCCESS
            return WORST_FIRST.index(e.phase), 0.0 if won else e.held_s, 0.0 if won else e.max_height_m, -e.steps

        return tuple(sorted(self.episodes, key=how_bad))

    def text(self) -> str:
        """Return one line: success, interval, length, and where the failures failed."""
        low, high = self.interval
        failed = ", ".join(f"{n} {p}" for p, n in self.phases.items() if n and p is not Phase.SUCCESS)
        took = f", {self.mean_steps:.0f} steps each" if self.wins else ""
        return (
            f"{self.wins} of {self.n} successes ({self.success:.0%}, 95 % interval {low:.0%} to {high:.0%}){took}"
            + (f"; failures: {failed}" if failed else "")
        )

    def table(self) -> str:
        """Return one line per episode, worst first."""
        head = f"{'seed':>9}  {'phase':9}{'steps':>6}{'height':>9}{'held':>8}{'return':>10}"
        rows = [
            f"{e.seed:>9}  {e.phase:9}{e.steps:>6}{100 * e.max_height_m:>6.1f} cm{e.held_s:>6.1f} s"
            f"{e.total_reward:>10.2f}"
            for e in self.worst_first()
        ]
        return "\n".join([head, *rows])

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; the sums are for readers, `from_json` makes them anew."""
        low, high = self.interval
        return {
            "step": self.step, "n": self.n, "wins": self.wins, "success": self.success, "low": low, "high": high,
            "mean_steps": self.mean_steps if self.wins else None,
            "phases": {str(phase): count for phase, count in self.phases.items()},
            "episodes": [{**asdict(e), "phase": str(e.phase)} for e in self.episodes],
        }  # fmt: skip

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Evaluation:
        """Read back what `to_json` returned."""
        episodes = tuple(EpisodeResult(**{**e, "phase": Phase(e["phase"])}) for e in value["episodes"])
        return Evaluation(episodes, value["step"])


def evaluate(
    env: SimEnv,
    policy: Acts,
    episodes: int = EPISODES,
    seed: int = EVALUATION_SEED,
    step: int = 0,
    progress: Callable[[int], Any] = lambda _: None,
) -> Evaluation:
    """Run greedy episodes from the starts seed, seed + 1, ...

    Equal policies and seeds give equal results; equal seeds give equal starts to any policy.

    Args:
        env: the task, its table and its reward; it may have been used before.
        policy: gets nothing but the observation.
        episodes: how many.
        seed: of the first one.
        step: training step at which the policy stands; kept for `regression`.
        progress: called with 1 after each episode.
    """
    results = []
    for number in range(seed, seed + episodes):
        results.append(result_of(number, play(env, policy, number)))
        progress(1)
    return Evaluation(tuple(results), step)


def play(env: SimEnv, policy: Acts, seed: int) -> Rollout:
    """Run one greedy episode from the start that belongs to `seed`."""
    begin = getattr(policy, "begin", None)
    if begin is not None:
        begin()
    idle = np.zeros(env.action_space.shape or (), np.float32)  # nobody reads the expert's labels here
    return rollout(env, lambda observation, _: (policy.act(observation), Source.POLICY), lambda _: idle, seed)


def regression(best: Evaluation | None, now: Evaluation) -> str:
    """Say that `now` is worse than `best` by more than chance (their 95 % intervals do not touch); else ""."""
    if best is None or now.interval[1] >= best.interval[0]:
        return ""
    points = 100 * (best.success - now.success)
    return f"best at {best.step:,} steps: {best.success:.0%}; now {points:.0f} points lower"


def result_of(seed: int, run: Rollout) -> EpisodeResult:
    """Return what an evaluation keeps of the greedy episode that started from `seed`."""
    return EpisodeResult(
        seed=seed,
        phase=run.phase,
        steps=len(run.episode),
        max_height_m=run.max_height_m,
        held_s=run.held_s,
        total_reward=float(run.episode.reward.sum()),
    )
