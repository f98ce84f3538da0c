"""Labels of many episodes at once: from a file, or by what another classifier says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from classifier.view import ClassifierView
from data.errors import UserError
from data.labels import Intervals, normalised, to_mask
from data.schema import Outcome
from data.store.annotations import Verdict
from data.store.commit_log import Commit
from data.store.reader import AnnotatedReader, open_reader

ACCEPTED = '{"12": {"success_start": 40}, "13": {"ranges": [[40, 60], [70, 81]]}, "14": {"exclude": true}}'
BY = "classifier"  # how a reason begins that is a classifier's


def from_file(run: Path, path: Path) -> list[str]:
    """Take in a file of labels, all of it or nothing; return a line per episode.

    Raises:
        UserError: the file is none, an episode is not there, or a label lies outside its episode.
    """
    reader = open_reader(run)
    try:
        content = json.loads(path.read_text())
        found = [(reader.find(name), _read(label)) for name, label in content.items()]
        for commit, intervals in found:
            to_mask(intervals_in(commit, intervals), commit.steps + 1)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} holds no labels for {run}: {error}. Accepted is, with frames counted from 0 and ends not "
            f"included, {ACCEPTED}"
        ) from error
    lines = []
    for commit, label in found:
        notes, why = reader.annotations, f"from {path.name}"
        if label == "exclude":
            entry = notes.exclude(commit.uuid, why)
        else:
            entry = notes.relabel(commit.uuid, intervals_in(commit, label), why)
        lines.append(f"#{entry.number}: episode {commit.index} ({commit.uuid}) {entry.describe()}")
    return lines


def intervals_in(commit: Commit, label: int | str | Intervals) -> Intervals:
    """Return a label as intervals of an episode: a number is where success starts, to the end."""
    if isinstance(label, int):
        return normalised([(label, commit.steps + 1)])
    return () if isinstance(label, str) else label


def _read(label: dict[str, Any]) -> int | str | Intervals:
    match label:
        case {"exclude": True}:
            return "exclude"
        case {"success_start": int(start)}:
            return start
        case {"ranges": list(ranges)}:
            return normalised((int(a), int(b)) for a, b in ranges)
    raise ValueError(f"{label} has none of success_start, ranges, exclude")


def by_classifier(run: Path, path: Path, *, apply: bool) -> list[str]:
    """Return what a classifier would have said of every episode; with `apply`, outcomes follow it from now on.

    What a person has decided stays. An episode that the classifier would have ended earlier is left as it is: what was
    done after that is not what the policy would have met.
    """
    reader = open_reader(run)
    view = ClassifierView(path, reader.spec)
    lines, changed = [], 0
    for commit, step in _judged(reader, view):
        wanted = Outcome.SUCCESS if step == commit.steps else Outcome.TIMEOUT if step == 0 else commit.outcome
        says = f"success after step {step} of {commit.steps}" if step else f"no success in {commit.steps} steps"
        line = f"episode {commit.index} {commit.kind}: was {commit.outcome}, {says}"
        if wanted is not commit.outcome and commit.outcome in (Outcome.SUCCESS, Outcome.TIMEOUT):
            changed += 1
            line += f"  → {wanted}"
            if apply:
                reader.annotations.judge(commit.uuid, wanted, f"{BY} {view.detector.version}")
        lines.append(line)
    end = "outcomes follow it now; data relabel --undo takes one back" if apply else "nothing is changed: see --apply"
    return [*lines, f"classifier {view.detector.version}: {changed} of {len(lines)} would change; {end}"]


def _judged(reader: AnnotatedReader, view: ClassifierView) -> Iterator[tuple[Commit, int]]:
    verdicts = reader.annotations.verdicts()
    for commit in reader.commits():
        by_hand = verdicts.get(commit.uuid, Verdict()).outcome
        if commit.outcome is Outcome.ABORTED or commit.kind == "labels" or (by_hand and not by_hand.why.startswith(BY)):
            continue
        yield commit, view.fires_at(reader.path, reader.read(commit))
