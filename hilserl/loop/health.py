"""Whether learning is sane: a few numbers about the critics, the policy, its inputs and the person, now and then.

It draws no random number and changes nothing, so that a run is the same with it and without it. What the numbers mean
is in `diagnosis`.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.labels import from_mask
from data.replay.pixel_replay import PixelBatch
from data.schema import Episode, Outcome, Source
from data.spec import TaskSpec
from hilserl.agents.networks import CriticEnsemble
from hilserl.agents.sac import Batch, Sac
from hilserl.loop.agents import Agent
from hilserl.loop.diagnosis import PREFIX, diagnose
from hilserl.loop.learner_config import LearnerConfig
from hilserl.metrics import MetricsLog

RECENT = 20  # operated episodes that say how things go now
JUDGED_EPISODES = 20  # before that, a state column may well rest
JUDGED_UPDATES = 500  # before that, the critics may be anywhere
NO_CHANGE = 1e-6  # of the field's range
CUT_OFF = 3.0  # half ranges from the centre; the networks clamp there
OUTSIDE_SHARE = 0.01  # of all frames
SMALLEST_STD = 0.01  # of the half range: a locked joint rests at two or three encoder counts
QUANTILES = (0.05, 0.5, 0.95)  # of Q
CLIPPED = 0.95  # of the largest action
_log = logging.getLogger(__name__)


class Health:
    """Watches one agent and what it learns from."""

    def __init__(self, task: TaskSpec, agent: Agent, config: LearnerConfig) -> None:
        """Watch an agent from here on."""
        self._task, self._agent, self._every = task, agent, config.health_every
        self._returns, self._began_with = _possible_returns(agent, config), config.start.actor
        self._inputs, self._people = Inputs(task), People(task)
        self._start, self._said = self._weights(), dict[str, str]()
        self.look_again(0)

    def add(self, episode: Episode) -> None:
        """Take in an episode that is learned from."""
        self._inputs.add(episode)
        self._people.add(episode)

    def look_again(self, actor_updates: int) -> None:
        """Begin to watch which weights change, after so many updates of the actor."""
        self._last, self._actor_updates = self._weights(), actor_updates

    def watch(
        self, batch: Batch | PixelBatch, info: Mapping[str, Tensor], actor_updates: int, metrics: MetricsLog
    ) -> None:
        """Look after every `health_every` updates: write a row, and say what is wrong when that has changed.

        Arguments are those of `look`.
        """
        if not self._every or self._agent.updates % self._every:
            return
        row = self.look(batch, info, actor_updates)
        metrics.write({"updates": self._agent.updates, **row})
        found = diagnose(row)
        for rule in sorted(found.keys() - self._said.keys()):
            _log.warning("after %d updates: %s", self._agent.updates, found[rule])
        if self._said and not found:
            _log.info("after %d updates: learning is sane again", self._agent.updates)
        self._said = found

    @torch.no_grad()
    def look(self, batch: Batch | PixelBatch, info: Mapping[str, Tensor], actor_updates: int) -> dict[str, Any]:
        """Return numbers and names for a row of metrics; about as much work as a third of an update.

        Args:
            batch: what was learned from last.
            info: what the last update of the actor returned; may be empty.
            actor_updates: so far; when there was none since the last look, its weights may rest.
        """
        agent, names = self._agent, self._task.action.names
        features = agent.policy.encode_batch(batch.images) if isinstance(batch, PixelBatch) else batch.features
        action = agent.policy.actor.mode(features, batch.state)
        size = action.abs()[:, :-1]  # the gripper is at an end of its range as a rule
        clipped = dict(zip(names[:-1], (size > CLIPPED).float().mean(0).tolist(), strict=True))
        worst = max(clipped, key=lambda name: clipped[name])
        row: dict[str, Any] = {"action": float(size.mean())} | {f"clipped_{n}": share for n, share in clipped.items()}
        row |= {"clipped": clipped[worst], "clipped_name": worst}
        row |= {name: float(info[name]) for name in ("entropy", "temperature") if name in info}
        if isinstance(agent.critic, CriticEnsemble):
            chosen = action[:, : agent.critic.first.weight.shape[1] - agent.critic.head.size]
            q = agent.critic(features, batch.state, chosen).mean(0).quantile(action.new_tensor(QUANTILES))
            row |= dict(zip(("q_low", "q_median", "q_high"), q.tolist(), strict=True))
            if self._returns is not None and agent.updates >= JUDGED_UPDATES:
                row |= dict(zip(("q_least", "q_most"), self._returns, strict=True))
        row |= self._weight_changes(actor_updates) | self._inputs.row() | self._people.row()
        return {PREFIX + name: value for name, value in row.items()}

    def _weights(self) -> dict[str, Tensor]:
        """Return copies of everything that is trained."""
        return {n: p.detach().clone() for n, p in self._agent.named_parameters() if p.requires_grad}

    def _weight_changes(self, actor_updates: int) -> dict[str, Any]:
        """Return how far the networks are from their start, and what has not moved since the last look."""
        now, rested = self._weights(), actor_updates == self._actor_updates
        unmoved = [name for name, weight in now.items() if torch.equal(weight, self._last[name])]
        dead = [n for n in unmoved if not (rested and self._of_actor(n))]
        self._last, self._actor_updates = now, actor_updates
        return {
            "actor_change": self._distance("policy.actor.", now),
            "critic_change": self._distance("critic.", now),
            "began_with": self._began_with,
            "without_gradient": ", ".join(dead),
        }

    def _of_actor(self, name: str) -> bool:
        """Whether the actor's updates train it; without critics they train everything."""
        alone = not isinstance(self._agent.critic, CriticEnsemble)
        return alone or name.startswith("policy.actor.") or name == "log_temperature"

    def _distance(self, network: str, now: Mapping[str, Tensor]) -> float | None:
        """Return |weights - start| / |start| of one network; None when the agent has none such."""
        names = [n for n in now if n.startswith(network)]
        if not names:
            return None
        before = [self._start[n] for n in names]
        moved = torch._foreach_sub([now[n] for n in names], before)
        far, size = (torch.stack(torch._foreach_norm(x)).square().sum() for x in (moved, before))
        return math.sqrt(float(far / size))


