"""`hilserl eval`: untouched episodes, success with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from data.episode_store import EpisodeStore
from data.schema import Outcome
from hilserl.agents.policy_file import load_policy
from hilserl.commands.arguments import EvalArgs, parse
from hilserl.commands.wiring import EpisodeBar, open_actor, read_detector
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.loop.session import SessionConfig
from hilserl.metrics import wilson


def main(argv: Sequence[str]) -> int:
    """Run the policy's mode without take-overs; failure and success buttons label, STOP stops."""
    args = parse(EvalArgs, argv)
    task = args.read_task()
    policy = PolicyRunner(load_policy(args.policy.path, task).policy, args.seed)
    session = SessionConfig(kind=args.name, episodes=args.episodes, seed=args.seed)
    detector = read_detector(args.classifier, task)
    with (
        open_actor(args, task, policy=policy, detector=detector) as actor,
        EpisodeBar("untouched", args.episodes, actor.count(session.kind)) as bar,
    ):
        actor.run(session, bar, say=bar.say)
    commits = EpisodeStore.reader(args.output_dir / "store").commits(args.name)
    counted = [c for c in commits if c.outcome != Outcome.ABORTED][: args.episodes]
    wins = sum(c.outcome == Outcome.SUCCESS for c in counted)
    low, high = wilson(wins, len(counted))
    judge = "the classifier" if args.classifier.path else "the Success button"
    print(f"{wins} of {len(counted)} untouched successes by {judge} (95 % interval {low:.0%} to {high:.0%})")
    return 0
