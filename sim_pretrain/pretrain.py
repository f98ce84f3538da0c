"""`hilserl pretrain`: make the policy that a session on the arm starts from."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch

from hilserl.agents.policy_file import save_policy
from hilserl.flags import parse_flags
from hilserl.metrics import wilson
from hilserl.tasks import lift_task
from sim_pretrain.distill import DistillConfig, distill
from sim_pretrain.rollout import success_count
from sim_pretrain.world import World


@dataclass(frozen=True)
class PretrainArgs:
    """Flags of `hilserl pretrain`."""

    method: Literal["distill"] = "distill"  # scripted expert -> behaviour cloning -> DAgger, from pixels
    output_dir: Path = Path("runs/pretrain/lift")  # policy folder; replaced when it exists
    evaluate: int = 50  # untouched episodes in the clean simulation at the end
    threads: int = 2  # of torch; 1 is faster on a machine that is busy with something else
    distill: DistillConfig = field(default_factory=DistillConfig)


def main(argv: Sequence[str]) -> int:
    """Distil, evaluate, and save the policy with its provenance."""
    args = parse_flags(PretrainArgs, argv)
    started_s = time.monotonic()
    task, world = lift_task(), World(seed=args.distill.seed)
    torch.set_num_threads(args.threads)
    try:
        policy, critic, runs = distill(world, task, args.distill)
        torch.set_num_threads(1)
        wins, steps = success_count(world, task, policy, args.evaluate, seed=10_000 + args.distill.seed)
    finally:
        world.close()
    low, high = wilson(wins, args.evaluate)
    provenance = {
        "command": "hilserl pretrain " + " ".join(a for a in argv if not a.startswith("--output_dir")),
        "commit": _commit(),
        "seed": args.distill.seed,
        "method": args.method,
        "config": asdict(args.distill),
        "episodes": len(runs),
        "steps": sum(len(r.episode) for r in runs),
        "success": {"n": args.evaluate, "wins": wins, "low": low, "high": high, "mean_steps": steps},
        "minutes": round((time.monotonic() - started_s) / 60, 1),
    }
    save_policy(args.output_dir, policy, task, {"provenance": provenance}, critic)
    print(
        f"{wins} of {args.evaluate} untouched successes in the clean simulation "
        f"(95 % interval {low:.0%} to {high:.0%}), "
        f"{steps:.0f} steps on average; saved {args.output_dir}"
    )
    return 0


def _commit() -> str:
    """Return the commit this code is at, or "" outside a checkout."""
    here = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True)
    return done.stdout.strip()
