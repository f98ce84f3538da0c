"""Episodes in one in-process World, recorded like those of the arm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from data.spec import TaskSpec
from hilserl.agents.networks import Policy
from sim_pretrain.sim_arm import make_env, scatter
from sim_pretrain.world import Truth, World

Act = Callable[[Observation, Truth], tuple[np.ndarray, Source]]


@dataclass(frozen=True)
class Rollout:
    """One simulated episode and what the expert would have done at each of its steps."""

    episode: Episode
    expert: np.ndarray  # float32 [T, A]


def rollout(
    world: World, task: TaskSpec, act: Act, expert: Callable[[Truth], np.ndarray], rng: np.random.Generator
) -> Rollout:
    """Scatter arm and cube, then act until success, loss of the cube or the time limit.

    The truth reaches `act` for expert and mixing policies; a policy under test must ignore it. Reward is 1 on
    success, which terminates; so does losing the cube, with 0.
    """
    scatter(world, task, rng)
    env = make_env(world, task, task.observation.policy_cameras)
    first = observation = env.begin()
    steps: list[Transition] = []
    labels: list[np.ndarray] = []
    truth = world.truth()
    for t in range(task.time_limit_steps):
        action, source = act(observation, truth)
        labels.append(expert(truth))
        step = env.step(action)
        observation, truth = step.observation, world.truth()
        ended = truth.success or truth.lost
        steps.append(
            Transition(
                proposed=action,
                executed=step.executed,
                source=source,
                next_observation=observation,
                reward=float(truth.success),
                terminated=ended,
                truncated=not ended and t == task.time_limit_steps - 1,
                p_success=float("nan"),
                policy_version=0 if source is Source.POLICY else -1,
            )
        )
        if ended:
            break
    outcome = Outcome.SUCCESS if truth.success else Outcome.FAILURE if truth.lost else Outcome.TIMEOUT
    meta = EpisodeMeta(outcome=outcome, kind="simulation", spec_fingerprint=task.fingerprint)
    return Rollout(Episode.from_steps(first, steps, meta), np.stack(labels))


def success_count(world: World, task: TaskSpec, policy: Policy, episodes: int, seed: int) -> tuple[int, float]:
    """Run untouched greedy episodes; return the number of successes and the mean number of steps."""
    rng = np.random.default_rng(seed)
    runs = [
        rollout(
            world,
            task,
            lambda o, _: (policy.act(o), Source.POLICY),
            lambda _: np.zeros(4, np.float32),
            rng,
        )
        for _ in range(episodes)
    ]
    wins = sum(r.episode.meta.outcome is Outcome.SUCCESS for r in runs)
    return wins, float(np.mean([len(r.episode) for r in runs]))
