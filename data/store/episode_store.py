"""The durable store of episodes: one zarr group each, and a commit log that is the truth.

    store.json            schema version, task spec, date
    commits.jsonl         one line per episode; an episode exists once its line is on disk
    episodes/ep_000123/   one zarr group
    journal-<uuid>.bin    the episode in progress
    writer.lock           held by the one writer

One writer, any number of readers, which need no lock. Nothing that was committed is ever changed or removed.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
import uuid as uuid_module
from pathlib import Path
from typing import IO, Self

import numpy as np

from data.errors import DiskRefused, UserError
from data.schema import Episode, EpisodeMeta, Observation
from data.spec import TaskSpec, require_same
from data.store.commit_log import Commit, CommitLog
from data.store.episode_codec import (
    CorruptEpisode,
    fsync_path,
    read_group,
    require_valid,
    require_valid_meta,
    write_group,
)
from data.store.journal import Journal, read_journal
from data.store.store_folder import lock_folder, migrate, read_store_json, refuse_foreign_folder, write_store_json

_FOLDER = re.compile(r"ep_(\d{6,})")
_log = logging.getLogger(__name__)


class EpisodeStore:
    """Open with `create_or_open` to write or with `reader` to read; a context manager. Thread-safe."""

    def __init__(self, path: Path, spec: TaskSpec, lock_file: IO[str] | None) -> None:
        """Use `create_or_open` or `reader` instead."""
        self.path = path
        self.spec = spec
        self._lock_file = lock_file
        self._episodes = path / "episodes"
        self._log = CommitLog(path / "commits.jsonl")
        self._journals: dict[str, Journal] = {}
        self._appending = threading.Lock()

    @classmethod
    def create_or_open(cls, path: Path | str, spec: TaskSpec) -> Self:
        """Open the store at `path` as its only writer, making it if need be, and recover what a crash left.

        Raises:
            StoreLocked: another process writes to it.
            SpecMismatch: it was made for another spec; the message lists the keys that differ.
            UserError: `path` holds something that is no store, or a newer program wrote it.
            DiskRefused: nobody may write there, or there is no room.
        """
        path = Path(path)
        lock_file: IO[str] | None = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            refuse_foreign_folder(path)
            lock_file = lock_folder(path)
            if not (path / "store.json").exists():
                write_store_json(path, spec)
            require_same(spec, read_store_json(path), f"the episode store {path}")
            migrate(path)
            store = cls(path, spec, lock_file)
            store._recover()
        except BaseException as error:
            if lock_file is not None:
                lock_file.close()
            if isinstance(error, OSError):
                raise DiskRefused(path, error) from error
            raise
        return store

    @classmethod
    def reader(cls, path: Path | str) -> Self:
        """Open an existing store for reading, also while another process writes to it.

        Raises:
            UserError: there is no store at `path`, or a newer program wrote it.
        """
        return cls(Path(path), read_store_json(Path(path)), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the lock. A journal that is still open stays on disk and is salvaged by the next writer."""
        for journal in self._journals.values():
            journal.close()
        self._journals.clear()
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def append(self, episode: Episode) -> Commit:
        """Commit one episode; when this returns, it survives a crash. Takes about 0.1 s: see `Committer`.

        An episode whose uuid is committed already is not written again; its commit is returned.

        Raises:
            SpecMismatch, ValueError: the episode does not fit the spec of this store.
            DiskRefused: nothing was committed, and the journal of the episode stays.
        """
        self._require_writer()
        require_valid(episode, self.spec)
        with self._appending:
            try:
                commit = self._log.find_uuid(episode.meta.uuid) or self._commit(episode)
            except OSError as error:
                raise DiskRefused(self.path, error) from error
        journal = self._journals.pop(episode.meta.uuid, None)
        if journal is not None:
            journal.discard()
        return commit

    def journal(self, first: Observation, meta: EpisodeMeta) -> Journal:
        """Begin the journal of an episode; `append` of the episode with the same uuid removes it.

        Raises:
            SpecMismatch, ValueError: `meta` does not fit this store.
            FileExistsError: the episode has a journal already.
        """
        self._require_writer()
        require_valid_meta(meta, self.spec)
        journal = Journal(self.path / f"journal-{meta.uuid}.bin", first, meta)
        self._journals[meta.uuid] = journal
        return journal

    def commits(self, kind: str | None = None) -> list[Commit]:
        """Return all commits, or those of one kind, oldest first."""
        return [c for c in self._log.commits() if kind is None or c.kind == kind]

    def tail(self, after: int = -1) -> list[Commit]:
        """Return the commits with an index greater than `after`, reading only what is new in the log."""
        return self._log.tail(after)

    def read(self, which: Commit | int, *, native: bool = False) -> Episode:
        """Read one committed episode and check it; `native` reads the whole camera frames, too, where they were kept.

        Raises:
            CorruptEpisode: its bytes are not those that were committed.
            UserError: no commit has this index.
        """
        if isinstance(which, int):
            found = self._log.tail(which - 1)[:1]
            if not found or found[0].index != which:
                held = [c.index for c in self._log.commits()]
                span = f"{len(held)} episodes, {held[0]} to {held[-1]}" if held else "no episode"
                raise UserError(
                    f"{self.path} has no episode {which}; it holds {span}. List: hilserl status {self.path.parent}"
                )
            which = found[0]
        episode, crc = read_group(self._episodes / which.folder, native)
        if (crc, episode.meta.uuid, len(episode)) != (which.crc32, which.uuid, which.steps):
            raise CorruptEpisode(f"{self._episodes / which.folder} is not the episode that was committed there")
        return episode

    def verify(self) -> list[str]:
        """Read everything; return one line per problem, none when all is well."""
        folders = self._folders()  # before the log: a folder of now may be committed a moment later
        problems = []
        commits = self._log.commits()
        for commit in commits:
            try:
                episode = self.read(commit, native=True)
                require_valid(episode, self.spec)
            except (CorruptEpisode, ValueError) as error:
                problems.append(f"{commit.folder}: {error}")
                continue
            for name in ("state", "proposed", "executed", "reward"):
                if not np.isfinite(getattr(episode, name)).all():
                    problems.append(f"{commit.folder}: {name} holds NaN or infinity")
        known = {c.folder for c in commits}
        problems += [f"{f}: no line in commits.jsonl, so it is ignored" for f in sorted(folders - known)]
        problems += [f"{p.name}: a journal that could not be salvaged" for p in self.path.glob("rejected-*.bin")]
        return problems

    def _require_writer(self) -> None:
        if self._lock_file is None:
            raise RuntimeError(f"{self.path} is closed or open for reading; writing needs create_or_open")

    def _folders(self) -> set[str]:
        return {p.name for p in self._episodes.glob("ep_*") if _FOLDER.fullmatch(p.name)}

    def _commit(self, episode: Episode) -> Commit:
        taken = [c.index for c in self._log.commits()[-1:]] + [_number(f) for f in self._folders()]
        index = max(taken, default=-1) + 1
        target = self._episodes / f"ep_{index:06d}"
        temporary = self._episodes / f".tmp-{uuid_module.uuid4().hex}"
        try:
            crc = write_group(temporary, episode)
            _rename_new(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fsync_path(self._episodes)
        commit = Commit.of(episode, index, target.name, crc)
        self._log.append(commit)
        return commit

    def _recover(self) -> None:
        self._episodes.mkdir(exist_ok=True)
        self._log.truncate_torn_line()
        fsync_path(self.path)
        for stray in self._episodes.glob(".tmp-*"):  # never acknowledged; its journal, if any, is still there
            shutil.rmtree(stray)
        self._adopt_orphans()
        for path in sorted(self.path.glob("journal-*.bin"), key=lambda p: p.stat().st_mtime):
            self._salvage(path)

    def _adopt_orphans(self) -> None:
        """Commit what was renamed but has no line; an older one stays ignored, as indices in the log rise."""
        for folder in sorted(self._folders(), key=_number):
            last = self._log.commits()[-1:]
            if last and _number(folder) <= last[0].index:
                continue
            try:
                episode, crc = read_group(self._episodes / folder, native=True)
                require_valid(episode, self.spec)
            except (CorruptEpisode, ValueError) as error:
                _log.warning("left alone: %s", error)
                continue
            if self._log.find_uuid(episode.meta.uuid) is None:
                fsync_path(self._episodes)
                self._log.append(Commit.of(episode, _number(folder), folder, crc))

    def _salvage(self, path: Path) -> None:
        try:
            salvage = read_journal(path)
            if salvage is not None and salvage.steps:
                commit = self.append(salvage.episode())
                _log.warning("salvaged %d steps of an interrupted episode as %s", commit.steps, commit.folder)
        except (ValueError, TypeError, KeyError) as error:  # written by another version, or by hand
            kept = path.with_name(f"rejected-{path.name.removeprefix('journal-')}")
            path.rename(kept)
            _log.warning("could not salvage a journal, kept as %s: %s", kept, error)
        else:
            path.unlink()


def _number(folder: str) -> int:
    return int(folder.removeprefix("ep_"))


def _rename_new(source: Path, target: Path) -> None:
    if target.exists():  # rename would silently replace an empty folder
        raise FileExistsError(f"{target} exists; an episode is never replaced")
    source.rename(target)
