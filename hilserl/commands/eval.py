"""`hilserl eval`: untouched episodes, success with its interval."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from data.errors import UserError
from data.schema import Outcome
from data.store.reader import open_reader
from hilserl.agents.policy_file import load_policy
from hilserl.commands.arguments import EvalArgs, parse
from hilserl.commands.wiring import EpisodeBar, open_actor, read_detector
from hilserl.loop.learner import KINDS
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.loop.session import SessionConfig
from hilserl.metrics import wilson
from hilserl.runs import TENSORS, find_checkpoint


def main(argv: Sequence[str]) -> int:
    """Run the policy's mode without take-overs; failure and success buttons label, STOP stops."""
    args = parse(EvalArgs, argv)
    task = args.read_task()
    policy = PolicyRunner(load_policy(args.policy.path, task).policy, args.seed)
    weights = find_checkpoint(args.policy.path) / TENSORS
    driver = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    session = SessionConfig(
        kind=args.name, episodes=args.episodes, give_up_s=args.give_up_s, notes={"policy": driver}, seed=args.seed
    )
    require_free_name(args, driver)
    detector = read_detector(args.classifier, task)
    with (
        open_actor(args, task, policy=policy, detector=detector) as actor,
        EpisodeBar("untouched", args.episodes, actor.count(session.kind)) as bar,
    ):
        actor.run(session, bar, say=bar.say)
    commits = open_reader(args.output_dir).commits(args.name)
    counted = [c for c in commits if c.outcome != Outcome.ABORTED][: args.episodes]
    wins = sum(c.outcome == Outcome.SUCCESS for c in counted)
    low, high = wilson(wins, len(counted))
    judge = "the classifier" if args.classifier.path else "the Success button"
    print(f"{wins} of {len(counted)} untouched successes by {judge} (95 % interval {low:.0%} to {high:.0%})")
    return 0


def require_free_name(args: EvalArgs, driver: str) -> None:
    """Refuse a name under which the store holds training data, labels, or another policy's evaluation."""
    if args.name in (*KINDS, "labels"):
        raise UserError(f"--name={args.name} is taken by training or label episodes; choose another, e.g. --name=eval")
    store = args.output_dir / "store"
    commits = open_reader(store).commits(args.name) if (store / "store.json").exists() else []
    if any(c.notes.get("policy") != driver for c in commits):
        raise UserError(
            f"{store} holds {len(commits)} episodes named {args.name!r} of another policy (or of earlier weights). "
            f"Keep them apart: --name={args.name}-2"
        )
