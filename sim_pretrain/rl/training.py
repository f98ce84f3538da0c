"""Reinforcement learning in the simulation: the learner of the real arm, in one process with its episodes.

A run advances by short, whole pieces of work: some updates, an episode, an evaluation, a checkpoint. The episode that
follows depends on the seed, its number and the policy alone. So whatever was killed goes on from its newest checkpoint,
takes the episodes that are in the store already, and ends with the same numbers as if nothing had happened.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch

from data.schema import Observation, Outcome
from data.store.commit_log import Commit
from data.store.episode_store import EpisodeStore
from hilserl.agents.drqv2 import DrQv2
from hilserl.agents.networks import Policy
from hilserl.agents.policy_file import LoadedPolicy, save_policy
from hilserl.loop.learner import Learner
from hilserl.metrics import MetricsLog
from hilserl.runs import RunDirectory, numbered
from sim_pretrain.episodes.evaluation import EVALUATION_SEED, Evaluation, evaluate, play, regression
from sim_pretrain.rl.config import RLConfig, identity, learner_of, network_of, require_same_run, stored_spec, task_of
from sim_pretrain.rl.console import TensorBoardReporter, require_tensorboard
from sim_pretrain.rl.report import Evaluated, Reporter, Result, kept_steps
from sim_pretrain.rl.training_episodes import ONLINE, Episodes
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.gpu_vector import make_gpu_vector
from sim_pretrain.world.profile import WorldProfile
from sim_pretrain.world.randomize import Randomization

RECENT = 100  # episodes in the running means
UPDATES = 10  # made at once: how long a wish to stop may have to wait


class RLRun:
    """One run, in a `with` block: `step` until `finished`, then `save`."""

    def __init__(
        self,
        run: RunDirectory,
        config: RLConfig,
        *,
        randomization: Randomization | None = None,
        profile: WorldProfile | None = None,
        reporters: Sequence[Reporter] = (),
        info: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Begin a run, or go on with the one in this folder.

        Args:
            run: where everything is written.
            config: what to learn, and how.
            randomization: draws a table for every episode; none: always the same one.
            profile: the table; none: that of the task.
            reporters: who is told.
            info: kept in every checkpoint and policy, beside the spec; JSON.

        Raises:
            UserError: the folder's run has another spec, reward or config (the message lists the keys), or the config
                asks for something that does not exist.
        """
        self._run, self.config, self._reporters, self._info = run, config.settled(), list(reporters), dict(info)
        tests = evaluated_in(self.config, randomization, profile)
        if self.config.tensorboard:
            require_tensorboard()  # before anything is written
        self._numbers: dict[str, float] = {}  # of the newest updates
        self._recent: list[tuple[bool, int, float]] = []  # success, steps, return of the last online episodes
        self._best: Evaluation | None = None
        self.history: list[Evaluated] = []
        self._saved = self._logged = 0  # steps at the last checkpoint and at the last row
        self._work_s, self._resumed_s, self._resumed_at = 0.0, time.monotonic(), 0
        with ExitStack() as opened:
            training = replace(tests, stages=self.config.stages)
            self._env = training.make()
            opened.callback(self._env.close)
            self._tests = tests.make()
            opened.callback(self._tests.close)
            many = make_gpu_vector(training, self.config.worlds) if self.config.backend == "gpu" else None
            if many is not None:
                opened.callback(many.close)
            self.task = self._env.task.spec
            require_same_run(run, identity(self.config, self.task, randomization, profile))
            self._store = EpisodeStore.create_or_open(run.path / "store", stored_spec(self.task))
            opened.callback(self._store.close)
            self._episodes = Episodes(self._env, self._store, self.config, many)
            self.learner = self._make_learner()
            if numbered(run.checkpoints):
                self._restore(self.learner.resume()["rl"])
            self._metrics = opened.enter_context(MetricsLog(run.metrics_path))
            if self.config.tensorboard:
                curves = TensorBoardReporter(run.path / "tensorboard", after=self.steps)
                self._reporters.append(opened.enter_context(curves))
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def steps(self) -> int:
        """Environment transitions of the policy so far: the one clock."""
        return self.learner.steps

    @property
    def minutes(self) -> float:
        """Time spent on this run by all processes that worked on it, up to what was saved of each."""
        return (self._work_s + time.monotonic() - self._resumed_s) / 60

    @property
    def finished(self) -> bool:
        """Whether all steps are made, learned from and evaluated."""
        return self.steps >= self.config.steps and not self.learner.debt and self._evaluated == self.steps

    def step(self) -> None:
        """Do the next piece of work.

        Raises:
            NotFinite: an update went wrong; the checkpoint before it is the newest.
            UserError: the expert or the simulation failed.
        """
        config, learner = self.config, self.learner
        if learner.debt:
            self._numbers |= learner.update(min(learner.debt, UPDATES))
        elif _passed(self._logged, self.steps, config.log_every):
            self._log()
        elif _passed(self._evaluated, self.steps, config.evaluate_every) or self.steps >= config.steps:
            self._evaluate()
        elif _passed(self._saved, self.steps, config.checkpoint_every):
            self.save()
        else:
            self._play()

    def save(self, best: bool = False) -> None:
        """Write a checkpoint from which the run goes on as if it had never stopped."""
        progress = {
            "history": [asdict(e) for e in self.history],
            "best": None if self._best is None else self._best.to_json(),
            "recent": self._recent,
            "work_s": 60 * self.minutes,
        }
        self.learner.checkpoint({**self._info, "rl": progress}, keep=self.config.keep_checkpoints, best=best)
        self._saved = self.steps

    def result(self) -> Result:
        """Return what the run came to so far."""
        folder = self._run.path / "policy"
        policy = folder if folder.exists() else None
        return Result(self.finished, self.steps, self.minutes, tuple(self.history), self._best, policy)

    def _make_learner(self) -> Learner:
        torch.manual_seed(self.config.seed)
        policy = Policy(self.task.observation, len(self.task.action.names), network_of(self.config))
        episodes = self.config.steps // self.task.time_limit_steps + 1 + (self.config.demos or 0)
        start = LoadedPolicy(policy, {}, {})
        return Learner(self._run, self.task, start, learner_of(self.config), planned_episodes=episodes, linked=False)

    def _play(self) -> None:
        """Take the next episode in; what it owes is paid before anything else happens."""
        learner = self.learner
        std = learner.agent.std(learner.steps) if isinstance(learner.agent, DrQv2) else None
        commit = self._episodes.next(
            learner.policy, after=learner.last_commit, steps=learner.steps, version=learner.agent.updates, std=std
        )
        learner.ingest(up_to=commit.index)
        if commit.kind == ONLINE:
            self._recent = [*self._recent, _in_short(commit)][-RECENT:]
        for reporter in self._reporters:
            reporter.progress(self.steps, self.config.steps)

    def _evaluate(self) -> None:
        """Play greedily from the starts that every evaluation uses; keep the policy, and say if it got worse."""
        found = evaluate(self._tests, self.learner.policy, self.config.evaluation_episodes, step=self.steps)
        worse, best = regression(self._best, found), found.better_than(self._best)
        mean_steps = found.mean_steps if found.wins else None
        self.history.append(Evaluated(self.steps, round(self.minutes, 3), found.wins, found.n, mean_steps))
        self._best = found if best else self._best
        self._keep(found, best)
        self.save(best)
        values = {"eval/success_rate": found.success, "eval/ep_len_mean": found.mean_steps}
        self._tell({**values, "eval/ep_rew_mean": found.mean_reward})
        for reporter in self._reporters:
            reporter.say(f"{self.steps:,} steps, {self.minutes:.1f} min: {found.text()}" + (f"; {worse}" * bool(worse)))

    def _keep(self, found: Evaluation, best: bool) -> None:
        """Save the policy that was evaluated, and drop those that the rule does not keep."""
        run = play(self._tests, self.learner.policy, EVALUATION_SEED)  # observations to prove it by when it is loaded
        images, state, stamp_s = run.episode.images, run.episode.state, run.episode.stamp_s
        golden = [Observation({c: images[c][t] for c in images}, state[t], stamp_s[t]) for t in range(len(stamp_s))]
        summary = {k: v for k, v in found.to_json().items() if k != "episodes"}
        info = {**self._info, "method": self.config.method, "steps": self.steps, "evaluation": summary}
        folders = [self._run.path / "evaluated" / f"{self.steps:09d}"]
        for folder in [*folders, self._run.path / "policy"] if best else folders:
            save_policy(folder, self.learner.policy, self.task, info, self.learner.agent.critic.state_dict(), golden)
        kept = set(kept_steps(self.history, self.config.keep_evaluated))
        for folder in folders[0].parent.iterdir():
            if folder.name.isdecimal() and int(folder.name) not in kept:
                shutil.rmtree(folder)

    def _log(self) -> None:
        """Tell the numbers of the training itself."""
        self._logged = self.steps
        won, steps, returns = (np.array(column, float) for column in zip(*self._recent, strict=True))
        fps = (self.steps - self._resumed_at) / max(time.monotonic() - self._resumed_s, 1e-9)
        train = {name: value for name, value in self._numbers.items() if name.startswith("train/")}
        self._tell(
            {
                "rollout/success_rate": won.mean(),
                "rollout/ep_len_mean": steps.mean(),
                "rollout/ep_rew_mean": returns.mean(),
                "time/episodes": self.learner.operated,
                "time/fps": fps,
                "time/minutes": self.minutes,
                "time/total_timesteps": self.steps,
                **train,
                "train/n_updates": self.learner.agent.updates,
            }
        )

    def _tell(self, values: Mapping[str, float]) -> None:
        self._metrics.write({"steps": self.steps, **values})
        for reporter in self._reporters:
            reporter.row(self.steps, values)

    @property
    def _evaluated(self) -> int:
        """Steps at the last evaluation."""
        return self.history[-1].step if self.history else 0

    def _restore(self, progress: Mapping[str, Any]) -> None:
        self.history = [Evaluated(**e) for e in progress["history"]]
        self._best = None if progress["best"] is None else Evaluation.from_json(progress["best"])
        self._recent = [(won, steps, returns) for won, steps, returns in progress["recent"]]
        self._work_s = progress["work_s"]
        self._saved = self._logged = self._resumed_at = self.steps


