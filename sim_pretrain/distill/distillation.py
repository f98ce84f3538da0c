"""A pixel policy from a teacher that sees everything: behaviour cloning, DAgger rounds, then its critics.

DAgger: Ross et al., "A reduction of imitation learning and structured prediction to no-regret online learning", 2011.
A round is the unit of resuming: its episodes and the networks after it are on disk, and everything random in it comes
from the seed and its number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from data.errors import UserError
from data.schema import Observation, Outcome
from data.spec import require_same
from data.store.reader import open_reader
from hilserl.agents.features import FeatureReplay, ReplayConfig
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.agents.optimizers import load_optimizers, optimizer_tensors
from hilserl.agents.policy_file import policy_checkpoint
from hilserl.agents.sac import Sac, SacConfig
from hilserl.loop.finite import require_finite
from hilserl.metrics import MetricsLog
from hilserl.runs import INFO, RunDirectory, load_checkpoint, numbered, prefixed, under
from sim_pretrain.distill.cloning import Cloner, CloningConfig
from sim_pretrain.distill.shards import load_shard, save_shard
from sim_pretrain.episodes.calibration import Calibration, calibrate
from sim_pretrain.episodes.collect import Collector, Driver
from sim_pretrain.episodes.evaluation import EVALUATION_SEED, Evaluation, regression, result_of
from sim_pretrain.episodes.rollout import Phase, Rollout
from sim_pretrain.task.tasks import SimTask

# Of the first episode; apart from training (from 0), the rounds' evaluation (1,000,000) and the checks (4,000,000).
CRITIC_SEED, CALIBRATION_SEED, FINAL_SEED = 2_000_000, 3_000_000, 6_000_000
GOLDEN = 32  # observations that a checkpoint keeps to be checked against


@dataclass(frozen=True)
class DistillConfig:
    """Sizes of the distillation."""

    teacher: str = "expert"  # the script, or the folder of a policy that was trained on privileged state
    teacher_episodes: int = 150
    demos: Path | None = None  # learn from the demonstrations in this run's store, instead of from the teacher's
    perturbed: float = 0.3  # share of the teacher's steps that get noise, so that recoveries are seen
    rounds: int = 2  # DAgger rounds
    round_episodes: int = 60
    student_share: float = 0.8  # of the steps of a DAgger episode; the teacher drives the rest
    cloning_updates: int = 2000  # on the teacher's episodes alone
    round_updates: int = 1200
    critic_episodes: int = 50  # untouched episodes of the finished policy for its critics; as many check them
    critic_updates: int = 2000
    critic_tau: float = 0.02  # Polyak rate of their targets; at a session's 0.005 they would lag behind for long
    evaluate: int = 50  # untouched episodes after each round, always from the same starts
    seed: int = 0
    cloning: CloningConfig = field(default_factory=CloningConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)


@dataclass(frozen=True)
class Distilled:
    """What came out."""

    policy: Policy
    evaluation: Evaluation  # of this policy, untouched
    calibration: Calibration  # of its critics
    folder: Path  # the finished checkpoint


class Distillation:
    """One run: `rounds/` holds the labelled episodes, `checkpoints/` the networks after each round."""

    def __init__(
        self, run: RunDirectory, task: SimTask, collector: Collector, config: DistillConfig, info: Mapping[str, Any]
    ) -> None:
        """Start a run, or go on with it: rounds that are on disk are not made again.

        Args:
            run: where everything is written.
            task: what is to be learnt.
            collector: simulates it.
            config: sizes.
            info: kept in the checkpoints, beside the spec.
        """
        self._run, self._task, self._collector, self._config, self._info = run, task, collector, config, dict(info)
        torch.manual_seed(config.seed)
        self.policy = Policy(task.spec.observation, len(task.spec.action.names), config.network)
        total = config.cloning_updates + config.rounds * config.round_updates
        self._cloner = Cloner(self.policy, task.spec, config.cloning, total)
        self._rollouts: list[Rollout] = []
        self._best: Evaluation | None = None
        self._best_weights: dict[str, torch.Tensor] = {}
        self.rounds_done = 0
        if numbered(run.checkpoints):
            self._restore()

    @property
    def finished(self) -> bool:
        """Whether all rounds are done."""
        return self.rounds_done > self._config.rounds

    def step(self, metrics: MetricsLog) -> Evaluation:
        """Make the next round: collect, fit, evaluate, save. The first one is the teacher's own.

        Raises:
            NotFinite: the loss was not finite; the checkpoint of the round before stays the newest.
        """
        number, c = self.rounds_done, self._config
        self._rollouts += self._labelled(number)
        self.policy.train()
        rng = np.random.default_rng([c.seed, number])
        updates = c.round_updates if number else c.cloning_updates
        with tqdm(total=updates, desc=f"round {number} of {c.rounds}: fitting", unit="up") as bar:
            loss = self._fit(updates, rng, lambda n, x: (bar.update(n), bar.set_postfix(loss=x)))
        found = self._evaluate()
        worse = regression(self._best, found)
        if found.better_than(self._best):
            self._best, self._best_weights = found, {k: v.clone() for k, v in self.policy.state_dict().items()}
        self.rounds_done += 1
        metrics.write(
            {
                "round": number,
                "updates": self._cloner.updates,
                "episodes": len(self._rollouts),
                "steps": sum(len(r.episode) for r in self._rollouts),
                "loss": loss,
                "success": found.success,
            }
        )
        tqdm.write(f"  round {number}: {found.text()}" + (f" ({worse})" if worse else ""))
        self._save()
        return found

    def finish(self, evaluate: int) -> Distilled:
        """Take the policy of the best round, train critics for it, and save both as the newest checkpoint.

        Raises:
            NotFinite: the critics are not finite; the checkpoint of the last round stays the newest.
        """
        c, task = self._config, self._task
        self.policy.load_state_dict(self._best_weights)
        seen = [*self._rollouts, *self._untouched(CRITIC_SEED, c.critic_episodes, "critics: episodes")]
        torch.manual_seed(c.seed)
        sac = train_critics(self.policy, task, seen, c)
        require_finite(sac.critic.state_dict(), c.critic_updates, self._run.checkpoints)
        calibration = calibrate(
            self.policy,
            sac.critic,
            self._untouched(CALIBRATION_SEED, c.critic_episodes, "critics: checking"),
            sac.config.discount,
        )
        runs = self._untouched(FINAL_SEED, evaluate, "final evaluation")  # starts that chose no round
        evaluation = Evaluation(tuple(result_of(FINAL_SEED + i, r) for i, r in enumerate(runs)), self._cloner.updates)
        results = {
            "evaluation": {k: v for k, v in evaluation.to_json().items() if k != "episodes"},
            "calibration": calibration.to_json(),
            "episodes": len(self._rollouts),
            "steps": sum(len(r.episode) for r in self._rollouts),
        }
        tensors, info = policy_checkpoint(
            self.policy, task.spec, {**self._info, **results}, sac.critic.state_dict(), golden(runs)
        )
        folder = self._run.save_checkpoint(tensors, info, keep=2)
        return Distilled(self.policy, evaluation, calibration, folder)

    def _fit(self, updates: int, rng: np.random.Generator, tick: Callable[[int, float], Any]) -> float:
        try:
            return self._cloner.fit(self._rollouts, updates, rng, tick)
        except FloatingPointError as error:
            require_finite(self.policy.state_dict(), self._cloner.updates, self._run.checkpoints, str(error))
            raise

    def _labelled(self, number: int) -> list[Rollout]:
        """Return the labelled episodes of a round: from disk if they were made before, else simulated and saved."""
        folder, c = self._run.path / "rounds" / f"{number:03d}", self._config
        if (folder / INFO).exists():
            return load_shard(folder, self._task.spec)
        if number == 0 and c.demos is not None:
            return demonstrations(c.demos, self._task)
        count = c.round_episodes if number else c.teacher_episodes
        first = c.teacher_episodes + (number - 1) * c.round_episodes if number else 0
        seeds = range(c.seed * 100_000 + first, c.seed * 100_000 + first + count)
        driver = Driver(student=c.student_share) if number else Driver(perturbed=c.perturbed)
        with tqdm(total=count, desc=f"round {number} of {c.rounds}: episodes", unit="ep") as bar:
            self.policy.eval()
            runs = list(self._collector.run(driver, seeds, self.policy if number else None, bar.update))
        save_shard(folder, runs)
        return runs

    def _untouched(self, first: int, count: int, title: str) -> list[Rollout]:
        self.policy.eval()
        with tqdm(total=count, desc=title, unit="ep") as bar:
            return list(self._collector.run(Driver(student=1.0), range(first, first + count), self.policy, bar.update))

    def _evaluate(self) -> Evaluation:
        runs = self._untouched(EVALUATION_SEED, self._config.evaluate, "evaluation")
        results = tuple(result_of(EVALUATION_SEED + i, r) for i, r in enumerate(runs))
        return Evaluation(results, self._cloner.updates)

    def _save(self) -> None:
        assert self._best is not None
        tensors, groups = optimizer_tensors({"cloning": self._cloner.optimizer})
        weights, info = policy_checkpoint(self.policy, self._task.spec, self._info)
        progress = {
            "rounds_done": self.rounds_done,
            "updates": self._cloner.updates,
            "optimizers": groups,
            "best": self._best.to_json(),
        }
        tensors |= weights | prefixed("best", self._best_weights)
        self._run.save_checkpoint(tensors, {**info, "distillation": progress}, keep=2)

    def _restore(self) -> None:
        """Go on after the newest round that is on disk."""
        newest = [p.name for p in numbered(self._run.checkpoints)]
        for name in reversed(newest):
            tensors, info = load_checkpoint(self._run.path, name)
            if "distillation" in info:
                break
        else:
            return
        progress = info["distillation"]
        self.policy.load_state_dict(under("policy", tensors))
        load_optimizers({"cloning": self._cloner.optimizer}, tensors, progress["optimizers"])
        self._cloner.updates, self.rounds_done = progress["updates"], progress["rounds_done"]
        self._best, self._best_weights = Evaluation.from_json(progress["best"]), under("best", tensors)
        for number in range(self.rounds_done):
            self._rollouts += self._labelled(number)


def demonstrations(run: Path, task: SimTask) -> list[Rollout]:
    """Return the demonstrations in a run's store; what was done is their label.

    Raises:
        UserError: there is no store, or no demonstration in it.
        SpecMismatch: they were recorded for another spec.
    """
    store = open_reader(run)
    require_same(task.spec, store.spec, f"the store of {run}")
    episodes = [store.read(c) for c in store.commits("demo")]
    if not episodes:
        raise UserError(
            f"{run} holds no demonstrations. Record some: hilserl record --purpose=demo --output_dir={run}, "
            f"or simulate them: hilserl pretrain demos --output_dir={run}"
        )
    phases = {Outcome.SUCCESS: Phase.SUCCESS, Outcome.FAILURE: Phase.LOST}
    return [Rollout(e, e.executed, phases.get(e.meta.outcome, Phase.MISSED), 0.0, 0.0) for e in episodes]


def train_critics(policy: Policy, task: SimTask, runs: Sequence[Rollout], config: DistillConfig) -> Sac:
    """Fit critics to simulated episodes under the finished policy; they start the ones on the arm."""
    replay = FeatureReplay(policy, ReplayConfig(copies=1, seed=config.seed))
    for run in runs:
        replay.add(run.episode)
    sac = Sac(task.spec, SacConfig(tau=config.critic_tau), policy)
    for _ in tqdm(range(config.critic_updates), "critics: fitting", unit="up"):
        sac.update(replay.sample(), operated_episodes=0, train_actor=False)
    policy.encoder.requires_grad_(True)
    return sac


def golden(runs: Sequence[Rollout]) -> list[Observation]:
    """Return observations spread over the episodes: a loader must get the same actions from them."""
    rows = [(r.episode, t) for r in runs for t in range(len(r.episode))]
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, min(GOLDEN, len(rows))).astype(int)]
    return [Observation({c: e.images[c][t] for c in e.images}, e.state[t], float(e.stamp_s[t])) for e, t in chosen]
