"""The learner: tails the store, updates at a target ratio of updates to steps, publishes, checkpoints, resumes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from data.columns import ColumnRange
from data.lint import require_fit
from data.schema import Outcome
from data.spec import TaskSpec
from data.store.reader import AnnotatedReader, open_reader
from hilserl.agents.networks import Policy
from hilserl.agents.optimizers import load_optimizers, optimizer_tensors
from hilserl.agents.policy_file import LoadedPolicy, policy_checkpoint
from hilserl.loop.agents import Agent, estimate, learns_from_pixels, make_agent, taught
from hilserl.loop.card import write_card
from hilserl.loop.checks import CHECK, Checks
from hilserl.loop.finite import require_finite
from hilserl.loop.health import Health
from hilserl.loop.keeper import Keeper
from hilserl.loop.learner_config import LearnerConfig
from hilserl.loop.link import LearnerStatus, Link
from hilserl.loop.pacing import Pacing
from hilserl.metrics import MetricsLog
from hilserl.runs import RunDirectory, load_checkpoint, prefixed, under

KINDS = ("baseline", "online", "demo", CHECK)  # what it learns from; evaluations and label sessions are not
OF_THE_ACTOR = {"actor_loss", "cloning"}  # an update that returned one of these has changed the actor
_log = logging.getLogger(__name__)


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
        needed.require_memory(config.device)
        _log.log(logging.INFO if needed.fits else logging.WARNING, "%s", needed)
        torch.manual_seed(config.seed)
        self._run, self._task, self._config = run, task, config
        self._agent, self._replay = make_agent(task, start.policy, config, start.critic)
        self._link = Link(run.path) if linked else None
        self._store: AnnotatedReader | None = None
        self._columns = ColumnRange(task.observation)
        self._pacing = Pacing(config.critic_updates, config.utd)
        self._checks = Checks(config.check_every, config.check_episodes)
        self._keeper = Keeper(run, config.critic_updates)
        self._health = Health(task, self._agent, config)
        self.last_commit = -1  # index of the newest commit looked at
        self.episodes = 0  # ingested, of any kind
        self.operated = 0  # online ones among them
        self._baseline = 0  # finished baseline episodes ingested
        self._checkpointed = (-1, 0)  # updates and episodes at the last checkpoint
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
    def steps(self) -> int:
        """Online steps ingested."""
        return self._pacing.steps

    @property
    def debt(self) -> int:
        """Updates due for what has been seen; never negative, and 0 while the baseline is incomplete."""
        return 0 if self._waiting else self._pacing.debt(self._agent.updates)

    @property
    def _waiting(self) -> bool:
        return len(self._replay) == 0 or self._baseline < self._config.baseline_episodes

    def resume(self) -> dict[str, Any]:
        """Continue from the newest checkpoint: its tensors, then the same episodes in the same order.

        What the config says about learning rates and ratios holds from here on.

        Returns:
            The info of that checkpoint.

        Raises:
            UserError: the run has no checkpoint, or a damaged one.
        """
        tensors, info = load_checkpoint(self._run.path)
        self._agent.load_state_dict(under("agent", tensors))  # first: its encoder makes the features
        optimizers = self._agent.optimizers()
        settings = {name: optimizer.state_dict()["param_groups"] for name, optimizer in optimizers.items()}
        load_optimizers(optimizers, tensors, settings)
        self._agent.updates = info["updates"]
        self._resuming = True  # until it owes what it should, the actor must not go by its debt
        self.ingest(up_to=info["last_commit"])
        self._resuming = False
        self._pacing.load(info)
        self._checks.restored_at = info.get("restored_at", 0)
        self._health.look_again(self._pacing.actor_updates)
        torch.set_rng_state(tensors["rng.torch"])
        if "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"])
        self._replay.set_rng_state(tensors["rng.replay"])
        self._checkpointed = self._agent.updates, self.episodes
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
                self._settle(metrics)
                time.sleep(0.05)
            unsaved = self.episodes - self._checkpointed[1]
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
            self._replay.add(taught(episode, self._config))
            self._checks.add(episode)
            self._health.add(episode)
            self.episodes += 1
            self._baseline += commit.kind == "baseline" and commit.outcome != Outcome.ABORTED
            if commit.kind == "online":
                self.operated += 1
                self._pacing.see(len(episode))
            self._report()  # many episodes at once would outlast the actor's patience with a silent learner

    def update(self, count: int, metrics: MetricsLog | None = None) -> dict[str, float]:
        """Make `count` updates, or fewer if fewer are due; publish when it is time; return the newest numbers.

        Raises:
            NotFinite: a loss or a weight is NaN or infinite.
        """
        started_s = time.perf_counter()
        info: dict[str, Tensor] = {}
        for _ in range(made := min(count, self.debt)):
            train_actor = self._agent.updates >= self._config.critic_updates
            batch = self._replay.sample()
            clocks = {"operated_episodes": self.operated, "steps": self.steps}
            found = self._agent.update(batch, train_actor=train_actor, **clocks)  # type: ignore[arg-type]
            info |= found
            if train_actor:
                self._pacing.count(actor=not OF_THE_ACTOR.isdisjoint(found))
            if metrics is not None:
                self._health.watch(batch, info, self._pacing.actor_updates, metrics)
            if self._agent.updates % self._config.publish_every == 0 and train_actor:
                self._publish()
        numbers = {f"train/{k}": float(v) for k, v in info.items()}
        row = {
            "updates": self._agent.updates,
            "steps": self.steps,
            "episodes": self.operated,
            "debt": self.debt,
            **self._pacing.measured(),
            "update_ms": 1e3 * (time.perf_counter() - started_s) / max(made, 1),
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
        moments, _ = optimizer_tensors(self._agent.optimizers())
        progress = {
            "updates": self._agent.updates,
            "last_commit": self.last_commit,
            "operated_episodes": self.operated,
            "restored_at": self._checks.restored_at,
            **self._pacing.state(),
        }
        tensors, info = policy_checkpoint(
            self.policy, self._task, {**progress, **(extra or {})}, self._agent.critic.state_dict()
        )
        tensors |= moments | prefixed("agent", self._agent.state_dict())
        self._require_finite(tensors)
        tensors |= {"rng.torch": torch.get_rng_state(), "rng.replay": self._replay.rng_state()}
        if self._config.device != "cpu":
            tensors["rng.cuda"] = torch.cuda.get_rng_state()
        folder = self._run.save_checkpoint(tensors, info, keep, best)
        if not self._config.simulated:
            write_card(folder, self._checks.by_version.get(self._agent.updates))
        self._checkpointed = self._agent.updates, self.episodes

    def _settle(self, metrics: MetricsLog) -> None:
        """Nothing is owed: save and publish what is going to be checked, and judge what was."""
        updates = self._agent.updates
        if self._waiting:
            return
        to_be_checked = self._checks.due or updates == self._config.critic_updates  # the start policy: by the baseline
        if to_be_checked and self._checkpointed[0] != updates:
            self.checkpoint()
        if self._published != updates:
            self._publish()
        if row := self._keeper.judge(self._checks):
            metrics.write({"updates": updates, **row})

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
        learning = "critics" if self._agent.updates < self._config.critic_updates else "training"
        phase = "resuming" if self._resuming else "waiting" if self._waiting else learning
        self._link.report(LearnerStatus(phase, self._agent.updates, self.debt, self.episodes, self._published))
