"""A new store of the episodes that count, with their annotations applied. The source is read and nothing else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from data.errors import DiskRefused, UserError
from data.labels import from_mask
from data.store.annotations import Annotations
from data.store.commit_log import Commit
from data.store.episode_store import EpisodeStore
from data.store.reader import AnnotatedReader


def compact(reader: AnnotatedReader, commits: Iterable[Commit], target: Path) -> EpisodeStore:
    """Write `commits` of `reader` to a new store at `target`, check all of it, and return it open for reading.

    The store appears under its name when it is whole. An episode that an annotation changed says so in its notes,
    with the numbers of the entries; its uuid stays, so that a merge with the source counts it once.

    Raises:
        UserError: `target` exists.
        CorruptEpisode: an episode cannot be read; exclude it first, `hilserl data repair` does.
        DiskRefused: the disk is full or read-only.
    """
    if target.exists():
        raise UserError(f"{target} exists; name a folder that is new")
    # entries of the stores behind a merge, and of the merge
    verdicts = [r.annotations.verdicts() for r in dict.fromkeys([*reader.stores(), reader])]
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        with EpisodeStore.create_or_open(temporary, reader.spec) as store:
            for commit in commits:
                episode = reader.read(commit, native=True)
                made = [v for v in (level.get(commit.uuid) for level in verdicts) if v is not None]
                if used := [f"#{e.number} {e.describe()}" for v in made for e in (*v.labels.values(), v.outcome) if e]:
                    notes = dict(episode.meta.notes) | {"annotated": "; ".join(used)}
                    episode = replace(episode, meta=replace(episode.meta, notes=notes))
                store.append(episode)
                for name, mask in episode.labels.items():  # an episode on disk holds no others than success
                    Annotations(temporary).relabel(episode.meta.uuid, from_mask(mask), "compacted", name)
            if problems := store.verify():
                raise OSError(f"what was written reads differently: {problems[0]}")
        temporary.chmod(0o755)  # mkdtemp makes it private
        temporary.rename(target)
    except OSError as error:
        raise error if isinstance(error, DiskRefused) else DiskRefused(target, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return EpisodeStore.reader(target)
