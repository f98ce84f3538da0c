"""`hilserl data verify`: read every episode and check it; exit status 1 when something is damaged or unfit."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Print one line per problem and per warning."""
    parser = argparse.ArgumentParser(prog="hilserl data verify", description=__doc__)
    parser.add_argument("run", type=Path, help="run, store or merge, e.g. runs/demo")
    args = parser.parse_args(list(argv))
    from tqdm import tqdm

    from data.store.reader import open_reader
    from data.store.verify import verify

    reader = open_reader(args.run)
    commits = reader.commits()
    report = verify(reader, tqdm(commits, desc="verifying", unit="ep", leave=False))
    for warning in report.warnings:
        print(f"warning: {warning}")
    for problem in report.problems:
        print(f"problem: {problem}")
    left_out = len(reader.excluded())
    print(
        f"{reader.path}: {len(commits)} episodes read, {len(report.problems)} problems, {len(report.warnings)} warnings"
        + (f"; {left_out} excluded episodes not read" if left_out else "")
    )
    if report.problems:
        print(f"`hilserl data repair {args.run}` puts right what can be; `hilserl data exclude` leaves an episode out.")
    return 1 if report.problems else 0
