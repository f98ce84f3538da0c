"""`hilserl data merge`: read several runs as one. Writes a list of folders; nothing is copied or changed.

The merge can be named wherever a run is read. An episode that several runs hold counts once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Write the manifest and say what it holds."""
    parser = argparse.ArgumentParser(prog="hilserl data merge", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="runs, stores or merges; a run that goes on, last")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the merge; new or empty")
    args = parser.parse_args(list(argv))
    from data.store.merge_manifest import write_manifest
    from data.store.reader import MergedReader, open_reader

    stores = {s.path.resolve(): s for run in args.runs for s in open_reader(run).stores()}  # each folder once
    merged = MergedReader([(str(path), store) for path, store in stores.items()])  # refuses other specs
    write_manifest(args.output_dir, list(stores), merged.spec)
    held, all_of_them = len(merged.commits()), sum(len(s.commits()) for s in stores.values())
    print(f"{args.output_dir}: {held} episodes of {len(stores)} stores ({all_of_them - held} were in several)")
    return 0