class Inputs:
    """Statistics of every state column over all that is learned from."""

    def __init__(self, task: TaskSpec) -> None:
        fields = [f for f in task.observation.state for _ in range(f.size)]
        self._names = [f"{f.name}[{i}]" for f in task.observation.state for i in range(f.size)]
        low, high = np.array([f.low for f in fields]), np.array([f.high for f in fields])
        self._centre, self._half_range = (low + high) / 2, (high - low) / 2
        self._episodes = self._frames = 0
        self._sum, self._squares, self._cut_off, self._drift = np.zeros((4, len(fields)))
        self._low, self._high = np.full(len(fields), np.inf), np.full(len(fields), -np.inf)

    def add(self, episode: Episode) -> None:
        """Take in an episode; a tenth of a millisecond."""
        x = (episode.state - self._centre) / self._half_range
        if self._episodes >= JUDGED_EPISODES:
            mean = self._sum / self._frames
            std = np.sqrt(np.maximum(self._squares / self._frames - mean**2, SMALLEST_STD**2))
            self._drift = np.abs(x.mean(0) - mean) / std
        self._episodes, self._frames = self._episodes + 1, self._frames + len(x)
        self._sum, self._squares = self._sum + x.sum(0), self._squares + (x**2).sum(0)
        self._cut_off += (np.abs(x) > CUT_OFF).sum(0)
        self._low, self._high = np.minimum(self._low, x.min(0)), np.maximum(self._high, x.max(0))

    def row(self) -> dict[str, Any]:
        """Return columns that never change, columns that are cut off, and how far the last episode is from the rest."""
        judged = self._episodes >= JUDGED_EPISODES
        constant = judged & (self._high - self._low <= 2 * NO_CHANGE)
        outside = self._cut_off > OUTSIDE_SHARE * self._frames
        worst = int(np.argmax(self._drift)) if len(self._drift) else None
        drift = {} if worst is None else {"drift": float(self._drift[worst]), "drift_name": self._names[worst]}
        return {"constant": self._named(constant), "outside": self._named(outside), **drift}

    def _named(self, columns: np.ndarray) -> str:
        return ", ".join(name for name, wanted in zip(self._names, columns, strict=True) if wanted)


class People:
    """How the last operated episodes went, and how much of them a person drove."""

    def __init__(self, task: TaskSpec) -> None:
        self._rate_hz, self._limit_steps = task.rate_hz, task.time_limit_steps
        self._recent: deque[tuple[bool, int, int, int]] = deque(maxlen=RECENT)  # won, steps, by a person, longest

    def add(self, episode: Episode) -> None:
        """Take in an episode; only operated ones count."""
        if episode.meta.kind == "online" and episode.meta.outcome is not Outcome.ABORTED:
            human = episode.source == Source.HUMAN
            longest = max((stop - first for first, stop in from_mask(human)), default=0)
            self._recent.append((episode.meta.outcome is Outcome.SUCCESS, len(episode), int(human.sum()), longest))

    def row(self) -> dict[str, Any]:
        """Return shares of successes and of a person's steps, and the longest take-over."""
        if not self._recent:
            return {}
        won, steps, human, longest = zip(*self._recent, strict=True)
        return {
            "success_share": sum(won) / len(won),
            "human_share": sum(human) / sum(steps),
            "takeover_s": max(longest) / self._rate_hz,
            "episode_s": self._limit_steps / self._rate_hz,
        }


def _possible_returns(agent: Agent, config: LearnerConfig) -> tuple[float, float] | None:
    """Return the smallest and the largest: what targets are clipped to, or what the arm pays; None: nobody knows."""
    if isinstance(agent, Sac):
        return agent.config.target_low, agent.config.target_high
    return None if config.simulated else (0.0, 1.0)
