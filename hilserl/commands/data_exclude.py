"""`hilserl data exclude`: leave episodes out of training, labels and exports. Their files stay as they are.

A learner that has taken an episode in does not unlearn it; one that is started or resumed afterwards leaves it out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Add an entry to the annotations."""
    parser = argparse.ArgumentParser(prog="hilserl data exclude", description=__doc__)
    parser.add_argument("run", type=Path, help="run, store or merge, e.g. runs/demo")
    parser.add_argument(
        "--episode", required=True, help="index or uuid, as `hilserl data info RUN --episodes` lists it"
    )
    parser.add_argument("--why", default="", help="the reason, kept with the entry; required unless --undo")
    parser.add_argument("--undo", action="store_true", help="take the exclusion back")
    args = parser.parse_args(list(argv))
    from data.errors import UserError
    from data.store.annotations import Verdict
    from data.store.reader import open_reader

    reader = open_reader(args.run)
    commit = reader.find(args.episode)
    excluded = reader.annotations.verdicts().get(commit.uuid, Verdict()).excluded
    if args.undo:
        if excluded is None:
            raise UserError(f"episode {commit.index} ({commit.uuid}) is not excluded; there is nothing to take back")
        entry = reader.annotations.undo(excluded.number, args.why)
    elif excluded is not None:
        raise UserError(f"episode {commit.index} is excluded already (#{excluded.number}: {excluded.why})")
    elif not args.why:
        raise UserError('say why, for whoever looks at this later: --why="the cube was not in view"')
    else:
        entry = reader.annotations.exclude(commit.uuid, args.why)
    print(f"#{entry.number}: episode {commit.index} ({commit.uuid}) {entry.describe()}")
    return 0
