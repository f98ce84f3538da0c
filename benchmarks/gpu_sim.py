"""How fast many worlds are on a GPU: `uv run --extra gpu python benchmarks/gpu_sim.py`. Prints two markdown tables.

First what the CPU does in a step of N worlds, which needs neither GPU nor extra: it bounds what any GPU can bring.
Then whole steps from state, with random actions, another table for every episode, and restarts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from data.errors import UserError
from hilserl.robot.kinematics import inverse
from sim_pretrain.task.batch_rules import Referees
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.gpu_vector import make_gpu_vector
from sim_pretrain.task.rewards import find_reward
from sim_pretrain.task.tasks import Referee
from sim_pretrain.world.batch_kinematics import ee_positions, inverses
from sim_pretrain.world.randomize import Randomization
from sim_pretrain.world.truths import Truths

WORLDS, RUNS, STEPS = (64, 256, 1024, 4096), 7, 200
SAMPLE = 64  # how many are done one by one to know what all would cost
CONFIG = EnvConfig(oracle=True, reward="dense", randomization=Randomization())


def median_ms(work: Callable[[], object]) -> float:
    """Median time of `work` over a few runs, after one that does not count."""
    times = []
    for _ in range(RUNS + 1):
        started_s = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - started_s))
    return statistics.median(times[1:])


def cpu_row(count: int) -> str:
    """What the CPU does in a step of `count` worlds."""
    env, reward, rng = CONFIG.make(), find_reward(CONFIG.reward), np.random.default_rng(0)
    env.reset(seed=0)
    spec, truth = env.task.spec, env.truth
    roll = {"wrist_roll_rad": spec.wrist_roll_rad}
    joints = env.world.joint_positions() + rng.normal(0.0, 0.1, (count, 6))
    targets = rng.uniform(spec.workspace_low_m, spec.workspace_high_m, (count, 3))
    referees, truths = Referees(env.task, reward, count), Truths.of([truth] * count)
    referee = Referee(env.task, truth, np.zeros(4))

    def kinematics() -> None:
        inverses(targets, joints, **roll)
        for _ in range(3):  # where the arms are, where their goals are, where they have come
            ee_positions(joints)

    batch = [
        median_ms(kinematics),
        median_ms(lambda: referees.look(truths, truths, 0.1)),
        median_ms(lambda: [env.reset() for _ in range(SAMPLE)]) / SAMPLE * count / spec.time_limit_steps,
    ]
    alone = [
        median_ms(lambda: [inverse(t, q, **roll) for t, q in zip(targets[:SAMPLE], joints[:SAMPLE], strict=True)]),
        median_ms(lambda: [reward.terms(referee.look(truths.one(0), np.zeros(4), 0.1)) for _ in range(SAMPLE)]),
    ]
    env.close()
    ik_ms, rules_ms = (t / SAMPLE * count for t in alone)
    return (
        f"| {count} | {batch[0]:.2f} ({ik_ms:.0f}) | {batch[1]:.2f} ({rules_ms:.0f}) | {batch[2]:.1f} | "
        f"{1e3 * count / sum(batch):,.0f} |"
    )


def gpu_row(count: int) -> str:
    """Environment steps per second of `count` worlds."""
    try:
        envs = make_gpu_vector(CONFIG, count)
    except UserError as error:
        return f"| {count} | not run: {str(error).split('.')[0]} | |"
    rng = np.random.default_rng(0)
    envs.reset(seed=0)
    actions = rng.uniform(-1, 1, (STEPS, count, 4)).astype(np.float32)
    times = []
    for action in actions:
        started_s = time.perf_counter()
        envs.step(action)
        times.append(time.perf_counter() - started_s)
    envs.close()
    used_s = sum(times[STEPS // 10 :])  # kernels are compiled in the first
    return f"| {count} | {(STEPS - STEPS // 10) * count / used_s:,.0f} | {1e3 * statistics.median(times):.1f} |"


def main() -> None:
    print(
        "| worlds | kinematics, ms (one by one) | goals and rewards, ms (one by one) | restarts, ms | steps/s at most |"
    )
    print("|---|---|---|---|---|")
    for count in WORLDS:
        print(cpu_row(count), flush=True)
    print("\n| worlds | steps/s | median ms of a step |\n|---|---|---|")
    for count in WORLDS:
        print(gpu_row(count), flush=True)


if __name__ == "__main__":
    main()
