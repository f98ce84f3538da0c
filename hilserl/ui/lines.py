"""How a run stands in lines of text: its episodes, whether learning is sane, and what a resume would restore."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from data.errors import UserError
from data.schema import Outcome
from data.store.commit_log import Commit
from hilserl.loop.diagnosis import diagnose
from hilserl.loop.link import Link
from hilserl.metrics import newest, wilson
from hilserl.runs import find_checkpoint, load_info
from hilserl.ui.coverage import Target, in_words
from hilserl.ui.run_data import RunData

RECENT = 20  # operated episodes
EVENTS = 5  # of the journal
LITTLE_GB = 5.0  # free on disk
DRIFTED, LIGHT = 1.2, (0.75, 1.33)  # a session's median drift, and brightness outside of which, are worth a word
type Line = tuple[str, str]  # label, text


def lines(data: RunData) -> list[Line]:
    """Return all of it: session, one line per kind of episode, progress, learner, health, advice, events, resume."""
    run, rows = data.path, data.rows
    found = [*session(data), *by_kind(data.commits), *recent(data.commits, newest(rows, "health/takeover_s"))]
    found += [*checked(run, newest(rows, "check/version")), *learner(run, newest(rows, "critic_per_step"))]
    found += [
        *health(newest(rows, "health/action")),
        *drift(data.commits),
        *coach(data),
        *places(data),
        *events(data.journal),
    ]
    found += [*resume(run)]
    if data.excluded:
        found.append(
            ("excluded", f"{data.excluded} episodes, in none of these numbers; `hilserl data info` lists them")
        )
    return found


def session(data: RunData) -> Iterator[Line]:
    """Yield when the arm was used last and for how long, by which classifier, and the room that is left."""
    if data.attempts:
        last, steps = data.attempts[-1], [a.stripe.steps for a in data.operated[-RECENT:]]
        each = f", {sum(steps) / len(steps) / data.task.rate_hz:.1f} s an episode lately" if steps else ""
        yield "arm", f"last used {ago(last.started_unix_s)}, {data.minutes[-1]:.0f} minutes in all{each}"
    versions = list(dict.fromkeys(c.detector_version for c in data.commits if c.detector_version))
    if versions:
        earlier = f"; before that {', '.join(versions[:-1])}" if versions[1:] else ""
        yield "classifier", f"version {versions[-1]}{earlier}"
    free_gb = shutil.disk_usage(data.path).free / 1e9
    yield "disk", f"{free_gb:.0f} GB free" + (", make room before the next session" if free_gb < LITTLE_GB else "")


def drift(commits: Iterable[Commit]) -> Iterator[Line]:
    """Yield that the pictures of the newest session are unlike those that the classifier was trained on, if so."""
    measured = [c for c in commits if "drift" in c.notes]
    last = [c for c in measured if c.session == measured[-1].session]
    off, light = (median(float(c.notes[k]) for c in last) if last else 1.0 for k in ("drift", "brightness"))
    if off > DRIFTED or not LIGHT[0] <= light <= LIGHT[1]:
        yield (
            "pictures",
            f"unlike those that the classifier was trained on: drift {off:.1f}, where 1 is their edge; brightness "
            f"{light:.0%} of theirs. Record a few label episodes in this light, and train it again: hilserl record "
            "--purpose=classifier; hilserl classifier train",
        )


def coach(data: RunData) -> Iterator[Line]:
    """Yield what the coach said about the last episodes."""
    given = [e for e in data.journal if e["event"] == "hint"]
    since = data.operated[-RECENT:][0].stripe.number if data.operated else 0
    for hint in [e for e in given if e["last"] >= since][-3:]:
        yield "coach", hint["text"]


def places(data: RunData) -> Iterator[Line]:
    """Yield how much of the area was tried, and where it fails most."""
    found = data.coverage
    tried = found.tries > 0
    if found.of == "object" and tried.any():
        success = np.where(tried, found.wins / np.maximum(found.tries, 1), np.inf)
        cell = divmod(int(success.argmin()), success.shape[1])
        x_m, y_m = found.centre_of(cell)
        worst = in_words(Target(x_m, y_m, f"{found.wins[cell]} of {found.tries[cell]}"))
        yield "places", f"{tried.sum()} of {tried.size} tried; it succeeds least {worst}"


def events(journal: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """Yield what happened last, hints aside."""
    for entry in [e for e in journal if e["event"] != "hint"][-EVENTS:]:
        details = ", ".join(f"{k} {v}" for k, v in entry.items() if k not in ("unix_s", "event", "command"))
        yield "event", f"{ago(entry['unix_s'])}: {entry['event']}{', ' if details else ''}{details}"


def ago(unix_s: float) -> str:
    """Return a moment as people say it: 40 s ago, 12 min ago, 3 h ago, 2 days ago."""
    past_s = max(0.0, time.time() - unix_s)
    for size_s, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if past_s >= 2 * size_s:
            return f"{past_s / size_s:.0f} {unit} ago"
    return f"{past_s:.0f} s ago"


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
    seen = f"{ago(status.unix_s)} {status.phase}"
    yield "learner", f"last seen {seen}, {status.updates} updates, {status.debt} owed{made}"


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