def train(
    run: RunDirectory,
    config: RLConfig,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    randomization: Randomization | None = None,
    profile: WorldProfile | None = None,
    reporters: Sequence[Reporter] = (),
    info: Mapping[str, Any] = MappingProxyType({}),
) -> Result:
    """Train until the steps are made or somebody wants to stop; a folder that holds this run goes on with it.

    Raises:
        UserError: see `RLRun`.
        NotFinite: an update made NaN; the checkpoint before it is the newest.
    """
    with RLRun(run, config, randomization=randomization, profile=profile, reporters=reporters, info=info) as rl:
        while not rl.finished and not should_stop():
            rl.step()
        if not rl.finished:
            rl.save()
        return rl.result()


def evaluated_in(
    config: RLConfig, randomization: Randomization | None = None, profile: WorldProfile | None = None
) -> EnvConfig:
    """Return what a run of this settled config is evaluated in; it is trained in the same, from the config's stages.

    Raises:
        UserError: there is no such task or reward, or the reward does not fit the task.
    """
    assert config.reward is not None
    return EnvConfig(task_of(config), config.reward, None, randomization, profile, oracle=not config.pixels)


def _passed(before: int, now: int, every: int) -> bool:
    """Whether a multiple of `every` lies behind `before` and not behind `now`."""
    return now // every > before // every


def _in_short(commit: Commit) -> tuple[bool, int, float]:
    return commit.outcome is Outcome.SUCCESS, commit.steps, float(commit.notes["return"])
