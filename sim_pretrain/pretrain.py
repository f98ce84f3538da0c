"""`hilserl pretrain`: make the policy that a session on the arm starts from."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import draccus
import torch
from tqdm import tqdm

from data.errors import UserError
from data.spec import difference
from hilserl.agents.networks import Policy
from hilserl.agents.policy_file import load_policy
from hilserl.flags import parse_flags
from hilserl.metrics import MetricsLog
from hilserl.runs import RunDirectory, write_json
from sim_pretrain.distill.distillation import Distillation, DistillConfig
from sim_pretrain.episodes.collect import Collector, cores
from sim_pretrain.episodes.evaluation import Evaluation
from sim_pretrain.episodes.film import films
from sim_pretrain.rl import config as rl_config
from sim_pretrain.rl.baselines import BaselineConfig, train_baseline
from sim_pretrain.rl.config import RLConfig, task_of
from sim_pretrain.rl.console import ConsoleReporter, stop_on_signals
from sim_pretrain.rl.training import evaluated_in, train
from sim_pretrain.task.env import EnvConfig, SimEnv
from sim_pretrain.task.gpu_vector import require_warp
from sim_pretrain.task.preview import preview
from sim_pretrain.task.tasks import SimTask, find_task
from sim_pretrain.transfer.checks import CheckConfig, check, episodes_of
from sim_pretrain.world.profile import WorldProfile, read_profile
from sim_pretrain.world.randomize import Randomization

BEGUN = "pretrain.json"
MAY_CHANGE = ("resume", "output_dir", "workers", "threads", "check", "blind_baseline", "preview")  # between resumes
FILMS = 3
INTERRUPTED = 130  # exit status, as after Ctrl-C
GO_ON = "Go on with the same command and --resume."


Method = Literal["distill", "rlpd", "sac", "drqv2", "sb3-sac", "sb3-ppo"]


@dataclass(frozen=True)
class PretrainArgs:
    """Flags of `hilserl pretrain`."""

    task: str = "lift"  # lift, bowl (red cube into a bowl) or paper (green cube onto a sheet)
    method: Method = "distill"  # distill: teacher -> cloning -> DAgger, from pixels; the others learn from reward
    randomize: bool = True  # another table for every episode; --randomize=false: always the same one
    randomization: Randomization = field(default_factory=Randomization)  # by how much the tables differ
    profile_json: Path | None = None  # the table at the centre, e.g. from `hilserl setup camera-fit`
    output_dir: Path = Path("runs/pretrain")  # the run; a policy folder as far as --policy.path is concerned
    resume: bool = False  # go on where output_dir stopped
    check: Path | None = None  # check this policy before it goes to the arm, instead of making one
    blind_baseline: bool = False  # with --check: also train a small policy without eyes, a minute or two
    preview: bool = False  # draw tables as --randomization makes them into output_dir/preview.png, and nothing else
    evaluate: int = 100  # untouched episodes at the end
    backend: rl_config.Backend = "cpu"  # gpu: --rl.worlds tables at once on an NVIDIA GPU, for rlpd and sac
    workers: int = 0  # simulation processes; 0: one per core
    threads: int = 0  # of torch; 0: half of the cores, as threads that wait for a busy core cost more than they bring
    distill: DistillConfig = field(default_factory=DistillConfig)  # of the method distill
    rl: RLConfig = field(default_factory=RLConfig)  # of rlpd, sac and drqv2; method, task and backend are those above
    baseline: BaselineConfig = field(default_factory=BaselineConfig)  # of sb3-sac and sb3-ppo; its task, too


def main(argv: Sequence[str]) -> int:
    """Make a policy, evaluate it, and save it with where it came from; or look at one, or at the tables."""
    args = parse_flags(PretrainArgs, argv)
    task = task_of(_config(args)) if args.method == "drqv2" else find_task(args.task)
    if args.preview:
        return _preview(args, task)
    if args.check is not None:
        return _check(args, task)
    if args.backend == "gpu":
        _require_gpu(args)
    _begin(args, task)
    torch.set_num_threads(args.threads or max(1, cores() // 2))
    info = {"provenance": provenance(args, argv)}
    return _distil(args, task, info) if args.method == "distill" else _reinforce(args, info)


def _distil(args: PretrainArgs, task: SimTask, info: dict[str, Any]) -> int:
    started_s = time.monotonic()
    run, workers = RunDirectory(args.output_dir), args.workers or cores()
    with (
        MetricsLog(run.metrics_path) as metrics,
        Collector(env_config(args), workers, args.distill.teacher) as sim,
    ):
        distillation = Distillation(run, task, sim, args.distill, info)
        try:
            while not distillation.finished:
                distillation.step(metrics)
            done = distillation.finish(args.evaluate)
        except KeyboardInterrupt:
            print(f"\n{distillation.rounds_done} rounds are on disk. {GO_ON}")
            raise
    where = "tables that differ" if args.randomize else "the clean table"
    print(f"Untouched, on {where}: {done.evaluation.text()}")
    print(done.calibration.text())
    print(f"Saved {done.folder} after {(time.monotonic() - started_s) / 60:.1f} minutes.")
    with closing(env_config(args).make()) as env:
        _show(args.output_dir, env, done.policy, done.evaluation)
    print(f"Next: hilserl pretrain --task={args.task} --check={args.output_dir}")
    return 0


def _reinforce(args: PretrainArgs, info: dict[str, Any]) -> int:
    """Learn from reward; Ctrl-C leaves at the next whole piece of work, with everything on disk."""
    run, tables = RunDirectory(args.output_dir), args.randomization if args.randomize else None
    profile = env_config(args).profile
    with stop_on_signals() as stopping, ConsoleReporter(f"{args.method} {args.task}") as console:
        told: dict[str, Any] = {"reporters": [console], "randomization": tables, "profile": profile}
        if args.method in ("sb3-sac", "sb3-ppo"):
            baseline = replace(args.baseline, task=args.task)
            result = train_baseline(args.method, run, baseline, stopping, **told)  # type: ignore[arg-type]
        else:
            result = train(run, _config(args), stopping, info=info, **told)
    print(result.text())
    if result.finished and result.policy is not None and result.best is not None:
        with closing(evaluated_in(_config(args).settled(), tables, profile).make()) as env:
            _show(args.output_dir, env, load_policy(result.policy, env.task.spec).policy, result.best)
        if args.method == "drqv2":  # it sees images of another size than the arm's task has
            spec = args.output_dir / "task.json"
            spec.write_text(env.task.spec.to_json())
            print(f"On the arm: --policy.path={result.policy} --task={spec}")
    return 0 if result.finished else INTERRUPTED


def _config(args: PretrainArgs) -> RLConfig:
    """Return the run that rlpd, sac or drqv2 is to make."""
    return replace(args.rl, method=args.method, task=args.task, backend=args.backend)  # type: ignore[arg-type]


def _require_gpu(args: PretrainArgs) -> None:
    """Check that the GPU can do what is asked, before a run is begun.

    Raises:
        UserError: it cannot, or there is none.
    """
    if args.method not in ("rlpd", "sac") or args.rl.pixels:
        raise UserError(
            f"--backend=gpu simulates no cameras and serves --method=rlpd and --method=sac, from state; asked for is "
            f"{args.method}{' from pixels' * args.rl.pixels}. Choose one of the two, or leave out --backend=gpu"
        )
    require_warp()


def _show(folder: Path, env: SimEnv, policy: Policy, evaluation: Evaluation) -> None:
    """Write a table of all episodes of an evaluation, and films of the worst."""
    table = folder / "evaluation.txt"
    table.write_text(f"{evaluation.text()}\n\n{evaluation.table()}\n")
    with tqdm(total=min(FILMS, evaluation.n), desc="films", unit="film") as bar:
        made = films(env, policy, evaluation, folder / "films", FILMS, bar.update)
    print(f"Each episode: {table}. Films of the worst: {', '.join(map(str, made))}")


def _preview(args: PretrainArgs, task: SimTask) -> int:
    """Draw what the randomisation does to the tables."""
    path = args.output_dir / "preview.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    preview(task, args.randomization, path, args.distill.seed)
    print(f"Tables as they are drawn, and the extremes of each parameter: {path}")
    return 0


def _check(args: PretrainArgs, task: SimTask) -> int:
    """Check a policy before it goes to the arm; the status is 1 when something is suspicious."""
    assert args.check is not None
    centre = env_config(args).profile
    config = CheckConfig(randomization=args.randomization, profile=centre, baseline=args.blind_baseline)
    with tqdm(total=episodes_of(task, config), desc="episodes", unit="ep") as bar:
        report = check(args.check, task, config, bar.update)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    write_json(args.output_dir / "check.json", report.to_json())
    report.plot(args.output_dir / "check.png")
    print(report.text())
    print(f"Plot: {args.output_dir / 'check.png'}; numbers: {args.output_dir / 'check.json'}")
    return int(report.suspicious)


def env_config(args: PretrainArgs) -> EnvConfig:
    """Return the environment that the flags describe."""
    profile = None if args.profile_json is None else read_profile(args.profile_json, WorldProfile)
    return EnvConfig(task=args.task, randomization=args.randomization if args.randomize else None, profile=profile)


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
    if args.resume and not begun.exists():
        raise UserError(f"{args.output_dir} holds no run to resume; leave out --resume to start one")
    made = begun.exists() and any(f.stat().st_size for f in args.output_dir.rglob("*") if f.is_file() and f != begun)
    if not made and not args.resume:  # what failed before anything was made can be tried again, with other flags
        write_json(begun, now)
        return
    if args.method in ("sb3-sac", "sb3-ppo"):
        raise UserError(f"{args.output_dir} holds a run, and {args.method} starts anew: --output_dir=runs/NAME")
    if not args.resume:
        raise UserError(
            f"{args.output_dir} holds a run already. Go on with it: the same command and --resume; "
            "or start another: --output_dir=runs/NAME"
        )
    lines = difference(now, json.loads(begun.read_text()), "this command", "the run")
    if lines:
        raise UserError(
            f"{args.output_dir} was begun with other flags; a resumed run must be the same run:\n"
            + "\n".join(lines)
            + "\nUse the flags of the run, or start another: --output_dir=runs/NAME"
        )


def _lasting(args: PretrainArgs) -> dict[str, Any]:
    flags: dict[str, Any] = draccus.encode(args)
    flags["rl"] = {k: v for k, v in flags["rl"].items() if k not in rl_config.MAY_CHANGE}
    return {k: v for k, v in flags.items() if k not in MAY_CHANGE}


def _commit() -> str:
    """Return the commit this code is at, or "" outside a checkout."""
    here = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True)
    return done.stdout.strip()
