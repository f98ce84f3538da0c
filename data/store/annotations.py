"""What was decided about episodes after they were stored: excluded, relabelled, judged differently.

`annotations.jsonl` lies beside the commit log and only grows: one entry per line, with who, when and why. An entry
is taken back by another entry that undoes it, which can be undone like any other. Episodes never change; the entries
in force are applied when they are read.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, Self, get_args

from data.errors import DiskRefused, UserError
from data.labels import Intervals, normalised, to_mask
from data.schema import Episode, Outcome
from data.store.commit_log import Commit

FILE = "annotations.jsonl"
SUCCESS, UNSURE = "success", "unsure"  # labels that mean the same in every task
Action = Literal["exclude", "relabel", "outcome", "undo"]


@dataclass(frozen=True)
class Entry:
    """One line of the sidecar."""

    number: int  # position in the file, from 0
    action: Action
    uuid: str  # of the episode
    why: str
    who: str
    written_unix_s: float
    intervals: Intervals = ()  # relabel: where the label is from now on
    label: str = "success"  # relabel: or "unsure", or a stage of the task such as "grasped"
    outcome: str = ""  # outcome: success, failure or timeout
    undoes: int = -1  # undo: the number of the entry taken back

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """Read one line; ValueError, TypeError or KeyError when it is no entry."""
        fields = json.loads(line)
        entry = cls(**fields | {"intervals": normalised((a, b) for a, b in fields["intervals"])})
        if entry.action not in get_args(Action):
            raise ValueError(f"{entry.action!r} is none of {', '.join(get_args(Action))}")
        return entry

    def describe(self) -> str:
        """Return what it says in words."""
        if self.action == "relabel":
            marked = ", ".join(f"{a}:{b}" for a, b in self.intervals) or "no frame"
            return f"{self.label} at {marked}"
        return {"exclude": "excluded", "outcome": f"outcome {self.outcome}", "undo": f"undoes #{self.undoes}"}[
            self.action
        ]


@dataclass(frozen=True)
class Verdict:
    """The entries in force for one episode."""

    excluded: Entry | None = None
    labels: Mapping[str, Entry] = field(default_factory=dict)  # the newest of each label
    outcome: Entry | None = None

    def apply(self, episode: Episode) -> Episode:
        """Return the episode as it now counts; reward and end of the last step follow the outcome.

        Raises:
            UserError: a label lies outside the episode.
        """
        labels = dict(episode.labels)
        for name, entry in self.labels.items():
            try:
                labels[name] = to_mask(entry.intervals, len(episode) + 1)
            except ValueError as error:
                raise UserError(
                    f"annotation #{entry.number} does not fit episode {episode.meta.uuid}: {error}.\n"
                    "Take it back: `hilserl data relabel RUN --episode=UUID --undo`."
                ) from None
        marked = labels.pop(SUCCESS, episode.marked_success)
        episode = replace(episode, marked_success=marked, labels=labels)
        if self.outcome is not None:
            outcome = Outcome(self.outcome.outcome)
            ends = {"reward": outcome is Outcome.SUCCESS, "terminated": outcome is not Outcome.TIMEOUT}
            ends["truncated"] = not ends["terminated"]
            arrays = {name: getattr(episode, name).copy() for name in ends}
            for name, value in ends.items():
                arrays[name][:] = False
                arrays[name][-1] = value
            episode = replace(episode, meta=replace(episode.meta, outcome=outcome), **arrays)
        return episode


def in_force(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries that no entry in force undoes, oldest first."""
    undone: set[int] = set()
    kept = []
    for entry in sorted(entries, key=lambda e: e.number, reverse=True):
        if entry.number in undone:
            continue
        kept.append(entry)
        if entry.action == "undo":
            undone.add(entry.undoes)
    return kept[::-1]


