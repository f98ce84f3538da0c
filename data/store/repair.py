"""Putting a damaged store right without losing a byte of it.

Damaged lines of the commit log move to a side file, and readable episodes that the log does not know are written
into it again; an interrupted episode is salvaged from its journal; an episode that cannot be read any more is
excluded by an annotation and stays where it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from data.errors import DiskRefused
from data.schema import Outcome
from data.spec import TaskSpec
from data.store.annotations import Annotations, Verdict
from data.store.commit_log import Commit
from data.store.episode_codec import CorruptEpisode, fsync_path, read_group, require_valid
from data.store.episode_store import EpisodeStore
from data.store.journal import read_journal
from data.store.store_folder import lock_folder, read_store_json

DAMAGED = "commits.damaged"


def repair(path: Path) -> list[str]:
    """Repair the log and the open journals of the store at `path`; return one line per thing done.

    A program that reads the store meanwhile has to be started again afterwards.

    Raises:
        StoreLocked: somebody records into it.
        UserError: there is no store, or a newer program wrote it.
        DiskRefused: nobody may write there.
    """
    spec = read_store_json(path)
    journals, rejected = (set(path.glob(f"{kind}-*.bin")) for kind in ("journal", "rejected"))
    try:
        with lock_folder(path):
            did = _mend_log(path, spec)
            _keep_damaged_journals(path)
    except OSError as error:
        raise DiskRefused(path, error) from error
    known = {c.uuid for c in EpisodeStore.reader(path).commits()}
    with EpisodeStore.create_or_open(path, spec) as store:  # adopts and salvages
        fresh = [c for c in store.commits() if c.uuid not in known]
    did += [
        f"{c.folder}: {'salvaged from a journal' if c.salvaged else 'was whole, but not in the log: now it is'}"
        for c in fresh
    ]
    moved = sorted(set(path.glob("rejected-*.bin")) - rejected)
    did += [f"{p.name}: a journal that cannot be read, kept under this name" for p in moved]
    if done := len(journals) - sum(c.salvaged for c in fresh) - len(moved):
        did.append(f"{done} journals removed: their episodes are committed, or had no step yet")
    return did


def exclude_unreadable(path: Path, commits: Iterable[Commit]) -> list[str]:
    """Read episodes of a store; exclude, with a note, those that are damaged. One line per such episode.

    Raises:
        DiskRefused: nobody may write there.
    """
    annotations, did, store = Annotations(path), [], EpisodeStore.reader(path)
    for commit in commits:
        if annotations.verdicts().get(commit.uuid, Verdict()).excluded is not None:
            continue
        try:
            store.read(commit, native=True)
        except CorruptEpisode as error:
            entry = annotations.exclude(commit.uuid, f"repair: {error}")
            did.append(f"{commit.folder}: excluded (#{entry.number}), its files stay where they are: {error}")
    return did


def _mend_log(path: Path, spec: TaskSpec) -> list[str]:
    """Rewrite the log if a line is damaged, or if a readable episode is missing from its middle."""
    log, lines, damaged = path / "commits.jsonl", {}, []
    for line in log.read_bytes().splitlines(keepends=True) if log.exists() else []:
        try:
            if not line.endswith(b"\n"):
                raise ValueError("unfinished")
            fields = json.loads(line)
            commit = Commit(**fields | {"outcome": Outcome(fields["outcome"])})
            lines[commit.index] = line, commit
        except (ValueError, TypeError, KeyError):
            damaged.append(line)
    uuids, folders = {c.uuid for _, c in lines.values()}, {c.folder for _, c in lines.values()}
    last = max(lines, default=-1)
    found = []
    for group in sorted((path / "episodes").glob("ep_*")):
        try:
            index = int(group.name.removeprefix("ep_"))
            if group.name in folders or index > last:  # what comes after the last line, the store adopts by itself
                continue
            episode, crc = read_group(group, native=True)
            require_valid(episode, spec)
        except (CorruptEpisode, ValueError):
            continue
        if episode.meta.uuid not in uuids:
            commit = Commit.of(episode, index, group.name, crc)
            lines[index] = (json.dumps(asdict(commit)) + "\n").encode(), commit
            uuids.add(commit.uuid)
            found.append(f"{group.name}: was whole, but not in the log: now it is")
    if not damaged and not found:
        return []
    if damaged:
        _append(path / DAMAGED, b"".join(line.rstrip(b"\n") + b"\n" for line in damaged))
    temporary = path / ".commits.jsonl.tmp"
    temporary.write_bytes(b"".join(lines[index][0] for index in sorted(lines)))
    fsync_path(temporary)
    temporary.rename(log)
    fsync_path(path)
    return [f"{len(damaged)} damaged lines of {log.name} moved to {DAMAGED}"] * bool(damaged) + found


def _keep_damaged_journals(path: Path) -> None:
    """Move journals that are damaged from their first record on out of the way of a store that would clear them."""
    for journal in path.glob("journal-*.bin"):
        try:
            unreadable = journal.stat().st_size > 0 and read_journal(journal) is None
        except (ValueError, TypeError, KeyError):  # the store keeps these by itself
            continue
        if unreadable:
            journal.rename(journal.with_name(f"rejected-{journal.name.removeprefix('journal-')}"))


def _append(path: Path, content: bytes) -> None:
    with open(path, "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
