"""How often the scripted experts succeed: `uv run python benchmarks/experts.py`, a minute. Prints a markdown table.

A hundred episodes of each task from fixed seeds, on the clean table and on one that differs every time; no images.
"""

from __future__ import annotations

import numpy as np

from data.schema import Source
from sim_pretrain.episodes.rollout import Phase, rollout
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.expert import expert_of
from sim_pretrain.task.tasks import TASKS
from sim_pretrain.world.randomize import Randomization

EPISODES = 100


def main() -> None:
    print("| task | tables | successes | steps, mean and longest |\n|---|---|---|---|")
    for name in TASKS:
        for tables, randomization in (("clean", None), ("randomised", Randomization())):
            env = EnvConfig(name, randomization=randomization, oracle=True).make()
            act = expert_of(env.task)
            runs = [rollout(env, lambda _, t, act=act: (act(t), Source.EXPERT), act, s) for s in range(EPISODES)]
            wins, steps = sum(r.phase is Phase.SUCCESS for r in runs), [len(r.episode) for r in runs]
            print(f"| {name} | {tables} | {wins} of {EPISODES} | {np.mean(steps):.0f}, {max(steps)} |", flush=True)


if __name__ == "__main__":
    main()
