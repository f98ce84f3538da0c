"""How far one gets without seeing: a small policy, distilled from black images.

A success that needs no camera means that the state, or the way an episode starts, tells where the object is. Then no
result from pixels means anything (research page, section 0, item 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hilserl.agents.networks import Policy
from sim_pretrain.distill.cloning import Cloner, CloningConfig
from sim_pretrain.episodes.collect import Collector, Driver
from sim_pretrain.episodes.rollout import Rollout
from sim_pretrain.task.env import EnvConfig
from sim_pretrain.task.tasks import find_task


@dataclass(frozen=True)
class BaselineConfig:
    """Sizes that take about a minute; the sighted policy of the same sizes is no marvel either."""

    teacher_episodes: int = 60
    cloning_updates: int = 700
    round_episodes: int = 30
    round_updates: int = 300
    student_share: float = 0.8  # of the steps of the one DAgger round
    perturbed: float = 0.3  # share of the teacher's steps that get noise
    seed: int = 0


def distil_small(env: EnvConfig, config: BaselineConfig, progress: Callable[[int], Any] = lambda _: None) -> Policy:
    """Return a policy cloned from the expert, with one DAgger round; what it sees is what `env` shows.

    Args:
        env: with `blind=True` for the baseline.
        config: sizes.
        progress: called with 1 after each episode.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's own random numbers go on as if nothing had been trained
        torch.manual_seed(config.seed)
        return _distil(env, config, progress)


def _distil(env: EnvConfig, config: BaselineConfig, progress: Callable[[int], Any]) -> Policy:
    task = find_task(env.task) if isinstance(env.task, str) else env.task
    policy = Policy(task.spec.observation, len(task.spec.action.names))
    rng = np.random.default_rng(config.seed)
    cloner = Cloner(policy, task.spec, CloningConfig(), config.cloning_updates + config.round_updates)
    runs: list[Rollout] = []
    plan = (
        (Driver(perturbed=config.perturbed), config.teacher_episodes, config.cloning_updates),
        (Driver(student=config.student_share), config.round_episodes, config.round_updates),
    )
    with Collector(env, workers=1) as simulation:
        for driver, episodes, updates in plan:
            runs += simulation.run(driver, range(len(runs), len(runs) + episodes), policy.eval(), progress)
            policy.train()
            cloner.fit(runs, updates, rng, lambda *_: None)
    return policy.eval()
