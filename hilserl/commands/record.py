"""`hilserl record`: episodes that the person drives, for the classifier or as demonstrations."""

from __future__ import annotations

from collections.abc import Sequence

from hilserl.commands.arguments import RecordArgs, parse
from hilserl.commands.wiring import EpisodeBar, open_actor
from hilserl.loop.session import SessionConfig


def main(argv: Sequence[str]) -> int:
    """Record until the store holds the episodes asked for."""
    args = parse(RecordArgs, argv)
    labels = args.purpose == "classifier"
    session = SessionConfig(
        kind="labels" if labels else "demo",
        episodes=args.episodes,
        drives="human",
        ends_on_success=not labels,
        give_up_s=args.give_up_s,
        seed=args.seed,
    )
    with (
        open_actor(args, args.read_task(), keep_native=args.keep_native) as actor,
        EpisodeBar("recording", args.episodes, actor.count(session.kind)) as bar,
    ):
        actor.run(session, bar, say=bar.say)
    return 0
