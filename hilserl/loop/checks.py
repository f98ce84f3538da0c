"""Checks: untouched, greedy episodes between the operated ones, the only unbiased measure of progress.

Success while a person helps says little about the policy (real_robot_lessons.md 2.7, 108). Every few operated episodes
a block of checks is due. The actor waits until the learner owes nothing, so that a whole block is one version of the
policy, and the learner saves a checkpoint of that version. The checks are learned from, like the baseline, because
they cost a person's time; they are owed no updates, so the weights rest while they run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from data.schema import Episode, Outcome, Source
from hilserl.loop.link import LearnerStatus
from hilserl.metrics import wilson

CHECK = "check"  # kind of these episodes
START = 0  # version of the policy that a run starts from; the baseline is its check


class Stop(NamedTuple):
    """Totals of finished episodes to have recorded before the next stretch."""

    online: int
    checks: int


def stops(episodes: int, every: int, size: int) -> list[Stop]:
    """Return when to check in a run of `episodes` operated ones: after every `every` of them, `size` checks.

    The last stop is the end of the run. `every` 0: no checks.
    """
    blocks = episodes // every if every else 0
    found = [*(Stop(k * every, k * size) for k in range(1, blocks + 1)), Stop(episodes, blocks * size)]
    return list(dict.fromkeys(found))  # the last check may be the end


def settled(status: LearnerStatus, episodes: int) -> bool:
    """Whether the learner has learned from this many episodes, owes nothing, and has published what it has."""
    return status.episodes >= episodes and status.debt == 0 and status.version == status.updates


@dataclass(frozen=True)
class Check:
    """What one version of the policy achieved untouched."""

    version: int
    wins: int = 0
    n: int = 0
    win_steps: int = 0  # of all successes together

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the success rate."""
        return wilson(self.wins, self.n)

    def better_than(self, other: Check) -> bool:
        """Whether success is more certain (lower end of the interval, so that luck in a few counts less), or faster."""
        ours, theirs = self.interval[0], other.interval[0]
        return ours > theirs or (ours == theirs and self.win_steps * other.wins < other.win_steps * self.wins)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.wins} of {self.n} untouched ({100 * low:.0f} to {100 * high:.0f} %)"


class Checks:
    """The checks of a run so far, and whether more are due."""

    def __init__(self, every: int, size: int) -> None:
        """Take the schedule of `stops`."""
        self._every, self._size = every, size
        self._online = self._episodes = 0  # finished operated episodes, and checks
        self.by_version: dict[int, Check] = {}
        self.restored_at = 0  # version that a roll-back made: whatever fell before it is dealt with

    def add(self, episode: Episode) -> None:
        """Count a finished episode: an operated one, a check, or one of the baseline."""
        kind, outcome = episode.meta.kind, episode.meta.outcome
        if outcome is Outcome.ABORTED:
            return
        self._online += kind == "online"
        self._episodes += kind == CHECK
        version = _untouched_version(episode)
        if kind in (CHECK, "baseline") and version is not None:
            c, won = self.by_version.get(version, Check(version)), outcome is Outcome.SUCCESS
            changed = replace(c, wins=c.wins + won, n=c.n + 1, win_steps=c.win_steps + won * len(episode))
            self.by_version[version] = changed

    @property
    def due(self) -> bool:
        """Whether a block of checks has to be recorded, or finished, before training goes on."""
        return self._every > 0 and self._online // self._every * self._size > self._episodes

    @property
    def newest(self) -> Check | None:
        """The newest version whose block is whole."""
        return self._whole()[-1] if self._whole() else None

    @property
    def best(self) -> Check | None:
        """The best version whose block is whole; the older one when two are as good."""
        best: Check | None = None
        for check in self._whole():
            best = check if best is None or check.better_than(best) else best
        return best

    def alarm(self) -> str:
        """Say that the newest block is worse than the best one by more than chance; "" when it is not."""
        newest, best = self.newest, self.best
        if newest is None or best is None or newest.version < self.restored_at:
            return ""
        if newest.interval[1] >= best.interval[0]:
            return ""
        return f"success fell: {newest} now, {best} at {best.version} updates"

    def _whole(self) -> list[Check]:
        """Return the versions that were checked to the end, oldest first; of the start policy whatever there is."""
        found = (self.by_version[version] for version in sorted(self.by_version))
        return [c for c in found if c.n >= self._size or c.version == START]


def _untouched_version(episode: Episode) -> int | None:
    """Return the one version that drove this episode; None when it was several, or somebody helped."""
    versions = set(episode.policy_version[episode.source == Source.POLICY].tolist())
    return versions.pop() if len(versions) == 1 and not (episode.source == Source.HUMAN).any() else None
