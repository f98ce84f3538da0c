"""`hilserl train`: learner and actor together, started, watched and stopped as one."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence

import draccus

from data.errors import UserError
from data.store.reader import open_reader
from hilserl.commands.arguments import TrainArgs, parse
from hilserl.commands.processes import start, stop
from hilserl.loop.learner import KINDS
from hilserl.loop.link import Link
from hilserl.runs import RunDirectory

FINISH_S = 60.0  # for the updates that the last episodes still allow


class ProcessLost(UserError):
    """The learner or the actor ended early."""


def main(argv: Sequence[str]) -> int:
    """Run both halves until the actor has its episodes."""
    args = parse(TrainArgs, argv)
    run = RunDirectory(args.output_dir)
    if any(run.checkpoints.iterdir()) and not args.resume:
        raise UserError(
            f"{args.output_dir} holds a training run already. Go on with it: --resume; or choose another --output_dir"
        )
    run.write_json("train.json", json.loads(json.dumps(draccus.encode(args))))
    learner = start(["learner", *argv], run.path / "learner.log")
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
    if actor.returncode != 0:
        raise ProcessLost(f"the actor ended early (status {actor.returncode}); go on with --resume")
    if learner.returncode != 0:
        raise ProcessLost(
            f"the learner did not save its last checkpoint (status {learner.returncode}); see "
            f"{run.path / 'learner.log'}, then go on with --resume"
        )
    return 0


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
