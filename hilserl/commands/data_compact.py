"""`hilserl data compact`: a new run with the episodes that count, annotations applied. The source is not touched."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Copy, check the copy, and say what it holds."""
    parser = argparse.ArgumentParser(prog="hilserl data compact", description=__doc__)
    parser.add_argument("run", type=Path, help="run, store or merge, e.g. runs/demo")
    parser.add_argument("--output_dir", type=Path, required=True, help="run to make; its store/ must not exist")
    args = parser.parse_args(list(argv))
    from tqdm import tqdm

    from data.store.compact import compact
    from data.store.reader import open_reader
    from data.store.summary import bytes_on_disk

    reader = open_reader(args.run)
    commits = tqdm(reader.commits(), desc="copying", unit="ep", leave=False)
    store = compact(reader, commits, args.output_dir / "store")
    size, left_out = bytes_on_disk(store.path) / 1e6, len(reader.excluded())
    print(f"{store.path}: {len(store.commits())} episodes, {size:.1f} MB, verified; {left_out} excluded ones left out")
    return 0
