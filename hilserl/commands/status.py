"""`hilserl status`: what a run holds, and what a resume would restore."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from data.errors import UserError
from data.schema import Outcome
from data.store.reader import open_reader
from hilserl.loop.link import Link
from hilserl.metrics import wilson
from hilserl.runs import load_checkpoint


def main(argv: Sequence[str]) -> int:
    """Print one line per kind of episode, then the learner's newest checkpoint and last words."""
    parser = argparse.ArgumentParser(prog="hilserl status", description=__doc__)
    parser.add_argument("run", type=Path, help="run directory, e.g. runs/demo")
    args = parser.parse_args(list(argv))
    run: Path = args.run
    store = open_reader(run)
    commits = store.commits()
    print(f"{run}: {len(commits)} episodes, {sum(c.steps for c in commits)} steps, task {store.spec.name}")
    for kind in dict.fromkeys(c.kind for c in commits):
        counted = [c for c in commits if c.kind == kind and c.outcome != Outcome.ABORTED]
        aborted = sum(c.kind == kind for c in commits) - len(counted)
        wins = sum(c.outcome == Outcome.SUCCESS for c in counted)
        low, high = wilson(wins, len(counted))
        human = sum(c.human_steps for c in counted) / max(1, sum(c.steps for c in counted))
        print(
            f"  {kind:12} {len(counted):4} finished, {aborted} cut short; success {wins}/{len(counted)} "
            f"({low:.0%} to {high:.0%}), {human:.0%} of the steps by a person"
        )
    try:
        _, info = load_checkpoint(run)
        print(f"  resume from  {info['updates']} updates, {info['operated_episodes']} operated episodes")
    except UserError:
        print("  resume from  no checkpoint yet; training would begin with the stored episodes")
    learner = Link.peek(run)
    if learner is not None:
        print(f"  learner      last seen {learner.phase}, {learner.updates} updates, {learner.debt} owed")
    if excluded := len(store.excluded()):
        print(f"  excluded     {excluded} episodes, in none of these numbers; `hilserl data info` lists them")
    return 0
