"""`hilserl actor`: the half of training that moves the arm."""

from __future__ import annotations

from collections.abc import Sequence

from data.errors import UserError
from hilserl.agents.policy_file import load_policy
from hilserl.commands.arguments import TrainArgs, parse
from hilserl.commands.wiring import EpisodeBar, open_actor, read_detector
from hilserl.loop.link import Link
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.loop.session import SessionConfig


class LearnerSilent(UserError):
    """The learner stopped reporting; the arm holds, every finished episode is stored."""


def main(argv: Sequence[str]) -> int:
    """Run the baseline with the frozen policy, then operated episodes with the learner's newest weights."""
    args = parse(TrainArgs, argv)
    task = args.read_task()
    detector = read_detector(args.classifier, task)
    baseline = SessionConfig(kind="baseline", episodes=args.learner.baseline_episodes, seed=args.seed)
    online = SessionConfig(kind="online", episodes=args.episodes, may_take_over=True, explore=True, seed=args.seed + 1)
    link = Link(args.output_dir)

    def learner_is_near() -> bool:
        status = link.live_learner()
        if link.learner_is_silent():
            raise LearnerSilent(
                "the learner stopped reporting; the arm holds. Go on with the same command and --resume"
            )
        return status is not None and status.phase == "training" and status.debt <= args.max_debt

    frozen = PolicyRunner(load_policy(args.policy.path, task).policy, args.seed)
    with open_actor(args, task, policy=frozen, detector=detector) as actor:
        with EpisodeBar("baseline, untouched", baseline.episodes, actor.count(baseline.kind)) as bar:
            actor.run(baseline, bar, say=bar.say)
        actor.use(PolicyRunner(load_policy(args.policy.path, task).policy, args.seed, link))
        with EpisodeBar("training", online.episodes, actor.count(online.kind)) as bar:
            actor.run(online, bar, ready=learner_is_near, say=bar.say)
    return 0
