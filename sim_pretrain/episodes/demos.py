"""`hilserl pretrain demos`: fill a store with episodes of the scripted expert, like those that a person records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from data.errors import UserError
from data.schema import Outcome
from data.store.committer import Committer
from data.store.episode_store import EpisodeStore
from hilserl.flags import parse_flags
from sim_pretrain.episodes.collect import Collector, Driver, cores
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.tasks import find_task
from sim_pretrain.world.randomize import Randomization

KIND = "demo"


@dataclass(frozen=True)
class DemosArgs:
    """Flags of `hilserl pretrain demos`."""

    task: str = "lift"  # lift, bowl or paper
    episodes: int = 1000  # the store is filled up to this many; the same command goes on after an interruption
    output_dir: Path = Path("runs/demos")  # the run whose store is filled
    randomize: bool = True  # another table for every episode
    randomization: Randomization = field(default_factory=Randomization)  # by how much the tables differ
    perturbed: float = 0.2  # share of the steps that get noise, so that recoveries are seen; labels are what was done
    teacher: str = "expert"  # the script, or the folder of a policy that was trained on privileged state
    workers: int = 0  # simulation processes; 0: one per core
    seed: int = 0  # of the first episode; each next one counts on


def main(argv: Sequence[str]) -> int:
    """Simulate and store; say how many episodes succeeded."""
    args = parse_flags(DemosArgs, argv)
    if args.episodes < 1:
        raise UserError(f"episodes is {args.episodes}; accepted is 1 or more")
    task = find_task(args.task)
    env = EnvConfig(args.task, randomization=args.randomization if args.randomize else None, all_cameras=True)
    with EpisodeStore.create_or_open(args.output_dir / "store", task.spec) as store:
        there = {c.uuid for c in store.commits(KIND)}
        seeds = [s for s in range(args.seed, args.seed + args.episodes) if uuid(args.task, s) not in there]
        driver = Driver(perturbed=args.perturbed)
        with (
            Collector(env, args.workers or cores(), args.teacher) as sim,
            Committer(store) as committer,
            tqdm(total=args.episodes, initial=args.episodes - len(seeds), desc="demonstrations", unit="ep") as bar,
        ):
            for seed, run in zip(seeds, sim.run(driver, seeds), strict=True):
                meta = replace(run.episode.meta, kind=KIND, uuid=uuid(args.task, seed))
                committer.submit(replace(run.episode, meta=meta)).result()
                bar.update(1)
        commits = store.commits(KIND)
    wins = sum(c.outcome == Outcome.SUCCESS for c in commits)
    print(
        f"{args.output_dir} holds {len(commits)} demonstrations, {wins} of them successful, "
        f"{sum(c.steps for c in commits)} steps.\nLook at them: hilserl data info {args.output_dir}; "
        f"use them: hilserl train --output_dir={args.output_dir} ..."
    )
    return 0


def uuid(task: str, seed: int) -> str:
    """Return the uuid of the demonstration that belongs to a seed: made twice, it is stored once."""
    return f"sim-{task}-{seed:08d}"
