"""`hilserl data repair`: salvage, put the log right, and exclude what cannot be read. Nothing is deleted.

Stop the programs that record into or learn from the run first.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Print one line per thing done."""
    parser = argparse.ArgumentParser(prog="hilserl data repair", description=__doc__)
    parser.add_argument("run", type=Path, help="run or store, e.g. runs/demo")
    args = parser.parse_args(list(argv))
    from tqdm import tqdm

    from data.errors import UserError
    from data.store.merge_manifest import MANIFEST
    from data.store.reader import open_reader, store_folder
    from data.store.repair import exclude_unreadable, repair

    folder = store_folder(args.run)
    if (folder / MANIFEST).exists():
        names = " ".join(str(s.path) for s in open_reader(folder).stores())
        raise UserError(f"{folder} is a merge; repair its stores one by one with `hilserl data repair`: {names}")
    done = repair(folder)
    reader = open_reader(folder)
    done += exclude_unreadable(folder, tqdm(reader.commits(), desc="reading", unit="ep", leave=False))
    for line in done:
        print(line)
    print(f"{folder}: {'repaired' if done else 'nothing to repair'}; {len(reader.commits())} episodes can be used")
    return 0
