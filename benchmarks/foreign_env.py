"""Ours and LeRobot's SAC on an environment that is neither's: gym-hil's Panda picks up a cube, from state.

    uv run --with gym-hil==0.1.14 python benchmarks/foreign_env.py --seeds 0 1
    uv run python benchmarks/foreign_env.py --seeds

The cube lies elsewhere in every episode; sparse reward; both get the same scripted demonstrations and take half of
every batch from them; one update of batch 256 per environment step, made when the episode is over. A run that is in
benchmarks/foreign_env.json is not made again; without seeds it only prints the table and draws the curves.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from foreign_sides import SIDES
from panda import Panda, expert

RESULTS = Path(__file__).with_suffix(".json")
WINDOW = 20  # training episodes in the success rate of the curve
EVALUATIONS = 20


@dataclass
class Run:
    """What one side came to with one seed."""

    side: str
    seed: int
    demonstrations: int
    curve: list[tuple[int, bool, float, float]]  # of each training episode: steps so far, success, CPU s, wall s
    greedy: int  # untouched successes of `EVALUATIONS`, at the end
    step_ms: float  # mean CPU times: of the environment, ...
    act_ms: float
    update_ms: float


def learn(name: str, seed: int, steps: int, demonstrations: int) -> Run:
    """Train one side for so many environment steps."""
    env, side, rng = Panda(), SIDES[name](seed), np.random.default_rng(seed)
    shown, number = 0, 1000 * seed
    while shown < demonstrations:
        trial, number = env.play(lambda state: expert(state, rng), number), number + 1
        if trial.success:
            side.add(trial, demonstration=True)
            shown += 1
    env.cpu_s, env.steps = 0.0, 0
    spent = {"act": 0.0, "update": 0.0}

    def act(state: np.ndarray) -> np.ndarray:
        started_s = time.process_time()
        action = side.act(state, explore=True)
        spent["act"] += time.process_time() - started_s
        return action

    curve, cpu_s, wall_s = [], time.process_time(), time.monotonic()
    while env.steps < steps:
        trial, number = env.play(act, number), number + 1
        side.add(trial, demonstration=False)
        started_s = time.process_time()
        for _ in trial.action:
            side.update()
        spent["update"] += time.process_time() - started_s
        times_s = time.process_time() - cpu_s, time.monotonic() - wall_s
        curve.append((env.steps, bool(trial.success), *(round(t, 2) for t in times_s)))
    made, env_s = env.steps, env.cpu_s
    greedy = sum(
        env.play(lambda state: side.act(state, explore=False), 1_000_000 + i).success for i in range(EVALUATIONS)
    )
    print(f"{name}, seed {seed}: {greedy} of {EVALUATIONS}, {curve[-1][2] / 60:.1f} CPU minutes", flush=True)
    per_step = (1e3 * total_s / made for total_s in (env_s, spent["act"], spent["update"]))
    return Run(name, seed, demonstrations, curve, greedy, *per_step)


def rate(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Return the success rate of the last `WINDOW` training episodes, and the steps at the end of each."""
    won = np.array([success for _, success, _, _ in run.curve], float)
    sums = np.concatenate(([0.0], np.cumsum(won)))
    first = np.maximum(np.arange(1, len(won) + 1) - WINDOW, 0)
    return (sums[1:] - sums[first]) / (np.arange(1, len(won) + 1) - first), np.array([c[0] for c in run.curve])


def table(runs: list[Run]) -> str:
    """Return the markdown table."""
    lines = [
        f"| side | seed | steps | last {WINDOW} training episodes | greedy | steps to 80 % | CPU min | wall min "
        "| env, act, update: CPU ms a step |\n|---|---|---|---|---|---|---|---|---|"
    ]
    for run in runs:
        success, steps = rate(run)
        good = np.flatnonzero((success >= 0.8) & (np.arange(len(success)) >= WINDOW - 1))
        _, _, cpu_s, wall_s = run.curve[-1]
        lines.append(
            f"| {run.side} | {run.seed} | {steps[-1]:,} | {success[-1]:.0%} | {run.greedy}/{EVALUATIONS} | "
            f"{f'{steps[good[0]]:,}' if len(good) else 'never'} | {cpu_s / 60:.1f} | {wall_s / 60:.1f} | "
            f"{run.step_ms:.1f}, {run.act_ms:.1f}, {run.update_ms:.1f} |"
        )
    return "\n".join(lines)


def draw(runs: list[Run], path: Path) -> None:
    """Draw success against steps, and against minutes of one core."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, label in zip(figure.subplots(1, 2, sharey=True), ("environment steps", "CPU minutes"), strict=True):
        for run in runs:
            success, steps = rate(run)
            x: Any = steps if label == "environment steps" else [cpu_s / 60 for _, _, cpu_s, _ in run.curve]
            colour = f"C{list(SIDES).index(run.side)}"
            axes.plot(x, success, color=colour, alpha=0.8, label=run.side if run.seed == runs[0].seed else None)
        axes.set(xlabel=label, ylim=(-0.02, 1.02))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel(f"success, last {WINDOW} training episodes")
    figure.axes[1].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Make the runs that are missing, print the table, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--steps", type=int, default=4000, help="of the environment, in each run")
    parser.add_argument("--demonstrations", type=int, default=20)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = [Run(**r) for r in json.loads(args.results.read_text())] if args.results.exists() else []
    for seed in args.seeds:
        for name in args.sides:
            if not any((r.side, r.seed) == (name, seed) for r in runs):
                runs.append(learn(name, seed, args.steps, args.demonstrations))
                lines = ",\n".join(json.dumps(asdict(r)) for r in runs)
                args.results.write_text(f"[\n{lines}\n]\n")
    print("\n" + table(runs))
    draw(runs, args.results.with_suffix(".png"))


if __name__ == "__main__":
    main()
