"""How a run stands in lines of text: its episodes, whether learning is sane, and what a resume would restore."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.schema import Outcome
from data.store.commit_log import Commit
from data.store.reader import AnnotatedReader
from hilserl.loop.diagnosis import diagnose
from hilserl.loop.link import Link
from hilserl.metrics import newest, wilson
from hilserl.runs import find_checkpoint, load_info

RECENT = 20  # operated episodes
type Line = tuple[str, str]  # label, text


def lines(run: Path, store: AnnotatedReader, rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Return all of it: one line per kind of episode, then progress, learner, health, and what a resume begins with.

    Args:
        run: directory of the run.
        store: its episodes.
        rows: of its metrics.
    """
    commits = store.commits()
    found = [*by_kind(commits), *recent(commits, newest(rows, "health/takeover_s"))]
    found += [*checked(run, newest(rows, "check/version")), *learner(run, newest(rows, "critic_per_step"))]
    found += [*health(newest(rows, "health/action")), *resume(run)]
    if excluded := len(store.excluded()):
        found.append(("excluded", f"{excluded} episodes, in none of these numbers; `hilserl data info` lists them"))
    return found


def by_kind(commits: Sequence[Commit]) -> Iterator[Line]:
    """Yield how the episodes of each kind went."""
    for kind in dict.fromkeys(c.kind for c in commits):
        counted = [c for c in commits if c.kind == kind and c.outcome != Outcome.ABORTED]
        aborted = sum(c.kind == kind for c in commits) - len(counted)
        yield kind, f"{len(counted):4} finished, {aborted} cut short; {_success(counted)}, {_driven(counted)}"


def recent(commits: Iterable[Commit], row: Mapping[str, Any]) -> Iterator[Line]:
    """Yield how the last operated episodes went, and how much of them a person drove."""
    last = [c for c in commits if c.kind == "online" and c.outcome != Outcome.ABORTED][-RECENT:]
    if last:
        longest = f"; longest take-over {row['health/takeover_s']:.1f} s" if row else ""
        yield f"last {len(last)}", f"{_success(last)}, {_driven(last)}{longest}"


def checked(run: Path, row: Mapping[str, Any]) -> Iterator[Line]:
    """Yield what the untouched episodes between the operated ones say."""
    if row:
        low, high = 100 * row["check/low"], 100 * row["check/high"]
        success = f"{row['check/wins']} of {row['check/n']} ({low:.0f} to {high:.0f} %)"
        yield "untouched", f"{success} after {row['check/version']} updates, the newest policy that was checked"
    try:
        best = find_checkpoint(run, "best").name
    except UserError:
        return
    found = f": {row['check/best_found']}" if row else ""
    yield "best", f"checkpoint {best}{found}; to use it: --policy.path=RUN/best"
    if row and row["check/alarm"]:
        advice = (
            "Has the light, a camera or the scene changed? Did a wrong success get in (`hilserl data show`, then "
            "`hilserl data exclude`)? To go back: `hilserl train ... --rollback=best`."
        )
        yield "ALARM", f"{row['check/alarm']}. {advice}"


def learner(run: Path, row: Mapping[str, Any]) -> Iterator[Line]:
    """Yield what the learner does, and how many updates it makes per step."""
    status = Link.peek(run)
    if status is None:
        return
    made = f"; per step {row['critic_per_step']:.2f} updates, {row['actor_per_step']:.2f} of the actor" if row else ""
    flags = run / "train.json"
    if made and flags.exists():
        asked = json.loads(flags.read_text())["learner"]
        made += f" (asked for: {asked['utd']:g}"
        every = asked.get(asked["agent"], {}).get("actor_every")
        made += f" and {asked['utd'] / every:.2f})" if every else ")"
    yield "learner", f"last seen {status.phase}, {status.updates} updates, {status.debt} owed{made}"


def health(row: Mapping[str, Any]) -> Iterator[Line]:
    """Yield what is wrong with learning, or that nothing is."""
    if row:
        found = [f"{words[0].upper()}{words[1:]}" for words in diagnose(row).values()]
        for text in found or [f"nothing looks wrong after {row['updates']} updates"]:
            yield "WARNING" if found else "health", text


def resume(run: Path) -> Iterator[Line]:
    """Yield what the next session begins with."""
    try:
        folder, info = find_checkpoint(run), load_info(run)
    except UserError:
        yield "resume from", "no checkpoint yet; training would begin with the stored episodes"
        return
    what = "actor, critics, optimisers and random numbers; the replay is read from the store"
    did = f"{info['updates']} updates, {info['operated_episodes']} operated episodes"
    yield "resume from", f"checkpoint {folder.name}: {did}: {what}"


def _success(counted: Sequence[Commit]) -> str:
    wins = sum(c.outcome == Outcome.SUCCESS for c in counted)
    low, high = wilson(wins, len(counted))
    return f"success {wins}/{len(counted)} ({low:.0%} to {high:.0%})"


def _driven(counted: Sequence[Commit]) -> str:
    share = sum(c.human_steps for c in counted) / max(1, sum(c.steps for c in counted))
    return f"{share:.0%} of the steps by a person"
