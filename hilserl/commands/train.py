"""`hilserl train`: learner and actor together, started, watched and stopped as one."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import draccus

from data.errors import UserError
from data.store.reader import open_reader
from hilserl.commands.arguments import TrainArgs, parse
from hilserl.commands.page import page_beside
from hilserl.commands.processes import start, stop
from hilserl.loop.changes import Change, changed, require_same_meaning
from hilserl.loop.learner import KINDS
from hilserl.loop.link import Link
from hilserl.loop.rollback import roll_back
from hilserl.runs import RunDirectory, numbered
from hilserl.ui.address import UiArgs
from hilserl.ui.curves import read_names
from hilserl.ui.report import write_report
from hilserl.ui.resume import RESUME, resume_card

LEARNER_NICE = 5  # the arm's ticks come first; what is left of the machine is the learner's
CURVES_NICE = 15  # whoever only watches comes last
FINISH_S = 60.0  # for the updates that the last episodes still allow


class ProcessLost(UserError):
    """The learner or the actor ended early."""


def main(argv: Sequence[str]) -> int:
    """Run both halves until the actor has its episodes."""
    args = parse(TrainArgs, argv)
    run, copies = RunDirectory(args.output_dir), read_names(f"{args.curves},{'rerun' if args.display_data else ''}")
    if any(run.checkpoints.iterdir()) and not args.resume and not args.rollback:
        raise UserError(
            f"{args.output_dir} holds a training run already. Go on with it: --resume; or choose another --output_dir"
        )
    for line in prepare(run, args):
        print(line)
    run.journal("started", command=shlex.join(["hilserl", "train", *argv]))
    if args.rollback:
        argv = [*argv, "--resume=true"]
    with page_beside(args.ui, run.path), copied(run.path, copies):
        learner = start(["learner", *argv], run.path / "learner.log", LEARNER_NICE)
        actor = start(["actor", *argv])
        try:
            while actor.poll() is None:
                if learner.poll() is not None:
                    raise ProcessLost(
                        f"the learner ended early (status {learner.returncode}); see {run.path / 'learner.log'}. "
                        "The arm holds and every finished episode is stored. Go on with --resume"
                    )
                time.sleep(0.1)
            if actor.returncode == 0:
                let_finish(learner, args)
        finally:
            stop(actor)
            stop(learner)
            report(run.path)
    if actor.returncode != 0:
        raise ProcessLost(f"the actor ended early (status {actor.returncode}); go on with --resume")
    if learner.returncode != 0:
        raise ProcessLost(
            f"the learner did not save its last checkpoint (status {learner.returncode}); see "
            f"{run.path / 'learner.log'}, then go on with --resume"
        )
    return 0


def prepare(run: RunDirectory, args: TrainArgs) -> list[str]:
    """Note with which flags the run goes on, and roll it back if that was asked for; return what to tell the person.

    Raises:
        UserError: the flags do not go with the run's checkpoint, or there is none to go back to.
    """
    flags = json.loads(json.dumps(draccus.encode(replace(args, ui=UiArgs()))))  # another port is no other training
    noted, changes = run.path / "train.json", list[Change]()
    (run.path / RESUME).unlink(missing_ok=True)  # of the session before
    if numbered(run.checkpoints):
        require_same_meaning(run.path, args.read_task(), args.policy.path, args.learner)
        changes = changed(json.loads(noted.read_text()), flags) if noted.exists() else []
    lines = [roll_back(run, args.rollback)] if args.rollback else []
    if changes:
        run.journal("changed flags", flags={c.flag: [c.old, c.new] for c in changes})
    if numbered(run.checkpoints):
        lines.append(card(run, [*map(str, changes)]))
    run.write_json("train.json", flags)
    return lines


@contextlib.contextmanager
def copied(run: Path, names: Sequence[str]) -> Iterator[None]:
    """Keep copies of the run's numbers and episodes up to date meanwhile, by a process of its own."""
    command = ["curves", str(run), f"--to={','.join(names)}", "--follow"]
    copiers = [start(command, run / "curves.log", CURVES_NICE)] if names else []
    try:
        yield
    finally:
        for copier in copiers:
            stop(copier)


def card(run: RunDirectory, changes: Sequence[str]) -> str:
    """Return the resume card, which the page gets, too; whatever is wrong with it must not end the run."""
    try:
        found = resume_card(run.path, changes)
        run.write_json(RESUME, found.to_json())
        return found.text()
    except Exception as error:
        return "\n".join([f"no resume card: {error}", *changes])


def report(run: Path) -> None:
    """Write the run report; whatever goes wrong with it must not hide why the run ended."""
    try:
        print(f"Report: {write_report(run)}", flush=True)
    except Exception as error:
        print(f"No report: {error}. `hilserl report {run}` tries again.", flush=True)


def let_finish(learner: subprocess.Popen[bytes], args: TrainArgs) -> None:
    """Wait until the learner has seen every episode and owes no update, or for `FINISH_S`."""
    link, store = Link(args.output_dir), open_reader(args.output_dir)
    episodes = sum(c.kind in KINDS for c in store.commits())
    deadline_s = time.monotonic() + FINISH_S
    while learner.poll() is None and time.monotonic() < deadline_s:
        status = link.learner()
        if status is not None and status.episodes >= episodes and status.debt == 0:
            return
        time.sleep(0.1)
