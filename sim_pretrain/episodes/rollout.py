"""Episodes in the simulation, recorded like those of the arm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from data.schema import Episode, EpisodeMeta, Observation, Outcome, Source, Transition
from sim_pretrain.task.env import SimEnv
from sim_pretrain.task.expert import Expert
from sim_pretrain.world.truth import Truth

Act = Callable[[Observation, Truth], tuple[np.ndarray, Source]]


class Phase(StrEnum):
    """How far an episode came; what failed next."""

    SUCCESS = "success"
    MISSED = "missed"  # never had the cube in the hand
    SLIPPED = "slipped"  # had it, and let go of it
    BELOW = "below"  # still holds it, short of the goal
    LOST = "lost"  # the cube fell off or was pushed out of reach


@dataclass(frozen=True)
class Rollout:
    """One simulated episode, and what the expert would have done at each of its steps."""

    episode: Episode
    expert: np.ndarray  # float32 [T, A]
    phase: Phase
    max_height_m: float  # of the cube's centre
    held_s: float  # longest time without a break at the goal
    terms: tuple[dict[str, float], ...] = ()  # the reward's terms, step by step


def rollout(env: SimEnv, act: Act, expert: Expert, seed: int) -> Rollout:
    """Run one episode, from the start that belongs to `seed` to its end.

    The truth reaches `act` for experts and mixtures; a policy under test must ignore it.
    """
    _, start = env.reset(seed=seed)
    first = observation = env.observation
    steps: list[Transition] = []
    labels: list[np.ndarray] = []
    terms: list[dict[str, float]] = []
    had_it, height_m, held_s = env.truth.grasped, env.truth.cube_m[2], 0.0
    ended = truncated = False
    while not (ended or truncated):
        action, source = act(observation, env.truth)
        labels.append(expert(env.truth))
        _, reward, ended, truncated, info = env.step(action)
        observation = env.observation
        steps.append(
            Transition(
                proposed=action,
                executed=info["executed"],
                source=source,
                next_observation=observation,
                reward=reward,
                terminated=ended,
                truncated=truncated,
                p_success=float("nan"),
                policy_version=0 if source is Source.POLICY else -1,
            )
        )
        terms.append(info["reward_terms"])
        had_it |= env.truth.grasped
        height_m, held_s = max(height_m, env.truth.cube_m[2]), max(held_s, env.state.held_s)
    state = env.state
    outcome, phase = verdict(success=state.success, lost=state.lost, grasped=state.grasped, had_it=had_it)
    meta = EpisodeMeta(
        outcome=outcome,
        kind="simulation",
        spec_fingerprint=env.task.spec.fingerprint,
        notes={"seed": seed, "stage": start["stage"]},
    )
    episode = Episode.from_steps(first, steps, meta)
    return Rollout(episode, np.stack(labels), phase, height_m, held_s, tuple(terms))


def verdict(*, success: bool, lost: bool, grasped: bool, had_it: bool) -> tuple[Outcome, Phase]:
    """Say how an episode ended: the flags of its last step, and whether the cube was ever in the hand."""
    if success:
        return Outcome.SUCCESS, Phase.SUCCESS
    if lost:
        return Outcome.FAILURE, Phase.LOST
    return Outcome.TIMEOUT, Phase.BELOW if grasped else Phase.SLIPPED if had_it else Phase.MISSED
