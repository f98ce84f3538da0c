"""`hilserl learner`: the half of training that updates the policy."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator, Sequence

import torch

from data.errors import UserError
from data.spec import TaskSpec
from hilserl.agents.networks import Policy
from hilserl.agents.policy_file import load_policy
from hilserl.commands.arguments import LearnerArgs, parse
from hilserl.loop.learner import Learner
from hilserl.metrics import MetricsLog
from hilserl.runs import RunDirectory, numbered


def main(argv: Sequence[str]) -> int:
    """Learn from the run's store until SIGTERM or Ctrl-C, then save a checkpoint."""
    args = parse(LearnerArgs, argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)  # imports have set it up otherwise
    torch.set_num_threads(1)  # the other core drives the arm
    stop = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(True))
    task, run = args.read_task(), RunDirectory(args.output_dir)
    start = load_policy(args.policy.path, task)
    with open_door(args, task, start.policy) if args.listen else contextlib.nullcontext():
        learner = Learner(run, task, start, args.learner, planned_episodes=args.episodes)
        if args.resume and numbered(run.checkpoints):  # killed before its first checkpoint: it begins again
            learner.resume()
        with MetricsLog(run.metrics_path) as metrics:
            learner.run(lambda: bool(stop), metrics)
    return 0


@contextlib.contextmanager
def open_door(args: LearnerArgs, task: TaskSpec, start: Policy) -> Iterator[None]:
    """Serve actors on other machines while the block lasts."""
    from hilserl.loop.remote.server import serving
    from hilserl.loop.remote.terms import Terms, is_loopback, parse_address, policy_fingerprint, read_pem, read_token

    if (args.tls_cert is None) != (args.tls_key is None):
        raise UserError("TLS needs both --tls_cert and --tls_key; accepted is both or none. docs/two_machines.md")
    certificate = None
    if args.tls_cert and args.tls_key:
        certificate = read_pem(args.tls_key, "tls_key"), read_pem(args.tls_cert, "tls_cert")
    terms = Terms(task, policy_fingerprint(start), read_token(args.token_file))
    address = parse_address(args.listen, "--listen")
    with serving(args.output_dir, terms, address, certificate) as where:
        logging.info("listening at %s", where)
        if certificate is None and not is_loopback(where):
            logging.warning("not encrypted: others on this network can read the token and the pictures; see --tls_cert")
        yield
