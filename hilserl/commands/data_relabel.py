"""`hilserl data relabel`: correct where success is marked in an episode, or how it ended. The recording stays as it is.

With --classifier, what that classifier would have said of every episode: a view, unless --apply. With --labels, from a
file: a JSON object of EPISODE: {"success_start": 40}, {"ranges": [[40, 60]]} or {"exclude": true}.

A learner that has taken an episode in keeps what it saw; one that is started or resumed afterwards sees the change.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Add entries to the annotations."""
    parser = argparse.ArgumentParser(prog="hilserl data relabel", description=__doc__)
    parser.add_argument("run", type=Path, help="run, store or merge, e.g. runs/demo")
    parser.add_argument("--classifier", type=Path, help="a classifier's folder: what it would have said")
    parser.add_argument("--apply", action="store_true", help="with --classifier: outcomes follow it from now on")
    parser.add_argument("--labels", type=Path, help="a JSON file of labels to take in")
    parser.add_argument("--episode", help="index or uuid, as `hilserl data info RUN --episodes` lists it")
    parser.add_argument(
        "--success", help="all frames that show success, first:end,first:end (end not included); '': none"
    )
    parser.add_argument("--outcome", choices=("success", "failure", "timeout"), help="reward and end follow from it")
    parser.add_argument("--why", default="", help="the reason, kept with the entry; required unless --undo")
    parser.add_argument("--undo", action="store_true", help="take the newest label or outcome entry back")
    args = parser.parse_args(list(argv))
    if args.classifier is not None or args.labels is not None:
        from hilserl.commands import relabel_all

        lines = (
            relabel_all.from_file(args.run, args.labels)
            if args.labels
            else relabel_all.by_classifier(args.run, args.classifier, apply=args.apply)
        )
        print("\n".join(lines))
        return 0
    from data.errors import UserError
    from data.labels import parse
    from data.schema import Outcome
    from data.store.annotations import Verdict
    from data.store.reader import open_reader

    if args.episode is None:
        raise UserError("--episode is missing; accepted is an index or uuid, or --classifier or --labels for all")
    reader = open_reader(args.run)
    commit, annotations = reader.find(args.episode), reader.annotations
    asked = args.success is not None or args.outcome is not None
    if asked == args.undo or (asked and not args.why):
        raise UserError("accepted is --undo, or --why=... with --success=..., --outcome=... or both")
    if args.undo:
        verdict = annotations.verdicts().get(commit.uuid, Verdict())
        made = [e for e in (*verdict.labels.values(), verdict.outcome) if e is not None]
        if not made:
            raise UserError(f"episode {commit.index} ({commit.uuid}) has no new labels or outcome to take back")
        entries = [annotations.undo(max(e.number for e in made), args.why)]
    else:
        entries = []
        if args.success is not None:
            intervals = parse(args.success)
            if intervals and intervals[-1][1] > commit.steps + 1:
                raise UserError(
                    f"episode {commit.index} has the frames 0 to {commit.steps}; --success={args.success} ends after "
                    f"them. `hilserl data show {args.run} --episode={commit.index} --output=episode.png` shows them."
                )
            entries.append(annotations.relabel(commit.uuid, intervals, args.why))
        if args.outcome is not None:
            entries.append(annotations.judge(commit.uuid, Outcome(args.outcome), args.why))
    for entry in entries:
        print(f"#{entry.number}: episode {commit.index} ({commit.uuid}) {entry.describe()}")
    return 0
