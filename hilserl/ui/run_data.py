"""A run as the report shows it: everything read once, from the files that the run left."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import draccus
import numpy as np

from data.schema import Outcome
from data.spec import TaskSpec
from data.store.commit_log import Commit
from data.store.reader import open_reader
from hilserl.metrics import read_metrics, wilson
from hilserl.ui.attempts import KINDS, UNTOUCHED, Attempt, read_attempts, read_true_places
from hilserl.ui.coverage import Coverage, CoverageConfig, coverage

PAUSE_S = 180.0  # between two episodes; more is a break, and counts as no time


@dataclass(frozen=True)
class Block:
    """Untouched episodes in a row, between operated ones: one measurement of the policy."""

    kind: str
    place: float  # on the axis of episodes: how many were operated before
    minute: float
    wins: int
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the success rate."""
        return wilson(self.wins, self.n)


@dataclass(frozen=True)
class RunData:
    """What the files of a run say."""

    path: Path
    task: TaskSpec
    commits: Sequence[Commit]  # that count
    attempts: Sequence[Attempt]  # finished training episodes, oldest first
    rows: Sequence[Mapping[str, Any]]  # of metrics.jsonl
    journal: Sequence[Mapping[str, Any]]
    flags: Mapping[str, Any]  # train.json; {} when it was only recorded
    coverage: Coverage
    excluded: int  # episodes that do not count
    threshold: float | None  # of the classifier, where it is still there

    @property
    def operated(self) -> list[Attempt]:
        """Finished episodes with a person at hand."""
        return [a for a in self.attempts if a.kind == "online"]

    @property
    def minutes(self) -> np.ndarray:
        """When each attempt ended, in minutes at the arm: breaks are left out; float64 [N]."""
        stamps = np.array([a.started_unix_s for a in self.attempts])
        lasted_s = np.array([a.stripe.steps for a in self.attempts]) / self.task.rate_hz
        between = np.diff(stamps, append=stamps[-1:] + lasted_s[-1:])
        return np.cumsum(np.where((between > 0) & (between < PAUSE_S), between, lasted_s)) / 60

    def blocks(self) -> list[Block]:
        """Return the untouched measurements, oldest first: baseline, checks and evaluations."""
        found, operated = [], 0
        minute_of, minute = dict(zip((a.uuid for a in self.attempts), self.minutes, strict=True)), 0.0
        for kind, group in groupby(finished(self.commits), lambda c: c.kind):
            members = list(group)
            minute = max([minute, *(float(minute_of[c.uuid]) for c in members if c.uuid in minute_of)])
            if kind == "online":
                operated += len(members)
            elif kind in UNTOUCHED or (kind.startswith("eval") and not any(c.human_steps for c in members)):
                wins = sum(c.outcome is Outcome.SUCCESS for c in members)
                found.append(Block(kind, operated, minute, wins, len(members)))
        return found


def read_run(path: Path, progress: Callable[[int], Any] = lambda _: None) -> RunData:
    """Read a run; `progress` is called with 1 after each episode.

    Raises:
        UserError: there are no episodes.
    """
    reader = open_reader(path)
    flags = _json(path / "train.json")
    area = draccus.decode(CoverageConfig, flags["coverage"]) if "coverage" in flags else CoverageConfig()
    commits = reader.commits()
    attempts = read_attempts(reader, [c for c in commits if c.kind in KINDS], area.object, progress)
    rows = read_metrics(path / "metrics.jsonl") if (path / "metrics.jsonl").exists() else []
    journal = read_metrics(path / "journal.jsonl") if (path / "journal.jsonl").exists() else []
    found = coverage(attempts, area, read_true_places(path / "rig" / "truth.jsonl"))
    named = (flags.get("classifier") or {}).get("path")
    detector = _json(Path(named) / "detector.json") if named else {}
    of_success = len(detector["spec"].get("stages", "1")) - 1 if "calibrations" in detector else None
    threshold = None if of_success is None else detector["calibrations"][of_success]["threshold"]
    excluded = len(reader.excluded())
    return RunData(path, reader.spec, commits, attempts, rows, journal, flags, found, excluded, threshold)


def finished(commits: Sequence[Commit]) -> list[Commit]:
    """Return those that were not cut short."""
    return [c for c in commits if c.outcome != Outcome.ABORTED]


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found
