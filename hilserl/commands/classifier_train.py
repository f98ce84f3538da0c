"""`hilserl classifier train`: from labelled episodes to a calibrated success detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from classifier.train import fit_detector
from data.lint import require_fit
from data.store.reader import open_reader
from hilserl.flags import parse_flags


@dataclass(frozen=True)
class ClassifierTrainArgs:
    """Flags of `hilserl classifier train`."""

    output_dir: Path  # the run whose store holds the labelled episodes; the detector goes to its classifier/
    quick: bool = False  # fewer epochs; for smoke runs
    seed: int = 0  # split, initial weights and augmentation


def main(argv: Sequence[str]) -> int:
    """Train, calibrate, save, and print the held-out result."""
    args = parse_flags(ClassifierTrainArgs, argv)
    torch.set_num_threads(1)  # a second thread gains a fifth alone, and loses a factor of eight beside a busy process
    store = open_reader(args.output_dir)
    episodes = [store.read(commit) for commit in store.commits("labels")]
    for episode in episodes:
        for finding in require_fit(episode, store.spec):
            print(f"warning: episode {episode.meta.uuid}, {finding}")
    report = fit_detector(episodes, store.spec, args.output_dir / "classifier", seed=args.seed, quick=args.quick)
    print(report.table())
    return 0
