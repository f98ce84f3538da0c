"""Flags into dataclasses: draccus, and a bare `--flag` for a boolean, as people type it."""

from __future__ import annotations

from collections.abc import Sequence

import draccus


def parse_flags[T](cls: type[T], argv: Sequence[str]) -> T:
    """Read `--name=value`, `--name value` and bare `--name` (true) into the dataclass `cls`.

    Raises:
        SystemExit: 0 after `--help`; 2 for an unknown flag, with the accepted ones on standard error.
        draccus.ParsingError: a value does not fit its field.
    """
    complete = [
        f"{flag}=true" if is_bare(flag) and following.startswith("--") else flag
        for flag, following in zip(argv, [*argv[1:], "--"], strict=False)
    ]
    return draccus.parse(cls, args=complete)


def is_bare(argument: str) -> bool:
    """Whether an argument is a flag without a value; `--help` is none of ours."""
    return argument.startswith("--") and "=" not in argument and argument != "--help"
