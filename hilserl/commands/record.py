"""`hilserl record`: episodes that the person drives, for the classifier or as demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tqdm import tqdm

from data.store.reader import open_reader
from hilserl.commands.arguments import RecordArgs, parse
from hilserl.commands.capture import SHOWS, counted, meters, next_kind
from hilserl.commands.wiring import EpisodeBar, open_actor
from hilserl.loop.actor import Actor
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
        open_actor(args, args.read_task(), keep_native=args.keeps_native()) as actor,
        EpisodeBar("recording", args.episodes, actor.count(session.kind)) as bar,
    ):
        if labels:
            capture(args, actor, session, bar)
        else:
            actor.run(session, bar, say=bar.say)
    return 0


def capture(args: RecordArgs, actor: Actor, session: SessionConfig, bar: EpisodeBar) -> None:
    """Record one label episode after the other, and say before each what is missing most."""
    reader = open_reader(args.output_dir)
    while (number := actor.count(session.kind)) < args.episodes:
        kind = next_kind(counted(reader))
        tqdm.write(f"\n{meters(reader)}\nnow: {kind.name} - {kind.asks}", end="\n")
        actor.run(replace(session, episodes=number + 1, notes={SHOWS: kind.name}), bar, say=bar.say)
