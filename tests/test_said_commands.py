"""Every command that an error message or the README names exists."""

from __future__ import annotations

import re
from pathlib import Path

from hilserl.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"hilserl ([a-z]+)(?: ([a-z]+))?")
FIRST_WORDS = {name.split()[0] for name in COMMANDS}


def test_every_command_that_is_named_exists() -> None:
    texts = [p for f in ("data", "teleop", "classifier", "hilserl", "sim_pretrain") for p in (ROOT / f).rglob("*.py")]
    unknown = []
    for path in [*texts, ROOT / "README.md"]:
        for match in NAMED.finditer(path.read_text()):
            one, two = match.groups()
            if one not in FIRST_WORDS or (one == "classifier" and two and f"{one} {two}" not in COMMANDS):
                unknown.append(f"{path.relative_to(ROOT)}: {match.group()}")
    assert not unknown, unknown