class Annotations:
    """The sidecar of one store or merge. Any process may add; each call sees what others have added. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._whole = -1  # bytes in whole lines when it was last read
        self._entries: list[Entry] = []
        self._verdicts: dict[str, Verdict] = {}

    def entries(self) -> list[Entry]:
        """Return the whole history, oldest first.

        Raises:
            UserError: a line is damaged, or a newer program wrote it.
        """
        with self._lock:
            self._refresh()
            return list(self._entries)

    def verdicts(self) -> dict[str, Verdict]:
        """Return what is in force, by uuid; an episode that nobody annotated is absent. Raises as `entries`."""
        with self._lock:
            self._refresh()
            return dict(self._verdicts)

    def exclude(self, uuid: str, why: str) -> Entry:
        """Keep the episode out of training, labels and exports."""
        return self._add(action="exclude", uuid=uuid, why=why)

    def relabel(self, uuid: str, intervals: Intervals, why: str, label: str = SUCCESS) -> Entry:
        """Put a label, success or another one, on these frames and no others."""
        return self._add(action="relabel", uuid=uuid, why=why, intervals=normalised(intervals), label=label)

    def judge(self, uuid: str, outcome: Outcome, why: str) -> Entry:
        """Change how the episode ended."""
        if outcome is Outcome.ABORTED:
            raise UserError("an episode cannot be made aborted afterwards; accepted are success, failure and timeout")
        return self._add(action="outcome", uuid=uuid, why=why, outcome=str(outcome))

    def undo(self, number: int, why: str) -> Entry:
        """Take back an entry that is in force, another undo included.

        Raises:
            UserError: there is no such entry, or it is not in force.
        """
        active = {e.number: e for e in in_force(self.entries())}
        if number not in active:
            raise UserError(
                f"{self._path} has no entry #{number} in force; in force are "
                f"{', '.join(f'#{n}' for n in active) or 'none'}. `hilserl data info RUN` lists them."
            )
        return self._add(action="undo", uuid=active[number].uuid, why=why, undoes=number)

    def _add(self, **fields: object) -> Entry:
        try:
            # A lock of its own: a person may exclude an episode while a session is being recorded.
            with open(self._path, "a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                content = file.read()
                whole = content.rfind(b"\n") + 1
                file.truncate(whole)  # what a crash left unfinished was never acknowledged
                number = content.count(b"\n")
                entry = Entry(number=number, who=_user(), written_unix_s=time.time(), **fields)  # type: ignore[arg-type]
                line = (json.dumps(asdict(entry)) + "\n").encode()
                if file.write(line) != len(line):
                    file.truncate(whole)
                    raise OSError(f"took half a line of {self._path.name}; the disk is full")
                os.fsync(file.fileno())
        except OSError as error:
            raise DiskRefused(self._path, error) from error
        return entry

    def _refresh(self) -> None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            content = b""
        whole = content.rfind(b"\n") + 1
        if whole == self._whole:  # it only grows
            return
        entries = []
        for number, line in enumerate(content[:whole].splitlines()):
            try:
                entry = Entry.from_json(line)
                if entry.number != number:
                    raise ValueError(f"it calls itself entry {entry.number}")
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(
                    f"{self._path}, line {number + 1} is no annotation that this program knows ({error}).\nUse the "
                    "program that wrote it, or restore the file from a backup; the episodes are not touched by it."
                ) from error
            entries.append(entry)
        verdicts: dict[str, Verdict] = {}
        for entry in in_force(entries):
            before = verdicts.get(entry.uuid, Verdict())
            if entry.action == "relabel":
                verdicts[entry.uuid] = replace(before, labels={**before.labels, entry.label: entry})
            elif entry.action == "exclude":
                verdicts[entry.uuid] = replace(before, excluded=entry)
            elif entry.action == "outcome":
                verdicts[entry.uuid] = replace(before, outcome=entry)
        self._whole, self._entries, self._verdicts = whole, entries, verdicts


def judged(commit: Commit, verdict: Verdict) -> Commit:
    """Return the log's line with the outcome that counts now."""
    return commit if verdict.outcome is None else replace(commit, outcome=Outcome(verdict.outcome.outcome))


def _user() -> str:
    try:
        return getpass.getuser()
    except OSError:  # a container without a user database
        return f"uid {os.getuid()}"
