"""The commands that go on with a run, made of the one that it was started with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ARM = (
    "--rig", "--plugins", "--robot.", "--teleop.", "--buttons", "--output_dir", "--task", "--clock", "--classifier.",
    "--ui.",
)  # fmt: skip
ONCE = ("--resume", "--rollback")  # say how to start, and not what is run


def commands(run: Path, journal: Sequence[Mapping[str, Any]], operated: int) -> list[tuple[str, str]]:
    """Return (what for, command) of everything that makes sense next; flags of the arm are named once, as `ARM`.

    Args:
        run: directory of the run.
        journal: of the run; its last "started" has the flags.
        operated: episodes so far, which names the next evaluation.
    """
    place = shlex.quote(str(run))
    looks = [("see how it stands", f"hilserl status {place}"), ("write the report again", f"hilserl report {place}")]
    started = [entry["command"] for entry in journal if entry["event"] == "started"]
    if not started:
        return looks
    words = shlex.split(started[-1])[2:]
    flags = [w for i, w in enumerate(words) if not _of(ONCE, words, i)]
    arm = [w for i, w in enumerate(flags) if _of(ARM, flags, i)]
    rest = shlex.join(w for i, w in enumerate(flags) if not _of(ARM, flags, i))
    train = f'hilserl train "${{ARM[@]}}" {rest}'.rstrip()
    return [
        ("first, in a shell", f"ARM=({shlex.join(arm)})"),
        ("go on", f"{train} --resume"),
        ("evaluate 10 first", f'hilserl eval "${{ARM[@]}}" --policy.path={place} --episodes=10 --name=eval-{operated}'),
        ("go back to the best", f"{train} --rollback=best"),
        *looks,
    ]


def _of(names: Sequence[str], words: Sequence[str], place: int) -> bool:
    """Whether the word at `place` is one of these flags, or the value of one that stands alone."""
    begin = place
    while begin and not words[begin].startswith("--"):
        begin -= 1
    return words[begin].startswith(tuple(names)) and (begin == place or "=" not in words[begin])
