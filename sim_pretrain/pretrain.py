"""`hilserl pretrain`: make the policy that a session on the arm starts from."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import draccus
import torch

from data.errors import UserError
from data.spec import difference
from hilserl.flags import parse_flags
from hilserl.metrics import MetricsLog
from hilserl.runs import RunDirectory, load_checkpoint, write_json
from sim_pretrain.collect import Collector, cores
from sim_pretrain.distill import Distillation, DistillConfig
from sim_pretrain.env import EnvConfig
from sim_pretrain.profile import WorldProfile, read_profile
from sim_pretrain.randomize import Randomization
from sim_pretrain.rl import RLConfig, RLRun
from sim_pretrain.tasks import SimTask, find_task

BEGUN = "pretrain.json"
MAY_CHANGE = ("resume", "output_dir", "workers", "threads")  # between a run and its resume


@dataclass(frozen=True)
class PretrainArgs:
    """Flags of `hilserl pretrain`."""

    task: str = "lift"  # lift, bowl (red cube into a bowl) or paper (green cube onto a sheet)
    method: Literal["distill", "rl"] = "distill"  # distill: teacher -> cloning -> DAgger, from pixels; rl: see --rl
    randomize: bool = True  # another table for every episode; --randomize=false: always the same one
    randomization: Randomization = field(default_factory=Randomization)  # by how much the tables differ
    profile_json: Path | None = None  # the table at the centre, e.g. from `hilserl setup camera-fit`
    output_dir: Path = Path("runs/pretrain")  # the run; a policy folder as far as --policy.path is concerned
    resume: bool = False  # go on where output_dir stopped
    evaluate: int = 100  # untouched episodes at the end
    workers: int = 0  # simulation processes; 0: one per core
    threads: int = 0  # of torch; 0: one per core
    distill: DistillConfig = field(default_factory=DistillConfig)
    rl: RLConfig = field(default_factory=RLConfig)


def main(argv: Sequence[str]) -> int:
    """Make a policy, evaluate it, and save it with where it came from."""
    args = parse_flags(PretrainArgs, argv)
    started_s = time.monotonic()
    task = find_task(args.task)
    _begin(args, task)
    run = RunDirectory(args.output_dir)
    torch.set_num_threads(args.threads or cores())
    info = {"provenance": provenance(args, argv)}
    env = env_config(args)
    with MetricsLog(run.metrics_path) as metrics, Collector(env, args.workers or cores(), args.distill.teacher) as sim:
        distillation = Distillation(run, task, sim, args.distill, info)
        while not distillation.finished:
            distillation.step(metrics)
        done = distillation.finish(args.evaluate)
    print(f"untouched, in the {'randomised' if args.randomize else 'clean'} simulation: {done.evaluation.text()}")
    print(done.calibration.text())
    print(f"saved {done.folder} after {(time.monotonic() - started_s) / 60:.1f} minutes")
    print(f"Next: hilserl pretrain check {args.output_dir}, or hilserl demo --policy={args.output_dir}")
    return 0


def env_config(args: PretrainArgs) -> EnvConfig:
    """Return the environment that the flags describe."""
    profile = None if args.profile_json is None else read_profile(args.profile_json, WorldProfile)
    return EnvConfig(
        task=args.task, randomization=args.randomization if args.randomize else None, profile=profile
    )


def provenance(args: PretrainArgs, argv: Sequence[str]) -> dict[str, Any]:
    """Return where a policy comes from: the command, the commit, the flags that matter."""
    kept = [a for a in argv if not a.startswith(("--output_dir", "--resume", "--workers", "--threads"))]
    return {"command": " ".join(["hilserl pretrain", *kept]), "commit": _commit(), "flags": _lasting(args)}


def _begin(args: PretrainArgs, task: SimTask) -> None:
    """Refuse to mix two runs; note what this one is.

    Raises:
        UserError: the folder holds a run and `--resume` was not given, or the run was made with other flags.
    """
    begun, now = args.output_dir / BEGUN, {"spec": json.loads(task.spec.to_json()), **_lasting(args)}
    if not begun.exists():
        if args.resume:
            raise UserError(f"{args.output_dir} holds no run to resume; leave out --resume to start one")
        write_json(begun, now)
        return
    if not args.resume:
        raise UserError(
            f"{args.output_dir} holds a run already. Go on with it: the same command and --resume; "
            "or start another: --output_dir=runs/NAME"
        )
    lines = difference(now, json.loads(begun.read_text()), "this command", "the run")
    if lines:
        raise UserError(
            f"{args.output_dir} was begun with other flags; a resumed run must be the same run:\n" + "\n".join(lines)
            + "\nUse the flags of the run, or start another: --output_dir=runs/NAME"
        )


def _lasting(args: PretrainArgs) -> dict[str, Any]:
    flags: dict[str, Any] = draccus.encode(args)
    return {k: v for k, v in flags.items() if k not in MAY_CHANGE}


def _commit() -> str:
    """Return the commit this code is at, or "" outside a checkout."""
    here = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True)
    return done.stdout.strip()
