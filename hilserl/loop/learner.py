"""The learner: tails the store, updates at a target ratio of updates to steps, publishes, checkpoints, resumes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.columns import ColumnRange
from data.errors import UserError
from data.lint import require_fit
from data.schema import Episode, Outcome, Source
from data.spec import TaskSpec
from data.store.reader import AnnotatedReader, open_reader
from hilserl.agents.networks import Policy
from hilserl.agents.optimizers import load_optimizers, optimizer_tensors
from hilserl.agents.policy_file import LoadedPolicy, policy_checkpoint
from hilserl.loop.agents import Agent, AgentConfig, estimate, learns_from_pixels, make_agent
from hilserl.loop.finite import require_finite
from hilserl.loop.link import LearnerStatus, Link
from hilserl.metrics import MetricsLog
from hilserl.runs import RunDirectory, load_checkpoint, prefixed, under

KINDS = ("baseline", "online", "demo")  # what it learns from; evaluations and label sessions are not training data
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LearnerConfig(AgentConfig):
    """The agent, pacing and warm start."""

    baseline_episodes: int = 20  # frozen-policy episodes that must be there before the first update
    critic_updates: int = 1000  # critic-only updates before the actor may change
    utd: float = 3.0  # critic updates per environment step after that
    publish_every: int = 100  # updates between new weights
    checkpoint_every: int = 5  # episodes between checkpoints
    simulated: bool = False  # episodes are a simulation's own: not linted, and any reward is learned from
    seed: int = 0

    def __post_init__(self) -> None:
        if self.baseline_episodes < 0 or (self.critic_updates > 0 and self.baseline_episodes == 0):
            raise UserError(
                f"baseline_episodes is {self.baseline_episodes} with {self.critic_updates} critic_updates; accepted is "
                "1 or more, as critics need data, or 0 for both: learning without a warm start"
            )


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
        linked: bool = True,
    ) -> None:
        """Make the learner of a run.

        Args:
            run: where its store, its checkpoints and its link to the actor are.
            task: what the policy is trained for.
            start: the policy, and perhaps critics, to start from.
            config: the agent, pacing, warm start.
            planned_episodes: operated episodes to come, for the estimate of memory.
            linked: an actor in another process wants weights and status.

        Raises:
            UserError: the machine has not enough memory for the replay.
        """
        planned_steps = (config.baseline_episodes + planned_episodes) * task.time_limit_steps
        needed = estimate(task, start.policy, config, planned_steps)
        needed.require_memory(config.device if learns_from_pixels(start.policy, config) else "cpu")
        _log.log(logging.INFO if needed.fits else logging.WARNING, "%s", needed)
        torch.manual_seed(config.seed)
        self._run, self._task, self._config = run, task, config
        self._agent, self._replay = make_agent(task, start.policy, config)
        if start.critic:
            self._agent.critic.load_state_dict(start.critic)
            self._agent.target.load_state_dict(start.critic)
        self._link = Link(run.path) if linked else None
        self._store: AnnotatedReader | None = None
        self._columns = ColumnRange(task.observation)
        self.last_commit = -1  # index of the newest commit looked at
        self.episodes = 0  # ingested, of any kind
        self.operated = 0  # online ones among them
        self.steps = 0  # online steps ingested
        self._baseline = 0  # finished baseline episodes ingested
        self._checkpointed = 0  # episodes at the last checkpoint
        self._owed = float(config.critic_updates)  # updates due so far: these, then `utd` per online step
        self._published = 0  # version of the newest weights
        self._resuming = False

    @property
    def agent(self) -> Agent:
        """The networks and their optimisers; the learner goes on changing them."""
        return self._agent

    @property
    def policy(self) -> Policy:
        """What acts."""
        return self._agent.policy

    @property
    def debt(self) -> int:
        """Updates due for what has been seen; never negative, and 0 while the baseline is incomplete."""
        return 0 if self._waiting else max(0, int(self._owed) - self._agent.updates)

    @property
    def _waiting(self) -> bool:
        return len(self._replay) == 0 or self._baseline < self._config.baseline_episodes

    def resume(self) -> dict[str, Any]:
        """Continue from the newest checkpoint: its tensors, then the same episodes in the same order.

        Returns:
            The info of that checkpoint.

        Raises:
            UserError: the run has no checkpoint, or a damaged one.
        """
        tensors, info = load_checkpoint(self._run.path)
        self._agent.load_state_dict(under("agent", tensors))  # first: its encoder makes the features
        load_optimizers(self._agent.optimizers(), tensors, info["optimizers"])
        self._agent.updates = info["updates"]
        self._resuming = True  # until it owes what it should, the actor must not go by its debt
        self.ingest(up_to=info["last_commit"])
        self._resuming = False
        self._owed = info["owed"]
        torch.set_rng_state(tensors["rng.torch"])
        if "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"])
        self._replay.set_rng_state(tensors["rng.replay"])
        self._checkpointed = self.episodes
        return info

    def run(self, should_stop: Callable[[], bool], metrics: MetricsLog) -> None:
        """Learn until told to stop; then save everything.

        Raises:
            NotFinite: an update went wrong; the checkpoint before it is the newest.
        """
        self._publish()
        reported_s = 0.0
        while not should_stop():
            self.ingest()
            if self.debt:
                self.update(min(self.debt, 20), metrics)
            else:
                time.sleep(0.05)
            unsaved = self.episodes - self._checkpointed
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
        for commit in self._store.tail(self.last_commit):
            if up_to is not None and commit.index > up_to:
                return
            self.last_commit = commit.index
            if commit.kind not in KINDS:
                continue
            episode = self._store.read(commit)
            if not self._config.simulated:
                for finding in require_fit(episode, self._task):
                    _log.warning("episode %d (%s), %s", commit.index, commit.uuid, finding)
                self._columns.add(episode)
                self._columns.require_varying()
            self._replay.add(_taught(episode))
            self.episodes += 1
            self._baseline += commit.kind == "baseline" and commit.outcome != Outcome.ABORTED
            if commit.kind == "online":
                self.operated += 1
                self.steps += len(episode)
                self._owed += self._config.utd * len(episode)
            self._report()  # many episodes at once would outlast the actor's patience with a silent learner

    def update(self, count: int, metrics: MetricsLog | None = None) -> dict[str, float]:
        """Make `count` updates and publish when it is time; return the newest numbers about them.

        Raises:
            NotFinite: a loss or a weight is NaN or infinite.
        """
        started_s = time.perf_counter()
        info: dict[str, Tensor] = {}
        for _ in range(count):
            train_actor = self._agent.updates >= self._config.critic_updates
            info |= self._agent.update(
                self._replay.sample(),  # type: ignore[arg-type]
                operated_episodes=self.operated,
                steps=self.steps,
                train_actor=train_actor,
            )
            if self._agent.updates % self._config.publish_every == 0 and train_actor:
                self._publish()
        numbers = {f"train/{k}": float(v) for k, v in info.items()}
        row = {
            "updates": self._agent.updates,
            "steps": self.steps,
            "episodes": self.operated,
            "debt": self.debt,
            "update_ms": 1e3 * (time.perf_counter() - started_s) / count,
            **numbers,
        }
        if metrics is not None:
            metrics.write(row)
        wrong = [f"{name} is {value}" for name, value in numbers.items() if not math.isfinite(value)]
        if wrong:
            self._require_finite(self._agent.state_dict(), ", ".join(wrong))
        return row

    def checkpoint(self, extra: Mapping[str, Any] | None = None, *, keep: int = 3, best: bool = False) -> None:
        """Save everything that a resume needs, and `extra` beside it; see `RunDirectory.save_checkpoint`.

        Raises:
            NotFinite: there is NaN or infinity in it; nothing was saved.
        """
        moments, groups = optimizer_tensors(self._agent.optimizers())
        progress = {
            "updates": self._agent.updates,
            "owed": self._owed,
            "last_commit": self.last_commit,
            "operated_episodes": self.operated,
            "steps": self.steps,
            "optimizers": groups,
        }
        tensors, info = policy_checkpoint(
            self.policy, self._task, {**progress, **(extra or {})}, self._agent.critic.state_dict()
        )
        tensors |= moments | prefixed("agent", self._agent.state_dict())
        self._require_finite(tensors)
        tensors |= {"rng.torch": torch.get_rng_state(), "rng.replay": self._replay.rng_state()}
        if self._config.device != "cpu":
            tensors["rng.cuda"] = torch.cuda.get_rng_state()
        self._run.save_checkpoint(tensors, info, keep, best)
        self._checkpointed = self.episodes

    def _publish(self) -> None:
        if self._link is None:
            return
        self._require_finite(self._agent.state_dict())
        self._published = self._agent.updates
        whole = learns_from_pixels(self.policy, self._config)
        self._link.publish_weights((self.policy if whole else self.policy.actor).state_dict(), self._published)

    def _require_finite(self, tensors: Mapping[str, Tensor], what: str = "") -> None:
        require_finite(tensors, self._agent.updates, self._run.checkpoints, what)

    def _report(self) -> None:
        if self._link is None:
            return
        updates, config = self._agent.updates, self._config
        phase = (
            "resuming"
            if self._resuming
            else "waiting"
            if self._waiting
            else "critics"
            if updates < config.critic_updates
            else "training"
        )
        self._link.report(LearnerStatus(phase, updates, self.debt, self.episodes, self._published))


def _taught(episode: Episode) -> Episode:
    """Return the episode with a scripted expert's steps counted as a person's: both are there to be copied."""
    expert = episode.source == Source.EXPERT
    return replace(episode, source=np.where(expert, np.uint8(Source.HUMAN), episode.source))
