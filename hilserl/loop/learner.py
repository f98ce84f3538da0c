"""The learner: tails the store, updates at a target ratio of updates to steps, publishes, checkpoints, resumes."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from data.columns import ColumnRange
from data.errors import UserError
from data.lint import require_fit
from data.replay.capacity import GIB, Estimate
from data.schema import Outcome
from data.spec import TaskSpec
from data.store.reader import AnnotatedReader, open_reader
from hilserl.agents.features import FeatureReplay, ReplayConfig, feature_layout
from hilserl.agents.networks import Policy
from hilserl.agents.policy_file import LoadedPolicy
from hilserl.agents.sac import Sac, SacConfig
from hilserl.loop.link import LearnerStatus, Link
from hilserl.metrics import MetricsLog
from hilserl.runs import RunDirectory, load_checkpoint, prefixed, under

KINDS = ("baseline", "online", "demo")  # what it learns from; evaluations and label sessions are not training data
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LearnerConfig:
    """Pacing and warm start."""

    baseline_episodes: int = 20  # frozen-policy episodes that must be there before the first update
    critic_updates: int = 1000  # critic-only updates before the actor may change
    utd: float = 3.0  # critic updates per environment step after that
    publish_every: int = 100  # updates between new weights
    checkpoint_every: int = 5  # episodes between checkpoints
    seed: int = 0
    sac: SacConfig = field(default_factory=SacConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)

    def __post_init__(self) -> None:
        if self.baseline_episodes < 1:
            raise UserError(f"baseline_episodes is {self.baseline_episodes}; accepted is 1 or more: critics need data")


class Learner:
    """One run's learner. All of its state is in `run`'s checkpoints and in the store."""

    def __init__(
        self,
        run: RunDirectory,
        task: TaskSpec,
        start: LoadedPolicy,
        config: LearnerConfig,
        *,
        planned_episodes: int = 0,
    ) -> None:
        """Make the learner of a run.

        Args:
            run: where its store, its checkpoints and its link to the actor are.
            task: what the policy is trained for.
            start: the policy, and perhaps critics, to start from.
            config: pacing, warm start, networks and replay.
            planned_episodes: operated episodes to come, for the estimate of memory.

        Raises:
            UserError: the machine has not enough memory for the replay.
        """
        estimate = _estimate(start.policy, task, config, planned_episodes)
        estimate.require_memory()
        _log.log(logging.INFO if estimate.fits else logging.WARNING, "%s", estimate)
        torch.manual_seed(config.seed)
        self._run, self._task, self._config = run, task, config
        self._sac = Sac(task, config.sac, start.policy)
        if start.critic:
            self._sac.critic.load_state_dict(start.critic)
            self._sac.target.load_state_dict(start.critic)
        self._replay = FeatureReplay(start.policy, config.replay)
        self._link = Link(run.path)
        self._store: AnnotatedReader | None = None
        self._columns = ColumnRange(task.observation)
        self._last_commit = -1  # index of the newest commit looked at
        self._baseline = 0  # finished baseline episodes ingested
        self._operated = 0  # online episodes ingested
        self._steps = 0  # online steps ingested
        self._checkpointed = 0  # episodes at the last checkpoint
        self._owed = float(config.critic_updates)  # updates due so far: these, then `utd` per online step
        self._published = 0  # version of the newest weights
        self._resuming = False

    @property
    def debt(self) -> int:
        """Updates due for what has been seen; never negative, and 0 while the baseline is incomplete."""
        return 0 if self._waiting else max(0, int(self._owed) - self._sac.updates)

    @property
    def _waiting(self) -> bool:
        return len(self._replay) == 0 or self._baseline < self._config.baseline_episodes

    def resume(self) -> None:
        """Continue from the newest checkpoint: its tensors, then the same episodes in the same order.

        Raises:
            UserError: the run has no checkpoint, or a damaged one.
        """
        tensors, info = load_checkpoint(self._run.path)
        self._sac.load_state_dict(under("sac", tensors))  # first: its encoder makes the features
        for name, optimizer in self._sac.optimizers().items():
            state = {
                "state": _nested(under(f"optimizer.{name}", tensors)),
                "param_groups": info["optimizers"][name],
            }
            optimizer.load_state_dict(state)
        self._sac.updates = info["updates"]
        self._resuming = True  # until it owes what it should, the actor must not go by its debt
        self.ingest(up_to=info["last_commit"])
        self._resuming = False
        self._owed = info["owed"]
        torch.set_rng_state(tensors["rng.torch"])
        self._replay.set_rng_state(tensors["rng.replay"])
        self._checkpointed = self._replay.episodes

    def run(self, should_stop: Callable[[], bool], metrics: MetricsLog) -> None:
        """Learn until told to stop; then save everything."""
        self._publish()
        reported_s = 0.0
        while not should_stop():
            self.ingest()
            if self.debt:
                self.update(min(self.debt, 20), metrics)
            else:
                time.sleep(0.05)
            unsaved = self._replay.episodes - self._checkpointed
            if unsaved >= self._config.checkpoint_every * (3 if self.debt else 1):  # rather when nobody waits for it
                self.checkpoint()
            if time.monotonic() - reported_s > 0.5:
                self._report()
                reported_s = time.monotonic()
        self.checkpoint()
        self._report()

    def ingest(self, up_to: int | None = None) -> None:
        """Read newly committed training episodes into the replay, in commit order."""
        if self._store is None:
            if not (self._run.path / "store" / "store.json").exists():
                return
            self._store = open_reader(self._run.path)
        for commit in self._store.tail(self._last_commit):
            if up_to is not None and commit.index > up_to:
                return
            self._last_commit = commit.index
            if commit.kind not in KINDS:
                continue
            episode = self._store.read(commit)
            for finding in require_fit(episode, self._task):
                _log.warning("episode %d (%s), %s", commit.index, commit.uuid, finding)
            self._columns.add(episode)
            self._columns.require_varying()
            self._replay.add(episode)
            self._baseline += commit.kind == "baseline" and commit.outcome != Outcome.ABORTED
            if commit.kind == "online":
                self._operated += 1
                self._steps += len(episode)
                self._owed += self._config.utd * len(episode)
            self._report()  # many episodes at once would outlast the actor's patience with a silent learner

    def update(self, count: int, metrics: MetricsLog) -> None:
        """Make `count` updates and publish when it is time."""
        started_s = time.perf_counter()
        info: dict[str, torch.Tensor] = {}
        for _ in range(count):
            train_actor = self._sac.updates >= self._config.critic_updates
            info |= self._sac.update(self._replay.sample(), operated_episodes=self._operated, train_actor=train_actor)
            if self._sac.updates % self._config.publish_every == 0 and train_actor:
                self._publish()
        metrics.write(
            {
                "updates": self._sac.updates,
                "steps": self._steps,
                "episodes": self._operated,
                "debt": self.debt,
                "update_ms": 1e3 * (time.perf_counter() - started_s) / count,
                **{f"train/{k}": float(v) for k, v in info.items()},
            }
        )

    def checkpoint(self) -> None:
        """Save everything that a resume needs."""
        tensors = prefixed("sac", self._sac.state_dict())
        tensors |= prefixed("policy", self._sac.policy.state_dict())
        tensors |= prefixed("critic", self._sac.critic.state_dict())
        tensors |= {"rng.torch": torch.get_rng_state(), "rng.replay": self._replay.rng_state()}
        groups: dict[str, Any] = {}
        for name, optimizer in self._sac.optimizers().items():
            state = optimizer.state_dict()
            groups[name] = state["param_groups"]
            tensors |= {f"optimizer.{name}.{i}.{k}": v for i, p in state["state"].items() for k, v in p.items()}
        info = {
            "spec": json.loads(self._task.to_json()),
            "updates": self._sac.updates,
            "owed": self._owed,
            "last_commit": self._last_commit,
            "operated_episodes": self._operated,
            "steps": self._steps,
            "optimizers": groups,
        }
        self._run.save_checkpoint(tensors, info)
        self._checkpointed = self._replay.episodes

    def _publish(self) -> None:
        self._published = self._sac.updates
        self._link.publish_weights(self._sac.policy.actor.state_dict(), self._published)

    def _report(self) -> None:
        updates, config = self._sac.updates, self._config
        phase = (
            "resuming"
            if self._resuming
            else "waiting"
            if self._waiting
            else "critics"
            if updates < config.critic_updates
            else "training"
        )
        self._link.report(LearnerStatus(phase, updates, self.debt, self._replay.episodes, self._published))


def _estimate(policy: Policy, task: TaskSpec, config: LearnerConfig, planned_episodes: int) -> Estimate:
    """Return what the replay of a session will need when every episode runs into its time limit."""
    planned = (config.baseline_episodes + planned_episodes) * task.time_limit_steps
    layout = feature_layout(policy, config.replay)
    return Estimate.of(layout, int(config.replay.capacity_gib * GIB), task.time_limit_steps, planned)


def _nested(flat: dict[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    """Turn {"0.exp_avg": t} into {0: {"exp_avg": t}}."""
    nested: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in flat.items():
        index, key = name.split(".", 1)
        nested.setdefault(int(index), {})[key] = tensor
    return nested
