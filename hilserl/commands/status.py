"""`hilserl status`: how a run stands, whether learning is sane, and what a resume would restore."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

from hilserl.ui.lines import lines
from hilserl.ui.run_data import read_run

WIDTH = 100  # of the screen
LABEL = 12


def main(argv: Sequence[str]) -> int:
    """Print one line per kind of episode, then progress, learner, health, and what a resume begins with."""
    parser = argparse.ArgumentParser(prog="hilserl status", description=__doc__)
    parser.add_argument("run", type=Path, help="run directory, e.g. runs/demo")
    args = parser.parse_args(list(argv))
    data = read_run(args.run)
    print(
        f"{args.run}: {len(data.commits)} episodes, {sum(c.steps for c in data.commits)} steps, task {data.task.name}"
    )
    for label, text in lines(data):
        head = f"  {label:{LABEL}} "
        wrapper = textwrap.TextWrapper(WIDTH, head, " " * len(head), break_on_hyphens=False)
        print(wrapper.fill(text))
    return 0
