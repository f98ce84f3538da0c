"""What a store holds, in numbers: from the log, and from the two small arrays of an episode that it does not repeat."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.schema import Outcome, Source
from data.store.commit_log import Commit
from data.store.reader import AnnotatedReader


@dataclass(frozen=True)
class Stage:
    """The episodes of one kind."""

    kind: str
    episodes: int
    steps: int
    outcomes: Counter[Outcome]
    sources: Counter[Source]  # steps by who acted
    policy_versions: tuple[int, ...]  # rising
    unreadable: int  # episodes whose files are damaged; their steps are in no count of `sources`


def stages(reader: AnnotatedReader, commits: Iterable[Commit]) -> list[Stage]:
    """Summarise commits by kind, in the order in which the kinds first occur."""
    by_kind: dict[str, list[Commit]] = {}
    for commit in commits:
        by_kind.setdefault(commit.kind, []).append(commit)
    with ThreadPoolExecutor(4) as pool:  # the time goes into opening files
        return [
            _stage(kind, found, list(pool.map(_actors, [reader.location(c) for c in found])))
            for kind, found in by_kind.items()
        ]


def bytes_on_disk(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    walk = os.walk(folder)
    return sum(os.stat(os.path.join(at, name)).st_size for at, _, names in walk for name in names)


def _stage(kind: str, commits: list[Commit], actors: list[tuple[np.ndarray, np.ndarray] | None]) -> Stage:
    readable = [a for a in actors if a is not None]
    sources: Counter[Source] = Counter()
    for source, _ in readable:
        sources.update(Source(int(s)) for s in source)
    versions = {int(v) for _, version in readable for v in np.unique(version) if v >= 0}
    return Stage(
        kind,
        len(commits),
        sum(c.steps for c in commits),
        Counter(c.outcome for c in commits),
        sources,
        tuple(sorted(versions)),
        len(commits) - len(readable),
    )


def _actors(group: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Read source and policy version of every step, unchecked; None when they cannot be read."""
    import zarr

    try:
        source, version = (
            np.asarray(zarr.open_array(store=group / n, mode="r")[...]) for n in ("source", "policy_version")
        )
        return source, version
    except Exception:  # whatever a damaged file makes zarr raise; `verify` says what it is
        return None
