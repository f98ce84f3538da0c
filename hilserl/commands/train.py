"""`hilserl train`: learner and actor together, started, watched and stopped as one."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import draccus

from data.errors import UserError
from hilserl.commands.arguments import TrainArgs, parse
from hilserl.commands.processes import start, stop
from hilserl.runs import RunDirectory


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
    finally:
        stop(actor)
        stop(learner)
    if actor.returncode != 0:
        raise ProcessLost(f"the actor ended early (status {actor.returncode}); go on with --resume")
    return 0
