"""`hilserl data info`: what a run's store, or a merge, holds. For how training stands: `hilserl status`."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.store.commit_log import Commit
    from data.store.reader import AnnotatedReader
    from data.store.summary import Stage


def main(argv: Sequence[str]) -> int:
    """Print tables of episodes by stage, of sessions and detectors, and the annotations in force."""
    parser = argparse.ArgumentParser(prog="hilserl data info", description=__doc__)
    parser.add_argument("run", type=Path, help="run, store or merge, e.g. runs/demo")
    parser.add_argument("--episodes", action="store_true", help="list every episode, excluded ones too")
    parser.add_argument("--history", action="store_true", help="list all annotations, those taken back too")
    args = parser.parse_args(list(argv))
    from data.store.annotations import in_force
    from data.store.reader import open_reader
    from data.store.summary import bytes_on_disk, stages

    reader = open_reader(args.run)
    commits, excluded, spec = reader.commits(), reader.excluded(), reader.spec
    steps = sum(c.steps for c in commits)
    print(f"{reader.path}: {len(commits)} episodes, {steps} steps, {steps / spec.rate_hz / 60:.1f} min of arm time")
    for store in reader.stores():
        print(f"  store      {store.path}: {bytes_on_disk(store.path) / 1e6:.1f} MB on disk")
    cameras = ", ".join(f"{c.name} {c.size_px} px" for c in spec.observation.cameras)
    state = f"state of {spec.observation.state_dim}"
    print(f"  task       {spec.name}, spec {spec.fingerprint}: {cameras}; {state}; {spec.rate_hz:g} Hz")
    table([_row(stage) for stage in stages(reader, commits)])
    _groups("session", commits, lambda c: c.session)
    _groups("detector", commits, lambda c: c.detector_version)
    _noted(commits)
    if any(c.salvaged for c in commits):
        print(f"  salvaged   {sum(c.salvaged for c in commits)} episodes were rebuilt after a crash")
    if excluded:
        print(f"  excluded   {len(excluded)} episodes, in none of the numbers above")
    entries = reader.annotations.entries()
    for entry in entries if args.history else in_force(entries):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.written_unix_s))
        if args.history or entry.action != "undo":
            print(f"  note #{entry.number:<4} {when} {entry.who}: {entry.uuid} {entry.describe()}; {entry.why}")
    if args.episodes:
        _list(reader, commits, excluded)
    return 0


def table(rows: Sequence[dict[str, str]]) -> None:
    """Print rows under their common keys; columns that are empty in all of them are left out."""
    names = [n for n in (rows[0] if rows else {}) if any(r[n] for r in rows)]
    widths = {n: max(len(n), *(len(r[n]) for r in rows)) for n in names}
    for row in [{n: n for n in names}, *rows] if names else []:
        cells = (row[n].ljust(widths[n]) if n == names[0] else row[n].rjust(widths[n]) for n in names)
        print("  " + "  ".join(cells))


def _row(stage: Stage) -> dict[str, str]:
    from data.schema import Outcome, Source

    acted = max(1, sum(stage.sources.values()))
    versions = [str(v) for v in stage.policy_versions]
    return {
        "kind": stage.kind,
        "episodes": str(stage.episodes),
        "steps": str(stage.steps),
        **{str(o): str(stage.outcomes[o] or "") for o in Outcome},
        **{s.name.lower(): f"{stage.sources[s] / acted:.0%}" if stage.sources[s] else "" for s in Source},
        "policy versions": versions[0] + (f"..{versions[-1]} ({len(versions)})" if versions[1:] else "")
        if versions
        else "",
        "unreadable": str(stage.unreadable or ""),
    }


def _groups(name: str, commits: Iterable[Commit], key: Callable[[Commit], str]) -> None:
    groups = Counter(map(key, commits))
    for value, count in groups.items():
        if value or len(groups) > 1:
            print(f"  {name:10} {value or '(none)'}: {count} episodes")


def _noted(commits: Iterable[Commit]) -> None:
    """Print what the actor noted: how often limits held the arm back, and what was odd about recordings."""
    limits: Counter[str] = Counter()
    for commit in commits:
        limits.update({n.removeprefix("limit_"): int(v) for n, v in commit.notes.items() if n.startswith("limit_")})
        if "doubts" in commit.notes:
            print(f"  doubtful   episode {commit.index}: {commit.notes['doubts']}")
    if limits:
        print(f"  limits     held the arm back: {', '.join(f'{n} {count}' for n, count in limits.most_common())} times")


def _list(reader: AnnotatedReader, commits: Sequence[Commit], excluded: Sequence[Commit]) -> None:
    out = {c.uuid for c in excluded}
    table(
        [
            {
                "episode": str(c.index),
                "uuid": c.uuid,
                "recorded": time.strftime("%m-%d %H:%M", time.localtime(c.started_unix_s)),
                "kind": c.kind,
                "outcome": str(c.outcome),
                "steps": str(c.steps),
                "human": f"{c.human_steps / c.steps:.0%}" if c.human_steps else "",
                "": "excluded" if c.uuid in out else "salvaged" if c.salvaged else "",
            }
            for c in sorted([*commits, *excluded], key=lambda c: c.index)
        ]
    )
