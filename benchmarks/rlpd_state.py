"""RLPD from state: steps and minutes until 95 % of 50 greedy episodes succeed, over seeds; one core, one thread.

    uv run python benchmarks/rlpd_state.py --seeds 0 1 2
    uv run python benchmarks/rlpd_state.py --variants plain cloning --seeds 0

Variants: `default` is `RLConfig()`; `plain` is without the cloning term; `cloning` is that term alone, without any
reinforcement learning, on the demonstrations of the default run; `sac` has the dense reward and no demonstrations;
`randomised` is `default` with another table for every episode, in training and in evaluation.
The best policy of each run is chosen on the 50 starts, so it is judged again on 200 others. Runs that are there
already are not made again.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from data.store.reader import open_reader
from hilserl.agents.networks import Policy
from hilserl.agents.policy_file import load_policy
from hilserl.runs import RunDirectory, write_json
from hilserl.tasks import lift_task
from sim_pretrain.episodes.evaluation import Evaluation, evaluate
from sim_pretrain.rl.config import RLConfig
from sim_pretrain.rl.training import train
from sim_pretrain.task.env import SimEnv, oracle_spec
from sim_pretrain.world.randomize import Randomization

GOAL = 0.95
FRESH_SEED, FRESH = 5_000_000, 200  # starts that chose nothing
PLAIN = replace(RLConfig().sac, cloning_start=0.0, cloning_end=0.0)
VARIANTS = {
    "default": RLConfig(),
    "randomised": RLConfig(),
    "plain": RLConfig(sac=PLAIN, steps=12_000, evaluate_every=2000),
    "sac": RLConfig(method="sac", steps=30_000, evaluate_every=2000),
}


class Clock:
    """Notes the processor time at each evaluation, and prints it."""

    def __init__(self) -> None:
        self.started_s = time.process_time()
        self.cpu_minutes: list[float] = []

    def progress(self, steps: int, total: int) -> None:
        """Nothing."""

    def row(self, steps: int, values: object) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """An evaluation."""
        self.cpu_minutes.append((time.process_time() - self.started_s) / 60)
        print(f"    {text} (CPU {self.cpu_minutes[-1]:.1f} min)", flush=True)


@dataclass(frozen=True)
class Line:
    """One run."""

    variant: str
    seed: int
    reached: tuple[int, float, float] | None  # steps, minutes, CPU minutes at the first evaluation that was good enough
    curve: list[tuple[int, int]]  # steps, successes of 50
    minutes: float
    cpu_minutes: float
    fresh: tuple[int, int]  # successes of the best policy on fresh starts, of how many

    def text(self) -> str:
        """Return a row of the table."""
        reached = "never | – | –" if self.reached is None else "{:,} | {:.1f} | {:.1f}".format(*self.reached)
        steps, last = self.curve[-1]
        best = max(wins for _, wins in self.curve)
        return (
            f"| {self.variant} | {self.seed} | {reached} | {best}/50 | {last}/50 at {steps:,} | "
            f"{self.fresh[0]}/{self.fresh[1]} | {self.minutes:.1f} | {self.cpu_minutes:.1f} |"
        )


def learned(variant: str, seed: int, folder: Path, steps: int) -> Line:
    """Train one run."""
    config, clock = replace(VARIANTS[variant], seed=seed), Clock()
    tables = Randomization() if variant == "randomised" else None
    config = replace(config, steps=steps or config.steps)
    result = train(RunDirectory(folder), config, randomization=tables, reporters=[clock])
    reached = result.first_at(GOAL)
    cpu = dict(zip((e.step for e in result.history), clock.cpu_minutes, strict=True))
    return Line(
        variant,
        seed,
        None if reached is None else (reached.step, reached.minutes, cpu[reached.step]),
        [(e.step, e.wins) for e in result.history],
        result.minutes,
        clock.cpu_minutes[-1],
        fresh(load_policy(folder / "policy", oracle_spec(lift_task())).policy, tables),
    )


def fresh(policy: Policy, tables: Randomization | None = None) -> tuple[int, int]:
    """Judge a policy on starts that nobody has chosen it by."""
    env = SimEnv("lift", oracle=True, randomization=tables)
    found = evaluate(env, policy, FRESH, FRESH_SEED)
    env.close()
    print(f"    fresh starts: {found.text()}", flush=True)
    return found.wins, found.n


def cloned(seed: int, demonstrations: Path) -> Line:
    """Fit the demonstrations of a run, and do nothing else."""
    clock, started_s, config = Clock(), time.monotonic(), RLConfig()
    env, reader = SimEnv("lift", oracle=True), open_reader(demonstrations)
    episodes = [reader.read(c) for c in reader.commits("demo")]
    state = torch.from_numpy(np.concatenate([e.state[:-1] for e in episodes]))
    action = torch.from_numpy(np.concatenate([e.executed for e in episodes]))
    torch.manual_seed(seed)
    policy = Policy(env.task.spec.observation, 4, config.network)
    optimizer = torch.optim.Adam(policy.parameters(), config.sac.actor_lr)
    found, best = list[Evaluation](), policy
    for update in range(1, 10_001):
        rows = torch.randint(len(state), (64,))
        mode = policy.actor.mode(torch.zeros(64, 0), state[rows])
        loss = F.huber_loss(mode, action[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if update % 2000 == 0:
            found.append(evaluate(env, policy, step=update))
            clock.say(f"{update:,} updates: {found[-1].text()}")
            best = copy.deepcopy(policy) if all(not e.better_than(found[-1]) for e in found[:-1]) else best
    env.close()
    good = next((i for i, e in enumerate(found) if e.success >= GOAL), None)
    minutes = (time.monotonic() - started_s) / 60
    reached = None if good is None else (found[good].step, clock.cpu_minutes[good], clock.cpu_minutes[good])
    return Line(
        "cloning", seed, reached, [(e.step, e.wins) for e in found], minutes, clock.cpu_minutes[-1], fresh(best)
    )


def main() -> None:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=[*VARIANTS, "cloning"], default=["default"])
    parser.add_argument("--steps", type=int, default=0, help="0: as each variant says")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/rlpd_state"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for variant in args.variants:
        for seed in args.seeds:
            print(f"{variant}, seed {seed}", flush=True)
            folder = args.output_dir / f"{variant}-{seed}"
            demonstrations = args.output_dir / f"default-{seed}"
            done = args.output_dir / f"{variant}-{seed}.json"
            if done.exists():
                line = Line(**json.loads(done.read_text()))
            elif variant == "cloning":
                line = cloned(seed, demonstrations)
            else:
                line = learned(variant, seed, folder, args.steps)
            write_json(done, vars(line))
            lines.append(line)
    print("\n| variant | seed | steps to 95 % | minutes | CPU | best | last | fresh starts | minutes in all | CPU |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    print("\n".join(line.text() for line in lines))


if __name__ == "__main__":
    main()
