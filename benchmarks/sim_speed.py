"""How fast the simulation is: `uv run python benchmarks/sim_speed.py`, two minutes. Prints a markdown table.

Steps of the lift task with its 84x84 wrist image, resets included, driven by the scripted expert, as in a
distillation. The plain loop is one environment in one process; ratios are to it. Medians of three runs.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from sim_pretrain.episodes.collect import Collector, Driver, cores
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.expert import expert_of
from sim_pretrain.task.vector import make_vector
from sim_pretrain.world.randomize import Randomization

RUNS, EPISODES, STEPS = 3, 60, 1200


def plain(config: EnvConfig) -> list[float]:
    """Steps per second of a loop over one environment."""
    env = config.make()
    expert, rates, seed = expert_of(env.task), [], 0
    for _ in range(RUNS + 1):
        started_s, steps = time.perf_counter(), 0
        for _ in range(EPISODES):
            env.reset(seed=seed)
            seed, ended = seed + 1, False
            while not ended:
                _, _, terminated, truncated, _ = env.step(expert(env.truth))
                steps, ended = steps + 1, terminated or truncated
        rates.append(steps / (time.perf_counter() - started_s))
    env.close()
    return rates[1:]


def collected(config: EnvConfig, workers: int) -> list[float]:
    """Steps per second of whole episodes, over worker processes."""
    rates = []
    with Collector(config, workers) as sim:
        for run in range(RUNS + 1):
            started_s = time.perf_counter()
            seeds = range(run * EPISODES, (run + 1) * EPISODES)
            steps = sum(len(r.episode) for r in sim.run(Driver(), seeds))
            rates.append(steps / (time.perf_counter() - started_s))
    return rates[1:]


def vector(config: EnvConfig, count: int) -> list[float]:
    """Steps per second of environments in lock-step, with random actions."""
    envs, rates = make_vector(config, count), []
    rng = np.random.default_rng(0)
    envs.reset(seed=list(range(count)))
    for _ in range(RUNS + 1):
        started_s = time.perf_counter()
        for _ in range(STEPS // count):
            envs.step(rng.uniform(-1, 1, (count, 4)).astype(np.float32))
        rates.append(STEPS / (time.perf_counter() - started_s))
    envs.close()
    return rates[1:]


def main() -> None:
    base: float | None = None
    print(f"| {cores()} cores | steps/s, median | of the plain loop |\n|---|---|---|")
    random = EnvConfig(randomization=Randomization())
    for name, rates in (
        ("one environment, plain loop", lambda: plain(EnvConfig())),
        ("the same, another table for every episode", lambda: plain(random)),
        ("state only, no image", lambda: plain(EnvConfig(oracle=True))),
        ("whole episodes, 2 worker processes", lambda: collected(EnvConfig(), 2)),
        ("lock-step vector of 2, random actions", lambda: vector(EnvConfig(), 2)),
        ("lock-step vector of 1, random actions", lambda: vector(EnvConfig(), 1)),
    ):
        rate = statistics.median(rates())
        base = base or rate
        print(f"| {name} | {rate:.0f} | {rate / base:.2f} |", flush=True)


if __name__ == "__main__":
    main()
