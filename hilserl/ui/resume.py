"""The resume card: what a run is, what a resume restores, and what can be done before anything moves."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.schema import Outcome
from data.store.commit_log import Commit
from data.store.reader import open_reader
from hilserl.loop.checks import Check
from hilserl.metrics import newest, read_metrics
from hilserl.runs import TENSORS, find_checkpoint, load_info
from hilserl.ui.again import commands
from hilserl.ui.attempts import KINDS

RECENT = 20  # operated episodes
RESUME = "resume.json"  # in the run: the card of its newest session, for the page
_INSTEAD = ("first, in a shell", "evaluate 10 first", "go back to the best")  # of going on
PARTS = {  # beginning of the tensors' names: what people call it
    "policy.": "policy",
    "critic.": "critics",
    "agent.target.": "targets",
    "optimizer.": "optimisers",
    "agent.log_temperature": "temperature",
    "rng.": "random numbers",
}


@dataclass(frozen=True)
class ResumeCard:
    """A run before it goes on."""

    name: str
    checkpoint: str
    best: str  # the checkpoint to go back to; "" when none was marked
    last_used_unix_s: float
    operated: int
    updates: int
    recent: Check  # the last operated episodes
    untouched: Check | None  # the newest check; None before the first
    restored: tuple[tuple[str, bool], ...]  # part, and whether the checkpoint has it
    replay_steps: int  # that are read from the store again
    human_steps: int  # of these, driven by a person
    changes: tuple[str, ...]  # flags that are not what they were
    next: tuple[tuple[str, str], ...]  # what can be done, and the command for it

    def text(self) -> str:
        """Return the card for a terminal."""
        lines = [*self._standing(), f"from checkpoint {self.checkpoint}: {', '.join(self._parts())}"]
        lines += ["changed since:", *self.changes] if self.changes else ["changed since: nothing"]
        if self._has_better():
            lines.append(f"the best that was checked is checkpoint {self.best}; to go back to it: --rollback=best")
        return "\n".join(textwrap.fill(line, 110, subsequent_indent="    ") for line in lines)

    def to_json(self) -> dict[str, Any]:
        """Return the card for the page: lines, parts, changes, and (what for, command) of what else could be done."""
        other = [] if self._has_better() else ["go back to the best"]
        return {
            "standing": self._standing(),
            "checkpoint": self.checkpoint,
            "parts": self._parts(),
            "changes": self.changes,
            "next": [(what, command) for what, command in self.next if what in _INSTEAD and what not in other],
        }

    def _standing(self) -> list[str]:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.last_used_unix_s))
        head = f"{self.name} · last used {used} · {self.operated} operated episodes · {self.updates} updates"
        success = f"success with your help {self.recent.wins} of the last {self.recent.n}"
        return [head, f"{success} · newest check {self.untouched or 'none yet'}"]

    def _parts(self) -> list[str]:
        parts = [f"{name} {'✓' if there else 'NEW'}" for name, there in self.restored]
        return [*parts, f"replay {self.replay_steps} steps, {self.human_steps} of them by a person ✓"]

    def _has_better(self) -> bool:
        return self.best not in ("", self.checkpoint)


def resume_card(run: Path, changes: Sequence[str] = ()) -> ResumeCard:
    """Return the card of a run.

    Args:
        run: directory of the run.
        changes: lines about flags that differ from last time.

    Raises:
        UserError: there is no checkpoint to resume from.
    """
    folder, info = find_checkpoint(run), load_info(run)
    commits = [c for c in open_reader(run).commits() if c.kind in KINDS]
    journal, rows = (read_metrics(run / n) if (run / n).exists() else [] for n in ("journal.jsonl", "metrics.jsonl"))
    operated = [c for c in commits if c.kind == "online" and c.outcome != Outcome.ABORTED]
    return ResumeCard(
        name=run.absolute().name,
        checkpoint=folder.name,
        best=_best(run),
        last_used_unix_s=max([c.started_unix_s for c in commits], default=folder.stat().st_mtime),
        operated=len(operated),
        updates=info["updates"],
        recent=_count(operated[-RECENT:]),
        untouched=_checked(newest(rows, "check/version")),
        restored=tuple(_restored(folder)),
        replay_steps=sum(c.steps for c in commits),
        human_steps=sum(c.human_steps for c in commits),
        changes=tuple(changes),
        next=tuple(commands(run, journal, len(operated))),
    )


def _restored(folder: Path) -> Iterator[tuple[str, bool]]:
    """Yield each part that a resume restores, and whether it is there; only the list of names is read."""
    from safetensors import safe_open

    with safe_open(folder / TENSORS, "np") as file:
        names = list(file.keys())
    for beginning, part in PARTS.items():
        there = any(name.startswith(beginning) for name in names)
        if there or part in ("policy", "optimisers", "random numbers"):  # not every agent has the others
            yield part, there


def _count(commits: Sequence[Commit]) -> Check:
    return Check(0, sum(c.outcome == Outcome.SUCCESS for c in commits), len(commits))


def _checked(row: Mapping[str, Any]) -> Check | None:
    return Check(row["check/version"], row["check/wins"], row["check/n"]) if row else None


def _best(run: Path) -> str:
    try:
        return find_checkpoint(run, "best").name
    except UserError:
        return ""
