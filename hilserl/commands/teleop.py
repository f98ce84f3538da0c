"""`hilserl teleop`: practise with gamepad, leader or keyboard. Nothing is recorded."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hilserl.commands.arguments import TeleopArgs, parse
from hilserl.commands.wiring import connect_operator, open_actor
from hilserl.loop.session import SessionConfig
from teleop.live_view import PERIOD_S, Seen

EPISODE_S = 60.0


def main(argv: Sequence[str]) -> int:
    """Show the device, and drive the arm with it if one is named, until Ctrl-C."""
    args = parse(TeleopArgs, argv)
    if args.robot is None:
        with contextlib.closing(Seen(connect_operator(args), show)) as operator:
            while True:
                operator.read()
                time.sleep(PERIOD_S)
    task = args.read_task()
    session = SessionConfig(
        kind="practice",
        episodes=1,  # which is done again and again, for it is not kept
        drives="human",
        max_steps=round(EPISODE_S * task.rate_hz),
        give_up_s=args.give_up_s,
        seed=args.seed,
        keep=False,
    )
    with (
        tempfile.TemporaryDirectory(prefix="hilserl-practice-") as folder,
        open_actor(
            replace(args, output_dir=Path(folder)), task, seen_by=lambda operator: Seen(operator, show)
        ) as actor,
    ):
        actor.run(session, lambda _: None, say=say)
    return 0


def show(line: str) -> None:
    """Write a line over the one before it, no wider than the terminal."""
    print(f"\r\x1b[2K{line[: shutil.get_terminal_size().columns - 1]}", end="", file=sys.stderr, flush=True)


def say(words: str) -> None:
    """Write a line that stays."""
    print(f"\r\x1b[2K{words}", file=sys.stderr)
