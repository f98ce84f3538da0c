"""The two learners that are compared on an environment that is neither's: ours and LeRobot's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from lerobot_sac import LeRobotSac
from panda import CUBE, ROBOT, ROBOT_DIM, TASK, Trial

from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from hilserl.agents.features import ReplayConfig
from hilserl.agents.networks import NetworkConfig, Policy
from hilserl.loop.agents import AgentConfig, make_agent
from sim_pretrain.rl.config import ScratchConfig

SHARED = {"actor_lr": 3e-4, "critic_lr": 3e-4, "temperature_lr": 3e-4, "temperature_init": 0.01, "discount": 0.97}
# What learns from nothing but demonstrations and reward in our simulation, too (benchmarks/rlpd_state.md, `plain`).
PLAIN = ScratchConfig(**SHARED, cloning_start=0.0, cloning_end=0.0)
CLONED = replace(PLAIN, cloning_start=1.0, cloning_end=1.0)


class Side(Protocol):
    """A learner that is compared."""

    def act(self, state: np.ndarray, explore: bool) -> np.ndarray:
        """Return an action [4] of the environment."""

    def add(self, trial: Trial, demonstration: bool) -> None:
        """Take an episode in."""

    def update(self) -> object:
        """Draw a batch and update everything once."""


class Ours:
    """The agent and the memory of our learner; the gripper is continuous."""

    def __init__(self, seed: int, sac: ScratchConfig = PLAIN) -> None:
        torch.manual_seed(seed)
        self._policy = Policy(TASK.observation, 4, NetworkConfig(std_max=1.0))
        replay = ReplayConfig(copies=0, capacity_gib=0.1, n_step=3, seed=seed)
        self._agent, self._memory = make_agent(TASK, self._policy, AgentConfig(sac=sac, replay=replay))
        self._noise = torch.Generator().manual_seed(seed)

    def act(self, state: np.ndarray, explore: bool) -> np.ndarray:
        action = self._policy.act(Observation({}, state, 0.0), self._noise if explore else None)
        return action + np.array([0, 0, 0, 1], np.float32)

    def add(self, trial: Trial, demonstration: bool) -> None:
        seen = [Observation({}, state, t / TASK.rate_hz) for t, state in enumerate(trial.state)]
        source = Source.HUMAN if demonstration else Source.POLICY
        steps = [
            Transition(action, action, source, seen[t + 1], 0.0, False, False, float("nan"), 0)
            for t, action in enumerate(trial.action - np.array([0, 0, 0, 1], np.float32))
        ]
        end = {"reward": float(trial.success), "terminated": trial.terminated, "truncated": not trial.terminated}
        steps[-1] = replace(steps[-1], **end)
        outcome = Outcome.SUCCESS if trial.success else Outcome.FAILURE if trial.terminated else Outcome.TIMEOUT
        meta = EpisodeMeta(outcome, "demo" if demonstration else "online", TASK.fingerprint)
        self._memory.add(Episode.from_steps(seen[0], steps, meta))

    def update(self) -> object:
        return self._agent.update(self._memory.sample())  # type: ignore[arg-type]


class Theirs:
    """LeRobot's; the gripper is its discrete critic's."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        fields = {"observation.state": ROBOT, "observation.environment_state": CUBE}
        stats = {
            key: {
                "min": [f.low for f in group for _ in range(f.size)],
                "max": [f.high for f in group for _ in range(f.size)],
            }
            for key, group in fields.items()
        }
        inputs = {key: (len(ends["min"]),) for key, ends in stats.items()}
        self._sac = LeRobotSac(inputs, 3, stats, capacity=20_000, algorithm=SHARED, num_discrete_actions=3)

    @torch.no_grad()
    def act(self, state: np.ndarray, explore: bool) -> np.ndarray:
        seen, policy = self._sac.preprocessor.process_observation(as_lerobot(state)), self._sac.policy
        action = policy.select_action(seen)
        if not explore:  # it has no greedy mode: put the mean in the place of the sample
            action[:, :3] = torch.tanh(policy.actor(seen)[2])
        return action[0].numpy()

    def add(self, trial: Trial, demonstration: bool) -> None:
        buffer, last = self._sac.demos if demonstration else self._sac.online, len(trial.action) - 1
        for t, action in enumerate(torch.from_numpy(trial.action)):
            end, done = t == last, t == last and trial.terminated
            now, later = as_lerobot(trial.state[t]), as_lerobot(trial.state[t + 1])
            buffer.add(now, action[None], float(end and trial.success), later, done, end and not done)

    def update(self) -> object:
        return self._sac.update()


def as_lerobot(state: np.ndarray) -> dict[str, torch.Tensor]:
    """Return the state under LeRobot's keys."""
    row = torch.from_numpy(state)[None]
    return {"observation.state": row[:, :ROBOT_DIM], "observation.environment_state": row[:, ROBOT_DIM:]}


SIDES: dict[str, Callable[[int], Side]] = {
    "LeRobot": Theirs,
    "ours": Ours,
    "ours, demonstrations cloned too": lambda seed: Ours(seed, CLONED),
}
