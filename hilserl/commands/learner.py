"""`hilserl learner`: the half of training that updates the policy."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence

import torch

from hilserl.agents.policy_file import load_policy
from hilserl.commands.arguments import TrainArgs, parse
from hilserl.loop.learner import Learner
from hilserl.metrics import MetricsLog
from hilserl.runs import RunDirectory, numbered


def main(argv: Sequence[str]) -> int:
    """Learn from the run's store until SIGTERM or Ctrl-C, then save a checkpoint."""
    args = parse(TrainArgs, argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)  # the other core drives the arm
    stop = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(True))
    task, run = args.read_task(), RunDirectory(args.output_dir)
    learner = Learner(run, task, load_policy(args.policy.path, task), args.learner, planned_episodes=args.episodes)
    if args.resume and numbered(run.checkpoints):  # killed before its first checkpoint: it begins again
        learner.resume()
    with MetricsLog(run.metrics_path) as metrics:
        learner.run(lambda: bool(stop), metrics)
    return 0
