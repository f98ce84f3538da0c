"""`hilserl report`: one HTML page about a run, which opens without a server; `train` writes it whenever it stops."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from hilserl.ui.report import write_report


def main(argv: Sequence[str]) -> int:
    """Write RUN/report.html and the pictures in RUN/report."""
    parser = argparse.ArgumentParser(prog="hilserl report", description=__doc__)
    parser.add_argument("run", type=Path, help="run directory, e.g. runs/lift")
    args = parser.parse_args(list(argv))
    with tqdm(desc="reading", unit="ep", leave=False) as bar:
        path = write_report(args.run, bar.update)
    print(f"{path}: open it in a browser; its pictures are in {args.run / 'report'}")
    return 0
