"""The one way to read episodes: a store, a run, or several merged, with the annotations applied.

Whoever learns from episodes or counts them opens them here; whoever records them opens an `EpisodeStore`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from data.errors import UserError
from data.schema import Episode
from data.spec import SpecMismatch, TaskSpec, require_same
from data.store.annotations import Annotations, Verdict, judged
from data.store.commit_log import Commit
from data.store.episode_codec import CorruptEpisode
from data.store.episode_store import EpisodeStore
from data.store.merge_manifest import MANIFEST, read_manifest

STRIDE = 1_000_000  # more episodes than a store will hold; 2000017 is episode 17 of the third store of a merge


class DamagedEpisode(CorruptEpisode, UserError):
    """An episode cannot be read as it was committed; every other one can."""


class Reader(Protocol):
    """Where committed episodes come from. Indices rise in the order of `commits`, and one always means one episode."""

    spec: TaskSpec

    def commits(self, kind: str | None = None) -> list[Commit]:
        """Return all commits, or those of one kind, oldest first."""

    def tail(self, after: int = -1) -> list[Commit]:
        """Return the commits with an index greater than `after`."""

    def read(self, which: Commit | int, *, native: bool = False) -> Episode:
        """Read and check one episode; CorruptEpisode when its bytes are not those that were committed."""


class AnnotatedReader:
    """A reader that leaves out excluded episodes and applies new labels and outcomes.

    What was excluded after `tail` returned it has been seen by then: a learner that has learned from it does not
    unlearn it, but a resumed one leaves it out.
    """

    def __init__(self, path: Path, source: Reader) -> None:
        self.path = path  # the folder of the store or manifest, where the sidecar is
        self.spec = source.spec
        self.annotations = Annotations(path)
        self.source = source  # without the annotations of `path`

    def commits(self, kind: str | None = None) -> list[Commit]:
        """Return the commits that count, or those of one kind, oldest first."""
        return self._in_force(self.source.commits(kind))

    def tail(self, after: int = -1) -> list[Commit]:
        """Return the commits that count with an index greater than `after`."""
        return self._in_force(self.source.tail(after))

    def read(self, which: Commit | int, *, native: bool = False) -> Episode:
        """Read one episode as it now counts; an excluded one can be read, too, by whoever names it.

        Raises:
            DamagedEpisode: its bytes are not those that were committed.
            UserError: no commit has this index, or its new labels do not fit it.
        """
        try:
            episode = self.source.read(which, native=native)
        except DamagedEpisode:
            raise
        except CorruptEpisode as error:
            raise DamagedEpisode(
                f"{error}.\nEvery other episode can be read. `hilserl data repair {self.path}` leaves this one out, "
                "with a note; its files stay."
            ) from error
        return self.annotations.verdicts().get(episode.meta.uuid, Verdict()).apply(episode)

    def excluded(self) -> list[Commit]:
        """Return the commits that were excluded, oldest first."""
        verdicts = self.annotations.verdicts()
        return [c for c in self.source.commits() if _excluded(verdicts, c)]

    def find(self, name: str) -> Commit:
        """Return the commit with this index or uuid (or its unmistakable beginning), excluded or not.

        Raises:
            UserError: none or several have it.
        """
        commits = self.source.commits()
        found = [c for c in commits if name in (str(c.index), c.uuid)] or [
            c for c in commits if len(name) >= 4 and c.uuid.startswith(name)
        ]
        if len(found) != 1:
            span = f"{len(commits)} episodes, {commits[0].index} to {commits[-1].index}" if commits else "no episode"
            raise UserError(
                f"{self.path} has {'several episodes' if found else 'no episode'} {name!r}; it holds {span}.\n"
                "Accepted is an index, a uuid, or the first 4 or more characters of one. "
                "`hilserl data info RUN --episodes` lists them."
            )
        return found[0]

    def location(self, commit: Commit) -> Path:
        """Return the folder that an episode lies in."""
        if isinstance(self.source, MergedReader):
            return self.source.location(commit)
        return self.path / "episodes" / commit.folder

    def stores(self) -> list[AnnotatedReader]:
        """Return the stores behind a merge, or this one."""
        return self.source.readers if isinstance(self.source, MergedReader) else [self]

    def _in_force(self, commits: Sequence[Commit]) -> list[Commit]:
        verdicts = self.annotations.verdicts()
        return [judged(c, verdicts.get(c.uuid, Verdict())) for c in commits if not _excluded(verdicts, c)]


class MergedReader:
    """Several stores read as one, in the order given.

    An episode's index is `position of its store × STRIDE + its index there`. It names the same episode for ever,
    whichever of the stores goes on growing. `tail` finds what is new in the last store; what is new in the others
    lies below indices that a tailing reader has passed, and is found when it starts again. An episode that lies in
    several stores counts once, in the first.
    """

    def __init__(self, sources: Sequence[tuple[str, AnnotatedReader]]) -> None:
        """Take (name, reader) of each store.

        Raises:
            SpecMismatch: they were made for different specs; the message lists the keys that differ.
        """
        (first, reader), *others = sources
        self.spec: TaskSpec = reader.spec
        for name, other in others:
            require_same(self.spec, other.spec, f"{name} (merged with {first})")
        self.readers = [reader for _, reader in sources]

    def commits(self, kind: str | None = None) -> list[Commit]:
        """Return all commits, or those of one kind, store by store."""
        return [c for c in self.tail() if kind is None or c.kind == kind]

    def tail(self, after: int = -1) -> list[Commit]:
        """Return the commits with an index greater than `after`."""
        seen: set[str] = set()
        found = []
        for position, reader in enumerate(self.readers):
            for commit in reader.commits():
                if commit.uuid in seen:
                    continue
                seen.add(commit.uuid)
                index = position * STRIDE + commit.index
                if index > after:
                    found.append(replace(commit, index=index))
        return found

    def read(self, which: Commit | int, *, native: bool = False) -> Episode:
        """Read one episode from the store it lies in.

        Raises:
            CorruptEpisode: its bytes are not those that were committed.
            UserError: no store has this episode.
        """
        merged_index = which if isinstance(which, int) else which.index
        position, index = divmod(merged_index, STRIDE)
        if not 0 <= position < len(self.readers):
            raise UserError(
                f"no episode {merged_index} in a merge of {len(self.readers)} stores; "
                "`hilserl data info RUN --episodes` lists what it holds"
            )
        return self.readers[position].read(index, native=native)

    def location(self, commit: Commit) -> Path:
        """Return the folder that an episode lies in."""
        return self.readers[commit.index // STRIDE].location(commit)


def open_reader(path: Path | str) -> AnnotatedReader:
    """Open a store, a run (its `store/`) or a merge for reading, also while somebody records into it.

    Raises:
        UserError: none of these is there, a source of the merge is missing, or a newer program wrote it.
        SpecMismatch: the sources of the merge were made for different specs.
    """
    folder = store_folder(path)
    if (folder / MANIFEST).exists():
        manifest = read_manifest(folder)
        merged = MergedReader([(name, open_reader(store)) for name, store in manifest.stores.items()])
        if merged.spec.fingerprint != manifest.spec_fingerprint:
            raise SpecMismatch(
                f"{folder / MANIFEST} was made of stores for the task spec {manifest.spec_fingerprint}, and in their "
                f"place are stores for {merged.spec.fingerprint}.\nMake it again: hilserl data merge"
            )
        return AnnotatedReader(folder, merged)
    return AnnotatedReader(folder, EpisodeStore.reader(folder))


def store_folder(path: Path | str) -> Path:
    """Return the folder of the store or merge that `path` means: itself, or a run that has a `store/`.

    Raises:
        UserError: neither is there; says what is.
    """
    path = Path(path)
    for folder in (path, path / "store"):
        if (folder / "store.json").exists() or (folder / MANIFEST).exists():
            return folder
    names = sorted(p.name for p in path.iterdir()) if path.is_dir() else []
    found = f"it holds {', '.join(names[:5])}" if names else "an empty folder" if path.is_dir() else "no such folder"
    raise UserError(
        f"there are no episodes at {path}: {found}.\nAccepted: a run, its store/ folder, or a folder with a "
        f"{MANIFEST}. `hilserl record` makes a store, `hilserl data merge` a merge."
    )


def _excluded(verdicts: Mapping[str, Verdict], commit: Commit) -> bool:
    return verdicts.get(commit.uuid, Verdict()).excluded is not None
