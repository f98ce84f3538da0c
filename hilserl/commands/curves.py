"""`hilserl curves`: a run's numbers for TensorBoard or wandb, its episodes for rerun; `train --curves=...` runs it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from hilserl.ui.curves import Curves, read_names

LOOK_S = 1.0


def main(argv: Sequence[str]) -> int:
    """Copy what the run has, and with `--follow` what it gets, until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="hilserl curves", description=__doc__)
    parser.add_argument("run", type=Path, help="run directory, e.g. runs/lift")
    parser.add_argument("--to", required=True, help="tensorboard, wandb or rerun, or several with commas")
    parser.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    args = parser.parse_args(list(argv))
    names = read_names(args.to)
    with Curves(args.run, names) as curves:
        curves.update()
        try:
            while args.follow:
                time.sleep(LOOK_S)
                curves.update()
        except KeyboardInterrupt:  # the run has ended
            curves.update()
    return 0
