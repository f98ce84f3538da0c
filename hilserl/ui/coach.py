"""The coach: what to do differently, told from the last episodes. Plain rules, one sentence each.

How to help is the method's own advice: let it explore for 20 to 30 steps, guide it, let it finish by itself; long and
rare take-overs make the critics overestimate; keep the hands off when it succeeds alone (hilserl_origin.md 4,
style_ux.md B5). Thresholds are guesses to begin with: `Coach` keeps every hint in the run's journal, and `afterwards`
shows what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from data.labels import Intervals, from_mask
from data.schema import Episode, Outcome, Source

CHECK_SCENE = "Has the light, a camera or the table changed? Put it right"


@dataclass(frozen=True)
class CoachConfig:
    """`--coach...`: when the coach speaks."""

    recent: int = 5  # operated episodes that a hint about your help looks at
    explore_steps: int = 20  # let the policy try for this long before you help
    long_steps: int = 30  # a take-over that is longer on average is long
    hold_off_success: float = 0.6  # above this share of untouched successes it needs little help
    untouched_episodes: int = 10  # it takes so many untouched episodes to say so
    halved_episodes: int = 20  # the success of so many is compared with that of as many before
    still_steps: int = 5  # so many of your steps without any recorded motion are a fault
    repeat_after: int = 20  # episodes before the same hint is said again


@dataclass(frozen=True)
class Stripe:
    """One finished episode as the coach sees it: who acted when, and how it ended."""

    number: int  # index of the episode in the store; rising
    operated: bool  # a person was allowed to help
    won: bool
    steps: int
    takeovers: Intervals  # steps that a person drove
    still_steps: int = 0  # of these, how many recorded no motion at all

    @property
    def human_steps(self) -> int:
        """Steps that a person drove."""
        return sum(stop - first for first, stop in self.takeovers)


class Hint(NamedTuple):
    """One sentence for the person, the rule it is from, and the episodes it speaks of."""

    rule: str
    text: str
    first: int
    last: int


def stripe_of(episode: Episode, number: int) -> Stripe:
    """Return what the coach needs of an episode."""
    meta = episode.meta
    won = meta.outcome is Outcome.SUCCESS
    return make_stripe(number, meta.kind == "online", won, episode.source, episode.executed)


def make_stripe(number: int, operated: bool, won: bool, source: np.ndarray, executed: np.ndarray) -> Stripe:
    """Return a stripe from who acted, uint8 [T], and the recorded actions, float32 [T, A], gripper last."""
    human = source == Source.HUMAN
    gripper_moved = np.diff(executed[:, -1], prepend=executed[:1, -1]) != 0
    still = human & ~executed[:, :-1].any(1) & ~gripper_moved
    return Stripe(number, operated, won, len(source), from_mask(human), int(still.sum()))


def advise(stripes: Sequence[Stripe], config: CoachConfig, best: str = "") -> list[Hint]:
    """Return what the last episodes call for, the most urgent first; [] when nothing does.

    Args:
        stripes: finished operated and untouched episodes, oldest first.
        config: the thresholds.
        best: name of the checkpoint to go back to; "" when none was marked.
    """
    if not stripes:
        return []
    return [hint for rule in RULES for hint in rule(stripes, config, best)]


class Coach:
    """Remembers what it said, so that nobody hears the same hint after every episode."""

    def __init__(self, config: CoachConfig) -> None:
        self.config = config
        self._stripes: list[Stripe] = []
        self._said: dict[str, int] = {}  # rule: number of the episode after which it was said

    def see(self, stripe: Stripe, best: str = "") -> tuple[list[Hint], list[Hint]]:
        """Take in a finished episode; return what holds now, and what of it is to be said and logged."""
        self._stripes.append(stripe)
        found = advise(self._stripes, self.config, best)
        said = self._said
        new = [h for h in found if h.rule not in said or stripe.number - said[h.rule] >= self.config.repeat_after]
        self._said |= {h.rule: stripe.number for h in new}
        return found, new


def afterwards(
    hints: Sequence[Mapping[str, Any]], stripes: Sequence[Stripe], episodes: int = 10
) -> list[dict[str, Any]]:
    """Return for each hint of the journal how the operated episodes before and after it went: was it any good?

    Each row has the hint's `rule`, `text` and `last`, and `before` and `after`: (successes, share of steps by a person,
    episodes), counted over up to `episodes` of them.
    """
    operated = [s for s in stripes if s.operated]
    rows = []
    for hint in hints:
        before = [s for s in operated if s.number <= hint["last"]][-episodes:]
        after = [s for s in operated if s.number > hint["last"]][:episodes]
        rows.append({**hint, "before": _totals(before), "after": _totals(after)})
    return rows


def _totals(stripes: Sequence[Stripe]) -> tuple[int, float, int]:
    share = sum(s.human_steps for s in stripes) / max(1, sum(s.steps for s in stripes))
    return sum(s.won for s in stripes), share, len(stripes)


def _still(stripes: Sequence[Stripe], config: CoachConfig, _best: str) -> Iterator[Hint]:
    s = stripes[-1]
    if s.still_steps >= config.still_steps and s.still_steps == s.human_steps:
        yield _hint(
            "still", [s], f"you drove {s.human_steps} steps, and no motion was recorded. Check the input device; then "
            "`hilserl data exclude` this episode.",
        )  # fmt: skip


def _scene(stripes: Sequence[Stripe], config: CoachConfig, best: str) -> Iterator[Hint]:
    n = config.halved_episodes
    now, before = stripes[-n:], stripes[-2 * n : -n]
    wins, had = sum(s.won for s in now), sum(s.won for s in before)
    if len(before) == n and had >= 0.3 * n and 2 * wins <= had:
        back = f", or go back to checkpoint {best}: --rollback=best." if best else "."
        yield _hint("scene", now, f"success fell from {had} to {wins} of {n}. {CHECK_SCENE}{back}")


def _help(stripes: Sequence[Stripe], config: CoachConfig, _best: str) -> Iterator[Hint]:
    last = _operated(stripes, config)
    if last and not any(s.won or s.takeovers for s in last):
        yield _hint("help", last, "it failed every time, and nobody helped. Take over when it is stuck.")


def _finish(stripes: Sequence[Stripe], config: CoachConfig, _best: str) -> Iterator[Hint]:
    last = _operated(stripes, config)
    driven = [s for s in last if s.won and s.takeovers and s.takeovers[-1][1] == s.steps]
    if last and 2 * len(driven) > len(last):
        share = sum(s.human_steps for s in last) / sum(s.steps for s in last)
        how = f"you drove {share:.0%} of the steps, and to the success"
        yield _hint("finish", last, f"{how}. Guide it, then let go and let it finish.")


def _explore(stripes: Sequence[Stripe], config: CoachConfig, _best: str) -> Iterator[Hint]:
    last = _operated(stripes, config)
    began = [s.takeovers[0][0] for s in last if s.takeovers]
    if last and 2 * len(began) > len(last) and median(began) < config.explore_steps / 2:
        tries = f"{config.explore_steps} to {config.explore_steps + 10} steps"
        yield _hint(
            "explore", last, f"you took over after {median(began):.0f} steps. Let it try for {tries}, then guide."
        )


def _long(stripes: Sequence[Stripe], config: CoachConfig, _best: str) -> Iterator[Hint]:
    last = _operated(stripes, config)
    lengths = [stop - first for s in last for first, stop in s.takeovers]
    if last and 2 <= len(lengths) <= len(last) and sum(lengths) / len(lengths) > config.long_steps:
        mean = sum(lengths) / len(lengths)
        why = "Help briefly and often: long, rare help makes the critics overestimate."
        yield _hint("long", last, f"your take-overs last {mean:.0f} steps. {why}")


def _hold_off(stripes: Sequence[Stripe], config: CoachConfig, _best: str) -> Iterator[Hint]:
    last = stripes[-2 * config.untouched_episodes :]
    alone = [s for s in last if not s.takeovers]
    wins, helped = sum(s.won for s in alone), [s for s in last if s.takeovers]
    enough = len(alone) >= config.untouched_episodes and wins > config.hold_off_success * len(alone)
    if enough and 4 * len(helped) >= len(last):
        yield _hint("hold-off", last, f"alone it succeeded in {wins} of {len(alone)}. Hands off, unless it is stuck.")


RULES: tuple[Callable[[Sequence[Stripe], CoachConfig, str], Iterator[Hint]], ...] = (
    _still, _scene, _help, _finish, _explore, _long, _hold_off,
)  # fmt: skip


def _operated(stripes: Sequence[Stripe], config: CoachConfig) -> list[Stripe]:
    """Return the last operated episodes; [] while there are too few to speak of."""
    last = [s for s in stripes[-4 * config.recent :] if s.operated][-config.recent :]
    return last if len(last) == config.recent else []


def _hint(rule: str, about: Sequence[Stripe], text: str) -> Hint:
    first, last = about[0].number, about[-1].number
    where = f"Episode {first}" if first == last else f"Episodes {first} to {last}"
    return Hint(rule, f"{where}: {text}", first, last)
