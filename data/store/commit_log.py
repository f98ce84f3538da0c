"""The commit log: one JSON line per episode. What it lists exists, what it does not list does not."""

from __future__ import annotations

import bisect
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from data.errors import UserError
from data.schema import Episode, Outcome, Source


@dataclass(frozen=True)
class Commit:
    """One committed episode, as the log knows it: enough to choose episodes without opening them."""

    index: int  # unique in the store, rising, never reused
    folder: str  # below episodes/
    uuid: str
    steps: int  # transitions T
    kind: str
    outcome: Outcome
    crc32: int  # over every array
    detector_version: str
    salvaged: bool
    started_unix_s: float
    human_steps: int  # steps whose source is a person
    session: str = ""  # empty in stores of version 1
    notes: Mapping[str, str | float | int | bool] = field(default_factory=dict)

    @staticmethod
    def of(episode: Episode, index: int, folder: str, crc32: int) -> Commit:
        """Describe a written episode."""
        meta = episode.meta
        return Commit(
            index=index,
            folder=folder,
            uuid=meta.uuid,
            steps=len(episode),
            kind=meta.kind,
            outcome=meta.outcome,
            crc32=crc32,
            detector_version=meta.detector_version,
            salvaged=meta.salvaged,
            started_unix_s=meta.started_unix_s,
            human_steps=int((episode.source == Source.HUMAN).sum()),
            session=meta.session,
            notes=dict(meta.notes),
        )


class CommitLog:
    """A log file and what was read of it so far. Thread-safe; a reader may open it before it exists."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._offset = 0  # end of the last whole line that was read
        self._commits: list[Commit] = []
        self._by_uuid: dict[str, Commit] = {}

    def commits(self) -> list[Commit]:
        """Return all commits, oldest first; only lines written since the last call are read."""
        with self._lock:
            self._refresh()
            return list(self._commits)

    def tail(self, after: int) -> list[Commit]:
        """Return the commits with an index greater than `after`, oldest first."""
        with self._lock:
            self._refresh()
            return self._commits[bisect.bisect_right(self._commits, after, key=lambda c: c.index) :]

    def find_uuid(self, uuid: str) -> Commit | None:
        """Return the commit of the episode with this uuid."""
        with self._lock:
            self._refresh()
            return self._by_uuid.get(uuid)

    def append(self, commit: Commit) -> None:
        """Add one line and return when it is durable. Only the writer of the store may call this."""
        line = (json.dumps(asdict(commit)) + "\n").encode()
        with open(self._path, "ab", buffering=0) as log:
            start = log.tell()
            try:
                written = log.write(line)
                if written != len(line):
                    raise OSError(f"{self._path} took {written} of {len(line)} bytes; is the disk full?")
                os.fsync(log.fileno())
            except OSError:
                os.ftruncate(log.fileno(), start)  # half a line would damage the next one
                raise

    def truncate_torn_line(self) -> None:
        """Create the log, or cut off a last line that a crash left unfinished. For the writer, on opening."""
        with open(self._path, "a+b") as log:
            log.seek(0)
            log.truncate(log.read().rfind(b"\n") + 1)
            os.fsync(log.fileno())

    def _refresh(self) -> None:
        try:
            with open(self._path, "rb") as log:
                log.seek(self._offset)
                fresh = log.read()
        except FileNotFoundError:
            return
        for line in fresh[: fresh.rfind(b"\n") + 1].splitlines(keepends=True):
            try:
                fields = json.loads(line)
                commit = Commit(**{**fields, "outcome": Outcome(fields["outcome"])})
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(
                    f"{self._path}, byte {self._offset}: this line is no commit ({error}).\n"
                    "Accepted is one JSON object per line, as this program writes it. The episodes are "
                    "intact: restore the log from a backup, or move the damaged line to another file, "
                    "or run `hilserl data repair RUN`."
                ) from error
            self._offset += len(line)
            self._commits.append(commit)
            self._by_uuid.setdefault(commit.uuid, commit)
