"""`hilserl actor`: the half of training that moves the arm."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Sequence
from dataclasses import replace

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from data.errors import UserError
from data.spec import TaskSpec
from data.store.reader import open_reader
from hilserl.agents.networks import Policy
from hilserl.agents.policy_file import load_policy
from hilserl.commands.arguments import ActorArgs, parse
from hilserl.commands.wiring import EpisodeBar, open_actor, read_detector
from hilserl.loop.agents import begin_with
from hilserl.loop.checks import CHECK, settled, stops
from hilserl.loop.learner import KINDS
from hilserl.loop.link import STALE_S, LearnerStatus, Link
from hilserl.loop.policy_runner import PolicyRunner
from hilserl.loop.session import SessionConfig
from hilserl.runs import RunDirectory
from hilserl.ui.guide import Guide

_log = logging.getLogger(__name__)


class LearnerSilent(UserError):
    """The learner stopped reporting; the arm holds, every finished episode is stored."""


def main(argv: Sequence[str]) -> int:
    """Run the baseline with the frozen policy, then operated episodes with the learner's newest weights."""
    args = parse(ActorArgs, [re.sub(r"^--learner(?=$|=)", "--connect", a) for a in argv])
    task = args.read_task()
    detector = read_detector(args.classifier, task)
    untouched = SessionConfig(kind="baseline", episodes=0, seed=args.seed, give_up_s=args.give_up_s)
    baseline = replace(untouched, episodes=args.learner.baseline_episodes)
    online = replace(baseline, kind="online", may_take_over=True, explore=True, seed=args.seed + 1)
    check = replace(untouched, kind=CHECK, series=args.learner.check_episodes)
    link, said = Link(args.output_dir), ""

    def learner_is_near() -> bool:
        nonlocal said
        near, words = may_begin(link.live_learner(), link.silent_s(), args)
        if words not in ("", said):
            _log.warning(words)
        said = words
        return near

    def learner_has_settled() -> bool:
        """Whether its newest weights are those of a checkpoint, and will rest while they are checked."""
        status = link.live_learner()
        learned = sum(c.kind in KINDS for c in open_reader(args.output_dir).commits())
        return learner_is_near() and status is not None and settled(status, learned)

    start = load_policy(args.policy.path, task).policy
    courier = introduced_courier(args, task, start) if args.connect else contextlib.nullcontext()
    with (
        logging_redirect_tqdm(),  # a warning must not tear the bar
        open_actor(args, task, policy=PolicyRunner(start, args.seed), detector=detector) as actor,
        courier,
    ):
        guide = Guide(RunDirectory(args.output_dir), task, args.coach, args.coverage, tqdm.write)
        with EpisodeBar("baseline, untouched", baseline.episodes, actor.count(baseline.kind)) as bar:
            actor.run(baseline, guide.then(bar), say=guide.on_top(bar.say, baseline.kind))
        trained = begin_with(load_policy(args.policy.path, task).policy, task, args.learner)
        actor.use(PolicyRunner(trained, args.seed, link))
        done = actor.count(online.kind)
        for stop in stops(args.episodes, args.learner.check_every, args.learner.check_episodes):
            if stop.online < done:
                continue  # in an earlier session
            with EpisodeBar("training", args.episodes, actor.count(online.kind)) as bar:
                say, stretch = guide.on_top(bar.say, online.kind), replace(online, episodes=stop.online)
                actor.run(stretch, guide.then(bar), ready=learner_is_near, say=say)
            if actor.count(CHECK) < stop.checks:
                with EpisodeBar("check, untouched", stop.checks, actor.count(CHECK)) as bar:
                    say, stretch = guide.on_top(bar.say, CHECK), replace(check, episodes=stop.checks)
                    actor.run(stretch, guide.then(bar), ready=learner_has_settled, say=say)
    return 0


def may_begin(status: LearnerStatus | None, silent_s: float, args: ActorArgs) -> tuple[bool, str]:
    """Return whether the next episode may begin, and a warning for the operator, or "".

    Raises:
        LearnerSilent: it runs on this machine and has stopped.
    """
    trains = status is not None and status.phase == "training"
    if silent_s <= STALE_S:
        return trains and status is not None and status.debt <= args.max_debt, ""
    if not args.connect and silent_s > args.give_up_s:
        raise LearnerSilent("the learner stopped reporting; the arm holds. Go on with the same command and --resume")
    if args.connect and trains and silent_s <= args.hold_after_s:
        return True, f"no word from the learner: going on with the last weights, for {args.hold_after_s:.0f} s at most"
    return False, "no word from the learner: the arm holds until it answers; every finished episode is stored"


def introduced_courier(args: ActorArgs, task: TaskSpec, start: Policy) -> contextlib.AbstractContextManager:
    """Return a courier to the learner elsewhere, which has agreed to what this actor was started with."""
    from hilserl.loop.remote.courier import Courier
    from hilserl.loop.remote.terms import Terms, parse_address, policy_fingerprint, read_pem, read_token

    terms = Terms(task, policy_fingerprint(start), read_token(args.token_file))
    certificate = read_pem(args.tls_cert, "tls_cert") if args.tls_cert else None
    courier = Courier(args.output_dir, parse_address(args.connect, "--connect"), terms, KINDS, certificate)
    courier.introduce()
    return courier
