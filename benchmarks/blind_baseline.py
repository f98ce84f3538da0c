"""Does a task need its camera? `uv run python benchmarks/blind_baseline.py [lift|bowl|paper]`, a few minutes per task.

Distils two small policies in the same way, one of them from black images, and evaluates both. A task that the blind
one solves too would leak the object's place through the state, and its pixel results would mean nothing.
"""

from __future__ import annotations

import sys

import torch

from sim_pretrain.episodes.evaluation import evaluate
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.transfer.blind_baseline import BaselineConfig, distil_small


def main(task: str = "lift") -> None:
    """Print a Markdown table of both policies' success."""
    torch.set_num_threads(1)
    print("| policy | success of untouched episodes | 95 % interval |\n|---|---|---|")
    for name, config in (("sighted", EnvConfig(task)), ("blind (black images)", EnvConfig(task, blind=True))):
        policy = distil_small(config, BaselineConfig())
        env = config.make()
        found = evaluate(env, policy)
        env.close()
        low, high = found.interval
        print(f"| {task}, {name} | {found.wins}/{found.n} | {low:.0%} to {high:.0%} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
