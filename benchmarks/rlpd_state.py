"""RLPD from state: steps and minutes until 95 % of 50 greedy episodes succeed, over seeds; one core, one thread.

    uv run python benchmarks/rlpd_state.py --seeds 0 1 2
    uv run python benchmarks/rlpd_state.py --variants plain cloning --seeds 0

Variants: `default` is `RLConfig()`; `plain` is without the cloning term; `cloning` is that term alone, without any
reinforcement learning, on the demonstrations of the default run; `sac` has the dense reward and no demonstrations.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from data.store.reader import open_reader
from hilserl.agents.networks import Policy
from hilserl.runs import RunDirectory, write_json
from sim_pretrain.env import SimEnv
from sim_pretrain.evaluation import Evaluation, evaluate
from sim_pretrain.rl import train
from sim_pretrain.rl_config import RLConfig

GOAL = 0.95
PLAIN = replace(RLConfig().sac, cloning_start=0.0, cloning_end=0.0)
VARIANTS = {
    "default": RLConfig(),
    "plain": RLConfig(sac=PLAIN, steps=20_000, evaluate_every=2000),
    "sac": RLConfig(method="sac", sac=PLAIN, steps=30_000, evaluate_every=2000),
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

    def text(self) -> str:
        """Return a row of the table."""
        reached = "no" if self.reached is None else "{:,} | {:.1f} | {:.1f}".format(*self.reached)
        reached = "never | – | –" if self.reached is None else reached
        steps, last = self.curve[-1]
        best = max(wins for _, wins in self.curve)
        return (
            f"| {self.variant} | {self.seed} | {reached} | {best}/50 | {last}/50 at {steps:,} | {self.minutes:.1f} | "
            f"{self.cpu_minutes:.1f} |"
        )


def learned(variant: str, seed: int, folder: Path, steps: int) -> Line:
    """Train one run."""
    config, clock = replace(VARIANTS[variant], seed=seed), Clock()
    result = train(RunDirectory(folder), replace(config, steps=steps or config.steps), reporters=[clock])
    reached = result.first_at(GOAL)
    cpu = dict(zip((e.step for e in result.history), clock.cpu_minutes, strict=True))
    return Line(
        variant,
        seed,
        None if reached is None else (reached.step, reached.minutes, cpu[reached.step]),
        [(e.step, e.wins) for e in result.history],
        result.minutes,
        clock.cpu_minutes[-1],
    )


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
    found: list[Evaluation] = []
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
    env.close()
    good = next((i for i, e in enumerate(found) if e.success >= GOAL), None)
    minutes = (time.monotonic() - started_s) / 60
    reached = None if good is None else (found[good].step, clock.cpu_minutes[good], clock.cpu_minutes[good])
    return Line("cloning", seed, reached, [(e.step, e.wins) for e in found], minutes, clock.cpu_minutes[-1])


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
            line = cloned(seed, demonstrations) if variant == "cloning" else learned(variant, seed, folder, args.steps)
            write_json(args.output_dir / f"{variant}-{seed}.json", vars(line))
            lines.append(line)
    print("\n| variant | seed | steps to 95 % | minutes | CPU minutes | best | last | minutes in all | CPU |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(line.text() for line in lines))


if __name__ == "__main__":
    main()
