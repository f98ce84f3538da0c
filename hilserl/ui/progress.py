"""How a run stands, in the few numbers that a person at the arm wants: from what lies in its directory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.schema import Outcome
from data.store.commit_log import Commit
from data.store.reader import open_reader
from hilserl.loop.checks import CHECK
from hilserl.loop.diagnosis import diagnose
from hilserl.loop.link import STALE_S, LearnerStatus, Link
from hilserl.metrics import newest, read_metrics, wilson
from hilserl.robot.watch import HOT_C, WARM_C

GUIDE = "guide.json"
RECENT, BARS = 20, 40  # episodes
LITTLE_DISK_GB = 5.0
RECORDED = ("labels", "demo")  # a person drove all of them: they say nothing about the policy


@dataclass(frozen=True)
class Light:
    """One line of health: a colour, and the same in words."""

    name: str
    look: str  # good, unsure, bad, off
    words: str


def tiles(commits: Sequence[Commit], rate_hz: float) -> dict[str, dict[str, str]]:
    """Return {name: {"value", "note"}} from every finished episode that counts, oldest first."""
    operated = [c for c in commits if c.kind == "online"]
    untouched = [c for c in commits if _untouched(c)]
    last, before, alone = operated[-RECENT:], operated[-2 * RECENT : -RECENT], untouched[-RECENT:]
    return {
        "success": _share(f"last {len(last)}", _wins(last), len(last), _wins(before), len(before)),
        "untouched": _share(f"last {len(alone)}", _wins(alone), len(alone)),
        "human": _driven(last, before),
        "cycle": _cycle(last or alone, rate_hz),
    }


def bars(commits: Sequence[Commit]) -> list[dict[str, Any]]:
    """Return the last finished episodes, oldest first: how long, who drove, how it ended."""
    return [
        {"steps": c.steps, "human": c.human_steps, "outcome": str(c.outcome), "untouched": _untouched(c)}
        for c in commits[-BARS:]
    ]


class Progress:
    """Reads one run, as often as asked, while others write to it."""

    def __init__(self, run: Path) -> None:
        """Watch a run directory; it may still be empty."""
        self._run = run
        self._link: Link | None = None
        self._metrics = _Lines(run / "metrics.jsonl")

    def read(self) -> dict[str, Any]:
        """Return what the page shows of the run: `tiles`, `bars`, `lights` and `guide`, all of it JSON.

        `guide` is what coach and map left in `guide.json`: `hints`, the `place` that is asked for, `coverage`.
        """
        commits, rate_hz = self._commits()
        counted = [c for c in commits if c.kind not in RECORDED] or commits  # while only recording: those
        return {
            "run": self._run.name,
            "tiles": tiles(counted, rate_hz),
            "bars": bars(counted),
            "lights": [vars(light) for light in self._lights()],
            "guide": json.loads(guide.read_text()) if (guide := self._run / GUIDE).exists() else {},
        }

    def _commits(self) -> tuple[list[Commit], float]:
        if not (self._run / "store" / "store.json").exists():
            return [], 10.0
        store = open_reader(self._run)
        return [c for c in store.commits() if c.outcome is not Outcome.ABORTED], store.spec.rate_hz

    def _lights(self) -> list[Light]:
        free_gb = shutil.disk_usage(self._run).free / 1e9
        disk = Light("disk", "good" if free_gb > LITTLE_DISK_GB else "bad", f"{free_gb:.0f} GB free")
        if self._link is None and (self._run / "link").exists():
            self._link = Link(self._run)
        if self._link is None or (status := self._link.live_learner()) is None:
            return [disk]
        return [learner_light(status, self._link.silent_s(), self._metrics.rows()), disk]


def learner_light(status: LearnerStatus, silent_s: float, rows: Sequence[Mapping[str, Any]]) -> Light:
    """Return how the learner does, in the words of `hilserl status`."""
    if silent_s > STALE_S:
        return Light("learner", "bad", f"no word for {silent_s:.0f} s; the arm holds before the next episode")
    if alarm := newest(rows, "check/version").get("check/alarm"):
        return Light("learner", "bad", str(alarm))
    health = newest(rows, "health/action")
    if wrong := diagnose(health):
        return Light("learner", "unsure", next(iter(wrong.values())))
    made = newest(rows, "critic_per_step").get("critic_per_step")
    words = [status.phase, f"{status.updates} updates", f"{status.debt} owed"]
    words += [f"{made:.1f} updates a step"] if made is not None else []
    words += [f"Q {health['health/q_high']:.2f}"] if health.get("health/q_high") is not None else []
    return Light("learner", "good", ", ".join(words))


def arm_light(celsius: Mapping[str, int]) -> Light:
    """Return how warm the warmest of these joints is, and what follows from it."""
    joint = max(celsius, key=celsius.__getitem__)
    words = f"{joint.replace('_', ' ')} {celsius[joint]} °C"
    if celsius[joint] >= HOT_C:
        return Light("arm", "bad", f"{words} is too hot: it holds, and goes on below {WARM_C} °C")
    if celsius[joint] >= WARM_C:
        return Light("arm", "unsure", f"{words} is warm: let it rest. At {HOT_C} °C it holds")
    return Light("arm", "good", f"warmest: {words}")


class _Lines:
    """The rows of a file of JSON lines, read again when it has grown."""

    def __init__(self, path: Path) -> None:
        self._path, self._size, self._rows = path, 0, list[dict[str, Any]]()

    def rows(self) -> list[dict[str, Any]]:
        size = self._path.stat().st_size if self._path.exists() else 0
        if size != self._size:
            self._size, self._rows = size, read_metrics(self._path)
        return self._rows


def _untouched(c: Commit) -> bool:
    """Whether nobody was allowed to help."""
    return c.kind in ("baseline", CHECK) or c.kind.startswith("eval")


def _wins(commits: Sequence[Commit]) -> int:
    return sum(c.outcome is Outcome.SUCCESS for c in commits)


def _share(of: str, wins: int, n: int, wins_before: int = 0, before: int = 0) -> dict[str, str]:
    if not n:
        return {"value": "–", "note": "no episode yet"}
    low, high = wilson(wins, n)
    trend = _trend(wins / n - wins_before / before) if before else ""
    return {"value": f"{wins / n:.0%}", "trend": trend, "note": f"{of}: {100 * low:.0f} to {100 * high:.0f} %"}


def _driven(last: Sequence[Commit], before: Sequence[Commit]) -> dict[str, str]:
    if not last:
        return {"value": "–", "note": "no episode yet"}
    share, had = _human_share(last), _human_share(before)
    return {"value": f"{share:.0%}", "trend": _trend(share - had) if before else "", "note": "of the steps, by you"}


def _cycle(last: Sequence[Commit], rate_hz: float) -> dict[str, str]:
    won = [c.steps / rate_hz for c in last if c.outcome is Outcome.SUCCESS]
    return {"value": f"{sum(won) / len(won):.1f} s" if won else "–", "note": "mean of the successes"}


def _human_share(commits: Sequence[Commit]) -> float:
    return sum(c.human_steps for c in commits) / max(1, sum(c.steps for c in commits))


def _trend(change: float) -> str:
    return "→" if abs(change) < 0.05 else "↗" if change > 0 else "↘"
