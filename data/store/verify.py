"""Reading everything and saying what is not as it should be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from data.columns import ColumnRange
from data.lint import lint
from data.schema import Episode, Source
from data.store.commit_log import Commit
from data.store.episode_codec import CorruptEpisode, require_valid
from data.store.reader import AnnotatedReader


@dataclass
class Report:
    """One line per thing found."""

    problems: list[str] = field(default_factory=list)  # data that is damaged, or that training refuses
    warnings: list[str] = field(default_factory=list)  # for a person to look at


def verify(reader: AnnotatedReader, commits: Iterable[Commit]) -> Report:
    """Check `commits` of one store or merge: bytes against checksums, episodes against log, spec, invariants and lint.

    What was excluded belongs in neither: a damaged episode that `repair` excluded is settled.

    Raises:
        UserError: the log or the annotations are damaged.
    """
    report, columns = Report(), ColumnRange(reader.spec.observation)
    last, uuids = -1, set()
    for commit in commits:
        where = f"{commit.index} ({reader.location(commit)})"
        if commit.index <= last or commit.uuid in uuids:
            report.problems.append(f"{where}: its number or uuid is in the log twice")
        last = commit.index
        uuids.add(commit.uuid)
        try:
            episode = reader.read(commit, native=True)
            require_valid(episode, reader.spec)
        except (CorruptEpisode, ValueError) as error:
            report.problems.append(f"{where}: {error}")
            continue
        report.problems += [f"{where}: {words}" for words in _disagreements(commit, episode)]
        for finding in lint(episode, reader.spec):
            (report.problems if finding.severity == "error" else report.warnings).append(f"{where}: {finding}")
        if np.isfinite(episode.state).all():
            columns.add(episode)
    report.problems += columns.dead()
    report.warnings += columns.constant()
    for store in reader.stores():
        report.warnings += _leftovers(store)
    return report


def _disagreements(commit: Commit, episode: Episode) -> Iterator[str]:
    """What the log says about an episode, against the episode."""
    truth = Commit.of(episode, commit.index, commit.folder, commit.crc32)
    for name in ("kind", "outcome", "human_steps", "detector_version", "salvaged", "session"):
        said, is_so = getattr(commit, name), getattr(truth, name)
        if said != is_so:
            yield f"the log says {name} {said!r}, the episode {is_so!r}"
    if not np.isin(episode.source, [int(s) for s in Source]).all():
        yield f"source holds {int(episode.source.max())}, which is nobody"
    p = episode.p_success[np.isfinite(episode.p_success)]
    if ((p < 0) | (p > 1)).any():
        yield f"p_success reaches from {p.min():.3g} to {p.max():.3g}"


def _leftovers(store: AnnotatedReader) -> list[str]:
    """What lies in a store and is no episode."""
    logged = {c.folder for c in store.source.commits()}
    folders = (p.name for p in sorted((store.path / "episodes").glob("ep_*")))
    lines = [
        f"{store.path}: {name} is not in the log, so it is ignored: hilserl data repair"
        for name in folders
        if name not in logged
    ]
    lines += [
        f"{store.path}: {p.name} belongs to an episode in progress or interrupted; once nobody records: "
        "hilserl data repair"
        for p in sorted(store.path.glob("journal-*.bin"))
    ]
    return lines + [f"{p}: a journal that could not be salvaged" for p in sorted(store.path.glob("rejected-*.bin"))]
