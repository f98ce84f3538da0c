"""What untouched episodes say about a policy, by each who judged them, and about two policies from the same starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hilserl.metrics import mcnemar, wilson

CHANCE = 0.05  # a p-value above it: the difference may be luck
MOST_TRUSTED = ("simulator", "person", "classifier", "button")


@dataclass(frozen=True)
class Trial:
    """One untouched episode."""

    number: int  # of its start in the series
    episode: int  # its index in the store
    seconds: float
    verdicts: Mapping[str, bool]  # {who judged: it was a success}


@dataclass(frozen=True)
class Evaluated:
    """One policy, and its episodes by start."""

    policy: str
    trials: tuple[Trial, ...]

    @property
    def judges(self) -> list[str]:
        """Who judged at least one episode, the most trusted first."""
        return [j for j in MOST_TRUSTED if any(j in t.verdicts for t in self.trials)]

    def count(self, judge: str) -> tuple[int, int]:
        """Return successes and episodes by one judge."""
        judged = [t.verdicts[judge] for t in self.trials if judge in t.verdicts]
        return sum(judged), len(judged)


@dataclass(frozen=True)
class Agreement:
    """A judge against a more trusted one, over the episodes that both judged."""

    n: int
    false_successes: int
    missed: int


def agreement(side: Evaluated, judge: str, truth: str) -> Agreement:
    """Compare two judges of the same episodes."""
    pairs = [(t.verdicts[judge], t.verdicts[truth]) for t in side.trials if {judge, truth} <= t.verdicts.keys()]
    return Agreement(len(pairs), sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))


@dataclass(frozen=True)
class Comparison:
    """Two policies from the same starts."""

    judge: str
    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def p(self) -> float:
        """Exact McNemar p-value: how likely a difference like this is if they are equally good."""
        return mcnemar(self.only_first, self.only_second)

    def text(self) -> str:
        """Return it in words."""
        n = self.both + self.only_first + self.only_second + self.neither
        better = "A is better" if self.only_first > self.only_second else "B is better"
        verdict = better if self.p < CHANCE else "the difference may be chance"
        return (
            f"A and B from the same {n} starts, by the {self.judge}: both succeed in {self.both}, only A in "
            f"{self.only_first}, only B in {self.only_second}, neither in {self.neither}.\n"
            f"Exact McNemar test: p = {self.p:.2g}; {verdict}."
        )


def compare(first: Evaluated, second: Evaluated) -> Comparison | None:
    """Compare two policies by the most trusted judge of both; None when no start was judged for both."""
    for judge in first.judges:
        ours, theirs = ({t.number: t.verdicts[judge] for t in s.trials if judge in t.verdicts} for s in (first, second))
        if shared := ours.keys() & theirs.keys():
            pairs = Counter((ours[n], theirs[n]) for n in shared)
            a_and_b = ((True, True), (True, False), (False, True), (False, False))
            return Comparison(judge, *(pairs[pair] for pair in a_and_b))
    return None


def table(sides: Sequence[Evaluated]) -> str:
    """Return one line per policy and judge, what the judges disagree about, and the comparison of two policies."""
    width = max(len(s.policy) for s in sides) + 3
    lines = [f"{'policy':{width + 2}}{'judge':12}{'success':>10}   {'95 % interval':15}{'seconds':>8}"]
    notes = []
    for letter, side in zip("AB", sides, strict=False):
        seconds = sum(t.seconds for t in side.trials) / max(1, len(side.trials))
        for judge in side.judges:
            wins, n = side.count(judge)
            low, high = wilson(wins, n)
            name = f"{letter}  {side.policy}" if judge == side.judges[0] else ""
            span = f"{100 * low:.0f} to {100 * high:.0f} %"
            lines.append(f"{name:{width + 2}}{judge:12}{f'{wins} of {n}':>10}   {span:15}{seconds:>8.1f}")
            if judge != side.judges[0]:
                found = agreement(side, judge, side.judges[0])
                agreed = found.n - found.false_successes - found.missed
                notes.append(
                    f"{letter}: the {judge} agrees with the {side.judges[0]} in {agreed} of {found.n}; "
                    f"{found.false_successes} false successes, {found.missed} missed"
                )
    compared = compare(*sides) if len(sides) == 2 else None
    return "\n".join([*lines, *notes, *([compared.text()] if compared else [])])


def to_json(sides: Sequence[Evaluated]) -> dict[str, Any]:
    """Return everything as JSON values."""
    found = compare(*sides) if len(sides) == 2 else None
    return {
        "policies": [asdict(side) for side in sides],
        "comparison": {**asdict(found), "p": found.p} if found else None,
    }


def worst_first(side: Evaluated) -> list[Trial]:
    """Return the episodes that are most worth watching: disagreements, failures, then the slowest successes."""

    def how_bad(trial: Trial) -> tuple[bool, bool, float]:
        trusted = next((trial.verdicts[j] for j in MOST_TRUSTED if j in trial.verdicts), False)
        return len(set(trial.verdicts.values())) < 2, trusted, -trial.seconds

    return sorted(side.trials, key=how_bad)
