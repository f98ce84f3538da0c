"""`hilserl export`: episodes as a LeRobot v3 dataset, for LeRobot's viewer, trainers and tools.

Each of an episode's T steps becomes a frame: observation, executed action, `next.reward`, `next.done`,
`next.success`, `intervention`. The observation after the last action, which LeRobot's format has no place for, is kept
beside them in meta/hilserl.parquet, where `hilserl import` finds it again. Excluded episodes are left out.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Write the dataset and say what opens it."""
    parser = argparse.ArgumentParser(prog="hilserl export", description=__doc__)
    parser.add_argument("run", type=Path, help="run, store or merge, e.g. runs/demo")
    parser.add_argument("--root", type=Path, required=True, help="folder of the dataset; must not exist")
    parser.add_argument(
        "--repo_id", default="", help="LeRobot's name for it, default local/FOLDER; nothing is uploaded"
    )
    parser.add_argument("--kinds", default="", help="e.g. demo,online; default: all that finished, of every kind")
    parser.add_argument(
        "--video", action="store_true", help="AV1 video, lossy: for sharing; default: PNG images, lossless"
    )
    args = parser.parse_args(list(argv))
    from tqdm import tqdm

    from data.errors import UserError
    from data.lerobot_io.write import export, require_new
    from data.schema import Outcome
    from data.store.reader import open_reader

    root: Path = args.root.absolute()
    require_new(root)
    reader = open_reader(args.run)
    finished = [c for c in reader.commits() if c.outcome is not Outcome.ABORTED]
    held = Counter(c.kind for c in finished)
    kinds = [kind for kind in args.kinds.split(",") if kind] or list(held)
    if unknown := sorted(set(kinds) - set(held)):
        there = ", ".join(f"{kind} ({count})" for kind, count in held.items()) or "none"
        raise UserError(f"{args.run} has no finished episode of kind {', '.join(unknown)}; it has {there}.")
    chosen = [c for c in finished if c.kind in kinds]
    repo_id = args.repo_id or f"local/{root.name}"
    export(reader, tqdm(chosen, desc="exporting", unit="ep", leave=False), root, repo_id, videos=args.video)
    print(
        f"{root}: {len(chosen)} episodes, {sum(c.steps for c in chosen)} frames. Next, e.g.:\n"
        f"  lerobot-dataset-viz --repo-id={repo_id} --root={root} --episode-index=0\n"
        f"  lerobot-train --dataset.repo_id={repo_id} --dataset.root={root} --policy.type=act "
        "--policy.push_to_hub=false"
    )
    return 0
