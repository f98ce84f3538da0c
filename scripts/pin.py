"""Rewrite the pinned versions in pyproject.toml: `uv run python scripts/pin.py [--upgrade]`.

`uv.lock` records the hosts it downloaded from, so it stays out of git; the versions alone go here.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "pyproject.toml"
BLOCK = re.compile(r"^constraint-dependencies = \[\n.*?^\]\n", re.DOTALL | re.MULTILINE)
NEVER = ["teleop<0"]  # a foreign package of that name would shadow our folder
# An upgrade leaves these alone: what was measured, and what has to agree with LeRobot, is moved by hand.
HELD = ["lerobot==0.6.1", "mujoco==3.8.1", "torch==2.11.0", "torchvision==0.26.0"]


def main() -> None:
    """Resolve, and write the versions back; a failed resolution leaves pyproject.toml as it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    upgrade = parser.parse_args().upgrade
    before = PROJECT.read_text()
    after = before
    try:
        if upgrade:
            PROJECT.write_text(with_constraints(before, [*HELD, *NEVER]))
        after = with_constraints(before, [*resolve(upgrade), *NEVER])
    finally:
        PROJECT.write_text(after)


def resolve(upgrade: bool) -> list[str]:
    """Return `name==version` for every package that the project needs on any platform, sorted.

    Raises:
        SystemExit: nothing fits, or a package has different versions on different platforms.
    """
    command = ["uv", "export", "--quiet", "--no-hashes", "--no-annotate", "--no-header", "--no-emit-project"]
    command += ["--all-groups", "--all-extras", *(["--upgrade"] if upgrade else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"uv found no set of versions; pyproject.toml is unchanged.\n{done.stderr}")
    pins = sorted({line.split(";")[0].strip() for line in done.stdout.splitlines() if "==" in line})
    names = [pin.split("==")[0] for pin in pins]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SystemExit(f"more than one version of {', '.join(twice)}: hold one in HELD, then run this again.")
    return pins


def with_constraints(text: str, pins: list[str]) -> str:
    """Return `text` with the constraint-dependencies list replaced by `pins`."""
    block = "constraint-dependencies = [\n" + "".join(f'    "{pin}",\n' for pin in pins) + "]\n"
    replaced, count = BLOCK.subn(lambda _: block, text)
    if count != 1:
        raise SystemExit(f"{PROJECT.name} has {count} constraint-dependencies lists; expected one, under [tool.uv].")
    return replaced


if __name__ == "__main__":
    main()
