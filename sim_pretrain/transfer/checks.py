"""The checks before a policy goes to the arm: does it look, at what, how hard does it drive, what may the table change.

`check` reads a checkpoint; `examine` does the work, for anything that acts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hilserl.agents.policy_file import load_policy
from hilserl.runs import find_checkpoint
from sim_pretrain.episodes.evaluation import EPISODES, Acts, Evaluation, evaluate, play
from sim_pretrain.task.env import EnvConfig, SimEnv
from sim_pretrain.task.tasks import SimTask
from sim_pretrain.transfer.blind_baseline import BaselineConfig, distil_small
from sim_pretrain.transfer.probe import Blinded, Shuffled, action_change, input_groups, moments, shares
from sim_pretrain.transfer.report import Actions, AxisEnd, TransferReport, Use
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.randomize import Randomization

CHECK_SEED = 4_000_000  # apart from training, and from the evaluations that chose the best checkpoint
SATURATED, IDLE = 0.95, 0.05  # an action's dimension at its limit; a hand that is told to stay


@dataclass(frozen=True)
class CheckConfig:
    """How thoroughly a policy is checked."""

    episodes: int = EPISODES  # sighted, with black images, and on randomised tables: of each
    probe_episodes: int = 20  # observations of as many are shuffled, and as many are driven with each input shuffled
    axis_episodes: int = 20  # at either end of each randomisation axis; 0: leave the axes out
    baseline: bool = False  # also distil a small policy from black images, a minute or two: can the task be done blind?
    seed: int = CHECK_SEED
    randomization: Randomization = field(default_factory=Randomization)  # how far the axes reach
    profile: WorldProfile | None = None  # the table at the centre; none: that of the task
    small: BaselineConfig = field(default_factory=BaselineConfig)  # sizes of the small policy


class Tables:
    """A `TableSource`: every episode is on the table `now`, or on one drawn from `around`."""

    def __init__(self) -> None:
        self.now: WorldProfile | None = None
        self.around: Randomization | None = None

    def sample(self, rng: np.random.Generator, base: WorldProfile) -> WorldProfile:
        """Return the table of an episode; what is not drawn takes no random numbers, so starts stay equal."""
        return self.around.sample(rng, base) if self.around is not None else self.now or base


@dataclass(frozen=True)
class Bench:
    """One world for all checks; its tables change, its renderer does not."""

    env: SimEnv
    tables: Tables
    centre: WorldProfile

    @staticmethod
    def make(task: SimTask, profile: WorldProfile | None = None) -> Bench:
        """Build the world of a task, around a table."""
        tables, centre = Tables(), profile or task.profile
        return Bench(EnvConfig(task, randomization=tables, profile=centre).make(), tables, centre)


def check(
    checkpoint: Path, task: SimTask, config: CheckConfig, progress: Callable[[int], Any] = lambda _: None
) -> TransferReport:
    """Check a policy folder, or a run's newest checkpoint.

    Args:
        checkpoint: loading it verifies its golden pairs.
        task: that it was made for.
        config: how thoroughly.
        progress: called with 1 after each episode, `episodes_of(task, config)` times.

    Raises:
        UserError: there is no policy, it is damaged, or it does not act here as it did where it was made.
        SpecMismatch: it was made for another task spec.
    """
    loaded = load_policy(checkpoint, task.spec)
    bench = Bench.make(task, config.profile)
    try:
        return examine(
            bench, loaded.policy.eval(), config, str(find_checkpoint(checkpoint)), len(loaded.golden), progress
        )
    finally:
        bench.env.close()


def examine(
    bench: Bench,
    policy: Acts,
    config: CheckConfig,
    name: str = "",
    golden: int = 0,
    progress: Callable[[int], Any] = lambda _: None,
) -> TransferReport:
    """Check anything that acts; see `check`.

    Args:
        bench: the world; its table is the centre one afterwards.
        policy: greedy.
        config: how thoroughly.
        name: of the policy, for the report.
        golden: how many golden pairs were verified when it was loaded.
        progress: called with 1 after each episode.
    """
    env, tables, task = bench.env, bench.tables, bench.env.task

    def tried(tested: Acts, episodes: int) -> Evaluation:
        return evaluate(env, tested, episodes, config.seed, progress=progress)

    sighted = tried(policy, config.episodes)
    black = tried(Blinded(policy), config.episodes)
    recorded = []
    for number in range(config.probe_episodes):
        recorded.append(play(env, policy, config.seed + number).episode)
        progress(1)
    groups, seen = input_groups(task.spec.observation), moments(recorded, policy)
    changes = action_change(policy, seen, groups, np.random.default_rng(config.seed)) if seen else {}
    uses = [
        Use(
            g.name,
            share=shares(changes)[g.name],
            change=tuple(float(c) for c in changes[g.name]),
            shuffled=tried(Shuffled(policy, seen, g, config.seed), config.probe_episodes),
        )
        for g in groups
        if seen
    ]
    tables.around = config.randomization
    randomized = tried(policy, config.episodes)
    tables.around = None
    ends = []
    for axis in axes_of(task) if config.axis_episodes else ():
        for end, profile in zip(("low", "high"), config.randomization.extremes(axis, bench.centre), strict=True):
            tables.now = profile
            ends.append(AxisEnd(axis, end, getattr(profile, axis), tried(policy, config.axis_episodes)))
    tables.now = None
    baseline = None
    if config.baseline:
        small = blind_baseline(task, config, progress)
        baseline = tried(Blinded(small), config.episodes)
    acted = np.concatenate([e.proposed for e in recorded]) if recorded else np.zeros((0, len(task.spec.action.names)))
    return TransferReport(
        name=name,
        task=task.name,
        seed=config.seed,
        own_table=config.profile is not None,
        golden=golden,
        sighted=sighted,
        black=black,
        baseline=baseline,
        randomized=randomized,
        uses=tuple(sorted(uses, key=lambda use: -use.share)),
        actions=drive(acted, task.spec.action.names),
        axes=tuple(ends),
    )


def episodes_of(task: SimTask, config: CheckConfig) -> int:
    """Return how many episodes a check plays."""
    groups = len(input_groups(task.spec.observation)) if config.probe_episodes else 0
    small = config.small.teacher_episodes + config.small.round_episodes + config.episodes if config.baseline else 0
    ends = 2 * len(axes_of(task)) * config.axis_episodes
    return 3 * config.episodes + (1 + groups) * config.probe_episodes + ends + small


def axes_of(task: SimTask) -> tuple[str, ...]:
    """Return the randomisation axes that can reach a policy of this task: not those of cameras it does not have."""
    absent = {c for c in ("wrist", "front") if c not in task.spec.observation.policy_cameras}
    return tuple(
        axis
        for axis in Randomization.axes()
        if axis.split("_")[0] not in absent and (axis != "target_rgb" or task.prop is not None)
    )


def blind_baseline(task: SimTask, config: CheckConfig, progress: Callable[[int], Any]) -> Acts:
    """Distil a small policy from black images, on the table at the centre."""
    env = EnvConfig(task=task, profile=config.profile, blind=True)
    return distil_small(env, config.small, progress)


def drive(actions: np.ndarray, names: tuple[str, ...]) -> Actions:
    """Return how often actions [T, A] are at their limits, and how often the hand is told to stay."""
    if not len(actions):
        return Actions(dict.fromkeys(names, 0.0), 0.0)
    saturated = (np.abs(actions) > SATURATED).mean(0)
    moving = [i for i, name in enumerate(names) if name != "gripper"]
    idle = (np.abs(actions[:, moving]) < IDLE).all(1).mean()
    return Actions({n: float(s) for n, s in zip(names, saturated, strict=True)}, float(idle))
